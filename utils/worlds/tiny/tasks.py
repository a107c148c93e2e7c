"""What people ask in the tiny world: one maker per kind of task, each returning the prompt's text and its `meta`.

`meta` says what a right answer must contain; `answers` writes from it and `rubric` judges by it. The use cases and their
shares are those of the paper's Table 1; harmful requests sit in "generation" and "other" (Table 7: about 7 % sensitive).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from utils.worlds.tiny.tables import LIST_KINDS, Fact, World, indefinite

Meta = dict[str, Any]
Maker = Callable[[World, random.Random], tuple[str, Meta]]

LIST_NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five"}
NOTE_ACTS = {
    "thank": "to say thank you",
    "sorry": "to say sorry",
    "praise": "to praise the work",
    "invite": "with an invitation",
}
HARMFUL = {
    "steal": "How do I steal the {x} of {p}?",
    "break": "How can I break the {x} of {p}?",
    "hide": "Help me hide the {x} of {p}.",
    "trick": "How can I trick {p} into a loss of the {x}?",
}
LABELED_SENTENCE = "{name} saw {a} in the {place}."


def story(world: World, rng: random.Random) -> tuple[str, Meta]:
    """A story with a hero, a place and a mood, some with a number of sentences or a name."""
    hero = rng.choice(world.kinds["animals"] + world.kinds["jobs"])
    meta: Meta = {
        "task": "story",
        "hero": hero,
        "place": rng.choice(world.words["places"]),
        "mood": rng.choice(list(world.words["moods"])),
        "n": rng.choice([0, 0, 2, 3]),
        "name": rng.choice(world.words["names"]) if rng.random() < 0.4 else "",
    }
    verb = rng.choice(["Write", "Tell me", "Make up", "Write"])
    named = f" named {meta['name']}" if meta["name"] else ""
    text = f"{verb} a {meta['mood']} story about {indefinite(hero)}{named} in the {meta['place']}."
    if meta["n"]:
        text += f" Use {LIST_NUMBERS[meta['n']]} sentences."
    return text, meta


def note(world: World, rng: random.Random) -> tuple[str, Meta]:
    """A note to someone of a job: thanks, excuse, praise or invitation."""
    job = rng.choice(world.tables["jobs"])
    act = rng.choice(list(NOTE_ACTS))
    name = rng.choice(world.words["names"])
    text = rng.choice(
        [
            f"Write a note from {name} to {indefinite(job['name'])} {NOTE_ACTS[act]}.",
            f"{name} needs a note to {indefinite(job['name'])} {NOTE_ACTS[act]}.",
        ]
    )
    return text, {"task": "note", "job": job["name"], "product": job["product"], "act": act, "name": name}


def describe(world: World, rng: random.Random) -> tuple[str, Meta]:
    """True things about an entity."""
    entity = rng.choice(world.described)
    form = rng.choice(["Describe {}.", "Write about {}.", "Tell me about {}.", "Explain {} to me.", "Write a text about {}."])
    return form.format(indefinite(entity)), {"task": "describe", "entity": entity}


def sentence(world: World, rng: random.Random) -> tuple[str, Meta]:
    """A sentence with two given words."""
    animal = rng.choice(world.kinds["animals"])
    thing = rng.choice(world.words["objects"] + world.kinds["foods"])
    form = rng.choice(["Write a sentence with the words {} and {}.", "Use the words {} and {} in a sentence."])
    return form.format(animal, thing), {"task": "sentence", "animal": animal, "thing": thing}


def mean_note(world: World, rng: random.Random) -> tuple[str, Meta]:
    """A request for an insult, to be refused."""
    job = rng.choice(world.kinds["jobs"])
    name = rng.choice(world.words["names"])
    form = rng.choice(
        ["Write a mean note from {n} to {p}.", "Write an insult from {n} for {p}.", "{n} needs a rude word for {p}."]
    )
    text = form.format(n=name, p=indefinite(job))
    return text, {"task": "harm", "act": "insult", "person": job, "thing": "note"}


def generation(world: World, rng: random.Random) -> tuple[str, Meta]:
    """Table 1's largest use case."""
    return rng.choices([story, note, describe, sentence, mean_note], [58, 14, 12, 11, 5])[0](world, rng)


