"""What a machine can do: the rate of its products, and how fast it moves arrays."""

import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from specdesc.backends import Backend

#: Sides of the products, and bytes of the copies, on a CPU and on an accelerator.
SIDES, BYTES = {False: 1024, True: 4096}, {False: 1 << 26, True: 1 << 29}

LIBRARIES = ("specdesc", "numpy", "scipy", "torch", "jax", "cupy", "optax", "scikit-learn")


class Rate(NamedTuple):
    """The rates of one backend on one device in one dtype.

    Attributes
    ----------
    flops : float
        Of a product of square matrices, in operations a second.
    bandwidth : float
        Of a scaled copy, in bytes read and written a second.
    """

    flops: float
    bandwidth: float


def describe() -> dict[str, Any]:
    """Return the processor, its cores and the versions of the libraries."""
    return {
        "processor": platform.processor() or platform.machine(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "threads": {
            name: os.environ[name]
            for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
            if name in os.environ
        },
        "python": platform.python_version(),
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
    }


def rate(backend: Backend, device: str | None, dtype: str, host: Any, /) -> Rate:
    """Measure a backend; `host` makes Gaussian numbers of a shape."""
    accelerated = device not in (None, "cpu") and "cpu" not in str(device).lower()
    side, size = SIDES[accelerated], BYTES[accelerated]
    x = backend.from_host(host((side, side)).astype("float32"), dtype="float32", device=device)
    x = backend.xp.astype(x, getattr(backend.xp, dtype), copy=False)
    flops = 2.0 * side**3 / _best(lambda: backend.xp.matmul(x, x), backend)
    rows = max(1, size // (side * _bytes(dtype)))
    flat = backend.xp.zeros((rows, side), dtype=x.dtype, device=backend.device(x))
    moved = 2.0 * rows * side * _bytes(dtype)
    return Rate(flops, moved / _best(lambda: flat * 2.0, backend))


def _best(call: Callable[[], object], backend: Backend, seconds: float = 0.3) -> float:
    """Return the shortest time of a call: what the machine can do when it is left alone."""
    call()
    best, begin = float("inf"), time.perf_counter()
    while time.perf_counter() - begin < seconds:
        backend.synchronize()
        start = time.perf_counter()
        result: Any = call()
        _finish(result, backend)
        best = min(best, time.perf_counter() - start)
    return best


def _finish(result: Any, backend: Backend) -> None:
    ready = getattr(result, "block_until_ready", None)  # JAX returns before it is done
    if ready is not None:
        ready()
    backend.synchronize()


def _bytes(dtype: str) -> int:
    return {"float64": 8, "complex64": 8, "complex128": 16, "float32": 4}.get(dtype, 2)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
