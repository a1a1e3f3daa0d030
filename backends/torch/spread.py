"""Tensors that are spread over processes: every function of them, by what moves least.

A function of entries runs on the part that is here. A function of matrices runs on whole ones: of
a stack each process gets some, by an exchange that moves each number once; a single matrix is
brought to every process. Factors by products of a long matrix leave it where it is: its Gram matrix
is a sum over the processes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import array_api_compat.torch

import torch
from specdesc._lib.typing import Array
from specdesc.backends.entry import bound_to
from specdesc.backends.primitives import Primitives

from .primitives import TorchPrimitives

if torch.distributed.is_available():
    from torch.distributed.tensor import DTensor, Replicate, Shard
else:  # a build of torch without processes has no such tensors
    DTensor = Replicate = Shard = ()

#: A matrix is long from this many times the processes on that share it, relative to its width.
#: Sums of Gram matrices, three or four of them, move less then than the matrix in and out.
LONG = 4


def is_spread(kind: type, /) -> bool:
    """Say whether tensors of a type are spread over processes."""
    return issubclass(kind, DTensor)


@dataclass(frozen=True)
class Place:
    """Where a tensor lies: what new arrays beside it are made for."""

    mesh: Any
    placements: tuple[Any, ...]
    shape: tuple[int, ...]
    device: Any

    def spread(self, make: Callable[..., Array], shape: Any, **options: Any) -> Array:
        """Return a new tensor: in parts like the one that this is the place of, or everywhere."""
        shape = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
        if shape == self.shape and not any(p.is_partial() for p in self.placements):
            here = make(local_shape(shape, self.mesh, self.placements), **options)
            return wrapped(here, self.mesh, self.placements, shape)
        return self.everywhere(make(shape, **options))

    def everywhere(self, x: Array) -> Array:
        """Return a tensor that every process has."""
        replicated = [Replicate()] * self.mesh.ndim
        return DTensor.from_local(x.to(self.device), self.mesh, replicated, run_check=False)


class _Namespace:
    """The functions of torch, of which those that make tensors know a `Place`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(array_api_compat.torch, name)

    def zeros(self, shape: Any, *, dtype: Any = None, device: Any = None) -> Array:
        return _made(array_api_compat.torch.zeros, shape, device, dtype=dtype)

    def ones(self, shape: Any, *, dtype: Any = None, device: Any = None) -> Array:
        return _made(array_api_compat.torch.ones, shape, device, dtype=dtype)

    def full(self, shape: Any, value: complex, *, dtype: Any = None, device: Any = None) -> Array:
        def make(shape: Any, **options: Any) -> Array:
            return array_api_compat.torch.full(shape, value, **options)

        return _made(make, shape, device, dtype=dtype)

    def eye(self, *sides: int, dtype: Any = None, device: Any = None) -> Array:
        return _everywhere(array_api_compat.torch.eye, sides, device, dtype)

    def arange(self, *ends: float, dtype: Any = None, device: Any = None) -> Array:
        return _everywhere(array_api_compat.torch.arange, ends, device, dtype)

    def asarray(self, values: Any, *, dtype: Any = None, device: Any = None) -> Array:
        return _everywhere(array_api_compat.torch.asarray, (values,), device, dtype)

    def matmul(self, a: Array, b: Array, /) -> Array:
        """Return a b; stacks that are cut between their matrices are multiplied where they are."""
        if (
            not (isinstance(a, DTensor) and isinstance(b, DTensor))
            or a.ndim != b.ndim
            or a.ndim < 3
        ):
            return torch.matmul(a, b)
        axes = {axis_of(p, a.ndim) for p in a.placements} - {None}
        inner = any(axis is not None and axis >= a.ndim - 2 for axis in axes)
        partial = any(p.is_partial() for p in a.placements)
        if inner or partial or a.placements != b.placements or a.shape[:-2] != b.shape[:-2]:
            return torch.matmul(a, b)
        here = torch.matmul(a.to_local(), b.to_local())
        return wrapped(here, a.device_mesh, a.placements, (*a.shape[:-1], b.shape[-1]))

    def __array_namespace_info__(self) -> Any:
        return _Info()


class _Info:
    """What the namespace says of dtypes: that of torch, on the device of a `Place`."""

    def dtypes(self, *, device: Any = None, kind: Any = None) -> Any:
        own = device.device if isinstance(device, Place) else device
        info = array_api_compat.torch.__array_namespace_info__()
        return info.dtypes(device=own, kind=kind)


def _made(make: Callable[..., Array], shape: Any, device: Any, **options: Any) -> Array:
    if isinstance(device, Place):
        return device.spread(make, shape, device=device.device, **options)
    return make(shape, device=device, **options)


