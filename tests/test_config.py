"""utils.config: profiles, dotted overrides, types, and one clear sentence for each wrong setting."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from utils.config import PROFILES, Config, OptimizerConfig, PPOConfig, _settings, config_to_dict, load_config, save_config
from utils.core.errors import UserError
from utils.core.ranges import advice, setting_types

MIX = Config().sampling.mix


def message(profile: Any = "tiny", overrides: dict[str, Any] | None = None) -> str:
    """The sentence of the UserError that loading raises."""
    with pytest.raises(UserError) as error:
        load_config(profile, overrides)
    return str(error.value)


@pytest.mark.parametrize("profile", ["tiny", "gpt2", "full", "reports"])
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
        assert (part.optimizer.beta1, part.optimizer.beta2) == (0.9, 0.95)
        assert part.optimizer.eps == 1e-8, "GPT-3's; the tiny profile's would damp the small gradients of a large model"


def test_overrides_are_typed() -> None:
    config = load_config(
        "tiny",
        {
            "seed": "7",
            "out": "runs/x",
            "ppo.beta": "2e-2",
            "ppo": {"rounds": 4},
            "sft.checkpoints": [1, 3],
            "init.checkpoints": "[2]",
            "world": "none",
            "largest_model": "null",
            "data.prompts": "mine.jsonl",
            "sampling.mix.sft": 4,
        },
    )
    assert (config.seed, config.out, config.world, config.largest_model) == (7, "runs/x", "none", None)
    assert (config.ppo.beta, config.ppo.rounds) == (0.02, 4)
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
@example(seed=0, beta=0.0, suffix="\x85", model=None, best=[1])
@given(
    seed=st.integers(0, 2**40),
    beta=st.floats(0, 10),
    suffix=st.text(st.characters(codec="utf-8"), max_size=5),
    model=st.none() | st.text("abc/-_.", min_size=1, max_size=8),
    best=st.lists(st.integers(1, 64), min_size=1, max_size=4),
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
        ({"ppo.beta": -0.1}, 'setting "ppo.beta": -0.1 is out of range; use a number of 0 or more.'),
        ({"sft.checkpoints": [1, -2]}, 'setting "sft.checkpoints": -2 is out of range; use a number of 1 or more.'),
        ({"sampling.mix.sft": -1}, 'setting "sampling.mix": sft: -1.0 is out of range; use a number of 0 or more.'),
        (
            {"labelers.careless_share": 1.5},
            'setting "labelers.careless_share": 1.5 is out of range; use a number of 0 or more, at most 1.',
        ),
        ({"ppo.gae_lambda": 95}, 'setting "ppo.gae_lambda": 95.0 is out of range; use a number of 0 or more, at most 1.'),
        ({"ppo.temperature": 0}, 'setting "ppo.temperature": 0.0 is out of range; use a number above 0.'),
        ({"evaluation.confidence": 1}, 'setting "evaluation.confidence": 1.0 is out of range; use a number above 0, below 1.'),
        ({"sft.optimizer.eps": 0}, 'setting "sft.optimizer.eps": 0.0 is out of range; use a number above 0.'),
        ({"ppo.rounds": 10**12}, 'setting "ppo.rounds": 1000000000000 is too large; use at most 1,000,000,000.'),
        ({"evaluation.best_of": []}, 'setting "evaluation.best_of": it is empty; give a value.'),
        ({"data.prompted_template": "Q:"}, 'setting "data.prompted_template": it must hold "{prompt}".'),
        (
            {"sampling.mix": dict.fromkeys(MIX, 0)},
            'setting "sampling.mix": all its numbers are 0; give one of them a number above 0.',
        ),
        ({"sft.backend": "keras"}, 'setting "sft.backend": "keras" is unknown; use own or trl.'),
        ({"device": "gpu"}, 'setting "device": "gpu" is unknown; use auto or cpu or cuda or mps.'),
        ({"device": "cuda:x"}, 'setting "device": "cuda:x" is unknown; use auto or cpu or cuda or mps.'),
        ({"sampling.k_min": 1}, 'setting "sampling.k_min": 1 is out of range; use a number of 2 or more.'),
        ({"sampling.k_max": 4}, 'setting "sampling.k_min": it must be at most sampling.k_max, 4.'),
        (
            {"labelers.n_hired": 91},
            'setting "labelers.n_hired": 91 cannot be hired from 90 labelers.n_candidates; lower the one or raise the other.',
        ),
        ({"ppo.minibatch_size": 100}, 'setting "ppo.minibatch_size": it must divide ppo.episodes_per_round.'),
        ({"ppo_ptx.minibatch_size": 0}, 'setting "ppo_ptx.minibatch_size": 0 is out of range; use a number of 1 or more.'),
        (
            {"ppo.rounds": 3},
            'setting "ppo.rounds": it is 3, but the first 3 rounds train the value model alone; raise it or lower '
            "ppo.value_warmup_rounds.",
        ),
    ],
)
def test_a_value_that_no_run_can_use(overrides: dict[str, Any], end: str) -> None:
    assert message("tiny", overrides) == f"{PROFILES / 'tiny.yaml'} with the changes given, {end}"


NAMES = [name for name, _ in _settings(Config())]
PROBES = [
    0,
    1,
    -1,
    0.0,
    -0.5,
    1.0,
    10**30,
    1e30,
    math.nan,
    math.inf,
    "",
    " ",
    "nan",
    "0",
    "-1",
    "word",
    None,
    True,
    [],
    [0],
    [-1],
    {},
    {"sft": 0},
]


@pytest.mark.parametrize("name", NAMES)
def test_every_value_is_taken_or_refused_by_name_before_anything_runs(name: str, tmp_path: Path) -> None:
    """Zero, empty, negative, huge, not a number, wrong type: a setting that is taken is one that its range allows."""
    *groups, last = name.split(".")
    (tmp_path / "defaults.yaml").write_text("")
    for value in PROBES:
        try:
            config = load_config(tmp_path / "defaults.yaml", {name: value})
        except UserError as error:
            assert last in str(error), (value, str(error))
            continue
        section: Any = config
        for group in groups:
            section = getattr(section, group)
        assert advice(getattr(section, last), setting_types(type(section))[last]) is None, value


@pytest.mark.parametrize("name", NAMES)
def test_every_number_and_list_declares_its_range(name: str) -> None:
    *groups, last = name.split(".")
    section: Any = Config()
    for group in groups:
        section = getattr(section, group)
    hint = setting_types(type(section))[last]
    if hint not in (bool, str, str | None):  # any text, or true and false
        assert "Annotated" in repr(hint), f"{name} has no range"


@pytest.mark.parametrize("profile", ["tiny", "gpt2", "full", "reports"])
def test_zero_is_refused_where_it_would_fail_later(profile: str) -> None:
    """Settings of which zero once passed the check and failed after minutes, or meant something else."""
    for name in ZERO_FAILS:
        with pytest.raises(UserError, match=f'setting "{name}": 0'):
            load_config(profile, {name: 0})


ZERO_FAILS = [
    "init.batch_size", "sft.batch_size", "sft.epochs", "reward.prompts_per_step", "ppo.inner_epochs",
    "ppo.episodes_per_round", "sampling.batch_size", "evaluation.batch_size", "data.pretraining_samples",
    "ppo.eval_prompts", "ppo.eval_every_rounds", "ppo_ptx.ptx_length", "ppo.temperature", "sampling.hot_temperature",
    "evaluation.temperature", "evaluation.confidence", "ppo.value_warmup_epochs",
]  # fmt: skip


def test_settings_of_earlier_runs_load(tmp_path: Path) -> None:
    """Adam's settings stood in each stage once; files and command lines may still say so."""
    path = tmp_path / "old.yaml"
    path.write_text("sft:\n  adam_beta1: 0.8\n  adam_eps: 1e-7\n  weight_decay: 0.1\n  max_grad_norm: 2\n")
    assert load_config(path).sft.optimizer == OptimizerConfig(beta1=0.8, eps=1e-7, weight_decay=0.1, max_grad_norm=2.0)
    changed = load_config("tiny", {"ppo.adam_beta2": "0.9", "ppo.optimizer.eps": 1e-6, "ppo.learning_rate": "1e-4"}).ppo
    assert changed.optimizer == OptimizerConfig(beta2=0.9, eps=1e-6)
    assert changed.learning_rate == 1e-4
    path.write_text("ppo:\n  adam_eps: 1e-7\n  optimizer: {eps: 1e-6}\n")
    assert load_config(path).ppo.optimizer.eps == 1e-6, "the group goes first"


