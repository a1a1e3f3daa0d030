"""Muon under its name in torch: for a list of matrices as there, for a model in one line."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from specdesc import rules, trees
from specdesc.rules import AdamW

from . import ways
from .base import Optimizer
from .roles import HIDDEN, Role, roles

#: What torch.optim.Muon runs by default: the iteration that `method="newton-schulz"` is.
_QUINTIC = (3.4445, -4.7750, 2.0315)
_STEPS, _EPS = 5, 1e-7

_SCALES = {None: "keller", "original": "keller", "match_rms_adamw": "adamw_rms"}


class Muon(Optimizer):
    """Muon with the arguments of ``torch.optim.Muon``; for a model, with AdamW where Muon is not.

    Parameters
    ----------
    params : Module or iterable
        A model: its hidden matrices, convolutions and experts get Muon, embeddings, head, norms,
        biases and all that has no two sides AdamW; ``print(optimizer.route)`` shows it. An iterable
        of matrices, of ``(name, matrix)`` or of groups of them: Muon for all, as in torch.
    lr : float
        The step; its spectral norm is `lr` times the scale of `adjust_lr_fn`.
    weight_decay : float
        Decoupled. Norms and biases get none.
    momentum : float
        The factor on the old buffer.
    nesterov : bool
        Whether the buffer is looked ahead.
    ns_coefficients, eps, ns_steps : optional
        None, the default, computes the factor as `rules.Muon` does. The defaults of torch choose
        ``method="newton-schulz"``, their iteration; other values are refused.
    adjust_lr_fn : {None, "original", "match_rms_adamw"}
        The scale: sqrt(max(1, out / in)), or 0.2 sqrt(max(out, in)), which lets `lr` and
        `weight_decay` be those of AdamW.
    adamw : str or sequence of str
        For a model: globs on names of what else AdamW takes.
    adamw_lr : float, optional
        None is `lr` with ``"match_rms_adamw"``, else 3e-4.
    adamw_betas : tuple of float
        Of AdamW.
    adamw_eps : float
        Of AdamW.
    maximize, capturable, init_states, split : bool
        As in `Optimizer`.
    **options
        Any other of `rules.Muon`, such as ``method="newton-schulz"``, ``scale`` or ``decay``.

    Raises
    ------
    TypeError, ValueError
        For whatever cannot be meant: the message says what to write.

    Notes
    -----
    The head is a linear layer of such a name, or the last one, unless it is one of many alike. A
    parameter that is tied to an embedding is an embedding. Everything that `Optimizer` says of
    groups, states and checkpoints holds; a state of ``torch.optim.Muon`` loads.

    Examples
    --------
    >>> import torch
    >>> from specdesc.torch import Muon
    >>> layers = [torch.nn.Embedding(9, 4), torch.nn.Linear(4, 6), torch.nn.Linear(6, 9)]
    >>> optimizer = Muon(torch.nn.Sequential(*layers), lr=0.02, weight_decay=0.01)
    >>> print(optimizer.route)
    parameter  shape   view    rule   scale  numbers
    1.weight   (6, 4)  (6, 4)  Muon   1.225  24
    0.weight   (9, 4)  (9, 4)  AdamW  1      36
    2.weight   (9, 6)  (9, 6)  AdamW  1      54
    1.bias     (6,)    (6, 1)  AdamW  1      6
    2.bias     (9,)    (9, 1)  AdamW  1      9
    <BLANKLINE>
    matrices: 1 arrays, 24 numbers (18.6%)
    embeddings and heads: 2 arrays, 90 numbers (69.8%)
    norms and biases: 2 arrays, 15 numbers (11.6%)
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: Sequence[float] | None = None,
        eps: float | None = None,
        ns_steps: int | None = None,
        adjust_lr_fn: str | None = None,
        *,
        adamw: str | Sequence[str] = (),
        adamw_lr: float | None = None,
        adamw_betas: tuple[float, float] = (0.9, 0.95),
        adamw_eps: float = 1e-8,
        maximize: bool = False,
        capturable: bool = False,
        init_states: bool = False,
        split: Any = False,
        **options: Any,
    ) -> None:
        _check_iteration(ns_coefficients, eps, ns_steps, options)
        if adjust_lr_fn not in _SCALES:
            msg = f"adjust_lr_fn must be 'original' or 'match_rms_adamw', got {adjust_lr_fn!r}"
            raise ValueError(msg)
        if adjust_lr_fn is not None and "scale" in options:
            msg = "adjust_lr_fn and scale are two names of one thing: leave one out"
            raise ValueError(msg)
        options.setdefault("scale", _SCALES[adjust_lr_fn])
        step, decay = _number("lr", lr), _number("weight_decay", weight_decay)
        beta = _number("momentum", momentum)
        rule = rules.Muon(step, beta=beta, nesterov=nesterov, weight_decay=decay, **options)
        if adamw_lr is None:
            adamw_lr = step if rule.scale == "adamw_rms" else 3e-4
        first, second = adamw_betas
        other = AdamW(adamw_lr, betas=(first, second), eps=adamw_eps, weight_decay=decay)
        if isinstance(params, torch.nn.Module):
            patterns = (adamw,) if isinstance(adamw, str) else tuple(adamw)
            given = _of_model(roles(params, patterns), rule, other)
            later = ways.Chooser((trees.Group("*", rule, ndim=2),), ways.as_rest(other))
        else:
            if adamw:
                msg = "adamw= is for a model: write Muon(model, adamw=...)"
                raise ValueError(msg)
            given = _of_matrices(params, rule)
            later = ways.Chooser((), trees.Group("*", rule))
        super().__init__(
            given, maximize=maximize, capturable=capturable, init_states=init_states, split=split
        )
        self._chooser = later


