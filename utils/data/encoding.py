"""Text to token ids and back, and padding. Only this module joins a prompt and a completion.

A prompt and a completion are encoded separately and their ids concatenated, so tokens never merge at the border
and the same prompt has the same ids in every stage. A response is a completion's ids with the end token.
A tokenizer with a chat template writes the prompt in it (`utils.data.chat`); one that puts a token before every text
(Llama, OPT) puts it before every prompt.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from utils.data.chat import in_template, is_transcript, uses_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from utils.config import DataConfig


SENTENCEPIECE_BLANK = "\N{LOWER ONE EIGHTH BLOCK}"


def encode_text(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of plain text. Special tokens that someone wrote into the text are encoded as ordinary characters."""
    return encode_texts(tokenizer, [text])[0]


def encode_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """`encode_text` of many texts: less than half the time of one call per text."""
    plain = {"add_special_tokens": False, "split_special_tokens": True, "return_attention_mask": False}
    return tokenizer(list(texts), **plain)["input_ids"] if texts else []


def beginning(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The bos or eos token if the tokenizer itself puts it before a text, as in the model's training; else nothing."""
    first = tokenizer("a")["input_ids"][0]
    return [first] if first in (tokenizer.bos_token_id, tokenizer.eos_token_id) else []


def encode_question(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of text that a model continues, without any change."""
    return encode_questions(tokenizer, [text])[0]


def encode_questions(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """`encode_question` of many texts at once."""
    start = beginning(tokenizer)
    return [start + ids for ids in encode_texts(tokenizer, texts)]


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str, data_cfg: DataConfig) -> list[int]:
    """Ids of a prompt: in the chat template if there is one and the settings use it, else `prompt + data_cfg.prompt_suffix`.

    A transcript ends in "Assistant:", which is its suffix. Length is not limited here: long prompts are dropped, not
    cut (App. C).
    """
    return encode_prompts(tokenizer, [prompt], data_cfg)[0]


def encode_prompts(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], data_cfg: DataConfig) -> list[list[int]]:
    """`encode_prompt` of many prompts at once."""
    if uses_template(tokenizer, data_cfg):
        return [in_template(tokenizer, prompt, data_cfg.template_date) for prompt in prompts]
    suffix = data_cfg.prompt_suffix
    return encode_questions(tokenizer, [text if is_transcript(text) else text + suffix for text in prompts])


def encode_completion(tokenizer: PreTrainedTokenizerBase, completion: str, finished: bool, data_cfg: DataConfig) -> list[int]:
    """Response ids: `completion_prefix + completion` (in a chat template without the prefix), then the end token if the
    completion ended itself.

    At most `data_cfg.max_response_tokens` ids, as in sampling; a longer completion is cut and loses its end token.
    An empty completion is the end token alone.
    """
    return encode_completions(tokenizer, [completion], [finished], data_cfg)[0]


def encode_completions(
    tokenizer: PreTrainedTokenizerBase, completions: Sequence[str], finished: Sequence[bool], data_cfg: DataConfig
) -> list[list[int]]:
    """`encode_completion` of many completions at once."""
    prefix = answer_prefix(tokenizer, data_cfg)
    texts = encode_texts(tokenizer, [prefix + text if text else "" for text in completions])
    whole = (ids + [tokenizer.eos_token_id] if end else ids for ids, end in zip(texts, finished, strict=True))
    return [ids[: data_cfg.max_response_tokens] for ids in whole]


def answer_prefix(tokenizer: PreTrainedTokenizerBase, data_cfg: DataConfig) -> str:
    """Text before an answer: `data_cfg.completion_prefix`, nothing in a chat template.

    A tokenizer that puts a blank before every text itself (SentencePiece as Llama 1 and 2 have it) gets no second one.
    """
    if uses_template(tokenizer, data_cfg):
        return ""
    blank_added = tokenizer.convert_ids_to_tokens(encode_text(tokenizer, "a"))[0].startswith(SENTENCEPIECE_BLANK)
    return data_cfg.completion_prefix.removeprefix(" ") if blank_added else data_cfg.completion_prefix


def stop_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Ids that end a sampled response: the end token and the document separator."""
    return tuple(dict.fromkeys(i for i in (tokenizer.eos_token_id, tokenizer.bos_token_id) if i is not None))


def decode_response(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> tuple[str, bool]:
    """(text, finished) of response ids without padding. Text has no special tokens and no surrounding blanks.

    `finished` is True if a stop token is among the ids; what follows the first one is ignored.
    """
    return decode_responses(tokenizer, [ids])[0]


def decode_responses(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[int]]) -> list[tuple[str, bool]]:
    """`decode_response` of many responses at once."""
    return [(text.strip(), finished) for text, finished in raw_responses(tokenizer, rows)]


def raw_responses(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[int]]) -> list[tuple[str, bool]]:
    """`decode_responses` with the blanks and newlines around the texts."""
    if not rows:  # a tokenizer cannot decode nothing
        return []
    stops = set(stop_ids(tokenizer))
    bodies = [list(itertools.takewhile(lambda token: int(token) not in stops, ids)) for ids in rows]
    texts = tokenizer.batch_decode(bodies, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return [(text, len(body) < len(ids)) for text, body, ids in zip(texts, bodies, rows, strict=True)]


def reward_input(prompt: Sequence[int], response: Sequence[int], stops: Sequence[int], eos_id: int) -> list[int]:
    """The sequence that a reward model reads: prompt, response, and the end token in place of any other stop token."""
    response = list(response)
    if response and response[-1] in stops:
        response[-1] = eos_id
    return [*prompt, *response]


def _pad(sequences: Sequence[Sequence[int]], pad_id: int, left: bool) -> tuple[Tensor, Tensor]:
    lengths = [len(s) for s in sequences]
    width = max(lengths, default=0)
    padding = [[pad_id] * (width - length) for length in lengths]
    rows = [[*pad, *s] if left else [*s, *pad] for s, pad in zip(sequences, padding, strict=True)]
    ids = torch.tensor(rows, dtype=torch.long).view(len(rows), width)
    ends = torch.tensor(lengths, dtype=torch.long)[:, None]
    return ids, torch.arange(width) >= width - ends if left else torch.arange(width) < ends


def pad_right(sequences: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """ids (B, T) long and mask (B, T) bool, T the longest length; padding after the sequence (scoring, training)."""
    return _pad(sequences, pad_id, left=False)


def pad_left(sequences: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """ids (B, T) long and mask (B, T) bool, T the longest length; padding before the sequence (sampling)."""
    return _pad(sequences, pad_id, left=True)
