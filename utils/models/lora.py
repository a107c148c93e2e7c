"""LoRA (Hu et al. 2021, arXiv 2106.09685): weights stay frozen and low-rank updates beside them are trained, by `peft`.

Adapters are added to a model in place. The model keeps its class, for example GPT2LMHeadModel, with peft's layers in place
of its linear layers, so every loss and forward pass works unchanged. Only parameters that require a gradient are trained.
Models are saved merged (`merged_state`), so a saved model has no adapters.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from utils.config import ComputeConfig
from utils.core import processes
from utils.core.errors import UserError
from utils.core.runtime import stream_seed

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    Model = TypeVar("Model", bound=PreTrainedModel)

ADAPTER = "default"  # peft's name for the only adapter of a layer
HEAD = "score"  # of a sequence classifier: starts at random, so it is trained in full


def check_lora(compute: ComputeConfig) -> None:
    """Raise UserError if adapters are asked for and peft is not installed, or models are sharded."""
    if not compute.lora_rank:
        return
    if processes.shards() > 1:
        raise UserError("compute.lora_rank cannot be used with FSDP: set it to 0, or use configs/accelerate/ddp.yaml.")
    try:
        import peft  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"compute.lora_rank is {compute.lora_rank}, but peft cannot be imported ({error}): "
            "run 'pip install \"peft>=0.18\"', or set compute.lora_rank to 0."
        ) from None


def add_adapters(model: PreTrainedModel, compute: ComputeConfig, seed: int, *stream: int | str) -> None:
    """Freeze a model and put a trainable adapter of rank `compute.lora_rank` beside every linear layer of its blocks, in
    place; rank 0 changes nothing. The scalar head of a reward or value model stays fully trainable.

    One factor of each update starts at random from the stream (seed, *stream, "lora"), the other at 0, so the output of
    the model does not change. Raises UserError as `check_lora` does.
    """
    if not compute.lora_rank:
        return
    check_lora(compute)
    from peft import LoraConfig, inject_adapter_in_model

    head = getattr(model, HEAD, None)
    settings = LoraConfig(
        r=compute.lora_rank,
        lora_alpha=compute.lora_alpha,  # type: ignore[arg-type]  # declared as an int, used as a factor
        lora_dropout=0.0,
        target_modules="all-linear",  # except the unembedding or a classifier's head
        task_type=None if head is None else "SEQ_CLS",
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, *stream, "lora"))
        inject_adapter_in_model(settings, model, ADAPTER)
    if head is not None:
        head.requires_grad_(True)


def adapted_copy(model: Model, compute: ComputeConfig, seed: int, *stream: int | str) -> Model:
    """A copy of a model with adapters (`add_adapters`) whose frozen weights are the tensors of `model` itself, so that
    only the trained weights need more memory."""
    shared = {id(weight): weight for name, weight in model.named_parameters() if not name.startswith(f"{HEAD}.")}
    twin = copy.deepcopy(model, shared)
    add_adapters(twin, compute, seed, *stream)
    return twin


def effective_weight(layer: Any) -> Tensor:
    """What a layer's input is multiplied with: its weight, plus the update of its adapter if it has one."""
    return layer.weight + layer.get_delta_weight(ADAPTER) if _is_adapted(layer) else layer.weight


def merged_state(model: nn.Module) -> dict[str, Tensor] | None:
    """State of a model with its adapters added to the weights, by the names of the plain model; None without adapters.

    The sums are moved to the CPU one by one, so that a GPU holds only one of them.
    """
    adapted = {name: module for name, module in model.named_modules() if _is_adapted(module)}
    if not adapted:
        return None
    state = {name.replace(".base_layer.", "."): x for name, x in model.state_dict().items() if ".lora_" not in name}
    return state | {f"{name}.weight": effective_weight(layer).detach().cpu() for name, layer in adapted.items()}


def _is_adapted(module: nn.Module) -> bool:
    return hasattr(module, "get_delta_weight")
