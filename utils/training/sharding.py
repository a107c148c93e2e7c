"""Models whose weights, gradients and moments of Adam are spread over the processes: PyTorch's FSDP2 (`fully_shard`).

Training passes go through the model's own forward, which gathers the weights of one block at a time; every process runs
as many of them. Sampling and scoring, of which processes run different numbers, happen inside `unsharded`, where each process
holds all weights of one model and needs no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from utils.core import processes
from utils.core.errors import UserError


def is_sharded(model: nn.Module) -> bool:
    """True if the model holds a part of its weights; False inside `unsharded`."""
    return isinstance(model, FSDPModule)


def shard(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> None:
    """Spread a model over all processes in place, its blocks one by one and the rest together; its optimizer follows.

    Raises UserError if PyTorch is too old.
    """
    if not hasattr(FSDPModule, "set_reshard_after_forward"):
        raise UserError(f"FSDP needs PyTorch 2.8, this is {torch.__version__}: upgrade, or use configs/accelerate/ddp.yaml.")
    names = {param: name for name, param in model.named_parameters()}
    mesh = init_device_mesh(next(iter(names)).device.type, (processes.world(),))
    blocks = set(getattr(model, "_no_split_modules", None) or ())
    for module in list(model.modules())[:0:-1]:  # inner ones first
        if type(module).__name__ in blocks:
            fully_shard(module, mesh=mesh, reshard_after_forward=True)
    # The rest stays gathered between forward and backward: heads are read after the model's own forward.
    fully_shard(model, mesh=mesh, reshard_after_forward=False)
    new = dict(model.named_parameters())
    for group in optimizer.param_groups if optimizer is not None else ():
        group["params"] = [new[names[param]] for param in group["params"]]


@contextmanager
def unsharded(model: nn.Module) -> Iterator[None]:
    """Inside the block every process holds all weights, and the model is of its own class again: it can be run in any way.

    All processes must enter together. Changes nothing for a model that is not sharded.
    """
    if not isinstance(model, FSDPModule):
        yield
        return
    modules = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for module in modules:
        module.set_reshard_after_forward(False, recurse=False)
        module.unshard()
    # `fully_shard` has derived a class from FSDPModule and the model's own, and PyTorch has no function that takes it back.
    # The model would run without the exchange (the hooks of FSDP find gathered weights), but who asks for its type would get
    # the wrong answer: `gpt2.supported` compares types exactly, because a subclass may compute something else, and
    # `save_pretrained` writes the name of the class. So the object changes its class while its weights are whole.
    sharded, plain = type(model), type(model).__mro__[2]
    model.__class__ = plain
    try:
        yield
    finally:
        model.__class__ = sharded
        for module in modules:
            module.reshard()
            module.set_reshard_after_forward(module is not model, recurse=False)


def gathered(tensor: Tensor) -> Tensor:
    """The whole of a tensor that may be sharded; all processes must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def placed_like(target: Tensor, value: Tensor) -> Tensor:
    """A whole `value`, which every process has, sharded as `target` is if it has the same shape."""
    if not isinstance(target, DTensor) or value.shape != target.shape:
        return value
    value = value.to(target.device, target.dtype)
    return distribute_tensor(value, target.device_mesh, target.placements, src_data_rank=None)
