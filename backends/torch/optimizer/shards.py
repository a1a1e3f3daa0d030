"""Parameters that are spread over processes."""

from typing import Any

import torch
from specdesc._lib.typing import Array

if torch.distributed.is_available():
    from torch.distributed.tensor import DTensor, distribute_tensor
else:  # a build of torch without processes has no such tensors
    DTensor = ()


def is_sharded(x: Array) -> bool:
    """Say whether a tensor is spread over processes, as FSDP2 and tensor parallelism do it."""
    return isinstance(x, DTensor)


def whole(x: Array) -> Array:
    """Return all of a tensor. Every process has to ask, in the same order."""
    return x.full_tensor() if is_sharded(x) else x


def local(x: Array, like: Array) -> Array:
    """Return the part of a tensor that this process holds of `like`, without communication."""
    if not is_sharded(like):
        return x
    if not is_sharded(x):
        x = distribute_tensor(x, like.device_mesh, like.placements, src_data_rank=None)
    elif x.placements != like.placements:
        x = x.redistribute(like.device_mesh, like.placements)
    return x.to_local()


def team(split: Any) -> Any:
    """Return the group of processes that share work, None for none."""
    if split is False or split is None:
        return None
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        msg = "split= needs processes: call torch.distributed.init_process_group before"
        raise ValueError(msg)
    return torch.distributed.group.WORLD if split is True else split


def check_whole(p: Array, name: str) -> None:
    """Raise `ValueError` for a flat shard of FSDP1, whose matrices nobody can see."""
    flat = getattr(p, "_fsdp_flattened", False) or type(p).__name__ == "FlatParameter"
    if flat:
        msg = (
            f"{name} is a flat shard of FullyShardedDataParallel, which has no matrices; "
            "use torch.distributed.fsdp.fully_shard, whose parameters keep their shape"
        )
        raise ValueError(msg)
