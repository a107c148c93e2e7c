# %% [markdown]
# # 09 · Feedback overlap: does a system say what people say?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/instruct-gpt2/instruct-gpt2/blob/main/notebooks/09_feedback_overlap.ipynb)
#
# A model writes feedback on a document. There is no gold answer. Liang et al. (2023) therefore ask: how often does the model
# raise a point that a person raises too, and how often do two people? This lesson builds the whole comparison, fools it with
# a title and a few stock phrases, and repairs it ([the paper](https://arxiv.org/abs/2310.01783)).
#
# | | |
# |---|---|
# | **Reading** | about 35 minutes, with the exercises about 70 |
# | **Running** | less than two minutes on two CPU cores; no GPU, no download of models or data |
# | **Outputs made on** | a two-core CPU; the first cell's output names device and versions |
# | **You need** | Python, and scikit-learn beside the packages of the other lessons. No other lesson |
# | **You will be able to** | compute the overlap metrics by hand; say what a shuffle shows and what it cannot show; set a threshold at a null rate; put dummies beside a system; say when a claim is allowed |
#
# All documents and reviews here are **simulated**: a program plants flaws in made-up papers, and simulated reviewers notice
# some of them. So we know which points are really the same. No text below was written by a person.

# %% tags=["setup"]
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY, TAG = "https://github.com/instruct-gpt2/instruct-gpt2", "v0.1.0"
places = [Path.cwd(), *Path.cwd().parents, Path.cwd() / "instruct-gpt2"]
root = next((p for p in places if (p / "utils" / "pipeline").is_dir()), places[-1])
if not root.exists():  # Colab, Kaggle: the notebook came alone
    clone = ["git", "-c", "advice.detachedHead=false", "clone", "-q", "--depth", "1", "--branch", TAG, REPOSITORY, str(root)]
    subprocess.run(clone, check=True)
os.chdir(root)
sys.path.insert(0, str(root))  # first, so that no other package called utils is found before ours
if root / "utils" != Path(getattr(sys.modules.get("utils"), "__file__", None) or "none").parent:
    for name in [name for name in sys.modules if name.split(".")[0] == "utils"]:
        del sys.modules[name]

from utils.lessons import start

start()

# %% [markdown]
# ## Where we are

# %%
from utils.lessons import picture
from utils.report import pipeline_map

picture(pipeline_map("evaluate"))

# %% [markdown]
# This is an *evaluation*, for the case that the answer is feedback on a document and nobody has gold. The pipeline of this
# lesson is short: feedback → points (stage 1) → matches (stage 2) → overlap.
#
# ## The data
#
# Each simulated document has a title, six planted flaws, three reviewers, and one system called *reader*.

# %%
from utils.feedback import simulate_reviews
from utils.lessons import fast, table

told = simulate_reviews(16 if fast() else 40)
first = [row for row in told.feedback if row.document_id == told.feedback[0].document_id]
table([{"reviewer": row.reviewer, "text": row.text} for row in first], first[0].title)

# %% [markdown]
# Look at the texts before you go on. Where do the reviewers write about the topic, and where about a flaw? Which two reviewers
# raise the same flaw? The program knows:

# %%
table(
    [{"reviewer": row.reviewer, "flaws raised": ", ".join(told.flaws[row.key])} for row in first],
    "What only a simulation can show",
)

# %% [markdown]
# ## Stage 1: points
#
# A point is one concern, as a span of the text. Praise and summary are no points. The simplest extractor has fixed rules: it
# looks for questions, requests, negative words and headings, and joins neighbouring concern sentences of one line.

# %%
from utils.feedback import RulesExtractor, extraction_agreement, total

rules = RulesExtractor()
found = rules.extract(told.feedback)
table(
    [{"reviewer": p.reviewer, "point": p.point, "verbatim": p.verbatim} for p in found if p.document_id == first[0].document_id]
)

# %% [markdown]
# Every point keeps its exact words and its place in the text, so that you can check it. How good are the rules here?

# %%
truth = total(extraction_agreement(found, told.labels))
table([truth.record()], "Sentences: points against the truth")
assert truth.f1 > 0.9

