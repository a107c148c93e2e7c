"""When two prompts count as the same, and whose a prompt is."""

from __future__ import annotations

import unicodedata

from utils.data.schemas import Prompt

_SPACE_FOR = '.,;:!?"()[]{}…“”„«»¿¡‚'
_PUNCTUATION = str.maketrans(_SPACE_FOR, " " * len(_SPACE_FOR), "'’‘`")


def normalise(text: str) -> str:
    """Text without case, sentence punctuation and extra blanks, for comparing prompts.

    Signs that carry meaning, such as + - / * % $ #, stay: "3 + 4" and "3 - 4" are different prompts.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.translate(_PUNCTUATION).split()) or " ".join(text.split())


def prompt_key(text: str) -> str:
    """Key of a prompt's text; equal for texts that are equal after `normalise`."""
    return f"prompt {normalise(text)}"


def user_key(prompt: Prompt) -> str:
    """What is never divided between splits: the user, or without a user id the normalised prompt."""
    return f"user {prompt.user_id}" if prompt.user_id else prompt_key(prompt.prompt)
