"""Memory that a run needs, before it starts: weights, gradients, optimizer, activations and KV cache of each stage.

One token keeps 34 bytes per unit of width and layer for the backward pass in 16 bit (Korthikanti et al. 2022, arXiv
2205.05198, eq. 2, without the attention matrices, which fused attention does not keep); twice that in float32. A test
compares this with what autograd keeps. All numbers are upper estimates: every sequence has its maximal length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from utils.config import SAMPLING_BATCH, ComputeConfig, Config
from utils.core import processes
from utils.core.errors import UserError
from utils.core.runtime import choose_device, choose_dtype
from utils.planning.operations import Shape, shape_of

FLOAT = 4  # bytes of a weight, a gradient, a moment of Adam
SAVED = 17  # numbers that a block keeps per token and unit of width
LOGITS = 3  # copies of a token's logits: themselves, their log-softmax, their gradient
SHARE = 0.9  # of the free memory that a plan may use: the rest is for the allocator and what is not counted here
GIB = 2**30
LORA_RANK = 8  # the rank that an error message proposes


@dataclass(frozen=True)
class Need:
    """Bytes that a stage needs at once. rows: sequences in one pass of training. cache: keys and values while sampling
    `sampled` sequences, which never coincides with gradients and activations of training."""

    stage: str
    rows: int
    sampled: int
    weights: int
    gradients: int
    optimizer: int
    activations: int
    cache: int

    @property
    def total(self) -> int:
        """The maximum at any time."""
        return self.weights + self.optimizer + max(self.gradients + self.activations, self.cache)


def activation_bytes(shape: Shape, tokens: int, compute: ComputeConfig, size: int = FLOAT, logits: int | None = None) -> int:
    """Bytes that a forward pass over `tokens` tokens keeps for the backward pass; size: bytes of a number.

    logits: tokens that go through the unembedding (None: all).
    """
    block = SAVED * shape.width * size * tokens
    kept = shape.width * size * tokens * shape.layers + block if compute.gradient_checkpointing else block * shape.layers
    vocabulary = shape.head // shape.width
    return kept + LOGITS * vocabulary * FLOAT * (tokens if logits is None else logits)


def cache_bytes(shape: Shape, tokens: int, size: int = FLOAT) -> int:
    """Bytes of the keys and values of `tokens` tokens, as many of each as the attention is wide."""
    return 2 * shape.layers * shape.width * size * tokens


def needs(config: Config, policy: Shape, reward: Shape, dtype: torch.dtype = torch.float32, budget: float = 0) -> list[Need]:
    """What each training stage needs with the batch of the settings, or with the largest parts of it that fit `budget`
    bytes where compute.micro_batch and compute.sampling_batch are 0 (the smallest, if none fits)."""
    return [_fitted(config, stage, policy, reward, dtype, budget) for stage in ("sft", "init", "reward", "ppo", "ppo_ptx")]


def _fitted(config: Config, stage: str, policy: Shape, reward: Shape, dtype: torch.dtype, budget: float) -> Need:
    """The need of a stage with the most rows that fit."""
    given = config.compute
    rows = given.micro_batch or _batch(config, stage)
    sampled = _sampled(config, stage)
    need = _need(config, stage, policy, reward, dtype, rows, sampled)
    while need.total > budget > 0:
        training = need.gradients + need.activations > need.cache
        if training and rows > 1 and not given.micro_batch:
            rows = -(-rows // 2)
        elif not training and sampled > 1 and not given.sampling_batch:
            sampled = -(-sampled // 2)
        else:
            break
        need = _need(config, stage, policy, reward, dtype, rows, sampled)
    return need


def _batch(config: Config, stage: str) -> int:
    """Sequences in a batch."""
    if stage == "reward":
        return config.reward.prompts_per_step * config.sampling.k_max
    section = getattr(config, stage)
    return section.batch_size if stage in ("sft", "init") else section.minibatch_size


def _need(
    config: Config, stage: str, policy: Shape, reward: Shape, dtype: torch.dtype, rows: int, sampled: int
) -> Need:  # fmt: skip
    """The need of a stage with these sequences per pass and at once while sampling; dtype: of activations."""
    data, compute = config.data, config.compute
    size = dtype.itemsize
    length = data.max_prompt_tokens + data.max_response_tokens
    # SFT: demonstrations, and for the start of PPO pretraining rows; logits only where a loss reads them.
    if stage in ("sft", "init"):
        text = config.ppo_ptx.ptx_length if stage == "init" and config.init.pretrain_fraction > 0 else 0
        logits = rows * max(data.max_response_tokens, text)
        kept = activation_bytes(policy, rows * max(length, text), compute, size, logits)
        return _training(stage, [policy], compute.lora_rank, Beside(kept), rows)
    # Reward model: no logits, and at least the K answers of one prompt in a pass.
    if stage == "reward":
        kept = activation_bytes(reward, max(rows, config.sampling.k_max) * length, compute, size, 0)
        return _training(stage, [reward], compute.lora_rank, Beside(kept), rows)
    # PPO: policy and value model are trained one after the other, so the larger activations count.
    kept = activation_bytes(policy, rows * length, compute, size, rows * data.max_response_tokens)
    kept = max(kept, activation_bytes(reward, rows * length, compute, size, 0))
    if stage == "ppo_ptx":
        kept = max(kept, activation_bytes(policy, rows * config.ppo_ptx.ptx_length, compute, size))
    # Sampling keeps keys, values and the logits of one position; the averaged policy and the frozen models stay in memory.
    cache = cache_bytes(policy, sampled * length, size) + LOGITS * (policy.head // policy.width) * FLOAT * sampled
    average = trained_bytes(policy, compute.lora_rank)
    frozen = 0 if compute.lora_rank else FLOAT * (policy.parameters + reward.parameters)  # with LoRA they are the trained ones'
    if compute.lora_rank:
        cache += FLOAT * policy.matrices  # GPT-2's decoder reads them merged
    beside = Beside(kept, average + frozen, cache)
    return _training(stage, [policy, reward], compute.lora_rank, beside, rows, sampled)


def trained_bytes(shape: Shape, rank: int) -> int:
    """Bytes of the weights of a model that are trained: all, or LoRA adapters of a rank above 0 beside its matrices."""
    return FLOAT * (rank * shape.sides if rank else shape.parameters)


@dataclass(frozen=True)
class Beside:
    """Bytes that a stage holds beside the models that it trains: other weights, activations, keys and values."""

    activations: int
    weights: int = 0
    cache: int = 0


def _training(stage: str, models: Sequence[Shape], rank: int, beside: Beside, rows: int, sampled: int = 0) -> Need:
    """A stage that trains models with Adam, all weights or LoRA adapters of a rank above 0. Gradients are those of the
    largest model: each model is stepped before the gradients of the next are computed.

    With FSDP a process holds its shards, and one whole model while it runs: an upper estimate, as training gathers one
    block at a time. DeepSpeed spreads the moments, a copy of the trained weights that it steps and, in stage 2, the
    gradients."""
    trained = [trained_bytes(shape, rank) for shape in models]
    weights = FLOAT * sum(shape.parameters for shape in models) + (sum(trained) if rank else 0)
    parts, zero = processes.shards(), processes.zero_stage()
    held = -(-(weights + beside.weights) // parts) + (max(trained) if parts > 1 else 0)
    moments, gradients = (processes.world() if zero >= spread else parts for spread in (1, 2))
    state = (3 if zero else 2) * sum(trained)
    return Need(
        stage, rows, sampled, held, gradients=-(-max(trained) // gradients), optimizer=-(-state // moments),
        activations=beside.activations, cache=beside.cache,
    )  # fmt: skip


def free_bytes(device: torch.device) -> int:
    """Free memory of a device: of the GPU, or of this machine."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory()
    import psutil

    return psutil.virtual_memory().available // processes.world()


