"""Pretraining text as rows of token ids.

The documents follow one another, with a document separator before each, and the stream is cut into rows, as for GPT-2.
If a world needs whole documents, each document is in one row, and rows are padded at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from utils.core.errors import UserError
from utils.data.encoding import encode_texts
from utils.worlds.protocol import World

WEB_SEED = 2022  # of the documents that bases and policies are trained on
HELD_OUT_WEB_SEED = 2023  # of documents that no model is trained on
OPEN_ROWS = 16  # rows that a whole document is tried in


def token_rows(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], length: int) -> Tensor:
    """Rows (N, length) of token ids; an incomplete last row is dropped.

    Special tokens written in a text are encoded as ordinary characters, as in all other text. Raises
    UserError if the texts do not fill one row.
    """
    return _cut(tokenizer, encode_texts(tokenizer, texts), length)


def world_rows(world: World, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], length: int) -> Tensor:
    """`token_rows` of a world's documents: the mark for the end of an answer becomes the end token."""
    documents = _with_ends(tokenizer, texts, world.end)
    return _pack(tokenizer, documents, length) if world.whole_documents else _cut(tokenizer, documents, length)


def _with_ends(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], end: str) -> list[list[int]]:
    """Ids of each text, its pieces between the marks are encoded separately and joined by the end token."""
    pieces = [text.split(end) for text in texts]
    encoded = iter(encode_texts(tokenizer, [piece for row in pieces for piece in row]))
    documents = []
    for row in pieces:
        ids = list(next(encoded))
        for _ in row[1:]:
            ids += [tokenizer.eos_token_id, *next(encoded)]
        documents.append(ids)
    return documents


def _cut(tokenizer: PreTrainedTokenizerBase, documents: Iterable[list[int]], length: int) -> Tensor:
    """Rows (N, length) of the stream of documents; a document may continue in the next row."""
    stream: list[int] = []
    for ids in documents:
        stream += [tokenizer.bos_token_id, *ids]
    count = len(stream) // length
    if count == 0:
        raise UserError(f"The pretraining text has {len(stream)} tokens but a row needs {length}; give more documents.")
    return torch.tensor(stream[: count * length]).view(count, length)


def _pack(tokenizer: PreTrainedTokenizerBase, documents: Iterable[list[int]], length: int) -> Tensor:
    """Rows (N, length) of whole documents, padded on the right; a document longer than a row is cut to it.

    A document goes into the first of `OPEN_ROWS` rows that has room for it. If none has, the oldest of them is closed.
    """
    rows: list[list[int]] = []
    first = 0  # rows before it are closed
    for ids in documents:
        document = [tokenizer.bos_token_id, *ids][:length]
        place = next((row for row in rows[first:] if len(row) + len(document) <= length), None)
        if place is None:
            rows.append(place := [])
            first = max(first, len(rows) - OPEN_ROWS)
        place += document
    if not rows:
        raise UserError("The pretraining text has no documents; give at least one.")
    return torch.tensor([row + [tokenizer.pad_token_id] * (length - len(row)) for row in rows])
