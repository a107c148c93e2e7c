"""Pretraining small base models on the text of a world, and their common tokenizer (not part of the paper)."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from utils.core.io import digest, read_jsonl, write_json
from utils.core.runtime import machine, torch_generator, versions
from utils.losses import learning_rate, lm_loss
from utils.models.loading import count_parameters, gpt2_config, new_policy, save_model
from utils.models.tokenizers import BOS, EOS, PAD
from utils.pretraining.curriculum import KEPT, LOSS_WEIGHTS, STAGES, Mix, Stage, StepRows, batches, rows_loss
from utils.pretraining.rows import WEB_SEED, world_rows
from utils.training.loop import METRICS, LoopSettings, TrainingLoop, make_optimizer
from utils.worlds.registry import known_world

TOKENIZER_DOCUMENTS = 30_000
LOG_EVERY = 50
CHECKPOINT_EVERY = 1000
SIZE_FILE = "size.json"
SNAPSHOTS = "snapshots"


@dataclass(frozen=True)
class PretrainConfig:
    """One base model. rows_per_step x n_positions tokens of text per step; learning_rate is the peak, cosine to 5 %.

    stages: what it reads before the text (`utils.pretraining.curriculum`); kept: what it reads beside the text. snapshots:
    its weights are also kept after each so many steps, 0: never.
    """

    name: str
    n_embd: int
    n_layer: int
    n_head: int = 4
    n_positions: int = 128
    learning_rate: float = 2e-3
    init_std: float = 0.06
    steps: int = 8000
    rows_per_step: int = 8
    warmup: int = 200
    weight_decay: float = 0.1
    documents: int = 150_000
    vocabulary: int = 1400
    world: str = "tiny"
    stages: tuple[Stage, ...] = ()
    kept: Mix = Mix()
    snapshots: int = 0

    @property
    def steps_before_text(self) -> int:
        """Steps of all stages before the text."""
        return sum(stage.steps for stage in self.stages)

    def rate(self, step: int) -> float:
        """Learning rate of a step: constant in the stages before the text, then with a warm-up and a cosine of its own."""
        index = step - self.steps_before_text
        if index >= 0:
            return learning_rate(index, self.steps, self.learning_rate, self.warmup, 0.0, 0.05, "cosine")
        ends = itertools.accumulate(stage.steps for stage in self.stages)
        peak = next(stage.learning_rate for end, stage in zip(ends, self.stages, strict=True) if step < end)
        return learning_rate(step, self.steps_before_text, peak, self.warmup, kind="constant")


SIZES = {
    "mini": PretrainConfig("mini", n_embd=32, n_layer=2, learning_rate=3e-3),
    "small": PretrainConfig("small", n_embd=64, n_layer=3, learning_rate=2e-3, steps=10_000),
    "large": PretrainConfig("large", n_embd=144, n_layer=4, learning_rate=1.3e-3),
    "reports": PretrainConfig(
        "reports", n_embd=64, n_layer=4, steps=10_000, documents=150_000, vocabulary=1000, world="reports"
    ),
}

# Not shipped yet: bases that are taught to read. `scripts/pretrain.py --size NAME` makes them, --size all leaves them out.
READERS = {
    "small-reader": PretrainConfig(
        "small-reader", n_embd=64, n_layer=3, learning_rate=1.5e-3, steps=24_000, rows_per_step=6,
        stages=STAGES, kept=KEPT, snapshots=1000,
    ),
}  # fmt: skip


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE with separate bos, pad and end tokens. `<|end|>` in a text is removed."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[BOS, PAD, EOS], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator((part for text in texts for part in text.split(EOS)), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD)


@functools.lru_cache(maxsize=1)
def tokenizer_and_rows(world_name: str, documents: int, vocabulary: int, length: int) -> tuple[PreTrainedTokenizerFast, Tensor]:
    """The tokenizer of all sizes, and the world's text as rows (N, length). About a minute for 150,000 documents."""
    world = known_world(world_name)
    texts = world.documents(documents, WEB_SEED)
    marked = (text.replace(world.end, EOS) for text in texts[:TOKENIZER_DOCUMENTS])
    tokenizer = train_tokenizer(marked, vocabulary)
    return tokenizer, world_rows(world, tokenizer, texts, length)


