"""Fixtures of the reward model's tests: every way in which rankings are scored, and encoded rankings."""

from __future__ import annotations

import pytest
from reward_cases import llama
from settings import DATA, comparisons
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from utils.models.prompt_sharing import can_share
from utils.reward import scoring
from utils.reward.batches import Group, encode_comparisons


@pytest.fixture(params=["shared_prompts", "plain", "llama"])
def model(request: pytest.FixtureRequest, reward_model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch):
    """Every path of score_groups."""
    if request.param == "llama":
        return llama()
    if request.param == "plain":
        monkeypatch.setattr(scoring, "can_share", lambda model: False)
    else:
        assert can_share(reward_model)
    return reward_model


@pytest.fixture
def groups(tokenizer: PreTrainedTokenizerBase) -> list[Group]:
    return encode_comparisons(tokenizer, comparisons(), DATA).groups
