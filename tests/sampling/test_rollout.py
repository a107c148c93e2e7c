"""Sampling and scoring: padding, caches, log-probs, uniforms, where values and rewards are read."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from utils.core.errors import UserError
from utils.data.encoding import pad_left, pad_right
from utils.losses import lm_loss, masked_mean
from utils.models import gpt2
from utils.sampling import rollout
from utils.sampling.rollout import Decoding, Rollout, episode_uniforms, response_logprobs, response_values, sample

PROMPTS = [[10, 11, 12], [20], [30, 31, 32, 33, 34, 35, 36], [40, 41, 42, 43], [50, 51]]
PAD, STOPS = 2, (1, 0)
N_NEW = 12


def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=320, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.3, pad_token_id=2, bos_token_id=0,
        eos_token_id=1,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


@pytest.fixture(params=["gpt2", "gpt2_general_path", "llama"])
def model(request: pytest.FixtureRequest, policy: GPT2LMHeadModel, monkeypatch: pytest.MonkeyPatch) -> PreTrainedModel:
    """Every path through the module: GPT-2 written out, GPT-2 by its own forward, another architecture."""
    if request.param == "llama":
        return llama()
    if request.param == "gpt2_general_path":
        monkeypatch.setattr(gpt2, "supported", lambda model: False)
    else:
        assert gpt2.supported(policy)
    return policy


def draw(model: PreTrainedModel, prompts: list[list[int]] = PROMPTS, **kwargs: object) -> Rollout:
    settings_ = dict(max_new_tokens=N_NEW, temperature=1.0, stop_ids=STOPS, pad_id=PAD, batch_size=16) | kwargs
    uniforms = settings_.pop("uniforms", episode_uniforms(list(range(len(prompts))), N_NEW))
    return sample(model, prompts, uniforms, Decoding(**settings_))  # type: ignore[arg-type]


def parts(r: Rollout) -> tuple[torch.Tensor, ...]:
    return r.prompt_ids, r.prompt_mask, r.response_ids, r.response_mask


def plain_logprobs(model: PreTrainedModel, prompt: list[int], response: list[int]) -> torch.Tensor:
    """Log-probs of one unpadded sequence by the model's own forward pass."""
    with torch.no_grad():
        logits = model(torch.tensor([prompt + response]), use_cache=False).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1)[torch.arange(len(response)), torch.tensor(response)]


def test_padded_equals_unpadded_logprobs_on_either_side(model: PreTrainedModel) -> None:
    responses = [[60, 61], [70, 71, 72, 1], [80], [90, 91, 92], [100, 101, 102, 103, 104]]
    response_ids, response_mask = pad_right(responses, PAD)
    for pad in (pad_left, pad_right):
        prompt_ids, prompt_mask = pad(PROMPTS, PAD)
        with torch.no_grad():
            got = response_logprobs(model, prompt_ids, prompt_mask, response_ids, response_mask)
        for row, (prompt, response) in enumerate(zip(PROMPTS, responses, strict=True)):
            expected = plain_logprobs(model, prompt, response)
            torch.testing.assert_close(got[row, : len(response)], expected, atol=2e-5, rtol=1e-5)
            assert (got[row, len(response) :] == 0).all()


def test_sampled_equals_recomputed_logprobs(model: PreTrainedModel) -> None:
    for temperature in (1.0, 0.7):
        r = draw(model, temperature=temperature)
        with torch.no_grad():
            again = response_logprobs(model, *parts(r), temperature=temperature)
        torch.testing.assert_close(r.logprobs, again, atol=3e-5, rtol=1e-5)
        assert r.logprobs[r.response_mask].abs().min() > 0


def test_sampling_follows_the_uniforms_token_by_token(model: PreTrainedModel) -> None:
    """Every token is the one at which the running sum of the plain forward's probabilities passes its uniform."""
    uniforms = episode_uniforms(list(range(len(PROMPTS))), N_NEW)
    r = draw(model)
    for row, (prompt, response) in enumerate(zip(r.prompts(), r.responses(), strict=True)):
        assert prompt == PROMPTS[row]
        with torch.no_grad():
            logits = model(torch.tensor([prompt + response]), use_cache=False).logits[0, len(prompt) - 1 : -1]
        cdf = logits.double().softmax(-1).cumsum(-1)
        for t, token in enumerate(response):
            low = cdf[t, token - 1].item() if token else 0.0
            assert low - 1e-5 <= uniforms[row, t].item() <= cdf[t, token].item() + 1e-5


