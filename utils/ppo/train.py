"""PPO and PPO-ptx (Eq. 2, sec. 3.5, C.3, C.4).

The environment is a bandit: a prompt, one response, one reward at its end, no discount; a KL penalty to the reference
policy is paid at every token. One round samples `episodes_per_round` responses and then trains on them. Policy, value,
reward and reference are four models: the value model starts as the reward model, the reference as the policy.

With gamma_ptx > 0 each minibatch adds the gradient of gamma_ptx * (mean loss per pretraining token) into the same
buffers as the gradient of the policy loss (a mean per response token), and then takes one optimizer step (PPO-ptx).
With gamma_ptx = 0 it is PPO.

Under `accelerate launch` every process samples and reads its share of a round's episodes, all processes then hold the
whole round, and each takes its share of every minibatch; gradients are added up so that the number of processes
changes only rounding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from utils.config import PPOConfig
from utils.core.errors import UserError
from utils.core.io import digest, digest_path
from utils.core.runtime import choose_device
from utils.data.encoding import encode_prompts
from utils.models.directories import model_directory
from utils.models.loading import checkpoint_gradients, context_length
from utils.ppo.experience import PPOModels, experience_metrics, load_ppo_models, process_device, run_round
from utils.ppo.update import update_round
from utils.training.loop import LoopSettings, TrainingLoop, save_trained, stage_optimizer, trained_parameters
from utils.training.setup import StageSetup
from utils.training.sharding import unsharded


@dataclass(frozen=True)
class PPOInputs:
    """What PPO starts from.

    policy_dir, reward_dir: model directories of the policy, which is also the reference, and of the reward model, which the
    value model starts as. prompts: texts. ptx_rows: (N, T) long, token ids of pretraining text, needed if gamma_ptx > 0.
    """

    policy_dir: str | Path
    reward_dir: str | Path
    prompts: Sequence[str]
    ptx_rows: Tensor | None = None


@contextmanager
def averaged_weights(policy: PreTrainedModel, ema: dict[str, Tensor]) -> Iterator[PreTrainedModel]:
    """The policy with the averaged weights, whole, inside the block; with its own again after it (bit for bit)."""
    own = {name: policy.get_parameter(name).detach().clone() for name in ema}
    _copy_weights(policy, ema)
    try:
        with unsharded(policy):
            yield policy
    finally:
        _copy_weights(policy, own)


@torch.no_grad()
def _copy_weights(model: PreTrainedModel, weights: dict[str, Tensor]) -> None:
    for name, weight in weights.items():
        model.get_parameter(name).copy_(weight)


def _check_processes(processes: int, cfg: PPOConfig) -> None:
    """Raise UserError if the episodes cannot be divided evenly among the processes."""
    if cfg.episodes_per_round % processes or cfg.minibatch_size % processes:
        raise UserError(
            f"ppo: episodes_per_round {cfg.episodes_per_round} and minibatch_size {cfg.minibatch_size} must be "
            f"multiples of the number of processes {processes}; change them or the launch command."
        )


def _check(inputs: PPOInputs, cfg: PPOConfig, limit: int | None) -> None:
    """Raise UserError for inputs and settings that do not go together. limit: the model's positions, if limited."""
    ptx_rows = inputs.ptx_rows
    if not inputs.prompts:
        raise UserError("ppo: there are no training prompts; give a prompts file with at least one row.")
    if cfg.rounds <= cfg.value_warmup_rounds:
        raise UserError(
            f"ppo: rounds is {cfg.rounds} but the first {cfg.value_warmup_rounds} train only the value model; "
            "raise ppo.rounds or lower ppo.value_warmup_rounds."
        )
    if cfg.gamma_ptx > 0 and (ptx_rows is None or not len(ptx_rows)):
        raise UserError("ppo: gamma_ptx is above 0 but there is no pretraining text; give some or set it to 0.")
    if cfg.gamma_ptx > 0 and ptx_rows is not None and limit is not None and ptx_rows.shape[1] > limit:
        raise UserError(f"ppo: ptx_length is {ptx_rows.shape[1]} but the model's context is {limit}; lower ppo.ptx_length.")


