"""Supervised fine-tuning: which tokens carry loss, batches, checkpoints, resume, TRL's trainer as a second opinion."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from settings import DATA, DEMOS
from settings import SFT as CFG
from transformers import GPT2LMHeadModel, PreTrainedTokenizerBase

from utils.config import OptimizerConfig, SFTConfig
from utils.core.errors import UserError
from utils.core.io import read_json, read_jsonl, read_tensors
from utils.losses import lm_loss
from utils.models.dropout import set_residual_dropout
from utils.models.loading import load_policy
from utils.sft import train as sft
from utils.sft.rows import IGNORED, Row, encode_demonstrations, epoch_batches, evaluate_loss, make_batch
from utils.sft.run import SFTData, plan
from utils.sft.train import batch_loss, batch_losses, select_checkpoint
from utils.training.micro_batches import Share
from utils.training.setup import StageSetup


def weights(path: Path) -> dict[str, torch.Tensor]:
    return read_tensors(path / "model.safetensors")[0]


def run(out: Path, policy_dir: Path, cfg: SFTConfig = CFG, pretrain_rows: torch.Tensor | None = None) -> list[dict]:
    sft.train_sft(out, policy_dir, SFTData(DEMOS, DEMOS[:3], pretrain_rows), cfg, StageSetup(DATA, seed=5))
    return read_jsonl(out / "metrics.jsonl")


@pytest.fixture
def rows(tokenizer: PreTrainedTokenizerBase) -> list[Row]:
    return encode_demonstrations(tokenizer, DEMOS, DATA, 64).rows


def test_loss_is_on_completion_and_end_token_alone(
    policy: GPT2LMHeadModel, rows: list[Row], tokenizer: PreTrainedTokenizerBase
) -> None:
    total, count = 0.0, 0
    for row, demo in zip(rows, DEMOS, strict=True):
        assert tokenizer.decode(row.ids[: row.loss_from]) == demo.prompt + "\n"
        assert tokenizer.decode(row.ids[row.loss_from :]) == f" {demo.completion}<|end|>"
        with torch.no_grad():
            logprobs = policy(torch.tensor([row.ids])).logits[0].log_softmax(-1)
        for t in range(row.loss_from, len(row.ids)):
            total, count = total - float(logprobs[t - 1, row.ids[t]]), count + 1
    ids, mask, labels = make_batch(rows, tokenizer.pad_token_id)
    ours = batch_loss(policy, [rows], tokenizer.pad_token_id)
    ours = ours.detach()
    assert float(ours) == pytest.approx(total / count, rel=1e-5)
    logits = policy(ids, attention_mask=mask.long()).logits.detach()
    assert float(ours) == pytest.approx(float(lm_loss(logits, ids, labels != IGNORED)), rel=1e-5)


def test_pretraining_rows_weigh_by_their_tokens(policy: GPT2LMHeadModel, rows: list[Row]) -> None:
    extra = [Row(list(range(10, 50)), 1)]
    a, b = (batch_loss(policy, [part], 2).detach() for part in (rows, extra))
    n, m = sum(len(r.ids) - r.loss_from for r in rows), 39
    both = batch_loss(policy, [rows, extra], 2).detach()
    assert float(both) == pytest.approx(float(a * n + b * m) / (n + m), rel=1e-5)


def test_processes_average_to_the_loss_of_one(policy: GPT2LMHeadModel, rows: list[Row]) -> None:
    parts = [rows, [Row(list(range(10, 50)), 1)]]
    whole = batch_loss(policy, parts, 2).detach()
    for world in (2, 4, 9):
        losses = [batch_loss(policy, parts, 2, Share(rank, world)) for rank in range(world)]
        assert all(loss.requires_grad for loss in losses), "a process has nothing to run backward"
        assert float(sum(losses).detach()) / world == pytest.approx(float(whole), rel=1e-5)


def test_rows_over_a_limit_are_skipped_and_counted(tokenizer: PreTrainedTokenizerBase) -> None:
    encoded = encode_demonstrations(tokenizer, DEMOS, DATA, 64)
    assert len(encoded.rows) == len(DEMOS) and encoded.too_long == 0
    longest = max(len(r.ids) for r in encoded.rows)
    assert encode_demonstrations(tokenizer, DEMOS, DATA, longest - 1).too_long >= 1
    tight = encode_demonstrations(tokenizer, DEMOS, replace(DATA, max_response_tokens=10), 64)
    assert tight.too_long + len(tight.rows) == len(DEMOS) and tight.too_long > 0
    assert all(row.ids[-1] == tokenizer.eos_token_id for row in tight.rows), "an answer was cut"


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=90), st.integers(1, 7), st.integers(0, 9))
def test_every_row_comes_once_an_epoch(lengths: list[int], batch_size: int, seed: int) -> None:
    batches = epoch_batches(lengths, batch_size, torch.Generator().manual_seed(seed))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert len(batches) == math.ceil(len(lengths) / batch_size)
    assert all(1 <= len(batch) <= batch_size for batch in batches)


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, (32, 0, 4)), (0.1, (29, 3, 4)), (0.5, (16, 16, 7))])
def test_pretrain_fraction_is_a_share_of_the_rows(fraction: float, expected: tuple[int, int, int]) -> None:
    assert plan(SFTConfig(batch_size=32, pretrain_fraction=fraction), 100) == expected


def test_a_batch_belongs_to_its_step(tmp_path: Path, policy: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerBase) -> None:
    rows = [Row([i, i + 1], 1) for i in range(40)]
    cfg = replace(CFG, batch_size=8, pretrain_fraction=0.25)
    run_ = sft.SFTRun(tmp_path, policy, tokenizer, rows, [], cfg, 1, torch.arange(600).reshape(200, 3))
    schedule = plan(cfg, len(rows))
    forward = [sft.Batches(run_, schedule)(step) for step in range(3 * schedule.steps_per_epoch)]
    again = sft.Batches(run_, schedule)
    assert [again(step) for step in reversed(range(len(forward)))] == forward[::-1]
    assert len({str(demos) for demos, _ in forward}) == len(forward), "epochs come in the same order"
    assert len({str(text) for _, text in forward}) == len(forward), "steps draw the same pretraining rows"


def test_training_lowers_the_loss_and_keeps_the_checkpoints(tmp_path: Path, policy_dir: Path) -> None:
    records = run(tmp_path, policy_dir, replace(CFG, epochs=12, checkpoints=(1, 4, 99), learning_rate=1e-2))
    assert [r["step"] for r in records] == list(range(24))
    assert records[-1]["valid_loss"] < 0.5 * records[1]["valid_loss"]
    assert [r["epoch"] for r in records if "epoch" in r] == list(range(1, 13))
    assert sorted(p.name for p in tmp_path.glob("epoch_*")) == ["epoch_01", "epoch_04", "epoch_12"]
    assert records[0]["lr"] == pytest.approx(1e-2) and records[-1]["lr"] == pytest.approx(1e-3)
    assert read_json(tmp_path / "data.json") == {"train": 6, "train_too_long": 0, "valid": 3, "valid_too_long": 0}
    assert not (tmp_path / "checkpoint").exists()


def test_saved_checkpoint_is_the_model_that_was_measured(
    tmp_path: Path, policy_dir: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    last = run(tmp_path, policy_dir, replace(CFG, dropout=0.2))[-1]
    assert json.loads((tmp_path / "epoch_03" / "config.json").read_text())["resid_pdrop"] == 0.0
    rows = encode_demonstrations(tokenizer, DEMOS[:3], DATA, 64).rows
    again = evaluate_loss(load_policy(tmp_path / "epoch_03"), rows, tokenizer.pad_token_id)
    assert again == pytest.approx(last["valid_loss"], rel=1e-6)


def test_residual_dropout_acts_in_training(tmp_path: Path, policy_dir: Path) -> None:
    dry = run(tmp_path / "a", policy_dir)
    wet = run(tmp_path / "b", policy_dir, replace(CFG, dropout=0.5))
    assert wet[0]["loss"] != dry[0]["loss"] and wet[0]["lr"] == dry[0]["lr"]


def test_pretraining_mix_is_trained_and_held_out_rows_are_measured(tmp_path: Path, policy_dir: Path) -> None:
    text = torch.arange(40).repeat(30, 1) % 7 + 60
    mixed = run(tmp_path / "a", policy_dir, replace(CFG, epochs=6, pretrain_fraction=0.5), pretrain_rows=text)
    plain = run(tmp_path / "b", policy_dir, replace(CFG, epochs=6), pretrain_rows=text)
    assert mixed[-1]["pretrain_loss"] < 0.7 * plain[-1]["pretrain_loss"]
    assert len(mixed) == 6 * 3 and len(plain) == 6 * 2


class Killed(Exception):
    """Stands for kill -9: nothing after it runs."""


@pytest.mark.parametrize("after", [1, 4, 5])
def test_a_killed_run_gives_the_same_weights(
    tmp_path: Path, policy_dir: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    cfg = replace(CFG, dropout=0.3, pretrain_fraction=0.25)
    text = torch.arange(600).reshape(30, 20) % 300
    run(tmp_path / "whole", policy_dir, cfg, pretrain_rows=text)
    calls = 0

    def dying(*args: object, **kwargs: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls > after:
            raise Killed
        return batch_losses(*args, **kwargs)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(sft, "batch_losses", dying)
        run(tmp_path / "cut", policy_dir, cfg, pretrain_rows=text)
    run(tmp_path / "cut", policy_dir, cfg, pretrain_rows=text)
    for name in ("epoch_01", "epoch_03"):
        a, b = weights(tmp_path / "whole" / name), weights(tmp_path / "cut" / name)
        assert all(torch.equal(a[key], b[key]) for key in a)
    whole, cut = ((tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "cut"))
    assert whole == cut


def test_another_setting_starts_anew_and_drops_old_checkpoints(tmp_path: Path, policy_dir: Path) -> None:
    run(tmp_path, policy_dir)
    run(tmp_path, policy_dir, replace(CFG, epochs=2, checkpoints=()))
    assert [p.name for p in tmp_path.glob("epoch_*")] == ["epoch_02"]


def test_trl_computes_the_same_loss_and_gradient(
    policy_dir: Path, rows: list[Row], tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    pytest.importorskip("trl")
    from utils.sft.trl import make_trainer

    ours, theirs = load_policy(policy_dir), load_policy(policy_dir)
    loss = batch_loss(ours, [rows], tokenizer.pad_token_id)
    loss.backward()
    trainer = make_trainer(sft.SFTRun(tmp_path, theirs, tokenizer, rows, [], CFG, 1), str(tmp_path))
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(len(rows))])
    labels = make_batch(rows, tokenizer.pad_token_id)[2]
    assert torch.equal(batch["labels"], labels), "TRL puts loss on other tokens"
    other = trainer.compute_loss(theirs, dict(batch))
    other.backward()
    assert float(loss.detach()) == pytest.approx(float(other.detach()), rel=1e-5)
    for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6, msg=lambda m, name=name: f"{name}: {m}")


def test_trl_backend_takes_the_same_first_step(tmp_path: Path, policy_dir: Path) -> None:
    pytest.importorskip("trl")
    cfg = replace(CFG, epochs=1, batch_size=len(DEMOS), checkpoints=(1,))
    own = run(tmp_path / "own", policy_dir, cfg)
    trl = run(tmp_path / "trl", policy_dir, replace(cfg, backend="trl"))
    assert trl[0]["loss"] == pytest.approx(own[0]["loss"], rel=1e-3)
    assert trl[0]["step"] == 0 and trl[0]["lr"] == pytest.approx(own[0]["lr"])
    assert trl[0]["valid_loss"] == pytest.approx(own[0]["valid_loss"], rel=1e-3)
    a, b, start = weights(tmp_path / "own/epoch_01"), weights(tmp_path / "trl/epoch_01"), weights(policy_dir)
    moved = torch.cat([(a[key] - start[key]).flatten() for key in a])
    apart = torch.cat([(a[key] - b[key]).flatten() for key in a])
    assert apart.norm() < 0.02 * moved.norm()


def test_trl_backend_says_what_is_missing(tmp_path: Path, policy_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(UserError, match='pip install trl==1.16.0" or use backend "own"'):
        run(tmp_path, policy_dir, replace(CFG, backend="trl"))
    with pytest.raises(UserError, match="TRL has no pretraining mix"):
        mix = replace(CFG, backend="trl", pretrain_fraction=0.1)
        run(tmp_path, policy_dir, mix, pretrain_rows=torch.ones(20, 8).long())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"backend": "jax"}, 'sft.backend is "jax": use "own" or "trl".'),
        ({"pretrain_fraction": 0.1}, "there is no pretraining text"),
        ({"learning_rate": 1e30, "optimizer": OptimizerConfig(max_grad_norm=1e30)}, "sft: the .* is (nan|inf) at step"),
    ],
)
def test_bad_settings_get_one_sentence(tmp_path: Path, policy_dir: Path, change: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        run(tmp_path, policy_dir, replace(CFG, **change))


def test_no_demonstration_that_fits(tmp_path: Path, policy_dir: Path) -> None:
    with pytest.raises(UserError, match="None of 6 training demonstrations fits data.max_prompt_tokens 2"):
        sft.train_sft(tmp_path, policy_dir, SFTData(DEMOS), CFG, StageSetup(replace(DATA, max_prompt_tokens=2), 1))


def test_checkpoint_with_the_highest_reward_is_chosen_the_earlier_if_equal() -> None:
    assert select_checkpoint({"epoch_01": 0.1, "epoch_02": 0.4, "epoch_04": 0.4}) == "epoch_02"
    for bad in ({}, {"epoch_01": math.nan}):
        with pytest.raises(UserError, match="No SFT checkpoint can be chosen"):
            select_checkpoint(bad)


def test_evaluation_leaves_dropout_and_mode_alone(policy: GPT2LMHeadModel, rows: list[Row]) -> None:
    expected = evaluate_loss(policy, rows, 2)
    set_residual_dropout(policy, 0.5)
    policy.train()
    assert evaluate_loss(policy, rows, 2) == pytest.approx(expected, rel=1e-6)
    assert policy.training and math.isnan(evaluate_loss(policy, [], 2))
