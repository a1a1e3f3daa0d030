"""Samples of a stochastic objective as pure functions of a seed and the step."""

from specdesc import _host
from specdesc._typing import Array
from specdesc.backends import Backend


def minibatch(
    count: int, size: int, seed: int, t: int, like: Array, /, *, backend: Backend
) -> Array:
    """Return `size` different indices below `count`, int32, on the device of `like`."""
    chosen = _host.generator((seed, t, 2)).permutation(count)[:size]
    host = backend.from_host(chosen.astype("int32"), dtype="int32")
    return backend.xp.asarray(host, device=backend.device(like))


def student_t(
    shape: tuple[int, ...], degrees: float, seeds: tuple[int, ...], t: int, /
) -> tuple[Array, Array]:
    """Return Student t noise (len(seeds), *shape) and a standard normal number a seed, on the host.

    Each seed has its own numbers, whatever other seeds stand beside it.
    """
    # The 1 at the end: a generator takes trailing zeros of its seed for nothing, so that
    # (seed, 0) would repeat the numbers that the problem itself was drawn from.
    generators = [_host.generator((seed, t, 1)) for seed in seeds]
    noise = _host.stacked([each.standard_t(degrees, shape) for each in generators])
    return noise, _host.stacked([each.standard_normal() for each in generators])
