"""Exact counts of a call: kernels that torch would launch, and the peak of the memory."""

import tracemalloc
from collections.abc import Callable
from importlib import import_module
from typing import Any

#: Calls that move no data.
VIEWS = frozenset(
    (
        "_reshape_alias",
        "_unsafe_view",
        "alias",
        "as_strided",
        "detach",
        "diagonal",
        "empty",
        "expand",
        "lift_fresh",
        "movedim",
        "permute",
        "reshape",
        "select",
        "slice",
        "split",
        "squeeze",
        "t",
        "transpose",
        "unbind",
        "unsqueeze",
        "view",
    )
)


def launches(call: Callable[[], object], /) -> int:
    """Count the ATen calls of a call on torch that are no views; a list of 16 counts as one."""
    return sum(
        -(-size // 16) if name.startswith("_foreach_") else int(name not in VIEWS)
        for name, size in _seen(call)
    )


def aten_calls(call: Callable[[], object], /) -> int:
    """Count all ATen calls of a call on torch, views too: what an eager step dispatches."""
    return len(_seen(call))


def products(call: Callable[[], object], /) -> int:
    """Count the matrix products of a call on torch; those of a stack are one."""
    return sum(name.rstrip("_") in ("mm", "bmm", "addmm", "baddbmm") for name, _ in _seen(call))


def _seen(call: Callable[[], object]) -> list[tuple[str, int]]:
    """Return the name of each ATen call, and how many tensors it takes as a list."""
    mode: Any = import_module("torch.utils._python_dispatch").TorchDispatchMode
    found: list[tuple[str, int]] = []

    class Counting(mode):  # type: ignore[misc]
        """Sees every call."""

        def __torch_dispatch__(
            self, function: Any, _: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            listed = len(args[0]) if args and isinstance(args[0], list | tuple) else 1
            found.append((function._schema.name.split("::")[1], listed))
            return function(*args, **(kwargs or {}))

    with Counting():
        call()
    return found


def peak_of_numpy(call: Callable[[], object], /) -> float:
    """Return the peak of what a call of NumPy allocates, in MiB."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def peak_of_cuda(call: Callable[[], object], /) -> float:
    """Return the peak of what a call of torch allocates on a CUDA device, in MiB."""
    torch = import_module("torch")
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return float((torch.cuda.max_memory_allocated() - before) / 2**20)
