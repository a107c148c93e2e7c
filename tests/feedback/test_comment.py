"""Greedy comments of a trained policy beside the teachers' feedback."""

from __future__ import annotations

from pathlib import Path

import pytest
from feedback.cases import run_stages
from tiny_run import make_base

from utils.config import load_config, save_config
from utils.core.errors import UserError
from utils.core.io import write_rows
from utils.core.runtime import ROOT
from utils.data import Prompt
from utils.feedback import Feedback, read_feedback
from utils.feedback.shown import documents_to_comment


def test_one_row_per_document_with_a_persons_comment_is_commented() -> None:
    second = Feedback("d1", "ms-y", "Say where.", title="Owls")
    first = Feedback("d1", "mr-x", "The method is missing.", title="Owls")
    people = [first, second, Feedback("d3", "generic", "Fine.", "dummy")]
    assert documents_to_comment(people, {"d1": "Owls eat mice."}, "ppo", "test") == [first]
    with pytest.raises(UserError, match='already has a reviewer "ms-y": give the model another name with --system'):
        documents_to_comment(people, {"d1": "Owls eat mice."}, "ms-y", "test")
    with pytest.raises(UserError, match='"d1" of the feedback is not among the documents'):
        documents_to_comment(people, {}, "ppo", "test")
    with pytest.raises(UserError, match='No person commented on a document of the split "valid"'):
        documents_to_comment(people[2:], {}, "ppo", "valid")


def test_a_policy_comments_on_the_test_documents_of_an_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    prompts = [Prompt(f"d{i}", f"Owls {i} eat mice.", split="test") for i in (1, 2, 3)]
    write_rows(tmp_path / "prompts.jsonl", prompts)
    rows = [Feedback("d1", "mr-x", "Say how.", split="test"), Feedback("d2", "mr-x", "Say why.", split="train")]
    write_rows(tmp_path / "feedback.jsonl", rows)
    make_base(tmp_path / "ppo" / "model")
    save_config(load_config("reports"), tmp_path / "ppo" / "config.yaml")
    command = ["comment", "--model", str(tmp_path / "ppo" / "model"), "--documents", str(tmp_path / "prompts.jsonl")]
    assert run_stages(*command, "--feedback", str(tmp_path / "feedback.jsonl"), "--out", str(tmp_path / "all.jsonl")) == 0
    teacher, model = read_feedback(tmp_path / "all.jsonl")
    assert teacher == rows[0]
    assert (model.document_id, model.reviewer, model.source, model.split) == ("d1", "model", "model", "test")
