"""What the tests share: ways to run, asserts, matrices, and the table of public functions."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

import specdesc
from specdesc import backends, norms, preconditioners, prox, rules, schedules

Array = Any

#: name of a dtype -> the distance from 1 to the next number of its parts
EPS = {
    "float16": 2.0**-10,
    "bfloat16": 2.0**-7,
    "float32": 2.0**-23,
    "complex64": 2.0**-23,
    "float64": 2.0**-52,
    "complex128": 2.0**-52,
}
HALF = ("float16", "bfloat16")
FULL = ("float32", "float64", "complex64", "complex128")
COMPLEX = ("complex64", "complex128")

REAL_PART = {"complex64": "float32", "complex128": "float64"}


def kind_of(kind: str, dtype: str) -> str:
    """Resolve what the table of functions promises of an output's dtype."""
    working = "float32" if dtype in HALF else dtype
    return {
        "same": dtype,
        "working": working,
        "real": REAL_PART.get(working, working),
        "int32": "int32",
    }[kind]


# --- ways to run ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Library:
    """One way to run the tests: a library, its settings, and the device that arrays live on."""

    name: str
    backend: str
    dtypes: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict, hash=False, compare=False)

    @property
    def xp(self) -> Any:
        if self.backend == "array_api_strict":
            return import_module("array_api_strict")
        return self.leaf.xp

    @property
    def leaf(self) -> Any:
        return backends.load(self.backend)

    @property
    def device(self) -> Any:
        name = self.options.get("device")
        if self.backend == "array_api_strict":
            return self.xp.Device(name or "CPU_DEVICE")
        return name

    @property
    def accelerated(self) -> bool:
        """Whether arrays lie on a device, where defaults are made for speed."""
        return self in GPU_LIBRARIES

    @property
    def branches(self) -> bool:
        """Whether plans may adapt to values here."""
        return self.backend in ("numpy", "array_api_strict") or self.name == "torch"

    @property
    def writes(self) -> bool:
        """Whether arrays can be written to, and be views of others."""
        return self.backend in ("numpy", "torch", "cupy") and "readonly" not in self.options

    @property
    def compiles(self) -> bool:
        """Whether every new shape costs a compilation, so that tests try fewer of them."""
        return self.backend == "jax"

    @property
    def costly(self) -> bool:
        """Whether every operation is compiled, or becomes a graph."""
        return self.backend in ("jax", "dask")

    @property
    def tried(self) -> tuple[str, ...]:
        """The dtypes that laws are tried on: one of each kind where each is a compilation.

        Half precision is float32 between two casts where the processor has nothing better.
        """
        return ("float32", "complex64") if self.compiles else self.dtypes

    @property
    def flushes(self) -> bool:
        """Whether subnormal numbers are zero here."""
        return self.backend in ("jax", "cupy")

    def array(self, values: Array, dtype: str | None = None) -> Array:
        """Make an array of this library; half precision goes through float32."""
        host = np.asarray(values)
        dtype = dtype or host.dtype.name
        if self.backend == "array_api_strict":
            return self.xp.asarray(host.astype(dtype), device=self.device)
        if dtype == "bfloat16":
            x = self.leaf.from_host(host.astype("float32"), dtype="float32", device=self.device)
            return self.leaf.xp.astype(x, self.leaf.xp.bfloat16)
        x = self.leaf.from_host(host.astype(dtype), dtype=dtype, device=self.device)
        if self.options.get("readonly"):
            x.setflags(write=False)
        return x

    def numpy(self, x: Array) -> Array:
        """Copy to the host; half precision comes as float32."""
        if isinstance(x, (bool, int, float, complex)):
            return np.asarray(x)
        if self.backend == "array_api_strict":
            return np.array(self.xp.asarray(x, device=self.xp.Device("CPU_DEVICE")))
        if self.dtype(x) in HALF:
            x = self.leaf.xp.astype(x, self.leaf.xp.float32)
        if self.backend == "dask":
            return np.asarray(x.compute(scheduler="synchronous"))
        return self.leaf.to_host(x)

    def dtype(self, x: Array) -> str:
        return str(x.dtype).rpartition(".")[2]

    def where(self, x: Array) -> Any:
        """Return the device of an array, comparable."""
        return None if self.backend in ("dask", "numpy") else x.device

    def context(self) -> AbstractContextManager[Any]:
        """Return the settings that this way needs, for the length of one test."""
        if self.backend == "jax":
            jax = import_module("jax")
            return jax.enable_x64(True)
        if self.backend == "array_api_strict" and "flags" in self.options:
            return import_module("array_api_strict").ArrayAPIStrictFlags(**self.options["flags"])
        if self.backend == "dask":
            return import_module("dask").config.set(scheduler=refuse_to_compute)
        return nullcontext()

    def missing(self) -> str | None:
        """Say why this way cannot run on this machine."""
        if find_spec(self.backend) is None:
            return f"{self.backend} is not installed"
        if self.name == "torch:cuda" and not import_module("torch").cuda.is_available():
            return "torch sees no CUDA device"
        return None


