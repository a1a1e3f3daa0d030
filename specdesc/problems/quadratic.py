"""Indefinite quadratics whose gradients are seen through heavy-tailed noise."""

from dataclasses import dataclass

import numpy

from specdesc import backends
from specdesc._lib import host
from specdesc._lib.checks import check_same_shape
from specdesc._lib.typing import Array
from specdesc.backends import Backend
from specdesc.backends.entry import enter
from specdesc.problems.sampling import student_t


@dataclass(frozen=True)
class NoisyQuadratic:
    """f(x) = <x, A x> / 2 + <B, x>, and f with noise: (1 + c z) f(x) + <W, x>.

    Make one with `random_quadratic`. z is standard normal, the entries of W are `noise` times
    Student's t: with `tail` degrees of freedom they have moments below `tail` alone, so that
    ``tail=1.6`` has no variance. Unbounded below where A is indefinite: it is meant for bounded
    sets, as the `g` of a rule.

    Attributes
    ----------
    curvature : array, shape (..., m, m)
        A, symmetric.
    linear : array, shape (..., m, n)
        B.
    seeds : tuple of int
        One for the noise of each matrix of a stack.
    tail, noise, relative : float
        Degrees of freedom, the scale of W, and c.
    backend : Backend
        That of the arrays.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import problems
    >>> problem = problems.random_quadratic(3, 2)
    >>> value, grad = problem.value_and_grad(problem.start())
    >>> grad.shape
    (3, 2)
    """

    curvature: Array
    linear: Array
    seeds: tuple[int, ...]
    tail: float
    noise: float
    relative: float
    backend: Backend

    def value_and_grad(
        self, x: Array, sample: tuple[Array, Array] | None = None, /
    ) -> tuple[Array, Array]:
        """Return f, of the batch shape, and its gradient; both with noise if a sample is given.

        Axes of `x`, and of W in the sample, that stand before those of the problem are further
        points of it. Cost: 2 m² n flops.

        Raises
        ------
        TypeError, ValueError
            As in the table of bad input.
        """
        enter("problems", x, self.linear, names=("x", "linear"))
        if tuple(x.shape)[-self.linear.ndim :] != tuple(self.linear.shape):
            check_same_shape(x, self.linear, "x", "linear")
        xp = self.backend.xp
        bent = xp.matmul(self.curvature, x)
        value = xp.sum(x * (0.5 * bent + self.linear), axis=(-2, -1))
        grad = bent + self.linear
        if sample is None:
            return value, grad
        additive, factor = sample
        value = factor * value + xp.sum(additive * x, axis=(-2, -1))
        return value, factor[..., None, None] * grad + additive

    def sample(self, t: int, /) -> tuple[Array, Array]:
        """Return W and 1 + c z of step `t`: a function of the seeds and of `t` alone."""
        shape = tuple(self.linear.shape)
        drawn, normal = student_t(shape[-2:], self.tail, self.seeds, t)
        additive = self.noise * drawn.reshape(shape)
        factor = 1.0 + self.relative * normal.reshape(shape[:-2])
        return self._like(additive), self._like(factor)

    def start(self) -> Array:
        """Return zeros."""
        return self.backend.xp.zeros_like(self.linear)

    def _like(self, values: Array) -> Array:
        dtype = str(self.linear.dtype).rpartition(".")[2]
        made = self.backend.from_host(values, dtype=dtype)
        return self.backend.xp.asarray(made, device=self.backend.device(self.linear))


def random_quadratic(
    m: int,
    n: int,
    /,
    *,
    seeds: int | tuple[int, ...] = 0,
    tail: float = 50.0,
    noise: float = 0.3,
    relative: float = 0.0,
    backend: str = "numpy",
    dtype: str = "float64",
    device: str | None = None,
) -> NoisyQuadratic:
    """Return a quadratic with an indefinite A of spectral norm 1 and B of normal entries times 1/2.

    Parameters
    ----------
    m, n : int
        Shape of x.
    seeds : int or tuple of int
        A tuple makes a stack, each matrix with its own problem and noise.
    tail : float
        Degrees of freedom of Student's t, positive; 50 is nearly normal.
    noise, relative : float
        Scale of the additive noise, and standard deviation of the factor of f.
    backend, dtype, device : str
        Where the arrays are made.

    Returns
    -------
    NoisyQuadratic
        All numbers are drawn on the host, so every backend has the same problem.

    Raises
    ------
    ValueError
        If `tail` is not positive, or `noise` or `relative` is negative.

    Notes
    -----
    The defaults are those of the claims about rates, see `specdesc verify heavy-tailed-rate`.

    Examples
    --------
    >>> from specdesc.problems import random_quadratic
    >>> problem = random_quadratic(8, 6, seeds=(1, 2), tail=1.6)
    >>> problem.value_and_grad(problem.start(), problem.sample(0))[1].shape
    (2, 8, 6)
    """
    if not tail > 0.0 or not noise >= 0.0 or not relative >= 0.0:
        msg = (
            "tail must be positive and noise and relative at least 0, "
            f"got {tail!r}, {noise!r} and {relative!r}"
        )
        raise ValueError(msg)
    several = (seeds,) if isinstance(seeds, int) else tuple(seeds)
    drawn = [_draw(m, n, seed) for seed in several]
    leaf = backends.load(backend)
    curvature, linear = (
        leaf.from_host(
            parts[0] if isinstance(seeds, int) else numpy.stack(list(parts)),
            dtype=dtype,
            device=device,
        )
        for parts in zip(*drawn, strict=True)
    )
    return NoisyQuadratic(curvature, linear, several, tail, noise, relative, leaf)


def _draw(m: int, n: int, seed: int) -> tuple[Array, Array]:
    random = host.generator(seed)
    square = random.standard_normal((m, m))
    symmetric = square + square.T
    return symmetric / numpy.linalg.norm(symmetric, 2), 0.5 * random.standard_normal((m, n))
