"""Update rules, one a file.

A rule is a frozen dataclass with two pure methods, ``init(x) -> state`` and
``update(x, grad, state, *, value=None, previous_grad=None) -> (x, state)``. A state is a flat
dictionary of arrays whose keys, shapes and dtypes never change.
"""

from specdesc.rules.normalized_gradient import NormalizedGradient
from specdesc.rules.rule import Rule
from specdesc.rules.spectral_descent import SpectralDescent
from specdesc.rules.truncated_spectral_descent import TruncatedSpectralDescent

__all__ = ["NormalizedGradient", "Rule", "SpectralDescent", "TruncatedSpectralDescent"]
