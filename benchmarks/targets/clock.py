"""Alternated clocks: A B A B ..., so that whatever slows the machine down slows both."""

import gc
import math
import time
from statistics import median

#: Seconds that one sample takes at least: calls that are shorter are repeated inside of it.
LEAST = 2e-3
#: Seconds of rest before a sample, so that threads that still wait for work have gone to sleep.
REST = 5e-3


def alternate(calls, rounds, *, least=LEAST, rest=REST):
    """Return for each call the seconds of one run, one number a round, rounds interleaved.

    Every call has run twice before the clock starts: caches are filled, plans found, threads
    started, and it is known how often it has to run in one sample.
    """
    repeats = [_repeats(call, least) for call in calls]
    samples = [[] for _ in calls]
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(rounds):
            for call, repeat, times in zip(calls, repeats, samples, strict=True):
                time.sleep(rest)
                times.append(_sample(call, repeat))
    finally:
        if collecting:
            gc.enable()
    return samples


def medians(calls, rounds, **options):
    """Return the median seconds of each call."""
    return [median(times) for times in alternate(calls, rounds, **options)]


def once(call):
    """Return the seconds of one run after one that does not count."""
    call()
    return _sample(call, 1)


def _repeats(call, least):
    return max(1, math.ceil(least / max(once(call), 1e-7)))


def _sample(call, repeat):
    start = time.perf_counter()
    for _ in range(repeat):
        call()
    return (time.perf_counter() - start) / repeat
