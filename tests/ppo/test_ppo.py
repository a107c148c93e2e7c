"""PPO and PPO-ptx: the numbers that must be right, parity with TRL's published formulas, resume."""

from __future__ import annotations

import json
import math
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from forked import Program, run_ranks
from settings import PPO as CFG
from settings import PPO_DATA as DATA
from settings import TEXTS
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from utils.config import PPOConfig
from utils.core.errors import UserError
from utils.data.encoding import decode_response, encode_prompts
from utils.losses import lm_loss
from utils.models.loading import load_policy, load_reward, save_model
from utils.models.tokenizers import load_tokenizer
from utils.ppo import experience as rounds
from utils.ppo import update as updates
from utils.ppo.experience import (
    Experience,
    PPOModels,
    collect_round,
    experience_metrics,
    load_ppo_models,
    model_inputs,
    process_device,
    reward_scores,
    round_prompts,
)
from utils.ppo.metrics import METRICS
from utils.ppo.train import PPOInputs, _check_processes, train_ppo
from utils.ppo.update import (
    draw_ptx_rows,
    minibatches,
    policy_learning_rate,
    policy_loss,
    ptx_loss,
    ptx_tokens,
    update_policy,
    update_round,
    value_loss,
)
from utils.reward.scoring import RewardModel
from utils.sampling.rollout import Rollout, response_logprobs, response_values
from utils.sampling.sampler import Response
from utils.training.loop import LoopSettings, TrainingLoop, make_optimizer
from utils.training.micro_batches import Share, micro_batches
from utils.training.setup import StageSetup

SEED = 5
SETUP = StageSetup(DATA, SEED)


@pytest.fixture
def actors(policy_dir: Path, reward_dir: Path) -> PPOModels:
    return load_ppo_models(policy_dir, reward_dir)[0]


@pytest.fixture
def prompts(policy_dir: Path) -> list[list[int]]:
    tokenizer = load_tokenizer(policy_dir)
    return encode_prompts(tokenizer, TEXTS, DATA)


@pytest.fixture
def ptx_rows() -> Tensor:
    return torch.randint(3, 300, (12, 20), generator=torch.Generator().manual_seed(0))


def collect(actors: PPOModels, prompts: list[list[int]], cfg: PPOConfig = CFG, n: int = 16) -> Experience:
    chosen = [prompts[i % len(prompts)] for i in range(n)]
    return collect_round(actors, chosen, list(range(n)), cfg, SETUP)


def make_loop(path: Path, actors: PPOModels, cfg: PPOConfig = CFG) -> TrainingLoop:
    return TrainingLoop(
        path,
        LoopSettings("ppo", cfg.rounds, SEED),
        models={"policy": actors.policy, "value": actors.value},
        optimizers={
            "policy": make_optimizer(actors.policy.parameters(), cfg.learning_rate),
            "value": make_optimizer(actors.value.parameters(), cfg.value_learning_rate),
        },
        extra=lambda: {"ema": {}},
    )


def weights_of(path: Path) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in load_policy(path / "model").named_parameters()}


def run(
    path: Path, policy_dir: Path, reward_dir: Path, cfg: PPOConfig = CFG, ptx_rows: Tensor | None = None, **kwargs: object
) -> list[dict]:
    inputs = PPOInputs(policy_dir, reward_dir, TEXTS, ptx_rows)
    train_ppo(path, inputs, cfg, SETUP, **kwargs)  # type: ignore[arg-type]
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


# Numbers that must be right


def test_ratio_is_one_at_the_first_step(actors: PPOModels, prompts: list[list[int]]) -> None:
    for temperature in (1.0, 0.8):
        cfg = replace(CFG, temperature=temperature)
        experience = collect(actors, prompts, cfg)
        _, stats = policy_loss(actors.policy.train(), experience, cfg)
        assert stats["ratio"].item() == pytest.approx(1.0, abs=1e-5)
        assert stats["approx_kl"].item() < 1e-9
        assert stats["clip_fraction"].item() == 0.0


