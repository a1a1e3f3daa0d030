"""Who is fastest, found with as few runs as that takes."""

import gc
import time
from statistics import median

#: Seconds that one sample takes at least.
LEAST = 1e-3
#: A method that is this many times slower than the fastest after two rounds runs no more.
HOPELESS = 2.0


def race(calls, first, rounds, budget):
    """Return the median seconds of each call by name; rounds are alternated, A B A B ...

    `first` are the seconds of a first run, which only count for calls that are hopeless or take
    the budget by themselves. After `budget` seconds no further round is started, but two are.
    """
    if not calls:
        return {}
    fastest = min(first[name] for name in calls)
    running = [name for name in calls if first[name] < 4 * HOPELESS * fastest + LEAST]
    if fastest > budget or len(running) == 1:
        return {name: first[name] for name in calls}
    start = time.perf_counter()
    repeats = {name: max(1, round(LEAST / max(first[name], 1e-7))) for name in running}
    samples = {name: [] for name in running}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for done in range(rounds):
            if done >= 2:
                best = min(median(samples[name]) for name in running)
                running = [name for name in running if median(samples[name]) < HOPELESS * best]
                if len(running) == 1 or time.perf_counter() - start > budget:
                    break
            for name in running:
                samples[name].append(_seconds(calls[name], repeats[name]))
    finally:
        if collecting:
            gc.enable()
    return {name: median(samples[name]) if name in samples else first[name] for name in calls}


def _seconds(call, repeat):
    start = time.perf_counter()
    for _ in range(repeat):
        call()
    return (time.perf_counter() - start) / repeat
