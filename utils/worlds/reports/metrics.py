"""What only this world can measure: which flaws a policy names, what it invents, and how near it comes to a second teacher."""

from __future__ import annotations

from collections.abc import Sequence

from utils.core.runtime import python_rng
from utils.data.schemas import Prompt
from utils.feedback.shown import ALONE, MADE_UP, MATCHED, ShownDocument, ShownPoint
from utils.worlds.protocol import Answer, MetricTable
from utils.worlds.reports.points import overlap, pointed, points
from utils.worlds.reports.reports import FLAWS
from utils.worlds.reports.rubric import judge
from utils.worlds.reports.teachers import comment, teacher

TEACHERS = 12  # who read the test reports; each report is read by two of them
STOCK = "Say how you found out."  # the dummy: one sentence under every report


def teachers_comments(prompt: Prompt) -> tuple[str, str]:
    """Comments of two simulated teachers on the same report, always the same ones."""
    rng = python_rng(0, "second_teacher", prompt.prompt)
    first, second = rng.sample(range(TEACHERS), 2)
    return tuple(comment(teacher(f"reader-{who}"), prompt.meta, rng) for who in (first, second))  # type: ignore[return-value]


def feedback_metrics(prompts: Sequence[Prompt], comments: Sequence[str]) -> dict[str, float]:
    """Metrics of one comment per report, each a share in [0, 1] but `points`.

    recall, precision: of planted flaws (over all reports together). invented: reports with an invented flaw. silent:
    flawed reports without any right point. points: mean number per comment. hit: share of the comment's points that a
    teacher makes too; hit_shuffled: with the teacher of another report; jaccard: shared points of all points, mean over
    reports. recall_FLAW: of one kind.
    """
    judged = [judge(p.meta, text) for p, text in zip(prompts, comments, strict=True)]
    own = [points(text) for text in comments]
    theirs = [points(teachers_comments(p)[1]) for p in prompts]
    there, right = sum(len(j.flaws) for j in judged), sum(len(j.right) for j in judged)
    named = right + sum(len(j.invented) for j in judged)
    pairs = [overlap(a, b) for a, b in zip(own, theirs, strict=True)]
    shuffled = [overlap(a, b) for a, b in zip(own, [*theirs[1:], *theirs[:1]], strict=True)]
    made = sum(pair.first for pair in pairs)
    flawed = [j for j in judged if j.flaws]
    found = {
        "recall": _share(right, there),
        "precision": _share(right, named),
        "invented": _share(sum(bool(j.invented) for j in judged), len(judged)),
        "silent": _share(sum(not j.right for j in flawed), len(flawed)),
        "points": _share(made, len(pairs)),
        "hit": _share(sum(pair.shared for pair in pairs), made),
        "hit_shuffled": _share(sum(pair.shared for pair in shuffled), made),
        "jaccard": _share(sum(pair.jaccard for pair in pairs), len(pairs)),
    }
    for kind in FLAWS:
        planted = sum(point.kind == kind for j in judged for point in j.flaws)
        found[f"recall_{kind}"] = _share(sum(point.kind == kind for j in judged for point in j.right), planted)
    return found


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def extra_metrics(
    policy: str, prompts: Sequence[Prompt], sampled: Sequence[Answer], greedy: Sequence[Answer]
) -> dict[str, float]:
    """Section `feedback` of the summary: of a policy, and of the two references that every policy is shown beside."""
    keys = {f"feedback.{policy}.n": float(len(prompts))}
    for end, answers in (("", sampled), ("_greedy", greedy)):
        found = feedback_metrics(prompts, [a.text for a in answers])
        keys |= {f"feedback.{policy}.{name}{end}": value for name, value in found.items()}
    if policy == "base":
        for name, texts in {"teacher": [teachers_comments(p)[0] for p in prompts], "stock": [STOCK] * len(prompts)}.items():
            keys |= {f"reference.{name}.{key}": value for key, value in feedback_metrics(prompts, texts).items()}
    return keys


CAPTION = (
    "Feedback on {n} reports: planted flaws named (recall), share of the named flaws that are there (precision), reports with "
    "an invented flaw, flawed reports without a right point (silent), points that a second simulated teacher makes too "
    "(hit), the same with the teacher of another report (hit_shuffled)."
)
COLUMNS = ("recall", "precision", "invented", "silent", "hit", "hit_shuffled", "jaccard")
TABLES = (
    MetricTable("feedback", COLUMNS, CAPTION),
    MetricTable("feedback", tuple(f"recall_{kind}" for kind in FLAWS), "Recall of each kind of flaw on {n} reports."),
)


def shown_document(prompt: Prompt, text: str) -> ShownDocument:
    """A comment beside those of the two simulated teachers, with what it made up: the planted flaws are known."""
    theirs = {f"Teacher {i}": points(said) for i, said in enumerate(teachers_comments(prompt), 1)}
    invented = set(judge(prompt.meta, text).invented)
    system = []
    for point, sentence in pointed(text):
        both = any(point in found for found in theirs.values())
        system.append(ShownPoint(sentence, MADE_UP if point in invented else MATCHED if both else ALONE))
    own = {point for point, _ in pointed(text)}
    teachers = {
        f"Teacher {i}": tuple(ShownPoint(sentence, MATCHED if point in own else ALONE) for point, sentence in pointed(said))
        for i, said in enumerate(teachers_comments(prompt), 1)
    }
    return ShownDocument("", prompt.prompt, tuple(system), teachers)
