"""What the parameters of a model are for: which are matrices of hidden layers, and which are not.

It follows what is said of Muon by those who use it: hidden matrices are for Muon; embeddings, the
head, norms, biases and whatever has no two sides are for AdamW.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from specdesc.rules import Layout
from specdesc.trees import View

#: Names of heads, and of raw parameters that are rows of a table.
_HEADS = {"head", "lm_head", "classifier", "unembed", "output_projection"}
_TABLES = re.compile(r"embed|(^|[._])(pos|cls|tok|wpe|wte)|token")

_CONVOLUTIONS = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
_TRANSPOSED = (torch.nn.ConvTranspose1d, torch.nn.ConvTranspose2d, torch.nn.ConvTranspose3d)


@dataclass(frozen=True)
class Role:
    """What one parameter is for.

    Attributes
    ----------
    name : str
        Of the parameter.
    p : tensor
        The parameter.
    kind : str
        The group that it joins; ``"matrices"``, ``"convolutions"`` and ``"experts"`` are Muon's.
    view : str or callable or None
        How Muon sees it.
    layout : {"out_in", "in_out"}
        Which axis of a matrix counts outputs.
    """

    name: str
    p: Any
    kind: str
    view: str | Callable[[tuple[int, ...]], View] | None = None
    layout: Layout = "out_in"


#: The kinds that Muon takes.
HIDDEN = ("matrices", "convolutions", "experts")


def roles(model: torch.nn.Module, adamw: tuple[str, ...]) -> list[Role]:
    """Return the role of every parameter of a model, once each, in its order.

    Parameters
    ----------
    model : Module
        The modules say most of it, names the rest.
    adamw : tuple of str
        Globs on the names of what else is no hidden matrix.

    Raises
    ------
    ValueError
        If one of `adamw` matches no name.
    """
    every = list(_every(model))
    for pattern in adamw:
        if not any(fnmatchcase(name, pattern) for name, _, _ in every):
            names = ", ".join(name for name, _, _ in every[:20])
            msg = f"adamw={pattern!r} matches no parameter; names: {names}"
            raise ValueError(msg)
    tables = (torch.nn.Embedding, torch.nn.EmbeddingBag)
    tied = {id(p) for _, p, module in every if isinstance(module, tables)}
    found = [_role(name, p, module, tied, adamw) for name, p, module in every]
    head = _head(found, every)
    return [Role(r.name, r.p, "embeddings and heads") if r.name == head else r for r in found]


def _every(model: torch.nn.Module) -> Iterator[tuple[str, Any, torch.nn.Module]]:
    """Return name, parameter and module; a tied parameter belongs to the first that has it."""
    seen: set[int] = set()
    for prefix, module in model.named_modules():
        for own, p in module.named_parameters(recurse=False):
            if id(p) not in seen:
                seen.add(id(p))
                yield f"{prefix}.{own}" if prefix else own, p, module


def _role(
    name: str, p: Any, module: torch.nn.Module, tied: set[int], adamw: tuple[str, ...]
) -> Role:
    if p.ndim < 2 or "Norm" in type(module).__name__:
        return Role(name, p, "norms and biases")
    if _is_table_or_head(name, p, module, tied) or any(fnmatchcase(name, a) for a in adamw):
        return Role(name, p, "embeddings and heads")
    if isinstance(module, (*_CONVOLUTIONS, *_TRANSPOSED)):
        return _filters(name, p, module)
    if p.ndim > 2:
        return _sided(Role(name, p, "experts", "batched"))
    if type(module).__name__ == "Conv1D":  # the linear layer of GPT-2 in transformers
        return _sided(Role(name, p, "matrices", "matrix", "in_out"))
    fused = name.rpartition(".")[2] == "in_proj_weight"  # of MultiheadAttention
    return _sided(Role(name, p, "matrices", "heads=3" if fused else "matrix"))


def _is_table_or_head(name: str, p: Any, module: torch.nn.Module, tied: set[int]) -> bool:
    layers = (torch.nn.Linear, *_CONVOLUTIONS, *_TRANSPOSED)
    is_table = not isinstance(module, layers) and _TABLES.search(name) is not None
    parts = name.split(".")
    return id(p) in tied or is_table or (len(parts) > 1 and parts[-2] in _HEADS)


def _filters(name: str, p: Any, module: Any) -> Role:
    """Return the role of a convolution: with one channel for each filter it is no matrix."""
    if isinstance(module, _TRANSPOSED):
        return _sided(Role(name, p, "convolutions", _outputs_second))
    if module.groups > 1 and p.shape[1] == 1:
        return Role(name, p, "norms and biases")
    return _sided(Role(name, p, "convolutions", _grouped(module.groups)))


def _sided(role: Role) -> Role:
    """Return a role of Muon, of AdamW where the matrices have a side of one."""
    shape = tuple(role.p.shape)
    seen = role.view(shape).shape if callable(role.view) else shape
    if role.view == "flatten":
        seen = (shape[0], role.p.numel() // max(1, shape[0]))
    return Role(role.name, role.p, "norms and biases") if 1 in seen[-2:] else role


def _grouped(groups: int) -> str | Callable[[tuple[int, ...]], View]:
    return "flatten" if groups == 1 else partial(_groups_apart, groups=groups)


def _groups_apart(shape: tuple[int, ...], *, groups: int) -> View:
    """Return one matrix for each group of a convolution."""
    split = (groups, shape[0] // groups, *shape[1:])
    size = 1
    for side in shape[1:]:
        size *= side
    return View(split, tuple(range(len(split))), (groups, shape[0] // groups, size))


def _outputs_second(shape: tuple[int, ...]) -> View:
    """Return the matrix of a transposed convolution, whose outputs are the second axis."""
    size = shape[0]
    for side in shape[2:]:
        size *= side
    return View(shape, (1, 0, *range(2, len(shape))), (shape[1], size))


def _head(found: list[Role], every: list[tuple[str, Any, torch.nn.Module]]) -> str | None:
    """Return the name of the last linear layer, unless it is one of many alike, or all there is.

    Layers alike differ in nothing but the numbers in their names, as those of blocks do.
    """
    hidden = [role for role in found if role.kind in HIDDEN]
    linear = [name for name, _, module in every if isinstance(module, torch.nn.Linear)]
    weights = [name for name in linear if name.endswith("weight")]
    if not weights or len(hidden) < 2 or hidden[-1].name != weights[-1]:
        return None
    last = hidden[-1]
    alike = [
        role
        for role in hidden[:-1]
        if re.sub(r"\d+", "#", role.name) == re.sub(r"\d+", "#", last.name)
        and role.p.shape == last.p.shape
    ]
    return None if alike else last.name