# %% [markdown]
# On simulated reviews this is easy, because the program writes with few words. On real reviews it is hard, and two people also
# disagree about it: [docs/feedback.md](../docs/feedback.md) has the numbers.
#
# ## The metrics by hand
#
# Reviewer A has four points, B has three. A1 and A2 both match B1, and A3 matches B2. With $A \cap B$ as the matched points:
#
# $$\text{hit rate} = \frac{|A \cap B|}{|A|} \qquad \text{Szymkiewicz-Simpson} = \frac{|A \cap B|}{\min(|A|, |B|)} \qquad
# \text{Jaccard} = \frac{|A \cap B|}{|A \cup B|} \qquad \text{Sorensen-Dice} = \frac{2\,|A \cap B|}{|A| + |B|}$$
#
# `n_a` is $|A|$, `n_b` is $|B|$, `intersection` is $|A \cap B|$. The hit rate counts the matched points of A (three of four). The
# other three metrics are symmetric, so they count the smaller side (two).

# %%
from utils.feedback import set_overlap

toy = set_overlap(n_a=4, n_b=3, pairs=[(0, 0), (1, 0), (2, 1)])
assert toy.hit_rate == 3 / 4 and toy.recall == 2 / 3 and toy.intersection == 2
assert toy.szymkiewicz_simpson == 2 / 3 and toy.jaccard == 2 / (4 + 3 - 2) and toy.sorensen_dice == 2 * 2 / (4 + 3)
print(f"hit rate {toy.hit_rate:.2f}, recall {toy.recall:.2f}, Jaccard {toy.jaccard:.2f}, Dice {toy.sorensen_dice:.2f}")

# %% [markdown]
# One point may match several (A1 and A2 both match B1), and the paper does not say how this counts. Three rules for
# $|A \cap B|$ are possible: the smaller side (our default), pairs in which no point is used twice, or the matched points of A.
# The hit rate is the same under all three. The others are not:

# %%
rules_of = {rule: set_overlap(4, 3, [(0, 0), (1, 0), (2, 1), (2, 2)], rule) for rule in ("fewer", "one_to_one", "a")}
table([{"rule": r, "|A and B|": o.intersection, "hit rate": o.hit_rate, "Jaccard": o.jaccard} for r, o in rules_of.items()])
assert [o.intersection for o in rules_of.values()] == [3, 2, 3] and {o.hit_rate for o in rules_of.values()} == {3 / 4}

# %% [markdown]
# Here A3 also matches B3. Three points of A and three of B are matched, but only two pairs have no point in common. So name
# your rule beside a Jaccard index.
#
# The hit rate is A's precision if B is the reference. It rewards saying little: a system with one safe point can have a high hit
# rate. So look at the recall and at the number of points too.
#
# ## Stage 2: matches, the naive way
#
# Two points match if their texts are similar: TF-IDF of words and of characters, and the cosine. A threshold decides. We set
# it at a *null rate*, as low as in the paper: of the points of people, four in a hundred may match a feedback on *another*
# document. The paper uses GPT-4 for this stage. The trap below does not depend on that.
#
# To see what a hit rate is worth, we put three dummies beside the system. None of them reads the document:
#
# - *generic*: a few stock phrases;
# - *title_stuffed*: the same phrases, with the title in each;
# - *echo*: the sentences of a reviewer that are *no* concern.
#
# > **Predict first (1).** Order by hit rate: people, the system *reader*, generic, title-stuffed.

# %%
from utils.feedback import MatchSettings, ReportSettings, Scorer, match_feedback, overlap_report, with_dummies

PHRASES = (
    "Main problem: it is missing.", "I could not find it.", "Main problem: it is not explained.", "Why is it not discussed?",
    "To be precise: please add it.",
)  # fmt: skip
everybody = with_dummies(told.feedback, rules, PHRASES)
points = rules.extract(everybody)
mine = [row for row in everybody if row.document_id == first[0].document_id and row.source == "dummy"]
table([{"dummy": row.reviewer, "text": row.text} for row in mine], first[0].title)

# %% [markdown]
# Every dummy goes through stage 1 like everybody else. Then the two reports:


# %%
def compare(project, scorer):
    """Matches, and the report on them."""
    settings = MatchSettings(project=project)
    matches = match_feedback(everybody, points, settings, scorer)
    return matches, overlap_report(everybody, points, matches.rows, ReportSettings(settings))


def hit(report, name, null="real"):
    """The mean hit rate of a system."""
    return report["systems"][name]["hit_rate"][null]["mean"]


naive, naive_report = compare(False, Scorer.plain())
print(f"Points that match a shuffled feedback: people {hit(naive_report, 'human', 'shuffled'):.3f}")

# %% [markdown]
# The null rate holds: about four in a hundred. Now the real documents:

# %%
from utils.report import Look, grouped_bars


