"""Update rules, one a file.

A rule is a frozen dataclass with two pure methods, ``init(x) -> state`` and
``update(x, grad, state, *, value=None, previous_grad=None) -> (x, state)``. A state is a flat
dictionary of arrays whose keys, shapes and dtypes never change. No argument is written to, and a
zero gradient is a zero step.
"""

from specdesc.rules.muon import Muon
from specdesc.rules.normalized_gradient import NormalizedGradient
from specdesc.rules.proximal_spectral import ProximalSpectral
from specdesc.rules.proximal_storm import ProximalStorm
from specdesc.rules.rule import Rule
from specdesc.rules.scale import Layout, Scale, scale_factor
from specdesc.rules.scion import Scion
from specdesc.rules.sign_descent import SignDescent
from specdesc.rules.spectral_descent import SpectralDescent
from specdesc.rules.truncated_spectral_descent import TruncatedSpectralDescent

__all__ = [
    "Layout",
    "Muon",
    "NormalizedGradient",
    "ProximalSpectral",
    "ProximalStorm",
    "Rule",
    "Scale",
    "Scion",
    "SignDescent",
    "SpectralDescent",
    "TruncatedSpectralDescent",
    "scale_factor",
]
