"""What a base model of the tiny world can do, and its model card: the figures that come with the shipped weights.

Everything is measured on web text with a seed that no base was trained on (`pretrain.HELD_OUT_WEB_SEED`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from utils.core.io import digest, digest_path, read_json, write_json, write_text
from utils.core.runtime import machine, python_rng, versions
from utils.data.encoding import pad_right
from utils.evaluation.policies import fact_items, held_out_web
from utils.evaluation.tax import choice_accuracy, pretraining_loss
from utils.models.loading import count_parameters, load_policy
from utils.models.tokenizers import load_tokenizer
from utils.pretraining.base_models import HELD_OUT_WEB_SEED, TOKENIZER_DOCUMENTS, WEB_SEED, PretrainConfig, web_texts
from utils.worlds.tiny import World
from utils.worlds.tiny.corpus import repetition, titled_story

CARD_FILE = "README.md"
FIGURES_FILE = "metrics.json"
WEB_DOCUMENTS = 400
PROBES = 200
DIGEST_DOCUMENTS = 1000
BATCH = 64

Span = tuple[int, int]  # first character and one past the last
Marked = tuple[str, list[Span]]


class SpanLoss(NamedTuple):
    """Mean next-token loss (nats per token) over marked tokens, and the share of them that is the likeliest token."""

    loss: float
    right: float


@torch.no_grad()
def span_loss(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, documents: Sequence[Marked]) -> SpanLoss:
    """Loss on the tokens that end inside a marked span of their document, each document after a separator."""
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


def repeated_lists(world: World, n: int) -> tuple[list[Marked], list[Marked]]:
    """Held-out lists of random words said twice, marked at the first saying and at the second."""
    first, second = [], []
    for i in range(n):
        text = repetition(world, python_rng(HELD_OUT_WEB_SEED, "copying", i))
        head, again = text.split("\n", 2)[:2]
        first.append((text, [(head.index(":") + 1, len(head) - 1)]))
        second.append((text, [(len(head) + 1, len(head) + len(again))]))
    return first, second


def titled_stories(world: World, n: int) -> tuple[list[Marked], list[Marked]]:
    """Held-out stories marked where they say the hero and the place of their title: with the title, and without it."""
    heroes, places = [*world.kinds["animals"], *world.kinds["jobs"]], world.words["places"]
    with_title, without = [], []
    for i in range(n):
        text = titled_story(world, python_rng(HELD_OUT_WEB_SEED, "title", i))
        title, body = text.split("\n", 1)
        words = [w for w in (*heroes, *places) if re.search(rf"\b{w}\b", title)]
        spans = [m.span() for m in re.finditer(rf"\b({'|'.join(words)})\b", body)]
        without.append((body, spans))
        with_title.append((text, [(a + len(title) + 1, b + len(title) + 1) for a, b in spans]))
    return with_title, without


def measure_base(path: Path) -> dict[str, float]:
    """Figures of one base: held-out web loss, fact accuracy, copying, use of a title. A few seconds."""
    model, tokenizer, world = load_policy(path), load_tokenizer(path), World.load()
    first, second = (span_loss(model, tokenizer, x) for x in repeated_lists(world, PROBES))
    titled, bare = (span_loss(model, tokenizer, x) for x in titled_stories(world, PROBES))
    return {
        "parameters": count_parameters(model),
        "pretraining_loss": pretraining_loss(model, held_out_web(tokenizer, WEB_DOCUMENTS)),
        "facts": choice_accuracy(model, fact_items(tokenizer)),
        "copying.loss_first": first.loss,
        "copying.loss_second": second.loss,
        "copying.right_second": second.right,
        "title.loss": titled.loss,
        "title.loss_without": bare.loss,
        "title.right": titled.right,
    }


def web_digest() -> str:
    """sha256 of the first pretraining documents: tells whether the world still writes the text a base was trained on."""
    return digest(web_texts(DIGEST_DOCUMENTS))


def write_card(cfg: PretrainConfig, path: Path, training: dict[str, Any] | None = None) -> dict[str, Any]:
    """Measure the base in `path`, write its metrics.json and README.md, return the figures.

    training: {"seconds", "threads", ...} of the run that made it; None keeps what metrics.json says.
    """
    old = read_json(path / FIGURES_FILE) if (path / FIGURES_FILE).exists() else {}
    facts = {
        "name": cfg.name,
        "figures": measure_base(path),
        "training": training if training is not None else old.get("training", {}),
        "measured_on": {"machine": machine(), **versions()},
        "web_digest": web_digest(),
        "weights_sha256": digest_path(path / "model.safetensors"),
    }
    write_json(path / FIGURES_FILE, facts)
    write_text(path / CARD_FILE, card(cfg, facts))
    return facts


def card(cfg: PretrainConfig, facts: dict[str, Any]) -> str:
    """The model card as Markdown."""
    f, t = facts["figures"], facts["training"]
    tokens = cfg.steps * cfg.rows_per_step * cfg.n_positions
    seconds = f"{t['seconds']:,.0f}" if "seconds" in t else "not recorded"
    made_with = ", ".join(f"{k} {v}" for k, v in t.items() if k != "seconds") or "not recorded"
    return CARD.format(
        cfg=cfg, f=f, tokens=tokens / 1e6, seconds=seconds, made_with=made_with, digest=facts["weights_sha256"],
        seed=WEB_SEED, heldout=HELD_OUT_WEB_SEED, tokenizer_documents=TOKENIZER_DOCUMENTS, probes=PROBES,
        documents=WEB_DOCUMENTS,
    )  # fmt: skip


CARD = """---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
---
# instruct-gpt2 base model: {cfg.name}

