"""Heads compute in float32 in every pass: log-probs, values and rewards near an offset of -100 under bf16 and fp16."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from settings import DATA, comparisons
from transformers import PreTrainedModel

from utils.core import runtime
from utils.losses import kl_k1
from utils.models.heads import float32_head
from utils.models.loading import load_policy, reward_from_policy
from utils.models.tokenizers import load_tokenizer
from utils.reward.scoring import RewardModel, plain_scores, score_groups
from utils.sampling.rollout import (
    Decoding,
    Rollout,
    episode_uniforms,
    response_logprobs,
    sample,
    selected_logits,
    sequence_logprobs,
)

OFFSET = -100.0
MOST = {"bf16": 0.06, "fp16": 0.015}  # |ratio - 1| of a token: what the blocks alone lose between cached and whole passes
LOW = pytest.mark.parametrize("name", ["bf16", "fp16"])


@torch.no_grad()
def with_offset(model: PreTrainedModel) -> PreTrainedModel:
    """The model with every output of its head near OFFSET: its first hidden unit is about OFFSET, its weight there 1."""
    trunk = model.base_model
    head = model.get_output_embeddings() or model.score
    model.get_input_embeddings().weight[:, 0] = 1.0
    head.weight[:, 0] = 1.0
    norm = trunk.ln_f if hasattr(trunk, "ln_f") else trunk.norm
    if getattr(norm, "bias", None) is not None:
        norm.weight[0], norm.bias[0] = 0.0, OFFSET
    else:  # RMSNorm scales the first unit of the residual stream, which is well above the others
        model.get_input_embeddings().weight[:, 0] = 5.0
        norm.weight[0] = OFFSET / 5
    return model


def draw(model: PreTrainedModel) -> tuple[Rollout, tuple[torch.Tensor, ...]]:
    prompts = [[5, 6, 7], [8, 9], [10, 11, 12, 13], [14]] * 8
    uniforms = episode_uniforms(range(len(prompts)), 16)
    rollout = sample(model, prompts, uniforms, Decoding(16, stop_ids=[1], pad_id=2))
    return rollout, (rollout.prompt_ids, rollout.prompt_mask, rollout.response_ids, rollout.response_mask)


@LOW
@torch.no_grad()
def test_before_any_update_kl_is_0_and_ratios_are_1(small_base: Path, name: str) -> None:
    policy, reference = with_offset(load_policy(small_base)), with_offset(load_policy(small_base))
    with runtime.precision(name):
        rollout, parts = draw(policy)
        again, ref = response_logprobs(policy, *parts), response_logprobs(reference, *parts)
        logits = selected_logits(policy, rollout.response_ids, rollout.response_mask, rollout.response_mask)
    assert logits.dtype == torch.float32 and logits.mean() < -40
    mask = rollout.response_mask
    ratios = (again - rollout.logprobs).exp()[mask]  # under a low head up to 1.9, or 1.1 in fp16
    assert (ratios - 1).abs().max() < MOST[name] and (ratios - 1).abs().mean() < MOST[name] / 5
    assert torch.equal(again, ref), "the same pass of the same weights is the same"
    assert kl_k1(rollout.logprobs, ref, mask).mean().abs() < MOST[name] / 2


@LOW
@torch.no_grad()
def test_logprobs_near_an_offset_are_those_without_it(policy: PreTrainedModel, name: str) -> None:
    """An offset that all tokens share leaves log-probs alone, also in the written-out forward pass."""
    plain, moved = copy.deepcopy(policy), with_offset(copy.deepcopy(policy))
    plain.transformer.wte.weight[:, 0] = 1.0
    plain.transformer.ln_f.weight[0] = plain.transformer.ln_f.bias[0] = 0.0
    ids = torch.randint(5, 300, (4, 20), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids, dtype=torch.bool)
    with runtime.precision(name):
        torch.testing.assert_close(
            sequence_logprobs(moved, ids, mask, mask), sequence_logprobs(plain, ids, mask, mask), atol=1e-4, rtol=1e-4
        )


@LOW
@torch.no_grad()
def test_one_set_of_rewards(small_base: Path, name: str) -> None:
    model = with_offset(reward_from_policy(small_base))
    judge = RewardModel(model, load_tokenizer(small_base), DATA)
    groups = judge.encode(comparisons()).groups
    sequences = [[*group.prompt, *response] for group in groups for response in group.responses]
    with runtime.precision(name):
        shared = score_groups(model, groups, judge.tokenizer.pad_token_id, torch.device("cpu"))
        plain = plain_scores(model, groups, judge.tokenizer.pad_token_id, torch.device("cpu"))
        at_end = torch.tensor(judge.score_ids(sequences))
    assert shared.dtype == plain.dtype == torch.float32 and shared.mean() < -20
    torch.testing.assert_close(plain, shared, atol=1e-3, rtol=0)  # under a low head .08 apart
    torch.testing.assert_close(at_end, shared, atol=1e-3, rtol=0)


@LOW
def test_gradients_reach_a_float32_head(small_base: Path, name: str) -> None:
    model = load_policy(small_base)
    head = model.get_output_embeddings()
    ids, mask = torch.tensor([[5, 6, 7, 8]]), torch.ones(1, 4, dtype=torch.bool)
    with runtime.precision(name), float32_head(head):
        sequence_logprobs(model, ids, mask, mask).sum().backward()
    assert head.weight.grad is not None and head.weight.grad.dtype == torch.float32 and head.weight.grad.any()
    assert "forward" not in vars(head), "the head is as it was"
