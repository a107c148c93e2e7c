"""The run that lessons read: whole, small, simulated and said so, and usable as any other run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from utils.core.errors import UserError
from utils.core.io import digest, read_json, read_rows, write_json
from utils.core.runtime import ROOT
from utils.data.schemas import Comparison
from utils.lessons import shipped_run as lessons
from utils.lessons.shipped_run import CARD, FOLDER, MANIFEST, MAX_BYTES, card, contents, ship, shipped, shown_epochs
from utils.models.loading import load_policy, load_reward
from utils.models.tokenizers import load_tokenizer
from utils.pipeline import STAGES
from utils.pipeline.run import Run

MODELS_MAX_BYTES = 40_000_000


@pytest.fixture(scope="module")
def lesson() -> Run:
    return shipped()


def test_files_are_those_of_the_manifest(lesson: Run) -> None:
    found = read_json(lesson.out_dir / MANIFEST)
    assert contents(lesson.out_dir) == found["files"] and digest(found["files"]) == found["digest"]
    assert (lesson.out_dir / CARD).read_text(encoding="utf-8") == card(found)
    assert found["bytes"] == sum((lesson.out_dir / name).stat().st_size for name in found["files"]) < MAX_BYTES


def test_shipped_weights_are_small() -> None:
    assert sum(file.stat().st_size for file in (ROOT / "data").rglob("*.safetensors")) <= MODELS_MAX_BYTES


def test_no_machine_is_named_in_a_path(lesson: Run) -> None:
    for file in (f for f in lesson.out_dir.rglob("*") if f.suffix in (".yaml", ".json", ".jsonl", ".md")):
        text = file.read_text(encoding="utf-8")
        assert not any(part in text for part in ("/tmp/", "/home/", "/work/", "/root/")), file


def test_every_model_loads(lesson: Run) -> None:
    policies = [lesson.checkpoint("sft", epoch) for epoch in shown_epochs(lesson.config)]
    policies += [lesson.model_dir("init"), *(lesson.model_dir(name) for name in ("sft", "ppo", "ppo_ptx"))]
    for path in policies:
        assert load_policy(path).config.vocab_size == len(load_tokenizer(path))
    assert load_reward(lesson.model_dir("reward")).config.num_labels == 1


def test_tables_read_like_those_of_a_run(lesson: Run) -> None:
    sizes = {name: len(lesson.prompts(name)) for name in ("sft", "rm", "ppo", "valid", "test")}
    data = lesson.config.data
    assert sizes == {"sft": data.n_sft, "rm": data.n_rm, "ppo": data.n_ppo, "valid": data.n_valid, "test": data.n_test}
    assert len(lesson.demonstrations("train")) == data.n_sft
    assert {len(lesson.labelers(name)) for name in ("hired", "heldout")} == {40, 10}
    for name in ("train", "valid", "test", "test_heldout"):
        rows = lesson.comparisons(name)
        assert len(rows) > 100 and all(len(row.ranks) == len(row.completions) for row in rows)
    for stage in ("sft", "init", "reward", "ppo", "ppo_ptx"):
        assert lesson.metrics(stage)
    assert lesson.samples()


def test_nobody_trains_into_it(lesson: Run) -> None:
    before = contents(lesson.out_dir)
    with pytest.raises(UserError, match="holds files that no run has written"):
        lesson.execute(STAGES, only=["labelers"])
    assert contents(lesson.out_dir) == before


def test_a_missing_copy_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no shipped run: fetch the whole repository"):
        shipped(tmp_path)
    with pytest.raises(UserError, match=r"has no summary\.json: give a finished run"):
        ship(tmp_path, tmp_path / "out")


def test_shipping_the_shipped_gives_the_same(lesson: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run made of what is shipped, packed tables and all, is shipped again unchanged, and nothing is left beside it."""
    source = tmp_path / "run"
    shutil.copytree(lesson.out_dir, source, ignore=shutil.ignore_patterns(CARD, MANIFEST))
    (source / "base" / "config.yaml").write_text((lesson.out_dir / "config.yaml").read_text())
    (source / "ppo" / "checkpoint").mkdir()
    (source / "ppo" / "checkpoint" / "state.json").write_text("{}")
    write_json(source / "ppo" / "stage.json", {"seconds": 1})
    (source / ".lock").write_text("{}")
    (source / "sft" / "epoch_99").mkdir()
    (source / "sft" / "epoch_99" / "model.safetensors").write_text("x")
    found = ship(source, tmp_path / "again")
    assert found["files"] == read_json(lesson.out_dir / MANIFEST)["files"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "run"]
    monkeypatch.setattr(lessons, "MAX_BYTES", 10)
    with pytest.raises(UserError, match="more than 10: ship fewer"):
        ship(source, tmp_path / "again")
    assert (tmp_path / "again" / MANIFEST).exists()


def test_large_tables_are_packed(lesson: Run, tmp_path: Path) -> None:
    packed = lesson.path("comparisons") / "train.jsonl.gz"
    assert packed.exists() and not packed.with_suffix("").exists()
    assert read_rows(packed, Comparison)[:3] == lesson.comparisons("train")[:3]
    assert lesson.prompts("test") and FOLDER in str(lesson.config.out)