def refuse_to_compute(*_: object, **__: object) -> None:
    """Stand in for dask's scheduler: what is lazy has to stay lazy."""
    msg = "a lazy array was computed"
    raise AssertionError(msg)


_STRICTEST = {
    "boolean_indexing": False,
    "data_dependent_shapes": False,
    "enabled_extensions": ("linalg",),
}
NO_EXTENSIONS = {**_STRICTEST, "enabled_extensions": ()}

LIBRARIES = (
    Library("numpy", "numpy", ("float16", *FULL)),
    Library("numpy:readonly", "numpy", FULL, {"readonly": True}),
    Library("array_api_strict", "array_api_strict", FULL),
    # The strictest form lives on a device that is not the default one.
    Library(
        "array_api_strict:strictest",
        "array_api_strict",
        FULL,
        {"flags": _STRICTEST, "device": "device1"},
    ),
    Library(
        "array_api_strict:no_float64",
        "array_api_strict",
        ("float32", "complex64"),
        {"flags": _STRICTEST, "device": "no_float64"},
    ),
    Library("torch", "torch", (*HALF, *FULL)),
    Library("jax", "jax", (*HALF, *FULL)),
    Library("dask", "dask", ("float16", *FULL)),
)
#: What the fast tier runs on: one dtype of each kind.
FAST = {
    "numpy": ("float32", "complex128"),
    "array_api_strict": ("float64", "complex64"),
    "torch": ("bfloat16", "float32", "complex128"),
}
GPU_LIBRARIES = (
    Library("cupy", "cupy", ("float16", *FULL), {"device": "cuda:0"}),
    Library("torch:cuda", "torch", (*HALF, *FULL), {"device": "cuda:0"}),
)


# --- asserts -------------------------------------------------------------------------------------


def leaves(result: Any) -> list[Array]:
    """Return the arrays of a result: of a NamedTuple, a dictionary, a tuple, or the one itself."""
    if result is None:  # a field that is filled only when it was asked for
        return []
    if isinstance(result, dict):
        return [leaf for key in sorted(result) for leaf in leaves(result[key])]
    if isinstance(result, (tuple, list)):
        return [leaf for part in result for leaf in leaves(part)]
    return [result]


def assert_array(
    library: Library, actual: Array, like: Array, shape: Sequence[int], dtype: str
) -> None:
    """Check type, dtype, shape and device: a silent fall-back to NumPy has the right values."""
    # NumPy's reductions and operators return its scalars in place of arrays without axes.
    assert type(actual) is type(like) or (shape == () and isinstance(actual, np.generic))
    assert library.dtype(actual) == dtype
    assert tuple(actual.shape) == tuple(shape)
    assert library.where(actual) == library.where(like)


def assert_ratio(error: Array, scale: float, eps: float, limit: float = 30.0) -> None:
    """Check an error as LAPACK does: in units of scale * eps, below a fixed number."""
    worst = float(np.max(np.abs(np.asarray(error)), initial=0.0))
    assert worst <= limit * scale * eps, f"ratio {worst / (scale * eps):.3g} exceeds {limit}"


