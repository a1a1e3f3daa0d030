"""Rules as a gradient transformation of optax."""

from typing import Any

import jax
from specdesc import trees
from specdesc._lib import extras
from specdesc._lib.typing import Array
from specdesc.rules import Rule
from specdesc.rules.rule import State


def transformation(*groups: trees.Group, rest: Rule | trees.Group | None = None) -> Any:
    """Return rules of `specdesc.rules` as an ``optax.GradientTransformationExtraArgs``.

    Parameters
    ----------
    *groups : trees.Group
        Each parameter goes to the first group that takes it. Kernels of Flax are (in, out): give
        the rule or its group ``layout="in_out"``.
    rest : Rule or trees.Group, optional
        For what no group takes; see `trees.route`, which decides and raises.

    Returns
    -------
    optax.GradientTransformationExtraArgs
        ``init(params)`` and ``update(grads, state, params, *, value=None)``. The updates are the
        new parameters less the old ones, signs included: nothing is to be negated behind them. The
        learning rate is the step of the rule. Weight decay and constraints are in the update, so
        that what rescales it behind them breaks them.

    Raises
    ------
    specdesc.MissingExtra
        If optax is not installed.
    NotImplementedError
        On the first `init`, for a rule that needs the gradient at the previous point, which optax
        does not hand over.

    Examples
    --------
    >>> import jax.numpy as jnp, optax
    >>> from specdesc import rules
    >>> from specdesc.backends.jax.transformation import transformation
    >>> muon = transformation(rest=rules.Muon(0.25, layout="in_out"))
    >>> params = {"kernel": jnp.eye(2)}
    >>> updates, state = muon.update(params, muon.init(params), params)
    >>> new = optax.apply_updates(params, updates)
    >>> bool(jnp.allclose(new["kernel"], 0.75 * jnp.eye(2), atol=1e-6))
    True
    """
    optax = extras.require("optax", "optax")

    def init(params: Any) -> State:
        route = trees.route(params, *groups, rest=rest)
        if route.needs_previous_grad:
            msg = "optax hands over no gradient at the previous point: use approximate=True"
            raise NotImplementedError(msg)
        return trees.init(params, route)

    def update(
        grads: Any, state: State, params: Any = None, *, value: Array | None = None, **_: object
    ) -> tuple[Any, State]:
        if params is None:
            msg = "params must be given to update: the new point is computed from them"
            raise ValueError(msg)
        route = trees.route(params, *groups, rest=rest)
        new, state = trees.update(params, grads, state, route, value=value)
        return jax.tree.map(lambda y, x: y - x, new, params), state

    return optax.GradientTransformationExtraArgs(init, update)
