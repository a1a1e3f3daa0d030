"""What is timed: our kernels, and the peers that compute the same where they are installed.

A peer is found and never required. It takes an array of the host and returns its own call, and the
way back to the host.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy

from specdesc import rules
from specdesc._clip import spectral_clip
from specdesc._lib.typing import Array
from specdesc._orthogonalize import orthogonalize
from specdesc._truncate import truncated_spectral_step
from specdesc.bench import accuracy
from specdesc.bench.accuracy import RADIUS, RANK, Measure


@dataclass(frozen=True)
class Peer:
    """Another library.

    Attributes
    ----------
    name, library : str
        Its name in the table, and the module that it needs.
    prepare : callable
        From a host array to a call without arguments, and from its result to a host array.
    """

    name: str
    library: str
    prepare: Callable[[Array], tuple[Callable[[], Any], Callable[[Any], Array]]]

    @property
    def installed(self) -> bool:
        """Whether its library is there."""
        return find_spec(self.library) is not None


@dataclass(frozen=True)
class Kernel:
    """One thing to compute.

    Attributes
    ----------
    ours : callable
        From an array and its largest singular value to the result.
    error : callable
        The true error of a result, from host arrays.
    goal : float
        Results with larger errors are not compared.
    products : callable or None
        How many products of the short side's square a call takes, where the kernel tells.
    least : float
        The fewest such products that could do it; 0 where reading the matrix is all.
    peers : tuple of Peer
    """

    ours: Callable[[Array, float], Array]
    error: Measure
    goal: float
    products: Callable[[Array], float] | None = None
    least: float = 0.0
    peers: tuple[Peer, ...] = ()


def _scipy_polar(x: Array) -> tuple[Callable[[], Any], Callable[[Any], Array]]:
    linalg = import_module("scipy.linalg")
    return lambda: linalg.polar(x), lambda found: found[0]


def _torch_svd(x: Array) -> tuple[Callable[[], Any], Callable[[Any], Array]]:
    torch = import_module("torch")
    y = torch.tensor(x)

    def call() -> Any:
        u, _, vh = torch.linalg.svd(y, full_matrices=False)
        return u @ vh

    return call, lambda found: found.numpy()


def _torch_muon(x: Array) -> tuple[Callable[[], Any], Callable[[Any], Array]]:
    torch = import_module("torch")
    kernel = import_module("torch.optim._muon")._zeropower_via_newtonschulz
    y = torch.tensor(x)
    return lambda: kernel(y, (3.4445, -4.7750, 2.0315), 5, 1e-7), lambda q: q.float().numpy()


def _optax_muon(x: Array) -> tuple[Callable[[], Any], Callable[[Any], Array]]:
    jax = import_module("jax")
    muon = import_module("optax.contrib._muon")
    coefficients = jax.numpy.asarray((3.4445, -4.7750, 2.0315))
    y = jax.numpy.asarray(x)
    numbers = import_module("optax.contrib").MuonDimensionNumbers()
    kernel = jax.jit(
        lambda z: muon.orthogonalize_via_newton_schulz(
            z, coefficients, ns_steps=5, dimension_numbers=numbers
        )
    )
    return lambda: kernel(y).block_until_ready(), numpy.asarray


def _scipy_svds(x: Array) -> tuple[Callable[[], Any], Callable[[Any], Array]]:
    linalg = import_module("scipy.sparse.linalg")
    return lambda: linalg.svds(x, k=RANK, random_state=0), lambda found: found[0] @ found[2]


def _randomized_svd(x: Array) -> tuple[Callable[[], Any], Callable[[Any], Array]]:
    module = import_module("sklearn.utils.extmath")
    return (
        lambda: module.randomized_svd(x, RANK, random_state=0),
        lambda found: found[0] @ found[2],
    )


def _svd_clip(x: Array) -> tuple[Callable[[], Any], Callable[[Any], Array]]:
    radius = RADIUS * float(numpy.linalg.norm(x, 2))

    def call() -> Array:
        u, s, vh = numpy.linalg.svd(x, full_matrices=False)
        clipped: Array = (u * numpy.minimum(s, radius)) @ vh
        return clipped

    return call, lambda found: found


def _products(**options: Any) -> Callable[[Array], float]:
    def count(x: Array) -> float:
        return float(orthogonalize(x, full_output=True, **options).products)

    return count


def _muon_step(x: Array, _: float) -> Array:
    rule = rules.Muon(1.0, beta=0.0, nesterov=False, tol=0.3, floor=accuracy.FLOOR)
    zero = x * 0.0
    moved: Array = rule.update(zero, x, rule.init(x))[0]
    return -moved


KERNELS = {
    "orthogonalize": Kernel(
        lambda x, _: orthogonalize(x, tol=1e-3, floor=accuracy.FLOOR),
        accuracy.of_factor,
        1e-3,
        _products(tol=1e-3, floor=accuracy.FLOOR),
        2.0,
        (
            Peer("scipy.linalg.polar", "scipy", _scipy_polar),
            Peer("torch.linalg.svd", "torch", _torch_svd),
        ),
    ),
    "direction": Kernel(
        lambda x, _: orthogonalize(x, tol=0.3, floor=accuracy.FLOOR),
        accuracy.of_factor,
        0.3,
        _products(tol=0.3, floor=accuracy.FLOOR),
        2.0,
        (
            Peer("kernel of torch.optim.Muon", "torch", _torch_muon),
            Peer("kernel of optax.contrib.muon", "optax", _optax_muon),
        ),
    ),
    "truncated": Kernel(
        lambda x, _: truncated_spectral_step(x, RANK, tol=0.05),
        accuracy.of_step,
        0.05,
        peers=(
            Peer("scipy.sparse.linalg.svds", "scipy", _scipy_svds),
            Peer("sklearn randomized_svd", "sklearn", _randomized_svd),
        ),
    ),
    "clip": Kernel(
        lambda x, size: spectral_clip(x, RADIUS * size),
        accuracy.of_clip,
        1e-3,
        peers=(Peer("numpy.linalg.svd", "numpy", _svd_clip),),
    ),
    "muon": Kernel(
        _muon_step,
        accuracy.of_factor,
        0.3,
        _products(tol=0.3, floor=accuracy.FLOOR),
        2.0,
        (Peer("kernel of torch.optim.Muon", "torch", _torch_muon),),
    ),
}