def test_kl_is_zero_before_the_first_update_and_positive_after(
    actors: PPOModels, prompts: list[list[int]], tmp_path: Path
) -> None:
    before = experience_metrics(collect(actors, prompts))
    assert abs(before["kl_k1"]) < 1e-4 and 0 <= before["kl_k3"] < 1e-6
    assert before["reward"] == pytest.approx(before["score"], abs=1e-5)
    loop = make_loop(tmp_path, actors)
    for round_ in range(1, 4):
        update_round(loop, actors, collect(actors, prompts), round_, CFG, SETUP)
    after = experience_metrics(collect(actors, prompts, n=64))
    assert after["kl_k1"] > 0.01 and after["kl_k3"] > 0.01
    assert after["reward"] == pytest.approx(after["score"] - CFG.beta * after["kl_k1"], abs=1e-4)


def test_the_reference_does_not_move_with_the_policy(actors: PPOModels, prompts: list[list[int]]) -> None:
    inputs = model_inputs(collect(actors, prompts).rollout)
    with torch.no_grad():
        before = response_logprobs(actors.reference, *inputs)
        for p in actors.policy.parameters():
            p.add_(torch.randn_like(p))
        assert torch.equal(response_logprobs(actors.reference, *inputs), before)
        assert not torch.allclose(response_logprobs(actors.policy, *inputs), before)


def test_dropout_is_off_in_every_rl_forward(
    policy_dir: Path, reward_dir: Path, prompts: list[list[int]], tmp_path: Path
) -> None:
    """Even for a model directory whose config asks for dropout, and in train mode."""
    for source, name in ((policy_dir, "policy"), (reward_dir, "reward")):
        for file in source.iterdir():
            target = tmp_path / name / file.name
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(file.read_bytes())
        config = json.loads((tmp_path / name / "config.json").read_text())
        config |= {"resid_pdrop": 0.5, "attn_pdrop": 0.5, "embd_pdrop": 0.5}
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    actors = load_ppo_models(tmp_path / "policy", tmp_path / "reward")[0]
    for model in (actors.policy, actors.reference, actors.reward, actors.value):
        model.train()
        assert all(m.p == 0 for m in model.modules() if isinstance(m, torch.nn.Dropout))
    first, second = collect(actors, prompts), collect(actors, prompts)
    assert torch.equal(first.rollout.response_ids, second.rollout.response_ids)
    for name in ("scores", "ref_logprobs", "values"):
        assert torch.equal(getattr(first, name), getattr(second, name))
    _, stats = policy_loss(actors.policy, first, CFG)
    assert stats["ratio"].item() == pytest.approx(1.0, abs=1e-5)


def test_the_reward_is_read_at_the_end_token_and_tells_ended_from_cut_off(actors: PPOModels) -> None:
    def one(response: list[int]) -> Tensor:
        ids, mask = torch.tensor([response]), torch.ones(1, len(response), dtype=torch.bool)
        prompt = torch.tensor([[10, 11, 12]])
        finished = torch.tensor([response[-1] in actors.stops])
        rollout = Rollout(prompt, torch.ones_like(prompt).bool(), ids, mask, torch.zeros(1, len(response)), finished)
        return reward_scores(actors.reward, rollout, actors.stops, actors.eos_id)[0]

    eos, bos = actors.eos_id, actors.stops[1]
    with torch.no_grad():
        hidden = actors.reward.transformer(torch.tensor([[10, 11, 12, 60, 61, eos]])).last_hidden_state[0, -1]
        expected = actors.reward.score(hidden)[0] - 0.25
        torch.testing.assert_close(one([60, 61, eos]), expected, atol=1e-5, rtol=1e-5)
        assert torch.equal(one([60, 61, bos]), one([60, 61, eos]))
        assert (one([60, 61]) - one([60, 61, eos])).abs() > 0.01
        assert len({actors.pad_id, eos, bos}) == 3


def test_the_value_model_can_start_as_the_policy_with_a_new_head(policy_dir: Path, reward_dir: Path) -> None:
    found, _ = load_ppo_models(policy_dir, reward_dir, value_init="policy")
    assert all(weight.requires_grad for weight in found.value.parameters())
    trunk = found.policy.state_dict()
    assert all(torch.equal(weight, trunk[name]) for name, weight in found.value.state_dict().items() if name != "score.weight")
    assert not torch.equal(found.value.score.weight, found.reward.score.weight)


