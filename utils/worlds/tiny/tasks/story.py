"""Stories: a hero, a place and a mood, some with a number of sentences or a name."""

from __future__ import annotations

import random

from utils.worlds.tiny.tables import Tables, indefinite
from utils.worlds.tiny.tasks.record import Marks, Meta, Task
from utils.worlds.tiny.text import NUMBERS, SENTENCE, cap, has, mean

MOOD_WORDS = {"happy": "happy", "sad": "sad", "scary": "scared", "funny": "silly"}


def make(tables: Tables, rng: random.Random) -> tuple[str, Meta]:
    """A story with a hero, a place and a mood, some with a number of sentences or a name."""
    hero = rng.choice(tables.kinds["animals"] + tables.kinds["jobs"])
    meta: Meta = {
        "task": "story",
        "hero": hero,
        "place": rng.choice(tables.words["places"]),
        "mood": rng.choice(list(tables.words["moods"])),
        "n": rng.choice([0, 0, 2, 3]),
        "name": rng.choice(tables.words["names"]) if rng.random() < 0.4 else "",
    }
    verb = rng.choice(["Write", "Tell me", "Make up", "Write"])
    named = f" named {meta['name']}" if meta["name"] else ""
    text = f"{verb} a {meta['mood']} story about {indefinite(hero)}{named} in the {meta['place']}."
    if meta["n"]:
        text += f" Use {NUMBERS[meta['n']]} sentences."
    return text, meta


def answer(tables: Tables, meta: Meta, rng: random.Random, nice: float) -> str:
    """Two or three sentences unless the meta says how many; niceties: an adjective and a feeling."""
    name = meta["name"] or rng.choice(tables.words["names"])
    adjective = rng.choice(tables.words["adjectives"]) if rng.random() < nice else ""
    opening = indefinite(f"{adjective} {meta['hero']}".strip()) if adjective else indefinite(meta["hero"])
    event = rng.choice(tables.words["moods"][meta["mood"]])
    feeling = MOOD_WORDS[meta["mood"]]
    n = meta["n"] or rng.choice([2, 2, 2, 3])
    verb = rng.choice(["lived", "worked", "played"])
    sentences = [f"{cap(opening)} named {name} {verb} in the {meta['place']}."]
    tail = f" and felt {feeling}" if rng.random() < nice else ""
    if n == 1:
        return f"{cap(opening)} named {name} {event} in the {meta['place']}{tail}."
    if n == 3:
        owned = f"The {meta['hero']} had a {rng.choice(tables.words['objects'])}."
        weather = f"One day there was {rng.choice(tables.words['weather'])}."
        sentences.append(rng.choice([owned, weather]))
    sentences.append(f"{name} {event}{tail}.")
    return " ".join(sentences)


def slip(tables: Tables, meta: Meta, rng: random.Random) -> None:
    """Another hero, place or mood, or a single sentence."""
    slot = rng.choice(["hero", "place", "mood", "n"])
    meta["hero"] = rng.choice(tables.kinds["animals"]) if slot == "hero" else meta["hero"]
    meta["place"] = rng.choice(tables.words["places"]) if slot == "place" else meta["place"]
    meta["mood"] = rng.choice(list(tables.words["moods"])) if slot == "mood" else meta["mood"]
    meta["n"] = 1 if slot == "n" else meta["n"]


def judge(tables: Tables, meta: Meta, low: str, words: list[str]) -> Marks:
    """Helpful: hero, place and the one right mood. Constraint: number of sentences, name. Manner: adjective, feeling."""
    moods = {mood: any(e.lower() in low for e in events) for mood, events in tables.words["moods"].items()}
    mood = moods[meta["mood"]] and sum(moods.values()) == 1
    helpful = mean(has(low, meta["hero"]), has(low, meta["place"]), mood)
    demands = []
    if meta["n"]:
        demands.append(len(SENTENCE.findall(low)) == meta["n"])
    if meta["name"]:
        named = [n for n in tables.words["names"] if has(low, n)]
        demands.append(named == [meta["name"]])
    adjective = any(f"{a} {meta['hero']}" in low for a in tables.words["adjectives"])
    return helpful, mean(*demands) if demands else 1.0, mean(adjective, f"felt {MOOD_WORDS[meta['mood']]}" in low)


TASK = Task("story", make, answer, judge, slip)