def test_greedy_takes_the_likeliest_token(model: PreTrainedModel) -> None:
    r = draw(model, uniforms=None)
    for prompt, response in zip(r.prompts(), r.responses(), strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + response]), use_cache=False).logits[0, len(prompt) - 1 : -1]
        assert logits.argmax(-1).tolist() == response


def test_a_row_does_not_depend_on_its_batch(model: PreTrainedModel) -> None:
    together = draw(model)
    for batch_size in (1, 2):
        apart = draw(model, batch_size=batch_size)
        assert torch.equal(together.response_ids, apart.response_ids)
        torch.testing.assert_close(together.logprobs, apart.logprobs, atol=2e-5, rtol=1e-5)
    uniforms = episode_uniforms(list(range(len(PROMPTS))), N_NEW)
    alone = draw(model, PROMPTS[2:3], uniforms=uniforms[2:3])
    assert alone.responses() == together.responses()[2:3]


def test_responses_stop_at_the_first_stop_token(model: PreTrainedModel) -> None:
    prompts = [PROMPTS[i % 5] for i in range(40)]
    many_stops = tuple(range(0, 320, 4))
    r = draw(model, prompts, stop_ids=many_stops, uniforms=episode_uniforms(list(range(40)), N_NEW))
    assert 0.5 < r.finished.float().mean() < 1.0 or r.finished.all()
    for response, finished in zip(r.responses(), r.finished.tolist(), strict=True):
        assert not any(token in many_stops for token in response[:-1])
        assert (response[-1] in many_stops) == finished
        assert finished or len(response) == N_NEW
    assert (r.response_ids[~r.response_mask] == PAD).all()
    assert (r.logprobs[~r.response_mask] == 0).all()
    with torch.no_grad():
        torch.testing.assert_close(r.logprobs, response_logprobs(model, *parts(r)), atol=3e-5, rtol=1e-5)


def test_sampling_runs_in_eval_mode_without_gradients(policy: GPT2LMHeadModel) -> None:
    policy.train()
    for block in policy.transformer.h:
        block.mlp.dropout.p = 0.5
    first, second = draw(policy), draw(policy)
    assert torch.equal(first.response_ids, second.response_ids)
    assert not first.logprobs.requires_grad
    assert policy.training


def test_prompts_over_the_context_are_refused(policy: GPT2LMHeadModel) -> None:
    message = "prompt 1: 60 tokens and 12 for the response exceed the model's context of 64"
    with pytest.raises(UserError, match=message):
        draw(policy, [[5], [5] * 60])
    with pytest.raises(UserError, match="prompt 0: is empty"):
        draw(policy, [[], [5]])


def test_values_are_read_where_the_token_is_chosen(reward_model: PreTrainedModel) -> None:
    responses = [[60, 61], [70, 71, 72, 1], [80], [90, 91, 92], [100, 101, 102, 103, 104]]
    prompt_ids, prompt_mask = pad_left(PROMPTS, PAD)
    response_ids, response_mask = pad_right(responses, PAD)
    with torch.no_grad():
        got = response_values(reward_model, prompt_ids, prompt_mask, response_ids, response_mask)
        for row, (prompt, response) in enumerate(zip(PROMPTS, responses, strict=True)):
            hidden = reward_model.transformer(torch.tensor([prompt + response])).last_hidden_state[0]
            expected = reward_model.score(hidden).squeeze(-1)[len(prompt) - 1 : -1] - 0.25
            torch.testing.assert_close(got[row, : len(response)], expected, atol=2e-5, rtol=1e-5)


def test_gradients_equal_those_of_the_plain_forward(policy: GPT2LMHeadModel) -> None:
    ids, mask = pad_right([[5, 6, 7, 8, 9], [10, 11, 12], [13, 14, 15, 16]], PAD)
    targets = mask.clone()
    targets[1, 1] = False
    lm_loss(policy(ids, attention_mask=mask.long()).logits, ids, targets).backward()
    expected = {name: p.grad.clone() for name, p in policy.named_parameters()}
    policy.zero_grad()
    targets_in = targets.clone()
    targets_in[:, 0] = False
    (-masked_mean(rollout.sequence_logprobs(policy, ids, mask, targets), targets_in)).backward()
    for name, p in policy.named_parameters():
        torch.testing.assert_close(p.grad, expected[name], atol=2e-5, rtol=1e-4, msg=name)