def rows(found: Sequence[Need]) -> list[dict[str, str]]:
    """The needs in GiB, one row per stage of a table."""
    parts = ("weights", "gradients", "optimizer", "activations", "cache", "total")
    return [
        {
            "GiB": need.stage,
            **{part: f"{getattr(need, part) / GIB:.2f}" for part in parts},
            "sequences per pass": f"{need.rows}" + (f" ({need.sampled} sampled)" if need.sampled else ""),
        }
        for need in found
    ]


def plan(config: Config, free: int | None = None, device: torch.device | None = None) -> tuple[list[Need], str]:
    """The needs of a run on its device and one line on what is free. Raises UserError with the setting to change if a
    stage does not fit. free: bytes; default: those of the device."""
    device = choose_device(config.device) if device is None else device
    free = free_bytes(device) if free is None else free
    dtype, budget = choose_dtype(device, config.compute.precision), SHARE * free
    policy, reward = _shapes(config)
    found = needs(config, policy, reward, dtype, budget)
    most = max(found, key=lambda need: need.total)
    if most.total > budget:
        helps = all(need.total <= budget for need in needs(adapted(config), policy, reward, dtype, budget))
        raise UserError(
            f'The stage "{most.stage}" of {config.model} needs about {most.total / GIB:.1f} GiB with {most.rows} sequences per '
            f"pass, but {device} has {free / GIB:.1f} GiB free: {remedy(config, most, budget, helps)}."
        )
    needed = f"of which the stage {most.stage} needs most, about {most.total / GIB:.1f} GiB"
    return found, f"{device}: {free / GIB:.1f} GiB free, {needed}"


