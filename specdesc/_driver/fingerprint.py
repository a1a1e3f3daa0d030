"""What tells one run from another, in words, so that a message can say what differs."""

import dataclasses
import hashlib
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

from specdesc._driver.packing import in_axes, pack
from specdesc._lib.typing import Array
from specdesc.backends import Backend


def of_array(x: Array, /, *, backend: Backend) -> str:
    """Describe an array by shape, dtype and a digest of its bits."""
    packed = pack(x, backend=backend)
    digest = hashlib.blake2b(in_axes(packed).tobytes(), digest_size=8).hexdigest()
    return f"array {tuple(x.shape)} {packed.dtype} {digest}"


def of_object(thing: Any, like: Array, /, *, backend: Backend) -> str:
    """Describe a rule with all its options: the same in every process, unlike an address.

    A function is its name, its defaults, its numbers and what it closes over; of an object of an
    unknown kind only the type is seen. `like` is an array of the library that the options may hold.
    """
    opened: list[int] = []  # functions may close over themselves

    def describe(part: Any) -> str:
        if isinstance(part, (FunctionType, MethodType)):
            return called(part)
        if dataclasses.is_dataclass(part) and not isinstance(part, type):
            fields = {each.name: getattr(part, each.name) for each in dataclasses.fields(part)}
            return f"{type(part).__qualname__}({_pairs(fields, describe)})"
        if isinstance(part, dict):
            return f"{{{_pairs(part, describe)}}}"
        if isinstance(part, (tuple, list)):
            return f"[{', '.join(describe(each) for each in part)}]"
        if backend.owns(type(part)) or isinstance(part, type(like)):
            return of_array(part, backend=backend)
        plain = part is None or isinstance(part, (bool, int, float, complex, str))
        return repr(part) if plain else f"{type(part).__module__}.{type(part).__qualname__}"

    def called(function: FunctionType | MethodType) -> str:
        if isinstance(function, MethodType):
            return f"{describe(function.__self__)}.{function.__name__}"
        name = function.__qualname__
        if id(function) in opened:
            return name
        opened.append(id(function))
        return f"{name}({_inside(function, describe)})"

    return describe(thing)


def difference(then: dict[str, str], now: dict[str, str], /) -> str | None:
    """Return the first entry that differs, in words, or None."""
    for name in sorted({*then, *now}):
        was, is_ = then.get(name, "not there"), now.get(name, "not there")
        if was != is_:
            return f"its {name} is {was}, and that of this call is {is_}"
    return None


def _pairs(entries: dict[Any, Any], describe: Callable[[Any], str]) -> str:
    return ", ".join(f"{name}={describe(value)}" for name, value in entries.items())


def _inside(function: FunctionType, describe: Callable[[Any], str]) -> str:
    code = function.__code__
    numbers = [each for each in code.co_consts if isinstance(each, (int, float, complex))]
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    closed = dict(zip(code.co_freevars, cells, strict=True))
    parts = [_pairs(closed, describe)] if closed else []
    parts += [describe(part) for part in (*defaults, *numbers) if part is not None]
    return ", ".join(parts)