def test_residual_dropout_acts_in_the_written_out_forward(policy: GPT2LMHeadModel) -> None:
    ids, mask = pad_right([[5, 6, 7, 8, 9]], PAD)
    for block in policy.transformer.h:
        block.mlp.dropout.p = 0.5
    with torch.no_grad():
        quiet = [rollout.sequence_logprobs(policy.eval(), ids, mask, mask) for _ in range(2)]
        noisy = [rollout.sequence_logprobs(policy.train(), ids, mask, mask) for _ in range(2)]
    assert torch.equal(*quiet)
    assert not torch.equal(*noisy)


def test_other_gpt2_variants_take_the_general_path(policy: GPT2LMHeadModel) -> None:
    policy.config.scale_attn_by_inverse_layer_idx = True
    assert not gpt2.supported(policy)
    assert not gpt2.supported(llama())


@settings(deadline=None, max_examples=100)
@given(
    weights=st.lists(st.floats(-20, 20), min_size=2, max_size=12),
    u=st.floats(0, 1, exclude_max=True, width=32),
    temperature=st.floats(0.25, 3),
)
def test_choose_is_the_inverse_cdf(weights: list[float], u: float, temperature: float) -> None:
    logits = torch.tensor([weights])
    token, logprob = rollout.sample_tokens(logits, torch.tensor([u]), temperature)
    probabilities = (logits.double() / temperature).softmax(-1)[0]
    cdf = probabilities.cumsum(0)
    index = int(token)
    low = cdf[index - 1].item() if index else 0.0
    assert low - 1e-5 <= u <= cdf[index].item() + 1e-5
    assert abs(logprob.item() - probabilities[index].log().item()) < 1e-3


def test_the_largest_uniform_never_reaches_an_impossible_token() -> None:
    logits = torch.tensor([[0.0, 1.0, -1e4]])
    token, _ = rollout.sample_tokens(logits, torch.tensor([1.0 - 2**-24]), 1.0)
    assert int(token) == 1


def test_top_k_draws_among_the_likeliest_alone_and_says_so_in_its_logprobs(model: PreTrainedModel) -> None:
    cut, again = draw(model, top_k=3), draw(model, top_k=1)
    assert again.responses() == draw(model, uniforms=None).responses()
    with torch.no_grad():
        scored = response_logprobs(model, *parts(cut))
    assert (cut.logprobs[cut.response_mask] > scored[cut.response_mask]).all(), "cutting the tail makes the rest likelier"
    for prompt, response in zip(cut.prompts(), cut.responses(), strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + response]), use_cache=False).logits[0, len(prompt) - 1 : -1]
        assert all(token in row.topk(3).indices for token, row in zip(response, logits, strict=True))
    everything = draw(model, top_k=10**6)
    assert torch.equal(everything.response_ids, draw(model).response_ids)


def test_uniforms_of_an_episode_depend_on_its_seed_alone() -> None:
    both = episode_uniforms([7, 8], 5)
    assert torch.equal(both[1:], episode_uniforms([8], 5))
    assert not torch.equal(both[0], both[1])
    assert (both >= 0).all() and (both < 1).all()


def test_the_last_token_of_a_row_is_not_read(policy: GPT2LMHeadModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """It predicts nothing. Where it is the only token, nothing is read."""
    read: list[int] = []
    states = gpt2.hidden_states

    def counting(trunk: object, ids: torch.Tensor, mask: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        read.append(int(mask.sum()))
        return states(trunk, ids, mask, keep)  # type: ignore[arg-type]

    monkeypatch.setattr(gpt2, "hidden_states", counting)
    r = draw(policy)
    with torch.no_grad():
        response_logprobs(policy, *parts(r))
        for rows in ([[5, 6, 7], [8]], [[9]]):
            ids, mask = pad_right(rows, PAD)
            got = rollout.sequence_logprobs(policy, ids, mask, mask)
            assert (got != 0).sum(1).tolist() == [len(row) - 1 for row in rows]
    assert read == [int(r.prompt_mask.sum() + r.response_mask.sum()) - len(r), 2, 0]
