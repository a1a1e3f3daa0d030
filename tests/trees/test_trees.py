"""Trees of parameters: routing, views, and rules that are applied to all of them at once."""

import re
from collections import OrderedDict, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specdesc import norms, preconditioners, prox, rules, schedules, trees
from specdesc.trees import Group
from specdesc.trees.views import view_of
from tests import support
from tests.support import Library


class Layer(NamedTuple):
    weight: Any
    bias: Any


def tree(*, seed: int = 0) -> dict[str, Any]:
    """Return two equal layers, a convolution, an embedding, fused projections, and nothing."""
    shapes = [(8, 6), (8,), (8, 6), (8,), (4, 3, 2, 5), (20, 6), (9, 4)]
    x = [support.gaussian(*shape, seed=seed + i) for i, shape in enumerate(shapes)]
    return {
        "layers": [Layer(*x[:2]), Layer(*x[2:4])],
        "conv": (x[4],),
        "rest": {"embedding": x[5], "qkv": x[6], "none": None},
    }


def mapped(function: Any, params: Any) -> Any:
    return trees.rebuild(params, {k: function(x) for k, x in trees.leaves(params).items()})


def muon_route(params: Any, *, stack: bool | None = None) -> trees.Route:
    # What has no SVD of stacks takes the projections as one matrix, too.
    view = "matrix" if stack is False else "heads=3"
    return trees.route(
        params,
        Group("layers.*", rules.Muon(0.1), ndim=2, stack=stack),
        Group("conv*", rules.SpectralDescent(0.1), view="flatten", scale="rms_to_rms"),
        Group("rest.qkv", rules.Muon(0.1), view=view),
        Group("rest.embedding", None),
        rest=Group("*", rules.AdamW(1e-2), view="whole", stack=stack),
    )


def assert_same(actual: Any, expected: Any, tolerance: float = 0.0) -> None:
    one, other = trees.leaves(actual), trees.leaves(expected)
    assert list(one) == list(other)
    for path, x in one.items():
        np.testing.assert_allclose(x, other[path], rtol=0, atol=tolerance, err_msg=path)


# --- containers ----------------------------------------------------------------------------------


def test_paths_are_keys_positions_and_fields_joined_by_dots() -> None:
    assert list(trees.leaves(tree())) == [
        "layers.0.weight",
        "layers.0.bias",
        "layers.1.weight",
        "layers.1.bias",
        "conv.0",
        "rest.embedding",
        "rest.qkv",
    ]
    x = np.ones((2, 2))
    assert trees.leaves(x) == {"": x}
    assert list(trees.leaves({3: x, "a.b": x})) == ["3", "a.b"]


ARRAYS = st.integers(0, 3).map(lambda n: np.full((n, 2), float(n)))
KEYS = st.text("abc", min_size=1, max_size=2)
TREES = st.recursive(
    ARRAYS | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.dictionaries(KEYS, inner, max_size=3).map(OrderedDict)
        | st.dictionaries(KEYS, inner, max_size=3).map(lambda d: defaultdict(list, d))
        | st.builds(Layer, inner, inner)
    ),
    max_leaves=8,
)


