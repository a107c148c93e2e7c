"""Rows of random words in which only looking back is right: copies, look-ups, words said twice.

Attention heads that find an earlier word and read beside it (induction heads: Olsson et al. 2022, "In-context Learning and
Induction Heads") form late on natural text, and in the smallest models not at all. On short rows of random words, all of
which begin at the same place, they form within minutes. GPT-2 learns its position embeddings, so looking back has to be
learned at each position: in rows that begin anywhere it takes much longer. The world's exercises come next, and teach it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

WORDS = (3, 7)  # of a copy, and of a row in which one word is said twice: fewest, most
PAIRS = 3  # most pairs of a look-up; at least two
FORWARD = 0.4  # share of the look-ups that ask for the word behind the cue
BLANK = "\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}"  # how byte-level BPE writes the blank before a word


class Row(NamedTuple):
    """Token ids, and for each whether it counts in the loss."""

    ids: list[int]
    counted: list[bool]


class Marks(NamedTuple):
    """Ids of the tokens that ask for the word before a cue, for the word behind it, and for the word said twice."""

    before: int
    behind: int
    twice: int

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> Marks:
        """The three special tokens of a tokenizer, which random words never are."""
        return cls(tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id)


def whole_words(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids of tokens that are a word of letters with its blank, at least two letters."""
    vocabulary = tokenizer.get_vocab()
    return sorted(i for token, i in vocabulary.items() if token[:1] == BLANK and token[1:].isalpha() and len(token) > 2)


def copies(words: Sequence[int], marks: Marks, rng: random.Random) -> Row:
    """w1 ... wn w1 ... wn: the second saying counts from its second word on; where it begins nothing tells."""
    said = rng.sample(words, rng.randint(*WORDS))
    return Row([*said, *said], [False] * (len(said) + 1) + [True] * (len(said) - 1))


def look_ups(words: Sequence[int], marks: Marks, rng: random.Random) -> Row:
    """a1 b1 a2 b2 ... ? a2 -> b2, or ! b2 -> a2: what stands behind a word, or before it."""
    ids = rng.sample(words, 2 * rng.randint(2, PAIRS))
    first = 2 * rng.randrange(len(ids) // 2)
    behind = rng.random() < FORWARD
    asked = [marks.behind, ids[first], ids[first + 1]] if behind else [marks.before, ids[first + 1], ids[first]]
    return Row([*ids, *asked], [False] * (len(ids) + 2) + [True])


def said_twice(words: Sequence[int], marks: Marks, rng: random.Random) -> Row:
    """w1 ... wn with one word said twice, ? -> that word."""
    said = rng.sample(words, rng.randint(*WORDS))
    first = rng.randrange(len(said))
    said.insert(rng.randint(first + 1, len(said)), said[first])
    return Row([*said, marks.twice, said[first]], [False] * (len(said) + 1) + [True])


CIRCUITS: dict[str, Callable[[Sequence[int], Marks, random.Random], Row]] = {
    "copy": copies, "look_up": look_ups, "said_twice": said_twice,
}  # fmt: skip
