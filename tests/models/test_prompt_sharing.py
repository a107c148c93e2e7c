"""One prompt for K completions: scores and gradients of the plain forward."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reward_cases import PAD, gradient, llama
from transformers import GPT2Config, GPT2ForSequenceClassification, PreTrainedModel

from utils.models.prompt_sharing import can_share, pack, shared_prompt_scores


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_shared_prompts_give_the_scores_of_the_plain_forward(data: st.DataObject) -> None:
    tokens = st.lists(st.integers(3, 49), min_size=1, max_size=9)
    prompts = data.draw(st.lists(st.lists(st.integers(3, 49), max_size=9), min_size=1, max_size=4))
    answers = [data.draw(st.lists(tokens, min_size=1, max_size=4)) for _ in prompts]
    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=50, n_embd=16, n_layer=3, n_head=2, n_positions=32, num_labels=1, pad_token_id=PAD, resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0, initializer_range=0.4, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    model = GPT2ForSequenceClassification(config)
    plain = torch.stack(
        [model(torch.tensor([[*p, *a]])).logits[0, 0] for p, group in zip(prompts, answers, strict=True) for a in group]
    )
    shared = shared_prompt_scores(model, pack(prompts, answers))
    torch.testing.assert_close(shared, plain, rtol=1e-4, atol=1e-5)
    weight = torch.linspace(-1, 1, len(plain))
    torch.testing.assert_close(
        gradient(model, (shared * weight).sum()), gradient(model, (plain * weight).sum()), rtol=1e-3, atol=1e-5
    )


def test_short_completions_of_one_prompt_share_a_row() -> None:
    packed = pack([[3, 4], [5]], [[[6] * 4, [7], [8] * 3], [[9] * 2]])
    assert packed.rows.mask.tolist() == [[True] * 4, [True] * 4, [True, True, False, False]]
    assert packed.ids.tolist() == [3, 4, 5, 6, 6, 6, 6, 8, 8, 8, 7, 9, 9]
    assert packed.positions.tolist() == [0, 1, 0, 2, 3, 4, 5, 2, 3, 4, 2, 1, 2]
    assert packed.ends[packed.order].tolist() == [6, 10, 9, 12]
    # The fourth place of the second row is the start of a completion of its own: it sees the prompt and itself.
    assert packed.visible[1, 0, 3].tolist() == [True, True, False, False, False, True]


def test_only_a_bare_gpt2_without_dropout_shares_prompts(reward_model: PreTrainedModel) -> None:
    assert can_share(reward_model) and not can_share(llama()) and not can_share(torch.nn.Linear(1, 1))
    reward_model.train()
    reward_model.transformer.h[0].mlp.dropout.p = 0.1
    assert not can_share(reward_model)