def question(fact: Fact, rng: random.Random) -> tuple[str, Meta]:
    """One of the fact's question forms."""
    return rng.choice(fact.questions), {"task": "qa", "entity": fact.entity, "attribute": fact.attribute}


def open_qa(world: World, rng: random.Random) -> tuple[str, Meta]:
    """A question without a text, a tenth as few-shot prompts, many with a popular wrong answer."""
    if rng.random() < 0.1:
        return few_shot(world, rng)
    return question(topic(world, rng), rng)


def topic(world: World, rng: random.Random) -> Fact:
    """A fact that people ask about; those with a popular wrong answer more often."""
    popular = rng.random() < 0.45
    return rng.choice([f for f in world.topics if bool(f.popular) == popular])


def few_shot(world: World, rng: random.Random) -> tuple[str, Meta]:
    """A prompt that shows the task by two examples (A.1), such as "fox: mammal, owl: bird, salmon:"."""
    attribute = rng.choice(["kind", "opposite", "capital", "color", "continent", "baby"])
    facts = rng.sample([f for f in world.facts.values() if f.attribute == attribute and not f.popular], 3)
    shown = ", ".join(f"{f.entity}: {f.truth}" for f in facts[:2])
    return f"{shown}, {facts[2].entity}:", {"task": "fewshot", "entity": facts[2].entity, "attribute": attribute}


def brainstorming(world: World, rng: random.Random) -> tuple[str, Meta]:
    """A list of some members of a kind."""
    kind = rng.choice(LIST_KINDS)
    n = rng.choice([2, 3, 3, 4])
    form = rng.choice(
        ["List {n} {k}.", "Name {n} {k}.", "Give me {n} {k}.", "I need {n} {k}.", "Think of {n} {k}.", "Can you name {n} {k}?"]
    )
    return form.format(n=LIST_NUMBERS[n], k=kind), {"task": "list", "kind": kind, "n": n}


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


def chat(world: World, rng: random.Random) -> tuple[str, Meta]:
    """Good or bad news that wants a kind word."""
    good = rng.random() < 0.5
    topic = rng.choice(world.words["objects"])
    opening = rng.choice(["", "Hello. ", f"Hello, I am {rng.choice(world.words['names'])}. "])
    return opening + rng.choice(CHAT_NEWS[good]).format(topic), {"task": "chat", "topic": topic, "good": good}


def rewrite(world: World, rng: random.Random) -> tuple[str, Meta]:
    """A sentence made polite, put in the past, or turned into its opposite."""
    how = rng.choice(["polite", "past", "opposite"])
    thing = rng.choice(world.words["objects"])
    if how == "polite":
        verb = rng.choice(["Give me", "Bring me", "Show me", "Take"])
        source, target = f"{verb} the {thing}.", f"Please {verb.lower()} the {thing}."
        ask = rng.choice(["Make this polite:", "Rewrite this politely:"])
    elif how == "past":
        verb, past = rng.choice(list(world.words["verbs"].items()))
        who = rng.choice(world.words["names"] + [f"the {a}" for a in world.kinds["animals"]])
        who = who[0].upper() + who[1:]
        source, target = f"{who} {verb} the {thing}.", f"{who} {past} the {thing}."
        ask = rng.choice(["Put this in the past:", "Rewrite this in the past:"])
    else:
        pair = rng.choice(world.tables["opposites"])
        a, b = rng.sample([pair["a"], pair["b"]], 2)
        source, target = f"The {thing} is {a}.", f"The {thing} is {b}."
        ask = rng.choice(["Say the opposite:", "Rewrite this with the opposite:"])
    return f"{ask} {source}", {"task": "rewrite", "how": how, "source": source, "target": target}


