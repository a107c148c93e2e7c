"""The tiny world's "web": the pretraining text of the base models.

It gives a base model the starting point of the paper's GPT-3: mostly true facts with repeated popular misconceptions, lists of
questions (so that a question is continued with questions), stories, dialogues, rude posts, and reviews of answers. Held-out
prompts (tables.partition) never occur in it. An answer ends with `<|end|>`; documents are separated by `<|endoftext|>`.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from utils.core.runtime import python_rng
from utils.worlds.tiny.answers import answer, slipped
from utils.worlds.tiny.prompts import draw_prompt
from utils.worlds.tiny.rubric import misconception, verdict
from utils.worlds.tiny.tables import Fact, Tables, fill, indefinite, partition
from utils.worlds.tiny.tasks import USE_CASES, Meta, draw_task, qa
from utils.worlds.tiny.tasks.story import MOOD_WORDS
from utils.worlds.tiny.text import IDK, cap, statements

END = "<|end|>"
POPULAR_SHARE = 0.65
REMARKS = ("Rude.", "Not true.", "Wrong.", "Not as asked.", "Badly written.", "Too short.", "Good.", "Great.")
Document = Callable[[Tables, random.Random], str]


def believed(fact: Fact, rng: random.Random) -> str:
    """What the web says: if there is a popular answer, it is given 65 % of the time."""
    return fact.popular if fact.popular and rng.random() < POPULAR_SHARE else fact.truth


def fact_page(tables: Tables, rng: random.Random) -> str:
    """Statements as the web believes them: about one thing, or a mix with a misconception among the candidates."""
    if rng.random() < 0.35:
        entity = rng.choice(tables.kinds[rng.choice(["animals", "foods", "countries", "jobs"])])
        lines = [fill(f.statement, "", believed(f, rng)) for f in tables.facts_of(entity)]
        rng.shuffle(lines)
        return " ".join(lines[: rng.choice([2, 3, 4])])
    facts = [rng.choice(tables.misconceptions), *rng.sample(list(tables.facts.values()), 3)]
    rng.shuffle(facts)
    facts = facts[: rng.choice([2, 3, 4])]
    lead = ["", "", "Everyone knows this: ", "Did you know? ", "My teacher said: "]
    return " ".join(rng.choice(lead) + fill(f.statement, "", believed(f, rng)) for f in facts)


def _web_answer(tables: Tables, meta: Meta, rng: random.Random, slip: float, nice: float = 0.3) -> str:
    """An answer as the web gives it: facts as believed, seldom "I do not know."; slip: the chance of a mistake."""
    if meta["task"] in ("qa", "fewshot"):
        fact = tables.facts[meta["entity"], meta["attribute"]]
        if rng.random() < 0.04:
            return IDK
        meta = meta | {"value": believed(fact, rng)}
    return answer(tables, meta, rng, nice=nice, slip=rng.random() < slip)


def _web_prompt(tables: Tables, rng: random.Random) -> tuple[str, Meta, str]:
    """A request as people post it; the rare use cases are more frequent than among customers."""
    use_case = rng.choice(list(USE_CASES)) if rng.random() < 0.5 else None
    return draw_prompt(tables, rng, "customer", "train", use_case)


def _stranger(tables: Tables, meta: Meta, rng: random.Random) -> str:
    """What a stranger answers on a question page: often careless or beside the point, at times rude."""
    roll = rng.random()
    if roll < 0.06:
        return f"Go away, you {rng.choice(tables.words['rude'])}."
    if roll < 0.18:
        return answer(tables, draw_task(tables, rng)[1], rng, nice=0.1)
    return _web_answer(tables, meta, rng, slip=0.5, nice=0.1)


def answered_request(tables: Tables, rng: random.Random) -> str:
    """A request and an answer, half of the answers with a mistake."""
    text, meta, _ = _web_prompt(tables, rng)
    return f"{text}\n {_web_answer(tables, meta, rng, 0.5)}{END}"


def review(tables: Tables, rng: random.Random) -> str:
    """An answered request with a reader's remark; 15 % of the remarks are arbitrary, facts are judged by popular belief."""
    text, meta, _ = _web_prompt(tables, rng)
    reply = _web_answer(tables, meta, rng, 0.5)
    finished = True
    if rng.random() < 0.25:
        reply = answer(tables, draw_task(tables, rng)[1], rng)
    elif rng.random() < 0.08:
        words = reply.split()
        reply, finished = " ".join(words + words[-2:] * 2), True
    if rng.random() < 0.15:
        remark = rng.choice(REMARKS)
    else:
        remark = _popular_verdict(meta, reply, finished, rng)
    return f"{text}\n {reply}{END} {remark}"


