"""utils.pipeline.training_stages: what they share."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from utils.core.runtime import ROOT
from utils.lessons import shipped
from utils.models.tokenizers import load_tokenizer
from utils.pipeline import training_stages
from utils.pipeline.run import Run
from utils.pipeline.training_stages import pretraining_rows
from utils.pretraining.rows import WEB_SEED, world_rows
from utils.worlds.registry import known_world


def test_the_rows_of_a_world_are_made_once_per_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tmp_path / "base"
    shutil.copytree(ROOT / "data" / "models" / "mini", base)
    lesson = shipped()
    run = Run(lesson.out_dir, replace(lesson.config, model=str(base), web_documents=60))
    monkeypatch.setattr(run, "model_dir", lambda name: base)
    made = []

    def counted(*arguments: object) -> torch.Tensor:
        made.append(arguments)
        return world_rows(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(training_stages, "world_rows", counted)
    rows = pretraining_rows(run, 48)
    world = known_world("tiny")
    assert torch.equal(rows, world_rows(world, load_tokenizer(base), world.documents(60, WEB_SEED), 48))
    assert torch.equal(pretraining_rows(run, 48), rows) and len(made) == 1
    assert pretraining_rows(run, 32).shape[1] == 32 and len(made) == 2
    # Another base in the same folder is noticed.
    (base / "note.txt").write_text("changed")
    pretraining_rows(run, 48)
    assert len(made) == 3
