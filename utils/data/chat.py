"""Prompts as conversations: transcripts as the public preference data has them, and a tokenizer's chat template.

A transcript is text of turns "\\n\\nHuman: ...\\n\\nAssistant: ..." that ends with "\\n\\nAssistant:"; every other prompt is
one message of a user. A model that was trained with a chat template is asked in it (`DataConfig.chat_template`).
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

from utils.core.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from utils.config import DataConfig

ANSWER_MARK = "\n\nAssistant:"
_TURN = re.compile(r"\n\n(Human|Assistant): ?")
_CLOCK = re.compile(r"""strftime_now\(\s*(['"])(.*?)\1\s*\)""")
_CALL = re.compile(r"strftime_now\s*\(")
DATE = "2025-01-01"  # what a template that asks for the time is told unless a run has another date
_PROBE = "unlikely words of an answer"


def is_transcript(prompt: str) -> bool:
    """True for a conversation written out as text that now waits for the assistant's turn."""
    return prompt.endswith(ANSWER_MARK) and _TURN.search(f"\n\n{prompt.lstrip()}") is not None


def to_messages(prompt: str) -> list[dict[str, str]]:
    """Messages (role, content) of a prompt: the turns of a transcript, else one message of the user.

    Text before the first turn is the system message. Two turns of one speaker in a row become one.
    """
    if not is_transcript(prompt):
        return [{"role": "user", "content": prompt}]
    before, *rest = _TURN.split(f"\n\n{prompt.lstrip()}")
    messages = [{"role": "system", "content": before.strip()}] if before.strip() else []
    for speaker, text in zip(rest[::2], rest[1::2], strict=True):
        role = "user" if speaker == "Human" else "assistant"
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += f"\n\n{text.strip()}"
        else:
            messages.append({"role": role, "content": text.strip()})
    if messages[-1] == {"role": "assistant", "content": ""}:
        messages.pop()
    return messages


def uses_template(tokenizer: PreTrainedTokenizerBase, data_cfg: DataConfig) -> bool:
    """Whether prompts go through the tokenizer's chat template: `data.chat_template` auto, always or never.

    Raises UserError if it must and the tokenizer has none.
    """
    has_one = bool(tokenizer.chat_template)
    if data_cfg.chat_template == "always" and not has_one:
        raise UserError(
            "data.chat_template is always, but the tokenizer has no chat template: set it to auto or never, or put a "
            "chat_template.jinja into the model directory."
        )
    return has_one and data_cfg.chat_template != "never"


def in_template(tokenizer: PreTrainedTokenizerBase, prompt: str, date: str = DATE) -> list[int]:
    """Ids of a prompt in the chat template, up to where the assistant begins to speak.

    date: the day (YYYY-MM-DD) that a template gets when it asks for the current time (`DataConfig.template_date`). A special
    token that someone wrote into the text is broken up by a blank, so that it commands nothing. Raises
    UserError if the template rejects the conversation.
    """
    messages = [{**message, "content": _harmless(tokenizer, message["content"])} for message in to_messages(prompt)]
    return tokenizer(_render(tokenizer, messages, generate=True, date=date), add_special_tokens=False)["input_ids"]


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The special token that the chat template writes after an answer; None if there is no template or no such token."""
    if not tokenizer.chat_template:
        return None
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _PROBE}]
    rest = _render(tokenizer, messages, generate=False).rpartition(_PROBE)[2]
    special = set(_special_tokens(tokenizer))
    found = [token for token in tokenizer.convert_ids_to_tokens(tokenizer(rest, add_special_tokens=False)["input_ids"])]
    return next((token for token in found if token in special), None)


def asks_for_date(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether prompts in the chat template depend on the day."""
    if not tokenizer.chat_template:
        return False
    message = [{"role": "user", "content": _PROBE}]
    return len({_render(tokenizer, message, generate=True, date=date) for date in (DATE, "1999-12-31")}) > 1


def dated(template: str, date: str) -> str:
    """The chat template with `date` (YYYY-MM-DD, midnight) in place of the current time.

    Calls such as strftime_now("%d %b %Y") become the date in this form; a call whose form is a variable gets YYYY-MM-DD.
    """
    if "strftime_now" not in template:
        return template
    text = _CLOCK.sub(lambda found: repr(datetime.fromisoformat(date).strftime(found[2])), template)
    return f"{{% macro strftime_now(form) %}}{date}{{% endmacro %}}{text}" if _CALL.search(text) else text


def _render(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], generate: bool, date: str = DATE) -> str:
    """Messages as the template writes them; a system message joins the user's if the template takes none."""
    merged = messages
    if messages[0]["role"] == "system" and len(messages) > 1:
        first = {"role": "user", "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
        merged = [first, *messages[2:]]
    own = tokenizer.chat_template
    template = dated(own, date) if isinstance(own, str) else None  # several named templates: transformers chooses
    problem: Exception | None = None
    for attempt in (messages, merged):
        try:
            text = tokenizer.apply_chat_template(
                attempt, chat_template=template, tokenize=False, add_generation_prompt=generate
            )
            return str(text)
        except Exception as error:  # noqa: BLE001 -- a template may raise anything
            problem = error
    reason = " ".join(str(problem).split())[:150]
    raise UserError(f"The chat template rejects a prompt of {len(messages)} messages ({reason}); set data.chat_template=never.")


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """All special tokens, also those without a role."""
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    return list(dict.fromkeys([*tokenizer.all_special_tokens, *added]))


def _harmless(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """`text` with a blank after the first character of every special token in it."""
    for token in _special_tokens(tokenizer):
        if token and token in text:
            text = text.replace(token, f"{token[:1]} {token[1:]}")
    return text
