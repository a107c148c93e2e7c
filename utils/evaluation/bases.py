"""Measuring a base model of a world, and its model card: the metrics that come with the shipped weights.

Everything is measured on the world's text with a seed that no base was trained on (`pretraining.HELD_OUT_WEB_SEED`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from utils.config import load_config
from utils.core.io import digest, digest_path, read_json, write_json, write_text
from utils.core.runtime import machine, versions
from utils.data.encoding import pad_right
from utils.evaluation.minimal_pairs import PAIRS, PAIRS_SEED, judged_right
from utils.evaluation.policies import fact_items, held_out_web
from utils.evaluation.statistics import mean_se
from utils.evaluation.tax import choice_accuracy, pretraining_loss
from utils.models.loading import count_parameters, load_policy
from utils.models.tokenizers import load_tokenizer
from utils.pretraining.base_models import TOKENIZER_DOCUMENTS, PretrainConfig
from utils.pretraining.preferences import JudgeConfig
from utils.pretraining.rows import HELD_OUT_WEB_SEED, WEB_SEED
from utils.reward.scoring import RewardModel
from utils.worlds.protocol import Marked, Span, World
from utils.worlds.registry import known_world

CARD_FILE = "README.md"
RESUMED_AT = "resumed_with_other_settings_at"  # of a base whose schedule was changed during its training
METRICS_FILE = "metrics.json"
WEB_DOCUMENTS = 400
PROBES = 200
DIGEST_DOCUMENTS = 1000
BATCH = 64


class SpanLoss(NamedTuple):
    """Mean next-token loss (nats per token) over marked tokens, and the share of them that the model ranks first."""

    loss: float
    right: float


@torch.no_grad()
def span_loss(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, documents: Sequence[Marked]) -> SpanLoss:
    """Loss on the tokens that end inside a marked span of their document, each document after a separator (bos)."""
    losses, right = [], []
    for start in range(0, len(documents), BATCH):
        sequences, marks = zip(*(_marked_ids(tokenizer, *d) for d in documents[start : start + BATCH]), strict=True)
        ids, mask = pad_right(list(sequences), tokenizer.pad_token_id)
        chosen = pad_right([[int(m) for m in row] for row in marks], 0)[0][:, 1:].bool()
        logits = model(input_ids=ids, attention_mask=mask.long(), use_cache=False).logits[:, :-1].float()
        targets = ids[:, 1:]
        losses.append(-logits.log_softmax(-1).gather(2, targets[..., None]).squeeze(2)[chosen])
        right.append((logits.argmax(-1) == targets)[chosen].float())
    return SpanLoss(float(torch.cat(losses).mean()), float(torch.cat(right).mean()))


def _marked_ids(tokenizer: PreTrainedTokenizerBase, text: str, spans: list[Span]) -> tuple[list[int], list[bool]]:
    """Ids of a document with its separator, and for each whether it ends inside a span."""
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    inside = [any(a < end <= b for a, b in spans) for _, end in found["offset_mapping"]]
    return [tokenizer.bos_token_id, *found["input_ids"]], [False, *inside]


def measure_base(world: World, path: Path) -> dict[str, float]:
    """Metrics of one base: its parameters, loss on held-out text, fact accuracy, and the probes of the world. Takes a few
    seconds."""
    model, tokenizer = load_policy(path), load_tokenizer(path)
    return {"parameters": count_parameters(model), **_text_metrics(world, model, tokenizer)}


def measure_tax(world: World, path: Path, metrics: Collection[str]) -> dict[str, float]:
    """Those of `measure_base`'s metrics that a sweep of the alignment tax shows; other probes are not run. Raises KeyError
    for a metric that the world does not have."""
    found = _text_metrics(world, load_policy(path), load_tokenizer(path), metrics)
    return {name: found[name] for name in metrics}


def _text_metrics(
    world: World, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, wanted: Collection[str] | None = None
) -> dict[str, float]:
    """Metrics on held-out text; wanted: names of metrics, without which a probe is not run (None: all)."""
    found = {"pretraining_loss": pretraining_loss(model, held_out_web(world, tokenizer, WEB_DOCUMENTS))}
    if items := fact_items(world, tokenizer):
        found["facts"] = choice_accuracy(model, items)
    for probe in world.probes(PROBES, HELD_OUT_WEB_SEED):
        if wanted is not None and not {probe.loss, probe.right} & set(wanted):
            continue
        said = span_loss(model, tokenizer, probe.documents)
        found[probe.loss] = said.loss
        if probe.right:
            found[probe.right] = said.right
    return found


def text_digest(world: World) -> str:
    """sha256 of the first pretraining documents: it changes if the text that bases are trained on does."""
    return digest(list(world.documents(DIGEST_DOCUMENTS, WEB_SEED)))


def write_card(cfg: PretrainConfig, path: Path, training: dict[str, Any] | None = None) -> dict[str, Any]:
    """Measure the base in `path`, write its metrics.json and README.md, return them.

    training: {"seconds", "threads", ...} of the run that made it; None keeps what metrics.json says.
    """
    world = known_world(cfg.world)
    old = read_json(path / METRICS_FILE) if (path / METRICS_FILE).exists() else {}
    facts = {
        "name": cfg.name,
        "figures": measure_base(world, path),
        "training": training if training is not None else old.get("training", {}),
        "measured_on": {"machine": machine(), **versions()},
        "web_digest": text_digest(world),
        "weights_sha256": digest_path(path / "model.safetensors"),
    }
    write_json(path / METRICS_FILE, facts)
    write_text(path / CARD_FILE, card(cfg, facts))
    return facts


def card(cfg: PretrainConfig, facts: dict[str, Any]) -> str:
    """The model card as Markdown."""
    f, t, world = facts["figures"], facts["training"], known_world(cfg.world)
    meanings = {"facts": "closed-book facts, multiple choice of up to 4", **world.probe_meanings}
    probed = "\n".join(f"| {meaning} | {f[key]:.3f} |" for key, meaning in meanings.items() if key in f)
    tokens = cfg.steps * cfg.rows_per_step * cfg.n_positions
    before = ", ".join(f"{stage.name} ({stage.steps:,})" for stage in cfg.stages)
    before = (
        f"\n| before the text, and beside it | random words and exercises in reading; steps before: {before} |"
        if before
        else ""
    )
    seconds = f"{t['seconds']:,.0f}" if "seconds" in t else "not recorded"
    made_with = ", ".join(f"{k} {v}" for k, v in t.items() if k not in ("seconds", "tokens", RESUMED_AT)) or "not recorded"
    reproducing = (RESUMED if RESUMED_AT in t else FROM_SCRATCH).format(name=cfg.name, step=t.get(RESUMED_AT, 0))
    return CARD.format(
        cfg=cfg, f=f, tokens=tokens / 1e6, before=before, seconds=seconds, made_with=made_with, digest=facts["weights_sha256"],
        seed=WEB_SEED, heldout=HELD_OUT_WEB_SEED, tokenizer_documents=TOKENIZER_DOCUMENTS, probes=PROBES,
        documents=WEB_DOCUMENTS, world=world, probed=probed, reproducing=reproducing,
    )  # fmt: skip


def write_judge_card(cfg: JudgeConfig, path: Path, training: dict[str, Any] | None = None) -> dict[str, Any]:
    """Measure the judge in `path` on minimal pairs, write its metrics.json and README.md, return them.

    training: what `pretrain_judge` returned; None keeps what metrics.json says.
    """
    world = known_world(cfg.world)
    training = training if training is not None else read_json(path / METRICS_FILE)["training"]
    judge = RewardModel.load(path, load_config("tiny").data)
    right = {kind: mean_se(row).mean for kind, row in judged_right(judge, world.minimal_pairs(PAIRS, PAIRS_SEED)).items()}
    facts = {
        "name": cfg.name,
        "figures": right,
        "training": training,
        "measured_on": {"machine": machine(), **versions()},
        "weights_sha256": digest_path(path / "model.safetensors"),
    }
    write_json(path / METRICS_FILE, facts)
    write_text(path / CARD_FILE, judge_card(cfg, facts))
    return facts


def judge_card(cfg: JudgeConfig, facts: dict[str, Any]) -> str:
    """The judge's card as Markdown."""
    shares = "\n".join(f"| {kind} | {share:.3f} |" for kind, share in facts["figures"].items())
    return JUDGE_CARD.format(
        cfg=cfg, t=facts["training"], pairs=cfg.steps * cfg.pairs_per_step, shares=shares, count=PAIRS,
        world=known_world(cfg.world), digest=facts["weights_sha256"],
    )  # fmt: skip