def same_form(one: Any, other: Any) -> bool:
    """Compare the types of all containers, the order of their keys, and arrays by identity."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same_form(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same_form, one, other))
    return one is other


@given(TREES)
@settings(max_examples=100, deadline=None)
def test_a_tree_comes_back_from_its_leaves(params: Any) -> None:
    found = trees.leaves(params)
    assert same_form(trees.rebuild(params, found), params)
    moved = trees.rebuild(params, {path: x + 1.0 for path, x in found.items()})
    assert list(trees.leaves(moved)) == list(found)
    for path, x in trees.leaves(moved).items():
        assert (x == found[path] + 1.0).all()


def test_one_path_for_two_arrays_is_a_value_error() -> None:
    x = np.ones((2, 2))
    with pytest.raises(ValueError, match=r"two arrays have the path 'a\.b'"):
        trees.leaves({"a": {"b": x}, "a.b": x})


@pytest.mark.parametrize("other", ["x", 1.0, object(), {1, 2}], ids=lambda x: type(x).__name__)
def test_what_is_no_tree_is_a_type_error_with_its_path(other: object) -> None:
    with pytest.raises(TypeError, match=r"a\.0 is neither an array nor a container"):
        trees.leaves({"a": [other]})


def test_registered_pytrees_of_jax_are_trees() -> None:
    jax = pytest.importorskip("jax", reason="jax is not installed")

    @jax.tree_util.register_pytree_with_keys_class
    class Pair:
        def __init__(self, first: Any, second: Any) -> None:
            self.first, self.second = first, second

        def tree_flatten_with_keys(self) -> Any:
            key = jax.tree_util.GetAttrKey
            return ((key("first"), self.first), (key("second"), self.second)), None

        @classmethod
        def tree_unflatten(cls, _: Any, children: Any) -> Any:
            return cls(*children)

    x = jax.numpy.ones((2, 2))
    params = {"pair": Pair([x, x], {"b": x, "none": None})}
    assert list(trees.leaves(params)) == ["pair.first.0", "pair.first.1", "pair.second.b"]
    back = trees.rebuild(params, {k: 2 * x for k, x in trees.leaves(params).items()})
    assert jax.tree.structure(back) == jax.tree.structure(params)
    assert isinstance(back["pair"], Pair)
    assert all(float(leaf[0, 0]) == 2.0 for leaf in jax.tree.leaves(back))
    # Shapes alone can be routed.
    shapes = jax.eval_shape(lambda: params)
    assert trees.route(shapes, rest=rules.Muon(0.1)).counts() == {"rest": 12}


# --- views ---------------------------------------------------------------------------------------

VIEWS = [
    ("matrix", (6, 4)),
    ("batched", (6, 4)),
    ("batched", (3, 2, 6, 4)),
    ("flatten", (6, 4)),
    ("flatten", (4, 3, 2, 5)),
    ("heads=3", (6, 9)),
    ("heads=3,axis=0", (6, 4)),
    ("heads=2,axis=1", (6, 4)),
    ("vector", (5,)),
    ("whole", ()),
    ("whole", (5,)),
    ("whole", (4, 3, 2)),
]


@pytest.mark.parametrize("layout", ["out_in", "in_out"])
@pytest.mark.parametrize(("name", "shape"), VIEWS, ids=str)
def test_every_view_has_a_way_back(name: str, shape: tuple[int, ...], layout: Any) -> None:
    x = np.arange(np.prod(shape, dtype=int), dtype=float).reshape(shape)
    view = view_of(name, shape, layout)
    y = view.matrices(x, xp=np)
    assert y.shape == view.shape
    assert y.ndim >= 2
    assert (view.restore(y, shape, xp=np) == x).all()


def test_views_are_what_their_names_say() -> None:
    def seen(name: str, x: Any, layout: Any = "out_in") -> Any:
        return view_of(name, x.shape, layout).matrices(x, xp=np)

    kernel = support.gaussian(4, 3, 2, 5)
    for i in range(4):
        assert (seen("flatten", kernel)[i] == kernel[i].ravel()).all()
    for i in range(5):
        assert (seen("flatten", kernel, "in_out")[:, i] == kernel[..., i].ravel()).all()
    x = support.gaussian(6, 4)
    for i in range(2):
        assert (seen("heads=2", x)[i] == x[3 * i : 3 * i + 3]).all()
        assert (seen("heads=2", x, "in_out")[i] == x[:, 2 * i : 2 * i + 2]).all()
        assert (seen("heads=2,axis=1", x)[i] == x[:, 2 * i : 2 * i + 2]).all()
    bias = support.gaussian(5)
    assert (seen("vector", bias)[:, 0] == bias).all()
    assert (seen("vector", bias, "in_out")[0] == bias).all()


def test_a_view_of_ones_own() -> None:
    """Attention weights of (features, heads, head size): the step of each head is its own."""

    def per_head(shape: tuple[int, ...]) -> trees.View:
        features, heads, size = shape
        return trees.View(shape, (1, 0, 2), (heads, features, size))

    x, grad = support.gaussian(2, 6, 3, 4)
    rule = rules.SpectralDescent(0.5)
    route = trees.route(x, Group("*", rule, view=per_head))
    y, _ = trees.update(x, grad, trees.init(x, route), route)
    for i in range(3):
        one, _ = rule.update(x[:, i], grad[:, i], rule.init(x[:, i]))
        np.testing.assert_allclose(y[:, i], one, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("matrix", (3, 2, 2), r"'matrix' needs two axes, got shape \(3, 2, 2\); choose 'flatten'"),
        ("matrix", (3,), r"choose .* 'vector' for fewer"),
        ("flatten", (3,), "'flatten' needs at least two axes"),
        ("batched", (3,), "'batched' needs at least two axes"),
        ("vector", (3, 2), "'vector' needs one axis"),
        ("heads=4", (6, 4), r"a multiple of 4 on axis 0, got shape \(6, 4\)"),
        ("heads=0", (6, 4), "view must read 'heads=n'"),
        ("heads=2,axis=2", (6, 4), "view must read 'heads=n'"),
        ("heads", (6, 4), "view must be one of matrix, flatten, batched, heads=n"),
        ("flatten=2", (6, 4), "view must be one of"),
        ("conv", (6, 4), "view must be one of"),
    ],
)
def test_a_view_that_does_not_fit_is_a_value_error_with_path_and_group(
    name: str, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=rf"'w', taken by 'w\*': .*{message}"):
        trees.route({"w": np.ones(shape)}, Group("w*", rules.Muon(0.1), view=name))


@pytest.mark.parametrize(
    ("split", "order", "shape"),
    [
        ((2, 3), (0, 0), (2, 3)),
        ((2, 3), (0,), (2, 3)),
        ((2, 3), (0, 1), (6,)),
        ((2,), (0,), (1, 3)),
    ],
)
def test_a_view_that_loses_entries_is_a_value_error(split: Any, order: Any, shape: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        trees.View(split, order, shape)


# --- the scale is that of the view ---------------------------------------------------------------


@pytest.mark.parametrize("layout", ["out_in", "in_out"])
@pytest.mark.parametrize("scale", ["keller", "rms_to_rms", "adamw_rms", "none"])
def test_the_step_of_a_convolution_is_that_of_its_matrix(scale: Any, layout: Any) -> None:
    """Kernels that are not square, too: the sizes of a kernel are no sizes of a layer."""
    shape = (24, 3, 2, 3) if layout == "out_in" else (2, 3, 3, 24)
    flat = (24, 18) if layout == "out_in" else (18, 24)
    x, grad = support.gaussian(2, *shape)
    rule = rules.Muon(0.1, scale=scale, layout=layout)
    route = trees.route({"conv": x}, Group("conv", rule, view="flatten"))
    y, state = trees.update({"conv": x}, {"conv": grad}, trees.init({"conv": x}, route), route)
    flat_x, flat_grad = x.reshape(flat), grad.reshape(flat)
    expected, own = rule.update(flat_x, flat_grad, rule.init(flat_x))
    assert (y["conv"] == expected.reshape(shape)).all()
    assert (state["conv/momentum_buffer"] == own["momentum_buffer"]).all()
    factor = {"keller": (24 / 18) ** 0.5, "rms_to_rms": (24 / 18) ** 0.5}
    factor |= {"adamw_rms": 0.2 * 24**0.5, "none": 1.0}
    assert route["conv"].scale == pytest.approx(factor[scale])
    moved = (x - y["conv"]).reshape(flat)
    assert support.spectral_norm(moved) == pytest.approx(0.1 * factor[scale])


@pytest.mark.parametrize("layout", ["out_in", "in_out"])
def test_the_scale_rule_is_asked_for_the_sizes_of_the_view(layout: Any) -> None:
    asked: list[tuple[int, int]] = []

    def scale(fan_out: int, fan_in: int) -> float:
        asked.append((fan_out, fan_in))
        return 3.0

    out_in = layout == "out_in"
    params = {
        "conv": np.ones((7, 2, 3, 5) if out_in else (3, 5, 2, 7)),
        "heads": np.ones((6, 5) if out_in else (5, 6)),
        "experts": np.ones((4, 7, 5) if out_in else (4, 5, 7)),
        "bias": np.ones(9),
    }
    rule = rules.SpectralDescent(0.1)
    views = {"conv": "flatten", "heads": "heads=2", "experts": "batched", "bias": "vector"}
    groups = [Group(k, rule, view=v, scale=scale, layout=layout) for k, v in views.items()]
    route = trees.route(params, *groups)
    assert asked == [(7, 30), (3, 5), (7, 5), (9, 1)]
    assert [entry.scale for entry in route.entries] == [3.0] * 4


def test_what_a_scale_multiplies() -> None:
    """The scale of rules that have one, the radius of a ball, the step of the others."""
    x = np.ones((9, 4))
    options = {"preconditioner": preconditioners.SoftSign(), "g": prox.Zero()}

    def scaled(rule: Any) -> Any:
        return trees.route(x, Group("*", rule, scale="rms_to_rms"))[""].rule

    assert scaled(rules.Muon(0.1)).scale == "rms_to_rms"
    assert scaled(rules.ProximalSpectral(0.1, **options)).scale == "rms_to_rms"
    assert scaled(rules.Scion(0.1, radius=2.0)).radius == pytest.approx(3.0)
    assert scaled(rules.Scion(0.1, radius=2.0)).step == 0.1
    assert scaled(rules.SpectralDescent(0.1)).step == pytest.approx(0.15)
    geometric = scaled(rules.SignDescent(schedules.geometric(0.1, 0.5))).step
    assert geometric(2) == pytest.approx(0.15 / 4)

    class Plain:
        needs_previous_grad = False

    with pytest.raises(ValueError, match="has nothing to scale"):
        scaled(Plain())


@pytest.mark.parametrize("size", [1, 100])
def test_a_step_on_a_vector_has_its_length_as_root_mean_square(size: int) -> None:
    bias, grad = support.gaussian(2, size)
    rule = rules.SpectralDescent(0.25)
    route = trees.route(bias, Group("*", rule, view="vector", scale="rms_to_rms"))
    y, _ = trees.update(bias, grad, trees.init(bias, route), route)
    assert np.sqrt(np.mean((y - bias) ** 2)) == pytest.approx(0.25)
    np.testing.assert_allclose(y, bias - 0.25 * grad / np.sqrt(np.mean(grad**2)))


# --- routing -------------------------------------------------------------------------------------


def test_the_first_group_that_takes_a_parameter_has_it() -> None:
    a, b, c, d = (rules.Muon(step) for step in (0.1, 0.2, 0.3, 0.4))
    params = {name: np.ones((4, 4)) for name in ("head", "layer.0", "layer.1", "x1", "y")}
    params["vector"] = np.ones(3)
    route = trees.route(
        params,
        Group(("head", "nothing"), a),
        Group(re.compile(r"r\.0$"), b),
        Group(lambda path, x: path.endswith("1"), c),
        Group("*", d, ndim=2),
        rest=rules.SignDescent(0.5),
    )
    found = {entry.path: entry.rule for entry in route.entries}
    assert [found[name].step for name in params] == [0.1, 0.2, 0.3, 0.3, 0.4, 0.5]
    assert route["layer.0"].rule is b


def test_an_empty_group_is_a_value_error_that_names_it() -> None:
    params = {"layers": [np.ones((4, 4))]}
    cases = {
        "weight*": r"the group 'weight\*' takes no parameter; paths: layers\.0",
        re.compile("^0$"): r"the group re '\^0\$' takes no parameter",
        ("a", "b"): r"the group 'a' or 'b' takes",
        test_the_first_group_that_takes_a_parameter_has_it.__name__: "takes no parameter",
    }
    for match, message in cases.items():
        with pytest.raises(ValueError, match=message):
            trees.route(params, Group(match, rules.Muon(0.1)), rest=rules.Muon(0.1))
    with pytest.raises(ValueError, match=r"'\*' with ndim=3 takes no parameter"):
        trees.route(params, Group("*", rules.Muon(0.1), ndim=3), rest=rules.Muon(0.1))
    # Shadowed by an earlier group is empty, too.
    with pytest.raises(ValueError, match=r"'layers\*' takes no parameter"):
        trees.route(params, Group("*", rules.Muon(0.1)), Group("layers*", rules.Muon(0.2)))
    with pytest.raises(ValueError, match="takes no parameter; paths: none"):
        trees.route({}, Group("*", rules.Muon(0.1)))


def test_a_parameter_that_no_group_takes_is_a_value_error_that_names_it() -> None:
    params = {"weight": np.ones((4, 4)), "bias": np.ones(4)}
    with pytest.raises(ValueError, match=r"no group takes 'bias' of shape \(4,\)"):
        trees.route(params, Group("weight", rules.Muon(0.1)))
    with pytest.raises(ValueError, match="no group takes 'bias'"):
        trees.route(params, rest=Group("*", rules.Muon(0.1), ndim=2))


def test_layouts_have_to_agree() -> None:
    rule = rules.Muon(0.1, layout="in_out")
    with pytest.raises(ValueError, match=r"'\*' has layout 'out_in', its rule 'in_out'"):
        trees.route(np.ones((4, 4)), Group("*", rule, layout="out_in"))
    assert trees.route(np.ones((4, 9)), Group("*", rule))[""].scale == 1.5


def test_the_table_counts_every_number_once() -> None:
    params = tree()
    route = muon_route(params)
    assert route.counts() == {
        "'layers.*' with ndim=2": 96,
        "'conv*'": 120,
        "'rest.qkv'": 36,
        "'rest.embedding'": 120,
        "rest": 16,
    }
    assert sum(route.counts().values()) == sum(x.size for x in trees.leaves(params).values())
    text = str(route)
    for line in (
        "layers.0.weight  (8, 6)        (8, 6)     Muon             1.155   48",
        "conv.0           (4, 3, 2, 5)  (4, 30)    SpectralDescent  0.3651  120",
        "rest.embedding   (20, 6)       (20, 6)    -                -       120",
        "rest.qkv         (9, 4)        (3, 3, 4)  Muon             1       36",
        "'layers.*' with ndim=2: 2 arrays, 96 numbers (24.7%)",
    ):
        assert line in text.splitlines()


def test_groups_of_one_pattern_are_counted_apart() -> None:
    params = {"a": np.ones((2, 2)), "b": np.ones((3, 3))}
    groups = [Group(lambda path, _, name=name: path == name, rules.Muon(0.1)) for name in "ab"]
    assert trees.route(params, *groups).counts() == {
        "<lambda> (1)": 4,
        "<lambda> (2)": 9,
        "rest": 0,
    }


# --- updates -------------------------------------------------------------------------------------

SMOOTH = preconditioners.SoftSign(eps=0.1)
#: name -> rule; all that a route is likely to hold
RULES: dict[str, Any] = {
    "sd": rules.SpectralDescent(schedules.geometric(0.5, 0.9), g=prox.SpectralBall(2.0)),
    "tsd exact": rules.TruncatedSpectralDescent(2, 0.1, tol=None),
    "tsd polyak": rules.TruncatedSpectralDescent(2, schedules.polyak(rank=2), tol=None),
    "tsd rank": rules.TruncatedSpectralDescent(1, 0.1, g=prox.Rank(2)),
    "ng": rules.NormalizedGradient(schedules.polyak(), weight_decay=0.1),
    "sign": rules.SignDescent(0.1),
    "adamw": rules.AdamW(0.1, weight_decay=0.1),
    "muon": rules.Muon(0.1, weight_decay=0.1),
    "scion": rules.Scion(0.1, radius=3.0),
    "scion columns": rules.Scion(0.1, norm=norms.Columns(), constrained=False),
    "proximal": rules.ProximalSpectral(0.1, preconditioner=SMOOTH, g=prox.SpectralBall(2.0)),
    "frobenius": rules.ProximalSpectral(0.1, preconditioner=SMOOTH, g=prox.FrobeniusBall(5.0)),
    "storm": rules.ProximalStorm(0.1, preconditioner=SMOOTH, g=prox.Zero()),
    "storm one": rules.ProximalStorm(0.1, preconditioner=SMOOTH, g=prox.Zero(), approximate=True),
}


def run(params: Any, route: trees.Route, *, steps: int = 3) -> tuple[Any, Any]:
    """Take steps along gradients that differ by decades from parameter to parameter."""
    state = trees.init(params, route)
    for t in range(steps):
        scales = iter(10.0 ** np.arange(-6, 30, 3) / (t + 1))
        grads = mapped(lambda x, s=scales: x[::-1] * next(s), params)
        value = np.asarray(1.0 / (t + 1))
        params, state = trees.update(
            params, grads, state, route, value=value, previous_grads=mapped(np.cos, params)
        )
    return params, state


@pytest.mark.parametrize("name", RULES)
def test_a_stack_of_parameters_is_a_loop_over_them(name: str) -> None:
    """One call for all parameters of a shape, and matrices that do not touch one another."""
    whole = support.easy(3, shape=(14, 12))
    params = {"a": whole[0], "b": [whole[1], support.easy(2, shape=(14, 12))], "c": whole[2]}
    stacked, looped = (
        trees.route(
            params,
            Group("b.1", RULES[name], view="batched", stack=stack),
            rest=Group("*", RULES[name], stack=stack),
        )
        for stack in (True, False)
    )
    one, state = run(params, stacked)
    other, other_state = run(params, looped)
    assert_same(one, other, 1e-12)
    assert list(state) == list(other_state)
    for key, value in state.items():
        assert value.shape == other_state[key].shape
        size = max(1.0, np.abs(value).max())
        # A block spans a space: its columns may turn.
        if not key.endswith("start"):
            np.testing.assert_allclose(value / size, other_state[key] / size, atol=1e-12)


def test_parameters_of_one_shape_are_one_call() -> None:
    calls: list[tuple[int, ...]] = []

    class Counted(rules.SignDescent):
        def update(self, x: Any, grad: Any, state: Any, /, **known: Any) -> Any:
            calls.append(x.shape)
            return super().update(x, grad, state, **known)

    params = {"a": np.ones((4, 3)), "b": np.ones((4, 3)), "c": np.ones((3, 4)), "d": np.ones(12)}
    params["other"] = np.ones((4, 3))
    params |= {"large": np.ones((65, 64)), "as large": np.ones((65, 64))}

    def calls_of(stack: bool | None) -> list[tuple[int, ...]]:
        calls.clear()
        groups = [Group(name, Counted(0.1), view="whole", stack=stack) for name in ("other", "*")]
        route = trees.route(params, *groups)
        trees.update(params, params, trees.init(params, route), route)
        return sorted(calls)

    assert calls_of(True) == [(2, 4, 3), (2, 65, 64), (3, 4), (4, 3), (12, 1)]
    assert calls_of(False) == [(3, 4), (4, 3), (4, 3), (4, 3), (12, 1), (65, 64), (65, 64)]
    assert calls_of(None) == [(2, 4, 3), (3, 4), (4, 3), (12, 1), (65, 64), (65, 64)]


def test_each_parameter_gets_the_step_of_its_rule(library: Library) -> None:
    """On every library as by hand on NumPy; the arrays stay of their library."""
    if library.compiles:
        pytest.skip("each shape is a compilation: under jit, below")
    stack = False if library.backend == "dask" else None
    steps = 1 if library.backend == "dask" else 2
    host, host_grads = tree(), tree(seed=50)
    params, grads = (mapped(lambda x: library.array(x, "float32"), t) for t in (host, host_grads))
    route = muon_route(params, stack=stack)
    state = trees.init(params, route)
    for _ in range(steps):
        params, state = trees.update(params, grads, state, route)
    muon, adamw, sd = (
        rules.Muon(0.1),
        rules.AdamW(1e-2),
        rules.SpectralDescent(0.1 * (4 / 30) ** 0.5),
    )

    def by_hand(path: str, rule: Any, shape: tuple[int, ...]) -> None:
        start = trees.leaves(host)[path]
        x, grad = start.reshape(shape), trees.leaves(host_grads)[path].reshape(shape)
        own = rule.init(x)
        for _ in range(steps):
            x, own = rule.update(x, grad, own)
        found = trees.leaves(params)[path]
        support.assert_array(library, found, found, start.shape, "float32")
        # By itself a device is no more exact than a step needs.
        limit = 3e-5 if not library.accelerated else 3e-2 * 0.1 * steps
        np.testing.assert_allclose(library.numpy(found), x.reshape(start.shape), atol=limit)

    for i in range(2):
        by_hand(f"layers.{i}.weight", muon, (8, 6))
        by_hand(f"layers.{i}.bias", adamw, (8, 1))
    by_hand("conv.0", sd, (4, 30))
    by_hand("rest.qkv", muon, (9, 4) if stack is False else (3, 3, 4))
    frozen = library.numpy(params["rest"]["embedding"])
    assert (frozen == host["rest"]["embedding"].astype("float32")).all()
    assert int(library.numpy(state["layers.1.bias/t"])) == steps


def test_nothing_that_is_handed_over_is_changed() -> None:
    params, grads = tree(), tree(seed=50)
    route = muon_route(params)
    params, state = trees.update(params, grads, trees.init(params, route), route)
    given = [*trees.leaves(params).values(), *trees.leaves(grads).values(), *state.values()]
    before = [x.tobytes() for x in given]
    keys = list(state)
    new, new_state = trees.update(params, grads, state, route)
    assert [x.tobytes() for x in given] == before
    assert list(state) == keys
    returned = [x.copy() for x in (*trees.leaves(new).values(), *new_state.values())]
    for x in trees.leaves(grads).values():
        x[...] = 0.0
    after = [*trees.leaves(new).values(), *new_state.values()]
    assert all((x == y).all() for x, y in zip(returned, after, strict=True))


def test_a_state_goes_through_files(tmp_path: Path) -> None:
    """NumPy's and torch's, neither of which may run code; the run goes on bit for bit."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    params, grads = tree(), tree(seed=50)
    route = muon_route(params)
    params, state = trees.update(params, grads, trees.init(params, route), route)
    expected, _ = trees.update(params, grads, state, route)
    np.savez(tmp_path / "state.npz", **state)
    with np.load(tmp_path / "state.npz", allow_pickle=False) as file:
        loaded = dict(file)
    assert {k: (v.dtype, v.shape) for k, v in loaded.items()} == {
        k: (v.dtype, v.shape) for k, v in state.items()
    }
    assert_same(trees.update(params, grads, loaded, route)[0], expected)
    torch.save({k: torch.asarray(v) for k, v in state.items()}, tmp_path / "state.pt")
    tensors = torch.load(tmp_path / "state.pt", weights_only=True)
    assert_same(
        trees.update(params, grads, {k: v.numpy() for k, v in tensors.items()}, route)[0], expected
    )


