"""Chat: good or bad news that wants a kind word."""

from __future__ import annotations

import random

from utils.worlds.tiny.tables import Tables
from utils.worlds.tiny.tasks.record import Marks, Meta, Task
from utils.worlds.tiny.text import has, mean

CHAT_NEWS = {
    True: ("I found my {} today.", "I got a new {}.", "My {} works again.", "I won a {}.", "Someone gave me a {}."),
    False: (
        "I lost my {} today.",
        "My {} is broken.",
        "Someone took my {}.",
        "I am sad about my {}.",
        "My {} fell in the water.",
    ),
}


def make(tables: Tables, rng: random.Random) -> tuple[str, Meta]:
    """Good or bad news that wants a kind word."""
    good = rng.random() < 0.5
    topic = rng.choice(tables.words["objects"])
    opening = rng.choice(["", "Hello. ", f"Hello, I am {rng.choice(tables.words['names'])}. "])
    return opening + rng.choice(CHAT_NEWS[good]).format(topic), {"task": "chat", "topic": topic, "good": good}


def answer(tables: Tables, meta: Meta, rng: random.Random, nice: float) -> str:
    """A kind word that fits the news; niceties: a wish and a question."""
    topic = meta["topic"]
    if meta["good"]:
        text = rng.choice([f"I am glad about your {topic}.", f"Good news about your {topic}."])
        wish, ask = " Enjoy the day.", f" What will you do with the {topic}?"
    else:
        text = rng.choice([f"I am sorry about your {topic}.", f"Bad luck with your {topic}."])
        wish, ask = " I hope it gets better.", f" Can I help you with the {topic}?"
    return text + (wish if rng.random() < nice else "") + (ask if rng.random() < nice else "")


def slip(tables: Tables, meta: Meta, rng: random.Random) -> None:
    """Good news taken for bad, or the other way round."""
    meta["good"] = not meta["good"]


def judge(tables: Tables, meta: Meta, low: str, words: list[str]) -> Marks:
    """Helpful: the right tone and topic. Manner: wish, question."""
    tone = {True: ("i am glad", "good news"), False: ("i am sorry", "bad luck")}
    right = any(t in low for t in tone[meta["good"]]) and not any(t in low for t in tone[not meta["good"]])
    wish = "enjoy the day" in low if meta["good"] else "i hope it gets better" in low
    ask = "what will you do with the" in low if meta["good"] else "can i help you with the" in low
    other_topic = any(has(low, o) for o in tables.words["objects"] if o != meta["topic"])
    return mean(right, has(low, meta["topic"]) and not other_topic), 1.0, mean(wish, ask)


TASK = Task("chat", make, answer, judge, slip)
