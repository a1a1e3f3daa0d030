"""A stack is a loop over its matrices."""

from collections.abc import Callable

import numpy

from specdesc._lib.typing import Array
from specdesc.testing.trial import Trial


def check_stack(
    trial: Trial, law: str, call: Callable[[Array], Array], /, *, steepness: float = 1.0
) -> None:
    """Hold a stack to the loop over it, at scales that differ and with a matrix of zeros.

    A map may enlarge the rounding of a decomposition by its `steepness`.
    """
    scales = numpy.asarray((1.0, 10.0, 0.0, 0.1))
    x = trial.draw(len(scales)) * trial.array(scales[:, None, None])
    whole = call(x)
    if isinstance(whole, (int, float)):
        return
    if whole.shape[:1] != (len(scales),):
        trial.fail(law, f"of a stack of {len(scales)} it has the shape {tuple(whole.shape)}")
        return
    together = trial.host(whole)
    for i in range(len(scales)):
        alone = trial.host(call(x[i, ...]))
        finite = numpy.isfinite(alone)
        largest = max(trial.size(x[i, ...]), float(numpy.abs(alone[finite]).max(initial=0.0)))
        equal = numpy.where(
            finite,
            abs(together[i] - numpy.where(finite, alone, 0.0))
            <= steepness * trial.rounding * largest,
            together[i] == alone,
        )
        if not equal.all():
            trial.fail(law, "a matrix of a stack differs from it alone")
