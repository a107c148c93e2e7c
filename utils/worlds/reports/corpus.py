"""The pretraining text of the base model: reports with what people write below them. Simulated.

What a small model learns here decides what it can say later, so the text holds dense labels: reports with a mark after
every sentence, and lists of all flaws of a report. Comments and remarks are careless, as text on the web is.
No report of the validation and test split occurs in it (`tables.partition`).
"""

from __future__ import annotations

import random
from collections.abc import Callable

from utils.core.runtime import python_rng
from utils.worlds.reports.facts import heading, topics
from utils.worlds.reports.points import HARSH, SUGGESTIONS
from utils.worlds.reports.reports import FLAWS, QUESTIONS, Point, Report, draw_report, names, rude_words
from utils.worlds.reports.rubric import RUBRIC, judge, score
from utils.worlds.reports.teachers import comment, invented, say, teacher
from utils.worlds.tiny.tables import partition

END = "<|end|>"
LIST_SLIP = 0.01  # chance of an invented or a forgotten flaw in a list
WEB_SLIP = 0.4  # share of careless comments
WEB_TEACHERS = 200
SHORT: dict[str, str] = {
    "no_question": "question",
    "no_method": "source",
    "false_fact": "wrong {slot}",
    "one_fact": "facts",
    "said_twice": "twice {slot}",
    "no_reason": "reason",
    "no_ending": "ending",
    "other_answer": "answer {slot}",
    "off_topic": "off {slot}",
    "rude": "rude {slot}",
}
Document = Callable[[random.Random], str]


def training_report(rng: random.Random, kinds: list[str] | None = None) -> Report:
    """A report that no held-out prompt is equal to."""
    while True:
        found = draw_report(rng, kinds)
        if partition(found.text) == "train":
            return found


def flaw_list(flaws: tuple[Point, ...], rng: random.Random) -> str:
    """All flaws in a fixed order: "wrong kind, twice home, source."; now and then with a slip."""
    shown = list(flaws)
    if rng.random() < LIST_SLIP and shown:
        shown.remove(rng.choice(shown))
    return ", ".join(SHORT[point.kind].format(slot=point.slot) for point in shown) + "." if shown else "nothing."


def marked_text(report: Report) -> str:
    """The report with a checker's mark after every sentence but the title."""
    return " ".join(f"{s.text} {s.mark}".strip() for s in report.sentences)


def marked(rng: random.Random) -> str:
    """A report marked sentence by sentence; half of them with the list of flaws below."""
    report = training_report(rng)
    below = f"\n List: {flaw_list(report.flaws, rng)}{END}" if rng.random() < 0.5 else ""
    return f"Marked: {marked_text(report)}{below}"


def listed(rng: random.Random) -> str:
    """A report with the list of its flaws."""
    report = training_report(rng)
    return f"{report.text}\n List: {flaw_list(report.flaws, rng)}{END}"


def web_comment(report: Report, rng: random.Random) -> str:
    """What one of many teachers writes, often carelessly."""
    who = teacher(f"web-{rng.randrange(WEB_TEACHERS)}")
    return comment(who, report.meta(), rng, nice=0.35, slip=rng.random() < WEB_SLIP)


def commented(rng: random.Random) -> str:
    """A report with a teacher's comment, in the form that the prompted base is asked in."""
    report = training_report(rng)
    return f"{report.text}\n Teacher: {web_comment(report, rng)}{END}"


def remarked(rng: random.Random) -> str:
    """A report and a reader's remark without any name: a comment, one point, an insult, or a suggestion."""
    report = training_report(rng)
    roll = rng.random()
    if roll < 0.5:
        said = web_comment(report, rng)
    elif roll < 0.75:
        point = rng.choice(report.flaws) if report.flaws and rng.random() < 0.5 else invented(report.meta(), rng)
        said = say(point, report.topic, rng.randrange(2))
    elif roll < 0.85:
        said = HARSH.format(word=rng.choice(rude_words()))
    else:
        said = rng.choice(SUGGESTIONS)
    return f"{report.text}\n {said}{END}"


