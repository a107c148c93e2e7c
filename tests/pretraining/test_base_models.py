"""Base models of a world: their tokenizer, the order of rows, training, and going on after a stop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from stopped import stopped_in_step
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from utils.core.io import read_json, read_jsonl, read_tensors
from utils.models.loading import load_policy
from utils.models.tokenizers import BOS, EOS, PAD
from utils.pretraining.base_models import SIZE_FILE, SNAPSHOTS, PretrainConfig, pretrain, row_order, tokenizer_and_rows
from utils.pretraining.curriculum import Mix, Stage
from utils.training.loop import METRICS

CFG = PretrainConfig(
    "micro", n_embd=16, n_layer=1, n_positions=32, steps=6, rows_per_step=2, warmup=2, documents=40, vocabulary=500
)

READER = replace(
    CFG,
    n_positions=96,
    stages=(Stage("copies", 3, Mix(circuits={"copy": 2}), 1e-2),),
    kept=Mix({"owners": 2}, {"look_up": 1}),
    snapshots=4,
)


@pytest.fixture(scope="module")
def made() -> tuple[PreTrainedTokenizerFast, Tensor]:
    return tokenizer_and_rows(CFG.world, CFG.documents, CFG.vocabulary, CFG.n_positions)


def test_the_tokenizer_has_three_special_tokens_of_its_own(made: tuple[PreTrainedTokenizerFast, Tensor]) -> None:
    tokenizer, rows = made
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (BOS, EOS, PAD)
    assert len({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}) == 3
    assert len(tokenizer) == CFG.vocabulary and rows.shape[1] == CFG.n_positions
    assert 0 <= int(rows.min()) and int(rows.max()) < len(tokenizer)


def test_each_epoch_reads_every_row_once_in_an_order_of_its_own() -> None:
    order = list(row_order(10, 25, seed=1))
    first, second = order[:10], order[10:20]
    assert sorted(first) == sorted(second) == list(range(10)) and first != second
    assert list(row_order(10, 25, seed=1)) == order != list(row_order(10, 25, seed=2))


def test_training_writes_the_model_and_how_it_was_made(made: tuple[PreTrainedTokenizerFast, Tensor], tmp_path: Path) -> None:
    pretrain(CFG, tmp_path, *made, seed=1)
    facts, model = read_json(tmp_path / SIZE_FILE), load_policy(tmp_path / "model")
    assert facts["parameters"] == sum(p.numel() for p in model.parameters())
    assert facts["name"] == "micro" and facts["seed"] == 1 and facts["seconds"] >= 0
    assert read_jsonl(tmp_path / METRICS)[0]["step"] == 0


def test_the_rate_is_constant_before_the_text_and_a_cosine_on_it() -> None:
    rates = [READER.rate(step) for step in range(9)]
    assert rates[:3] == pytest.approx([0, 5e-3, 1e-2]), "warm-up, then the stage's rate"
    assert rates[3:] == [CFG.rate(step) for step in range(6)], "on the text as if there were no stages"
    assert max(rates[3:]) == CFG.learning_rate


def test_a_reader_reads_exercises_before_the_text_and_beside_it(
    made: tuple[PreTrainedTokenizerFast, Tensor], tmp_path: Path
) -> None:
    pretrain(READER, tmp_path, *made, seed=1)
    facts = read_json(tmp_path / SIZE_FILE)
    assert facts["tokens"] > CFG.steps * CFG.rows_per_step * CFG.n_positions > 0
    assert [path.name for path in sorted((tmp_path / SNAPSHOTS).iterdir())] == ["000004", "000008"]
    assert set(read_jsonl(tmp_path / METRICS)[0]) >= {"loss_circuits", "lr", "tokens"}


@pytest.mark.parametrize("cfg", [CFG, READER], ids=["text", "reader"])
def test_a_stopped_training_goes_on_to_the_same_weights(
    cfg: PretrainConfig, made: tuple[PreTrainedTokenizerFast, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrain(cfg, tmp_path / "whole", *made, seed=1)
    with stopped_in_step(monkeypatch, 4):
        pretrain(cfg, tmp_path / "stopped", *made, seed=1)
    assert not (tmp_path / "stopped" / SIZE_FILE).exists()
    pretrain(cfg, tmp_path / "stopped", *made, seed=1)
    left, right = (read_tensors(tmp_path / name / "model" / "model.safetensors")[0] for name in ("whole", "stopped"))
    assert left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
