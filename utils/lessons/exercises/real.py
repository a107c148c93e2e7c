"""Checks of notebook 08: the turns of a transcript, special tokens, memory of PPO, GPU hours, a split by author."""

from __future__ import annotations

import os
from collections.abc import Sequence

from utils.lessons.exercises.common import FunctionCheck

MARK = "\n\nAssistant:"

# --- a pair of transcripts -----------------------------------------------------------------------------------------


def split_pair(chosen: str, rejected: str) -> tuple[str, str, str]:
    """(prompt, better answer, worse answer) of two transcripts; the prompt ends with the last "\\n\\nAssistant:" they share."""
    end = os.path.commonprefix([chosen, rejected]).rfind(MARK) + len(MARK)
    return chosen[:end], chosen[end:].strip(), rejected[end:].strip()


def _first_turn(chosen: str, rejected: str) -> tuple[str, str, str]:
    end = chosen.find(MARK) + len(MARK)
    return chosen[:end], chosen[end:].strip(), rejected[end:].strip()


def _common(chosen: str, rejected: str) -> tuple[str, str, str]:
    end = len(os.path.commonprefix([chosen, rejected]))
    return chosen[:end], chosen[end:].strip(), rejected[end:].strip()


def _turns(*turns: str) -> str:
    return "".join(f"\n\n{'Assistant' if i % 2 else 'Human'}: {turn}" for i, turn in enumerate(turns))


check_split_pair = FunctionCheck(
    split_pair,
    [
        (_turns("What is a bat?", "A mammal."), _turns("What is a bat?", "A bird.")),
        (_turns("Hi.", "Hello!", "What is a bat?", "A mammal."), _turns("Hi.", "Hello!", "What is a bat?", "An owl.")),
    ],
    [
        (_first_turn, "you split at the first turn of the assistant; in a longer dialogue split at the last shared one."),
        (
            _common,
            'answers may begin alike ("A mammal", "A bird"): end the prompt at the mark, not where the texts differ.',
        ),
        (
            lambda c, r: (split_pair(c, r)[0].removesuffix(MARK), *split_pair(c, r)[1:]),
            'the prompt lost its "\\n\\nAssistant:", which tells the model to answer.',
        ),
        (lambda c, r: (split_pair(c, r)[0], split_pair(c, r)[2], split_pair(c, r)[1]), "the better answer comes first."),
    ],
)

# --- special tokens ------------------------------------------------------------------------------------------------


def missing(bos: str | None, eos: str | None, pad: str | None) -> int:
    """How many tokens must be added so that each of the three roles has one of its own."""
    return 3 - len({token for token in (bos, eos, pad) if token is not None})


check_missing = FunctionCheck(
    missing,
    [("<E>", "<E>", None), ("<s>", "</s>", "<pad>"), ("<E>", "<E>", "<E>"), (None, "</s>", None), ("<s>", "</s>", "</s>")],
    [
        (
            lambda b, e, p: [b, e, p].count(None),
            "also count a role that shares its token: GPT-2 ends documents and answers with the same one.",
        ),
        (
            lambda b, e, p: len({t for t in (b, e, p) if t is not None}),
            "this is the number of tokens that exist; return the number of missing ones.",
        ),
        (lambda b, e, p: 3 - len({b, e, p}), "None is not a token: leave it out before you count."),
    ],
)

# --- memory --------------------------------------------------------------------------------------------------------


def gigabytes(policy: float, reward: float) -> float:
    """10^9 bytes that PPO keeps in float32 for models of `policy` and `reward` weights, without activations: policy and value
    with gradient and Adam's two moments, reference and reward model (only read), and the averaged policy."""
    trained, read = 4 * 4, 4
    return (trained * (policy + reward) + read * (policy + reward) + read * policy) / 1e9


check_gigabytes = FunctionCheck(
    gigabytes,
    [(124e6, 124e6), (1.5e9, 124e6), (124e6, 1.5e9)],
    [
        (lambda p, r: (8 * (p + r) + 4 * (p + r) + 4 * p) / 1e9, "Adam keeps two more numbers for each weight it trains."),
        (
            lambda p, r: (16 * (p + r) + 4 * p) / 1e9,
            "PPO reads reference and reward model in every round, so they need memory too.",
        ),
        (
            lambda p, r: 20 * (p + r) / 1e9,
            "the averaged policy is missing: PPO saves it, and it is one more copy of the policy.",
        ),
        (lambda p, r: (20 * (p + r) + 4 * p) / 2e9, "float32 has four bytes per number."),
    ],
)

# --- GPU hours -----------------------------------------------------------------------------------------------------


def hours(weights: float, tokens: float, epochs: float, peak: float, share: float) -> float:
    """Hours of one GPU for training: 6 operations for each weight, token and epoch, at a share of the peak per second."""
    return 6 * weights * tokens * epochs / (peak * share) / 3600


check_hours = FunctionCheck(
    hours,
    [(124e6, 1e6, 3, 8.1e12, 0.35), (1.5e9, 2e6, 1, 65e12, 0.2), (124e6, 5e5, 16, 8.1e12, 0.5)],
    [
        (
            lambda w, t, e, p, s: hours(w, t, e, p, s) / 3,
            "2 operations are only the forward pass; the backward pass needs 4 more.",
        ),
        (lambda w, t, e, p, s: hours(w, t, e, p, s) * 3600, "this is the time in seconds; return hours."),
        (lambda w, t, e, p, s: hours(w, t, 1, p, s), "every epoch reads all tokens again."),
        (lambda w, t, e, p, s: hours(w, t, e, p, 1.0), "a GPU reaches only a share of its peak, so the training takes longer."),
        (
            lambda w, t, e, p, s: hours(w, t, e, p, 1.0) * s,
            "a smaller share of the peak makes the training slower: divide by the share.",
        ),
    ],
)

# --- a split by author ---------------------------------------------------------------------------------------------


def held_out(authors: Sequence[str], every: int) -> list[int]:
    """Row numbers of the test set: all rows of every `every`-th author, authors counted in the order they first appear."""
    number = {author: i for i, author in enumerate(dict.fromkeys(authors), 1)}
    return [row for row, author in enumerate(authors) if number[author] % every == 0]


def _from_zero(authors: Sequence[str], every: int) -> list[int]:
    number = {author: i for i, author in enumerate(dict.fromkeys(authors))}
    return [row for row, author in enumerate(authors) if number[author] % every == 0]


check_held_out = FunctionCheck(
    held_out,
    [(["a", "b", "a", "c", "b", "d"], 2), (["x", "y", "z", "y", "x", "z", "z"], 3), (["m", "n", "o", "n", "p", "q", "m"], 2)],
    [
        (
            lambda a, n: [i for i in range(len(a)) if (i + 1) % n == 0],
            "you counted rows, so an author can be on both sides: count authors.",
        ),
        (
            lambda a, n: [i for i in range(len(a)) if i not in held_out(a, n)],
            "these are the training rows; return the test rows.",
        ),
        (_from_zero, "count the authors from 1: with `every` = 2 the second author is held out."),
        (lambda a, n: sorted({a[i] for i in held_out(a, n)}), "these are the authors; return the numbers of their rows."),
    ],
)
