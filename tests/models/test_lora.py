"""LoRA: the same function until a step is taken, only adapters trained and kept, models saved merged, runs resumed exactly."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from families import FAMILIES, make_family
from settings import DATA, DEMOS, PPO, PPO_DATA, SFT, TEXTS, comparisons
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedModel

from utils import reward
from utils.config import ComputeConfig, Config, RewardConfig, load_config
from utils.core import processes
from utils.core.errors import UserError
from utils.core.io import read_jsonl, read_tensors
from utils.models.loading import load_policy, load_reward, reward_from_policy, save_model
from utils.models.lora import adapted_copy, add_adapters, effective_weight, merged_state
from utils.models.prompt_sharing import can_share
from utils.models.tokenizers import load_tokenizer
from utils.pipeline import run_pipeline
from utils.pipeline.base import prepared
from utils.pipeline.run import Run, Stage
from utils.planning import memory
from utils.planning.memory import GIB
from utils.planning.operations import KNOWN, shape_of_model
from utils.ppo import train as ppo
from utils.sampling.rollout import (
    Decoding,
    Rollout,
    episode_uniforms,
    response_logprobs,
    response_values,
    sample,
    selected_logits,
)
from utils.sft import train as sft
from utils.sft.run import SFTData
from utils.training.loop import TrainingLoop, make_optimizer, trained_parameters
from utils.training.setup import StageSetup

LORA = ComputeConfig(lora_rank=4)
REWARD = RewardConfig(epochs=2, learning_rate=1e-2, prompts_per_step=3, cv_groups=2, cv_prompts=3)
PTX = replace(PPO, rounds=3, learning_rate=1e-2, gamma_ptx=1.0, ptx_rows_per_episode=1.0)
ROWS = torch.randint(5, 300, (12, 20), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=FAMILIES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of each family."""
    folder = tmp_path_factory.mktemp(request.param)
    return prepared(make_family(request.param, folder / "published"), folder / "ready")


def adapted(model: PreTrainedModel, moved: bool = True, compute: ComputeConfig = LORA) -> PreTrainedModel:
    """The model with adapters; `moved`: away from their start, where they change nothing."""
    add_adapters(model, compute, 1, "test")
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if moved and "lora_B" in name:
            weight.data.copy_(torch.randn(weight.shape, generator=generator) * 0.02)
    return model


def draw(model: PreTrainedModel) -> Rollout:
    """Sampled responses to prompts of several lengths."""
    prompts = [[5, 6, 7], [8, 9], [10, 11, 12, 13]] * 3
    return sample(model, prompts, episode_uniforms(range(9), 12), Decoding(12, stop_ids=[1], pad_id=2))


def parts(rollout: Rollout) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return rollout.prompt_ids, rollout.prompt_mask, rollout.response_ids, rollout.response_mask


def weights(path: Path) -> dict[str, Tensor]:
    return read_tensors(path / "model.safetensors")[0]


# --- every family --------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_new_adapters_change_nothing(base: Path) -> None:
    plain, other = load_policy(base), adapted(load_policy(base), moved=False)
    a, b = draw(plain), draw(other)
    assert torch.equal(a.response_ids, b.response_ids)
    torch.testing.assert_close(a.logprobs, b.logprobs, atol=5e-6, rtol=0)  # sums of zeros, but in other memory layouts
    torch.testing.assert_close(response_logprobs(plain, *parts(a)), response_logprobs(other, *parts(a)), atol=5e-6, rtol=0)
    judge, judged = reward_from_policy(base), adapted(reward_from_policy(base), moved=False)
    torch.testing.assert_close(response_values(judge, *parts(a)), response_values(judged, *parts(a)), atol=5e-6, rtol=0)