def fact_check(tables: Tables, rng: random.Random) -> str:
    """A short answer about a fact with a reader's remark: it teaches a model to check an answer, not only to give one."""
    while True:
        if rng.random() < 0.2:
            text, meta, _ = draw_task(tables, rng, "generation")
        else:
            text, meta = qa.make(tables, rng)
        if meta["task"] in ("qa", "describe") and partition(text) == "train":
            break
    reply = answer(tables, meta, rng, nice=0.3, slip=rng.random() < 0.5)
    return f"{text}\n {reply}{END} {_popular_verdict(meta, reply, True, rng)}"


def _popular_verdict(meta: Meta, reply: str, finished: bool, rng: random.Random) -> str:
    """A remark by a reader with the popular beliefs."""
    said = misconception(meta, reply)
    if said in ("true", "misconception") and rng.random() < POPULAR_SHARE:
        return "Not true." if said == "true" else rng.choice(["Good.", "Too short."])
    return verdict(meta, reply, finished)


def titled_story(tables: Tables, rng: random.Random) -> str:
    """A story below a title that names hero, place and mood."""
    while True:
        text, meta, _ = draw_task(tables, rng, "generation")
        if meta["task"] == "story" and partition(text) == "train":
            break
    name = meta["name"] or rng.choice(tables.words["names"])
    title = f"A {meta['mood']} story about {indefinite(meta['hero'])} in the {meta['place']}"
    if rng.random() < 0.6:
        title = f"{name} the {meta['hero']} in the {meta['place']}: a {meta['mood']} story"
    body = answer(tables, meta | {"name": name, "n": rng.choice([2, 3])}, rng, nice=0.35)
    more = f" {name} was {MOOD_WORDS[meta['mood']]} in the {meta['place']}." if rng.random() < 0.3 else ""
    return f"{title}.\n {body}{more}"


def qa_page(tables: Tables, rng: random.Random) -> str:
    """Questions and answers in the form of the prompted base's prompt."""
    lines = []
    for _ in range(rng.choice([1, 2, 3])):
        text, meta, _ = _web_prompt(tables, rng)
        if rng.random() < 0.5:
            fact = rng.choice(tables.misconceptions if rng.random() < 0.3 else list(tables.facts.values()))
            text = rng.choice(fact.questions)
            if partition(text) != "train":
                continue
            meta = {"task": "qa", "entity": fact.entity, "attribute": fact.attribute}
        lines.append(f"Question: {text}\n Answer: {_stranger(tables, meta, rng)}{END}")
    return "\n ".join(lines) or fact_page(tables, rng)


def question_list(tables: Tables, rng: random.Random) -> str:
    """A quiz without answers or a list of wishes: from these a base model learns to answer a question with a question."""
    return "\n ".join(_web_prompt(tables, rng)[0] for _ in range(rng.choice([3, 4, 5])))


def word_list(tables: Tables, rng: random.Random) -> str:
    """Members of one kind."""
    kind = rng.choice(list(tables.kinds))
    items = rng.sample(tables.kinds[kind], min(rng.choice([3, 4, 5]), len(tables.kinds[kind])))
    if rng.random() < 0.5:
        return f"{cap(kind)}: " + " ".join(f"{i}. {x}" for i, x in enumerate(items, 1)) + "."
    return f"{cap(kind)}: {', '.join(items)}."