def _of_model(found: list[Role], rule: rules.Muon, other: AdamW) -> list[dict[str, Any]]:
    """Return the groups of a model: those of Muon by kind and view, then those of AdamW."""
    groups: dict[tuple[str, ...], dict[str, Any]] = {}
    for role in sorted(found, key=lambda role: _ORDER.index(role.kind)):
        key = (role.kind, repr(role.view), role.layout)
        if key not in groups:
            group: dict[str, Any] = {"params": [], "name": role.kind}
            if role.kind in HIDDEN:
                group |= {"rule": replace(rule, layout=role.layout), "view": role.view}
            elif role.kind == "embeddings and heads":
                group |= {"rule": other, "view": "whole"}
            else:
                group |= {"rule": other, "view": "whole", "weight_decay": 0.0}
            groups[key] = group
        groups[key]["params"].append((role.name, role.p))
    return list(groups.values())


_ORDER = (*HIDDEN, "embeddings and heads", "norms and biases")


def _of_matrices(params: Any, rule: rules.Muon) -> list[dict[str, Any]]:
    """Return groups of matrices alone, as torch.optim.Muon wants them."""
    groups = ways.listed(params)
    for group in groups:
        group["params"] = named = ways.pairs(group.get("params", []))
        for path, (_, p) in zip(ways.paths(named), named, strict=True):
            if p.ndim != 2 and "view" not in group:
                msg = (
                    f"Muon is for matrices, but {path!r} has shape {tuple(p.shape)}: write "
                    "Muon(model, ...), which gives everything else to AdamW"
                )
                raise ValueError(msg)
        if "adjust_lr_fn" in group:
            group.setdefault("scale", _SCALES.get(group.pop("adjust_lr_fn"), "keller"))
        group.setdefault("rule", rule)
        group.setdefault("name", "matrices")
    return groups


def _check_iteration(
    coefficients: Sequence[float] | None, eps: float | None, steps: int | None, options: Any
) -> None:
    """Choose the iteration of torch where somebody asks for it, and refuse others."""
    given = {"ns_coefficients": coefficients, "eps": eps, "ns_steps": steps}
    known = {"ns_coefficients": _QUINTIC, "eps": _EPS, "ns_steps": _STEPS}
    for name, value in given.items():
        if value is None:
            continue
        plain = tuple(value) if isinstance(value, Sequence) else value
        if plain != known[name]:
            msg = (
                f"{name}={value!r} is not possible, only {known[name]!r}: leave it out, and choose "
                "the accuracy of the factor by method="
            )
            raise ValueError(msg)
        options.setdefault("method", "newton-schulz")


def _number(name: str, value: Any) -> float:
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        return float(value)
    if callable(value) or isinstance(value, (bool, str)):
        msg = f"{name} must be a number, got {value!r}; rules.Muon takes schedules"
        raise TypeError(msg)
    return float(value)
