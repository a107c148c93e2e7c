"""Minimal pairs: which of them a judge and a policy get right."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_run import make_base

from utils.config import load_config
from utils.data.encoding import encode_completion
from utils.data.schemas import Prompt
from utils.evaluation import judged_right, likelier_right
from utils.models.loading import load_policy
from utils.models.tokenizers import load_tokenizer
from utils.sampling.sampler import Sampler
from utils.worlds.protocol import MinimalPair

DATA = load_config("tiny").data


def _pair(prompt: str, right: str, wrong: str) -> MinimalPair:
    return MinimalPair(Prompt("p", prompt), right, wrong)


PAIRS = {
    "color": [_pair("What color is the hat?", "Red.", "Blue."), _pair("What color is the bag?", "Blue.", "Red.")],
    "fact": [_pair("What is an owl?", "Bird.", "Fish.")],
}


def _judge(reward: Any) -> Any:
    """A judge whose reward is a function of prompt and answer."""
    return SimpleNamespace(
        score_responses=lambda prompts, responses: [reward(p, r.text) for p, r in zip(prompts, responses, strict=True)]
    )


def test_a_judge_that_knows_is_always_right_and_one_that_does_not_read_is_right_by_chance() -> None:
    right = {(pair.prompt.prompt, pair.right) for found in PAIRS.values() for pair in found}
    assert judged_right(_judge(lambda p, a: float((p, a) in right)), PAIRS) == {"color": [1, 1], "fact": [1]}
    assert judged_right(_judge(lambda p, a: -float((p, a) in right)), PAIRS) == {"color": [0, 0], "fact": [0]}
    assert judged_right(_judge(lambda p, a: float(a == "Red.")), PAIRS)["color"] == [1, 0]
    assert judged_right(_judge(lambda p, a: 0.0), PAIRS) == {"color": [0.5, 0.5], "fact": [0.5]}


@pytest.mark.parametrize("template", [None, "Question: {prompt}\n Answer:"])
def test_a_policy_prefers_the_answer_that_is_likelier_token_by_token(tmp_path: Path, template: str | None) -> None:
    path = make_base(tmp_path / "base")
    policy = Sampler(load_policy(path), load_tokenizer(path), DATA, template)

    @torch.no_grad()
    def logprob(pair: MinimalPair, answer: str) -> float:
        ids = policy.encode(pair.prompt.prompt)
        start = len(ids)
        ids = ids + encode_completion(policy.tokenizer, answer, True, DATA)
        logits = policy.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        return sum(float(logits[t - 1, ids[t]]) for t in range(start, len(ids)))

    expected = {kind: [logprob(p, p.right) > logprob(p, p.wrong) for p in found] for kind, found in PAIRS.items()}
    assert likelier_right(policy, PAIRS) == expected
