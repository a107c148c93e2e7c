"""How a model answers questions: it compares choices, writes a text, or gives rewards (`METHODS`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from utils.config import DataConfig
from utils.core import processes
from utils.core.errors import UserError
from utils.data.encoding import encode_question, encode_text, encode_texts, raw_responses, stop_ids
from utils.evaluation.tasks import Question, Task
from utils.evaluation.tax import ChoiceItem, choice_logprobs
from utils.models.loading import context_length, load_policy
from utils.models.tokenizers import load_tokenizer
from utils.reward.scoring import RewardModel
from utils.sampling.rollout import Decoding, sample
from utils.sampling.sampler import Response

Answers = Callable[[Sequence[Question]], list[Any]]  # one answer per question, as `tasks.Answered` has it


class Subject(NamedTuple):
    """A model to evaluate. data: how a reward model reads prompts and answers; a policy reads plain text."""

    path: Path
    data: DataConfig | None = None


def comparing(subject: Subject, task: Task, device: torch.device, batch_size: int) -> Answers:
    """Compares choices: of each question their summed log-probabilities in nats, and their numbers of tokens."""
    model, tokenizer = load_policy(subject.path, device), load_tokenizer(subject.path)

    def answers(questions: Sequence[Question]) -> list[Any]:
        items = [_choice_item(model, tokenizer, question) for question in questions]
        order = sorted(range(len(items)), key=lambda i: len(items[i].prefix))  # texts of similar length share a batch
        found: list[Any] = [None] * len(items)
        for i, means in zip(order, choice_logprobs(model, [items[i] for i in order], batch_size), strict=True):
            lengths = [len(choice) for choice in items[i].choices]
            found[i] = [[mean * n for mean, n in zip(means, lengths, strict=True)], lengths]
        return found

    return answers


def _choice_item(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, question: Question) -> ChoiceItem:
    """A question as ids. Raises UserError if a choice alone does not fit the model."""
    choices, context = encode_texts(tokenizer, question.choices), context_length(model)
    longest = max(map(len, choices))
    if context is not None and longest >= context:
        raise UserError(
            f"A choice of {longest} tokens does not fit the model's {context} positions: take a model with a longer context."
        )
    return ChoiceItem(question_ids(tokenizer, question, None if context is None else context - longest), choices, 0)


def writing(subject: Subject, task: Task, device: torch.device, batch_size: int) -> Answers:
    """Writes greedily, up to the first newline (App. D)."""
    model, tokenizer = load_policy(subject.path, device), load_tokenizer(subject.path)
    context = context_length(model)
    tokens = task.tokens if context is None else min(task.tokens, context // 2)
    stops = (*stop_ids(tokenizer), *newline_ids(tokenizer))
    how = Decoding(tokens, stops, tokenizer.pad_token_id, batch_size=batch_size)

    def part_of(prompts: Sequence[list[int]]) -> list[str]:
        rollout = sample(model, prompts, None, how)
        return [first_line(text) for text, _ in raw_responses(tokenizer, rollout.responses())]

    def answers(questions: Sequence[Question]) -> list[Any]:
        room = None if context is None else context - tokens
        return processes.map_ranks([question_ids(tokenizer, question, room) for question in questions], part_of)

    return answers


def rewarding(subject: Subject, task: Task, device: torch.device, batch_size: int) -> Answers:
    """Gives each choice its reward, as a finished answer to the text."""
    judge = RewardModel.load(subject.path, subject.data or DataConfig(), device=device)

    def answers(questions: Sequence[Question]) -> list[Any]:
        pairs = [(question.text, Response(choice, True)) for question in questions for choice in question.choices]
        rewards = iter(judge.score_responses([text for text, _ in pairs], [response for _, response in pairs]))
        return [[next(rewards) for _ in question.choices] for question in questions]

    return answers


METHODS: Mapping[str, Callable[[Subject, Task, torch.device, int], Answers]] = {
    "choices": comparing,
    "writes": writing,
    "reward": rewarding,
}


def question_ids(tokenizer: PreTrainedTokenizerBase, question: Question, room: int | None) -> list[int]:
    """Ids of the text that a model reads before its answer, at least one: for an empty text it is the token that begins a
    document. A text longer than `room` is cut at its beginning, or, if the question has a tail, before the tail."""
    ids = encode_question(tokenizer, question.text)
    if room is not None and len(ids) > room and question.tail:
        tail = encode_text(tokenizer, question.tail)
        return [*encode_question(tokenizer, question.text.removesuffix(question.tail))[: max(0, room - len(tail))], *tail]
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    return (ids or [first])[-room if room else None :]


def newline_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Tokens that are blank and have a newline: nothing before it is lost if an answer stops there."""
    texts = tokenizer.batch_decode([[i] for i in range(len(tokenizer))], clean_up_tokenization_spaces=False)
    return tuple(i for i, text in enumerate(texts) if "\n" in text and not text.strip())


def first_line(text: str) -> str:
    """An answer as the paper reads it: up to the first newline, then without blanks around it. So an answer that begins with
    a newline is empty."""
    return text.partition("\n")[0].strip()
