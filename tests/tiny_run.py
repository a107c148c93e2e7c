"""A pipeline run small enough for tests: a random base model, few prompts, two or three steps a stage."""

from __future__ import annotations

from pathlib import Path

from utils.models import new_policy, save_model
from utils.pretrain import train_tokenizer
from utils.world import World, corpus

VOCABULARY = 512
SETTINGS = {
    "device": "cpu",
    "web_documents": "60",
    "largest_model": "null",
    "data.n_sft": "64",
    "data.n_rm": "24",
    "data.n_ppo": "32",
    "data.n_valid": "16",
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


def make_base(path: Path) -> Path:
    """A random GPT-2 of about 40k weights with a tokenizer of the tiny world's text, saved in `path`."""
    tokenizer = train_tokenizer(corpus(World.load(), 300, seed=0), VOCABULARY)
    special = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    model = new_policy(
        len(tokenizer), n_embd=32, n_layer=2, n_head=4, n_positions=128, init_std=0.1, seed=0, special_ids=special
    )
    save_model(model, tokenizer, path)
    return path


def arguments(out: Path, base: Path, *more: str, **changes: str) -> list[str]:
    """Command line of scripts/pipeline.py for a tiny run; changes: settings with "__" for the dot."""
    settings = SETTINGS | {name.replace("__", "."): value for name, value in changes.items()}
    sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    return ["--profile", "tiny", "--out", str(out), "--model", str(base), *sets, *more]
