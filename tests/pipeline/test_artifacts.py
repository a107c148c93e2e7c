"""utils.pipeline.artifacts: the one reader of a run's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from utils.config import load_config
from utils.core.errors import UserError
from utils.core.io import read_json, write_json, write_text
from utils.lessons import shipped
from utils.pipeline import MODELS, Run
from utils.worlds import world_of


def test_a_finished_run_is_read_by_name() -> None:
    lesson = shipped()
    sizes = {name: len(lesson.prompts(name)) for name in ("sft", "rm", "ppo", "valid", "test")}
    assert min(sizes.values()) > 0 and lesson.prompts("test")[0].split == "test"
    assert lesson.has_heldout_comparisons() and len(lesson.comparisons("test_heldout")) == len(lesson.comparisons("test"))
    assert [len(row) for row in lesson.gold_parts("test")] == [len(c.completions) for c in lesson.comparisons("test")]
    assert lesson.selection()["chosen"] in {f"epoch_{epoch:02d}" for epoch in lesson.kept_epochs("sft")}
    assert lesson.summary().flat() == read_json(lesson.out_dir / "summary.json")
    assert lesson.metrics("ppo")[0]["step"] == 0 and lesson.evaluation().gold.present("mean")


def test_cross_validation_of_an_older_run_is_read_with_the_names_of_today(tmp_path: Path) -> None:
    run, old = Run(tmp_path, load_config("tiny")), {"inside": 0.7, "outside": 0.6, "folds": [{"inside": 0.7}]}
    write_json(tmp_path / "reward" / "cross_validation" / "cross_validation.json", old)
    assert run.has_cross_validation()
    assert run.cross_validation() == {"training": 0.7, "heldout": 0.6, "folds": [{"training": 0.7}]}
    assert shipped().cross_validation().keys() >= {"training", "training_se", "heldout", "heldout_se"}


def test_the_report_gets_its_data_from_the_reader(tmp_path: Path) -> None:
    lesson = shipped()
    data = lesson.report_data()
    assert data.name == lesson.out_dir.name and data.best_of_n == lesson.best_of_n() and data.selection == lesson.selection()
    assert data.calibration == lesson.calibration()["bins"] and data.metrics["ppo"] == lesson.metrics("ppo")
    assert data.cleaning == lesson.cleaning() and data.prompt_tables == lesson.prompt_tables()
    assert data.samples == lesson.samples() and "profile: tiny" in data.settings
    empty = Run(tmp_path, load_config("tiny")).report_data()
    assert not any((empty.samples, empty.calibration, empty.left_out, empty.sources, empty.selection, empty.settings))
    write_json(tmp_path / "rm" / "source.json", {"source": "hub:dolly"})
    assert Run(tmp_path, load_config("tiny")).sources() == [{"stage": "rm", "source": "hub:dolly"}]


def test_models_have_names() -> None:
    lesson = shipped()
    places = {name: lesson.model_dir(name) for name in MODELS}
    assert all((place / "config.json").is_file() for place in places.values())
    assert places["sft"] == lesson.path("sft_select") / "model" and places["init"] == lesson.checkpoint("init")
    assert list(lesson.policy_dirs()) == ["base", "sft", "ppo", "ppo_ptx"]
    with pytest.raises(UserError, match='has no model "largest"; it can have base, sft'):
        lesson.model_dir("largest")


def test_labelers_are_calibrated_unless_asked_for_as_they_were_hired() -> None:
    lesson = shipped()
    calibrated, before = lesson.labelers("hired"), lesson.labelers("hired", calibrated=False)
    assert [one.labeler_id for one in calibrated] == [one.labeler_id for one in before]
    assert [one.noise for one in calibrated] != [one.noise for one in before]


def test_a_file_that_is_not_there_names_the_stage_to_run(tmp_path: Path) -> None:
    run = Run(tmp_path, load_config("tiny"))
    with pytest.raises(UserError, match=r'has no prompts/ppo\.jsonl: run the stage "prompts" first'):
        run.prompts("ppo")
    with pytest.raises(UserError, match='has no model "ppo"; it has none yet'):
        run.model_dir("ppo")
    with pytest.raises(UserError, match="has no summary.json: finish the run"):
        run.summary()
    assert run.agreement() is None and not run.has_model("reward")


def test_a_split_without_rows_is_empty(tmp_path: Path) -> None:
    run = Run(tmp_path, load_config("tiny"))
    write_text(tmp_path / "demonstrations" / "valid.jsonl", "")
    assert run.demonstrations("valid") == []


def test_the_world_is_that_of_the_settings(tmp_path: Path) -> None:
    assert shipped().world is world_of("tiny")
    assert Run(tmp_path, load_config("tiny", {"world": "none"})).world is None


def test_a_run_without_its_base_still_has_its_own_policies(tmp_path: Path) -> None:
    lesson = shipped()
    run = Run(lesson.out_dir, load_config("tiny", {"model": str(tmp_path / "gone")}))
    assert list(run.policy_dirs()) == ["sft", "ppo", "ppo_ptx"]
