"""Moments of Adam, and with stage 2 gradients, spread over the processes by DeepSpeed's ZeRO (arXiv 1910.02054, sec. 5).

Weights stay whole in every process, so passes, sampling and saved models are as without it. DeepSpeed averages and clips
gradients and steps; what it holds in flat parts is given out and taken back whole, so a checkpoint depends on neither
engine nor number of processes.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from utils.core.errors import UserError
from utils.models.loading import key_biases

PACKAGE = "deepspeed>=0.19"


def check_deepspeed() -> None:
    """Raise UserError if DeepSpeed cannot be imported, or is too old to add up any number of passes to one step."""
    try:
        from deepspeed.runtime.engine import DeepSpeedEngine
    except ImportError as error:
        raise UserError(
            f"The launch settings ask for DeepSpeed, but it cannot be imported ({error}): run 'pip install \"{PACKAGE}\"', "
            "or use configs/accelerate/ddp.yaml."
        ) from None
    if not hasattr(DeepSpeedEngine, "managed_gradient_accumulation"):
        raise UserError(f"This version of DeepSpeed is too old: run 'pip install \"{PACKAGE}\"'.")


class Zero:
    """DeepSpeed's engine around a model that is trained and its AdamW, which then hold parts of the moments.

    stage: 1 spreads moments, 2 gradients too. All processes must call the same methods in the same order. Raises UserError
    as `check_deepspeed` does.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, stage: int) -> None:
        if next(model.parameters()).device.type == "cpu":
            os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else a GPU, if there is one, is where it puts its parts
        check_deepspeed()
        import deepspeed

        # DeepSpeed calls what PyTorch has given another name; nobody who runs this can change that.
        warnings.filterwarnings("ignore", message=".*_into_tensor. is deprecated", category=FutureWarning)
        self._optimizer = optimizer
        self._params = [list(group["params"]) for group in optimizer.param_groups]  # whole; flat parts come in their place
        settings = {
            "train_micro_batch_size_per_gpu": 1,
            "gradient_accumulation_steps": 1,
            "managed_gradient_accumulation": False,  # `step` says when all passes of a batch are done
            "zero_optimization": {"stage": stage, "contiguous_gradients": False, "overlap_comm": False},
            "zero_allow_untested_optimizer": True,  # this AdamW works number by number, so parts of it are the whole
            "gradient_clipping": 1.0,  # on; `step` sets the limit
            "steps_per_print": None,
        }
        engine = deepspeed.initialize(model=model, optimizer=optimizer, config=settings, dist_init_required=False)[0]
        self._engine: Any = engine
        for bias, moving in key_biases(model):  # before gradients are averaged and spread
            bias.register_hook(moving.mul)

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss (a scalar) to that of the step."""
        self._engine.backward(loss)

    def step(self, lr: float, max_grad_norm: float) -> float:
        """Average gradients over processes, clip, step, zero; the 2-norm of the averaged gradient before clipping."""
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._engine.optimizer.clip_grad = max_grad_norm if math.isfinite(max_grad_norm) else 0.0
        self._engine.step()
        return float(self._engine.get_global_grad_norm())

    def state(self) -> dict[int, dict[str, Tensor]]:
        """Adam's state as `optimizer.state_dict()["state"]` has it: index of a parameter -> step, moments in its shape."""
        from deepspeed.utils import safe_get_full_optimizer_state

        self._link()
        found: dict[int, dict[str, Tensor]] = {}
        for index, param, flat in self._pairs():
            if held := self._optimizer.state.get(flat):
                found[index] = {k: safe_get_full_optimizer_state(param, k) if v.dim() else v for k, v in held.items()}
        return found

    def load(self, state: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Take over what `state` gave, after the weights of the model were set."""
        from deepspeed.utils import safe_set_full_optimizer_state

        self._engine.optimizer.refresh_fp32_params()
        first = 0
        for params, group in zip(self._params, self._optimizer.param_groups, strict=True):
            (flat,) = group["params"]
            if first in state:
                self._optimizer.state[flat] = {
                    key: torch.zeros_like(flat) if value.dim() else value.clone() for key, value in state[first].items()
                }
            first += len(params)
        self._link()
        for index, param, _ in self._pairs():
            for key, value in state.get(index, {}).items():
                if value.dim():
                    safe_set_full_optimizer_state(param, value, key)

    def _link(self) -> None:
        """Let parameters find their moments in the flat parts. DeepSpeed does it after the first group's first step, when
        the other groups have none yet."""
        from deepspeed.utils import lazy_init_hp_params_optimizer_state

        for params, group in zip(self._params, self._optimizer.param_groups, strict=True):
            if (flat := group["params"][0]) in self._optimizer.state:
                lazy_init_hp_params_optimizer_state(params, flat, self._optimizer.state)

    def _pairs(self) -> Iterator[tuple[int, nn.Parameter, nn.Parameter]]:
        """Index of each parameter in the optimizer, the parameter, and the flat part of its group that is held here."""
        index = 0
        for params, group in zip(self._params, self._optimizer.param_groups, strict=True):
            for param in params:
                yield index, param, group["params"][0]
                index += 1
