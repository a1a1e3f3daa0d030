"""Constrained training of small networks, beside the usual rules."""

from specdesc.verify.training.claim import CLAIM

__all__ = ["CLAIM"]
