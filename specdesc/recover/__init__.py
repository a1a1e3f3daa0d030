"""The job behind ``specdesc recover``: a destroyed picture or matrix comes back."""

from specdesc.recover.job import Options, recover

__all__ = ["Options", "recover"]
