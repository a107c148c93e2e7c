"""Models whose weights are sharded over processes (PyTorch's FSDP2, as accelerate sets it up).

Training runs through the sharded model's own forward, which gathers one block at a time. What has no equal number of
forward passes in every process (sampling, scoring) runs inside `whole`, where each process holds all the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor

RESHARD = "reshard_after_forward"  # attribute of a sharded model: what accelerate's plugin asks for
WHOLE = "weights_are_whole"


def is_sharded(model: nn.Module) -> bool:
    """True if the model's weights are spread over the processes."""
    return isinstance(model, FSDPModule)


def plain_type(model: nn.Module) -> type[nn.Module] | None:
    """The model's own class if its weights can be read directly, None while they are sharded."""
    if not is_sharded(model):
        return type(model)
    return type(model).__mro__[2] if getattr(model, WHOLE, False) else None  # FSDP2 derives a class from both


@contextmanager
def whole(model: nn.Module) -> Iterator[None]:
    """Inside the block every process holds all weights, and forward passes need no other process.

    All processes must enter and leave together. Nothing is done to a model that is not sharded.
    """
    if not is_sharded(model) or getattr(model, WHOLE, False):
        yield
        return
    parts = [part for part in model.modules() if isinstance(part, FSDPModule)]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    setattr(model, WHOLE, True)
    try:
        yield
    finally:
        setattr(model, WHOLE, False)
        for part in parts:
            part.reshard()
            # The root stays whole between forward and backward, as accelerate has it.
            part.set_reshard_after_forward(part is not model and getattr(model, RESHARD, True), recurse=False)


def gathered(tensor: Tensor) -> Tensor:
    """The whole of a tensor that may be sharded; all processes must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def placed_like(target: Tensor, value: Tensor) -> Tensor:
    """A whole `value`, which every process has, sharded as `target` is."""
    if not isinstance(target, DTensor) or value.shape != target.shape:
        return value
    value = value.to(target.device, target.dtype)
    return distribute_tensor(value, target.device_mesh, target.placements, src_data_rank=None)


def weights(model: nn.Module) -> dict[str, Tensor]:
    """Parameters (tied ones once) and saved buffers of a model, the tensors themselves."""
    buffers = dict(model.named_buffers())
    kept = {name for module_name, module in model.named_modules() for name in _saved_buffers(module_name, module)}
    return {**dict(model.named_parameters()), **{name: buffers[name] for name in kept if name in buffers}}


def _saved_buffers(prefix: str, module: nn.Module) -> list[str]:
    """Full names of a module's own buffers that belong to its state."""
    names = [name for name in module._buffers if name not in module._non_persistent_buffers_set]
    return [f"{prefix}.{name}" if prefix else name for name in names]


@torch.no_grad()
def gathered_weights(model: nn.Module) -> dict[str, Tensor] | None:
    """All weights of a sharded model, whole and on the CPU, in the main process; {} in the others.

    All processes must ask. None for a model that is not sharded: it can be saved as it is.
    """
    if not is_sharded(model):
        return None
    main = torch.distributed.get_rank() == 0
    found = {}
    for name, tensor in weights(model).items():
        value = gathered(tensor)
        if main:
            found[name] = value.cpu()
    return found
