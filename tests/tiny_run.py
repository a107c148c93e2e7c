"""A pipeline run small enough for tests: a random base model, few prompts, two or three steps a stage."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from utils.core.cli import main
from utils.models.loading import gpt2_config, new_policy, save_model
from utils.models.tokenizers import BOS
from utils.pipeline.command import pipeline_command
from utils.pretraining.base_models import train_tokenizer
from utils.worlds import known_world

VOCABULARY = 512
SETTINGS = {
    "device": "cpu",
    "web_documents": "60",
    "largest_model": "null",
    "data.n_sft": "64",
    "data.n_rm": "24",
    "data.n_ppo": "32",
    "data.n_valid": "24",
    "data.n_test": "16",
    "data.max_response_tokens": "24",
    "sft.epochs": "2",
    "sft.checkpoints": "[1, 2]",
    "init.epochs": "1",
    "init.checkpoints": "[1]",
    "sampling.k_min": "4",
    "sampling.k_max": "6",
    "reward.prompts_per_step": "4",
    "reward.cv_groups": "2",
    "reward.cv_prompts": "8",
    "evaluation.best_of": "[1, 2]",
    "evaluation.best_of_prompts": "8",
    "evaluation.web_documents": "20",
}
PPO = {
    "rounds": "4",
    "episodes_per_round": "16",
    "minibatch_size": "8",
    "value_warmup_rounds": "1",
    "value_warmup_epochs": "1",
    "eval_every_rounds": "2",
    "eval_prompts": "8",
    "ptx_length": "32",
}
SETTINGS |= {f"{stage}.{name}": value for stage in ("ppo", "ppo_ptx") for name, value in PPO.items()}
run = pipeline_command("the tiny run of the tests")


def make_base(path: Path, plain: bool = False) -> Path:
    """A random GPT-2 of about 40k weights with a tokenizer of the tiny world's text, saved in `path`.

    plain: as GPT-2 has it, with one special token that separates documents and is neither for ending nor for padding.
    """
    tokenizer = train_tokenizer(known_world("tiny").documents(300, seed=0), VOCABULARY)
    special = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    sizes = gpt2_config(len(tokenizer), n_embd=32, n_layer=2, n_head=4, n_positions=128, init_std=0.1, special_ids=special)
    model = new_policy(sizes, seed=0)
    save_model(model, tokenizer, path)
    if plain:
        core = tokenizer.backend_tokenizer
        PreTrainedTokenizerFast(tokenizer_object=core, bos_token=BOS, eos_token=BOS).save_pretrained(path)
    return path


def arguments(out: Path, base: Path, *more: str, changes: Mapping[str, str] | None = None) -> list[str]:
    """Command line of scripts/pipeline.py for a tiny run. changes: settings by dotted name."""
    sets = [part for name, value in (SETTINGS | dict(changes or {})).items() for part in ("--set", f"{name}={value}")]
    return ["--profile", "tiny", "--out", str(out), "--model", str(base), *sets, *more]


def run_as_process(given: list[str], log: str) -> None:
    """Target of a process: the command line, on one thread, with all output in the file `log`."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    torch.set_num_threads(1)
    sys.exit(main(run, given))


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """A JSONL file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def own_files(folder: Path, count: int = 160) -> dict[str, Path]:
    """The files that a user would bring: prompts, demonstrations, pairs, rankings of three answers, pretraining text."""
    world = known_world("tiny")
    asked = [p for p in world.make_prompts(9, {"train": count}) if p.prompt.isascii() and p.prompt.strip()]
    asked = list({p.prompt: p for p in asked if len(p.prompt.split()) < 20}.values())[:count]
    good = [world.answer(p, random.Random(i), nice=0.5) for i, p in enumerate(asked)]
    bad = [world.answer(asked[i - 1], random.Random(i)) + " Nobody knows." for i in range(len(asked))]
    rows = list(zip((p.prompt for p in asked), good, bad, strict=True))
    return {
        "prompts": write_lines(folder / "prompts.jsonl", [{"prompt": p} for p, _, _ in rows]),
        "demonstrations": write_lines(folder / "demos.jsonl", [{"prompt": p, "completion": g} for p, g, _ in rows]),
        "pairs": write_lines(folder / "pairs.jsonl", [{"prompt": p, "chosen": g, "rejected": b} for p, g, b in rows]),
        "rankings": write_lines(
            folder / "ranked.jsonl",
            [{"prompt": p, "completions": [b, g, f"{b} {g}"], "ranks": [3, 1, 2]} for p, g, b in rows],
        ),
        "pretraining": write_lines(folder / "texts.jsonl", [{"text": f"{p} {g}"} for p, g, _ in rows]),
    }