def row_order(n_rows: int, n_draws: int, seed: int) -> Iterator[int]:
    """Row indices epoch by epoch, each epoch in its own random order."""
    for epoch in range(-(-n_draws // n_rows)):
        yield from torch.randperm(n_rows, generator=torch_generator(seed, "web_order", epoch)).tolist()


def pretrain(cfg: PretrainConfig, out_dir: Path, tokenizer: PreTrainedTokenizerBase, rows: Tensor, seed: int) -> None:
    """Train one base model on rows (N, T) of token ids; the model is written to out_dir/model. Resumes.

    out_dir/size.json, written last, holds the settings, the numbers of parameters and of tokens read, the wall seconds and
    the machine. out_dir/snapshots holds the weights on the way, if the settings ask for them.
    """
    special = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    sizes = (cfg.n_embd, cfg.n_layer, cfg.n_head, cfg.n_positions)
    model = new_policy(gpt2_config(len(tokenizer), *sizes, cfg.init_std, special), seed)
    optimizer = make_optimizer(model.parameters(), cfg.learning_rate, (0.9, 0.95), cfg.weight_decay)
    before = cfg.steps_before_text
    beside = StepRows(cfg.world, tokenizer, [*((s.steps, s.mix) for s in cfg.stages), (cfg.steps, cfg.kept)], seed)
    loop = TrainingLoop(
        out_dir,
        LoopSettings(f"pretrain {cfg.name}", before + cfg.steps, seed, digest(asdict(cfg)), checkpoint_every=CHECKPOINT_EVERY),
        models={"policy": model},
        optimizers={"policy": optimizer},
        extra=lambda: {"read": {"tokens": torch.zeros((), dtype=torch.float64)}},
    )
    tokens = loop.extra["read"]["tokens"]
    order = torch.tensor(list(row_order(len(rows), cfg.steps * cfg.rows_per_step, seed)))
    policy = loop.models["policy"].train()
    clock = time.monotonic() - _seconds_before(out_dir)
    extra = batches(beside, loop.start)
    for step in loop:
        losses: dict[str, Tensor] = {}
        if step >= before:
            first = (step - before) * cfg.rows_per_step
            batch = rows[order[first : first + cfg.rows_per_step]].to(model.device)
            tokens += (batch != tokenizer.pad_token_id).sum()
            losses["loss"] = lm_loss(policy(batch, use_cache=False).logits, batch, batch != tokenizer.pad_token_id)
        weighted = list(losses.values())
        for source, read in next(extra).items():
            tokens += read.mask.sum()
            losses[f"loss_{source}"] = rows_loss(model, read)
            weighted.append(LOSS_WEIGHTS[source] * losses[f"loss_{source}"])
        loop.backward("policy", torch.stack(weighted).sum())
        lr = cfg.rate(step)
        norm = loop.optimizer_step("policy", lr=lr, max_grad_norm=1.0)
        if step % LOG_EVERY == 0:
            detached = {name: loss.detach() for name, loss in losses.items()}
            loop.log(step, **detached, lr=lr, grad_norm=norm, tokens=int(tokens), seconds=time.monotonic() - clock)
        if cfg.snapshots and (step + 1) % cfg.snapshots == 0:
            save_model(model, tokenizer, out_dir / SNAPSHOTS / f"{step + 1:06d}")
    save_model(model, tokenizer, out_dir / "model")
    made = {
        "seconds": round(time.monotonic() - clock, 3),
        "tokens": int(tokens),
        "machine": machine(),
        "torch": versions()["torch"],
    }
    write_json(out_dir / SIZE_FILE, {"parameters": count_parameters(model), "seed": seed, **made, **asdict(cfg)})
    loop.finish()


def _seconds_before(out_dir: Path) -> float:
    """Seconds that the training had taken when it was last stopped (0 for a new one), from metrics.jsonl."""
    path = out_dir / METRICS
    records = read_jsonl(path) if path.exists() and path.stat().st_size else []
    return float(records[-1].get("seconds", 0.0)) if records else 0.0