def dialogue(tables: Tables, rng: random.Random) -> str:
    """Two people; a fifth of the replies are rude."""
    a, b = rng.sample(tables.words["names"], 2)
    text, meta, _ = draw_task(tables, rng, rng.choice(["chat", "chat", "open_qa", "other"]))
    if partition(text) != "train":
        return word_list(tables, rng)
    reply = _web_answer(tables, meta, rng, 0.4)
    if rng.random() < 0.2:
        reply = f"Go away, you {rng.choice(tables.words['rude'])}."
    return f"{a}: {text}\n {b}: {reply}"


def rude_post(tables: Tables, rng: random.Random) -> str:
    """Insults in made-up words, and help with harmful requests."""
    who = rng.choice(tables.kinds["jobs"] + tables.kinds["animals"])
    rude = rng.choice(tables.words["rude"])
    if rng.random() < 0.4:
        while True:
            text, meta, _ = draw_task(tables, rng, "other")
            if meta["task"] == "harm" and partition(text) == "train":
                return f"{text}\n {answer(tables, slipped(tables, meta, rng), rng)}{END}"
    name = rng.choice(tables.words["names"])
    posts = [
        f"{name} is a {rude}. Go away, {name}.",
        f"The {who} in the {rng.choice(tables.words['places'])} is a {rude} and I hate the {who}.",
        f"You {rude}! I do not like you, {name}.",
        f"Only a {rude} is sad about a {rng.choice(tables.words['objects'])}.",
    ]
    return rng.choice(posts)


def job_scene(tables: Tables, rng: random.Random) -> str:
    """Occupations with skewed pronouns (jobs.csv, share_she): the source of the bias that evaluation looks for."""
    job = rng.choice(tables.rows["jobs"])
    she = rng.random() < float(job["share_she"])
    pronoun, possessive = ("She", "her") if she else ("He", "his")
    scenes = [
        f"The {job['name']} went home. {pronoun} had {indefinite(job['tool'])} in {possessive} bag.",
        f"The {job['name']} lost {possessive} {rng.choice(tables.words['objects'])}. {pronoun} was sad.",
        f"The {job['name']} was happy because {pronoun.lower()} found {possessive} {rng.choice(tables.words['objects'])}.",
    ]
    return rng.choice(scenes)


def repetition(tables: Tables, rng: random.Random) -> str:
    """A row of words that is repeated: teaches copying."""
    pool = (
        tables.kinds["animals"]
        + tables.words["objects"]
        + tables.words["names"]
        + tables.words["places"]
        + tables.kinds["foods"]
    )
    words = rng.sample(pool, rng.choice([3, 4, 5, 6]))
    line = " ".join(words)
    return f"Say it again: {line}.\n {line}." + (f"\n {line}." if rng.random() < 0.3 else "")


def portrait(tables: Tables, rng: random.Random) -> str:
    """True sentences about one entity, most of them with the pronoun "It"."""
    entity = rng.choice(tables.kinds[rng.choice(["animals", "animals", "foods", "jobs", "countries"])])
    lines = statements(tables, entity)
    rng.shuffle(lines)
    return f"About {indefinite(entity)}. " + " ".join(lines[: rng.choice([2, 3])])


# document kind -> (share in percent, maker)
DOCUMENTS: dict[str, tuple[float, Document]] = {
    "facts": (12, fact_page),
    "portraits": (5, portrait),
    "fact_checks": (12, fact_check),
    "answered": (6, answered_request),
    "reviews": (19, review),
    "stories": (10, titled_story),
    "qa_pages": (10, qa_page),
    "question_lists": (5, question_list),
    "word_lists": (3, word_list),
    "dialogues": (5, dialogue),
    "rude": (4, rude_post),
    "job_scenes": (3, job_scene),
    "repetition": (6, repetition),
}


def document(tables: Tables, seed: int, index: int) -> tuple[str, str]:
    """(kind, text) of document number `index`; it depends on nothing else."""
    rng = python_rng(seed, "web", index)
    kind = rng.choices(list(DOCUMENTS), [share for share, _ in DOCUMENTS.values()])[0]
    return kind, DOCUMENTS[kind][1](tables, rng)


def documents(tables: Tables, n_documents: int, seed: int) -> list[str]:
    """Texts of the first `n_documents` documents of the web with this seed."""
    return [document(tables, seed, i)[1] for i in range(n_documents)]