def planned(config: Config) -> list[Need]:
    """What each training stage needs at most on the run's device, whatever is free there, in a process that has whole
    batches."""
    return needs(config, *_shapes(config), choose_dtype(choose_device(config.device), config.compute.precision))


def _shapes(config: Config) -> tuple[Shape, Shape]:
    """Shapes of the policy and of the reward model."""
    policy = shape_of(config.model)
    return policy, policy if config.reward_init is None else shape_of(config.reward_init)


def adapted(config: Config) -> Config:
    """The settings with LoRA adapters trained instead of all weights."""
    return replace(config, compute=replace(config.compute, lora_rank=config.compute.lora_rank or LORA_RANK))


def remedy(config: Config, need: Need, budget: float, adapters_fit: bool = False) -> str:
    """What to change if a stage does not fit; adapters_fit: it would fit with LoRA adapters."""
    steps = [f"set compute.lora_rank to {LORA_RANK}"] if adapters_fit else []
    if need.weights + need.gradients + need.optimizer > budget:
        steps.append(
            "use a smaller --model, a device with more memory, or more processes that share the weights "
            "(configs/accelerate/fsdp.yaml), since weights and optimizer alone do not fit"
        )
        return " or ".join(steps)
    if config.compute.micro_batch > 1:
        steps.append("lower compute.micro_batch")
    if not config.compute.gradient_checkpointing:
        steps.append("set compute.gradient_checkpointing to true")
    if config.compute.sampling_batch > 1 and need.cache > need.gradients + need.activations:
        steps.append("lower compute.sampling_batch")
    return " or ".join([*steps, "lower data.max_prompt_tokens and data.max_response_tokens"])


def settled(config: Config, stage: str, free: int | None = None) -> ComputeConfig:
    """The settings of compute for one stage: a size of 0 stays 0 if the whole batch fits, else it becomes the largest size.

    All processes get the result of the main process. Raises UserError as `plan` does.
    """
    found, _ = processes.on_main(lambda: plan(config, free))
    need = next(need for need in found if need.stage == stage)
    compute = config.compute
    if need.rows < _batch(config, stage):
        compute = replace(compute, micro_batch=need.rows)
    if need.sampled < _sampled(config, stage):
        compute = replace(compute, sampling_batch=need.sampled)
    return compute


def _sampled(config: Config, stage: str) -> int:
    """Sequences that a stage samples at once if memory allows."""
    if not stage.startswith("ppo"):
        return 0
    return min(config.compute.sampling_batch or SAMPLING_BATCH, getattr(config, stage).episodes_per_round)