def reviewed(rng: random.Random) -> str:
    """A comment with a verdict on it: where a model can learn to judge a comment."""
    report = training_report(rng)
    said = web_comment(report, rng)
    if rng.random() < 0.2:
        said = web_comment(training_report(rng), rng)
    return f"{report.text}\n {said}{END} {verdict(report, said)}"


def verdict(report: Report, said: str) -> str:
    """One short remark on a comment, by its worst part."""
    scores, found = score(report.meta(), said), judge(report.meta(), said)
    if scores.harmless < 1:
        return "Rude."
    if found.invented or found.false_praises:
        return "Not true."
    if scores.helpful < 0.4:
        return "Too little."
    return "Great." if RUBRIC.gold(scores) > 8 else "Good."


def fact_page(rng: random.Random) -> str:
    """All facts of a topic."""
    topic = rng.choice(list(topics()))
    lines = [fact.sentence() for fact in topics()[topic]]
    rng.shuffle(lines)
    return f"{heading(topic)}. {' '.join(lines)}"


def fact_quiz(rng: random.Random) -> str:
    """Facts of several topics with a checker's marks, half of them mistaken."""
    lines = []
    for _ in range(rng.choice([2, 3, 4])):
        topic = rng.choice(list(topics()))
        fact, right = rng.choice(topics()[topic]), rng.random() < 0.5
        lines.append(f"{heading(topic)}. {fact.sentence(right=right)} {'Yes.' if right else f'No: {fact.truth}.'}")
    return "Marked: " + " ".join(lines)


def bare(rng: random.Random) -> str:
    """A report alone, or one without any flaw."""
    return training_report(rng, [] if rng.random() < 0.3 else None).text


def question_list(rng: random.Random) -> str:
    """Questions about topics, without answers."""
    lines = []
    for _ in range(rng.choice([3, 4])):
        topic = rng.choice(list(topics()))
        lines.append(f"{heading(topic)}, by {rng.choice(names())}. "
                     f"{rng.choice(QUESTIONS).format(aspect=rng.choice(topics()[topic]).aspect)}")  # fmt: skip
    return "\n ".join(lines)


def focused(rng: random.Random) -> str:
    """A short marked report around a comparison that is hard to learn: false facts, repetition, another question answered."""
    hard = [kind for kind in ("false_fact", "said_twice", "other_answer") if rng.random() < 0.5]
    easy = [kind for kind in ("no_method", "no_reason") if rng.random() < 0.7]
    report = training_report(rng, [kind for kind in FLAWS if kind in (*hard, *easy)])
    shown = marked_text(report) if rng.random() < 0.6 else report.text
    lead = "Marked: " if shown != report.text else ""
    return f"{lead}{shown}\n List: {flaw_list(report.flaws, rng)}{END}"


# document kind -> (share in percent, maker)
DOCUMENTS: dict[str, tuple[float, Document]] = {
    "marked": (22, marked),
    "focused": (10, focused),
    "listed": (26, listed),
    "commented": (16, commented),
    "remarked": (8, remarked),
    "reviewed": (7, reviewed),
    "facts": (3, fact_page),
    "fact_quiz": (4, fact_quiz),
    "bare": (3, bare),
    "question_lists": (1, question_list),
}


def document(seed: int, index: int) -> tuple[str, str]:
    """(kind, text) of document number `index`; it depends on nothing else."""
    rng = python_rng(seed, "reports", index)
    kind = rng.choices(list(DOCUMENTS), [share for share, _ in DOCUMENTS.values()])[0]
    return kind, DOCUMENTS[kind][1](rng)


def documents(count: int, seed: int) -> list[str]:
    """Texts of the first `count` documents with this seed."""
    return [document(seed, i)[1] for i in range(count)]