def start_loop(
    out_dir: str | Path,
    actors: PPOModels,
    cfg: PPOConfig,
    seed: int,
    label: str = "ppo",
    checkpoint_every: int = 5,
    fingerprint: str = "",
) -> TrainingLoop:
    """The loop over `cfg.rounds` rounds that trains policy and value model. `extra["ema"]` is the average of the policy's
    weights that are trained (C.4)."""
    return TrainingLoop(
        out_dir,
        LoopSettings(label, cfg.rounds, seed, fingerprint, checkpoint_every),
        models={"policy": actors.policy, "value": actors.value},
        optimizers={
            "policy": stage_optimizer(actors.policy.parameters(), cfg.learning_rate, cfg.optimizer),
            "value": stage_optimizer(actors.value.parameters(), cfg.value_learning_rate, cfg.optimizer),
        },
        frozen=(actors.reference, actors.reward),
        extra=lambda: {"ema": {name: weight.detach().clone() for name, weight in trained_parameters(actors.policy).items()}},
    )


def train_ppo(
    out_dir: str | Path,
    inputs: PPOInputs,
    cfg: PPOConfig,
    setup: StageSetup,
    evaluate: Callable[[PreTrainedModel], float] | None = None,
    label: str = "ppo",
    checkpoint_every: int = 5,
) -> None:
    """Train a policy against a reward model; one step of the loop is one round.

    Writes out_dir/model (the averaged weights, a Hugging Face directory) and out_dir/metrics.jsonl (one record per round,
    explained by METRICS). `evaluate` gets the policy with averaged weights every `eval_every_rounds` rounds and after the
    last one and gives the number logged as `gold`. `checkpoint_every` counts rounds. Interrupted, the same call goes on
    and ends in the same weights. Raises UserError for bad models, prompts or settings and for a loss that is no number.
    """
    # Four models: policy and value model are trained, reference and reward model only read.
    device = process_device(choose_device(setup.device))
    places = (inputs.policy_dir, inputs.reward_dir)
    actors, tokenizer = load_ppo_models(*places, device, setup.compute, setup.seed, cfg.value_init)
    if setup.compute.gradient_checkpointing:
        checkpoint_gradients(actors.policy)
        checkpoint_gradients(actors.value)
    _check(inputs, cfg, context_length(actors.policy))
    encoded = encode_prompts(tokenizer, inputs.prompts, setup.data)
    fingerprint = _fingerprint(inputs, encoded, cfg, setup)
    loop = start_loop(out_dir, actors, cfg, setup.seed, label, checkpoint_every, fingerprint)
    _check_processes(loop.accelerator.num_processes, cfg)
    for round_ in loop:
        # Sample a round's episodes, train on them, and now and then judge the average of the weights.
        experience = run_round(actors, encoded, round_, cfg, setup, loop.accelerator)
        metrics = experience_metrics(experience)
        metrics |= update_round(loop, actors, experience, round_, cfg, setup, inputs.ptx_rows)
        if evaluate is not None and ((round_ + 1) % cfg.eval_every_rounds == 0 or round_ + 1 == cfg.rounds):
            with averaged_weights(actors.policy, loop.extra["ema"]) as averaged:
                metrics["gold"] = float(evaluate(averaged))
        loop.log(round_, **metrics)
    # The result is the average (C.4); the checkpoint goes when it is saved.
    _copy_weights(actors.policy, loop.extra["ema"])
    save_trained(actors.policy, tokenizer, Path(out_dir) / "model")
    loop.finish()


def _fingerprint(inputs: PPOInputs, prompts: Sequence[Sequence[int]], cfg: PPOConfig, setup: StageSetup) -> str:
    """Digest of everything that decides the result: a checkpoint of another run is not resumed."""
    ptx = None if inputs.ptx_rows is None else hashlib.sha256(inputs.ptx_rows.cpu().numpy().tobytes()).hexdigest()
    models = [digest_path(model_directory(path)) for path in (inputs.policy_dir, inputs.reward_dir)]
    rows = [list(prompt) for prompt in prompts]
    return digest([asdict(cfg), setup.data.max_response_tokens, rows, models, ptx, *setup.compute.lora])
