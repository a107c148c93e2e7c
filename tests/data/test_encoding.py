"""Prompt and completion ids, padding, and what a sampled response says."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from utils.config import DataConfig
from utils.data.encoding import (
    decode_response,
    decode_responses,
    encode_completion,
    encode_prompt,
    pad_left,
    pad_right,
    reward_input,
    stop_ids,
)

CFG = DataConfig()


def test_prompt_and_completion_are_encoded_apart(tokenizer: PreTrainedTokenizerBase) -> None:
    prompt = encode_prompt(tokenizer, "Name an animal.", CFG)
    completion = encode_completion(tokenizer, "A whale.", True, CFG)
    assert tokenizer.decode(prompt) == "Name an animal.\n"
    assert tokenizer.decode(completion) == " A whale.<|end|>"
    assert encode_completion(tokenizer, "A whale.", False, CFG) == completion[:-1]


def test_special_tokens_in_a_users_text_stay_text(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = encode_prompt(tokenizer, "say <|end|> <|endoftext|><|pad|>", CFG)
    assert not set(ids) & set(tokenizer.all_special_ids)
    assert tokenizer.decode(ids) == "say <|end|> <|endoftext|><|pad|>\n"


def test_a_long_completion_is_cut_and_loses_its_end_token(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = encode_completion(tokenizer, "whale " * 100, True, CFG)
    assert len(ids) == CFG.max_response_tokens
    assert tokenizer.eos_token_id not in ids


def test_both_stop_tokens_end_a_response(tokenizer: PreTrainedTokenizerBase) -> None:
    body = encode_completion(tokenizer, "A whale.", False, CFG)
    for stop in stop_ids(tokenizer):
        assert decode_response(tokenizer, [*body, stop]) == ("A whale.", True)
    assert decode_response(tokenizer, body) == ("A whale.", False)
    assert decode_response(tokenizer, []) == ("", False)


def test_many_responses_are_decoded_as_each_alone(tokenizer: PreTrainedTokenizerBase) -> None:
    body = encode_completion(tokenizer, "A whale.", False, CFG)
    rows = [[*body, stop_ids(tokenizer)[0], *body], [], body]
    assert decode_responses(tokenizer, rows) == [decode_response(tokenizer, row) for row in rows]
    assert decode_responses(tokenizer, []) == []


def test_reward_input_writes_eos_for_any_stop_token(tokenizer: PreTrainedTokenizerBase) -> None:
    stops, eos, bos = stop_ids(tokenizer), tokenizer.eos_token_id, tokenizer.bos_token_id
    assert reward_input([9, 8], [7, bos], stops, eos) == [9, 8, 7, eos]
    assert reward_input([9, 8], [7, eos], stops, eos) == [9, 8, 7, eos]
    assert reward_input([9, 8], [7, 6], stops, eos) == [9, 8, 7, 6]
    assert reward_input([9, 8], [bos, 6], stops, eos) == [9, 8, bos, 6]


@settings(deadline=None, max_examples=50)
@given(text=st.text(min_size=1, max_size=20).map(str.strip).filter(bool), finished=st.booleans())
def test_completions_survive_a_round_trip(tokenizer: PreTrainedTokenizerBase, text: str, finished: bool) -> None:
    cfg = DataConfig(max_response_tokens=500)
    assert decode_response(tokenizer, encode_completion(tokenizer, text, finished, cfg)) == (text, finished)


@settings(deadline=None, max_examples=50)
@given(rows=st.lists(st.lists(st.integers(3, 9), max_size=6), min_size=1, max_size=5))
def test_padding_keeps_rows_and_marks_them(rows: list[list[int]]) -> None:
    for pad, left in ((pad_right, False), (pad_left, True)):
        ids, mask = pad(rows, 0)
        assert ids.shape == mask.shape == (len(rows), max(map(len, rows)))
        assert [ids[i][mask[i]].tolist() for i in range(len(rows))] == rows
        assert (ids[~mask] == 0).all()
        edge = mask.flip(1) if left else mask
        assert torch.equal(edge, edge.long().cummin(1).values.bool())
