"""Where spectral steps win and where they lose: robust regression with inputs of all scales."""

from specdesc.verify.ill_conditioned.claim import CLAIM

__all__ = ["CLAIM"]