JUDGE_CARD = """---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-classification
---
# instruct-gpt2 {cfg.name}

A reward model of {t[parameters]:,} parameters from which the reward models of {world.title} start (`reward_init`). It is the
base `{cfg.start}`, trained to tell a right answer from a near miss of the same form (preference-model pretraining, Askell et
al. 2021). The pairs are written by the simulated world: no labeler was asked, and no prompt of the validation and test split
is among them.

| | |
|---|---|
| start | `{cfg.start}`, sha256 of its weights `{t[start_sha256]}` |
| data | {pairs:,} pairs, each seen once; exercises in reading beside them |
| training | {cfg.steps:,} steps of {cfg.pairs_per_step} pairs; Eq. 1 with K = 2, at the end token and for the mean of tokens |
| learning rate | AdamW, peak {cfg.learning_rate:g}, {cfg.warmup} steps of warm-up, cosine to 5 % |
| wall-clock seconds, with other work on the machine | {t[seconds]:,.0f} |
| made with | {t[machine]}, torch {t[torch]} |

## Metrics
Share of {count} minimal pairs of each kind, with prompts of the test split, in which the right answer has the higher reward.
Chance is 0.5.

| what differs | right |
|---|---|
{shares}

## Reproducing it
`python scripts/pretrain.py --size {cfg.name} --out data/models` makes these files from the base. sha256 of model.safetensors:
`{digest}`.

## Limits and licence
It knows nothing of what labelers like: tone, length, offers. {world.limits}
Weights: Apache-2.0. This card: CC BY 4.0.
"""

