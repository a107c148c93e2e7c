"""Short rows share a row of attention: the places, and the same results as a plain forward pass."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from utils.models import packing
from utils.models.gpt2 import hidden_states
from utils.models.packing import attention_places, shared_rows

LENGTHS = st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(any)


def mask_of(lengths: list[int]) -> Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=20), st.integers(9, 12))
def test_every_sequence_has_a_place_in_a_row_that_has_room_for_it(lengths: list[int], room: int) -> None:
    rows = shared_rows(lengths, room)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    used = [sum(lengths[i] for i in row) for row in rows]
    assert max(used) <= room
    # First fit: no two rows could be one.
    assert all(a + b > room for n, a in enumerate(used) for b in used[:n])


@settings(deadline=None)
@given(LENGTHS)
def test_every_token_sees_its_own_sequence_up_to_itself(lengths: list[int]) -> None:
    shape, slots, visible = attention_places(mask_of(lengths))
    slots = torch.arange(sum(lengths)) if slots is None else slots
    assert len(set(slots.tolist())) == sum(lengths)
    causal = torch.ones(shape[1], shape[1], dtype=torch.bool).tril()
    seen = causal.expand(shape[0], -1, -1) if visible is None else visible[:, 0]
    first = 0
    for length in lengths:
        own = slots[first : first + length].tolist()
        for n, place in enumerate(own):
            row, column = divmod(place, shape[1])
            assert (row * shape[1] + seen[row, column].nonzero().flatten()).tolist() == own[: n + 1]
        first += length


def test_short_rows_share_a_row_only_where_that_saves_enough() -> None:
    shape, slots, _ = attention_places(mask_of([60, 20, 10, 30]))
    assert shape == (2, 60) and slots is not None
    assert slots.tolist() == [*range(60), *range(90, 110), *range(110, 120), *range(60, 90)]
    assert attention_places(mask_of([60, 50, 40])).shape == (3, 60)
    assert attention_places(mask_of([60, 60])).slots is None


@settings(deadline=None, max_examples=25)
@given(LENGTHS, st.data())
def test_shared_rows_give_the_states_and_gradients_of_the_plain_forward(lengths: list[int], data: st.DataObject) -> None:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=50, n_positions=40, n_embd=16, n_layer=3, n_head=2, initializer_range=0.3)
    model = GPT2LMHeadModel(config).eval().transformer
    mask = mask_of(lengths)
    ids = torch.randint(50, mask.shape)
    keep = mask & torch.tensor(data.draw(st.lists(st.booleans(), min_size=mask.numel(), max_size=mask.numel()))).view_as(mask)
    got = hidden_states(model, ids, mask, keep)
    weights = torch.randn_like(got)
    (got * weights).sum().backward()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    # Plain: every sequence alone, without padding.
    alone = [model(row[None, :n]).last_hidden_state[0, kept[:n]] for row, n, kept in zip(ids, lengths, keep, strict=True) if n]
    expected = torch.cat(alone)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    (expected * weights).sum().backward()
    for name, weight in model.named_parameters():
        torch.testing.assert_close(gradients[name], weight.grad, atol=1e-3, rtol=1e-3, msg=name)


def test_a_sequence_does_not_see_its_neighbours(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """The same states whether rows are shared or not, for a batch in which they are."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=64, n_embd=16, n_layer=2, n_head=2)).eval().transformer
    mask = mask_of([60, 5, 9, 12, 30, 7, 20])
    ids = torch.randint(50, mask.shape)
    assert attention_places(mask).shape[0] < len(mask)
    with torch.no_grad():
        shared = hidden_states(model, ids, mask, mask)
        monkeypatch.setattr(packing, "WORTH", 0.0)
        assert attention_places(mask).shape == mask.shape
        torch.testing.assert_close(shared, hidden_states(model, ids, mask, mask), atol=1e-5, rtol=1e-5)