def test_a_lone_array_is_a_tree() -> None:
    x, grad = support.gaussian(2, 6, 4)
    rule = rules.Muon(0.1)
    route = trees.route(x, rest=rule)
    state = trees.init(x, route)
    assert set(state) == {"/t", "/momentum_buffer"}
    y, _ = trees.update(x, grad, state, route)
    assert (y == rule.update(x, grad, rule.init(x))[0]).all()


def test_rules_that_need_two_gradients_are_known() -> None:
    params, grads = {"a": np.eye(3)}, {"a": np.ones((3, 3))}
    route = trees.route(params, rest=RULES["storm"])
    assert route.needs_previous_grad
    assert not trees.route(params, rest=RULES["storm one"]).needs_previous_grad
    with pytest.raises(ValueError, match="previous_grad must be the gradient of the same sample"):
        trees.update(params, grads, trees.init(params, route), route)


def test_trees_of_another_form_are_value_errors() -> None:
    params = {"a": np.eye(3), "b": np.eye(3)}
    route = trees.route(params, rest=rules.Muon(0.1))
    state = trees.init(params, route)
    other = {"a": np.eye(3), "c": np.eye(3)}
    with pytest.raises(
        ValueError, match=r"grads and the route differ: missing \['b'\], .* \['c'\]"
    ):
        trees.update(params, other, state, route)
    with pytest.raises(ValueError, match="params and the route differ"):
        trees.update(other, params, state, route)
    with pytest.raises(ValueError, match="params and the route differ"):
        trees.init(other, route)
    with pytest.raises(ValueError, match="previous_grads and the route differ"):
        trees.update(params, params, state, route, previous_grads=other)
    wide = {**params, "b": np.ones((3, 4))}
    with pytest.raises(ValueError, match=r"grads at 'b' has shape \(3, 4\), routed was \(3, 3\)"):
        trees.update(params, wide, state, route)
    with pytest.raises(TypeError, match=r"b must be real or complex floating, got int64"):
        trees.init({**params, "b": np.ones((3, 3), dtype=int)}, route)