def test_the_value_model_starts_as_the_reward_model(actors: PPOModels, prompts: list[list[int]]) -> None:
    """The value one token after the response, read by the reward model, is the response's score."""
    for a, b in zip(actors.value.parameters(), actors.reward.parameters(), strict=True):
        assert torch.equal(a, b) and a.requires_grad and not b.requires_grad
    cut = [row for row in range(16) if not collect(actors, prompts).rollout.finished[row]]
    experience = collect(actors, prompts)
    inputs = list(model_inputs(experience.rollout))
    inputs[2] = torch.cat([inputs[2], torch.full((16, 1), 9)], 1)
    inputs[3] = torch.cat([inputs[3], torch.ones(16, 1, dtype=torch.bool)], 1)
    with torch.no_grad():
        values = response_values(actors.value, *inputs)
    assert cut
    torch.testing.assert_close(values[cut, -1], experience.scores[cut], atol=1e-5, rtol=1e-5)


def test_gamma_ptx_zero_is_ppo(policy_dir: Path, reward_dir: Path, ptx_rows: Tensor, tmp_path: Path) -> None:
    plain = run(tmp_path / "ppo", policy_dir, reward_dir)
    zero = run(tmp_path / "zero", policy_dir, reward_dir, replace(CFG, gamma_ptx=0.0), ptx_rows=ptx_rows)
    mixed = run(tmp_path / "ptx", policy_dir, reward_dir, replace(CFG, gamma_ptx=1.0), ptx_rows=ptx_rows)
    assert plain == zero
    a, b, c = (weights_of(tmp_path / name) for name in ("ppo", "zero", "ptx"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert any(not torch.equal(a[name], c[name]) for name in a)
    assert "ptx_loss" not in plain[-1] and "ptx_loss" in mixed[-1]
    with torch.no_grad():
        with_ptx, without = (ptx_loss(load_policy(tmp_path / name / "model"), ptx_rows, 2).item() for name in ("ptx", "ppo"))
    assert with_ptx < without - 0.05


def gradients(model: torch.nn.Module) -> dict[str, Tensor]:
    result = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    return result


def test_the_ptx_gradient_is_the_plain_language_model_gradient(actors: PPOModels, ptx_rows: Tensor) -> None:
    ptx_loss(actors.policy, ptx_rows, actors.pad_id).backward()
    got = gradients(actors.policy)
    logits = actors.policy(ptx_rows).logits
    torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ptx_rows[:, 1:].flatten()).backward()
    for name, expected in gradients(actors.policy).items():
        torch.testing.assert_close(got[name], expected, atol=1e-5, rtol=1e-4, msg=name)
    padded = torch.cat([ptx_rows, torch.full((12, 3), actors.pad_id)], 1)
    mask = padded != actors.pad_id
    with torch.no_grad():
        expected = lm_loss(actors.policy(padded, attention_mask=mask.long()).logits, padded, mask)
        got_padded = ptx_loss(actors.policy, padded, actors.pad_id)
        torch.testing.assert_close(got_padded, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(got_padded, ptx_loss(actors.policy, ptx_rows, actors.pad_id))


def test_ppo_and_ptx_gradients_are_added_in_one_step(
    actors: PPOModels, prompts: list[list[int]], ptx_rows: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eq. 2: grad = PPO gradient + gamma_ptx * language-model gradient."""
    cfg = replace(CFG, gamma_ptx=2.5)
    experience = collect(actors, prompts)
    policy_loss(actors.policy, experience, cfg)[0].backward()
    first = gradients(actors.policy)
    ptx_loss(actors.policy, ptx_rows, actors.pad_id).backward()
    second = gradients(actors.policy)
    seen: dict[str, Tensor] = {}
    loop = make_loop(tmp_path, actors)

    def stop_here(name: str, **kwargs: object) -> float:
        seen.update(gradients(actors.policy))
        return 0.0

    monkeypatch.setattr(loop, "optimizer_step", stop_here)
    update_policy(loop, actors, experience, ptx_rows, 1e-3, cfg)
    for name in first:
        torch.testing.assert_close(seen[name], first[name] + 2.5 * second[name], atol=1e-5, rtol=1e-4, msg=name)


def trl_policy_and_value_gradient(
    actors: PPOModels, batch: Experience, cfg: PPOConfig
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """One minibatch step as TRL 1.12's PPOTrainer publishes it, on left-padded rows by the models' own forward.

    pg_loss = masked_mean(max(-A ratio, -A clamp(ratio))), vf_loss = 0.5 masked_mean(max((v - R)^2, (vclip - R)^2)).
    """
    r = batch.rollout
    ids, mask = torch.cat([r.prompt_ids, r.response_ids], 1), torch.cat([r.prompt_mask, r.response_mask], 1)
    position_ids = (mask.long().cumsum(1) - 1).clamp(min=0)
    start = r.prompt_ids.shape[1] - 1
    inputs = dict(input_ids=ids, attention_mask=mask.long(), position_ids=position_ids)
    logits = actors.policy(**inputs).logits[:, start:-1] / cfg.temperature
    new = logits.log_softmax(-1).gather(-1, r.response_ids.unsqueeze(-1)).squeeze(-1)
    padding = ~r.response_mask
    new = torch.masked_fill(new, padding, 1.0)
    old = torch.masked_fill(r.logprobs, padding, 1.0)
    ratio = torch.exp(new - old)
    pg_losses, pg_losses2 = -batch.advantages * ratio, -batch.advantages * ratio.clamp(1 - cfg.clip, 1 + cfg.clip)
    pg_loss = (torch.max(pg_losses, pg_losses2) * ~padding).sum() / (~padding).sum()
    pg_loss.backward()
    hidden = actors.value.transformer(**inputs).last_hidden_state
    predicted = actors.value.score(hidden)[:, start:-1].squeeze(-1) - actors.value.config.reward_shift
    predicted = torch.masked_fill(predicted, padding, 0)
    clipped = torch.clamp(predicted, batch.values - cfg.value_clip, batch.values + cfg.value_clip)
    vf = torch.max((predicted - batch.returns) ** 2, (clipped - batch.returns) ** 2)
    (0.5 * (vf * ~padding).sum() / (~padding).sum()).backward()
    value_gradients = {n: p.grad.clone() for n, p in actors.value.named_parameters() if p.grad is not None}
    actors.value.zero_grad()
    return gradients(actors.policy), value_gradients


def test_one_step_has_the_gradient_of_trls_published_formulas(actors: PPOModels, prompts: list[list[int]]) -> None:
    cfg = replace(CFG, temperature=0.9)
    experience = collect(actors, prompts, cfg)
    with torch.no_grad():  # off the point where every ratio is 1 and nothing is clipped
        for model in (actors.policy, actors.value):
            for p in model.parameters():
                p.add_(0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    expected_policy, expected_value = trl_policy_and_value_gradient(actors, experience, cfg)
    loss, stats = policy_loss(actors.policy, experience, cfg)
    assert stats["clip_fraction"] > 0.02
    loss.backward()
    for name, got in gradients(actors.policy).items():
        torch.testing.assert_close(got, expected_policy[name], atol=3e-5, rtol=1e-3, msg=name)
    value_loss(actors.value, experience, cfg.value_clip).backward()
    for name, expected in expected_value.items():
        got = dict(actors.value.named_parameters())[name].grad
        torch.testing.assert_close(got, expected, atol=3e-5, rtol=1e-3, msg=name)


# The average of the weights


def test_the_saved_model_is_the_average_of_the_policys_weights(
    policy_dir: Path, reward_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    initial = {name: p.detach().clone() for name, p in load_policy(policy_dir).named_parameters()}
    history: list[dict[str, Tensor]] = []
    update = updates.ema_update

    def recording(average: dict[str, Tensor], weights: dict[str, Tensor], decay: float) -> None:
        history.append({name: w.detach().clone() for name, w in weights.items()})
        update(average, weights, decay)

    monkeypatch.setattr(updates, "ema_update", recording)
    run(tmp_path, policy_dir, reward_dir)
    n = len(history)
    assert n == (CFG.rounds - CFG.value_warmup_rounds) * 4
    saved = weights_of(tmp_path)
    for name, start in initial.items():
        expected = 0.9**n * start + sum(0.1 * 0.9 ** (n - 1 - i) * w[name] for i, w in enumerate(history))
        torch.testing.assert_close(saved[name], expected, atol=1e-5, rtol=1e-5, msg=name)


def test_decay_zero_saves_the_last_policy_and_evaluation_leaves_no_trace(
    policy_dir: Path, reward_dir: Path, tmp_path: Path
) -> None:
    seen: list[Tensor] = []

    def evaluate(model: torch.nn.Module) -> float:
        seen.append(model.lm_head.weight.detach().clone())
        return float(len(seen))

    with_gold = run(tmp_path / "a", policy_dir, reward_dir, evaluate=evaluate)
    run(tmp_path / "b", policy_dir, reward_dir)
    assert [record.get("gold") for record in with_gold] == [None, 1.0, None, 2.0]
    a, b = weights_of(tmp_path / "a"), weights_of(tmp_path / "b")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert torch.equal(seen[-1], a["transformer.wte.weight"])


# Rounds, learning rates, logs


def test_every_prompt_is_drawn_once_per_pass() -> None:
    drawn = [index for round_ in range(6) for index in round_prompts(10, round_, 5, SEED)]
    for start in range(0, 30, 10):
        assert sorted(drawn[start : start + 10]) == list(range(10))
    assert drawn[:10] != drawn[10:20]
    assert round_prompts(3, 0, 7, SEED) == (
        round_prompts(3, 0, 3, SEED) + round_prompts(3, 1, 3, SEED) + round_prompts(3, 2, 3, SEED)[:1]
    )


def test_minibatches_cover_every_episode_once_per_inner_epoch() -> None:
    rows = list(minibatches(10, 4, 2, SEED, 0))
    assert [len(r) for r in rows] == [4, 4, 2] * 2
    for epoch in (rows[:3], rows[3:]):
        assert sorted(torch.cat(epoch).tolist()) == list(range(10))
    assert not torch.equal(torch.cat(rows[:3]), torch.cat(rows[3:]))


def test_the_policy_rate_warms_up_over_the_first_policy_rounds() -> None:
    cfg = PPOConfig(learning_rate=1.0, warmup_rounds=10, warmup_from=0.1, value_warmup_rounds=3)
    assert [policy_learning_rate(r, cfg) for r in (3, 8, 13, 30)] == pytest.approx([0.1, 0.55, 1.0, 1.0])


def test_value_only_rounds_leave_the_policy_alone(actors: PPOModels, prompts: list[list[int]], tmp_path: Path) -> None:
    before = [p.detach().clone() for p in actors.policy.parameters()]
    value_before = [p.detach().clone() for p in actors.value.parameters()]
    experience = collect(actors, prompts)
    loop = make_loop(tmp_path, actors)
    metrics = update_round(loop, actors, experience, 0, replace(CFG, value_warmup_epochs=8), SETUP)
    assert all(torch.equal(a, b) for a, b in zip(before, actors.policy.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(value_before, actors.value.parameters(), strict=True))
    assert "policy_loss" not in metrics
    with torch.no_grad():
        left = value_loss(actors.value, experience, math.inf).item()
    assert left < 0.7 * 0.5 * ((experience.values - experience.returns) ** 2)[experience.rollout.response_mask].mean()


def test_the_glossary_explains_exactly_what_is_logged(
    policy_dir: Path, reward_dir: Path, ptx_rows: Tensor, tmp_path: Path
) -> None:
    records = run(tmp_path, policy_dir, reward_dir, replace(CFG, gamma_ptx=0.5), ptx_rows=ptx_rows, evaluate=lambda model: 1.0)
    assert [record["step"] for record in records] == list(range(CFG.rounds))
    assert {key for record in records for key in record} == set(METRICS)
    assert all(math.isfinite(value) for record in records for value in record.values())
    assert all(record["first_ratio"] == pytest.approx(1.0, abs=1e-5) for record in records[1:])


def test_ppo_raises_the_reward_it_is_given(
    policy_dir: Path, reward_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The policy learns to say the one word that this reward pays for."""

    def pays_for_even_tokens(reward: object, rollout: Rollout, stops: object, eos_id: int) -> Tensor:
        even = (rollout.response_ids % 2 == 0) & rollout.response_mask
        return even.sum(1) / rollout.response_mask.sum(1)

    monkeypatch.setattr(rounds, "reward_scores", pays_for_even_tokens)
    cfg = replace(CFG, rounds=14, episodes_per_round=64, minibatch_size=16, learning_rate=4e-3, beta=0.0)
    records = run(tmp_path, policy_dir, reward_dir, cfg)
    assert records[-1]["score"] > records[0]["score"] + 0.2


# Several processes


class ThreadAccelerator:
    """Two threads in place of two processes: `gather` stacks what both give, rank by rank."""

    num_processes = 2
    barrier = threading.Barrier(2)
    given: dict[int, Tensor] = {}

    def __init__(self, rank: int) -> None:
        self.process_index = rank

    def gather(self, part: Tensor) -> Tensor:
        self.given[self.process_index] = part
        self.barrier.wait(60)
        both = torch.cat([self.given[0], self.given[1]])
        self.barrier.wait(60)
        return both


def test_processes_share_a_round_and_all_get_the_whole(actors: PPOModels, prompts: list[list[int]]) -> None:
    chosen, seeds = [prompts[i % 4] for i in range(8)], list(range(8))
    whole = collect_round(actors, chosen, seeds, CFG, SETUP)

    def one_process(rank: int) -> Experience:
        return collect_round(
            actors,
            chosen,
            seeds,
            CFG,
            SETUP,
            ThreadAccelerator(rank),  # type: ignore[arg-type]
        )

    with ThreadPoolExecutor(2) as pool:
        for experience in pool.map(one_process, range(2)):
            assert torch.equal(experience.rollout.response_ids, whole.rollout.response_ids)
            assert experience.rollout.prompts() == whole.rollout.prompts()
            for name in ("scores", "advantages", "returns", "ref_logprobs"):
                torch.testing.assert_close(getattr(experience, name), getattr(whole, name), atol=1e-4, rtol=1e-4)


def test_episodes_must_divide_among_the_processes() -> None:
    _check_processes(4, CFG)
    with pytest.raises(UserError, match="multiples of the number of processes 3"):
        _check_processes(3, CFG)


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [0, 1, 2])
def test_shares_of_pretraining_rows_average_to_the_mean_over_all(
    actors: PPOModels, ptx_rows: Tensor, world: int, size: int
) -> None:
    """3 rows of unequal length: with 2 processes one has more than the other, with 5 two have none."""
    rows = ptx_rows[:3].clone()
    rows[1, 4:] = actors.pad_id
    counts = ptx_tokens(rows, actors.pad_id)
    assert counts == [19, 3, 19]
    with torch.no_grad():
        whole = float(ptx_loss(actors.policy, rows, actors.pad_id))
        losses = [
            part.mean_weight * float(ptx_loss(actors.policy, rows[list(part.rows)], actors.pad_id))
            for rank in range(world)
            for part in micro_batches(counts, size, Share(rank, world))
        ]
    assert sum(losses) / world == pytest.approx(whole, abs=1e-5)


def test_the_number_of_pretraining_rows_follows_the_episodes() -> None:
    assert len(draw_ptx_rows(torch.zeros(5, 2), 4, CFG, torch.Generator())) == 1
    assert len(draw_ptx_rows(torch.zeros(5, 2), 16, CFG, torch.Generator())) == 2


def test_a_process_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert process_device("cuda") == torch.device("cuda", 1)
    assert process_device("cuda:0") == torch.device("cuda", 0)
    assert process_device("cpu") == torch.device("cpu")


def test_ppo_scores_as_the_reward_model_does_everywhere_else(
    actors: PPOModels, prompts: list[list[int]], policy_dir: Path
) -> None:
    tokenizer = load_tokenizer(policy_dir)
    experience = collect(actors, prompts, n=64)
    said = [Response(*decode_response(tokenizer, ids), tuple(ids)) for ids in experience.rollout.responses()]
    texts = [TEXTS[i % len(TEXTS)] for i in range(len(said))]
    assert len({response.finished for response in said}) == 2, "both kinds of endings must be tried"
    expected = RewardModel(actors.reward, tokenizer, DATA).score_responses(texts, said)
    assert experience.scores.tolist() == pytest.approx(expected, abs=1e-5)


# Resume and bad input


class Killed(Exception):
    """Stands for a kill at that moment: nothing more of the run happens."""


@pytest.mark.parametrize("kill_at", [1, 3])
def test_resume_equals_the_uninterrupted_run_bit_for_bit(
    kill_at: int, policy_dir: Path, reward_dir: Path, ptx_rows: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = replace(CFG, gamma_ptx=0.5)
    whole = run(tmp_path / "whole", policy_dir, reward_dir, cfg, ptx_rows=ptx_rows, checkpoint_every=1)
    numbers = iter(range(100))

    def killed(*args: object, **kwargs: object) -> Experience:
        if next(numbers) == kill_at:
            raise Killed
        return collect_round(*args, **kwargs)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(rounds, "collect_round", killed)
        with pytest.raises(Killed):
            run(tmp_path / "killed", policy_dir, reward_dir, cfg, ptx_rows=ptx_rows, checkpoint_every=1)
    again = run(tmp_path / "killed", policy_dir, reward_dir, cfg, ptx_rows=ptx_rows, checkpoint_every=1)
    assert again == whole
    a, b = weights_of(tmp_path / "whole"), weights_of(tmp_path / "killed")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not (tmp_path / "killed" / "checkpoint").exists()


def long_run(folder: Path, policy_dir: Path, reward_dir: Path) -> None:
    """The run that is killed."""
    run(folder, policy_dir, reward_dir, replace(CFG, rounds=25), checkpoint_every=1)


@pytest.mark.slow
def test_kill_minus_nine_at_a_random_moment_and_resume(
    policy_dir: Path, reward_dir: Path, tmp_path: Path, start_program: Callable[..., Program]
) -> None:
    cfg = replace(CFG, rounds=25)
    whole = run(tmp_path / "whole", policy_dir, reward_dir, cfg)
    folder = tmp_path / "killed"
    log = folder / "metrics.jsonl"
    program = start_program(long_run, folder, policy_dir, reward_dir)
    while program.code is None and not log.exists():
        time.sleep(0.01)
    time.sleep(random.uniform(0.0, 1.0))
    program.kill()
    assert (folder / "checkpoint").exists() or program.code == 0
    assert run(folder, policy_dir, reward_dir, cfg) == whole
    a, b = weights_of(tmp_path / "whole"), weights_of(folder)
    assert all(torch.equal(a[name], b[name]) for name in a)


def run_mixed(folder: Path, policy_dir: Path, reward_dir: Path, ptx_rows: Tensor) -> None:
    """PPO-ptx in one of several processes."""
    cfg = replace(CFG, gamma_ptx=0.5, ptx_rows_per_episode=0.5)
    train_ppo(folder, PPOInputs(policy_dir, reward_dir, TEXTS, ptx_rows), cfg, SETUP)


@pytest.mark.slow
def test_two_processes_train_the_same_policy_as_one(
    policy_dir: Path, reward_dir: Path, ptx_rows: Tensor, tmp_path: Path
) -> None:
    cfg = replace(CFG, gamma_ptx=0.5, ptx_rows_per_episode=0.5)
    one = run(tmp_path / "one", policy_dir, reward_dir, cfg, ptx_rows=ptx_rows)
    outcome = run_ranks(run_mixed, tmp_path / "two", policy_dir, reward_dir, ptx_rows)
    assert outcome.is_done, outcome
    two = [json.loads(line) for line in (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()]
    assert len(two) == len(one) == CFG.rounds
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys()
        assert a == pytest.approx(b, rel=1e-4, abs=1e-5)
    a, b = weights_of(tmp_path / "one"), weights_of(tmp_path / "two")
    for name in a:
        # Only rounding differs, at most about 1e-7; one step of Adam moves a weight by up to 2e-3.
        torch.testing.assert_close(a[name], b[name], atol=2e-6, rtol=1e-4, msg=name)


def test_bad_settings_are_refused_with_the_remedy(policy_dir: Path, reward_dir: Path, ptx_rows: Tensor, tmp_path: Path) -> None:
    def fails(message: str, cfg: PPOConfig = CFG, prompts: list[str] = TEXTS, ptx: Tensor | None = None) -> None:
        with pytest.raises(UserError, match=message):
            train_ppo(tmp_path, PPOInputs(policy_dir, reward_dir, prompts, ptx), cfg, SETUP)

    fails("there are no training prompts", prompts=[])
    fails("rounds is 1 but the first 1 train only the value model", replace(CFG, rounds=1))
    fails("gamma_ptx is above 0 but there is no pretraining text", replace(CFG, gamma_ptx=1.0))
    fails("ptx_length is 80 but the model's context is 64", replace(CFG, gamma_ptx=1.0), ptx=ptx_rows.repeat(1, 4))
    fails("prompt .* exceed the model's context of 64", prompts=["whale " * 60])
    with pytest.raises(UserError, match="is not a reward model"):
        train_ppo(tmp_path, PPOInputs(policy_dir, policy_dir, TEXTS), CFG, SETUP)


def test_a_reward_that_is_no_number_stops_the_run_with_a_sentence(
    policy_dir: Path, tokenizer: PreTrainedTokenizerBase, reward_dir: Path, tmp_path: Path
) -> None:
    model = load_reward(reward_dir)
    with torch.no_grad():
        model.score.weight.fill_(3e38)  # finite, but no sum of it is
    save_model(model, tokenizer, tmp_path / "reward")
    with pytest.raises(UserError, match="ppo: the loss is nan at step 0"):
        run(tmp_path / "out", policy_dir, tmp_path / "reward")
