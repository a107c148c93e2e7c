"""Preference-model pretraining: a base learns to tell near misses apart before any labeler is asked.

The world writes a right answer and a near miss of the same form, so these pairs cost nothing. Askell et al. 2021 (arXiv
2112.00861, sec. 4) pretrain preference models on pairs from public sites in the same way. In the paper all reward models
start from one model that was first fine-tuned on public data (C.2). The result is a reward model from which others are
trained (`reward_init` in the settings).
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import GPT2LMHeadModel, GPT2Model, PreTrainedTokenizerBase

from utils.config import DataConfig, load_config
from utils.core.io import digest, digest_path, read_json, write_json
from utils.core.runtime import machine, stream_seed, torch_generator, versions
from utils.data.encoding import encode_completions, encode_prompts, pad_right
from utils.losses import learning_rate
from utils.models.gpt2 import hidden_states
from utils.models.loading import count_parameters, load_policy, reward_from_policy, save_model
from utils.models.tokenizers import load_tokenizer
from utils.pretraining.base_models import CHECKPOINT_EVERY, LOG_EVERY, SIZE_FILE
from utils.pretraining.curriculum import Batch, Mix, StepRows, made_ahead, rows_loss
from utils.training.loop import LoopSettings, TrainingLoop, make_optimizer
from utils.worlds.protocol import Contrast
from utils.worlds.registry import known_world

SCORE_INIT_STD = 0.05


@dataclass(frozen=True)
class JudgeConfig:
    """Preference-model pretraining of the base `start`. learning_rate is the peak, cosine to 5 %.

    beside: exercises and rows of random words of each step, so that the model goes on reading. weights: of their losses, next
    to the loss on pairs.
    """

    name: str
    start: str
    steps: int = 4000
    pairs_per_step: int = 24
    learning_rate: float = 1e-3
    warmup: int = 100
    weight_decay: float = 0.05
    world: str = "tiny"
    beside: Mix = Mix({"owners": 4, "twice": 5, "drills": 5}, {"look_up": 2, "said_twice": 2})
    weights: tuple[tuple[str, float], ...] = (("exercises", 0.5), ("circuits", 0.2))


JUDGES = {"judge": JudgeConfig("judge", start="small-reader")}


class Pairs(NamedTuple):
    """Right-padded ids (2 N, T) of prompts with answers, their mask, and which tokens are of the answer. The right answers are
    the first N rows, the wrong ones to the same prompts the last N."""

    ids: Tensor
    mask: Tensor
    answer: Tensor


def encode_pairs(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Contrast], data: DataConfig) -> Pairs:
    """Ids of N pairs as a reward model reads them: prompt, then answer with its end token."""
    prompts = encode_prompts(tokenizer, [pair.prompt for pair in pairs] * 2, data)
    texts = [pair.right for pair in pairs] + [pair.wrong for pair in pairs]
    answers = encode_completions(tokenizer, texts, [True] * len(texts), data)
    ids, mask = pad_right([[*q, *a] for q, a in zip(prompts, answers, strict=True)], tokenizer.pad_token_id)
    starts = torch.tensor([[len(q)] for q in prompts])  # (2 N, 1)
    return Pairs(ids, mask, mask & (torch.arange(ids.shape[1]) >= starts))


def pair_scores(trunk: GPT2Model, score: nn.Module, pairs: Pairs) -> Tensor:
    """(2, 2, N): rewards of right and wrong answers at their end token, then as the mean over the tokens of the answer.

    A reward model is read at the end token. The mean is trained beside it, because each token can learn from it what it says
    wrong, before the end token has learned where to look.
    """
    states = hidden_states(trunk, pairs.ids, pairs.mask, pairs.answer)  # (M, C), the tokens of all answers in turn
    rewards = score(states).squeeze(-1)  # (M,)
    lengths = pairs.answer.sum(1)  # (2 N,)
    ends = rewards[lengths.cumsum(0) - 1]
    rows = torch.arange(len(lengths)).repeat_interleave(lengths)
    means = rewards.new_zeros(len(lengths)).index_add(0, rows, rewards) / lengths
    return torch.stack([ends.view(2, -1), means.view(2, -1)])


def pair_loss(scores: Tensor) -> Tensor:
    """-log sigmoid(right - wrong), the K-wise loss (Eq. 1) with K = 2: mean over pairs, sum over the two ways to read.

    scores: (2, 2, N) of `pair_scores`.
    """
    return -F.logsigmoid(scores[:, 0] - scores[:, 1]).mean(1).sum()


class StepPairs(Dataset[tuple[Pairs, Batch]]):
    """The pairs and the rows of every step; they depend on the seed and the number of the step alone."""

    def __init__(self, cfg: JudgeConfig, tokenizer: PreTrainedTokenizerBase, data: DataConfig, seed: int) -> None:
        self.cfg, self.tokenizer, self.data, self.seed = cfg, tokenizer, data, seed
        self.rows = StepRows(cfg.world, tokenizer, [(cfg.steps, cfg.beside)], seed)

    def __getitem__(self, step: int) -> tuple[Pairs, Batch]:
        world = known_world(self.cfg.world)
        made = world.contrasts(self.cfg.pairs_per_step, stream_seed(self.seed, "pairs", step))
        return encode_pairs(self.tokenizer, made, self.data), self.rows[step]


def pretrain_judge(cfg: JudgeConfig, out_dir: Path, start: Path, seed: int) -> dict[str, Any]:
    """Train the base in `start` on pairs and exercises; it is written to out_dir/model as a reward model. Resumes, and does
    nothing if it is finished.

    Returns, and writes last to out_dir/size.json, the settings, the number of parameters, the digest of the start, the wall
    seconds and the machine.
    """
    origin = digest_path(start / "model.safetensors")
    settings = json.loads(json.dumps({**asdict(cfg), "seed": seed, "start_sha256": origin}))  # as they are in the file
    done = read_json(out_dir / SIZE_FILE) if (out_dir / SIZE_FILE).exists() else {}
    if settings.items() <= done.items():
        return done
    model, tokenizer = load_policy(start), load_tokenizer(start)
    assert isinstance(model, GPT2LMHeadModel)  # as all bases of `scripts/pretrain.py` are
    score = nn.Linear(model.config.n_embd, 1, bias=False)
    nn.init.normal_(score.weight, std=SCORE_INIT_STD, generator=torch_generator(seed, "judge", "score"))
    optimizer = make_optimizer([*model.parameters(), *score.parameters()], cfg.learning_rate, (0.9, 0.95), cfg.weight_decay)
    loop = TrainingLoop(
        out_dir,
        LoopSettings(f"pretrain {cfg.name}", cfg.steps, seed, digest([asdict(cfg), origin]), checkpoint_every=CHECKPOINT_EVERY),
        models={"policy": model, "score": score},
        optimizers={"policy": optimizer},
    )
    model.train()
    clock = time.monotonic()
    data = made_ahead(StepPairs(cfg, tokenizer, load_config("tiny").data, seed), cfg.steps, loop.start)
    for step in loop:
        pairs, beside = next(data)
        scores = pair_scores(model.transformer, score, pairs)
        losses = {"loss_pairs": pair_loss(scores)}
        weighted = [losses["loss_pairs"]]
        for source, weight in cfg.weights:
            losses[f"loss_{source}"] = rows_loss(model, beside[source])
            weighted.append(weight * losses[f"loss_{source}"])
        loop.backward("policy", torch.stack(weighted).sum())
        lr = learning_rate(step, cfg.steps, cfg.learning_rate, cfg.warmup, 0.0, 0.05, "cosine")
        norm = loop.optimizer_step("policy", lr=lr, max_grad_norm=1.0)
        if step % LOG_EVERY == 0:
            right = (scores[0, 0] > scores[0, 1]).float().mean()  # read at the end token
            logged = {name: loss.detach() for name, loss in losses.items()}
            loop.log(step, **logged, right=right, lr=lr, grad_norm=norm)
    judge = reward_from_policy(start)
    judge.get_submodule(judge.base_model_prefix).load_state_dict(model.transformer.state_dict())
    judge.get_parameter("score.weight").data.copy_(score.weight)
    save_model(judge, tokenizer, out_dir / "model")
    made = {"seconds": round(time.monotonic() - clock, 3), "machine": machine(), "torch": versions()["torch"]}
    facts = {"parameters": count_parameters(judge), **made, **settings}
    write_json(out_dir / SIZE_FILE, facts)
    loop.finish()
    return facts
