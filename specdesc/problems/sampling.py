"""Samples of a stochastic objective as pure functions of a seed and the step."""

import numpy

from specdesc._lib import host
from specdesc._lib.typing import Array
from specdesc.backends import Backend


def minibatch(
    count: int, size: int, seed: int, t: int, like: Array, /, *, backend: Backend
) -> Array:
    """Return `size` different indices below `count`, int32, on the device of `like`."""
    chosen = host.generator((seed, t, 2)).permutation(count)[:size]
    rows = backend.from_host(chosen.astype("int32"), dtype="int32")
    return backend.xp.asarray(rows, device=backend.device(like))


def student_t(
    shape: tuple[int, ...], degrees: float, seeds: tuple[int, ...], t: int, /
) -> tuple[Array, Array]:
    """Return Student t noise (len(seeds), *shape) and a standard normal number a seed, on the host.

    Each seed has its own numbers, whatever other seeds stand beside it.
    """
    # The 1 at the end: a generator takes trailing zeros of its seed for nothing, so that
    # (seed, 0) would repeat the numbers that the problem itself was drawn from.
    generators = [host.generator((seed, t, 1)) for seed in seeds]
    noise = numpy.stack([each.standard_t(degrees, shape) for each in generators])
    return noise, numpy.stack([each.standard_normal() for each in generators])
