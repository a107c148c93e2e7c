"""Operations against counted ones, the paper's numbers, arithmetic of seconds."""

from __future__ import annotations

import importlib
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from utils.config import SAMPLING_BATCH, ComputeConfig, load_config
from utils.core.errors import UserError
from utils.models.loading import count_parameters
from utils.models.lora import add_adapters
from utils.planning import operations as planner
from utils.planning.operations import (
    KNOWN,
    PAPER_COUNTING,
    PF_DAY,
    Batches,
    Counting,
    Pass,
    Texts,
    by_stage,
    data_at_limits,
    gpt_shape,
    gpu_hours,
    growth,
    kwise,
    paper_plan,
    paper_record,
    read,
    sampling,
    shape_of,
    shape_of_model,
    stage_work,
)
from utils.report import figures as plotting
from utils.sft.rows import EVAL_ROWS
from utils.sft.run import SELECTION_PROMPTS, kept_epochs

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """scripts/plan.py as a module."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        return importlib.import_module("plan")
    finally:
        sys.path.remove(str(ROOT / "scripts"))


def models() -> list[torch.nn.Module]:
    gpt2 = GPT2LMHeadModel(GPT2Config(n_layer=3, n_embd=64, n_head=4, vocab_size=500, n_positions=128))
    llama = LlamaForCausalLM(
        LlamaConfig(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                    num_key_value_heads=2, head_dim=24, vocab_size=300)
    )  # fmt: skip
    return [gpt2, llama]


@pytest.mark.parametrize("model", models(), ids=lambda model: type(model).__name__)
def test_operations_equal_those_that_pytorch_counts(model: torch.nn.Module) -> None:
    """All matrix products of forward and backward; attention as PyTorch's counter has it, without the causal half."""
    shape = shape_of_model(model, "x")
    rows, length = 2, 48
    ids = torch.randint(300, (rows, length))
    model.config._attn_implementation = "eager"
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, use_cache=False).logits.sum().backward()
    work = read(Pass("", "", "train", shape), Texts(rows, 0, length), 1, Counting(every_logit=True))
    whole = replace(work, pairs=rows * length * length)
    # PyTorch makes no gradient for token ids, so the counter and the rule of three agree but for rounding of that rule.
    assert whole.flops == pytest.approx(counter.get_total_flops(), rel=0.02)


@pytest.mark.parametrize("rank", [2, 16])
def test_operations_with_adapters_equal_those_that_pytorch_counts(rank: int) -> None:
    """Weights that are not trained pass a gradient on, but get none; only the first matrix has nothing to pass it to."""
    pytest.importorskip("peft")
    model = GPT2LMHeadModel(GPT2Config(n_layer=8, n_embd=64, n_head=4, vocab_size=500, n_positions=128))
    shape = shape_of_model(model, "x")
    model.config._attn_implementation = "eager"
    add_adapters(model, ComputeConfig(lora_rank=rank), 0)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=torch.randint(300, (2, 48)), use_cache=False).logits.sum().backward()
    work = read(Pass("", "", "train", shape), Texts(2, 0, 48), 1, Counting(every_logit=True))
    adapted = replace(work, pairs=2 * 48 * 48, rank=rank)
    assert adapted.flops == pytest.approx(counter.get_total_flops(), rel=0.03)
    assert replace(adapted, kind="forward").flops == pytest.approx(replace(work, pairs=2 * 48 * 48).flops / 3)


def test_rankings_that_are_given_cost_no_samples_and_no_rubric_no_second_answers() -> None:
    config, shape = load_config("gpt2"), KNOWN["gpt2"]
    given = by_stage(stage_work(config, shape, shape, data_at_limits(config)))
    made = by_stage(stage_work(load_config("gpt2", {"data.comparisons": None}), shape, shape, data_at_limits(config)))
    assert made.keys() - given.keys() == {"comparisons"} and all(given[name] == made[name] for name in given)
    alone, world = (
        {(w.stage, w.part): w.tokens for w in stage_work(replace(config, world=name), shape, shape, data_at_limits(config))}
        for name in ("none", "tiny")
    )
    assert alone.keys() - world.keys() == {("evaluate", "scoring")}, "by the reward model, where there is no gold"
    assert {part.partition(":")[0] for _, part in world.keys() - alone.keys()} == {"gold probe"}
    assert 2 * alone["evaluate", "sampling"] < world["evaluate", "sampling"], "greedy answers too, and best of n"


