"""The loop that every training stage runs on: `accelerate`, checkpoints, resume, metrics, clean stops.

A run that is killed at any moment and started again gives the same final weights bit for bit on CPU, because (1) a
checkpoint holds weights, optimizer moments and extra tensors exactly, (2) it appears on the disk whole or not at all,
(3) every step seeds torch from the run's seed and the step's number, and (4) callers take their batches from streams
that belong to the step (`utils.core.runtime.stream_seed`).
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer

from utils.config import OptimizerConfig
from utils.core import processes, tracking
from utils.core.errors import UserError
from utils.core.io import (
    PathLike,
    append_jsonl,
    digest,
    disk_errors,
    read_json,
    read_tensors,
    write_json,
    write_jsonl,
    write_tensors,
)
from utils.core.runtime import pass_dtype, progress, stream_seed
from utils.models.loading import key_biases, save_model
from utils.training import sharding
from utils.training.micro_batches import Share
from utils.training.zero import Zero

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CHECKPOINT = "checkpoint"
METRICS = "metrics.jsonl"
TENSORS = "tensors.safetensors"
STATE = "state.json"
SMALLEST_SCALE = 1.0  # of fp16 losses: if gradients still overflow, something else is wrong
MESSAGE = 16 * 2**20  # numbers in one message of averaged gradients


def stage_optimizer(params: Iterable[torch.nn.Parameter], lr: float, cfg: OptimizerConfig) -> torch.optim.AdamW:
    """`make_optimizer` with the settings of a stage."""
    return make_optimizer(params, lr, (cfg.beta1, cfg.beta2), cfg.weight_decay, cfg.eps)


def make_optimizer(
    params: Iterable[torch.nn.Parameter],
    lr: float,
    betas: tuple[float, float] = (0.9, 0.95),
    weight_decay: float = 0.0,
    eps: float = 1e-8,
) -> torch.optim.AdamW:
    """AdamW with the paper's betas (App. C), fused where PyTorch has it (CPU, CUDA and MPS, float parameters).

    Weight decay (not reported in the paper) acts on matrices only, not on biases and layer norms.
    """
    chosen = [param for param in params if param.requires_grad]
    matrices = [param for param in chosen if param.dim() >= 2]
    vectors = [param for param in chosen if param.dim() < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    fused = all(param.is_floating_point() and param.device.type in ("cpu", "cuda", "mps") for param in chosen)
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=lr, betas=betas, eps=eps, fused=fused)


def make_accelerator(device: torch.device) -> Accelerator:
    """The engine that `accelerate launch` set up in the environment: one process, or several."""
    return Accelerator(cpu=device.type == "cpu", step_scheduler_with_optimizer=False)


def save_trained(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: PathLike) -> None:
    """`models.save_model` by the main process alone, with whole weights: all processes must call it."""
    sharded = sharding.is_sharded(model)
    with sharding.unsharded(model):
        if processes.is_main():
            save_model(model, tokenizer, Path(path), learnt(model) if sharded else None)


@dataclass(frozen=True)
class LoopSettings:
    """Which run a loop does, and for how long.

    label: name of the stage in messages and random streams. fingerprint: digest of everything else that decides the result;
    a checkpoint of another fingerprint, label, seed or number of steps is not continued. checkpoint_every: steps between
    checkpoints; one more is written after the last step.
    """

    label: str
    total_steps: int
    seed: int
    fingerprint: str = ""
    checkpoint_every: int = 100


class TrainingLoop:
    """Steps of one training run that survive a kill. One loop writes one folder.

        settings = LoopSettings("sft", total_steps=900, seed=1, fingerprint=digest(config))
        loop = TrainingLoop(folder, settings, models={"policy": model}, optimizers={"policy": optimizer})
        for step in loop:
            loss = ...  # forward through loop.models["policy"]
            loop.backward("policy", loss)
            grad_norm = loop.optimizer_step("policy", lr=..., max_grad_norm=1.0)
            loop.log(step, loss=loss, grad_norm=grad_norm)
        save_model(...)
        loop.finish()

    `models`, `optimizers`: by name, the optimizer of a model under the model's name; their tensors are restored in place
    when `out_dir/checkpoint` holds an unfinished run of the same settings. Any other checkpoint is removed. `extra`: makes
    further tensors of the run (a weight average) by group and name, once the models are where they train; they are restored
    as well and are `loop.extra`. `frozen`: models that are read, not trained.

    Under `accelerate launch` every process takes its share of a batch, gradients are averaged before each optimizer
    step, and only the main process writes. Weights are whole in every process, and with DeepSpeed the optimizers are in
    parts (`zero`), or, with FSDP, all models are sharded (`sharding`): a loss is then one forward pass through
    the model, and anything else runs in `sharding.unsharded`. A checkpoint depends on none of it. Use `loop.accelerator` for
    the rank.
    """

    def __init__(
        self,
        out_dir: PathLike,
        settings: LoopSettings,
        *,
        models: Mapping[str, torch.nn.Module],
        optimizers: Mapping[str, torch.optim.Optimizer],
        frozen: Sequence[torch.nn.Module] = (),
        extra: Callable[[], Mapping[str, Mapping[str, torch.Tensor]]] = dict,
    ) -> None:
        self.out_dir = Path(out_dir)
        self.label, self.seed = settings.label, settings.seed
        self.total_steps, self.checkpoint_every = settings.total_steps, settings.checkpoint_every
        self.fingerprint = digest([settings.fingerprint, settings.label, settings.total_steps, settings.seed])
        self._optimizers = dict(optimizers)
        self._interrupted = False
        self._all_stop = False
        self.accelerator = make_accelerator(next(next(iter(models.values())).parameters()).device)
        self._sharded = processes.shards() > 1
        device = self.accelerator.device
        # fp16 has no room for small gradients: the loss is scaled up before the backward pass, the gradients down after it.
        self.scaler = torch.amp.GradScaler(device.type, enabled=pass_dtype(device) is torch.float16)
        stage = processes.zero_stage()
        if (self._sharded or stage) and self.scaler.is_enabled():
            raise UserError(
                "compute.precision fp16 cannot be used with FSDP or DeepSpeed: use bf16, fp32, or configs/accelerate/ddp.yaml."
            )
        self.models: dict[str, torch.nn.Module] = dict(models)
        self.optimizers = {name: self._prepare(name) for name in optimizers}
        self._zero = {name: Zero(self.models[name], self._optimizers[name], stage) for name in optimizers if stage}
        for model in frozen if self._sharded else ():
            sharding.shard(model)
        self.extra = {name: dict(tensors) for name, tensors in extra().items()}
        self.start = self._restore()
        self.step = self.start

    def _prepare(self, name: str) -> AcceleratedOptimizer:
        """Put a model and its optimizer under accelerate: every weight whole in every process, or sharded if so asked."""
        model, optimizer = self.models[name], self._optimizers[name]
        # As for evaluation: not in DistributedDataParallel, because forwards here go past the model's own forward, and
        # PPO-ptx adds two gradients that are averaged once (`_average_gradients`).
        self.models[name] = self.accelerator.prepare_model(model, evaluation_mode=True)
        if self._sharded:
            sharding.shard(model, optimizer)
        return self.accelerator.prepare_optimizer(optimizer)

    @property
    def share(self) -> Share:
        """This process's share of every batch."""
        return Share(self.accelerator.process_index, self.accelerator.num_processes)

    # --- the steps ---------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[int]:
        """Step numbers from the resume point on. Ctrl-C ends the step, saves and raises KeyboardInterrupt; a second
        Ctrl-C stops at once, and the run resumes from the last checkpoint."""
        left = range(self.start, self.total_steps)
        steps = progress(left, total=self.total_steps, label=self.label, start=self.start)
        before = self._catch_ctrl_c()
        try:
            tracking.attach(self.accelerator, self.out_dir, self.start)
            for step in steps:
                self.step = step
                rank = self.accelerator.process_index
                torch.manual_seed(stream_seed(self.seed, self.label, step, *([rank] if rank else [])))
                yield step
                done = step + 1
                # A signal that came after `backward` is known to this process alone: the others stop a step later.
                stop = self._all_stop if self.accelerator.num_processes > 1 else self._interrupted
                if done % self.checkpoint_every == 0 or done == self.total_steps or stop:
                    self.save(done)
                if stop or (done == self.total_steps and self._interrupted):
                    raise KeyboardInterrupt(f"{self.label}: saved after step {done} of {self.total_steps}")
        finally:
            tracking.detach(self.accelerator)
            if before is not None:
                signal.signal(signal.SIGINT, before)

    def _catch_ctrl_c(self) -> Any:
        """Let the first Ctrl-C wait for the end of the step; returns the handler before (None outside the main
        thread, where Python cannot set one)."""
        if threading.current_thread() is not threading.main_thread():
            return None
        before = signal.getsignal(signal.SIGINT)

        def handler(number: int, frame: FrameType | None) -> None:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True
            print(f"\n{self.label}: finishing this step, then saving (Ctrl-C again stops at once)", file=sys.stderr)

        signal.signal(signal.SIGINT, handler)
        return before

    def backward(self, name: str, loss: torch.Tensor) -> float:
        """Add the gradient of `loss` (a scalar) to that of model `name` and return its value, the mean over processes.

        Raises UserError in every process if it is not a finite number; the checkpoint from before stays valid.
        """
        value = self._agree(loss.detach())
        self._require_finite("loss", value)
        if name in self._zero:
            self._zero[name].backward(loss)
        else:
            self.accelerator.backward(self.scaler.scale(loss))
        return value

    def _agree(self, loss: torch.Tensor) -> float:
        """Mean of a loss over processes. Ctrl-C in one of them is known to all afterwards, so that all stop together."""
        if self.accelerator.num_processes == 1:
            return float(loss)
        both = torch.stack([loss.float(), loss.new_tensor(float(self._interrupted)).float()])
        value, interrupted = self.accelerator.reduce(both, reduction="mean").tolist()
        self._all_stop = self._all_stop or interrupted > 0
        return value

    def optimizer_step(self, name: str, *, lr: float, max_grad_norm: float | None = None) -> float:
        """Average the gradient of optimizer `name` over processes, clip it to `max_grad_norm`, step with learning rate
        `lr`, zero the gradient.

        Returns the 2-norm of the gradient before clipping. Raises UserError if it is not finite, before any weight
        has changed (with DeepSpeed after it, but before anything is saved). With fp16 a step whose gradient overflows is
        left out and the norm is 0: losses are scaled less from then on, and only if that does not help it is an error.
        """
        limit = math.inf if max_grad_norm is None else max_grad_norm
        if name in self._zero:
            norm = self._zero[name].step(lr, limit)
            self._require_finite("gradient norm", norm)
            return norm
        optimizer = self.optimizers[name]
        params = [param for group in optimizer.param_groups for param in group["params"]]
        if not self._sharded:  # FSDP has averaged them already
            self._average_gradients(params)
        for bias, moving in key_biases(self.models[name]):
            if bias.grad is not None:
                bias.grad.mul_(sharding.placed_like(bias.grad, moving))
        self.scaler.unscale_(self._optimizers[name])
        norm = float(sharding.gathered(torch.nn.utils.clip_grad_norm_(params, limit)))
        overflow = not math.isfinite(norm) and self.scaler.is_enabled() and self.scaler.get_scale() > SMALLEST_SCALE
        self._require_finite("gradient norm", 0.0 if overflow else norm)
        for group in optimizer.param_groups:
            group["lr"] = lr
        self.scaler.step(self._optimizers[name])
        self.scaler.update()
        optimizer.zero_grad(set_to_none=True)
        return 0.0 if overflow else norm

    @torch.no_grad()
    def _average_gradients(self, params: Sequence[torch.nn.Parameter]) -> None:
        """Replace gradients by their mean over processes, a few large messages at a time."""
        if self.accelerator.num_processes == 1:
            return
        grads = [param.grad for param in params if param.grad is not None]
        while grads:
            size, count = grads[0].numel(), 1
            while count < len(grads) and size + grads[count].numel() <= MESSAGE:
                size, count = size + grads[count].numel(), count + 1
            part, grads = grads[:count], grads[count:]
            mean = self.accelerator.reduce(torch.cat([grad.flatten() for grad in part]), reduction="mean")
            for grad, flat in zip(part, mean.split([grad.numel() for grad in part]), strict=True):
                grad.copy_(flat.view_as(grad))

    def _require_finite(self, what: str, value: float) -> None:
        """Raise the UserError for a NaN or infinite `value`."""
        if not math.isfinite(value):
            raise UserError(
                f"{self.label}: the {what} is {value} at step {self.step} of {self.total_steps}; lower the learning "
                "rate or max_grad_norm of this stage, or look for broken rows in its data, and run it again."
            )

    def log(self, step: int, **metrics: Any) -> None:
        """Append one record to metrics.jsonl: {"step": step, ...} with numbers or one-element tensors."""
        if self.accelerator.is_main_process:
            append_jsonl(self.out_dir / METRICS, [{"step": step, **metrics}])
            tracking.send(self.accelerator, self.label, step, metrics)

    def finish(self) -> None:
        """Delete the checkpoint. Call it after the trained model is saved, so that no moment is left unprotected."""
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            shutil.rmtree(self.out_dir / CHECKPOINT, ignore_errors=True)

    # --- checkpoints -------------------------------------------------------------------------------------------

    def save(self, done: int) -> None:
        """Write the state after `done` steps to checkpoint/step-N: into a temporary folder first, then one rename.

        Older checkpoints go only when the new one is there. All processes must call it. Raises UserError if the disk
        is full.
        """
        tensors = self._tensors()
        if not self.accelerator.is_main_process:
            return
        root = self.out_dir / CHECKPOINT
        target, temporary = root / f"step-{done:09d}", root / f".tmp-{os.getpid()}"
        _remove(temporary, target)
        write_tensors(temporary / TENSORS, tensors)
        scaler = self.scaler.state_dict()
        write_json(temporary / STATE, {"label": self.label, "step": done, "fingerprint": self.fingerprint, "scaler": scaler})
        with disk_errors(target):
            temporary.rename(target)
        _remove(*(path for path in root.iterdir() if path != target))

    def _tensors(self) -> dict[str, torch.Tensor]:
        """Everything a step changes, by a name that says where it belongs; sharded tensors whole, in the main process."""
        tensors = self._weights()
        for name, optimizer in self._optimizers.items():
            states = self._zero[name].state() if name in self._zero else optimizer.state_dict()["state"]
            for index, state in states.items():
                tensors |= {f"optimizer/{name}/{index}/{key}": value for key, value in state.items()}
        if not self._sharded:
            return tensors
        on_disk = "cpu" if self.accelerator.is_main_process else "meta"  # one whole tensor at a time on the device
        return {name: sharding.gathered(tensor).to(on_disk) for name, tensor in tensors.items()}

    def _weights(self) -> dict[str, torch.Tensor]:
        """The tensors of models and extra groups, as they are in this process."""
        tensors: dict[str, torch.Tensor] = {}
        for name, model in self.models.items():
            tensors |= {f"model/{name}/{key}": value for key, value in learnt(model).items()}
        for name, group in self.extra.items():
            tensors |= {f"extra/{name}/{key}": value for key, value in group.items()}
        return tensors

    def _restore(self) -> int:
        """Load the newest whole checkpoint of this very run, remove every other, return the steps it has done.

        The records of metrics.jsonl from that step on are dropped.
        """
        root = self.out_dir / CHECKPOINT
        found = sorted(root.glob("step-*"), reverse=True)
        start, kept = 0, None
        for folder in found:
            done = self._load(folder)
            if done is not None:
                start, kept = done, folder
                break
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            _remove(*(path for path in root.glob("*") if path != kept))
            _cut_metrics(self.out_dir / METRICS, start)
            if start:
                print(f"{self.label}: goes on after step {start} of {self.total_steps}", file=sys.stderr, flush=True)
        return start

    def _load(self, folder: Path) -> int | None:
        """Copy the tensors of a checkpoint into place; None, with nothing changed, if it is another run's or broken."""
        try:
            state = read_json(folder / STATE)
            if state.get("fingerprint") != self.fingerprint:
                return None
            tensors, _ = read_tensors(folder / TENSORS)
        except UserError as error:
            print(f"{self.label}: the checkpoint {folder} is left out ({error})", file=sys.stderr)
            return None
        targets = self._weights()
        if any(name not in tensors or tensors[name].shape != target.shape for name, target in targets.items()):
            print(f"{self.label}: the checkpoint {folder} is of another model and is left out", file=sys.stderr)
            return None
        with torch.no_grad():
            for name, target in targets.items():
                target.copy_(sharding.placed_like(target, tensors[name]))
        for name, optimizer in self._optimizers.items():
            moments = _optimizer_state(tensors, f"optimizer/{name}/")
            if name in self._zero:
                self._zero[name].load(moments)
            else:
                _load_optimizer(optimizer, moments)
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        return int(state["step"])


