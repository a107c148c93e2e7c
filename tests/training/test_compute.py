"""How models compute: parts of a batch, checkpointed gradients, lower precision. None may change what is learnt."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from settings import DATA, DEMOS, PPO, PPO_DATA, REWARD, SFT, TEXTS, assert_same, comparisons, losses, saved_bytes, weights
from torch import Tensor

from utils.config import ComputeConfig, Config, load_config
from utils.core import runtime
from utils.core.errors import UserError
from utils.models.loading import checkpoint_gradients, load_policy, reward_from_policy
from utils.models.tokenizers import load_tokenizer
from utils.pipeline.run import Run, Stage
from utils.ppo import train as ppo
from utils.reward import batches as reward_batches
from utils.reward import train as reward
from utils.sampling.rollout import Decoding, Rollout, episode_uniforms, response_logprobs, response_values, sample
from utils.sft import train as sft
from utils.sft.run import SFTData
from utils.training.micro_batches import Share
from utils.training.setup import StageSetup

PARTS = ComputeConfig(micro_batch=3)
KEPT = ComputeConfig(gradient_checkpointing=True)


@pytest.fixture(scope="session")
def judge(small_base: Path) -> Path:
    """A reward model on `base`."""
    reward.train_reward(small_base.parent / "reward", small_base, comparisons(), [], REWARD, StageSetup(DATA, 1))
    return small_base.parent / "reward" / "model"


@pytest.mark.parametrize("compute", [PARTS, KEPT], ids=["parts", "checkpointed"])
def test_sft_learns_the_same(small_base: Path, tmp_path: Path, compute: ComputeConfig) -> None:
    """Also with pretraining rows, whose parts must weigh by their tokens. The norm is compared: Adam hides a wrong scale."""
    cfg = replace(SFT, epochs=1, dropout=0.2, pretrain_fraction=0.25, learning_rate=1e-4)
    rows = torch.randint(5, 300, (12, 20), generator=torch.Generator().manual_seed(0))
    for name, how in (("whole", ComputeConfig()), ("other", compute)):
        sft.train_sft(tmp_path / name, small_base, SFTData(DEMOS, DEMOS[:3], rows), cfg, StageSetup(DATA, 5, compute=how))
    for name in ("loss", "grad_norm"):
        assert losses(tmp_path / "other", name) == pytest.approx(losses(tmp_path / "whole", name), rel=1e-4)
    assert_same(tmp_path / "whole" / "epoch_01", tmp_path / "other" / "epoch_01")


@pytest.mark.parametrize("compute", [PARTS, KEPT], ids=["parts", "checkpointed"])
def test_the_reward_model_learns_the_same(small_base: Path, tmp_path: Path, compute: ComputeConfig) -> None:
    cfg = replace(REWARD, learning_rate=1e-4)
    for name, how in (("whole", ComputeConfig()), ("other", compute)):
        reward.train_reward(tmp_path / name, small_base, comparisons(), DEMOS, cfg, StageSetup(DATA, 5, compute=how))
    for name in ("loss", "accuracy", "grad_norm"):
        assert losses(tmp_path / "other", name) == pytest.approx(losses(tmp_path / "whole", name), rel=1e-4)
    assert_same(tmp_path / "whole" / "model", tmp_path / "other" / "model")


@pytest.mark.parametrize("compute", [replace(PARTS, sampling_batch=5), KEPT], ids=["parts", "checkpointed"])
def test_ppo_ptx_learns_the_same(small_base: Path, judge: Path, tmp_path: Path, compute: ComputeConfig) -> None:
    cfg = replace(PPO, rounds=2, learning_rate=1e-4, value_learning_rate=1e-4, gamma_ptx=1.0, ptx_rows_per_episode=1.0)
    rows = torch.randint(5, 300, (12, 20), generator=torch.Generator().manual_seed(0))
    for name, how in (("whole", ComputeConfig()), ("other", compute)):
        inputs = ppo.PPOInputs(small_base, judge, TEXTS, rows)
        ppo.train_ppo(tmp_path / name, inputs, cfg, StageSetup(PPO_DATA, 5, "cpu", how))
    for name in ("reward", "policy_loss", "ptx_loss", "value_loss", "policy_grad_norm", "value_grad_norm", "first_ratio"):
        expected = pytest.approx(losses(tmp_path / "whole", name), rel=2e-3, abs=1e-6)
        assert losses(tmp_path / "other", name) == expected, name
    assert_same(tmp_path / "whole" / "model", tmp_path / "other" / "model")


def test_parts_of_rankings_hold_no_more_rows_than_asked(small_base: Path) -> None:
    groups = reward_batches.encode_comparisons(load_tokenizer(small_base), comparisons(), DATA).groups
    for size in (1, 4, 9):
        per_pass = reward_batches.groups_per_pass(groups, size)
        parts = [groups[start : start + per_pass] for start in range(0, len(groups), per_pass)]
        assert all(len(part) == 1 or reward_batches.forward_rows(part) <= size for part in parts)
    assert reward_batches.groups_per_pass(groups, 0) == 0, "all in one pass"


def test_processes_run_as_many_parts_that_average_to_the_loss(small_base: Path) -> None:
    tokenizer, model = load_tokenizer(small_base), load_policy(small_base)
    parts = [sft.encode_demonstrations(tokenizer, DEMOS, DATA, 64).rows, [sft.Row(list(range(10, 50)), 1)]]
    whole = float(sft.batch_loss(model, parts, 2).detach())
    for world in (1, 2, 4, 9):
        for size in (1, 2, 4):
            found = [list(sft.batch_losses(model, parts, 2, Share(rank, world), micro_batch=size)) for rank in range(world)]
            assert len({len(losses) for losses in found}) == 1
            total = sum(float(loss.detach()) for losses in found for loss in losses)
            assert total / world == pytest.approx(whole, rel=1e-5)


def test_checkpointing_keeps_less(small_base: Path) -> None:
    model, ids = load_policy(small_base), torch.randint(5, 300, (4, 60))
    whole = saved_bytes(model, ids)
    checkpoint_gradients(model)
    assert model.training and saved_bytes(model, ids) < 0.8 * whole


# --- precision -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_passes_compute_lower_and_answer_in_float32(small_base: Path, name: str) -> None:
    """Sampled and recomputed log-probs stay close; heads, log-probs and weights are float32; outside nothing changes."""
    model, value = load_policy(small_base), reward_from_policy(small_base)
    prompts = [[5, 6, 7], [8, 9], [10, 11, 12, 13]] * 4
    uniforms = episode_uniforms(range(len(prompts)), 12)

    def draw() -> Rollout:
        return sample(model, prompts, uniforms, Decoding(12, stop_ids=[1], pad_id=2))

    def read(r: Rollout) -> tuple[Tensor, Tensor]:
        parts = (r.prompt_ids, r.prompt_mask, r.response_ids, r.response_mask)
        return response_logprobs(model, *parts), response_values(value, *parts)

    with torch.no_grad():
        exact = draw()
        with runtime.precision(name):
            low = draw()
            logprobs, values = read(low)
        before, values_before = read(low)
        assert torch.equal(draw().logprobs, exact.logprobs)
    assert {t.dtype for t in (low.logprobs, logprobs, values)} == {torch.float32}
    assert not torch.equal(logprobs, before) and (logprobs - before).abs().mean() < 0.05
    assert (logprobs - low.logprobs).abs().mean() < 0.05
    assert not torch.equal(values, values_before) and (values - values_before).abs().max() < 0.02
    assert {p.dtype for p in (*model.parameters(), *value.parameters())} == {torch.float32}


@pytest.mark.parametrize("compute", [ComputeConfig(), KEPT], ids=["plain", "checkpointed"])
@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_a_lower_precision_learns_nearly_the_same(
    small_base: Path, judge: Path, tmp_path: Path, name: str, compute: ComputeConfig
) -> None:
    cfg = replace(PPO, rounds=2, gamma_ptx=1.0, ptx_rows_per_episode=1.0)
    rows = torch.randint(5, 300, (12, 20), generator=torch.Generator().manual_seed(0))
    demonstrations, setup = SFTData(DEMOS, DEMOS[:3]), StageSetup(DATA, 5, compute=compute)
    with runtime.precision(name):
        sft.train_sft(tmp_path / "low", small_base, demonstrations, SFT, setup)
        reward.train_reward(tmp_path / "reward", small_base, comparisons(), DEMOS, REWARD, setup)
        inputs = ppo.PPOInputs(small_base, judge, TEXTS, rows)
        ppo.train_ppo(tmp_path / "ppo", inputs, cfg, StageSetup(PPO_DATA, 5, "cpu", compute))
    sft.train_sft(tmp_path / "exact", small_base, demonstrations, SFT, StageSetup(DATA, 5))
    low, exact = losses(tmp_path / "low"), losses(tmp_path / "exact")
    assert low != exact and low == pytest.approx(exact, rel=0.02)
    assert losses(tmp_path / "ppo", "first_ratio") == pytest.approx([1.0], abs=0.02)
    for model in (tmp_path / "low" / "epoch_03", tmp_path / "reward" / "model", tmp_path / "ppo" / "model"):
        assert {tensor.dtype for tensor in weights(model).values()} == {torch.float32}


def test_precision_and_parts_in_the_fingerprint(tmp_path: Path) -> None:
    """Another precision is another result; another micro-batch is not, so a run goes on with a smaller one."""
    stages = [Stage("one", lambda run, folder: None, shared=True), Stage("two", lambda run, folder: None)]

    def found(compute: ComputeConfig) -> dict[str, str]:
        return Run(tmp_path, Config(device="cpu", compute=compute)).fingerprints(stages)

    plain = found(ComputeConfig())
    assert found(ComputeConfig(precision="fp32")) == plain == found(PARTS)
    low = found(ComputeConfig(precision="bf16"))
    assert low["one"] != plain["one"] and low["two"] == plain["two"]


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried"), RuntimeError("can't allocate memory: you")]
)
def test_out_of_memory_is_one_sentence(tmp_path: Path, error: Exception) -> None:
    def fail(run: Run, folder: Path) -> None:
        raise error

    with pytest.raises(UserError, match='The stage "ppo" ran out of memory: lower compute.micro_batch') as caught:
        Run(tmp_path, Config(device="cpu")).execute([Stage("ppo", fail, shared=True)])
    assert str(caught.value).count(". ") == 0
    assert json.loads((tmp_path / "ppo" / "stage.json").read_text())["finished"] is False


def test_settings_of_compute_are_checked() -> None:
    assert load_config("tiny", {"compute.micro_batch": "4"}).compute.micro_batch == 4
    with pytest.raises(UserError, match='"compute.precision": "fp8" is unknown; use auto or fp32 or bf16 or fp16'):
        load_config("tiny", {"compute.precision": "fp8"})
