"""Pretraining text as rows of token ids."""

from __future__ import annotations

import pytest
import torch
from tiny_run import make_base
from transformers import PreTrainedTokenizerBase

from utils.core.errors import UserError
from utils.models.tokenizers import BOS, EOS, PAD, load_tokenizer
from utils.pretraining.rows import token_rows, world_rows
from utils.worlds import known_world

WORLD = known_world("tiny")


class WholeDocuments(type(WORLD)):  # type: ignore[misc]
    """The tiny world, if its documents must stay whole."""

    whole_documents = True


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    return load_tokenizer(make_base(tmp_path_factory.mktemp("rows") / "base"))


@pytest.mark.parametrize("written", [BOS, EOS, PAD])
def test_special_tokens_in_a_user_s_text_are_ordinary_characters(tokenizer: PreTrainedTokenizerBase, written: str) -> None:
    """As tokens they would end a document or an answer, and padding inside a row would be skipped by the loss."""
    texts = [f"A fox {written} saw the owl in the wood and went home. " * 4] * 3
    rows = token_rows(tokenizer, texts, 16)
    special = {tokenizer.eos_token_id, tokenizer.pad_token_id}
    assert not special & set(rows.flatten().tolist())
    assert int((rows == tokenizer.bos_token_id).sum()) <= len(texts), "separators stand between documents only"
    assert written in tokenizer.decode(rows.flatten(), skip_special_tokens=True)


def test_a_world_s_answers_end_in_the_end_token(tokenizer: PreTrainedTokenizerBase) -> None:
    texts = WORLD.documents(200, 1)
    rows = world_rows(WORLD, tokenizer, texts, 64)
    marks = sum(text.count(WORLD.end) for text in texts)
    assert marks > 50 and marks - 3 <= int((rows == tokenizer.eos_token_id).sum()) <= marks
    assert int((rows == tokenizer.bos_token_id).sum()) in (len(texts), len(texts) - 1)
    assert WORLD.end not in tokenizer.decode(rows.flatten(), skip_special_tokens=True)


def test_rows_are_those_that_the_shipped_bases_were_trained_on(tokenizer: PreTrainedTokenizerBase) -> None:
    """The same ids as when the whole text is given to a tokenizer that knows the mark as its end token."""
    texts = list(WORLD.documents(100, 2))
    stream: list[int] = []
    for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]:
        stream += [tokenizer.bos_token_id, *ids]
    rows = world_rows(WORLD, tokenizer, texts, 32)
    assert rows.flatten().tolist() == stream[: rows.numel()] and len(stream) - rows.numel() < 32


def test_whole_documents_are_not_cut_where_a_row_ends(tokenizer: PreTrainedTokenizerBase) -> None:
    texts = WORLD.documents(120, 3)
    rows = world_rows(WholeDocuments(), tokenizer, texts, 128)
    assert (rows[:, 0] == tokenizer.bos_token_id).all()
    assert int((rows == tokenizer.bos_token_id).sum()) == len(texts)
    padding = rows == tokenizer.pad_token_id
    assert padding.any() and torch.equal(padding, padding.cummax(1).values), "padding only after the last document"


def test_too_little_text_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(UserError, match="The pretraining text has 0 tokens but a row needs 32; give more documents."):
        token_rows(tokenizer, [], 32)
