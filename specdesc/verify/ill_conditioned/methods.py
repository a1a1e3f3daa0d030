"""The methods that are compared, each with all of its settings: step, decay and momentum."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from specdesc._lib.typing import Array
from specdesc.norms import Frobenius
from specdesc.rules import (
    AdamW,
    Muon,
    NormalizedGradient,
    Rule,
    Scion,
    SignDescent,
    SpectralDescent,
    TruncatedSpectralDescent,
)
from specdesc.schedules import Schedule
from specdesc.verify.ill_conditioned.tasks import Task
from specdesc.verify.tuning import Point

SPECTRAL = ("SD", "Muon")
#: Spectral as well, and shown; the statement is not about them.
SHOWN = ("TSD k=5", "SD, Polyak")

BASELINES = ("subgradient", "subgradient, momentum", "sign", "AdamW", "subgradient, Polyak")

#: What is tuned beside the steps: the momentum of a method, where it has one.
CHOICES: Mapping[str, Sequence[tuple[float, ...]]] = {
    "Muon": ((0.9,), (0.95,)),
    "subgradient, momentum": ((0.9,), (0.95,)),
    "AdamW": ((0.9, 0.99), (0.9, 0.999)),
}


#: Steps are 2^first size 10^(-second t / T), with the size of the solution: where the search
#: begins, from 2^-7 to 1/2 of it and with decays by 1 to 7 decades.
COARSE = tuple(Point(scale, decay) for scale in (-7, -5, -3, -1) for decay in (1, 3, 5, 7))

#: Polyak steps are multiplied by 2^first and have no decay.
COARSE_POLYAK = tuple(Point(scale, 0) for scale in (-3, -1, 1))


def choices(name: str, /) -> Sequence[tuple[float, ...]]:
    """Return the momenta among which a method is tuned."""
    return CHOICES.get(name, ((),))


def is_polyak(name: str, /) -> bool:
    """Say whether the steps follow from the value of the objective."""
    return name.endswith("Polyak")


def allowed(name: str, point: Point, /) -> bool:
    """Say whether a method has these steps: beyond a constant step there is nothing."""
    return point.second == 0 if is_polyak(name) else point.second >= 0


def rule(
    name: str,
    momentum: Sequence[float],
    settings: Sequence[Point],
    task: Task,
    steps: int,
    /,
) -> Rule:
    """Return the rule that runs one setting on each matrix of a stack of points.

    With equal settings all steps have one length in the Frobenius norm, whatever their rank, so
    that one grid fits all methods.
    """
    m, n = task.shape
    over = task.array([float(2.0**each.first) for each in settings])
    ratio = task.array([float(10.0 ** (-each.second / steps)) for each in settings])

    def of(rank: int) -> Schedule:
        return _Steps(over * task.size / rank**0.5, ratio, task)

    if name.startswith("TSD"):
        k = int(name.removeprefix("TSD k="))
        return TruncatedSpectralDescent(k, of(k))
    full, entries = min(m, n), m * n
    makers: dict[str, Callable[[], Rule]] = {
        "SD": lambda: SpectralDescent(of(full)),
        "SD, Polyak": lambda: SpectralDescent(_Polyak(over, full, task)),
        "Muon": lambda: Muon(of(full), beta=momentum[0], scale="none"),
        "subgradient": lambda: NormalizedGradient(of(1)),
        "subgradient, Polyak": lambda: NormalizedGradient(_Polyak(over, None, task)),
        "subgradient, momentum": lambda: Scion(
            of(1), beta=momentum[0], norm=Frobenius(), constrained=False
        ),
        "sign": lambda: SignDescent(of(entries)),
        "AdamW": lambda: AdamW(of(entries), betas=(momentum[0], momentum[1]), eps=1e-12),
    }
    return makers[name]()


@dataclass(frozen=True, eq=False)
class _Steps:
    first: Array
    ratio: Array
    task: Task

    def __call__(self, t: float | Array, **_: object) -> Array:
        return _each_block(self.first * self.ratio**t, self.task)


@dataclass(frozen=True, eq=False)
class _Polyak:
    scale: Array
    rank: int | None
    task: Task

    def __call__(
        self, _: float | Array, *, value: Array, grad: Array | None = None, **__: object
    ) -> Array:
        xp = self.task.backend.xp
        excess = self.scale * xp.clip(value - self.task.least, min=0.0)
        if self.rank is not None:
            return excess / self.rank**0.5
        length = xp.sqrt(xp.sum(xp.asarray(grad) ** 2, axis=(-2, -1)))
        return excess / xp.where(length > 0.0, length, xp.ones_like(length))


def _each_block(steps: Array, task: Task) -> Array:
    """Repeat steps for the blocks of a point that is more than one matrix."""
    blocks = tuple(task.start.shape[:-2])
    wide = steps.reshape(tuple(steps.shape) + (1,) * len(blocks))
    return task.backend.xp.broadcast_to(wide, (*steps.shape, *blocks))