def test_a_plan_with_adapters_trains_for_less() -> None:
    shape, config = KNOWN["gpt2"], load_config("gpt2")
    plain, adapted = (
        by_stage(stage_work(load_config("gpt2", {"compute.lora_rank": rank}), shape, shape, data_at_limits(config)))
        for rank in (0, 8)
    )
    assert adapted["evaluate"] == plain["evaluate"], "nothing is trained there"
    assert all(0.6 * plain[stage] < adapted[stage] < 0.85 * plain[stage] for stage in ("sft", "reward", "ppo_ptx"))


def test_shapes_of_known_models_have_their_published_sizes() -> None:
    assert KNOWN["gpt2"].parameters == 124_439_808 and KNOWN["gpt2-xl"].parameters == 1_557_611_200
    assert KNOWN["distilgpt2"].parameters == 81_912_576
    assert KNOWN["gpt3-175b"].parameters == pytest.approx(174.6e9, rel=1e-3)
    built = GPT2LMHeadModel(GPT2Config(n_layer=3, n_embd=64, n_head=4, vocab_size=500, n_positions=128))
    assert shape_of_model(built, "x") == gpt_shape("x", 3, 64, 500, 128)


def test_shape_from_a_directory_needs_no_weights(policy_dir: Path, policy: GPT2LMHeadModel, tmp_path: Path) -> None:
    shape = shape_of(policy_dir)
    assert shape.parameters == count_parameters(policy) and (shape.layers, shape.width) == (2, 32)
    assert shape_of("openai-community/gpt2-xl") == KNOWN["gpt2-xl"]
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(UserError, match="does not describe a causal language model"):
        shape_of(tmp_path)


# --- the paper -------------------------------------------------------------------------------------------------------


def test_the_papers_compute_within_fifteen_percent() -> None:
    plan = paper_plan()
    assert plan.stages["sft"] == pytest.approx(4.9, rel=0.15)
    assert plan.stages["ppo_ptx"] == pytest.approx(60, rel=0.15)
    assert plan.pretraining == pytest.approx(3640, rel=0.01)
    assert sum(plan.parts.values()) == pytest.approx(plan.stages["ppo_ptx"])


def test_the_papers_compute_by_hand() -> None:
    """6 N D with N = 174.6B weights in products and D tokens of full contexts; see PAPER_ASSUMPTIONS."""
    n, n_reward, context, episodes = 174.5633e9, 6.6483e9, 2048, 256_000
    plan = paper_plan()
    assert plan.stages["sft"] == pytest.approx(6 * n * 12_725 * 16 * context / PF_DAY, rel=1e-3)
    policy = (2 + 2 + 6) * n * episodes * context  # sampled, read by the reference, trained on
    mix = 6 * n * 8 * episodes * context
    small = (2 + 2 + 6) * n_reward * episodes * context  # reward model, values, value update
    assert plan.stages["ppo_ptx"] == pytest.approx((policy + mix + small) / PF_DAY, rel=2e-3)


def test_other_assumptions_are_shown_and_differ() -> None:
    record = paper_record(paper_plan())
    found = {a["assumption"]: a for a in record["other_assumptions"]}
    assert len(found) == 6 and len(record["assumptions"]) == 5
    unpadded = next(a for name, a in found.items() if name.startswith("no padding: mean lengths"))
    assert unpadded["sft_175b_pf_days"] < 0.3 * 4.9, "without padding SFT's number cannot be reached"


