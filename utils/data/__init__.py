"""Data of a run: rows of files, your own files, public data of the hub, cleaning, splits, token ids.

Prompts, demonstrations and comparisons are the dataclasses of `schemas`.
"""

from __future__ import annotations

from utils.data.chat import end_of_turn, uses_template
from utils.data.encoding import (
    beginning,
    decode_response,
    encode_completion,
    encode_completions,
    encode_prompt,
    encode_prompts,
    encode_question,
    encode_questions,
    encode_text,
    pad_left,
    pad_right,
    reward_input,
    stop_ids,
)
from utils.data.formats import load_comparisons, load_demonstrations, load_prompts, load_texts
from utils.data.hub.registry import TRAINING_KINDS
from utils.data.prompt_tables import (
    cleaning_table,
    length_table,
    prompts_per_user_table,
    source_table,
    use_case_table,
)
from utils.data.prompts import clean_prompts, token_length
from utils.data.schemas import SPLITS, Comparison, Demonstration, Prompt
from utils.data.splits import check_leaks, split_by_user

__all__ = [
    "Comparison",
    "Demonstration",
    "Prompt",
    "SPLITS",
    "TRAINING_KINDS",
    "beginning",
    "check_leaks",
    "clean_prompts",
    "cleaning_table",
    "decode_response",
    "encode_completion",
    "encode_completions",
    "encode_prompt",
    "encode_prompts",
    "encode_question",
    "encode_questions",
    "encode_text",
    "end_of_turn",
    "length_table",
    "load_comparisons",
    "load_demonstrations",
    "load_prompts",
    "load_texts",
    "pad_left",
    "pad_right",
    "prompts_per_user_table",
    "reward_input",
    "source_table",
    "split_by_user",
    "stop_ids",
    "token_length",
    "use_case_table",
    "uses_template",
]
