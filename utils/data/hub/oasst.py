"""OpenAssistant's message trees: prompts at every message of a prompter, their ranked replies, rank 0 as demonstration.

A message counts if it is in English, not deleted, not rejected in review, not empty, and if all messages before it count.
`rank` is the order that several volunteers' rankings of siblings were merged to; it is null where there was nothing to
rank. A tree belongs to the author of its first message: all its prompts are in the split of this author.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from utils.data.conversations import Messages, render_prompt
from utils.data.hub.examples import Drops, Example, Row, Rows, usable_ranking
from utils.data.records import Record

LANGUAGE = "en"
_SPEAKERS = {"prompter": "Human", "assistant": "Assistant"}


def oasst(rows: Rows, drops: Drops) -> Iterator[Example]:
    """Examples of all trees. The publisher's splits, which are by tree and not by author, are not kept."""
    messages: dict[str, Row] = {}
    for _, row in rows:
        if problem := _problem(row):
            drops[problem] += 1
        else:
            messages[row["message_id"]] = row
    replies: dict[str, list[Row]] = defaultdict(list)
    for row in messages.values():
        if row["role"] == "assistant" and row["parent_id"] is not None:
            replies[row["parent_id"]].append(row)
    for row in messages.values():
        path = _path(row, messages)
        if path is None:
            drops["a message before it is missing"] += 1
        elif row["role"] == "prompter":
            if row["synthetic"]:
                drops["a prompt that no person wrote"] += 1
            else:
                yield _example(path, replies[row["message_id"]])


def _problem(row: Row) -> str:
    """Why a message does not count, "" if it does."""
    if row["deleted"]:
        return "deleted"
    if row["review_result"] is False:
        return "rejected in review"
    if row["lang"] != LANGUAGE:
        return "another language"
    if row["role"] not in _SPEAKERS:
        return "unknown role"
    return "" if (row["text"] or "").strip() else "an empty message"


def _path(row: Row, messages: dict[str, Row]) -> list[Row] | None:
    """The messages from the root to `row`; None if one is missing or if two of one speaker follow each other."""
    path = [row]
    while path[-1]["parent_id"] is not None:
        parent = messages.get(path[-1]["parent_id"])
        if parent is None or parent["role"] == path[-1]["role"] or len(path) > len(messages):
            return None
        path.append(parent)
    return path[::-1] if path[-1]["role"] == "prompter" else None


def _example(path: list[Row], replies: list[Row]) -> Example:
    """The prompt at the end of `path`, its demonstration if it is a root, and its ranking."""
    turns: Messages = [(_SPEAKERS[row["role"]], row["text"].strip()) for row in path]
    prompt = render_prompt(Record("", 0, {}, {"messages": "messages"}, ()), "messages", turns)
    ranked = sorted((row for row in replies if row["rank"] is not None), key=lambda row: row["rank"])
    order = {rank: place for place, rank in enumerate(sorted({row["rank"] for row in ranked}), 1)}
    completions, ranks = tuple(row["text"].strip() for row in ranked), tuple(order[row["rank"]] for row in ranked)
    problem = "fewer than two ranked answers" if len(ranked) < 2 else usable_ranking(completions, ranks)
    best = next((row for row in ranked if row["rank"] == 0 and not row["synthetic"]), None)
    completion = best["text"].strip() if best is not None and len(path) == 1 else ""
    lacking = {"comparisons": problem} if problem else {}
    if not completion:
        lacking["demonstrations"] = "no answer of rank 0 by a person" if len(path) == 1 else "not the first message"
    author = path[0]["user_id"] or ""
    return Example(
        prompt,
        f"user {author}" if author else f"tree {path[0]['message_id']}",
        user_id=author,
        use_case="other" if len(path) == 1 else "chat",
        completion=completion,
        completions=() if problem else completions,
        ranks=() if problem else ranks,
        policies=() if problem else tuple("model" if row["synthetic"] else "person" for row in ranked),
        lacking=lacking,
    )
