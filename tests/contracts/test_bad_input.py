"""What a bad input gets: one test for each row of the table, on every library."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import specdesc
from specdesc import preconditioners, prox, rules, schedules
from tests import support
from tests.support import OPERATIONS, Library, Operation

pytestmark = pytest.mark.essential

SHAPE = (6, 4)

TABLE = pytest.mark.parametrize("operation", OPERATIONS, ids=str)


@TABLE
@pytest.mark.parametrize(
    "x",
    [
        [[1.0, 2.0], [3.0, 4.0]],
        ((1.0, 2.0), (3.0, 4.0)),
        3.0,
        "x",
        None,
        np.ma.masked_array(np.ones(SHAPE), mask=np.eye(*SHAPE)),
        np.ones(SHAPE, dtype=object),
        np.ones(SHAPE, dtype=np.int64),
        np.ones(SHAPE, dtype=bool),
        np.ones(SHAPE, dtype="U1"),
    ],
    ids=lambda x: f"{type(x).__name__} {getattr(x, 'dtype', '')}".strip(),
)
def test_what_is_no_floating_array_is_a_type_error(operation: Operation, x: object) -> None:
    with pytest.raises(TypeError, match=r"^(x|y|grad) |array of the standard"):
        operation.call(x)


@TABLE
def test_numpy_matrix_is_a_type_error(operation: Operation) -> None:
    with pytest.warns(PendingDeprecationWarning):
        x = np.matrix(np.ones(SHAPE))
    with pytest.raises(TypeError, match="matrix"):
        operation.call(x)


@TABLE
def test_integers_are_a_type_error_with_the_cure(operation: Operation, library: Library) -> None:
    x = library.xp.ones(SHAPE, dtype=library.xp.int32)
    with pytest.raises(TypeError, match=r"must be real or complex floating, got .*int32; cast it"):
        operation.call(x)


@TABLE
@pytest.mark.parametrize("shape", [(), (3,)], ids=str)
def test_too_few_axes_are_a_value_error_with_the_shape(
    operation: Operation, shape: tuple[int, ...], library: Library
) -> None:
    x = library.array(np.ones(shape), "float32")
    with pytest.raises(ValueError, match=r"at least 2 axes, got shape \((3,)?\)"):
        operation.call(x)


def test_sparse_tensors_are_a_type_error() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    with pytest.raises(TypeError, match=r"layout torch.sparse_coo; use x.to_dense"):
        specdesc.orthogonalize(torch.eye(3).to_sparse())


@TABLE
def test_unknown_sizes_are_a_type_error(operation: Operation) -> None:
    da = pytest.importorskip("dask.array", reason="dask is not installed")
    x = da.from_array(np.ones(SHAPE), chunks=SHAPE)
    unknown = x[da.any(x > 0, axis=1)]
    with pytest.raises(TypeError, match=r"known sizes, got shape \(nan, 4\); compute chunk sizes"):
        operation.call(unknown)


# --- two arrays ----------------------------------------------------------------------------------

PROXIMAL = {"preconditioner": preconditioners.Sign(), "g": prox.Zero()}
#: name -> call with two arrays that have to belong together
PAIRS: dict[str, Callable[[Any, Any], Any]] = {
    "truncated_svd": lambda x, y: specdesc.truncated_svd(x, 1, start=y),
    "truncated_spectral_step": lambda x, y: specdesc.truncated_spectral_step(x, 1, start=y),
    "SpectralDescent": lambda x, y: rules.SpectralDescent(0.1).update(x, y, {}),
    "TruncatedSpectralDescent": lambda x, y: rules.TruncatedSpectralDescent(1, 0.1).update(
        x, y, {}
    ),
    "NormalizedGradient": lambda x, y: rules.NormalizedGradient(0.1).update(x, y, {}),
    "SignDescent": lambda x, y: rules.SignDescent(0.1).update(x, y, {}),
    "Muon": lambda x, y: rules.Muon(0.1).update(x, y, {}),
    "Scion": lambda x, y: rules.Scion(0.1).update(x, y, {}),
    "ProximalSpectral": lambda x, y: rules.ProximalSpectral(0.1, **PROXIMAL).update(x, y, {}),
    "ProximalStorm": lambda x, y: rules.ProximalStorm(0.1, **PROXIMAL).update(
        x, y, {}, previous_grad=y
    ),
    "previous_grad": lambda x, y: rules.ProximalStorm(0.1, **PROXIMAL).update(
        x, x, {}, previous_grad=y
    ),
    "prox_from": lambda x, y: prox.Rank(1).prox_from(x, 1.0, y, tol=0.1),
}
BOTH = pytest.mark.parametrize("call", PAIRS.values(), ids=PAIRS.keys())


@BOTH
def test_mixed_libraries_are_a_type_error(call: Callable[[Any, Any], Any]) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    host = np.ones(SHAPE)
    kinds = [host, torch.asarray(host), strict.asarray(host)]
    for x in kinds:
        for y in kinds:
            if x is not y:
                with pytest.raises(TypeError, match="must be arrays of one library, got"):
                    call(x, y)


@BOTH
def test_mixed_dtypes_are_a_type_error(call: Callable[[Any, Any], Any], library: Library) -> None:
    x, y = (library.array(np.ones(SHAPE), dtype) for dtype in ("float32", "complex64"))
    with pytest.raises(TypeError, match=r"must have one dtype, got .*float32 and .*complex64"):
        call(x, y)


@BOTH
def test_mixed_devices_are_a_value_error(call: Callable[[Any, Any], Any]) -> None:
    strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    x, y = (
        strict.asarray(np.ones(SHAPE), device=strict.Device(name))
        for name in ("CPU_DEVICE", "device1")
    )
    with pytest.raises(ValueError, match=r"must be on one device, got .*CPU_DEVICE.*device1"):
        call(x, y)


def test_start_of_another_shape_names_both_shapes(library: Library) -> None:
    x, start = (library.array(np.ones(shape), "float32") for shape in ((3, 6, 4), (3, 4, 3)))
    with pytest.raises(ValueError, match=r"\(3, 4, 4\) .* x of shape \(3, 6, 4\), got \(3, 4, 3\)"):
        specdesc.truncated_svd(x, 2, start=start)


def test_gradient_of_another_shape_names_both_shapes(library: Library) -> None:
    x, grad = (library.array(np.ones(shape), "float32") for shape in ((6, 4), (4, 6)))
    for rule in (
        rules.SpectralDescent(0.1),
        rules.TruncatedSpectralDescent(1, 0.1),
        rules.NormalizedGradient(0.1),
        rules.Muon(0.1),
        rules.ProximalStorm(0.1, **PROXIMAL),
    ):
        with pytest.raises(ValueError, match=r"x and grad .* \(6, 4\) and \(4, 6\)"):
            rule.update(x, grad, {})


def test_a_step_of_another_shape_names_both_shapes(library: Library) -> None:
    y, step = (library.array(np.ones(shape), "float32") for shape in ((3, 6, 4), (2,)))
    with pytest.raises(ValueError, match=r"batch shape \(3,\), got \(2,\)"):
        prox.Zero().prox(y, step)


@pytest.mark.parametrize("rule", [rules.SpectralDescent, rules.NormalizedGradient])
def test_a_step_of_another_shape_or_library_is_refused_by_rules(rule: Any) -> None:
    x = np.ones((3, 6, 4))
    made = rule(schedules.constant(np.ones(2)))
    with pytest.raises(ValueError, match=r"step must have the batch shape \(3,\), got \(2,\)"):
        made.update(x, x, made.init(x))
    torch = pytest.importorskip("torch", reason="torch is not installed")
    made = rule(schedules.constant(torch.ones(3)))
    with pytest.raises(TypeError, match="step must be a number or an array of numpy, got torch"):
        made.update(x, x, made.init(x))


# --- options -------------------------------------------------------------------------------------

X = np.ones(SHAPE)
OPTIONS: list[tuple[str, str, Callable[[], Any]]] = [
    *[
        (f"{name}={value}", rf"{name} must lie in \(0, 1\) .* got {value}", call)
        for name in ("tol", "floor")
        for value in (0.0, 1.0, -0.5, float("nan"))
        for call in [lambda name=name, value=value: specdesc.orthogonalize(X, **{name: value})]
    ],
    (
        "method",
        "method must be one of auto, .* got 'qr'",
        lambda: specdesc.orthogonalize(X, method="qr"),
    ),
    ("side", "side must be .* got 'both'", lambda: specdesc.polar(X, side="both")),
    (
        "fun",
        r"fun must keep the shape \(4,\), got \(3,\)",
        lambda: specdesc.spectral_map(X, lambda s: s[:3]),
    ),
    *[
        (
            f"{function.__name__} rank={rank!r}",
            rf"rank must be an integer from 1 to 4 for shape \(6, 4\), got {rank!r}",
            lambda function=function, rank=rank: function(X, rank),
        )
        for function in (
            specdesc.truncated_svd,
            specdesc.truncated_spectral_step,
            specdesc.initial_start,
        )
        for rank in (0, -1, 5, 2.0, True, None)
        if not (function is specdesc.initial_start and rank is None)
    ],
    *[
        (
            f"{function.__name__} tol={tol}",
            rf"tol must lie in \(0, 1\) .* got {tol}",
            lambda function=function, tol=tol: function(X, 1, tol=tol),
        )
        for function in (specdesc.truncated_svd, specdesc.truncated_spectral_step)
        for tol in (0.0, 1.0, float("nan"))
    ],
    *[
        (f"Rank({rank!r})", f"rank must be .* got {rank!r}", lambda rank=rank: prox.Rank(rank))
        for rank in (0, 1.5, True)
    ],
    (
        "Rank too large",
        r"rank must be an integer from 1 to 4 .* got 5",
        lambda: prox.Rank(5).prox(X),
    ),
    *[
        (
            f"{name}={value}",
            f"{name} must be .* got {value}",
            lambda kind=kind, value=value: kind(value),
        )
        for kind, name in ((prox.SpectralBall, "radius"), (prox.Nuclear, "weight"))
        for value in (-1.0, float("inf"), float("nan"))
    ],
    *[
        (
            f"{type(g).__name__} step={step}",
            f"step must be .* got {step}",
            lambda g=g, step=step: g.prox(X, step),
        )
        for g in (prox.Zero(), prox.SpectralBall(1.0), prox.Nuclear(1.0), prox.Rank(1))
        for step in (-1.0, float("nan"))
    ],
    *[
        (
            f"{name} {option}={value}",
            f"{option} must be .* got {value}",
            lambda make=make, option=option, value=value: make(**{option: value}),
        )
        for name, make in (
            ("SpectralDescent", lambda **o: rules.SpectralDescent(**{"step": 0.1, **o})),
            (
                "TruncatedSpectralDescent",
                lambda **o: rules.TruncatedSpectralDescent(1, **{"step": 0.1, **o}),
            ),
            ("NormalizedGradient", lambda **o: rules.NormalizedGradient(**{"step": 0.1, **o})),
            ("SignDescent", lambda **o: rules.SignDescent(**{"step": 0.1, **o})),
            ("Muon", lambda **o: rules.Muon(**{"step": 0.1, **o})),
        )
        for option in ("step", "weight_decay")
        for value in (-1.0, float("inf"), float("nan"))
    ],
    *[
        (
            f"{rule.__name__} {option}={value}",
            f"{option} must be .* got '?{value}",
            lambda rule=rule, options=options, option=option, value=value: rule(
                **{"step": 0.1, **options, option: value}
            ),
        )
        for rule, options in (
            (rules.Muon, {}),
            (rules.Scion, {}),
            (rules.ProximalSpectral, PROXIMAL),
            (rules.ProximalStorm, PROXIMAL),
        )
        for option, value in (
            ("step", -1.0),
            ("step", float("nan")),
            ("beta", -0.1),
            ("beta", 1.0),
            ("beta", float("nan")),
            *([("scale", "shape"), ("layout", "oi")] if rule is not rules.Scion else []),
        )
    ],
    *[
        (
            f"Muon {option}={value}",
            f"{option} must be one of .* got '?{value}",
            lambda option=option, value=value: rules.Muon(0.1, **{option: value}),
        )
        for option, value in (
            ("decay", "adamw"),
            ("momentum", "sum"),
            ("method", "ns5"),
            ("polar_dtype", "int8"),
            ("dtype", "int8"),
        )
    ],
    (
        "Muon polar_dtype",
        "dtype must suit float64 of numpy, got 'complex64'",
        lambda: rules.Muon(0.1, polar_dtype="complex64").update(X, X, rules.Muon(0.1).init(X)),
    ),
    (
        "Muon frank_wolfe",
        "weight_decay must be above 0 .* got 0.0",
        lambda: rules.Muon(0.1, decay="frank_wolfe"),
    ),
    (
        "Muon frank_wolfe step",
        r"step must .* in \[0, 1\] .* got 1.5",
        lambda: rules.Muon(1.5, decay="frank_wolfe", weight_decay=1.0),
    ),
    (
        "Muon ema_corrected",
        "beta must be a number .* got _OneLess",
        lambda: rules.Muon(0.1, beta=schedules.storm().beta, momentum="ema_corrected"),
    ),
    ("Scion step", r"step must .* in \[0, 1\] .* got 1.5", lambda: rules.Scion(1.5)),
    *[
        (
            f"Scion radius={value}",
            f"radius must be .* got {value}",
            lambda value=value: rules.Scion(0.1, radius=value),
        )
        for value in (0.0, -1.0, float("inf"), float("nan"))
    ],
    (
        "ProximalStorm without a second gradient",
        "previous_grad must be .* got None; .*approximate=True",
        lambda: rules.ProximalStorm(0.1, **PROXIMAL).update(X, X, {}),
    ),
    (
        "scale_factor of a vector",
        r"shape must have at least 2 axes, got \(3,\)",
        lambda: rules.scale_factor("keller", (3,)),
    ),
    (
        "scale_factor of a callable",
        r"scale must give .* got -1.0 for \(4, 9\)",
        lambda: rules.scale_factor(lambda fan_out, fan_in: -1.0, (4, 9)),
    ),
    *[
        (
            f"linear_rate {option}",
            f"{option} must .* got {value}",
            lambda option=option, value=value: schedules.linear_rate(
                *{"radius": 1.0, "alignment": 1.0, "rank": 4, option: value}.values()
            ),
        )
        for option, value in (
            ("radius", 0.0),
            ("radius", float("inf")),
            ("alignment", 0.0),
            ("alignment", 2.5),
            ("rank", 0),
        )
    ],
    *[
        (
            f"{make.__name__} {option}={value}",
            f"{option} must .* got {value}",
            lambda make=make, option=option, value=value: make(**{option: value}),
        )
        for make in (schedules.heavy_tailed, schedules.storm)
        for option, value in (
            ("horizon", 0),
            ("step", 0.0),
            ("alpha", float("nan")),
            *([("p", 1.0), ("p", 2.5)] if make is schedules.heavy_tailed else []),
        )
    ],
    (
        "TruncatedSpectralDescent rank",
        "rank must be .* got 0",
        lambda: rules.TruncatedSpectralDescent(0, 0.1),
    ),
    (
        "TruncatedSpectralDescent tol",
        r"tol must lie in \(0, 1\) .* got 2.0",
        lambda: rules.TruncatedSpectralDescent(1, 0.1, tol=2.0),
    ),
    *[
        (
            f"ratio={value}",
            f"ratio must .* got {value}",
            lambda value=value: schedules.geometric(1.0, value),
        )
        for value in (0.0, 1.0, float("nan"))
    ],
    *[
        (
            f"frank_wolfe {value}",
            f"weight_decay must be positive, got {value}",
            lambda value=value: schedules.frank_wolfe(value),
        )
        for value in (0.0, -1.0, float("nan"))
    ],
    ("polyak without value", "pass value= to update", lambda: schedules.polyak()(0, grad=X)),
    ("polyak without grad", "pass grad=", lambda: schedules.polyak()(0, value=1.0)),
]


@pytest.mark.parametrize(
    ("message", "call"), [each[1:] for each in OPTIONS], ids=[each[0] for each in OPTIONS]
)
def test_an_option_out_of_range_names_itself_and_its_value(
    message: str, call: Callable[[], Any]
) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_checks_of_shape_and_dtype_hold_inside_a_trace() -> None:
    jax = pytest.importorskip("jax", reason="jax is not installed")
    with pytest.raises(ValueError, match="at least 2 axes"):
        jax.jit(specdesc.orthogonalize)(jax.numpy.ones(3))
    with pytest.raises(TypeError, match="floating"):
        jax.jit(specdesc.orthogonalize)(jax.numpy.ones((3, 3), dtype=int))


def test_a_float64_gradient_of_a_value_is_not_cast_in_silence() -> None:
    """Half and single precision never mix into double on the way."""
    x = support.gaussian(*SHAPE).astype("float32")
    y, _ = rules.SpectralDescent(np.float64(0.1)).update(x, x, rules.SpectralDescent(0.1).init(x))
    assert y.dtype == np.float32