PAPER = {
    "data.n_sft": 12_725, "data.n_rm": 33_207, "data.n_ppo": 31_144, "data.cap_per_user": 200,
    "data.max_prompt_tokens": 1000, "data.max_response_tokens": 1000, "labelers.n_hired": 40,
    "sft.epochs": 16, "sft.learning_rate": 9.65e-6, "sft.final_lr_fraction": 0.1, "sft.batch_size": 32, "sft.dropout": 0.2,
    "sft.pretrain_fraction": 0.0, "sft.optimizer.beta1": 0.9, "sft.optimizer.beta2": 0.95,
    "init.epochs": 2, "init.final_lr_fraction": 0.1, "init.learning_rate": 5e-6,
    "init.batch_size": 32, "init.pretrain_fraction": 0.1,
    "sampling.k_min": 4, "sampling.k_max": 9,
    "reward.epochs": 1, "reward.learning_rate": 9e-6, "reward.final_lr_fraction": 0.1, "reward.prompts_per_step": 64,
    "reward.element": "prompt", "reward.cv_groups": 5, "reward.cv_prompts": 33_207,
    "ppo.rounds": 500, "ppo.episodes_per_round": 512, "ppo.minibatch_size": 64, "ppo.inner_epochs": 1,
    "ppo.value_learning_rate": 9e-6, "ppo.warmup_rounds": 10, "ppo.warmup_from": 0.1, "ppo.value_warmup_rounds": 0,
    "ppo.beta": 0.02, "ppo.clip": 0.2, "ppo.gae_gamma": 1.0, "ppo.temperature": 1.0, "ppo.ema_decay": 0.992,
    "ppo.ptx_rows_per_episode": 8.0, "ppo.ptx_length": 2048, "ppo_ptx.gamma_ptx": 27.8, "evaluation.confidence": 0.95,
}  # fmt: skip


