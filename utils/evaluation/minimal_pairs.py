"""Minimal pairs: does a model tell a right answer from a wrong one of the same form?

Agreement with labelers is an average over answers that differ in many ways; most of it can be had from form and topic alone.
A minimal pair differs in content alone, so a judge that does not read the prompt is right half of the time.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch

from utils.data.encoding import encode_completions, pad_right
from utils.losses import token_logprobs
from utils.reward.scoring import RewardModel
from utils.sampling.sampler import Response, Sampler
from utils.worlds.protocol import MinimalPair

PAIRS = 200  # of each kind
PAIRS_SEED = 2024
BATCH = 128

Pairs = Mapping[str, Sequence[MinimalPair]]


def _marks(pairs: Pairs, scores: Sequence[float]) -> dict[str, list[float]]:
    """For each pair of each kind 1 if the right answer has the higher score, 0.5 if both have the same, else 0.

    scores: of the right and the wrong answer of each pair in turn.
    """
    marks: dict[str, list[float]] = {}
    rest = iter(zip(scores[::2], scores[1::2], strict=True))
    for kind, found in pairs.items():
        marks[kind] = [(right > wrong) + 0.5 * (right == wrong) for right, wrong in itertools.islice(rest, len(found))]
    return marks


def _answers(pairs: Pairs) -> tuple[list[str], list[str]]:
    """Prompts and answers, right and wrong of each pair in turn."""
    rows = [(pair.prompt.prompt, text) for found in pairs.values() for pair in found for text in (pair.right, pair.wrong)]
    return [prompt for prompt, _ in rows], [text for _, text in rows]


def judged_right(judge: RewardModel, pairs: Pairs) -> dict[str, list[float]]:
    """By kind, 1 for each pair in which the reward model prefers the right answer, 0.5 for equal rewards; chance is 0.5."""
    prompts, texts = _answers(pairs)
    return _marks(pairs, judge.score_responses(prompts, [Response(text, True) for text in texts]))


@torch.no_grad()
def likelier_right(policy: Sampler, pairs: Pairs) -> dict[str, list[float]]:
    """By kind, 1 for each pair whose right answer is the likelier one for a policy, as it is asked; chance is 0.5."""
    prompts, texts = _answers(pairs)
    questions = policy.encode_all(prompts)
    answers = encode_completions(policy.tokenizer, texts, [True] * len(texts), policy.data)
    scores: list[float] = []
    for start in range(0, len(texts), BATCH):
        part = list(zip(questions[start : start + BATCH], answers[start : start + BATCH], strict=True))
        ids, mask = (x.to(policy.model.device) for x in pad_right([[*q, *a] for q, a in part], policy.tokenizer.pad_token_id))
        logits = policy.model(input_ids=ids, attention_mask=mask.long(), use_cache=False).logits
        places = torch.arange(1, ids.shape[1], device=ids.device) >= torch.tensor(
            [[len(q)] for q, _ in part], device=ids.device
        )
        counted = places & mask[:, 1:]
        scores += (token_logprobs(logits[:, :-1], ids[:, 1:]) * counted).sum(1).tolist()
    return _marks(pairs, scores)