@torch.no_grad()
def test_every_forward_pass_is_the_adapted_models_own(base: Path) -> None:
    """Fast or not: log-probs while sampling, log-probs read, scores of rankings, all against the model's own forward."""
    plain, model = load_policy(base), adapted(load_policy(base))
    rollout = draw(model)
    read = response_logprobs(model, *parts(rollout))
    assert (read - response_logprobs(plain, *parts(rollout))).abs().max() > 1e-3, "the adapters do nothing"
    torch.testing.assert_close(rollout.logprobs, read, atol=1e-4, rtol=1e-4)
    ids, mask = torch.randint(5, 300, (3, 20)), torch.ones(3, 20, dtype=torch.bool)
    mask[0, 15:] = False
    own = model(input_ids=ids, attention_mask=mask.long()).logits[mask]
    torch.testing.assert_close(selected_logits(model, ids, mask, mask), own, atol=1e-4, rtol=1e-4)
    judge = adapted(reward_from_policy(base))
    tokenizer, device = load_tokenizer(base), torch.device("cpu")
    groups = reward.encode_comparisons(tokenizer, comparisons(), DATA).groups
    scores = reward.score_groups(judge, groups, tokenizer.pad_token_id, device)
    expected = reward.plain_scores(judge, groups, tokenizer.pad_token_id, device)
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-4)


def test_gradients_reach_every_adapter_and_the_score_head_and_nothing_else(base: Path) -> None:
    groups = reward.encode_comparisons(load_tokenizer(base), comparisons(), DATA).groups
    policy, judge = adapted(load_policy(base)), adapted(reward_from_policy(base))
    rollout = draw(policy)
    response_logprobs(policy, *parts(rollout)).sum().backward()
    reward.kwise_step(judge, groups, 2, torch.device("cpu")).loss.backward()
    for model in (policy, judge):
        for name, weight in model.named_parameters():
            moves = ".lora_" in name or name == "score.weight"
            assert weight.requires_grad == moves, name
            assert (weight.grad is not None and bool(weight.grad.any())) == moves, name
    blocks = shape_of_model(load_policy(base), "test")
    assert sum(weight.numel() for weight in trained_parameters(policy).values()) == LORA.lora_rank * blocks.sides


@torch.no_grad()
def test_a_saved_model_is_plain_and_computes_the_same(base: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(base)
    for auto, make, read in (
        (AutoModelForCausalLM, load_policy, response_logprobs),
        (AutoModelForSequenceClassification, reward_from_policy, response_values),
    ):
        model = adapted(make(base))
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        save_model(model, tokenizer, tmp_path / "model")
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items()), "saving changed it"
        saved, report = auto.from_pretrained(tmp_path / "model", output_loading_info=True)
        assert not report["missing_keys"] and not report["unexpected_keys"]
        assert {name for name, _ in saved.named_parameters()} == {name for name, _ in make(base).named_parameters()}
        saved.config.reward_shift = 0.0
        rollout = draw(load_policy(base))
        torch.testing.assert_close(read(saved.eval(), *parts(rollout)), read(model, *parts(rollout)), atol=1e-5, rtol=1e-5)
        assert not list((tmp_path / "model").glob("adapter*"))


def test_an_adapted_copy_takes_no_memory_for_what_is_frozen(base: Path) -> None:
    for model in (load_policy(base), reward_from_policy(base)):
        twin = adapted_copy(model.requires_grad_(False), LORA, 1, "test")
        own = {weight.data_ptr() for weight in model.parameters()}
        for name, weight in twin.named_parameters():
            assert (weight.data_ptr() in own) == (not weight.requires_grad), name
        assert merged_state(model) is None and not any(weight.requires_grad for weight in model.parameters())


