"""Regression for a matrix by absolute residuals: what gross errors of the targets cannot move."""

from dataclasses import dataclass

from specdesc import backends
from specdesc._lib import host
from specdesc._lib.arrays import per_batch
from specdesc._lib.checks import check_integer
from specdesc._lib.typing import Array
from specdesc._linalg.basic import frobenius
from specdesc.backends import Backend
from specdesc.backends.entry import enter
from specdesc.problems.covariance import root_of
from specdesc.problems.outliers import Outliers, check_kind, strike


@dataclass(frozen=True)
class RobustRegression:
    """f(x) = mean abs(A xᵀ - B), over all entries: convex and Lipschitz, not smooth.

    Make one with `random_robust_regression`.

    Attributes
    ----------
    inputs : array, shape (N, n)
        A.
    targets : array, shape (N, m)
        B.
    truth : array, shape (m, n)
        The matrix that made the targets.
    backend : Backend
        That of the arrays.
    """

    inputs: Array
    targets: Array
    truth: Array
    backend: Backend

    def value_and_grad(self, x: Array, /) -> tuple[Array, Array]:
        """Return f, of the batch shape, and a subgradient, at x of shape (..., m, n).

        The subgradient takes sign(0) = 0. Cost: 4 N m n flops.

        Raises
        ------
        TypeError, ValueError
            As in the table of bad input.
        """
        enter("problems", x)
        own = tuple(self.truth.shape)
        if tuple(x.shape)[-len(own) :] != own:
            msg = f"x must have the shape {own} of the problem, got {tuple(x.shape)}"
            raise ValueError(msg)
        xp = self.backend.xp
        residual = xp.matmul(self.inputs, xp.matrix_transpose(x)) - self.targets
        weight = 1.0 / (residual.shape[-2] * residual.shape[-1])
        value = weight * xp.sum(xp.abs(residual), axis=(-2, -1))
        signs = xp.sign(residual)
        return value, weight * xp.matmul(xp.matrix_transpose(signs), self.inputs)

    def error(self, x: Array, /) -> Array:
        """Return ||x - truth||_F / ||truth||_F for each matrix."""
        xp = self.backend.xp
        distance = per_batch(frobenius(x - self.truth, xp=xp))
        return distance / per_batch(frobenius(self.truth, xp=xp))

    def start(self) -> Array:
        """Return zeros."""
        return self.backend.xp.zeros_like(self.truth)


def random_robust_regression(
    m: int,
    n: int,
    /,
    *,
    count: int,
    outliers: float = 0.1,
    kind: Outliers = "symmetric",
    noise: float = 0.0,
    covariance: Array | None = None,
    seed: int = 0,
    backend: str = "numpy",
    dtype: str = "float64",
    device: str | None = None,
) -> RobustRegression:
    """Return a regression for an m by n matrix of normal entries, with gross errors in the targets.

    Parameters
    ----------
    m, n : int
        Shape of the truth: m outputs, n inputs.
    count : int
        N, the number of rows.
    outliers : float
        Share of the entries of the targets that are wrong, in [0, 1].
    kind : {"symmetric", "one_sided", "structured"}
        Wrong by 10 N(0, 1), by its absolute value, or what another matrix of normal entries would
        have given: outliers that agree with each other.
    noise : float
        Standard deviation of the dense noise.
    covariance : array, shape (n, n), optional
        Of the rows of A, such as `geometric_covariance` and `spiked_covariance` make. None is the
        identity.
    seed : int
        All numbers are drawn on the host from it, so every backend has the same problem.
    backend, dtype, device : str
        Where the arrays are made.

    Returns
    -------
    RobustRegression
        With its truth.

    Raises
    ------
    TypeError, ValueError
        If an option is out of its range; the message names it.

    Examples
    --------
    >>> from specdesc import problems
    >>> spiked = problems.spiked_covariance(4, 100.0)
    >>> problem = problems.random_robust_regression(3, 4, count=50, covariance=spiked)
    >>> problem.start().shape, float(problem.error(problem.start()))
    ((3, 4), 1.0)
    """
    for name, size in (("m", m), ("n", n), ("count", count)):
        check_integer(size, name, least=1)
    check_kind(kind)
    if not 0.0 <= outliers <= 1.0:
        msg = f"outliers must lie in [0, 1], got {outliers!r}"
        raise ValueError(msg)
    if not 0.0 <= noise < float("inf"):
        msg = f"noise must be a finite number of at least 0, got {noise!r}"
        raise ValueError(msg)
    root = root_of(covariance, n)
    random = host.generator(check_integer(seed, "seed", least=0))
    truth = random.standard_normal((m, n))
    inputs = random.standard_normal((count, n))
    inputs = inputs if root is None else inputs @ root
    targets = inputs @ truth.T
    hit = random.permutation(targets.size)[: round(outliers * targets.size)]
    targets += noise * random.standard_normal(targets.shape)
    errors = 10.0 * random.standard_normal(len(hit))
    strike(targets, hit, kind, errors, lambda: inputs @ random.standard_normal((m, n)).T)
    leaf = backends.load(backend)
    rows, wrong, known = (
        leaf.from_host(part, dtype=dtype, device=device) for part in (inputs, targets, truth)
    )
    return RobustRegression(rows, wrong, known, leaf)