# --- traced --------------------------------------------------------------------------------------


def test_under_jit_as_on_numpy() -> None:
    """Parameters, gradients and state are traced, in sorted order; the route is static."""
    jax = pytest.importorskip("jax", reason="jax is not installed")
    host, host_grads = ({"layers": tree(seed=seed)["layers"]} for seed in (0, 50))
    params, grads = (
        mapped(lambda x: jax.numpy.asarray(x, "float32"), t) for t in (host, host_grads)
    )
    route = trees.route(params, Group("*.weight", rules.Muon(0.1)), rest=rules.AdamW(1e-2))
    traces = []

    def step(params: Any, grads: Any, state: Any) -> Any:
        traces.append(1)
        return trees.update(params, grads, state, route)

    compiled, state = jax.jit(step), trees.init(params, route)
    own = trees.init(host, route)
    keys = list(own)
    for _ in range(2):
        params, state = compiled(params, grads, state)
        host, own = trees.update(host, host_grads, own, route)
    assert len(traces) == 1
    assert jax.tree.structure(params) == jax.tree.structure(host)
    assert_same(params, host, 1e-5)
    assert set(state) == set(keys)


def test_in_one_graph_of_torch() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    layers = {"layers": tree()["layers"]}
    params, grads = mapped(torch.asarray, layers), mapped(torch.asarray, layers)
    route = trees.route(params, rest=rules.SignDescent(0.1))
    state = trees.init(params, route)

    def step(params: Any, grads: Any, state: Any) -> Any:
        return trees.update(params, grads, state, route)

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    one, other = compiled(params, grads, state), step(params, grads, state)
    assert_same(one[0], other[0], 1e-12)
    assert list(one[1]) == list(other[1])