# --- training ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["gpt2", "llama_base"])
def start(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small models of two architectures, one with fast forward passes here and one without."""
    folder = tmp_path_factory.mktemp(request.param)
    return prepared(make_family(request.param, folder / "published"), folder / "ready")


@pytest.fixture(scope="module")
def judge(start: Path) -> Path:
    """A reward model on `start`, trained with adapters, its cross-validation beside it."""
    folder = start.parent / "reward"
    setup = StageSetup(DATA, 1, compute=LORA)
    reward.train_reward(folder, start, comparisons(), DEMOS, REWARD, setup)
    reward.cross_validate(folder / "folds", start, comparisons(12), REWARD, setup)
    return folder / "model"


def train(stage: str, out: Path, start: Path, judge: Path, compute: ComputeConfig = LORA) -> Path:
    """Run a training stage; the folder of its model."""
    if stage == "sft":
        cfg = replace(SFT, learning_rate=1e-2, dropout=0.1, pretrain_fraction=0.25)
        sft.train_sft(out, start, SFTData(DEMOS, DEMOS[:3], ROWS), cfg, StageSetup(DATA, 5, compute=compute))
        return out / "epoch_03"
    if stage == "reward":
        reward.train_reward(out, start, comparisons(), DEMOS, REWARD, StageSetup(DATA, 5, compute=compute))
    else:
        setup = StageSetup(PPO_DATA, 5, "cpu", compute)
        ppo.train_ppo(out, ppo.PPOInputs(start, judge, TEXTS, ROWS), PTX, setup, checkpoint_every=1)
    return out / "model"


STAGES = ["sft", "reward", "ppo"]
KILLED_AT = {"sft": 3, "reward": 1, "ppo": 2}  # steps after the first checkpoint in which all optimizers have moments


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_moves_what_has_adapters_and_nothing_else(stage: str, start: Path, judge: Path, tmp_path: Path) -> None:
    after, before = weights(train(stage, tmp_path, start, judge)), weights(start)
    layers = {f"{name}.weight" for name, module in adapted(load_policy(start)).named_modules() if hasattr(module, "lora_A")}
    for name in after.keys() & before.keys():
        assert torch.equal(after[name], before[name].float()) == (name not in layers), name
    assert after.keys() - before.keys() == ({"score.weight"} if stage == "reward" else set())
    metrics = read_jsonl(tmp_path / "metrics.jsonl")
    if stage == "ppo":
        assert [row["first_ratio"] for row in metrics[1:]] == pytest.approx([1.0, 1.0], abs=1e-4)
        assert metrics[0]["kl_k3"] == pytest.approx(0.0, abs=1e-6) and metrics[-1]["kl_k3"] > 1e-3
        assert metrics[-1]["explained_variance"] > metrics[0]["explained_variance"]
    else:
        assert metrics[-1]["loss"] < metrics[0]["loss"]


class Killed(Exception):
    """Stands for kill -9: nothing after it runs."""


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_run_goes_on_to_the_same_bits(
    stage: str, start: Path, judge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = weights(train(stage, tmp_path / "whole", start, judge))
    log = TrainingLoop.log

    def killed(loop: TrainingLoop, step: int, **metrics: object) -> None:
        if step == KILLED_AT[stage]:
            raise Killed
        log(loop, step, **metrics)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(TrainingLoop, "log", killed)
        train(stage, tmp_path / "killed", start, judge)
    (file,) = (tmp_path / "killed" / "checkpoint").glob("step-*/tensors.safetensors")
    kept = read_tensors(file)[0]
    assert all(".lora_" in name or "score" in name for name in kept if not name.startswith("optimizer/"))
    trained = [name for name in kept if name.startswith("model/")]
    assert len([name for name in kept if name.endswith("/exp_avg")]) == len(trained)
    averaged = {name.split("/", 2)[2] for name in kept if name.startswith("extra/ema/")}
    assert averaged == ({name.split("/", 2)[2] for name in trained if "/policy/" in name} if stage == "ppo" else set())
    again = weights(train(stage, tmp_path / "killed", start, judge))
    assert all(torch.equal(tensor, again[name]) for name, tensor in whole.items())
    assert read_jsonl(tmp_path / "killed" / "metrics.jsonl") == read_jsonl(tmp_path / "whole" / "metrics.jsonl")


def test_prompts_shared_or_not_the_gradient_is_the_same(start: Path) -> None:
    tokenizer, found = load_tokenizer(start), []
    groups = reward.encode_comparisons(tokenizer, comparisons(), DATA).groups
    for scorer in (reward.score_groups, reward.plain_scores):
        model = adapted(reward_from_policy(start)).train()
        assert can_share(model) == ("gpt2" in str(start)), "GPT-2 keeps its fast forward"
        reward.kwise_step(model, groups, tokenizer.pad_token_id, torch.device("cpu"), scorer).loss.backward()
        found.append({name: weight.grad for name, weight in trained_parameters(model).items()})
    for name, grad in found[0].items():
        torch.testing.assert_close(grad, found[1][name], atol=1e-5, rtol=1e-3, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize("stage", STAGES)
def test_checkpointed_gradients_reach_the_adapters(stage: str, start: Path, judge: Path, tmp_path: Path) -> None:
    train(stage, tmp_path / "whole", start, judge)
    train(stage, tmp_path / "other", start, judge, replace(LORA, gradient_checkpointing=True))
    whole, other = (read_jsonl(tmp_path / name / "metrics.jsonl") for name in ("whole", "other"))
    for name in ("value_loss", "value_grad_norm") if stage == "ppo" else ("loss", "grad_norm"):
        assert other[0][name] == pytest.approx(whole[0][name], rel=1e-3), name


def test_another_rank_or_alpha_is_another_stage(tmp_path: Path) -> None:
    """Without adapters alpha decides nothing."""
    stages = [Stage("one", lambda run, folder: None, shared=True), Stage("two", lambda run, folder: None)]

    def found(compute: ComputeConfig) -> dict[str, str]:
        return Run(tmp_path, Config(device="cpu", compute=compute)).fingerprints(stages)

    plain, changed = found(ComputeConfig()), [replace(LORA, lora_rank=2), replace(LORA, lora_alpha=8.0), LORA]
    assert found(ComputeConfig(lora_alpha=1.0)) == plain and all(found(c)["two"] == plain["two"] for c in changed)
    assert len({plain["one"], *(found(compute)["one"] for compute in changed)}) == 4


@pytest.mark.parametrize("stage", STAGES)
def test_a_checkpoint_of_another_alpha_is_not_gone_on_with(
    stage: str, start: Path, judge: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainingLoop, "finish", lambda loop: None)  # so that the last checkpoint stays
    for alpha, goes_on in ((32.0, False), (8.0, False), (8.0, True)):
        train(stage, tmp_path, start, judge, replace(LORA, lora_alpha=alpha))
        assert ("goes on after step" in capsys.readouterr().err) == goes_on


def test_trl_trains_the_adapters_too(start: Path, tmp_path: Path) -> None:
    pytest.importorskip("trl")
    cfg = replace(SFT, epochs=1, batch_size=len(DEMOS), checkpoints=(1,))
    for backend in ("own", "trl"):
        data, setup = SFTData(DEMOS, DEMOS[:3]), StageSetup(DATA, 5, compute=LORA)
        sft.train_sft(tmp_path / backend, start, data, replace(cfg, backend=backend), setup)
    before = weights(start)
    own, trl = (weights(tmp_path / backend / "epoch_01") for backend in ("own", "trl"))
    moved = torch.cat([(own[name] - before[name].float()).flatten() for name in own])
    apart = torch.cat([(own[name] - trl[name]).flatten() for name in own])
    assert 0 < apart.norm() < 0.02 * moved.norm()


# --- memory --------------------------------------------------------------------------------------------------------


def test_the_plan_counts_what_is_trained(base: Path) -> None:
    model = adapted(load_policy(base))
    shape = shape_of_model(load_policy(base), "test")
    optimizer = make_optimizer(model.parameters(), 1e-3)
    response_logprobs(model, *parts(draw(model))).sum().backward()
    optimizer.step()
    moments = [t for state in optimizer.state.values() for name, t in state.items() if name != "step"]
    need = memory.needs(Config(compute=LORA), shape, shape)[0]
    assert need.optimizer == sum(t.nbytes for t in moments)
    assert need.gradients == sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)
    assert need.weights == sum(p.nbytes for p in model.parameters())


def test_the_plan_of_ppo_holds_each_frozen_model_once(start: Path, judge: Path) -> None:
    actors, _ = ppo.load_ppo_models(start, judge, compute=LORA)
    held = {
        p.data_ptr(): p.nbytes
        for model in vars(actors).values()
        if isinstance(model, PreTrainedModel)
        for p in model.parameters()
    }
    held_by_average = sum(p.nbytes for p in trained_parameters(actors.policy).values())
    shape = shape_of_model(load_policy(start), "test")
    need = {n.stage: n for n in memory.needs(Config(compute=LORA), shape, shape)}["ppo"]
    heads = sum(p.nbytes for model in (actors.reward, actors.value) for n, p in model.named_parameters() if n == "score.weight")
    assert need.weights == sum(held.values()) + held_by_average - heads
    assert load_reward(judge).get_parameter("score.weight").equal(actors.value.get_parameter("score.weight"))


def test_adapters_need_less_and_a_refusal_says_so() -> None:
    settings = {"device": "cpu", "model": "gpt2-large"}
    plain, lora = load_config("gpt2", settings), load_config("gpt2", {**settings, "compute.lora_rank": 8})
    shape = KNOWN["gpt2-large"]
    for a, b in zip(memory.needs(plain, shape, shape), memory.needs(lora, shape, shape), strict=True):
        assert b.total < a.total and b.optimizer < 0.05 * a.optimizer and b.gradients < 0.05 * a.gradients
    with pytest.raises(UserError, match="24.0 GiB free: set compute.lora_rank to 8 or use a smaller --model"):
        memory.plan(plain, free=24 * GIB)
    assert memory.plan(lora, free=24 * GIB)[1].startswith("cpu: 24.0 GiB free")
    for config in (plain, lora):
        with pytest.raises(UserError) as caught:
            memory.plan(config, free=4 * GIB)
        assert "lora_rank" not in str(caught.value), "it would not help"


# --- faults --------------------------------------------------------------------------------------------------------


def test_without_peft_one_sentence(start: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    model = load_policy(start)
    add_adapters(model, ComputeConfig(), 1)
    with pytest.raises(
        UserError, match=r"compute.lora_rank is 4, but peft cannot be imported \(.*\): run 'pip install \"peft>=0.18\"'"
    ):
        add_adapters(model, LORA, 1)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"compute.lora_rank": -1}, 'setting "compute.lora_rank": -1 is out of range; use a number of 0 or more.'),
        (
            {"compute.lora_rank": 4, "compute.lora_alpha": 0},
            'setting "compute.lora_alpha": 0.0 is out of range; use a number above 0',
        ),
        ({"compute.lora": 4}, 'unknown setting "compute.lora"; the nearest one is "compute.lora_rank"'),
    ],
)
def test_bad_settings_get_one_sentence(changes: dict, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config("tiny", changes)
    assert sentence in str(caught.value)


def test_the_stream_decides_how_adapters_start(start: Path) -> None:
    """And the global one does not, nor is it moved."""
    found = []
    for seed, name, state in ((1, "sft", 0), (1, "sft", 7), (2, "sft", 0), (1, "init", 0)):
        model = load_policy(start)
        torch.manual_seed(state)
        before = torch.random.get_rng_state()
        add_adapters(model, LORA, seed, name)
        assert torch.equal(before, torch.random.get_rng_state())
        found.append(torch.cat([weight.flatten() for weight in trained_parameters(model).values()]))
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2]) and not torch.equal(found[0], found[3])


def test_the_update_is_scaled_by_alpha_over_rank(start: Path) -> None:
    model = adapted(load_policy(start), compute=ComputeConfig(lora_rank=4, lora_alpha=6.0))
    layer = next(module for module in model.modules() if hasattr(module, "lora_A"))
    product = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    update = (effective_weight(layer) - layer.weight).detach()
    torch.testing.assert_close(update, 1.5 * (product.T if "gpt2" in str(start) else product).detach(), atol=1e-6, rtol=1e-4)


def test_a_run_that_cannot_have_adapters_stops_before_its_first_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(device="cpu", compute=ComputeConfig(lora_rank=4))
    with monkeypatch.context() as patch, pytest.raises(UserError, match="peft cannot be imported"):
        patch.setitem(sys.modules, "peft", None)
        run_pipeline(config, tmp_path / "run")
    monkeypatch.setattr(processes, "shards", lambda: 2)
    with pytest.raises(UserError, match=r"lora_rank cannot be used with FSDP.*ddp\.yaml"):
        run_pipeline(config, tmp_path / "run")
    assert not list(tmp_path.iterdir())
