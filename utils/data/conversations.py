"""Conversations in the user's rows: lists of messages, histories and transcripts, and the prompt that they make.

A prompt of one user message is its text; a longer one is a transcript "\\n\\nHuman: ...\\n\\nAssistant: ..." that ends with
"\\n\\nAssistant:". System text comes first.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from utils.core.io import convert
from utils.core.tables import kind_of
from utils.data.chat import ANSWER_MARK, is_transcript
from utils.data.records import Record, is_blank, line_breaks

Messages = list[tuple[str, str]]

ROLES = {
    "user": "Human",
    "human": "Human",
    "prompter": "Human",
    "assistant": "Assistant",
    "gpt": "Assistant",
    "bot": "Assistant",
    "system": "System",
    "developer": "System",
}
# Names of a message's speaker and text: OpenAI's, ShareGPT's; a part of a text is "text".
ROLE_KEYS, TEXT_KEYS = ("role", "from"), ("content", "value", "text")


def read_messages(record: Record, field: str) -> Messages:
    """(speaker, text) of a list of messages; speaker is Human, Assistant or System."""
    return [_message(record, field, message) for message in record.value(field, list[dict])]


def _message(record: Record, field: str, message: dict) -> tuple[str, str]:
    """(speaker, text) of one message. Raises UserError for an unknown role and for content that is not text."""
    role = str(next((message[name] for name in ROLE_KEYS if name in message), "")).lower()
    content = next((message[name] for name in TEXT_KEYS if name in message), None)
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        content = "\n\n".join(str(part.get("text", "")) for part in content)
    if role not in ROLES:
        raise record.error(f'every message needs a "role": user, assistant or system; found "{role}".', field)
    if not isinstance(content, str):
        raise record.error(f'every message needs a text "content", found {kind_of(content)} of the role {role}.', field)
    return ROLES[role], line_breaks(content).strip()


def unread_keys(messages: Any) -> list[str]:
    """Filled keys of messages that hold neither the speaker nor the text, such as "tool_calls"; none if it is no such list."""
    if isinstance(messages, str) and messages.lstrip()[:1] == "[":
        with suppress(ValueError):
            messages = convert(messages, list[Any])
    members = [message for message in messages if isinstance(message, dict)] if isinstance(messages, list) else []
    filled = [name for message in members for name, value in message.items() if not is_blank(value)]
    return [name for name in dict.fromkeys(filled) if name not in (*ROLE_KEYS, *TEXT_KEYS)]


def render_prompt(record: Record, field: str, messages: Messages) -> str:
    """Messages as one prompt: one user message is its text, more are a transcript. System text comes first.

    Raises UserError unless the last message is the user's.
    """
    system = [text for speaker, text in messages if speaker == "System"]
    turns = [(speaker, text) for speaker, text in messages if speaker != "System"]
    if not turns or turns[-1][0] != "Human":
        raise record.error("the prompt must end with a message of the user.", field)
    if len(turns) == 1:
        return "\n\n".join([*system, turns[0][1]])
    return "\n\n".join(system) + _turns(turns) + ANSWER_MARK


def _turns(turns: Sequence[tuple[str, str]]) -> str:
    return "".join(f"\n\n{speaker}: {text}" for speaker, text in turns)


def split_answer(record: Record, field: str) -> tuple[Messages, str]:
    """(messages before, text) of a conversation's last message, which must be the assistant's."""
    messages = read_messages(record, field)
    if not messages or messages[-1][0] != "Assistant":
        raise record.error("the last message must be the assistant's.", field)
    return messages[:-1], messages[-1][1]


def split_transcripts(record: Record) -> tuple[str, str, str]:
    """(prompt, chosen, rejected) of two transcripts; the prompt ends with the last "\\n\\nAssistant:" they share."""
    chosen, rejected = record.text("chosen"), record.text("rejected")
    end = os.path.commonprefix([chosen, rejected]).rfind(ANSWER_MARK)
    if end < 0:
        raise record.error(
            'there is no prompt, and the transcripts "chosen" and "rejected" do not share a beginning that ends with '
            '"\\n\\nAssistant:": make both start with the same conversation, or add a field "prompt".'
        )
    end += len(ANSWER_MARK)
    return chosen[:end], chosen[end:].strip(), rejected[end:].strip()


def with_system(record: Record, prompt: str) -> str:
    """`prompt` after the row's system text, if it has one that the prompt does not hold already."""
    system = record.text("system").strip() if "system" in record.values else ""
    if not system or prompt.lstrip().startswith(system):
        return prompt
    return system + prompt if prompt.startswith("\n\n") else f"{system}\n\n{prompt}"


def with_history(record: Record, prompt: str) -> str:
    """`prompt` as the last turn of the conversation in the row's `history`, if it has one.

    A history is a list of pairs [question, answer], as in LLaMA-Factory and ChatGLM, or a list of messages. Raises UserError
    for anything else, and if the prompt is a transcript itself.
    """
    turns = _history(record) if "history" in record.values else []
    if not turns:
        return prompt
    if is_transcript(prompt):
        raise record.error("the prompt is a transcript already: put the turns before it into one of the two.", "history")
    return render_prompt(record, "history", [*turns, ("Human", prompt.strip())])


def _history(record: Record) -> Messages:
    """(speaker, text) of the turns before the prompt."""
    turns: Messages = []
    for member in record.value("history", list[Any]):
        if isinstance(member, dict):
            turns.append(_message(record, "history", member))
            continue
        try:
            question, answer = convert(member, list[str])
        except ValueError:
            raise record.error("expected a list of pairs [question, answer] or of messages.", "history") from None
        turns += [("Human", line_breaks(question).strip()), ("Assistant", line_breaks(answer).strip())]
    return turns