def shown(report, title):
    """Hit rates of every system: real and shuffled."""
    names, bars = list(report["systems"]), {}
    for null in ("real", "shuffled"):
        values = [report["systems"][name]["hit_rate"][null] for name in names]
        bars[null] = [(value["mean"], (value["high"] - value["low"]) / 2) for value in values]
    picture(grouped_bars(names, bars, Look("who writes", "hit rate", title)))


shown(naive_report, "Naive matching: the topic trap")
assert hit(naive_report, "title_stuffed") > 1.2 * hit(naive_report, "human") > hit(naive_report, "echo")
assert hit(naive_report, "title_stuffed", "shuffled") < 0.05
assert abs(hit(naive_report, "generic") - hit(naive_report, "generic", "shuffled")) < 0.05

# %% [markdown]
# Look at *generic* first. Its two bars are about equal: what fits every document fits shuffled documents too. For this the
# shuffle was made, and here it works.
#
# But the dummy with the title is *above people*. It says nothing about the document, and its shuffled bar is almost zero, so
# the shuffle does not reveal it: a shuffled title belongs to another topic. A shuffle detects generic feedback, and only this.
#
# Why? All reviewers of one document use the words of its topic. Similarity of texts finds the topic first.
#
# > **Predict first (2).** Of the matches between two reviewers that the naive matcher keeps, how many are about the same flaw?

# %%
words = {p.key: p.verbatim for p in told.points}
ends = [((m.document_id, m.a_reviewer, m.a_point), (m.document_id, m.b_reviewer, m.b_point)) for m in told.matches if m.match]
true_pairs = {frozenset((words[a], words[b])) for a, b in ends}
said = {p.key: p.verbatim for p in points}


def same_flaw(matches):
    """Kept real matches of people and the reader, and the share of them that are about one planted flaw."""
    known = {row.key for row in told.feedback}
    kept = [m for m in matches.rows if m.kept and m.null == "real" and {m.a[:2], m.b[:2]} <= known]
    right = sum(frozenset((said[m.a], said[m.b])) in true_pairs for m in kept)
    return {"kept": len(kept), "about the same flaw": right / len(kept)}


table([{"matcher": "naive"} | same_flaw(naive)])
assert same_flaw(naive)["about the same flaw"] < 0.5

# %% [markdown]
# The others are two different flaws in one document. What these texts share is the topic.
#
# ## Projecting the topic out
#
# Let $x$ be the vector of a point and $t$ the unit vector of the topic (the title, the abstract, and what the *other* reviewers
# write that is no concern). We keep only what is not the topic:
#
# $$x' = x - (x \cdot t)\, t$$
#
# In the code $x$ is a row of `a` or `b`, and $t$ is in `topics`. A shuffled pair has two topics. Both are projected out of both
# texts, so that a real pair does not lose more than a shuffled one. By hand, in three dimensions:

# %%
import numpy as np
from scipy.sparse import csr_matrix

from utils.feedback import projected_cosine

x, y, t = np.array([0.6, 0.8, 0.0]), np.array([0.6, 0.0, 0.8]), np.array([1.0, 0.0, 0.0])
rest = [v - (v @ t) * t for v in (x, y)]
by_hand = rest[0] @ rest[1] / (np.linalg.norm(rest[0]) * np.linalg.norm(rest[1]))
(code,) = projected_cosine(*(csr_matrix(v) for v in (x, y)), [csr_matrix(t)])[0]
assert np.isclose(code, by_hand)
print(f"cosine {x @ y:.2f}; without the topic {by_hand:.2f}")

# %% [markdown]
# All similarity of these two points was topic. There is a second change: the cosine is compared with what is *usual* for both
# points on other documents. A phrase that fits everywhere needs more similarity.
#
# > **Predict first (3).** What happens to the bars of people, and to the bar of the title-stuffed dummy?

# %%
mended, report = compare(True, Scorer())
shown(report, "The topic projected out")
assert max(hit(report, name) for name in ("generic", "title_stuffed", "echo")) < 0.1
assert hit(report, "human") > 0.2 and hit(report, "reader") > 0.2

# %% [markdown]
# The title no longer pays. People and the reader keep a part of their hits, and most of this part is about flaws:

# %%
table([{"matcher": "naive"} | same_flaw(naive), {"matcher": "topic projected out"} | same_flaw(mended)])
assert same_flaw(mended)["about the same flaw"] > same_flaw(naive)["about the same flaw"] + 0.15

# %% [markdown]
# Similarity does not see *not*: "is novel" and "is not novel" are near. This is why only concerns are matched: praise would
# match criticism.
#
# ## When a claim is allowed
#
# The excess is the hit rate minus the system's own shuffle. A claim needs an excess above *all* dummies. The differences are
# paired by document, with bootstrap intervals over documents.

