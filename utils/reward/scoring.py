"""Scores of a reward model (sec. 3.5): one number for an answer, read at its last token.

`RewardModel` scores ids, responses, rankings and demonstrations without gradients. The functions below it are what it is
made of: `reward_at_end` for sequences of ids, `score_groups` for rankings, in which all completions of a prompt share it
(training uses it with gradients).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from utils.config import DataConfig
from utils.core import processes
from utils.core.runtime import autocast
from utils.data.encoding import (
    encode_completion,
    encode_completions,
    encode_prompt,
    encode_prompts,
    pad_right,
)
from utils.data.schemas import Comparison, Demonstration
from utils.models.heads import float32_head
from utils.models.loading import context_length, load_reward
from utils.models.prompt_sharing import can_share, pack, shared_prompt_scores
from utils.models.tokenizers import load_tokenizer
from utils.reward.batches import Encoded, Group, encode_comparisons, make_targets, prompt_limit, sampled_answers, size_batches
from utils.sampling.rollout import eval_mode, selected_scores, unwrapped
from utils.sampling.sampler import Response
from utils.training.sharding import unsharded

SCORE_TOKENS = 8192  # padded tokens in one forward pass

Scorer = Callable[[nn.Module, Sequence[Group], int, torch.device], Tensor]  # called as score_groups


@dataclass(frozen=True)
class RewardModel:
    """A reward model ready to score, the twin of `utils.sampling.sampler.Sampler`.

    A reward is the scalar head at the last token of prompt and answer, minus `config.reward_shift` (sec. 3.5, C.2). For a
    finished answer the last token is the end token, for one that was cut off its last word, so the two differ. A prompt
    longer than `prompt_limit` loses its beginning. The model scores in eval mode and without gradients, and afterwards is
    in the mode it was in. Several processes share the rows, so all of them must call a method; each gets all rewards.

    batch_tokens: padded tokens in one forward pass.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    data: DataConfig
    batch_tokens: int = SCORE_TOKENS

    @classmethod
    def load(cls, path: Path | str, data: DataConfig, *, device: torch.device | str = "cpu") -> RewardModel:
        """The reward model of a model directory. Raises UserError as `load_reward` and `load_tokenizer` do."""
        return cls(load_reward(path, device), load_tokenizer(path), data)

    def encode(self, comparisons: Sequence[Comparison]) -> Encoded:
        """Ids of rankings as this model reads them, and counts of what was cut (`encode_comparisons`)."""
        return encode_comparisons(self.tokenizer, comparisons, self.data, context_length(self.model))

    def score_ids(self, sequences: Sequence[Sequence[int]]) -> list[float]:
        """Reward of each sequence of ids: a prompt and its answer, as they are, without a limit."""
        with torch.no_grad(), unsharded(self.model), eval_mode(self.model):
            return processes.map_ranks(sequences, lambda part: reward_at_end(self.model, part, self.batch_tokens).tolist())

    def score_responses(self, prompts: Sequence[str], responses: Sequence[Response]) -> list[float]:
        """Reward of each response, one per prompt: of the ids that were sampled, as in PPO.

        The text encoded again takes their place where a response has no ids, or ids of another vocabulary.
        """
        texts, finished = [r.text for r in responses], [r.finished for r in responses]
        encoded = encode_completions(self.tokenizer, texts, finished, self.data)
        sampled = sampled_answers(self.tokenizer, texts, finished, [r.ids for r in responses])
        answers = [drawn or ids for drawn, ids in zip(sampled, encoded, strict=True)]
        return self._score_answers(prompts, answers)

    def score_demonstrations(self, demonstrations: Sequence[Demonstration]) -> list[float]:
        """Reward of each demonstration, which always ends with the end token."""
        texts = [row.completion for row in demonstrations]
        answers = encode_completions(self.tokenizer, texts, [True] * len(texts), self.data)
        return self._score_answers([row.prompt for row in demonstrations], answers)

    def score_comparisons(self, comparisons: Sequence[Comparison]) -> list[list[float]]:
        """Rewards of all completions: K numbers for each ranking, in order."""
        return self.score_groups(self.encode(comparisons).groups)

    def score_groups(self, groups: Sequence[Group]) -> list[list[float]]:
        """`score_comparisons` of encoded rankings."""
        with torch.no_grad(), unsharded(self.model), eval_mode(self.model):
            return processes.map_ranks(groups, self._score_part)

    def score_along(self, prompt: str, completion: str) -> tuple[list[int], list[float]]:
        """Ids of a finished completion and the reward at each of them.

        Only the last number is a reward as it was trained. Those before are what the model says of the answer so far, as
        if it had been cut off there.
        """
        start = encode_prompt(self.tokenizer, prompt, self.data)[-self._limit() :]
        ids = encode_completion(self.tokenizer, completion, True, self.data)
        return ids, self.score_ids([start + ids[: i + 1] for i in range(len(ids))])

    def set_shift(self, demonstrations: Sequence[Demonstration], mean: float = 0.0) -> float:
        """Set `config.reward_shift` so that demonstrations average `mean` (0 in C.2); Eq. 1 does not depend on it. Returns it.

        Without demonstrations it is 0.
        """
        self.model.config.reward_shift = 0.0
        rewards = self.score_demonstrations(demonstrations)
        self.model.config.reward_shift = sum(rewards) / len(rewards) - mean if rewards else 0.0
        return self.model.config.reward_shift

    def _limit(self) -> int:
        """Most tokens of a prompt that this model reads."""
        return prompt_limit(self.data, context_length(self.model))

    def _score_answers(self, prompts: Sequence[str], answers: Sequence[Sequence[int]]) -> list[float]:
        """Reward of each encoded answer to its prompt."""
        limit = self._limit()
        questions = encode_prompts(self.tokenizer, prompts, self.data)
        return self.score_ids([[*ids[-limit:], *answer] for ids, answer in zip(questions, answers, strict=True)])

    def _score_part(self, groups: Sequence[Group]) -> list[list[float]]:
        """Rewards of this process's share of encoded rankings."""
        device, pad_id = next(self.model.parameters()).device, self.tokenizer.pad_token_id
        # Padded tokens of a ranking: its U distinct answers, each with the prompt.
        sizes = [len(g.responses) * (len(g.prompt) + max(map(len, g.responses))) for g in groups]
        result: list[list[float]] = [[] for _ in groups]
        for rows in size_batches(sizes, self.batch_tokens):
            part = [groups[i] for i in rows]
            scores = score_groups(self.model, part, pad_id, device) - self.model.config.reward_shift  # (U,) of all of them
            which = make_targets(part).which.to(device)  # (N, K) places in the scores
            # (N, K) rewards; what is right of a ranking's own K is padding.
            for i, row in zip(rows, scores[which].tolist(), strict=True):
                result[i] = row[: len(groups[i].which)]
        return result