def spectral_norm(x: Array) -> Array:
    return np.linalg.norm(x, 2, axis=(-2, -1))


def adjoint(x: Array) -> Array:
    return np.conj(np.swapaxes(x, -1, -2))


# --- oracles, in float64 -------------------------------------------------------------------------


def polar_factor(x: Array) -> Array:
    u, _, vh = np.linalg.svd(np.asarray(x), full_matrices=False)
    return u @ vh


def ky_fan(x: Array, rank: int) -> Array:
    return np.linalg.svd(np.asarray(x), compute_uv=False)[..., :rank].sum(-1)


# --- matrices ------------------------------------------------------------------------------------


def gaussian(*shape: int, seed: int = 0, dtype: str = "float64") -> Array:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    if dtype in COMPLEX:
        x = x + 1j * rng.standard_normal(shape)
    return x


def orthonormal(rows: int, columns: int, seed: int = 0, dtype: str = "float64") -> Array:
    return np.linalg.qr(gaussian(rows, columns, seed=seed, dtype=dtype))[0]


def with_spectrum(
    values: Sequence[float], shape: tuple[int, int], seed: int = 0, dtype: str = "float64"
) -> Array:
    """Return a matrix with these singular values and random singular vectors."""
    s = np.asarray(values, dtype=float)
    u = orthonormal(shape[0], s.size, seed, dtype)
    v = orthonormal(shape[1], s.size, seed + 1, dtype)
    return (u * s) @ adjoint(v)


def easy(*batch: int, shape: tuple[int, int] = (48, 44), dtype: str = "float64") -> Array:
    """Return matrices of condition 4 whose singular values are well apart."""
    s = np.geomspace(4.0, 1.0, min(shape))
    count = int(np.prod(batch, dtype=int))
    stack = [with_spectrum(s, shape, seed=3 + 2 * i, dtype=dtype) for i in range(count)]
    return np.stack(stack).reshape(*batch, *shape)


def corpus(shape: tuple[int, int], dtype: str) -> dict[str, Array]:
    """Return the matrices on which kernels of other projects break, by name."""
    k = min(shape)
    x = gaussian(*shape, seed=11, dtype=dtype)
    wide = dtype in ("float64", "complex128")
    return {
        "zero": np.zeros(shape),
        "rank one": with_spectrum([3.0], shape, dtype=dtype),
        "one entry": np.eye(*shape) * (np.arange(shape[1]) == 0),
        "repeated": with_spectrum(np.ones(k), shape, dtype=dtype),
        "ratio 1e-12": with_spectrum(np.geomspace(1.0, 1e-12, k), shape, dtype=dtype),
        "small and a gap": with_spectrum([1.0] * (k - 1) + [1e-6], shape, dtype=dtype),
        "tiny": x * (1e-300 if wide else 1e-30),
        "huge": x * (1e300 if wide else 1e30),
        "column scales": x * np.geomspace(1.0, 1e-9, shape[1]),
        "one large entry": x + 1e8 * np.eye(*shape) * (np.arange(shape[1]) == 0),
    }


# --- the table of public functions ---------------------------------------------------------------

Shapes = Callable[[tuple[int, ...], int, int], list[tuple[tuple[int, ...], str]]]


@dataclass(frozen=True)
class Operation:
    """A public function from arrays to arrays, with what it promises of its outputs."""

    name: str
    call: Callable[[Array], Any]
    #: batch shape, m, n -> shape and kind of dtype of every output
    outputs: Shapes
    #: its names in the capability table
    capabilities: tuple[str, ...]
    #: host outputs -> host arrays that do not depend on the signs of singular vectors
    canonical: Callable[[list[Array]], list[Array]] = list
    #: how far two plans of the same contract may differ, None for rounding only
    tolerance: float | None = None
    linalg: bool = True

    def __str__(self) -> str:
        return self.name

    def unsupported(self, library: Library) -> str | None:
        if library.backend == "array_api_strict":
            return None
        table = library.leaf.capabilities.unsupported
        return next((table[name] for name in self.capabilities if name in table), None)

    def untraced(self, library: Library) -> str | None:
        table = library.leaf.capabilities.untraced
        return next((table[name] for name in self.capabilities if name in table), None)


