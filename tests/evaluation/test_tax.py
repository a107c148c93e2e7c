from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2LMHeadModel

from utils.evaluation.tax import ChoiceItem, choice_accuracy, choice_logprobs, next_token_logprobs, pretraining_loss

PAD = 19


def tiny_model(pad: int | None = PAD) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=20, n_positions=32, n_embd=16, n_layer=2, n_head=2, pad_token_id=pad, initializer_range=0.5,
        bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    return GPT2LMHeadModel(config).train()


MODEL = tiny_model()


def plain_logprobs(ids: list[int]) -> list[float]:
    """Log-probability of each token after the first, one unpadded row, one position at a time."""
    MODEL.eval()
    with torch.no_grad():
        logits = MODEL(torch.tensor([ids])).logits[0].double()
    return [float(logits[i].log_softmax(-1)[ids[i + 1]]) for i in range(len(ids) - 1)]


def padded(rows: list[list[int]]) -> list[list[int]]:
    width = max(len(row) for row in rows)
    return [row + [PAD] * (width - len(row)) for row in rows]


@settings(deadline=None, max_examples=25)
@given(st.lists(st.lists(st.integers(0, 18), min_size=2, max_size=12), min_size=1, max_size=6), st.integers(1, 7))
def test_pretraining_loss_equals_the_plain_loop_for_any_padding_and_batch(rows: list[list[int]], batch_size: int) -> None:
    every = [value for row in rows for value in plain_logprobs(row)]
    assert pretraining_loss(MODEL, padded(rows), batch_size) == pytest.approx(-sum(every) / len(every), abs=1e-5)


def test_left_padding_gives_the_same_logprobs() -> None:
    row = [3, 5, 7, 9]
    ids = torch.tensor([[PAD, PAD, *row]])
    MODEL.eval()
    with torch.no_grad():
        got = next_token_logprobs(MODEL, ids, ids != PAD)[0, 2:]
    assert got.tolist() == pytest.approx(plain_logprobs(row), abs=1e-5)


def test_pretraining_loss_of_a_uniform_model_is_log_vocabulary_and_mode_is_kept() -> None:
    model = tiny_model()
    for parameter in model.parameters():
        parameter.data.zero_()
    assert pretraining_loss(model, torch.tensor([[1, 2, 3], [4, 5, PAD]])) == pytest.approx(math.log(20), abs=1e-6)
    assert model.training and all(p.grad is None for p in model.parameters())
    model.eval()
    pretraining_loss(model, torch.tensor([[1, 2]]))
    assert not model.training


def test_model_without_pad_token_reads_every_token() -> None:
    model = tiny_model(pad=None)
    row = [2, PAD, 4]
    assert pretraining_loss(model, [row]) == pytest.approx(-sum(plain_logprobs(row)) / 2, abs=1e-5)


items = st.lists(
    st.builds(
        lambda prefix, choices, seed: ChoiceItem(prefix, choices, seed % len(choices)),
        st.lists(st.integers(0, 18), min_size=1, max_size=6),
        st.lists(st.lists(st.integers(0, 18), min_size=1, max_size=4), min_size=2, max_size=4),
        st.integers(0, 11),
    ),
    min_size=1,
    max_size=4,
)


@settings(deadline=None, max_examples=25)
@given(items, st.integers(1, 9))
def test_choice_logprobs_equal_the_plain_loop(questions: list[ChoiceItem], batch_size: int) -> None:
    got = choice_logprobs(MODEL, questions, batch_size)
    for item, means in zip(questions, got, strict=True):
        for choice, mean in zip(item.choices, means, strict=True):
            tail = plain_logprobs([*item.prefix, *choice])[len(item.prefix) - 1 :]
            assert mean == pytest.approx(sum(tail) / len(choice), abs=1e-5)


def test_choice_accuracy_takes_the_average_not_the_sum() -> None:
    """Three likely tokens against one less likely token: the sum prefers the short choice, the mean the long one."""
    model = tiny_model()
    for parameter in model.parameters():
        parameter.data.zero_()
    model.transformer.ln_f.bias.data[0] = 1.0
    weights = model.lm_head.weight.data
    weights[:, 0] = -8.0
    weights[5, 0], weights[6, 0] = 1.0, 0.5  # token 6 is worse than 5, three of 5 are a smaller product
    long, short = [5, 5, 5], [6]
    item = ChoiceItem([2], [short, long], 1)
    (scores,) = choice_logprobs(model, [item])
    assert scores[0] > 3 * scores[1] and scores[1] > scores[0]
    assert choice_accuracy(model, [item]) == 1.0
    assert choice_accuracy(model, [item, item._replace(right=0)]) == 0.5


def test_equal_choices_share_the_credit() -> None:
    assert choice_accuracy(MODEL, [ChoiceItem([2], [[3], [3]], 0)]) == 0.5


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: pretraining_loss(MODEL, torch.zeros(0, 4)), "add documents"),
        (lambda: pretraining_loss(MODEL, [[5]]), "T >= 2"),
        (lambda: pretraining_loss(MODEL, [[PAD, PAD]]), "nothing to predict"),
        (lambda: choice_accuracy(MODEL, []), "no multiple-choice item"),
        (lambda: choice_accuracy(MODEL, [ChoiceItem([], [[1], [2]], 0)]), "item 0, field prefix"),
        (lambda: choice_accuracy(MODEL, [ChoiceItem([1], [[1], []], 0)]), "item 0, field choices"),
        (lambda: choice_accuracy(MODEL, [ChoiceItem([1], [[1], [2]], 2)]), "item 0, field right is 2"),
    ],
)
def test_bad_input_is_one_clear_sentence(call: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()  # type: ignore[operator]
