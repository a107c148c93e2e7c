"""Check on a few tokens, before training, that an architecture does what every stage relies on.

The causal language models of some architectures in transformers ignore positions, attention masks or caches. Such a model
would be sampled as one policy and trained as another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from utils.core.errors import UserError
from utils.core.runtime import torch_generator
from utils.models.directories import ANOTHER
from utils.reward.scoring import reward_at_end
from utils.sampling.rollout import Decoding, episode_uniforms, response_logprobs, sample

LENGTHS = (3, 7, 5)  # of the prompts
NEW = 6  # tokens of each response
ABSOLUTE, RELATIVE = 1e-3, 1e-4  # tolerances: log-probs in nats; relative to the largest logit or score
Result = TypeVar("Result")


@torch.no_grad()
def check_policy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise UserError unless the policy gives a token the same probability alone, in a padded batch, and with its cache."""
    prompts = _random_rows(tokenizer, LENGTHS)
    how, uniforms = Decoding(NEW, (), tokenizer.pad_token_id), episode_uniforms(range(len(prompts)), NEW)
    rollout = _attempt(model, "sample", lambda: sample(model, prompts, uniforms, how))
    alone, largest = _attempt(model, "be run", lambda: _alone(model, rollout.prompts(), rollout.response_ids))
    parts = (rollout.prompt_ids, rollout.prompt_mask, rollout.response_ids, rollout.response_mask)
    batch = _attempt(model, "be run on a batch", lambda: response_logprobs(model, *parts))
    tolerance = ABSOLUTE + RELATIVE * largest
    _compare(model, "in a padded batch and alone", batch, alone, tolerance)
    _compare(model, "while it is sampled with a cache and without", rollout.logprobs, alone, tolerance)


@torch.no_grad()
def check_reward(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise UserError unless the classifier gives a sequence the same score alone and in a padded batch."""
    rows = _random_rows(tokenizer, LENGTHS)
    batch = _attempt(model, "score a batch", lambda: reward_at_end(model, rows))  # (B,)
    device = batch.device
    plain = [_attempt(model, "score", partial(_logits, model, row, device)) for row in rows]
    alone = torch.cat(plain).reshape(-1).float()
    if alone.shape != batch.shape:
        raise UserError(f"{_name(model)}: its classifier gives {len(alone)} scores for {len(batch)} texts; {ANOTHER}.")
    _compare(model, "in a padded batch and alone", batch, alone, RELATIVE + ABSOLUTE * float(alone.abs().max()))


def _logits(model: PreTrainedModel, row: Sequence[int], device: torch.device) -> Tensor:
    """Logits (1, 1) of a classifier for one row of ids."""
    return model(torch.tensor([row], device=device)).logits


def _random_rows(tokenizer: PreTrainedTokenizerBase, lengths: Sequence[int]) -> list[list[int]]:
    """Rows of ordinary tokens, the same for every run."""
    ordinary = sorted(set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids))
    draw = torch_generator(0, "support")
    return [[ordinary[i] for i in torch.randint(len(ordinary), (n,), generator=draw).tolist()] for n in lengths]


def _alone(model: PreTrainedModel, prompts: Sequence[Sequence[int]], responses: Tensor) -> tuple[Tensor, float]:
    """(B, R) log-probs of the responses' tokens from plain forward passes over single rows, and the largest logit."""
    rows, largest = [], 0.0
    for prompt, response in zip(prompts, responses, strict=True):
        ids = torch.cat([torch.tensor(prompt, device=response.device), response])[None]  # (1, P + R)
        logits = model(ids).logits[0, len(prompt) - 1 : -1].float()  # (R, V)
        rows.append(logits.log_softmax(-1).gather(1, response[:, None]).squeeze(1))
        largest = max(largest, float(logits.abs().max()))
    return torch.stack(rows), largest


def _attempt(model: PreTrainedModel, what: str, work: Callable[[], Result]) -> Result:
    """What `work` returns; an exception of the model's own code becomes a UserError."""
    try:
        return work()
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 -- a forward pass may raise anything
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        raise UserError(f"{_name(model)} cannot {what} here ({reason}); {ANOTHER}.") from None


def _compare(model: PreTrainedModel, where: str, one: Tensor, other: Tensor, tolerance: float) -> None:
    """Raise UserError if two readings of the same tokens differ, or if one is not finite."""
    difference = float((one - other).abs().max())
    if not difference <= tolerance:
        raise UserError(
            f"{_name(model)} reads the same text differently {where} (by up to {difference:.2g}), so it would be trained as "
            f"another model than the one that answers; {ANOTHER}."
        )


def _name(model: PreTrainedModel) -> str:
    return f"The architecture {model.config.model_type} ({type(model).__name__})"
