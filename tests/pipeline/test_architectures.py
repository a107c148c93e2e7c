"""benchmarks/architectures.py: what the check of the stage base says to tiny models, and the table in docs/models.md."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from settings import benchmark

from utils.core.io import read_json
from utils.core.runtime import versions

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def sweep() -> ModuleType:
    return benchmark("architectures")


@pytest.mark.parametrize(
    ("kind", "result", "reason"),
    [
        ("gpt2", "passes", ""),
        ("deepseek_v3", "passes", ""),
        (
            "bert",
            "refused",
            "the classifier of transformers for bert (BertForSequenceClassification) does not end in one linear",
        ),
        (
            "roberta",
            "refused",
            "The architecture roberta (RobertaForCausalLM) reads the same text differently in a padded batch",
        ),
        ("openai-gpt", "refused", "The architecture openai-gpt (OpenAIGPTLMHeadModel) cannot sample here"),
    ],
)
def test_outcomes_are_those_of_the_file(sweep: ModuleType, tmp_path: Path, kind: str, result: str, reason: str) -> None:
    found, said = sweep.outcome(kind, tmp_path)
    assert found == result and said.startswith(reason) and str(tmp_path) not in said
    record = read_json(sweep.RESULT)
    assert kind in record[result]


def test_the_file_holds_every_architecture_once(sweep: ModuleType) -> None:
    record = read_json(sweep.RESULT)
    names = [name for outcome in sweep.OUTCOMES for name in record[outcome]]
    assert len(names) == len(set(names)) and record["failed"] == {}, "the check itself never fails"
    if record["versions"]["transformers"] == versions()["transformers"]:
        assert sorted(names) == sweep.kinds()