def reward_at_end(model: PreTrainedModel, sequences: Sequence[Sequence[int]], batch_tokens: int = SCORE_TOKENS) -> Tensor:
    """(B,) reward of each sequence of token ids: the scalar head at its last token, minus the shift.

    For a finished response the last token is the end token (docs/architecture.md), for one that was cut off its last word.
    Sequences of similar length share a forward pass of at most `batch_tokens` padded tokens. Gradients flow if enabled.
    """
    device = next(model.parameters()).device
    batches = size_batches([len(sequence) for sequence in sequences], batch_tokens)
    parts = [torch.zeros(0, device=device)]
    for rows in batches:
        ids, mask = (x.to(device) for x in pad_right([sequences[row] for row in rows], 0))  # (B, T)
        last = mask.long().cumsum(1) == mask.sum(1, keepdim=True)  # (B, T), also True in the padding
        parts.append(selected_scores(model, ids, mask, last & mask))  # (B,)
    # Back from the order of the batches to that of the sequences.
    order = torch.tensor([row for rows in batches for row in rows], dtype=torch.long)
    return torch.cat(parts)[order.argsort().to(device)]


def plain_scores(model: nn.Module, groups: Sequence[Group], pad_id: int, device: torch.device) -> Tensor:
    """Rewards (U,) as in `score_groups`, by the model's own forward over each prompt + response."""
    ids, mask = pad_right([[*group.prompt, *response] for group in groups for response in group.responses], pad_id)
    mask = mask.long().to(device)  # (U, T)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with float32_head(unwrapped(model).score), autocast(device):  # type: ignore[arg-type]
        # The classifier reads its head at the last token that is not padding.
        output = model(input_ids=ids.to(device), attention_mask=mask, position_ids=positions, use_cache=False)
    return output.logits.squeeze(-1).float()  # (U, 1) -> (U,)


def score_groups(model: nn.Module, groups: Sequence[Group], pad_id: int, device: torch.device) -> Tensor:
    """Rewards (U,) of all distinct responses of the groups, at their last token, without the shift, float32.

    GPT-2 reads each prompt once for all its responses (`utils.models.prompt_sharing`), other models once for each.
    """
    if not can_share(model):
        return plain_scores(model, groups, pad_id, device)
    packed = pack([group.prompt for group in groups], [group.responses for group in groups], device)
    with autocast(device):
        return shared_prompt_scores(model, packed)
