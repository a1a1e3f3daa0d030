"""How fast kernels run on this machine, how accurate they are, and how far from its limits."""

from specdesc.bench.job import Options, bench

__all__ = ["Options", "bench"]
