"""JAX: traced and eager arrays alike, always with a fixed plan."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import jax
from specdesc._lib.typing import Array, Device
from specdesc.backends import Backend, Capabilities, Derivative
from specdesc.backends.protocol import ONCE, Opened

from .primitives import JaxPrimitives

#: A matrix is long from this many times the devices on that share it, relative to its width: sums
#: of its Gram matrices, about four, move less then than the matrix in and out.
LONG = 4

#: Axes of a mesh that the compiler may use as it finds best.
_AUTO = jax.sharding.AxisType.Auto


def _name(key: Any) -> str:
    """Return the name in a key of a pytree path: a field, a key, or a position."""
    for attribute in ("name", "key", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def _checked(derivative: Derivative) -> Callable[[Array], Array]:
    """Return the identity, whose derivative is refused where that of a derivative is."""

    def same(x: Array) -> Array:
        return x

    def refuse(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
        x, where = primals[0], derivative.where
        seen = where is not None and not isinstance(x, jax.core.Tracer)
        if not derivative.twice or (seen and where is not None and not where(x).all()):
            raise NotImplementedError(ONCE)
        return x, tangents[0]

    identity = jax.custom_jvp(same)
    identity.defjvp(refuse)
    return cast("Callable[[Array], Array]", identity)


def _is_box(node: object, key: Any) -> bool:
    """Say whether a node only holds one value, as variables and partitioned arrays of Flax do."""
    return not isinstance(node, (dict, list, tuple)) and getattr(key, "name", "") == "value"


class JaxBackend(Backend):
    """Arrays and tracers of JAX."""

    name = "jax"
    xp = jax.numpy
    capabilities = Capabilities.read(__name__)
    primitives_type = JaxPrimitives
    traps = True  # jax_debug_nans

    def owns(self, kind: type, /) -> bool:
        """Claim concrete arrays and tracers."""
        return issubclass(kind, (jax.Array, jax.core.Tracer))

    def may_branch(self, x: Array, /) -> bool:
        """Say no, also for eager arrays: one behaviour inside and outside of jit."""
        return False

    def multiplies(self, x: Array, /) -> bool:
        """Say yes where the default platform is an accelerator: a tracer does not tell its own."""
        return bool(jax.default_backend() != "cpu")

    def device(self, x: Array, /) -> Device:
        """Return the one device that `x` was put on, None where JAX may still choose.

        That is for arrays that nobody placed, on several devices, or traced: which of them go
        together is for JAX to say.
        """
        if isinstance(x, jax.core.Tracer) or not getattr(x, "committed", False):
            return None
        devices = x.devices()
        return next(iter(devices)) if len(devices) == 1 else None

    def place(self, x: Array, /) -> Device:
        """Return None: arrays made without a device follow those that they meet."""
        return None

    def layout(self, x: Array, /) -> str:
        """Return the sharding of `x`, which is part of the type of a traced one."""
        return str(jax.typeof(x).sharding if isinstance(x, jax.core.Tracer) else x.sharding)

    def guard(self, x: Array, /) -> AbstractContextManager[object]:
        """Ask for products of full precision where the platform has others."""
        if jax.default_backend() == "cpu":
            return nullcontext()
        precision: AbstractContextManager[object] = jax.default_matmul_precision("highest")
        return precision

    def devices(self) -> tuple[str, ...]:
        """Return the devices by platform and index."""
        return tuple(f"{d.platform}:{d.id}" for d in jax.devices())

    def from_host(self, values: Array, /, *, dtype: str, device: str | None = None) -> Array:
        """Copy `values`; a float64 needs ``jax_enable_x64``."""
        if dtype in ("float64", "complex128") and not jax.config.read("jax_enable_x64"):
            msg = f"jax makes no {dtype} unless jax_enable_x64 is set"
            raise ValueError(msg)
        named = {f"{d.platform}:{d.id}": d for d in jax.devices()}
        if device is not None and device not in named:
            msg = f"jax has the devices {', '.join(named)}, not {device!r}"
            raise ValueError(msg)
        return jax.numpy.array(values, dtype=dtype, device=named[device] if device else None)

    def to_host(self, x: Array, /) -> Array:
        """Copy a concrete array."""
        return jax.device_get(x).copy()

    differentiates = True

    def differentiable(
        self, function: Callable[..., tuple[Array, ...]], derivative: Derivative, /
    ) -> Callable[..., tuple[Array, ...]]:
        """Attach the tangent map; JAX transposes it for gradients, by its own convention."""

        def call(*arrays: Array) -> tuple[Array, ...]:
            return tuple(function(*arrays))

        def with_tangents(
            primals: tuple[Array, ...], tangents: tuple[Array, ...]
        ) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
            outputs = attached(*primals)  # itself, for derivatives of the derivative
            if not derivative.twice or derivative.where is not None:
                primals = (_checked(derivative)(primals[0]), *primals[1:])
            moved = derivative.tangent(primals, tangents[: derivative.inputs])
            still = (jax.custom_derivatives.zero_from_primal(y) for y in outputs[len(moved) :])
            return outputs, (*moved, *still)

        attached = jax.custom_jvp(call)
        attached.defjvp(with_tangents)
        return cast("Callable[..., tuple[Array, ...]]", attached)

    def asks(self, x: Array, /) -> bool:
        """Say yes for tracers: which of them differentiate does not show."""
        return isinstance(x, jax.core.Tracer)

    def frozen(self, x: Array, /) -> Array:
        """Return the array as a constant of derivatives."""
        return jax.lax.stop_gradient(x)

    def differential(self, function: Callable[[Array], Array], x: Array, dx: Array, /) -> Array:
        """Return J dx, in forward mode."""
        return jax.jvp(function, (x,), (dx,))[1]

    def handed_out(self, x: Array, /) -> Array:
        """Spread a traced stack over the devices of its mesh, whole matrices on each.

        Else the compiler gathers the stack at every product of matrices that are cut by their short
        side. Long ones stay where they are: their products are sums of small squares.
        """
        if not isinstance(x, jax.core.Tracer) or x.ndim < 3:
            return x
        mesh = jax.typeof(x).sharding.mesh
        free = [n for n, t in zip(mesh.axis_names, mesh.axis_types, strict=True) if t == _AUTO]
        choices = [tuple(free), *((name,) for name in free)]
        for names in choices:
            size = math.prod(mesh.shape[name] for name in names)
            m, n = x.shape[-2:]
            if size > 1 and x.shape[-3] % size == 0 and max(m, n) < LONG * size * min(m, n):
                spec = jax.sharding.PartitionSpec(*[None] * (x.ndim - 3), names)
                return jax.lax.with_sharding_constraint(x, jax.sharding.NamedSharding(mesh, spec))
        return x

    def open_node(self, node: object, /) -> Opened | None:
        """Open any registered pytree by one level, with the names that JAX gives its children."""
        children, form = jax.tree_util.tree_flatten_with_path(node, is_leaf=lambda x: x is not node)
        if jax.tree_util.treedef_is_leaf(form):
            return None
        if len(children) == 1 and _is_box(node, children[0][0][0]):
            return [("", children[0][1])], form.unflatten
        return [(_name(path[0]), child) for path, child in children], form.unflatten

    def repeat(
        self,
        count: int,
        step: Callable[..., tuple[Array, ...]],
        arrays: tuple[Array, ...],
        /,
    ) -> tuple[Array, ...]:
        """Apply `step` in a loop that is traced and compiled once."""

        def body(_: Array, carried: tuple[Array, ...]) -> tuple[Array, ...]:
            return step(*carried)

        repeated: tuple[Array, ...] = jax.lax.fori_loop(0, count, body, arrays)
        return repeated

    def synchronize(self) -> None:
        """Wait for the work that was dispatched, by running after it on every device."""
        for device in jax.devices():
            jax.device_put(0.0, device).block_until_ready()


BACKEND = JaxBackend()
