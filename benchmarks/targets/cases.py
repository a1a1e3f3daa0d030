"""The works to be done, the peers that do them too, and the bars: data, nothing runs here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from . import data, peers


@dataclass(frozen=True)
class Case:
    """One matrix or stack, and who is to orthogonalize it.

    `need` says what ours has to reach for its time to count: ``"rms"`` an rms error no worse than
    that of the peer; ``"tol"`` the tolerance, which peers must reach too; ``"working"`` a distance
    to the true factor of at most `WORKING` times that of the peer.
    """

    name: str
    library: str
    dtype: str
    shape: tuple
    draw: Callable
    tol: float | None
    floor: float | None
    peers: Mapping[str, Callable]
    need: str
    bar: float
    aim: float | None = None

    @property
    def work(self):
        """Say in words what is done."""
        sizes = " x ".join(map(str, self.shape))
        return (
            f"{sizes} {self.dtype}, {self.library}, {self.name}, tol {self.tol}, floor {self.floor}"
        )

    def quick(self):
        """Return the same on an eighth of each side, and at most 8 matrices."""
        *batch, m, n = self.shape
        return replace(self, shape=(*(min(k, 8) for k in batch), m // 8, n // 8))


#: The factor that "working" accuracy leaves between two backward stable methods.
WORKING = 4.0

_MUON = {"torch.optim.Muon": peers.muon}
_POLAR = {"scipy.linalg.polar": peers.scipy_polar}
_LOOSE = {"library": "torch", "dtype": "bfloat16", "tol": 0.3, "floor": 0.01, "need": "rms"}
_FINE = {"dtype": "float32", "tol": 1e-3, "floor": 1e-3, "need": "tol"}
_FLOAT32 = {
    "torch SVD": peers.torch_svd,
    "torch eigh of the Gram": partial(peers.gram_eigh, floor=1e-3),
    "torch eigh of the Gram in float64": partial(peers.gram_eigh_double, floor=1e-3),
    "Polar Express, 7 steps": peers.polar_express,
    "Polar Express, 12 steps": partial(peers.polar_express, steps=12),
}

CASES = (
    *(
        Case(name, shape=shape, draw=draw, peers=_MUON, bar=bar, aim=aim, **_LOOSE)
        for shape, bar, aim in (((1024, 1024), 1.5, 2.0), ((4096, 1024), 1.8, 2.5))
        for name, draw in (("Gaussian", data.gaussian), ("power law", data.power_law))
    ),
    *(
        Case(
            "Gaussian",
            library="numpy",
            shape=shape,
            draw=data.gaussian,
            peers=_POLAR,
            bar=bar,
            aim=aim,
            **_FINE,
        )
        for shape, bar, aim in (((1024, 1024), 1.3, 2.5), ((2048, 512), 2.0, 4.0))
    ),
    Case(
        "condition 1e4",
        library="numpy",
        dtype="float64",
        shape=(512, 512),
        draw=partial(data.conditioned, condition=1e4),
        tol=None,
        floor=None,
        peers=_POLAR,
        need="working",
        bar=1.3,
        aim=2.0,
    ),
    Case(
        "Gaussian",
        library="torch",
        shape=(1024, 1024),
        draw=data.gaussian,
        peers=_FLOAT32,
        bar=1.3,
        **_FINE,
    ),
    Case(
        "Gaussian",
        library="torch",
        dtype="float32",
        shape=(128, 64, 576),
        draw=data.gaussian,
        tol=0.3,
        floor=0.01,
        peers={"a loop of torch.optim.Muon": peers.muon_loop},
        need="rms",
        bar=4.0,
    ),
)

#: A call may take this many times what its own products take by themselves. Of interest from a
#: short side of LARGE on.
OVERHEAD, LARGE = 1.2, 1024
#: Times the size of x, and small squares more where the short side is shorter.
MEMORY, SQUARES = 4.0, 3
#: A small matrix, and the microseconds that all of Python may cost on it.
SMALL, SMALL_MICROSECONDS = (16, 16), 40.0