@pytest.mark.parametrize("profile", ["tiny", "gpt2", "full", "reports"])
def test_a_profile_states_every_setting_that_differs_from_the_paper(profile: str) -> None:
    """In a line of its own, with a comment that says what the paper has: no default leaks in."""
    group, comments = "", {}
    for line in (PROFILES / f"{profile}.yaml").read_text().splitlines():
        if found := re.match(r"(  )?(\w+):(?:.*#(.*))?", line):
            indented, key, comment = found.groups()
            group = group if indented else key
            comments[f"{group}.{key}" if indented else key] = comment or ""
    settings_now = dict(_settings(load_config(profile)))
    for name, value in PAPER.items():
        if settings_now[name] != value:
            found = re.search(r"paper:? (none|all rankings|[\d.,e-]*\d)(.*)", comments.get(name, ""))
            assert found, f"{profile}: {name} is {settings_now[name]}, the paper has {value}"
            said = {"none": 0, "all rankings": PAPER["data.n_rm"]}.get(found[1], found[1])
            assert float(str(said).replace(",", "")) == value, f"{profile}: {name}"
            assert re.search(r"[;:] \w+", found[2]), f"{profile}: {name} differs without a reason"


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
    assert message("huge") == 'Unknown profile "huge": use full, gpt2, reports, tiny, or the path of a .yaml file.'
    assert message("no.yaml") == "The file no.yaml does not exist: check the path."


def test_a_file_with_a_setting_that_is_gone_stays_readable(tmp_path: Path) -> None:
    file = tmp_path / "old.yaml"
    file.write_text("reward:\n  read: end\n  epochs: 3\n")
    assert load_config(file).reward.epochs == 3