def test_paper_json_is_one_object(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(script.run, ["--paper", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert 4.9 * 0.85 < record["sft_175b_pf_days"] < 4.9 * 1.15
    assert 60 * 0.85 < record["ppo_ptx_175b_pf_days"] < 60 * 1.15
    assert script.main(script.run, ["--paper"]) == 0
    assert "This is the assumption that makes both numbers fit" in capsys.readouterr().out


# --- stages ----------------------------------------------------------------------------------------------------------


def test_sampling_costs_what_reading_would_but_for_the_logits_of_prompts() -> None:
    shape, counting = KNOWN["gpt2"], Counting()
    found = sampling("", "", shape, Texts(6, 20, 10), Batches(4, 12), counting)
    whole = read(Pass("", "", "forward", shape), Texts(6, 20, 10), 1, counting)
    assert sum(work.tokens for work in found) == whole.tokens
    assert sum(work.pairs for work in found) == pytest.approx(whole.pairs)
    assert [work.calls for work in found] == [2, 24]


def test_a_shared_prompt_is_read_once() -> None:
    config = load_config("tiny")
    data = replace(data_at_limits(config), distinct=5.0, rm_prompt=30.0, completion=10.0)
    shared, plain = (kwise("", "ranked", KNOWN["gpt2"], 7, 1, data, Counting(shared_prompts=s)) for s in (True, False))
    assert shared.tokens == 7 * (30 + 5 * 10) and plain.tokens == 7 * 5 * 40


def test_costs_grow_as_they_must() -> None:
    config = load_config("full")
    shape, data = KNOWN["gpt2-xl"], data_at_limits(config)

    def total(config: object) -> dict[str, float]:
        return by_stage(stage_work(config, shape, shape, data, PAPER_COUNTING))

    plain = total(config)
    twice = total(replace(config, ppo=replace(config.ppo, rounds=2 * config.ppo.rounds)))
    assert twice["ppo"] == pytest.approx(2 * plain["ppo"], rel=1e-3) and twice["ppo_ptx"] == plain["ppo_ptx"]
    no_mix = total(replace(config, ppo_ptx=replace(config.ppo_ptx, gamma_ptx=0.0)))
    assert no_mix["ppo_ptx"] == plain["ppo"] < plain["ppo_ptx"]


def test_growth_has_the_papers_run_in_every_panel() -> None:
    plan, (sizes, answers, episodes, ratios) = paper_plan(), growth()
    assert sizes.lines["PPO-ptx"][-1] == plan.stages["ppo_ptx"] and sizes.lines["SFT"][-1] == plan.stages["sft"]
    assert episodes.lines["PPO-ptx"][episodes.x.index(256_000)] == plan.stages["ppo_ptx"]
    assert ratios.lines["PPO-ptx"][ratios.x.index(8.0)] == plan.stages["ppo_ptx"]
    assert ratios.lines["PPO-ptx"][0] == pytest.approx(ratios.lines["PPO"][0])
    k, pairs = answers.lines["reward model, K passes per prompt"], answers.lines["reward model, two passes per pair"]
    assert pairs[0] == k[0] and pairs[-1] == pytest.approx(8 * k[-1])
    assert "petaflop/s-days" in plotting.alt_text(plotting.cost_growth(growth()))


def test_gpu_hours_by_hand_and_formats_that_do_not_exist() -> None:
    work = [
        replace(read(Pass("s", "", "train", KNOWN["gpt2"]), Texts(1, 0, 100), 1, Counting()), tokens=1e12, pairs=0, logits=0)
    ]
    flops = 6 * KNOWN["gpt2"].matrices * 1e12
    assert gpu_hours(work, planner.GPUS["A100"], "bf16") == pytest.approx(flops / (312e12 * 0.35) / 3600)
    with pytest.raises(UserError, match="T4 has no bf16 in hardware: use fp32 or fp16"):
        gpu_hours(work, planner.GPUS["T4"], "bf16")


def test_plan_of_a_profile(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["--profile", "gpt2", "--model", "gpt2", "--gpu", "T4", "--prompt-tokens", "60", "--json"]
    assert script.main(script.run, line) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["data"]["ppo_prompt"] == 60 and set(record["gpu_hours"]) == {"T4"}
    assert sum(record["parts"].values()) == pytest.approx(sum(record["flops"].values()))
    assert script.main(script.run, [*line[:-1], "--format", "bf16"]) == 2
    assert script.main(script.run, ["--check", "no/such/run"]) == 2
    assert "holds no run" in capsys.readouterr().err
    for length in ("nan", "0", "-5", "257"):
        assert script.main(script.run, ["--profile", "gpt2", "--prompt-tokens", length]) == 2
        assert f"--prompt-tokens is {length}: it must be from 1 to the longest prompt" in capsys.readouterr().err


def test_a_plan_says_what_memory_a_stage_needs_and_what_to_do_if_there_is_too_little(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    def plan(*line: str) -> str:
        assert script.main(script.run, list(line)) == 0
        return capsys.readouterr().out

    whole = json.loads(plan("--profile", "gpt2", "--json"))["memory_gib"]
    parts = json.loads(plan("--profile", "gpt2", "--gpu", "T4", "--json"))["memory_gib"]
    assert set(whole) == set(parts) == {"sft", "init", "reward", "ppo", "ppo_ptx"}
    assert all(parts[stage] <= min(whole[stage], 0.9 * 16) for stage in whole) and parts["reward"] < whole["reward"]
    assert "does not fit" not in plan("--profile", "gpt2", "--gpu", "T4")
    assert "It does not fit into a T4: use a smaller --model" in plan("--profile", "full", "--gpu", "T4")


# --- memory ----------------------------------------------------------------------------------------------------------


def test_memory_of_ppo_by_hand() -> None:
    policy, reward = KNOWN["gpt3-175b"], KNOWN["gpt3-6b"]
    p, r = policy.parameters / 1e9, reward.parameters / 1e9
    found = planner.residents(policy, reward)
    assert [x.gigabytes for x in found] == pytest.approx([16 * p, 16 * r, 2 * p, 2 * r, 4 * p])
    # 96 layers of 12,288: a key and a value of 2 bytes a unit
    assert planner.cache_gigabytes(policy, 1000) == pytest.approx(2 * 96 * 12_288 * 2 * 1000 / 1e9)


def test_the_plan_counts_calls_with_the_sizes_that_the_stages_use() -> None:
    """Batch sizes come from the settings and from the constants of the stages, checkpoints from `kept_epochs`."""
    config, shape = load_config("tiny"), KNOWN["gpt2"]
    data = data_at_limits(config)

    def calls(stage: str, part: str, **changes: Any) -> float:
        work = stage_work(load_config("tiny", {k.replace("__", "."): v for k, v in changes.items()}), shape, shape, data)
        return sum(item.calls for item in work if (item.stage, item.part) == (stage, part))

    rounds, episodes = config.ppo.rounds, config.ppo.episodes_per_round
    assert calls("ppo", "sampling: prompts") == rounds * math.ceil(episodes / SAMPLING_BATCH)
    assert calls("ppo", "sampling: prompts", compute__sampling_batch=8) == rounds * math.ceil(episodes / 8)
    probes = rounds // config.ppo.eval_every_rounds
    prompts = min(config.ppo.eval_prompts, data.n_valid)
    assert calls("ppo", "gold probe: prompts", evaluation__batch_size=16) == probes * math.ceil(prompts / 16)
    assert calls("sft", "validation") == config.sft.epochs * math.ceil(data.n_valid / EVAL_ROWS)
    batch = math.ceil(min(SELECTION_PROMPTS, data.n_valid) / config.evaluation.batch_size)
    assert calls("sft_select", "sampling: prompts") == len(kept_epochs(config.sft)) * batch
