"""Destroy data on purpose, so that the error of a recovery is known."""

from specdesc import _host
from specdesc._typing import Array


def corrupt(clean: Array, /, *, share: float, noise: float, seed: int = 0) -> Array:
    """Replace a share of the entries by the ends of the range, and add noise to all others.

    Parameters
    ----------
    clean : NumPy array, shape (..., m, n)
        Real. On the host, before it goes to any backend, so that all solve one problem.
    share : float
        Of the entries to be replaced, in [0, 1): each becomes, by a coin, the smallest or the
        largest entry of `clean` (salt and pepper).
    noise : float
        Standard deviation of the Gaussian noise, in units of that range.
    seed : int
        The same seed destroys the same entries.

    Returns
    -------
    NumPy array
        A new one; missing entries (NaN) stay missing.

    Raises
    ------
    ValueError
        If `share` lies outside [0, 1) or `noise` is negative.
    """
    if not 0.0 <= share < 1.0:
        msg = f"share must lie in [0, 1), got {share!r}"
        raise ValueError(msg)
    if not 0.0 <= noise < float("inf"):
        msg = f"noise must be a finite number of at least 0, got {noise!r}"
        raise ValueError(msg)
    low, high = _host.finite_range(clean)
    random = _host.generator(seed)
    data = clean + noise * (high - low) * random.standard_normal(clean.shape)
    hit = (random.random(clean.shape) < share) & (clean == clean)
    salt = random.random(clean.shape) < 0.5
    data[hit & salt] = high
    data[hit & ~salt] = low
    return data
