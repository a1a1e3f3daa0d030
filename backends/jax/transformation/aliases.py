"""Muon and its kin by the names and arguments that optax has for them."""

import math
from collections.abc import Callable
from typing import Any

import jax
from specdesc import rules, trees
from specdesc._lib.typing import Array
from specdesc.norms import Max
from specdesc.rules import Rule
from specdesc.schedules import Schedule

from .base import Grouping, of_grouping
from .parameters import Parameters, has_numbers

Number = float | Array

#: The coefficients of the published iteration, which optax has as a default.
PUBLISHED = (3.4445, -4.7750, 2.0315)


def muon(
    learning_rate: Number | Schedule,
    ns_coeffs: tuple[float, float, float] | None = None,
    ns_steps: int | None = None,
    beta: Number = 0.95,
    eps: Number = 1e-8,
    weight_decay: Number = 0.0,
    weight_decay_mask: Any = None,
    *,
    nesterov: bool = True,
    adam_b1: Number = 0.9,
    adam_b2: Number = 0.999,
    adam_weight_decay: Number = 0.0,
    adam_learning_rate: Number | Schedule | None = None,
    muon_weight_dimension_numbers: Any = None,
    consistent_rms: Number | None = None,
    tol: float | None = None,
    floor: float | None = None,
    dtype: str | None = None,
    update_dtype: Any = None,
) -> Any:
    """Return Muon for matrices and AdamW for the rest, as ``optax.contrib.muon`` does.

    Parameters
    ----------
    learning_rate : float, array or schedule
        Of both, unless `adam_learning_rate` is given.
    ns_coeffs, ns_steps : tuple of float and int, optional
        ``(3.4445, -4.7750, 2.0315)`` and 5 ask for the published iteration of five steps. None is
        the factor itself, to `tol` and `floor`.
    beta : float or array
        The factor on the old momentum.
    eps : float or array
        Of AdamW.
    weight_decay : float or array
        Decoupled, of Muon.
    weight_decay_mask : tree of bool or callable, optional
        Where Muon decays: a tree like the parameters, a prefix of one, or a function from the
        parameters to it.
    nesterov : bool
        Whether Muon looks ahead. AdamW never does.
    adam_b1, adam_b2, adam_weight_decay, adam_learning_rate : float, array or schedule
        Of AdamW. No learning rate is that of Muon.
    muon_weight_dimension_numbers : tree or callable, optional
        Which axes are inputs and outputs, ``optax.contrib.MuonDimensionNumbers`` or `trees.Axes`,
        None for AdamW: a tree like the parameters, a prefix of one, or a function from the
        parameters to it. Without it matrices are Muon's, as (inputs, outputs).
    consistent_rms : float or array, optional
        The step is scaled by this times sqrt(max(fan_in, fan_out)). None is
        sqrt(max(1, fan_out / fan_in)).
    tol, floor : float, optional
        Of the factor, as in `rules.Muon`.
    dtype : str, optional
        In which the factor is computed, as in `rules.Muon`.
    update_dtype : dtype, optional
        As in `transformation`.

    Returns
    -------
    optax.GradientTransformationExtraArgs
        As of `transformation`.

    Raises
    ------
    ValueError
        For other `ns_coeffs` or `ns_steps`.
    """
    matrices = rules.Muon(
        learning_rate,
        beta=beta,
        nesterov=nesterov,
        weight_decay=weight_decay,
        momentum="ema_corrected",
        scale="keller" if consistent_rms is None else _consistent(consistent_rms),
        layout="in_out",
        method=_method(ns_coeffs, ns_steps),
        tol=tol,
        floor=floor,
        dtype=dtype,
    )
    others = rules.AdamW(
        learning_rate if adam_learning_rate is None else adam_learning_rate,
        betas=(adam_b1, adam_b2),
        eps=eps,
        weight_decay=adam_weight_decay,
    )
    still = rules.Muon(**(_fields(matrices) | {"weight_decay": 0.0}))
    grouping = _grouping(
        matrices, others, muon_weight_dimension_numbers, mask=weight_decay_mask, undecayed=still
    )
    return of_grouping(grouping, update_dtype=update_dtype)


def scale_by_muon(
    beta: Number = 0.95,
    *,
    nesterov: bool = True,
    weight_dimension_numbers: Any = None,
    tol: float | None = None,
    floor: float | None = None,
    dtype: str | None = None,
    update_dtype: Any = None,
) -> Any:
    """Return the direction of Muon alone, uphill, as ``optax.contrib.scale_by_muon`` does.

    For a chain that scales, decays and negates by itself. The factor U Vᴴ of the momentum, without
    a scale; parameters are those of `muon`. All leaves have to be matrices, or to have dimension
    numbers.

    Returns
    -------
    optax.GradientTransformationExtraArgs
        As of `transformation`, with the opposite sign.
    """
    rule = rules.Muon(
        1.0,
        beta=beta,
        nesterov=nesterov,
        momentum="ema_corrected",
        scale="none",
        layout="in_out",
        tol=tol,
        floor=floor,
        dtype=dtype,
    )
    grouping = _grouping(rule, None, weight_dimension_numbers)
    return of_grouping(grouping, update_dtype=update_dtype, sign=-1.0)