RANK = 1
WIDTH = 11  # RANK + 10 columns, a quarter of 44: the block methods are taken for a tolerance


def _matrix(batch: tuple[int, ...], m: int, n: int) -> list[tuple[tuple[int, ...], str]]:
    return [((*batch, m, n), "same")]


def _number(batch: tuple[int, ...], m: int, n: int) -> list[tuple[tuple[int, ...], str]]:
    return [(batch, "real")]


def _orthogonalization(batch: tuple[int, ...], m: int, n: int) -> list[tuple[tuple[int, ...], str]]:
    return [*_matrix(batch, m, n), (batch, "real"), *[(batch, "int32")] * 3]


def _start(batch: tuple[int, ...], m: int, n: int) -> list[tuple[tuple[int, ...], str]]:
    return [((*batch, n, min(WIDTH, m, n)), "working")]


def _svd(batch: tuple[int, ...], m: int, n: int) -> list[tuple[tuple[int, ...], str]]:
    k = min(RANK, m, n)
    return [
        ((*batch, m, k), "same"),
        ((*batch, k), "real"),
        ((*batch, k, n), "same"),
        *[(batch, "real")] * 3,
        *_start(batch, m, n),
    ]


def _step(batch: tuple[int, ...], m: int, n: int) -> list[tuple[tuple[int, ...], str]]:
    return [
        *_matrix(batch, m, n),
        *[(batch, "real")] * 3,
        *_start(batch, m, n),
        (batch, "int32"),
    ]


def _state(*entries: Shapes) -> Shapes:
    def shapes(batch: tuple[int, ...], m: int, n: int) -> list[tuple[tuple[int, ...], str]]:
        return [shape for entry in entries for shape in entry(batch, m, n)]

    return shapes


def _counter(batch: tuple[int, ...], m: int, n: int) -> list[tuple[tuple[int, ...], str]]:
    return [((), "int32")]


def _projector(block: Array) -> Array:
    return block @ adjoint(block)


def _canonical_svd(out: list[Array]) -> list[Array]:
    u, s, vh = out[:3]
    return [(u * s[..., None, :]) @ vh, s, out[3]]


def _canonical_step(out: list[Array]) -> list[Array]:
    return [out[0], out[1], out[5]]


def _both(rule: rules.Rule) -> Callable[[Array], Any]:
    def call(x: Array) -> Any:
        return rule.update(x, x, rule.init(x), value=polyak_value(x))

    return call


def polyak_value(x: Array) -> Array:
    """Return a number of the batch shape, made with operators that all libraries have."""
    return prox.Zero().value(x) + 2.0


def _root(s: Array) -> Array:
    return s**0.5


def _first_start(x: Array) -> Array:
    return specdesc.initial_start(x, RANK, seed=1)


SPECTRAL = preconditioners.Kappa(4, eps=0.5)
ELEMENTWISE = preconditioners.SoftSign(eps=0.5, geometry="elementwise")

