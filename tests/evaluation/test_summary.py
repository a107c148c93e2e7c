from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.core.errors import UserError
from utils.core.io import read_json, write_json
from utils.core.runtime import ROOT
from utils.evaluation.summary import Pair, Section, Summary, number

FLAT = {
    "seed": 1, "profile": "tiny", "versions": {"python": "3.11"}, "data.comparisons": "hub:oasst2", "seconds.sft": 2.0,
    "seconds.total": 3.0, "labelers.hired": 40, "reward_model.accuracy_gold": 0.8, "gold.ppo.mean": 7.0, "gold.ppo.se": 0.1,
    "parts.ppo.form_greedy": 0.5, "truth.ppo.n": 29, "finished.ppo": 0.9, "pretraining_loss.ppo_ptx": 0.7, "kl.ppo": 1.5,
    "gold_gain.ppo_vs_sft.mean": 1.0, "gold_gain.ppo_vs_sft_greedy.mean": 0.5, "gold_ties.ppo_ptx_vs_prompted_largest": 0.3,
    "winrate.ppo_vs_sft.mean": 0.6, "winrate.ppo_vs_sft.n": 16,
}  # fmt: skip


def test_flat_keys_are_read_into_sections_and_written_back() -> None:
    found = Summary.of(FLAT)
    assert found.flat() == FLAT and not found.other
    assert found.gold["ppo"] == {"mean": 7.0, "se": 0.1} and found.kl.number("ppo") == 1.5
    assert found.gold_gain.number(Pair("ppo", "sft", greedy=True), "mean") == 0.5
    assert found.gold_ties[Pair("ppo_ptx", "prompted_largest")] == 0.3
    assert found.about["profile"] == "tiny" and found.data["comparisons"] == "hub:oasst2"
    assert Summary.of(found) is found


def test_the_shipped_runs_round_trip(tmp_path: Path) -> None:
    path = ROOT / "data" / "lessons" / "summary.json"
    found = Summary.load(path)
    found.save(tmp_path / "summary.json")
    assert read_json(tmp_path / "summary.json") == read_json(path) and not found.other
    for keys in read_json(ROOT / "results" / "tiny" / "seeds.json").values():
        assert Summary.of(keys).flat() == keys


def test_a_summary_of_an_older_run_gets_the_names_of_today(tmp_path: Path) -> None:
    write_json(tmp_path / "summary.json", {"web_loss.base": 0.9, "web_loss.ppo_ptx": 0.8, "ended.sft": 0.5, "seed": 3})
    found = Summary.load(tmp_path / "summary.json")
    assert found.pretraining_loss == {"base": 0.9, "ppo_ptx": 0.8} and found.finished == {"sft": 0.5}
    assert found.flat() == {"seed": 3, "finished.sft": 0.5, "pretraining_loss.base": 0.9, "pretraining_loss.ppo_ptx": 0.8}


def test_cross_validation_of_an_older_run_gets_the_names_of_today() -> None:
    old = {"inside": 0.7, "inside_se": 0.1, "outside": 0.6, "outside_se": 0.2}
    found = Summary.of({f"reward_model.cv_{name}": value for name, value in old.items()})
    assert found.reward_model == {"cv_training": 0.7, "cv_training_se": 0.1, "cv_heldout": 0.6, "cv_heldout_se": 0.2}


def test_keys_of_no_section_are_kept() -> None:
    odd = {"new.metric": 1, "gold.ppo": 2, "kl.a.b": 3, "winrate.ppo.mean": 4, "gold.a.b.c": 5}
    assert Summary.of(odd).other == odd and Summary.of(odd).flat() == odd


@given(st.dictionaries(st.text("ab_.", max_size=8).map(lambda s: f"gold_gain.{s}_vs_x"), st.integers(), max_size=5))
def test_no_key_is_lost(flat: dict[str, int]) -> None:
    assert Summary.of(flat).flat() == flat


def test_parts_are_added_into_one_policy() -> None:
    found = Summary(gold=Section(ppo=Section(mean=1.0)))
    found.add(Summary(gold=Section(ppo=Section(se=0.1)), kl=Section(ppo=2.0)))
    assert found.flat() == {"gold.ppo.mean": 1.0, "gold.ppo.se": 0.1, "kl.ppo": 2.0}


def test_numbers_and_what_is_none() -> None:
    row = {"a": 1, "b": math.nan, "c": "2", "d": True, "f": None}
    assert [number(row, key) for key in "abcdfg"] == [1.0, None, None, None, None, None]
    section = Section(ppo=Section(mean=1.0), sft=Section(mean=None))
    assert section.present("mean") == ["ppo"] and section.number("base", "mean") is None


def test_win_rates_have_their_intervals() -> None:
    found = Summary.of({"winrate.a_vs_b.mean": 0.6, "winrate.a_vs_b.low": 0.5, "winrate.c_vs_d.mean": None})
    (rate,) = found.win_rates()
    assert (rate.a, rate.b, rate.mean, rate.low, rate.n) == ("a", "b", 0.6, 0.5, 0) and math.isnan(rate.high)


def test_a_summary_that_is_no_object_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "summary.json", [1])
    with pytest.raises(UserError, match=r"summary\.json: expected a JSON object"):
        Summary.load(tmp_path / "summary.json")