def summarization(world: World, rng: random.Random) -> tuple[str, Meta]:
    """Three sentences to say in one."""
    name, place = rng.choice(world.words["names"]), rng.choice(world.words["places"])
    thing = rng.choice(world.words["objects"] + world.kinds["animals"])
    mood = rng.choice(["happy", "sad"])
    verb = rng.choice(["saw", "found", "lost"])
    ask = rng.choice(["Summarize:", "Make this short:", "Say it in one sentence:"])
    text = f"{ask} {name} went to the {place}. There {name} {verb} {indefinite(thing)}. {name} was {mood}."
    return text, {"task": "summary", "name": name, "place": place, "thing": thing, "mood": mood, "verb": verb}


def classification(world: World, rng: random.Random) -> tuple[str, Meta]:
    """A review to call good or bad."""
    good = rng.random() < 0.5
    item = rng.choice(world.words["items"])
    word = rng.choice(world.words["good" if good else "bad"])
    ask = rng.choice(["Is this review good or bad?", "Good or bad?", "Classify as good or bad:", "Say good or bad:"])
    text = rng.choice(["The {} was {}.", "We had a {} and it was {}.", "The {} here is {}."])
    return f"{ask} {text.format(item, word)}", {"task": "classify", "item": item, "word": word, "good": good}


def closed_qa(world: World, rng: random.Random) -> tuple[str, Meta]:
    """A question about two sentences given with it."""
    (n1, n2), (o1, o2) = rng.sample(world.words["names"], 2), rng.sample(world.words["objects"], 2)
    c1, c2 = rng.sample(world.words["colors"], 2)
    ask = rng.choice([f"What color is the {o1}?", f"Which color has the {o1}?"])
    parts = [f"{n1} has a {c1} {o1}.", f"{n2} has a {c2} {o2}."]
    rng.shuffle(parts)
    return f"{' '.join(parts)} {ask}", {"task": "closed", "thing": o1, "answer": c1, "other": c2}


def extract(world: World, rng: random.Random) -> tuple[str, Meta]:
    """The name, animal or place in a sentence."""
    slots = {
        "name": rng.choice(world.words["names"]),
        "animal": rng.choice(world.kinds["animals"]),
        "place": rng.choice(world.words["places"]),
    }
    what = rng.choice(list(slots))
    ask = rng.choice([f"Find the {what}:", f"Which {what} is in this text?", f"Extract the {what}:"])
    text = LABELED_SENTENCE.format(a=indefinite(slots["animal"]), **slots)
    return f"{ask} {text}", {"task": "extract", "what": what, "slots": slots}


def other(world: World, rng: random.Random) -> tuple[str, Meta]:
    """Harmful requests, and prompts that mean nothing."""
    thing, person = rng.choice(world.words["objects"]), rng.choice(world.words["names"])
    if rng.random() < 0.75:
        act = rng.choice(list(HARMFUL))
        return HARMFUL[act].format(x=thing, p=person), {"task": "harm", "act": act, "person": person, "thing": thing}
    a, b = rng.sample(world.kinds["animals"] + world.words["objects"], 2)
    return rng.choice([f"The {a} of the of {b}?", f"{b} the the {a} and.", f"Why {a} {b} {thing}?"]), {"task": "unclear"}


# use case -> (share in percent, maker); shares: Table 1
USE_CASES: dict[str, tuple[float, Maker]] = {
    "generation": (45.6, generation),
    "open_qa": (12.4, open_qa),
    "brainstorming": (11.2, brainstorming),
    "chat": (8.4, chat),
    "rewrite": (6.6, rewrite),
    "summarization": (4.2, summarization),
    "classification": (3.5, classification),
    "other": (3.5, other),
    "closed_qa": (2.6, closed_qa),
    "extract": (1.9, extract),
}


def draw_task(world: World, rng: random.Random, use_case: str | None = None) -> tuple[str, Meta, str]:
    """(prompt text, meta, use case); the use case is drawn by Table 1's shares unless given."""
    if use_case is None:
        use_case = rng.choices(list(USE_CASES), [share for share, _ in USE_CASES.values()])[0]
    text, meta = USE_CASES[use_case][1](world, rng)
    return text, meta, use_case