def trained_parameters(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Parameters that get a gradient, tied ones once: all of a plain model, else adapters and head (`utils.models.lora`)."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def learnt(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Trained parameters (tied ones once) and saved buffers of a model, the tensors themselves.

    Without `state_dict`, which spreads a sharded model over the processes again.
    """
    buffers = dict(model.named_buffers())
    kept = {name for module_name, module in model.named_modules() for name in _saved_buffers(module_name, module)}
    return {**trained_parameters(model), **{name: buffers[name] for name in kept if name in buffers}}


def _saved_buffers(prefix: str, module: torch.nn.Module) -> list[str]:
    """Full names of a module's own buffers that belong to its state."""
    names = [name for name in module._buffers if name not in module._non_persistent_buffers_set]
    return [f"{prefix}.{name}" if prefix else name for name in names]


def _optimizer_state(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[int, dict[str, torch.Tensor]]:
    """The tensors named `prefix`index/key by index and key."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            index, key = name.removeprefix(prefix).split("/")
            state.setdefault(int(index), {})[key] = tensor
    return state


def _load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[int, Mapping[str, torch.Tensor]]) -> None:
    """Put whole tensors back as the optimizer's state."""
    params = [param for group in optimizer.param_groups for param in group["params"]]
    placed = {i: {key: sharding.placed_like(params[i], value) for key, value in held.items()} for i, held in state.items()}
    optimizer.load_state_dict({"state": placed, "param_groups": optimizer.state_dict()["param_groups"]})


def _cut_metrics(path: Path, start: int) -> None:
    """Keep the records of steps before `start`; a last line that a kill broke goes as well."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if record["step"] < start:
            kept.append(record)
    write_jsonl(path, kept)


def _remove(*folders: Path) -> None:
    """Delete folders that may be there."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