def _everywhere(make: Callable[..., Array], given: Any, device: Any, dtype: Any) -> Array:
    if not isinstance(device, Place):
        return make(*given, dtype=dtype, device=device)
    return device.everywhere(make(*given, dtype=dtype, device=device.device))


class SpreadPrimitives(TorchPrimitives):
    """Products of tensors that are spread: torch sums what lies on different processes."""

    def gram(self, x: Array, /, *, out: Array | None = None) -> Array:
        """Return X Xᴴ on every process: one sum over those that share long rows."""
        return settled(torch.matmul(x, x.mH))

    def addmm(
        self,
        beta: float | Array,
        c: Array,
        a: Array,
        b: Array,
        /,
        *,
        alpha: float = 1.0,
        overwrite: bool = False,
        out: Array | None = None,
    ) -> Array:
        """Return ``beta c + alpha a b``."""
        return Primitives.addmm(self, beta, c, a, b, alpha=alpha)

    def linear_combination(
        self,
        coefficients: Sequence[float],
        matrices: Sequence[Array],
        shift: float,
        /,
        *,
        overwrite: bool = False,
    ) -> Array:
        """Return the sum of ``coefficients[i] matrices[i]`` and `shift` I."""
        # Not in place: what is written into a sum that is still to be made counts many times.
        return Primitives.linear_combination(self, coefficients, matrices, shift)

    def shift_diagonal(self, x: Array, shift: float | Array, /) -> Array:
        """Return `x` plus `shift` times the identity."""
        return Primitives.shift_diagonal(self, x, shift)

    def nan_where_broken(self, x: Array, /) -> Array:
        """Return NaN for each matrix with a NaN or an inf, and 0 for the others."""
        # Sums, since a process may have no part: there is no largest entry of nothing.
        wide = torch.promote_types(x.dtype, torch.float32)
        broken = (~torch.isfinite(x)).to(wide if not wide.is_complex else wide.to_real())
        count = settled(torch.sum(broken, dim=(-2, -1), keepdim=True))
        return torch.where(count > 0, count * float("nan"), torch.zeros_like(count))

    def is_positive_definite(self, x: Array, shift: Array | None = None, /) -> Array:
        """Say which ``x - shift I`` are positive definite: every process factorizes all of them."""
        whole = [Replicate()] * x.device_mesh.ndim
        own = None if shift is None else moved(settled(shift), whole).to_local()
        definite = super().is_positive_definite(moved(settled(x), whole).to_local(), own)
        return wrapped(definite, x.device_mesh, whole, tuple(definite.shape))


NAMESPACE: Any = _Namespace()


# --- where the parts lie -------------------------------------------------------------------------


def local_shape(shape: tuple[int, ...], mesh: Any, placements: Any) -> tuple[int, ...]:
    """Return the shape of the part of a tensor that lies here."""
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    own, _ = compute_local_shape_and_global_offset(shape, mesh, placements)
    return tuple(own)


def wrapped(here: Array, mesh: Any, placements: Any, shape: tuple[int, ...]) -> Array:
    """Return the tensor of this shape whose part here is given."""
    stride = torch.empty(shape, device="meta").stride()
    return DTensor.from_local(
        here.contiguous(), mesh, placements, run_check=False, shape=torch.Size(shape), stride=stride
    )


def settled(x: Array) -> Array:
    """Return a tensor without sums that are still to be made."""
    if not any(p.is_partial() for p in x.placements):
        return x
    return x.redistribute(placements=[Replicate() if p.is_partial() else p for p in x.placements])


def is_cut(placement: Any, /) -> bool:
    """Say whether a placement cuts an axis, in the one way that torch exchanges."""
    return type(placement) is Shard


def shifted(placements: Any, ndim: int) -> list[Any]:
    """Return placements of a stack of tensors that lie like this."""
    return [Shard(p.dim % ndim + 1) if isinstance(p, Shard) else p for p in placements]


def axis_of(placement: Any, ndim: int) -> int | None:
    """Return the axis that a placement cuts, counted from the front; None for none."""
    return placement.dim % ndim if isinstance(placement, Shard) else None