# %%
claims = [
    {"who": who, "above": dummy} | minus | {"claim": "yes" if minus["low"] > 0 else "no"}
    for who, claim in report["claims"].items()
    for dummy, minus in claim["minus"].items()
]
table(claims, "Excess minus the dummy's excess: the topic projected out")
print({name: "all dummies" if claim["above_all"] else "not all" for name, claim in naive_report["claims"].items()})
assert all(claim["above_all"] for claim in report["claims"].values())
assert not any(claim["above_all"] for claim in naive_report["claims"].values())

# %% [markdown]
# If one row says no, the system has not been shown to read the document. With the topic projected out, all rows say yes. The
# printed line is the naive matching: there not even people are above all dummies, because of the title.
#
# ## People as the yardstick
#
# How often do two *people* agree? To be fair, only the first N points of a person count, N being the number that the system has
# on this document.

# %%
control = report["human_first_n"]["reader"]
lines = [{"who": "reader against people"} | report["systems"]["reader"]["hit_rate"]["real"]]
table([*lines, {"who": "people against people, first N"} | control["real"]], "Hit rate with 95 % intervals")
assert lines[0]["low"] < control["real"]["high"] and control["real"]["low"] < lines[0]["high"]

# %% [markdown]
# The intervals overlap: nothing here says that the reader agrees with people less or more than people do. The paper reports
# this pair of numbers: for ICLR 39.23 % for GPT-4 against a person and 35.25 % for two people. Ours are simulated and say
# nothing about GPT-4.
#
# Which points does the system find? In the paper, those that several people raise:

# %%
by_people = report["recall_by"]["reader"]["reviewers"]
table([{"raised by": n} | row for n, row in by_people.items()], "Share of people's points that the reader has")

# %% [markdown]
# Here the reader notices every flaw that is there equally often, whoever else notices it, so no rise is to be expected. In real
# data a part of the rise is the matcher: the same matches say who raised a point and whether the system has it, so texts that
# are easy to match count twice.
#
# ## Real reviews
#
# DISAPERE has reviews of papers with the sentences labeled by people. Its licence does not let us ship it, but the numbers are
# kept: a script measured the same bars on it. First the reviews and dummies with plain cosines, then with the topic projected out.
#
# > **Predict first (4).** Will the title-stuffed dummy be above people here, too? And the echo, after the projection?

# %%
from utils.core import read_json

real = read_json("results/feedback/disapere.json")["overlap"]["all, points by rules"]
shown(real["plain"], "Real reviews, naive matching")

# %% [markdown]
# The highest bar belongs to a title, as in the simulation.

# %%
shown(real["projected"], "Real reviews, the topic projected out")
assert hit(real["plain"], "title_stuffed") > 1.5 * hit(real["plain"], "human")
assert real["projected"]["claims"]["human"]["above_all"] and hit(real["projected"], "title_stuffed") < 0.05
assert hit(real["projected"], "echo") > hit(real["projected"], "echo", "shuffled")
assert hit(real["plain"], "human") < hit(naive_report, "human") and hit(real["projected"], "human") < hit(report, "human")

# %% [markdown]
# A title, repeated, hits more than people do. Without the topic it falls to almost nothing. The echo
# keeps a part of its hits, because the rules take some sentences of a summary for concerns; people are above it by more than the
# interval. All bars of people are far below those of the simulation: real concerns are said in many more words, and a matcher
# that counts words misses most of them. These bars order systems beside their dummies. They are no levels.

# %% [markdown]
# ## The same from files
#
# Every stage reads and writes JSONL, so that another program or a person can do any of them. We write what we have:

# %%
from utils.core import write_json, write_rows
from utils.lessons import run_folder

folder = run_folder("notebook_09")
for name, rows in {"feedback": everybody, "points": points, "matches": mended.rows}.items():
    write_rows(folder / f"{name}.jsonl", rows)
write_json(folder / "overlap.json", report)
print(", ".join(sorted(path.name for path in folder.iterdir())))

