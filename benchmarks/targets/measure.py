"""From a case to its rows."""

from functools import partial
from statistics import median

import numpy as np

from specdesc import orthogonalize, plan_orthogonalization

from . import cases, data, memory, peers, products
from .accuracy import truth, verify
from .clock import alternate, medians
from .library import array, host
from .row import Entry, Row


def rows(case, rounds, *, large, method="auto"):
    """Yield the rows of one case: speed, memory, and if it is large, its products by themselves.

    All of them take turns on one clock. `method` is ours.
    """
    x = array(case.draw(case.shape), case.library, case.dtype)
    ours = partial(orthogonalize, x, tol=case.tol, floor=case.floor, method=method)
    calls = {"specdesc": ours, **{name: partial(peer, x) for name, peer in case.peers.items()}}
    known = truth(host(x), case.floor, double=case.dtype == "float64")
    reached = {name: verify(host(call()), known) for name, call in calls.items()}
    made = products.record(ours, case.library) if large else ()
    if large:
        calls["its own products"] = products.replay(made, case.library)
    samples = dict(zip(calls, alternate(list(calls.values()), rounds), strict=True))
    info = ours(full_output=True)
    yield _speed(case, samples, reached, info)
    if large:
        yield _overhead(case, samples, made, info)
    yield _memory(case, x, ours)


def _speed(case, samples, reached, info):
    seconds = {name: median(times) for name, times in samples.items()}
    own, others = reached["specdesc"], {k: v for k, v in reached.items() if k != "specdesc"}
    enough = {k for k, v in others.items() if case.need != "tol" or v.worst <= case.tol}
    rival = min(enough or others, key=seconds.__getitem__)
    entries = [
        Entry(
            "specdesc",
            seconds["specdesc"],
            own,
            float(host(info.error).max()),
            int(host(info.status).max()),
            f"{int(host(info.products).max())} products",
        ),
        *(
            Entry(name, seconds[name], found, note="" if name in enough else "misses tol")
            for name, found in others.items()
        ),
    ]
    spread = np.percentile(np.asarray(samples[rival]) / np.asarray(samples["specdesc"]), [25, 75])
    return Row(
        case.work,
        rival,
        seconds[rival] / seconds["specdesc"],
        "times faster",
        "at least",
        case.bar,
        case.aim,
        _valid(case, own, others[rival]),
        f"quartiles of the rounds {spread[0]:.2f} to {spread[1]:.2f}",
        tuple(entries),
    )


def _valid(case, own, other):
    if case.need == "rms":
        return own.rms <= other.rms
    if case.need == "tol":
        return own.worst <= case.tol
    return own.distance <= cases.WORKING * other.distance


def _overhead(case, samples, made, info):
    ours, alone = median(samples["specdesc"]), median(samples["its own products"])
    rate = sum(product.flops for product in made) / alone / 1e9
    counted = int(host(info.products).max())
    return Row(
        case.work,
        "its own products",
        ours / alone,
        "times their time",
        "at most",
        cases.OVERHEAD,
        note=f"{len(made)} seen, {counted} counted, at {rate:.0f} GFLOP/s",
        entries=(Entry("its own products", alone),),
    )


def _memory(case, x, ours):
    size = x.nbytes
    short, long = sorted(case.shape[-2:])
    bar = cases.MEMORY + (cases.SQUARES * short / long if long > short else 0.0)
    return Row(
        case.work,
        "the size of x",
        memory.peak(ours, case.library) / size,
        "times x",
        "at most",
        bar,
    )


def small(rounds):
    """Return the row of a small matrix: what checks, plans and certificates cost in Python."""
    tol = floor = 1e-3
    x = data.gaussian(cases.SMALL)
    planned = plan_orthogonalization(cases.SMALL, "float64", tol=tol, floor=floor)
    loop = partial(peers.bare_loop(planned.coefficients), x)
    ours = partial(orthogonalize, x, tol=tol, floor=floor, method="polynomial")
    auto = partial(orthogonalize, x, tol=tol, floor=floor)
    known = truth(x, floor, double=True)
    calls = {"specdesc": ours, "a bare loop of the same steps": loop, "specdesc, auto": auto}
    seconds = dict(zip(calls, medians(list(calls.values()), rounds), strict=True))
    entries = tuple(
        Entry(name, seconds[name], verify(host(call()), known)) for name, call in calls.items()
    )
    return Row(
        f"{cases.SMALL[0]} x {cases.SMALL[1]} float64, numpy, Gaussian, tol {tol}, floor {floor}",
        "a bare loop of the same steps",
        1e6 * (entries[0].seconds - entries[1].seconds),
        "microseconds more",
        "at most",
        cases.SMALL_MICROSECONDS,
        entries=entries,
    )
