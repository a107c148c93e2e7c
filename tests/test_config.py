"""utils.config: profiles, dotted overrides, types, and one clear sentence for each wrong setting."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from utils.config import PROFILES, Config, PPOConfig, config_to_dict, load_config, save_config
from utils.core.errors import UserError


def message(profile: Any = "tiny", overrides: dict[str, Any] | None = None) -> str:
    """The sentence of the UserError that loading raises."""
    with pytest.raises(UserError) as error:
        load_config(profile, overrides)
    return str(error.value)


@pytest.mark.parametrize("profile", ["tiny", "gpt2", "full"])
def test_profiles_load(profile: str) -> None:
    config = load_config(profile)
    assert config.profile == profile
    assert config.out == f"runs/{profile}"
    assert config.ppo.gamma_ptx == 0
    ptx = {name: getattr(config.ppo_ptx, name) for name in ("gamma_ptx", "ptx_rows_per_episode")}
    assert config.ppo_ptx == dataclasses.replace(config.ppo, **ptx)  # all else is shared
    assert config.ppo_ptx.gamma_ptx > 0


def test_tiny_spells_out_every_setting() -> None:
    spelled = yaml.safe_load((PROFILES / "tiny.yaml").read_text())
    for name, default in config_to_dict(Config()).items():
        assert name in spelled
        if isinstance(default, dict):
            assert list(spelled[name]) == list(default) or set(spelled[name]) == set(default), name


def test_full_has_the_papers_printed_values() -> None:
    """Sections 3.5, C.1-C.4 and A.2 of the paper."""
    config = load_config("full")
    assert (config.sft.epochs, config.sft.learning_rate, config.sft.batch_size, config.sft.dropout) == (
        16,
        9.65e-6,
        32,
        0.2,
    )
    assert (config.init.epochs, config.init.learning_rate, config.init.pretrain_fraction) == (2, 5e-6, 0.1)
    assert (config.sampling.k_min, config.sampling.k_max) == (4, 9)
    assert (config.reward.epochs, config.reward.learning_rate, config.reward.prompts_per_step) == (1, 9e-6, 64)
    ppo = config.ppo_ptx
    assert ppo.rounds * ppo.episodes_per_round == 256_000
    assert (ppo.episodes_per_round, ppo.minibatch_size, ppo.inner_epochs) == (512, 64, 1)
    assert (ppo.beta, ppo.clip, ppo.gae_gamma, ppo.temperature, ppo.ema_decay) == (0.02, 0.2, 1.0, 1.0, 0.992)
    assert (ppo.gamma_ptx, ppo.ptx_rows_per_episode, ppo.value_learning_rate) == (27.8, 8.0, 9e-6)
    assert (ppo.warmup_rounds, ppo.warmup_from) == (10, 0.1)
    assert config.data.cap_per_user == 200
    for part in (config.sft, config.init, config.reward, config.ppo):
        assert (part.adam_beta1, part.adam_beta2) == (0.9, 0.95)
        assert part.adam_eps == 1e-8, "GPT-3's; the tiny profile's would damp the small gradients of a large model"


def test_overrides_are_typed() -> None:
    config = load_config(
        "tiny",
        {
            "seed": "7",
            "out": "runs/x",
            "ppo.beta": "2e-2",
            "ppo": {"rounds": 3},
            "sft.checkpoints": [1, 3],
            "init.checkpoints": "[2]",
            "world": "none",
            "largest_model": "null",
            "data.prompts": "mine.jsonl",
            "sampling.mix.sft": 4,
        },
    )
    assert (config.seed, config.out, config.world, config.largest_model) == (7, "runs/x", "none", None)
    assert (config.ppo.beta, config.ppo.rounds) == (0.02, 3)
    assert config.ppo.clip == PPOConfig().clip
    assert (config.sft.checkpoints, config.init.checkpoints) == ((1, 3), (2,))
    assert config.data.prompts == "mine.jsonl"
    assert config.sampling.mix == {**load_config("tiny").sampling.mix, "sft": 4.0}


def test_a_file_of_ones_own_keeps_defaults_and_replaces_the_mix(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("reward:\n  learning_rate: 1e-3\nsampling:\n  mix: {sft: 1}\ninit:\n  dropout: 0.1\n")
    config = load_config(path)
    assert config.reward.learning_rate == 1e-3
    assert config.sampling.mix == {"sft": 1.0}
    assert config.init == dataclasses.replace(Config().init, dropout=0.1)
    path.write_text("")
    assert load_config(str(path)) == Config()


@settings(deadline=None, max_examples=25)
@example(seed=0, beta=0.0, suffix="\x85", model=None, best=[])
@given(
    seed=st.integers(0, 2**40),
    beta=st.floats(0, 10),
    suffix=st.text(st.characters(codec="utf-8"), max_size=5),
    model=st.none() | st.text("abc/-_.", min_size=1, max_size=8),
    best=st.lists(st.integers(1, 64), max_size=4),
)
def test_saved_settings_come_back_equal(
    tmp_path_factory: pytest.TempPathFactory, seed: int, beta: float, suffix: str, model: str | None, best: list[int]
) -> None:
    changes = {"seed": seed, "ppo.beta": beta, "data.prompt_suffix": suffix, "largest_model": model}
    config = load_config("tiny", changes | {"evaluation.best_of": best})
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    save_config(config, path)
    assert load_config(path) == config


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"ppo.betta": 1}, 'the settings given: unknown setting "ppo.betta"; the nearest one is "ppo.beta".'),
        ({"k_max": 4}, 'the settings given: unknown setting "k_max"; the nearest one is "sampling.k_max".'),
        (
            {"sampling.zzz": 4},
            'the settings given: unknown setting "sampling.zzz"; use one of k_min, k_max, mix, hot_temperature, batch_size.',
        ),
        (
            {"sampling.mix.sftt": 4},
            'the settings given: unknown setting "sampling.mix.sftt"; the nearest one is "sampling.mix.sft".',
        ),
        ({"ppo": 3}, 'the settings given, setting "ppo": it is a group of settings; give ppo.NAME.'),
        (
            {"ppo.rounds": 2.5},
            'the settings given, setting "ppo.rounds": expected a whole number, found the number 2.5.',
        ),
        (
            {"sft.dropout": "much"},
            'the settings given, setting "sft.dropout": expected a number, found the text "much".',
        ),
        ({"world": 3}, 'the settings given, setting "world": expected text, found the number 3.'),
        ({"seed": None}, 'the settings given, setting "seed": expected a whole number, found nothing (null).'),
    ],
)
def test_a_wrong_override_is_one_sentence(overrides: dict[str, Any], sentence: str) -> None:
    assert message("tiny", overrides) == sentence


@pytest.mark.parametrize(
    ("overrides", "end"),
    [
        ({"ppo.beta": -0.1}, 'setting "ppo.beta": -0.1 is negative; use 0 or more.'),
        ({"sft.checkpoints": [1, -2]}, 'setting "sft.checkpoints": (1, -2) is negative; use 0 or more.'),
        ({"sampling.mix.sft": -1}, "is negative; use 0 or more."),
        (
            {"labelers.careless_share": 1.5},
            'setting "labelers.careless_share": 1.5 is above 1; use a share from 0 to 1.',
        ),
        ({"labelers.nice": 4}, 'setting "labelers.nice": 4.0 is above 1; use a share from 0 to 1.'),
        ({"ppo.gae_lambda": 95}, 'setting "ppo.gae_lambda": 95.0 is above 1; use a share from 0 to 1.'),
        ({"sft.backend": "keras"}, 'setting "sft.backend": "keras" is unknown; use own or trl.'),
        ({"device": "gpu"}, 'setting "device": "gpu" is unknown; use auto or cpu or cuda or mps.'),
        ({"sampling.k_min": 1}, 'setting "sampling.k_min": it must be at least 2 and at most sampling.k_max.'),
        ({"ppo.minibatch_size": 100}, 'setting "ppo.minibatch_size": it must divide ppo.episodes_per_round.'),
        ({"ppo_ptx.minibatch_size": 0}, 'setting "ppo_ptx.minibatch_size": it must divide ppo_ptx.episodes_per_round.'),
    ],
)
def test_a_value_that_no_run_can_use(overrides: dict[str, Any], end: str) -> None:
    assert message("tiny", overrides) == f"{PROFILES / 'tiny.yaml'} with the changes given, {end}".replace(
        "is negative" if end.startswith("is negative") else "\0",
        f'setting "sampling.mix": {load_config("tiny").sampling.mix | {"sft": -1.0}} is negative',
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            "seed: 1\nppo: {beta: 1\n",
            "{path}, row 3, column 1: broken YAML (expected ',' or '}}', but got '<stream end>').",
        ),
        ("- 1\n", '{path}: expected settings such as "seed: 1", found something else.'),
        ("sed: 1\n", '{path}: unknown setting "sed"; the nearest one is "seed".'),
        ("sft:\n", '{path}, setting "sft": it is a group of settings; give sft.NAME.'),
        ("device: gpu\n", '{path}, setting "device": "gpu" is unknown; use auto or cpu or cuda or mps.'),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    assert message(path) == sentence.format(path=path)


def test_an_unknown_profile() -> None:
    assert message("huge") == 'Unknown profile "huge": use full, gpt2, tiny, or the path of a .yaml file.'
    assert message("no.yaml") == "The file no.yaml does not exist: check the path."


def test_a_file_with_a_setting_that_is_gone_stays_readable(tmp_path: Path) -> None:
    file = tmp_path / "old.yaml"
    file.write_text("reward:\n  read: end\n  epochs: 3\n")
    assert load_config(file).reward.epochs == 3
