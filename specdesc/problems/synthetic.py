"""Random robust recovery problems whose solution is known."""

import numpy

from specdesc import backends
from specdesc._lib import host
from specdesc._lib.checks import check_integer
from specdesc._lib.typing import Array
from specdesc.problems.covariance import root_of
from specdesc.problems.outliers import Outliers, check_kind, strike
from specdesc.problems.robust_recovery import RobustRecovery


def random_recovery(
    n: int,
    rank: int,
    /,
    *,
    measurements: int,
    outliers: float,
    kind: Outliers = "symmetric",
    noise: float = 0.0,
    condition: float = 1.0,
    covariance: Array | None = None,
    seed: int = 0,
    backend: str = "numpy",
    dtype: str = "float64",
    device: str | None = None,
) -> RobustRecovery:
    """Return Gaussian measurements of a random n by n matrix.

    Parameters
    ----------
    n, rank : int
        The size of the matrix and the number of its singular values.
    measurements : int
        p. Without a bound on the rank of the iterate recovery needs a multiple of n².
    outliers : float
        Share of the measurements that are wrong.
    kind : {"symmetric", "one_sided", "structured"}
        Wrong by an added 10 N(0, 1), by its absolute value, or as another matrix of the same rank
        and singular values would give them: outliers that agree with each other.
    noise : float
        Standard deviation of the dense noise.
    condition : float
        The singular values are equally spaced from 1 to 1 / condition.
    covariance : array, shape (n, n), optional
        Of the rows of the A_i, such as `geometric_covariance` and `spiked_covariance` make. None
        is the identity.
    seed : int
        All numbers are drawn on the host from it, so every backend has the same problem.
    backend, dtype, device : str
        Where the arrays are made.

    Returns
    -------
    RobustRecovery
        With its truth.

    Raises
    ------
    TypeError, ValueError
        If an option is out of its range; the message names it.

    Examples
    --------
    >>> from specdesc.problems import random_recovery
    >>> problem = random_recovery(10, 2, measurements=500, outliers=0.1)
    >>> float(problem.error(problem.start()))
    1.0
    """
    _check(n, rank, outliers, noise, seed)
    check_kind(kind)
    check_integer(measurements, "measurements", least=1)
    if not 1.0 <= condition < float("inf"):
        msg = f"condition must be a finite number of at least 1, got {condition!r}"
        raise ValueError(msg)
    root = root_of(covariance, n)
    random = host.generator(seed)

    def draw() -> Array:
        left, right = (numpy.linalg.qr(random.standard_normal((n, rank)))[0] for _ in range(2))
        return (left * numpy.linspace(1.0, 1.0 / condition, rank)) @ right.T

    truth = draw()
    matrices = random.standard_normal((measurements, n, n))
    matrices = matrices if root is None else matrices @ root
    observed = matrices.reshape(measurements, -1) @ truth.reshape(-1)
    hit = random.permutation(measurements)[: round(outliers * measurements)]
    observed += noise * random.standard_normal(measurements)
    errors = 10.0 * random.standard_normal(len(hit))
    strike(
        observed, hit, kind, errors, lambda: matrices.reshape(measurements, -1) @ draw().reshape(-1)
    )
    leaf = backends.load(backend)
    arrays = (leaf.from_host(part, dtype=dtype, device=device) for part in (matrices, observed))
    known = leaf.from_host(truth, dtype=dtype, device=device)
    return RobustRecovery.from_measurements(*arrays, truth=known)


def random_completion(
    n: int,
    rank: int,
    /,
    *,
    observed: float,
    outliers: float,
    kind: Outliers = "symmetric",
    noise: float = 0.0,
    seed: int = 0,
    backend: str = "numpy",
    dtype: str = "float64",
    device: str | None = None,
) -> RobustRecovery:
    """Return entries of a random n by n matrix, some of them missing and some of them wrong.

    Parameters
    ----------
    n, rank : int
        The matrix is a product of two Gaussian factors with entries of variance 1 / n.
    observed : float
        Share of the entries that are seen, in (0, 1], drawn without replacement.
    outliers : float
        Share of the seen entries that are wrong.
    kind : {"symmetric", "one_sided", "structured"}
        Wrong by an added 1 or -1, by a coin, by an added 1, or as another matrix of the same
        distribution has them: outliers that agree with each other.
    noise : float
        Standard deviation of the dense noise.
    seed : int
        All numbers are drawn on the host from it, so every backend has the same problem.
    backend, dtype, device : str
        Where the arrays are made.

    Returns
    -------
    RobustRecovery
        With its truth.

    Raises
    ------
    TypeError, ValueError
        If an option is out of its range; the message names it.

    Notes
    -----
    Without a bound on the rank the loss is least at the data themselves, outliers and all: give the
    rule ``g=prox.Rank(rank)``.

    Examples
    --------
    >>> from specdesc.problems import random_completion
    >>> problem = random_completion(10, 1, observed=0.5, outliers=0.1)
    >>> float(problem.observation.count)
    50.0
    """
    _check(n, rank, outliers, noise, seed)
    check_kind(kind)
    if not 0.0 < observed <= 1.0:
        msg = f"observed must lie in (0, 1], got {observed!r}"
        raise ValueError(msg)
    random = host.generator(seed)

    def draw() -> Array:
        left, right = (random.standard_normal((n, rank)) / n**0.5 for _ in range(2))
        return left @ right.T

    truth = draw()
    data = truth + noise * random.standard_normal((n, n))
    order = random.permutation(n * n)
    seen = order[: round(observed * n * n)]
    hit = seen[: round(outliers * len(seen))]
    strike(data, hit, kind, random.choice([-1.0, 1.0], len(hit)), draw)
    data.reshape(-1)[order[len(seen) :]] = float("nan")
    leaf = backends.load(backend)
    entries, known = (leaf.from_host(part, dtype=dtype, device=device) for part in (data, truth))
    return RobustRecovery.from_entries(entries, truth=known)


def _check(n: int, rank: int, outliers: float, noise: float, seed: int) -> None:
    """Raise the error that names an option out of its range."""
    if check_integer(rank, "rank", least=1) > check_integer(n, "n", least=1):
        msg = f"rank must be at most n = {n}, got {rank!r}"
        raise ValueError(msg)
    check_integer(seed, "seed", least=0)
    if not 0.0 <= outliers <= 1.0:
        msg = f"outliers must lie in [0, 1], got {outliers!r}"
        raise ValueError(msg)
    if not 0.0 <= noise < float("inf"):
        msg = f"noise must be a finite number of at least 0, got {noise!r}"
        raise ValueError(msg)