def whole_matrices(x: Array) -> list[Any]:
    """Return placements in which each matrix lies in one piece.

    Cuts of matrices become cuts of the stack, where it has as many matrices as there are processes.
    """
    ndim, mesh = x.ndim, x.device_mesh
    room = list(x.shape[:-2])
    wanted: list[Any] = []
    for size, placement in zip(mesh.shape, x.placements, strict=True):
        axis = axis_of(placement, ndim)
        if axis is not None and axis < ndim - 2:
            room[axis] //= size
            wanted.append(Shard(axis))
        else:
            wanted.append(Replicate())
    for i, (size, placement) in enumerate(zip(mesh.shape, x.placements, strict=True)):
        axis = axis_of(placement, ndim)
        if axis is None or axis < ndim - 2 or not room:
            continue
        best = max(range(len(room)), key=room.__getitem__)
        if room[best] >= size:
            room[best] //= size
            wanted[i] = Shard(best)
    return wanted


def moved(x: Array, placements: list[Any]) -> Array:
    """Return a tensor in other placements, by way of whole ones where torch knows no other."""
    if list(x.placements) == list(placements):
        return x
    if any(type(p) not in (Shard, Replicate) for p in x.placements):
        # FSDP over tensor parallelism cuts one axis twice, which is no order that torch exchanges.
        x = x.redistribute(placements=[Replicate()] * x.device_mesh.ndim)
    return x.redistribute(placements=placements)


def is_long(x: Array) -> bool:
    """Say whether matrices are so long, and cut along that side alone, that they stay in place."""
    axes = {axis_of(p, x.ndim) for p in x.placements} - {None}
    matrix = {axis for axis in axes if axis is not None and axis >= x.ndim - 2}
    if len(matrix) != 1 or any(p.is_partial() for p in x.placements):
        return False
    (axis,) = matrix
    other = x.ndim - 2 if axis == x.ndim - 1 else x.ndim - 1
    parts = 1
    for size, placement in zip(x.device_mesh.shape, x.placements, strict=True):
        parts *= size if axis_of(placement, x.ndim) == axis else 1
    return bool(x.shape[axis] >= LONG * parts * x.shape[other])


# --- functions -----------------------------------------------------------------------------------


def per_matrix(kernel: Callable[..., Any], x: Array, others: tuple[Array | None, ...]) -> Any:
    """Run a kernel on whole matrices, and spread its outputs as `x` is."""
    x = settled(x)
    wanted = whole_matrices(x)
    here = moved(x, wanted).to_local()
    own = [None if other is None else _beside(other, x, wanted) for other in others]
    result = kernel(bound_to(here), here, *own)
    if not isinstance(result, tuple):
        return _spread(result, x, wanted)
    parts = [None if part is None else _spread(part, x, wanted) for part in result]
    make: Callable[[list[Any]], Any] = getattr(type(result), "_make", tuple)
    return make(parts)


def _beside(other: Array, x: Array, wanted: list[Any]) -> Array:
    """Return the part of an array with the batch shape in front that belongs to the matrices."""
    batch = x.ndim - 2
    if not isinstance(other, DTensor):
        replicated = [Replicate()] * x.device_mesh.ndim
        other = DTensor.from_local(other, x.device_mesh, replicated, run_check=False)
    own = [p if other.ndim >= batch and isinstance(p, Shard) else Replicate() for p in wanted]
    return moved(settled(other), own).to_local()


def _spread(part: Array, x: Array, wanted: list[Any]) -> Array:
    """Return an output, cut as `x` was where it has the same axes."""
    batch = x.ndim - 2
    shape = (*x.shape[:batch], *part.shape[batch:])
    made = wrapped(part, x.device_mesh, wanted, tuple(shape))
    back = []
    for before, now in zip(x.placements, wanted, strict=True):
        axis = axis_of(before, x.ndim)
        if axis is None or axis < batch:
            back.append(now)
        elif made.ndim == x.ndim and made.shape[axis] == x.shape[axis]:
            back.append(Shard(axis))
        else:
            back.append(Replicate())
    if tuple(made.shape) == tuple(x.shape):
        back = list(x.placements)
    return moved(made, back)


def per_entry(kernel: Callable[..., Array], x: Array, others: tuple[Array, ...]) -> Array:
    """Run a kernel of entries on the part that is here."""
    x = settled(x)
    here = x.to_local()
    own = [_part(other, x) for other in others]
    result = kernel(bound_to(here), here, *own) if here.numel() else torch.empty_like(here)
    return wrapped(result, x.device_mesh, x.placements, tuple(x.shape))


def _part(other: Array, x: Array) -> Array:
    """Return the part of an array that belongs to the entries of `x` that are here."""
    if not isinstance(other, DTensor):
        return other
    cuts = [p if _cuts(p, other, x) else Replicate() for p in x.placements]
    return moved(settled(other), cuts).to_local()


def _cuts(placement: Any, other: Array, x: Array) -> bool:
    axis = axis_of(placement, x.ndim)
    return axis is not None and other.ndim == x.ndim and other.shape[axis] == x.shape[axis]