FROM_SCRATCH = """\
`python scripts/pretrain.py --size {name} --out data/models` makes these files from scratch. With the same build of
torch, the same kind of processor and one thread (the default of the script) the weights are equal bit for bit.
On other machines rounding differs, and the metrics are close."""

RESUMED = """\
`python scripts/pretrain.py --size {name} --out data/models` makes such a base from scratch, with other weights: the
training of these files was stopped at step {step:,} of a longer schedule and went on with the settings above."""

CARD = """---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
---
# instruct-gpt2 base model: {cfg.name}

A GPT-2 of {f[parameters]:,} parameters, pretrained on the simulated text of {world.title}. {world.about_bases}
Load it with `transformers` like any GPT-2.

| | |
|---|---|
| architecture | GPT2LMHeadModel, {cfg.n_layer} layers of width {cfg.n_embd}, {cfg.n_head} heads, context {cfg.n_positions} |
| tokenizer | byte-level BPE of {cfg.vocabulary}, from the first {tokenizer_documents:,} documents, the same for all sizes |
| data | {cfg.documents:,} generated documents (seed {seed}), joined by `<|endoftext|>`, rows of {cfg.n_positions} tokens |
| training | {cfg.steps:,} steps of {cfg.rows_per_step} rows: {tokens:.1f} million tokens |{before}
| learning rate | AdamW, peak {cfg.learning_rate:g}, {cfg.warmup} steps of warm-up, cosine to 5 % |
| wall-clock seconds, with other work on the machine | {seconds} |
| made with | {made_with} |

## Metrics
Held-out text: {documents} documents and {probes} probes with seed {heldout}. No base was trained on them.

| metric | value |
|---|---|
| loss on held-out text, nats per token | {f[pretraining_loss]:.3f} |
{probed}

## Reproducing it
{reproducing} sha256 of model.safetensors:
`{digest}`. With `--cards-only` the script measures the model again without training.

## Limits and licence
{world.limits}
Weights: Apache-2.0. This card: CC BY 4.0.
"""