def scion(
    learning_rate: Number | Schedule,
    beta: Number = 0.9,
    *,
    radius: Number = 1.0,
    other_radius: Number = 1.0,
    constrained: bool = True,
    weight_dimension_numbers: Any = None,
    tol: float | None = None,
    floor: float | None = None,
    dtype: str | None = None,
    update_dtype: Any = None,
) -> Any:
    """Return Scion: the spectral norm for matrices, the largest entry for the rest.

    Parameters
    ----------
    learning_rate : float, array or schedule
        The share of the way to the minimiser if `constrained`, else the length of the step in
        units of the radius.
    beta : float or array
        The factor on the old momentum.
    radius : float or array
        Of the ball of matrices, times sqrt(fan_out / fan_in).
    other_radius : float or array
        Of the ball of all that is no matrix: the largest entry.
    constrained : bool
        As in `rules.Scion`. A constrained step keeps its balls only if nothing changes the updates
        behind it, and if the parameters start in them.
    weight_dimension_numbers : tree or callable, optional
        As in `muon`.
    tol, floor, dtype : optional
        Of the factor, as in `rules.Scion`.
    update_dtype : dtype, optional
        As in `transformation`.

    Returns
    -------
    optax.GradientTransformationExtraArgs
        As of `transformation`.
    """
    common: dict[str, Any] = {"beta": beta, "constrained": constrained}
    accuracy: dict[str, Any] = {"tol": tol, "floor": floor, "dtype": dtype}
    matrices = rules.Scion(learning_rate, radius=radius, **common, **accuracy)
    others = rules.Scion(learning_rate, norm=Max(), radius=other_radius, **common)
    grouping = _grouping(matrices, others, weight_dimension_numbers, scale="rms_to_rms")
    return of_grouping(grouping, update_dtype=update_dtype)


def _method(coefficients: Any, steps: int | None) -> Any:
    """Return the name of the iteration that optax would make, or ours."""
    if coefficients is None and steps is None:
        return "auto"
    given = PUBLISHED if coefficients in (None, "standard") else tuple(coefficients)
    if given != PUBLISHED or steps not in (None, 5):
        msg = (
            f"ns_coeffs must be {PUBLISHED} and ns_steps 5, or both None, got {coefficients!r} and "
            f"{steps!r}: tol and floor say what you want of the factor"
        )
        raise ValueError(msg)
    return "newton-schulz"


def _consistent(rms: Number) -> Callable[[int, int], Any]:
    return lambda fan_out, fan_in: rms * math.sqrt(max(fan_out, fan_in))


def _fields(rule: Any) -> dict[str, Any]:
    return {name: getattr(rule, name) for name in rule.__dataclass_fields__ if name != "_"}


def _grouping(
    matrices: Rule,
    others: Rule | None,
    numbers: Any,
    *,
    mask: Any = None,
    undecayed: Rule | None = None,
    scale: Any = None,
) -> Grouping:
    """Return groups by dimension numbers, and by what decays."""

    def groups(
        params: Parameters,
    ) -> tuple[tuple[trees.Group, ...], Rule | trees.Group | None]:
        tree = params.form.unflatten(params.leaves)
        axes = (
            _for_each(numbers, tree, _axes)
            if numbers is not None
            else map(_of_matrix, params.leaves)
        )
        decays = [True] * len(params.leaves) if mask is None else _for_each(mask, tree, bool)
        paths: dict[tuple[trees.Axes, bool], set[str]] = {}
        for path, x, own, decay in zip(params.paths, params.leaves, axes, decays, strict=True):
            if own is not None and has_numbers(x):
                paths.setdefault((own, decay or undecayed is None), set()).add(path)
        found = tuple(
            trees.Group(
                _among(taken),
                matrices if decay else undecayed,
                view=own,
                layout="in_out",
                scale=scale,
            )
            for (own, decay), taken in paths.items()
        )
        return found, others

    return Grouping(groups, (matrices,) if others is None else (matrices, others))


def _among(paths: set[str]) -> Callable[[str, Array], bool]:
    return lambda path, _: path in paths


def _for_each(given: Any, tree: Any, read: Callable[[Any], Any]) -> list[Any]:
    """Return what a prefix of a tree, or a function that makes one, says of every leaf."""
    prefix = given(tree) if callable(given) else given

    def spread(value: Any, below: Any) -> list[Any]:
        return [read(value)] * len(jax.tree.leaves(below))

    spread_out = jax.tree.map(spread, prefix, tree, is_leaf=_is_said)
    return [each for part in jax.tree.leaves(spread_out, is_leaf=_is_list) for each in part]


def _is_said(value: Any) -> bool:
    """Say whether a part of a prefix is about all that is below."""
    return value is None or isinstance(value, trees.Axes) or hasattr(value, "reduction_axis")


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _axes(numbers: Any) -> trees.Axes | None:
    """Return dimension numbers of optax as axes; None, and a masked node, are for AdamW."""
    if isinstance(numbers, trees.Axes):
        return numbers
    if not hasattr(numbers, "reduction_axis"):
        return None
    ends = (numbers.reduction_axis, numbers.output_axis)
    inputs, outputs = (axis if isinstance(axis, int) else tuple(axis) for axis in ends)
    return trees.Axes(inputs, outputs)


def _of_matrix(x: Array) -> trees.Axes | None:
    return trees.Axes(0, 1) if x.ndim == 2 else None
