"""Random robust recovery problems whose solution is known."""

from specdesc import _host, backends
from specdesc.problems.robust_recovery import RobustRecovery


def random_recovery(
    n: int,
    rank: int,
    /,
    *,
    measurements: int,
    outliers: float,
    noise: float = 0.0,
    seed: int = 0,
    backend: str = "numpy",
    dtype: str = "float64",
    device: str | None = None,
) -> RobustRecovery:
    """Return Gaussian measurements of an n by n matrix with unit singular values.

    Parameters
    ----------
    n, rank : int
        The size of the matrix and the number of its singular values, all equal to 1.
    measurements : int
        p. Without a bound on the rank of the iterate recovery needs a multiple of n².
    outliers : float
        Share of the measurements that get an added 10 N(0, 1).
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

    Examples
    --------
    >>> from specdesc.problems import random_recovery
    >>> problem = random_recovery(10, 2, measurements=500, outliers=0.1)
    >>> float(problem.error(problem.start()))
    1.0
    """
    random = _host.generator(seed)
    left, right = (_host.orthonormal(random.standard_normal((n, rank))) for _ in range(2))
    truth = left @ right.T
    matrices = random.standard_normal((measurements, n, n))
    observed = matrices.reshape(measurements, -1) @ truth.reshape(-1)
    hit = random.permutation(measurements)[: round(outliers * measurements)]
    observed += noise * random.standard_normal(measurements)
    observed[hit] += 10.0 * random.standard_normal(len(hit))
    leaf = backends.load(backend)
    arrays = (leaf.from_host(part, dtype=dtype, device=device) for part in (matrices, observed))
    known = leaf.from_host(truth, dtype=dtype, device=device)
    return RobustRecovery.from_measurements(*arrays, truth=known)
