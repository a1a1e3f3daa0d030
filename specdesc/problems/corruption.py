"""Destroy data on purpose, so that the error of a recovery is known."""

from specdesc._lib import host
from specdesc._lib.checks import check_integer
from specdesc._lib.typing import Array


def corrupt(
    clean: Array,
    /,
    *,
    share: float,
    noise: float,
    seed: int = 0,
    limits: tuple[float, float] | None = None,
) -> Array:
    """Replace a share of the entries by the ends of the range, and add noise to all others.

    Parameters
    ----------
    clean : NumPy array, shape (..., m, n)
        Real. On the host, before it goes to any backend, so that all solve one problem.
    share : float
        Of the entries to be replaced, in [0, 1): each becomes, by a coin, one of the two limits
        (salt and pepper).
    noise : float
        Standard deviation of the Gaussian noise, in units of the distance of the limits.
    seed : int
        The same seed destroys the same entries.
    limits : pair of float, optional
        The smallest and the largest entry of `clean` by default; (0, 1) for a photograph.

    Returns
    -------
    NumPy array
        A new one; missing entries (NaN) stay missing.

    Raises
    ------
    TypeError
        If `clean` is not real floating.
    ValueError
        If `share` lies outside [0, 1) or `noise` is negative.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import problems
    >>> clean = np.linspace(0.1, 0.9, 100).reshape(10, 10)
    >>> bad = problems.corrupt(clean, share=0.2, noise=0.0, limits=(0.0, 1.0))
    >>> int(np.sum(bad != clean))
    19
    """
    if not 0.0 <= share < 1.0:
        msg = f"share must lie in [0, 1), got {share!r}"
        raise ValueError(msg)
    if clean.dtype.kind != "f":
        msg = f"clean must be real floating, got {clean.dtype}; cast it first"
        raise TypeError(msg)
    if not 0.0 <= noise < float("inf"):
        msg = f"noise must be a finite number of at least 0, got {noise!r}"
        raise ValueError(msg)
    low, high = limits or host.finite_range(clean)
    random = host.generator(check_integer(seed, "seed", least=0))
    data = clean + noise * (high - low) * random.standard_normal(clean.shape)
    data = data.astype(clean.dtype)
    hit = (random.random(clean.shape) < share) & (clean == clean)
    salt = random.random(clean.shape) < 0.5
    data[hit & salt] = high
    data[hit & ~salt] = low
    return data
