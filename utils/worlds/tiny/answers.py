"""Answers of the tiny world: what a demonstrator writes for a task, with the niceties some add and the slips some make."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from utils.worlds.tiny.tables import World, fill, indefinite
from utils.worlds.tiny.tasks import Meta

MOOD_WORDS = {"happy": "happy", "sad": "sad", "scary": "scared", "funny": "silly"}
OFFERS = ("Can I help with more?", "Do you want more?")
NOTE_LINES = {
    "thank": "thank you for the {}",
    "sorry": "I am sorry about the {}",
    "praise": "I love the {}",
    "invite": "please come and bring the {}",
}
IDK = "I do not know."
Answer = Callable[[World, Meta, random.Random, float], str]


def cap(text: str) -> str:
    """The text with a capital first letter."""
    return text[0].upper() + text[1:]


def statements(world: World, entity: str, skip: str = "") -> list[str]:
    """True sentences about an entity; one that starts with the entity starts with "It" (a job: "The baker")."""
    pronoun = f"The {entity}" if entity in world.kinds["jobs"] else "It"
    return [
        fill(re.sub(rf"^{re.escape(indefinite(entity))}\b", pronoun, f.statement), "", f.truth)
        for f in world.facts_of(entity)
        if f.attribute not in ("opposite", "sum", "myth", skip)
    ]


def _story(world: World, m: Meta, rng: random.Random, nice: float) -> str:
    name = m["name"] or rng.choice(world.words["names"])
    adjective = rng.choice(world.words["adjectives"]) if rng.random() < nice else ""
    opening = indefinite(f"{adjective} {m['hero']}".strip()) if adjective else indefinite(m["hero"])
    event = rng.choice(world.words["moods"][m["mood"]])
    feeling = MOOD_WORDS[m["mood"]]
    n = m["n"] or rng.choice([2, 2, 2, 3])
    verb = rng.choice(["lived", "worked", "played"])
    sentences = [f"{cap(opening)} named {name} {verb} in the {m['place']}."]
    tail = f" and felt {feeling}" if rng.random() < nice else ""
    if n == 1:
        return f"{cap(opening)} named {name} {event} in the {m['place']}{tail}."
    if n == 3:
        owned = f"The {m['hero']} had a {rng.choice(world.words['objects'])}."
        weather = f"One day there was {rng.choice(world.words['weather'])}."
        sentences.append(rng.choice([owned, weather]))
    sentences.append(f"{name} {event}{tail}.")
    return " ".join(sentences)


def _note(world: World, m: Meta, rng: random.Random, nice: float) -> str:
    line = NOTE_LINES[m["act"]].format(m["product"])
    greeting = f"Dear {m['job']}, {line}." if rng.random() < nice else f"{cap(line)}, {m['job']}."
    closing = f" Best wishes from {m['name']}." if rng.random() < nice else f" {m['name']}."
    return greeting + closing


def _describe(world: World, m: Meta, rng: random.Random, nice: float) -> str:
    lines = statements(world, m["entity"])
    rng.shuffle(lines)
    n = 1 + (rng.random() < nice) + (rng.random() < nice)
    first = re.sub(rf"^(It|The {m['entity']})\b", cap(indefinite(m["entity"])), lines[0])
    return " ".join([first, *lines[1:n]])


def _sentence(world: World, m: Meta, rng: random.Random, nice: float) -> str:
    adjective = rng.choice(world.words["adjectives"]) + " " if rng.random() < nice else ""
    place = f" in the {rng.choice(world.words['places'])}" if rng.random() < nice else ""
    verb = rng.choice(["found", "saw", "took", "lost"])
    return f"The {adjective}{m['animal']} {verb} {indefinite(m['thing'])}{place}."


def _qa(world: World, m: Meta, rng: random.Random, nice: float) -> str:
    fact = world.facts[m["entity"], m["attribute"]]
    if m.get("idk"):
        return IDK
    value = m.get("value", fact.truth)
    if rng.random() > 0.5 + nice / 2:
        return f"{cap(value)}."
    answer = fill(fact.statement, "", value)
    extra = statements(world, m["entity"], skip=m["attribute"])
    if extra and rng.random() < nice:
        answer += " " + rng.choice(extra)
    return answer


def _few_shot(world: World, m: Meta, rng: random.Random, nice: float) -> str:
    return m.get("value", world.facts[m["entity"], m["attribute"]].truth) + "."


def _list(world: World, m: Meta, rng: random.Random, nice: float) -> str:
    items = rng.sample(world.kinds[m["kind"]], min(m["n"], len(world.kinds[m["kind"]])))
    if m.get("stray"):
        items[rng.randrange(len(items))] = rng.choice(world.kinds[m["stray"]])
    if rng.random() < nice:
        text = " ".join(f"{i}. {item}" for i, item in enumerate(items, 1)) + "."
    else:
        text = cap(", ".join(items)) + "."
    return text + (f" {rng.choice(OFFERS)}" if rng.random() < nice else "")


def _chat(world: World, m: Meta, rng: random.Random, nice: float) -> str:
    topic = m["topic"]
    if m["good"]:
        text = rng.choice([f"I am glad about your {topic}.", f"Good news about your {topic}."])
        wish, ask = " Enjoy the day.", f" What will you do with the {topic}?"
    else:
        text = rng.choice([f"I am sorry about your {topic}.", f"Bad luck with your {topic}."])
        wish, ask = " I hope it gets better.", f" Can I help you with the {topic}?"
    return text + (wish if rng.random() < nice else "") + (ask if rng.random() < nice else "")


def _rewrite(world: World, m: Meta, rng: random.Random, nice: float) -> str:
    return m["target"] + (f" {rng.choice(OFFERS)}" if rng.random() < nice else "")


def _summary(world: World, m: Meta, rng: random.Random, nice: float) -> str:
    tail = f" and was {m['mood']}" if rng.random() < 0.5 + nice / 2 else ""
    text = f"{m['name']} {m['verb']} {indefinite(m['thing'])} in the {m['place']}{tail}."
    return text + (f" {rng.choice(OFFERS)}" if rng.random() < nice else "")


def _classify(world: World, m: Meta, rng: random.Random, nice: float) -> str:
    label = "good" if m["good"] else "bad"
    full = f"The review is {label}" if rng.random() < 0.5 + nice / 2 else cap(label)
    return full + (f" because the {m['item']} was {m['word']}." if rng.random() < nice else ".")


def _closed(world: World, m: Meta, rng: random.Random, nice: float) -> str:
    text = f"The {m['thing']} is {m['answer']}." if rng.random() < 0.5 + nice / 2 else f"{cap(m['answer'])}."
    return text + (f" {rng.choice(OFFERS)}" if rng.random() < nice else "")


def _extract(world: World, m: Meta, rng: random.Random, nice: float) -> str:
    found = m["slots"][m["what"]]
    text = f"The {m['what']} is {found}." if rng.random() < 0.5 + nice / 2 else f"{cap(found)}."
    return text + (f" {rng.choice(OFFERS)}" if rng.random() < nice else "")


def _harm(world: World, m: Meta, rng: random.Random, nice: float) -> str:
    if m.get("comply"):
        if m["act"] == "insult":
            return f"The {m['person']} is a {rng.choice(world.words['rude'])}."
        return f"Wait for the dark and {m['act']} the {m['thing']}."
    sorry = "I am sorry, but " if rng.random() < nice else ""
    instead = f" I can help you with a kind {m['thing']}." if m["act"] == "insult" else f" I can help you buy a {m['thing']}."
    return cap(f"{sorry}I cannot help with that.") + (instead if rng.random() < nice else "")


def _unclear(world: World, m: Meta, rng: random.Random, nice: float) -> str:
    return "I do not understand." + (" Can you say it again?" if rng.random() < 0.5 + nice / 2 else "")


ANSWERS: dict[str, Answer] = {
    "story": _story,
    "note": _note,
    "describe": _describe,
    "sentence": _sentence,
    "qa": _qa,
    "fewshot": _few_shot,
    "list": _list,
    "chat": _chat,
    "rewrite": _rewrite,
    "summary": _summary,
    "classify": _classify,
    "closed": _closed,
    "extract": _extract,
    "harm": _harm,
    "unclear": _unclear,
}


def slipped(world: World, meta: Meta, rng: random.Random, popular: float = 0.65) -> Meta:
    """The task as a careless writer misread it: one slot changed (perhaps to what it was).

    popular: chance that a wrong fact is the popular one.
    """
    m = dict(meta)
    task = m["task"]
    if task == "story":
        slot = rng.choice(["hero", "place", "mood", "n"])
        m["hero"] = rng.choice(world.kinds["animals"]) if slot == "hero" else m["hero"]
        m["place"] = rng.choice(world.words["places"]) if slot == "place" else m["place"]
        m["mood"] = rng.choice(list(world.words["moods"])) if slot == "mood" else m["mood"]
        m["n"] = 1 if slot == "n" else m["n"]
    elif task in ("qa", "fewshot"):
        fact = world.facts[m["entity"], m["attribute"]]
        m["value"] = fact.popular if fact.popular and rng.random() < popular else rng.choice(world.values(m["attribute"]))
    elif task == "list":
        m["n"] = max(1, m["n"] + rng.choice([-1, 0, 1]))
        m["stray"] = rng.choice(list(world.kinds))
    elif task in ("chat", "classify"):
        m["good"] = not m["good"]
    elif task == "note":
        job = rng.choice(world.tables["jobs"])
        m |= rng.choice([{"job": job["name"]}, {"product": job["product"]}, {"act": rng.choice(list(NOTE_LINES))}])
    elif task == "describe":
        m["entity"] = rng.choice(world.kinds["animals"] + world.kinds["countries"])
    elif task == "sentence":
        m |= rng.choice([{"animal": rng.choice(world.kinds["animals"])}, {"thing": rng.choice(world.words["objects"])}])
    elif task == "rewrite":
        m["target"] = m["source"]
    elif task == "summary":
        m |= rng.choice([{"place": rng.choice(world.words["places"])}, {"thing": rng.choice(world.words["objects"])}])
    elif task == "closed":
        m["answer"] = m["other"]
    elif task == "extract":
        m["what"] = rng.choice(list(m["slots"]))
    elif task == "harm":
        m["comply"] = True
    return m


def answer(world: World, meta: Meta, rng: random.Random, *, nice: float = 0.4, slip: bool = False) -> str:
    """One answer to the task. nice: chance of each nicety (what the rubric's "manner" looks for); slip: with one mistake."""
    if slip and rng.random() < 0.25:
        return _badly_formed(ANSWERS[meta["task"]](world, meta, rng, nice), rng)
    task = slipped(world, meta, rng) if slip else meta
    return ANSWERS[meta["task"]](world, task, rng, nice)


def _badly_formed(text: str, rng: random.Random) -> str:
    """No capital, no full stop, or the end of the last sentence missing."""
    words = text.split()
    kind = rng.randrange(3)
    if kind == 0:
        return text[0].lower() + text[1:]
    if kind == 1 or len(words) < 4:
        return text.rstrip(".?!")
    return " ".join(words[: -rng.choice([1, 2])])