def test_on_the_parameters_of_a_torch_module() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, (1, 3)), torch.nn.Flatten(), torch.nn.Linear(24, 2)
    )
    params = dict(model.named_parameters())
    route = trees.route(
        params,
        Group("0.weight", rules.Muon(0.05), view="flatten"),
        Group("2.weight", rules.Muon(0.05)),
        rest=rules.AdamW(1e-2),
    )
    x, target = torch.randn(16, 3, 2, 5), torch.randn(16, 2)
    with torch.no_grad():
        state = trees.init(params, route)
    losses = []
    for _ in range(15):
        model.zero_grad()
        loss = ((model(x) - target) ** 2).mean()
        loss.backward()
        losses.append(float(loss.detach()))
        with torch.no_grad():
            grads = {name: p.grad for name, p in params.items()}
            new, state = trees.update(params, grads, state, route)
            for name, p in params.items():
                p.copy_(new[name])
    assert losses[-1] < 0.6 * losses[0]
    assert all(not y.requires_grad for y in state.values())


# --- fused projections, and groups that need no view ---------------------------------------------


@pytest.mark.parametrize("layout", ["out_in", "in_out"])
@pytest.mark.parametrize(
    "rule",
    [
        rules.Muon(0.1, weight_decay=0.1),
        rules.Scion(0.1, radius=2.0),
        rules.TruncatedSpectralDescent(2, 0.1),
        rules.AdamW(0.1),
    ],
)
def test_sections_are_parameters_of_their_own(rule: Any, layout: Any) -> None:
    """A fused projection takes the steps that its parts would take apart."""
    sizes = (10, 4, 4)
    cuts = (slice(0, 10), slice(10, 14), slice(14, 18))
    fused, grads = support.gaussian(2, 18, 7, seed=3)
    parts = {str(i): fused[cut] for i, cut in enumerate(cuts)}
    if layout == "in_out":
        fused, grads = fused.T, grads.T
        parts = {key: x.T for key, x in parts.items()}
        if isinstance(rule, rules.Muon):
            rule = replace(rule, layout=layout)
    group = Group("*", rule, layout=layout, sections=sizes)
    route = trees.route({"qkv": fused}, group)
    apart = trees.route(parts, Group("*", rule, layout=layout))
    assert route["qkv"].scale == tuple(apart[str(i)].scale for i in range(3))
    params, state = {"qkv": fused}, trees.init({"qkv": fused}, route)
    keys = {key: (x.shape, x.dtype) for key, x in state.items()}
    own = trees.init(parts, apart)
    axis = 0 if layout == "out_in" else 1
    for _ in range(3):
        params, state = trees.update(params, {"qkv": grads}, state, route)
        cut = np.split(grads, [10, 14], axis=axis)
        parts, own = trees.update(parts, {str(i): g for i, g in enumerate(cut)}, own, apart)
    np.testing.assert_allclose(params["qkv"], np.concatenate(list(parts.values()), axis=axis))
    assert {key: (x.shape, x.dtype) for key, x in state.items()} == keys