A GPT-2 of {f[parameters]:,} parameters, pretrained on the simulated web of the tiny world. It is the start of the
lessons, not a useful assistant: it continues text, answers a question with more questions, repeats popular
misconceptions and can be (mildly) rude. Load it with `transformers` like any GPT-2.

| | |
|---|---|
| architecture | GPT2LMHeadModel, {cfg.n_layer} layers of width {cfg.n_embd}, {cfg.n_head} heads, context {cfg.n_positions} |
| tokenizer | byte-level BPE of {cfg.vocabulary}, from the first {tokenizer_documents:,} documents, the same for all sizes |
| data | {cfg.documents:,} generated documents (seed {seed}), joined by `<|endoftext|>`, rows of {cfg.n_positions} tokens |
| training | {cfg.steps:,} steps of {cfg.rows_per_step} rows: {tokens:.1f} million tokens |
| learning rate | AdamW, peak {cfg.learning_rate:g}, {cfg.warmup} steps of warm-up, cosine to 5 % |
| wall seconds, other work on the machine included | {seconds} |
| made with | {made_with} |

## Figures
Held-out text: {documents} documents and {probes} probes with seed {heldout}, which no base was trained on.

| figure | value |
|---|---|
| loss on held-out web text, nats per token | {f[pretraining_loss]:.3f} |
| closed-book facts, multiple choice of up to 4 | {f[facts]:.3f} |
| copying: loss on a list of random words, first saying | {f[copying.loss_first]:.3f} |
| copying: loss on its second saying | {f[copying.loss_second]:.3f} |
| copying: tokens of the second saying that are the likeliest one | {f[copying.right_second]:.3f} |
| title: loss on hero and place in a story, without its title | {f[title.loss_without]:.3f} |
| title: the same after the title | {f[title.loss]:.3f} |

## Made again
`python scripts/pretrain.py --size {cfg.name} --out data/models` makes these files from nothing. With the same build of
torch, the same kind of processor and one thread (the default of the script) the weights come out bit for bit;
elsewhere rounding differs and the figures come out close. sha256 of model.safetensors:
`{digest}`. `--cards-only` measures the figures again without training.

## Limits and licence
All text is generated from a few word lists; nothing here says anything about real people or real language models.
Occupations have skewed pronouns and made-up rude words on purpose (see docs/tiny-world.md).
Weights: Apache-2.0. This card: CC BY 4.0.
"""
