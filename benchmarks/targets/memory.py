"""The bytes of arrays that a call holds at its peak, beyond its input; the result is among them."""

import os
import sys
import tracemalloc
from contextlib import contextmanager
from itertools import accumulate

import torch


def peak(call, library):
    """Return the peak of a second call: the first one makes what is kept for good."""
    call()
    return _numpy_peak(call) if library == "numpy" else _torch_peak(call)


def _numpy_peak(call):
    # NumPy reports its arrays to tracemalloc; what BLAS packs into its own buffers is not in it.
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _torch_peak(call):
    """Add up what the allocator of the CPU reported to the profiler, in order of time."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with (
        _silence(),
        torch.profiler.profile(activities=activities, profile_memory=True) as profile,
    ):
        call()
    # The public events leave out what was allocated inside of an operator and lived on.
    events = profile.profiler.kineto_results.events()
    changes = [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]
    return max(accumulate(size for _, size in sorted(changes)))


@contextmanager
def _silence():
    """Close the door on what the profiler's C++ says of itself on standard error."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