def test_sections_that_do_not_fit_are_named() -> None:
    x = {"qkv": np.ones((18, 7))}
    with pytest.raises(ValueError, match=r"sections=\(10, 4\) must add up to axis 0"):
        trees.route(x, Group("qkv", rules.Muon(0.1), sections=(10, 4)))
    with pytest.raises(ValueError, match="leave out view='heads=2'"):
        Group("qkv", rules.Muon(0.1), sections=(10, 4, 4), view="heads=2")


def test_the_route_shows_sections() -> None:
    rule = rules.Muon(0.1, scale="rms_to_rms")
    route = trees.route({"qkv": np.ones((12, 4))}, Group("qkv", rule, sections=(8, 2, 2)))
    assert "(8, 4) (2, 4) (2, 4)  Muon  1.414 0.7071 0.7071  48" in str(route)


@pytest.mark.parametrize("rule", [rules.AdamW(0.1), rules.SignDescent(0.1), None])
def test_biases_and_what_is_frozen_need_no_view(rule: Any) -> None:
    params = {"bias": np.ones(3), "gain": np.ones(()), "kernel": np.ones((2, 3, 4))}
    route = trees.route(params, Group("*", rule))
    new, _ = trees.update(params, params, trees.init(params, route), route)
    for key, x in params.items():
        assert new[key].shape == x.shape
        np.testing.assert_allclose(new[key], x if rule is None else x - 0.1)
    with pytest.raises(ValueError, match="needs two axes"):
        trees.route(params, Group("*", rules.Muon(0.1)))


@pytest.mark.parametrize("layout", ["out_in", "in_out"])
def test_axes_say_what_is_joined(layout):
    x = np.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    view = trees.Axes(inputs=(1, 0), outputs=-1).view(x.shape, layout)
    matrices = view.matrices(x, xp=np)
    expected = np.transpose(x, (2, 1, 0, 3)).reshape(4, 6, 5)
    expected = expected if layout == "in_out" else np.swapaxes(expected, -1, -2)
    np.testing.assert_array_equal(matrices, expected)
    np.testing.assert_array_equal(view.restore(matrices, x.shape, xp=np), x)


@pytest.mark.parametrize("axes", [trees.Axes(0, 0), trees.Axes(0, (1, -2)), trees.Axes(0, 2)])
def test_axes_that_do_not_fit_are_named_with_the_parameter(axes):
    group = trees.Group("w", rules.Muon(0.1), view=axes)
    with pytest.raises(ValueError, match=r"'w'.*ax[ie]s"):
        trees.route({"w": np.ones((3, 2))}, group)
