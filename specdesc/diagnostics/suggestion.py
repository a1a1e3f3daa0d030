"""Step and momentum for a noise that was measured."""

from typing import NamedTuple

from specdesc import schedules
from specdesc.diagnostics.tail import TailIndex
from specdesc.schedules import Schedule


class Suggestion(NamedTuple):
    """What a theorem prescribes.

    Attributes
    ----------
    step, beta : schedule
        For `rules.ProximalSpectral`, or for `rules.ProximalStorm` if the variance is reduced.
    p : float
        The moment of the noise that they are made for, in (1, 2].
    exponent : float
        The mean stationarity measure falls at least as K**exponent with the horizon K.
    interval : tuple of float
        The confidence interval of the tail index.
    source : str
        Where the prescription comes from.
    """

    step: Schedule
    beta: Schedule
    p: float
    exponent: float
    interval: tuple[float, float]
    source: str


def suggest(
    tail: TailIndex,
    /,
    horizon: int | None = None,
    *,
    step: float = 1.0,
    alpha: float = 1.0,
    variance_reduced: bool = False,
) -> Suggestion:
    """Return step and beta that the theorem prescribes for a noise and a number of steps.

    Parameters
    ----------
    tail : TailIndex
        Of `tail_index`. Its `moment` is used: the lower end of the interval, at most 2.
    horizon : int, optional
        How many steps will be made; None is for any number, at the price of a logarithm.
    step, alpha : float
        Factors on the step and on 1 - beta, which the theorem leaves open: `step` has the units of
        x.
    variance_reduced : bool
        Prescribe for `rules.ProximalStorm`, whose theorem needs a finite variance.

    Returns
    -------
    Suggestion
        ``(step, beta, p, exponent, interval, source)``.

    Raises
    ------
    ValueError
        The interval does not exclude a tail without a mean, or without a variance for
        `variance_reduced`; or what the schedules refuse.

    See Also
    --------
    tail_index : Measure the noise.
    specdesc.schedules.heavy_tailed : The schedules that it gives.

    Notes
    -----
    `schedules.heavy_tailed` has step K^(-(2p - 1) / (3p - 2)) and 1 - beta = K^(-p / (3p - 2)), for
    the rate K^(-(p - 1) / (3p - 2)); `schedules.storm` has K^(-2/3) for both and the rate K^(-1/3).
    The theorems are derived; at p = 2 and for STORM the rates are those that arXiv:2605.11850 is
    said to prove (secondary). They need no constants of the problem: a suggestion fixes how the
    parameters change with the horizon, not their size. Tune the factors once, on a short run.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import diagnostics, preconditioners, prox, rules
    >>> noise = np.random.default_rng(0).standard_t(1.6, size=4000)
    >>> advice = diagnostics.suggest(diagnostics.tail_index(noise), 10_000)
    >>> 1.0 < advice.p < 1.6, advice.exponent < 0
    (True, True)
    >>> rule = rules.ProximalSpectral(
    ...     advice.step,
    ...     beta=advice.beta,
    ...     preconditioner=preconditioners.Kappa(),
    ...     g=prox.SpectralBall(1.0),
    ... )
    """
    p = tail.moment
    interval = (tail.low, tail.high)
    if not p > 1.0:
        msg = f"the tail index must lie above 1 with confidence, got the interval {interval}"
        raise ValueError(msg)
    if variance_reduced:
        if p < 2.0:
            msg = f"the tail index must lie above 2 for STORM, got the interval {interval}"
            raise ValueError(msg)
        pair = schedules.storm(horizon, step=step, alpha=alpha)
        source = "STORM theorem, finite variance (derived)"
        return Suggestion(*pair, 2.0, -1.0 / 3.0, interval, source)
    pair = schedules.heavy_tailed(horizon, p, step=step, alpha=alpha)
    exponent = -(p - 1.0) / (3.0 * p - 2.0)
    return Suggestion(*pair, p, exponent, interval, "momentum theorem, heavy tails (derived)")