# %% [markdown]
# In a terminal, with your own files in the same form:
#
# ```
# python scripts/feedback.py dummies mine.jsonl --out feedback.jsonl
# python scripts/feedback.py extract feedback.jsonl --out points.jsonl
# python scripts/feedback.py match feedback.jsonl --points points.jsonl --out matches.jsonl
# python scripts/feedback.py overlap feedback.jsonl --points points.jsonl --matches matches.jsonl --out overlap.json
# ```
#
# ## Exercises
#
# Replace the dots, run the cell, and read the check's message: it names the likely mistake. The executed solutions are in
# [solutions/09_feedback_overlap.ipynb](../solutions/09_feedback_overlap.ipynb).
#
# ### Exercise 1 (easy, 5 minutes): the hit rate
#
# A has `n_a` points. `pairs` are the matches (point of A, point of B). Return the hit rate.

# %% tags=["exercise"]
from utils.lessons import check_overlap_hit_rate


def hit_rate(n_a, pairs):
    return ...


print(check_overlap_hit_rate(hit_rate))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def hit_rate(n_a, pairs):
#     return len({i for i, _ in pairs}) / n_a
# ```
# A point that matches twice is still one point.
# </details>
#
# ### Exercise 2 (easy, 5 minutes): the excess
#
# `real` and `shuffled` are lists of hit rates. Return the excess.

# %% tags=["exercise"]
from utils.lessons import check_overlap_excess


def excess(real, shuffled):
    return ...


print(check_overlap_excess(excess))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def excess(real, shuffled):
#     return sum(real) / len(real) - sum(shuffled) / len(shuffled)
# ```
# Each system is compared with its *own* shuffle.
# </details>
#
# ### Exercise 3 (medium, 10 minutes): a threshold at a null rate
#
# `best_shuffled` has, for each point, its highest similarity to a feedback on another document. Return the lowest of these numbers
# that at most a share `rate` of them reaches (`rate` allows at least one).

# %% tags=["exercise"]
from utils.lessons import check_threshold


def threshold(best_shuffled, rate):
    return ...


print(check_threshold(threshold))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def threshold(best_shuffled, rate):
#     ordered = sorted(best_shuffled, reverse=True)
#     return ordered[int(len(ordered) * rate) - 1]
# ```
# In the code it is set on the documents of the other half, so that no document sets its own threshold.
# </details>
#
# ### Exercise 4 (hard, 10 minutes): the projection
#
# `text` and `topic` are vectors (lists); the topic has length 1. Return the text without its part along the topic.

# %% tags=["exercise"]
from utils.lessons import check_without_topic


def without_topic(text, topic):
    return ...


print(check_without_topic(without_topic))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def without_topic(text, topic):
#     along = sum(x * t for x, t in zip(text, topic, strict=True))
#     return [x - along * t for x, t in zip(text, topic, strict=True)]
# ```
# The result is orthogonal to the topic.
# </details>
#
# **One exercise without a check.** Write a dummy of your own that reads only the title, and try to beat people with the topic
# projected out. Which line of the report reveals it?

# %% [markdown]
# ## The four predictions
#
# <details><summary>1: the order</summary>
# Title-stuffed is first, above people; then people and the reader. Generic is far below, and its shuffle is as high.
# </details>
# <details><summary>2: naive matches</summary>
# Less than half. The others are two reviewers who write about one topic.
# </details>
# <details><summary>3: the projection</summary>
# People lose the hits that were topic, the dummy loses almost everything.
# </details>
# <details><summary>4: real reviews</summary>
# Yes: the title is far above people with plain cosines. After the projection people are above all dummies, and the echo is nearest.
# </details>

# %% [markdown]
# ## Liang et al. and this lesson
#
# | | Liang et al. | here | why |
# |---|---|---|---|
# | documents | papers of Nature journals and ICLR | simulated | we know which points are the same |
# | who writes | GPT-4, from the first 6,500 tokens | simulated reviewers | no download, no API |
# | points | GPT-4, checked by people | rules; classifier or any language model in `scripts/feedback.py` | offline |
# | matches | GPT-4, similarity 7 or more of 10 | text similarity at a null rate | offline; a language model can do it here too |
# | topic | not controlled | projected out, dummies beside it | a title beats people otherwise |
# | shuffle | within journal or year | within venue and year | the same |
# | human control | first N comments | first N points | the same |
#
# ## What this must not decide
#
# Overlap with people is agreement. It is not correctness, not quality, and no reason to replace a reviewer or a teacher. People
# overlook flaws together, and a point that nobody else raises may be the best one.
#
# ## What comes next
#
# The same comparison for your own files is `scripts/feedback.py`; [docs/feedback.md](../docs/feedback.md) explains its files,
# what was measured on real reviews, and what does not work. In the code: [`utils/feedback/report.py`](../utils/feedback/report.py)
# and [`utils/feedback/similarity.py`](../utils/feedback/similarity.py).
