"""Settings of a smoke run: all stages of a profile in a few steps on small batches, to test that everything works here."""

from __future__ import annotations

from typing import Any

from utils.config import Config

ROWS = 64
CAPS = {
    "web_documents": 200,
    "data.n_sft": ROWS, "data.n_rm": 48, "data.n_ppo": ROWS, "data.n_valid": 32, "data.n_test": 32, "data.max_rows": ROWS,
    "labelers.n_candidates": 40, "labelers.n_hired": 12, "labelers.n_heldout": 6,
    "sft.epochs": 2, "sft.batch_size": 8, "init.epochs": 1, "init.batch_size": 8,
    "sampling.k_min": 3, "sampling.k_max": 4, "sampling.batch_size": 32,
    "reward.epochs": 1, "reward.prompts_per_step": 8, "reward.cv_groups": 2, "reward.cv_prompts": 16,
    "evaluation.best_of_prompts": 8, "evaluation.batch_size": 32, "evaluation.web_documents": 20,
}  # fmt: skip
PPO_CAPS = {
    "rounds": 3, "episodes_per_round": 16, "minibatch_size": 8, "value_warmup_rounds": 1, "value_warmup_epochs": 1,
    "eval_every_rounds": 2, "eval_prompts": 8, "ptx_rows_per_episode": 1.0,
}  # fmt: skip
BEST_OF = 4
# Long sequences usually mean a large model. Then a smoke run has fewer rows and shorter answers, so that a laptop's CPU
# needs minutes only. Prompts keep their length: with a lower limit few dialogues would be left.
LONG = 192  # tokens of prompt and response
LONG_ROWS = 16
LONG_CAPS = {
    "data.n_sft": LONG_ROWS, "data.n_rm": LONG_ROWS, "data.n_ppo": LONG_ROWS, "data.n_valid": 4, "data.n_test": 4,
    "data.max_rows": LONG_ROWS, "data.max_response_tokens": 64, "data.pretraining_samples": LONG_ROWS,
    "sft.batch_size": 4, "init.batch_size": 4, "reward.prompts_per_step": 4,
}  # fmt: skip
LONG_PPO_CAPS = {"rounds": 2, "episodes_per_round": 8, "minibatch_size": 4}


def smoke_settings(config: Config) -> dict[str, Any]:
    """Overrides by dotted name for `load_config` that make a run of `config` small: no number above its cap.

    All other settings (learning rates, lengths of prompts, models) are those of the profile. Results go to another folder,
    OUT_smoke.
    """
    long = config.data.max_prompt_tokens + config.data.max_response_tokens > LONG
    ppo = PPO_CAPS | (LONG_PPO_CAPS if long else {})
    caps: dict[str, Any] = CAPS | (LONG_CAPS if long else {})
    caps |= {f"{part}.{name}": cap for part in ("ppo", "ppo_ptx") for name, cap in ppo.items()}
    found = {name: _capped(_value(config, name), cap) for name, cap in caps.items()}
    for part in ("sft", "init"):
        epochs = found[f"{part}.epochs"]
        kept = tuple(e for e in _value(config, f"{part}.checkpoints") if e <= epochs)
        found[f"{part}.checkpoints"] = kept or (epochs,)
    found["evaluation.best_of"] = tuple(n for n in config.evaluation.best_of if n <= BEST_OF) or (1,)
    return found | {"out": f"{config.out}_smoke"}


def _value(config: Config, name: str) -> Any:
    """A setting by its dotted name."""
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _capped(value: Any, cap: float) -> Any:
    """`value`, or the cap if it is smaller or if the value is None."""
    return cap if value is None else min(value, cap)