OPERATIONS = (
    Operation(
        "orthogonalize",
        specdesc.orthogonalize,
        _matrix,
        ("orthogonalize",),
        tolerance=1e-5,
    ),
    Operation(
        "orthogonalize svd",
        lambda x: specdesc.orthogonalize(x, method="svd", floor=1e-2, full_output=True),
        _orthogonalization,
        ("orthogonalize[svd]",),
    ),
    Operation(
        "orthogonalize polynomial",
        lambda x: specdesc.orthogonalize(x, tol=1e-3, method="polynomial", full_output=True),
        _orthogonalization,
        ("orthogonalize[polynomial]",),
        canonical=lambda out: out[:1],
        tolerance=2e-3,
        linalg=False,
    ),
    Operation(
        "orthogonalize rational",
        lambda x: specdesc.orthogonalize(x, tol=1e-3, method="rational", full_output=True),
        _orthogonalization,
        ("orthogonalize[rational]",),
        canonical=lambda out: out[:1],
        tolerance=2e-3,
    ),
    Operation(
        "orthogonalize newton-schulz",
        lambda x: specdesc.orthogonalize(x, method="newton-schulz"),
        _matrix,
        ("orthogonalize[newton-schulz]",),
        linalg=False,
    ),
    Operation(
        "orthogonalize polar-express",
        lambda x: specdesc.orthogonalize(x, method="polar-express", floor=1e-2, full_output=True),
        _orthogonalization,
        ("orthogonalize[polar-express]",),
        canonical=lambda out: out[:1],
        linalg=False,
    ),
    Operation(
        "polar right",
        specdesc.polar,
        lambda batch, m, n: [*_matrix(batch, m, n), *_matrix(batch, n, n)],
        ("polar",),
    ),
    Operation(
        "polar left",
        lambda x: specdesc.polar(x, side="left"),
        lambda batch, m, n: [*_matrix(batch, m, n), *_matrix(batch, m, m)],
        ("polar",),
    ),
    Operation(
        "spectral_map", lambda x: specdesc.spectral_map(x, _root), _matrix, ("spectral_map",)
    ),
    Operation(
        "spectral_clip",
        lambda x: specdesc.spectral_clip(x, 2.0),
        _matrix,
        ("spectral_clip",),
    ),
    Operation(
        "truncated_svd",
        lambda x: specdesc.truncated_svd(x, RANK, full_output=True),
        _svd,
        ("truncated_svd",),
        canonical=_canonical_svd,
    ),
    Operation(
        "truncated_svd tol",
        lambda x: specdesc.truncated_svd(x, RANK, tol=0.3, full_output=True),
        _svd,
        ("truncated_svd",),
        # A looser plan may return another leading triplet, of nearly its value.
        canonical=lambda out: [out[3]],
        tolerance=0.3,
    ),
    Operation(
        "truncated_spectral_step",
        lambda x: specdesc.truncated_spectral_step(x, RANK, full_output=True),
        _step,
        ("truncated_spectral_step",),
        canonical=_canonical_step,
    ),
    Operation(
        "truncated_spectral_step tol start",
        lambda x: specdesc.truncated_spectral_step(
            x, RANK, tol=0.3, start=_first_start(x), full_output=True
        ),
        _step,
        ("truncated_spectral_step",),
        canonical=lambda out: [out[1], out[5]],
        tolerance=0.3,
    ),
    Operation("initial_start", _first_start, _start, ("initial_start",), linalg=False),
    Operation(
        "norms.KyFan",
        lambda x: (
            norms.KyFan(RANK).value(x),
            norms.KyFan(RANK).dual(x),
            norms.KyFan(RANK).sharp(x),
        ),
        _state(_number, _number, _matrix),
        ("norms.KyFan",),
    ),
    Operation(
        "norms.KyFanDual.lmo",
        lambda x: norms.KyFanDual(RANK).lmo(x, 3.0),
        _matrix,
        ("norms.KyFanDual",),
    ),
    Operation("norms.Spectral", norms.Spectral().direction, _matrix, ("norms.Spectral",)),
    Operation("norms.Nuclear", norms.Nuclear().sharp, _matrix, ("norms.Nuclear",)),
    Operation(
        "norms.Frobenius", norms.Frobenius().lmo, _matrix, ("norms.Frobenius",), linalg=False
    ),
    Operation("norms.Max", norms.Max().sharp, _matrix, ("norms.Max",), linalg=False),
    Operation("norms.Columns", norms.Columns().sharp, _matrix, ("norms.Columns",), linalg=False),
    Operation("norms.Rows", norms.Rows().value, _number, ("norms.Rows",), linalg=False),
    Operation("prox.Zero.value", prox.Zero().value, _number, ("prox.Zero",), linalg=False),
    Operation("prox.Zero.prox", prox.Zero().prox, _matrix, ("prox.Zero",), linalg=False),
    Operation(
        "prox.SpectralBall.value", prox.SpectralBall(2.0).value, _number, ("prox.SpectralBall",)
    ),
    Operation(
        "prox.SpectralBall.prox", prox.SpectralBall(2.0).prox, _matrix, ("prox.SpectralBall",)
    ),
    Operation("prox.Nuclear.value", prox.Nuclear(0.5).value, _number, ("prox.Nuclear",)),
    Operation(
        "prox.Nuclear.prox", lambda x: prox.Nuclear(0.5).prox(x, 2.0), _matrix, ("prox.Nuclear",)
    ),
    Operation("prox.Rank.value", prox.Rank(RANK).value, _number, ("prox.Rank",)),
    Operation("prox.Rank.prox", prox.Rank(RANK).prox, _matrix, ("prox.Rank",)),
    Operation(
        "prox.Rank.prox_from",
        lambda x: prox.Rank(RANK).prox_from(x, 1.0, _first_start(x), tol=0.3),
        _state(_matrix, _start),
        ("prox.Rank",),
        canonical=lambda out: [spectral_norm(out[0])],
        tolerance=0.3,
    ),
    Operation(
        "preconditioners.Kappa",
        SPECTRAL,
        _matrix,
        ("preconditioners[spectral]",),
    ),
    Operation(
        "prox.Huber.anisotropic_prox",
        lambda x: prox.Huber(0.5, 3.0).anisotropic_prox(x, 0.5, ELEMENTWISE),
        _matrix,
        ("prox.Huber",),
        linalg=False,
    ),
    Operation(
        "proximal_step",
        lambda x: specdesc.proximal_step(x, x, 0.5, preconditioner=SPECTRAL, g=prox.Nuclear(0.5)),
        _matrix,
        ("preconditioners[spectral]",),
    ),
    Operation(
        "rules.SpectralDescent",
        _both(rules.SpectralDescent(0.5, weight_decay=0.1)),
        _state(_matrix, _counter),
        ("rules",),
        tolerance=1e-5,
    ),
    Operation(
        "rules.SpectralDescent ball",
        _both(rules.SpectralDescent(schedules.geometric(0.5, 0.9), g=prox.SpectralBall(1.0))),
        _state(_matrix, _counter),
        ("prox.SpectralBall",),
        tolerance=1e-5,
    ),
    Operation(
        "rules.TruncatedSpectralDescent",
        _both(rules.TruncatedSpectralDescent(RANK, schedules.frank_wolfe(2.0), weight_decay=2.0)),
        _state(_matrix, _start, _counter),
        ("truncated_svd",),
        canonical=lambda out: [out[2]],
    ),
    Operation(
        "rules.TruncatedSpectralDescent rank",
        _both(rules.TruncatedSpectralDescent(RANK, 0.5, g=prox.Rank(RANK), tol=None)),
        _state(_matrix, _start, _start, _counter),
        ("truncated_svd",),
        canonical=lambda out: [spectral_norm(out[0]), out[3]],
        tolerance=0.1,
    ),
    Operation(
        "rules.NormalizedGradient",
        _both(rules.NormalizedGradient(schedules.polyak(), weight_decay=0.1)),
        _state(_matrix, _counter),
        ("rules",),
        linalg=False,
    ),
    Operation(
        "schedules.polyak",
        lambda x: schedules.polyak(scale=0.5)(0, value=polyak_value(x), grad=x),
        _number,
        ("schedules.polyak",),
        linalg=False,
    ),
)


def operations(library: Library) -> Iterator[Operation]:
    """Return the operations that a library has, by its capability table."""
    return (each for each in OPERATIONS if each.unsupported(library) is None)


@cache
def operation(name: str) -> Operation:
    return next(each for each in OPERATIONS if each.name == name)
