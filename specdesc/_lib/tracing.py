"""Functions that a tracer must run, not trace."""

from collections.abc import Callable
from typing import TypeVar

F = TypeVar("F", bound=Callable[..., object])


def opaque(function: F, /) -> F:
    """Mark a function of constants as a constant for tracers.

    Plans, look-ups of a backend and random blocks depend on types, shapes and seeds alone. They
    are host work, which a compiler that reads Python byte code must call and not translate.
    ``torch.compile`` recognises such a function by this attribute, the one that
    ``torch.compiler.assume_constant_result`` sets; a test holds the two together. Setting it here
    keeps the mathematics free of any import. Other tracers run Python as it is and need no mark.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function
