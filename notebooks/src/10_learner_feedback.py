# %% [markdown]
# # 10 · Feedback on learners' documents
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/instruct-gpt2/instruct-gpt2/blob/main/notebooks/10_learner_feedback.ipynb)
#
# A teacher has a database: documents of learners, comments, marks. Can a model learn to comment from it? And how do we know
# whether its comments are good? This lesson trains nothing new by hand. It uses the same pipeline as all other lessons, with
# another world, and asks what can go wrong when a program comments the work of children.
#
# | | |
# |---|---|
# | **Reading** | about 35 minutes, with the exercises about 70 |
# | **Running** | less than four minutes on two CPU cores; no GPU, no download of models or data |
# | **Outputs made on** | a two-core CPU; the first cell's output names device and versions |
# | **You need** | Python, lesson 00 or the idea of SFT, reward model and PPO |
# | **You will be able to** | measure comments by precision, recall and overlap with a second teacher; say why each of these numbers alone misleads; import a database without personal data; say what such comments must never decide |
#
# All pupils, reports, teachers and labelers here are **simulated**, and so is the score called *gold*: a program that knows
# which flaws it planted. No number below comes from people. Nothing below says anything about real children.

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
# The cell above finds the repository (or fetches it, on Colab) and checks that every package is there. It installs nothing.
#
# ## Where we are

# %%
from utils.lessons import picture
from utils.report import pipeline_map

picture(pipeline_map("evaluate"))

# %% [markdown]
# Every stage of the pipeline is the same as in lessons 00 to 05. Only the world differs: `python scripts/pipeline.py --profile
# reports` makes the run that we read here. The last stage, the evaluation, is what this lesson is about.

# %%
from pathlib import Path

from utils.lessons import fast, run_folder, shipped, table

lesson = shipped(Path("data/reports"))
folder = run_folder("notebook_10")
reports = lesson.prompts("test")[: 60 if fast() else None]  # FAST=1 is for tests: the same lesson on a few reports
print(len(reports), "reports of schools that no model was trained on")

# %% [markdown]
# ## A report and its flaws
#
# A pupil writes about one of thirty topics. A faultless report has a question, a method, two or three facts, a reason and an
# ending that answers the question. The program plants up to four flaws. Here is a report with three of them.

# %%
from utils.worlds.reports import FLAWS, flaws_of

one = next(p for p in reports if len(flaws_of(p.meta)) == 3)
print(one.prompt)
table([{"planted flaw": point.kind, "where": point.slot, "importance": FLAWS[point.kind]} for point in flaws_of(one.meta)])

# %% [markdown]
# The importance of a flaw is a choice of this world. A false fact and a rude word count most, a sentence said twice counts least.
# Because the flaws are planted, we can say for every point of a comment whether it is right. With real documents nobody can.
#
# ## Two teachers
#
# Simulated teachers have tastes. Each finds other flaws important, notices about half of them, makes at most two or three
# points, and some like to add a suggestion that no flaw stands behind.

# %%
from utils.core import python_rng
from utils.worlds.reports import comment, judge, teacher, teachers_comments

for name in ("anna", "ben", "cem"):
    print(f"{name}: {comment(teacher(name), one.meta, python_rng(1, name))}")

# %% [markdown]
# The three comments are all truthful, and they differ. How much do two teachers share? Each report of the test set was read by
# two of them. First by hand, on the first three reports: the points of each comment, and which of the first teacher's points the
# second one makes too.

# %%
from utils.worlds.reports import points

first, second = zip(*map(teachers_comments, reports), strict=True)
rows = [
    {
        "report": i,
        "first teacher": ", ".join(p.kind for p in points(a)),
        "second teacher": ", ".join(p.kind for p in points(b)),
        "shared": len(set(points(a)) & set(points(b))),
    }
    for i, (a, b) in enumerate(zip(first[:3], second[:3], strict=True), 1)
]
table(rows)

# %% [markdown]
# The share is: shared points of all three reports, divided by the points that the first teachers made. `feedback_metrics` computes
# the same and calls it `hit`.

# %%
from utils.worlds.reports import feedback_metrics

made = sum(len(points(text)) for text in first[:3])
by_hand = sum(row["shared"] for row in rows) / made
assert by_hand == feedback_metrics(reports[:3], first[:3])["hit"]
print(f"{sum(row['shared'] for row in rows)} of {made} points: {by_hand:.2f}")

# %% [markdown]
# Three reports say little. Now all of them.
#
# > **Predict first (1).** Take one point of a teacher's comment. How often does a second teacher make the same point about the
# > same report? Write down a percentage. And about *another* report?

# %%
human = feedback_metrics(reports, first)
print(f"a second teacher makes it too: {human['hit']:.2f}; a teacher of another report: {human['hit_shuffled']:.2f}")

# %% [markdown]
# This share is the **hit rate** of [Liang et al. 2023](https://arxiv.org/abs/2310.01783), who compared GPT-4 with reviewers of
# research papers; between two people they found 28.6 % (Nature journals) and 35.3 % (ICLR). Our teachers are calibrated to this
# range. So a hit rate far below 1 is no sign of a bad comment: two good teachers see different things. The second number is
# the control: what is said under any report at all, hits without reading.
#
# ## What gold pays for
#
# Gold has ten points in six parts, as in the tiny world. We score four comments on one flawed report.
#
# > **Predict first (2).** How many of ten points should "Good work" earn under a report with three flaws? It is polite,
# > truthful and well formed.

# %%
from utils.worlds.reports import RUBRIC, STOCK, score

name = one.meta["name"]
tried = {"silence": f"Good work, {name}.", "stock phrase": STOCK, "a teacher": teachers_comments(one)[0]}
rows = [
    {"comment": what, "text": text, "gold": RUBRIC.gold(score(one.meta, text)), **score(one.meta, text)._asdict()}
    for what, text in tried.items()
]
table(rows, digits=2)

# %% [markdown]
# A first version of this rubric gave the praise full marks for truth, harmlessness and form. Silence looked good, and shy
# policies won. Now truth counts only beside a right point. The picture shows both versions for all reports.

# %%
from utils.report import Look, grouped_bars


def mean_gold(texts, shy):
    """Mean gold; shy: the first version, in which truth counts without any point."""
    found = []
    for p, text in zip(reports, texts, strict=True):
        s, j = score(p.meta, text), judge(p.meta, text)
        honest = s._replace(truthful=1 / (1 + 2 * (len(j.invented) + j.false_praises)))
        found.append(RUBRIC.gold(honest if shy else s))
    return sum(found) / len(found)


# %%
comments = {
    "silence": [f"Good work, {p.meta['name']}." for p in reports],
    "stock phrase": [STOCK] * len(reports),
    "teacher": first,
}
versions = {
    version: [(mean_gold(texts, shy), 0.0) for texts in comments.values()]
    for version, shy in (("truth alone", True), ("truth beside a point", False))
}
picture(grouped_bars(list(comments), versions, Look("comments", "gold (points)", "What gold pays for saying nothing")))

# %% [markdown]
# The order of the rubric's parts did not change, only one rule. A score that can be earned by silence teaches silence. Look for
# such a rule in every rubric of your own before you train on it.
#
# ## What the policies say
#
# The shipped run has the greedy answers of every policy on the test reports.

# %%
greedy = {}
for row in lesson.samples():
    if float(row["temperature"]) == 0:
        greedy.setdefault(row["policy"], {})[row["prompt_id"]] = row["completion"]
texts = {policy: [found[p.prompt_id] for p in reports] for policy, found in greedy.items()}
table([{"policy": policy, "comment on the report above": found[one.prompt_id]} for policy, found in greedy.items()])

# %% [markdown]
# The base model was trained on reports with marks, lists, remarks and careless comments. Without a hint it writes what often
# follows a report there: a list of flaws in words that are no comment. Asked with "Teacher:" (*prompted*) it comments. SFT learned
# from simulated teachers' comments, PPO from rankings. How good are they on all test reports?

# %%
measured = {policy: feedback_metrics(reports, found) for policy, found in texts.items()}
measured |= {"teacher": human, "stock phrase": feedback_metrics(reports, comments["stock phrase"])}
shown = ("recall", "precision", "invented", "silent", "points", "hit", "hit_shuffled")
table([{"who": who} | {key: found[key] for key in shown} for who, found in measured.items()], digits=2)

# %% [markdown]
# *recall* and *precision* count planted flaws. *invented* is the share of reports with a point that nothing in the report
# supports, *silent* the share of flawed reports without any right point, *points* the mean number of points per comment. Look at
# the base: it makes hardly any point in the form of a comment, so it is silent, and its precision and hit rate rest on almost
# nothing.
#
# Gold sums this up. Per report: in how many is PPO's comment better than SFT's and than that of PPO's own start, and by how much?

# %%
from utils.evaluation import normal_quantile, paired_difference

golds = {
    policy: [RUBRIC.gold(score(p.meta, text)) for p, text in zip(reports, found, strict=True)]
    for policy, found in texts.items()
}
Z = normal_quantile(0.95)

# %%
rows = []
for before in ("prompted", "sft", "init"):
    changes = [b - a for a, b in zip(golds[before], golds["ppo"], strict=True)]
    gain = paired_difference(golds["ppo"], golds[before])
    rows.append(
        {
            "PPO against": before,
            "better": sum(c > 0 for c in changes),
            "equal": sum(c == 0 for c in changes),
            "worse": sum(c < 0 for c in changes),
            "mean change": f"{gain.mean:+.2f} ± {Z * gain.se:.2f}",
        }
    )
assert all(row["mean change"][0] == "+" for row in rows) or fast()
table(rows)

# %% [markdown]
# On average PPO's comments are better than those of every policy before it. In a part of the reports they are worse: an average
# is no promise for one child.
#
# One run is one seed. The profile was run with five (`python scripts/sweep.py --profile reports`); half a 95 % interval over seeds
# stands behind each number.

# %%
from utils.core import read_json
from utils.experiments import feedback_rows

seeds = read_json("results/reports/summary.json")
gold = {policy: seeds["metrics"][f"gold.{policy}.greedy_mean"] for policy in ("prompted", "sft", "ppo")}
assert gold["sft"]["high"] < gold["prompted"]["low"] and gold["prompted"]["high"] < gold["ppo"]["low"]
table(feedback_rows(seeds))

# %% [markdown]
# *gold* is in points of ten, *points* are per comment, the other columns are shares, all greedy. Here imitation does not help: SFT's
# greedy comments are below those of the prompted base, over all seeds. The base has read many exact lists of flaws; the
# demonstrations name half of them, and a quarter has a slip. Rankings help: PPO is above both.
#
# ## The hit rate rewards saying little
#
# > **Predict first (3).** We take PPO's comments and keep only the *first* point of each. What happens to the hit rate, and what
# > to recall?


# %%
def only_first(text):
    """The comment cut after its first point."""
    kept = []
    for sentence in text.split(". "):
        kept.append(sentence.rstrip("."))
        if points(sentence.rstrip(".") + "."):
            break
    return ". ".join(kept) + "."


short = feedback_metrics(reports, [only_first(text) for text in texts["ppo"]])
assert short["recall"] < measured["ppo"]["recall"] - 0.05 and abs(short["hit"] - measured["ppo"]["hit"]) < 0.05 or fast()
table([{"who": who} | {key: found[key] for key in shown} for who, found in (("ppo", measured["ppo"]), ("first point", short))])

# %% [markdown]
# The hit rate divides by the points that are *made*. Who keeps only the first point loses much recall, and the hit rate hardly
# moves. So a hit rate is shown with recall and the number of points, never alone. (The base is not in the picture: a hit rate of
# almost no points is no number.)

# %%
from utils.report import scatter

assert measured["base"]["points"] < 0.1
dots = [
    {"name": who, "recall": found["recall"], "hit": found["hit"]}
    for who, found in (measured | {"first point": short}).items()
    if who != "base"
]
picture(
    scatter(dots, "recall", "hit", Look("recall of planted flaws", "hit rate with a second teacher", "Two numbers, not one"))
)

# %% [markdown]
# The stock phrase lies at the bottom left: it is said without reading, and its hit rate is that of its shuffle. A claim that a
# system reads the document needs a hit rate well above its own shuffle and above the stock phrase.
#
# ## Which flaws are not learned
#
# > **Predict first (4).** Which of the ten flaws will a model of 0.3 million parameters miss most? Order these four: no reason, a
# > rude word, a false fact, an ending that answers another question.

# %%
from utils.evaluation import mean_se

MISSING = ("no_question", "no_method", "no_reason", "no_ending", "one_fact")  # a sentence is not there
READ = ("off_topic", "rude", "false_fact", "said_twice", "other_answer")  # a sentence has to be pointed at or compared


def named(found, kind):
    """For each planted flaw of this kind: 1 if the comment names it, else 0."""
    judged = [judge(p.meta, text) for p, text in zip(reports, found, strict=True)]
    return [float(point in j.right) for j in judged for point in j.flaws if point.kind == kind]


def bars(found):
    """(recall, half of its 95 % interval) of each kind of flaw."""
    return [(m.mean, Z * m.se) for m in (mean_se(named(found, kind)) for kind in (*MISSING, *READ))]


# %%
everybody = texts | {"teacher": first}
shares = {who: bars(everybody[who]) for who in ("prompted", "sft", "ppo", "teacher")}
flaw_names = [kind.replace("_", "\n") for kind in (*MISSING, *READ)]
picture(grouped_bars(flaw_names, shares, Look("planted flaw", "recall", "Which flaws are named (greedy)")))

# %% [markdown]
# The five flaws at the left are sentences that are *missing*: the model has to see that no sentence of a form is there. At the right
# it has to point at a sentence and repeat a word of it (a thing that is off topic, a rude word), or to *compare*: a fact with what is
# true, a sentence with another one, the ending with the question.

# %%
missing, read = (sum(measured["ppo"][f"recall_{kind}"] for kind in group) / len(group) for group in (MISSING, READ))
print(f"PPO, mean recall: what is missing {missing:.2f}, what has to be read {read:.2f}")
assert missing > read + 0.2 or fast()

# %% [markdown]
# A teacher who reads only the model's comments would hardly ever hear of some kinds of flaws. This is the most important picture
# of the lesson: an average hides it.
#
# Did PPO help with every flaw? Compare it with SFT, and with its own start.

# %%
changes = {}
for before in ("sft", "init"):
    found = [paired_difference(named(texts["ppo"], kind), named(texts[before], kind)) for kind in (*MISSING, *READ)]
    changes[f"PPO minus {'its start' if before == 'init' else 'SFT'}"] = [(d.mean, Z * d.se) for d in found]
assert min(mean for found in changes.values() for mean, _ in found) < 0 or fast()
picture(grouped_bars(flaw_names, changes, Look("planted flaw", "change of recall", "What PPO changed (greedy)")))

# %% [markdown]
# PPO raises the mean score. It does not raise every part of it: what it finds safe, it says more often, and some flaws get *less*
# attention although they matter more. If some flaws must not be missed, look at them one by one after every training.
#
# ## A database of your own
#
# A teacher's data are joined tables with names of their own. `mapping.yaml` says which table and column holds what. We write a
# simulated database with Korean table names, as the example does, and import it.

# %%
from utils.feedback.database import ImportOptions, import_database
from utils.worlds.reports import write_sample

place = folder / "database"
mapping = place / "mapping.yaml" if (place / "mapping.yaml").exists() else write_sample(place, 200 if fast() else 600)
print("\n".join(mapping.read_text(encoding="utf-8").splitlines()[4:22]))

# %% [markdown]
# The columns under `names` and `private` are never written. They are read only to find them in the texts. What is imported?

# %%
import shutil

shutil.rmtree(folder / "rows", ignore_errors=True)
counted = import_database(mapping, folder / "rows", ImportOptions(folder / "salt.txt"))
table(
    [
        {"what": f"{part}: {what}", "count": count}
        for part in ("files", "documents", "masked", "left_out")
        for what, count in counted[part].items()
    ]
)

# %% [markdown]
# Left out are drafts and everything by learners without consent. The report holds counts alone. Every person gets one alias, the
# same in documents and comments, else "Good work" would name somebody else than the report. Korean particles follow a name
# without a blank, and an alias ends in a vowel if the name does, so the particle stays right:

# %%
from utils.feedback.database import Aliases, Masker, Person

aliases = Aliases()
masker = Masker(Person(name, name, aliases.of(name, name)) for name in ("Mia Berg", "김민수", "박지훈"))
for text in ("Mia's friend Tom helped.", "민수가 도왔고 지훈이 그렸다.", "Mail mia@mail.example, born on 2014-03-09."):
    print(text, "->", masker.mask(text))

# %% [markdown]
# Tom is not in the database, so he is not found. Patterns and lists find what they know. Nicknames, misspelled names and people
# outside the database stay. Read a sample by eye before you train, and again before you share a model.
#
# Whole schools go into one split. Otherwise the model is tested on pupils and teachers whose style it has seen. Without a
# ranking by a teacher there is no reward model of yours: comments and labels make demonstrations only. `--rule-rankings` makes
# rankings from labels, by a rule, and the file says so.
#
# From these files, `python scripts/pipeline.py --profile gpt2 --prompts ... --demonstrations ...` trains any base. Then
# `python scripts/feedback.py comment` writes the model's comments on the test documents beside the teachers', and `extract`,
# `match` and `overlap` compare them as in lesson 09 ([all commands](../docs/learner-feedback.md)).
#
# ## A page that a teacher can read

# %%
from utils.worlds.reports import shown_document

page = shown_document(one, greedy["ppo"][one.prompt_id])
sides = {"PPO": page.system, **page.teachers}
table([{"who": who, "point": point.text, "status": point.meaning} for who, found in sides.items() for point in found])

# %% [markdown]
# `python scripts/feedback.py page --run RUN` writes such a page for all test reports; with `--feedback`, `--points` and
# `--matches` it does so for your own documents. There, "made up" is not known: a point that only the system names may be
# right or wrong, and a person has to read it.
#
# ## What such comments must never decide
#
# - **Children's data.** Use documents only with the consent of learners and guardians, for the purpose that they agreed to. A
#   model trained on them can repeat them: it is personal data until you have shown the opposite. Delete it when consent ends.
# - **No marks, no selection, no support decisions.** The picture above shows flaws that this model hardly ever names. A mark made of
#   its comments would be a mark for the flaws that it happens to see.
# - **A person answers for every sentence.** A child cannot tell an invented flaw from a real one. No comment goes out unread.
# - **Style is not truth.** A comment in a teacher's words is believed like a teacher. Say who wrote it.
# - **Overlap is not quality.** Two teachers can share a mistake, or a taste. Overlap with teachers at one school says little about
#   another one, and nothing about what the comments do to learning.

# %% [markdown]
# ## Exercises
#
# Replace the dots, run the cell, and read the check's message: it names the likely mistake. The executed solutions are in
# [solutions/10_learner_feedback.ipynb](../solutions/10_learner_feedback.ipynb).
#
# ### Exercise 1 (easy, 5 minutes): the hit rate
#
# `own` and `theirs` are lists of points about one document. Return the share of `own` points that are among `theirs`, and 0 if
# there are no `own` points.

# %% tags=["exercise"]
from utils.lessons import check_hit_rate


def hit_rate(own, theirs):
    return ...


print(check_hit_rate(hit_rate))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def hit_rate(own, theirs):
#     if not own:
#         return 0
#     return sum(point in theirs for point in own) / len(own)
# ```
# It is not symmetric: who says more usually has the lower hit rate.
# </details>
#
# ### Exercise 2 (easy, 10 minutes): precision and recall
#
# `named` and `planted` have one list of flaws per report. Return precision and recall over all reports together.

# %% tags=["exercise"]
from utils.lessons import check_precision_recall


def precision_recall(named, planted):
    return ...


print(check_precision_recall(precision_recall))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def precision_recall(named, planted):
#     right = sum(len(set(a) & set(b)) for a, b in zip(named, planted, strict=True))
#     return right / sum(map(len, named)), right / sum(map(len, planted))
# ```
# Recall needs to know all flaws. With real documents there is only precision, and only if somebody reads every point.
# </details>
#
# ### Exercise 3 (medium, 10 minutes): excess over the shuffle
#
# `own` and `theirs` have one list of points per document. Return the hit rate over all points together, minus the same with each
# document's `theirs` replaced by that of the next document (of the last one by that of the first).

# %% tags=["exercise"]
from utils.lessons import check_excess


def excess(own, theirs):
    return ...


print(check_excess(excess))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def excess(own, theirs):
#     made = sum(map(len, own))
#     turned = theirs[1:] + theirs[:1]
#     real = sum(p in b for a, b in zip(own, theirs, strict=True) for p in a)
#     other = sum(p in b for a, b in zip(own, turned, strict=True) for p in a)
#     return (real - other) / made
# ```
# A stock phrase has a hit rate but no excess.
# </details>
#
# ### Exercise 4 (hard, 15 minutes): whole schools
#
# `sizes` is a dict from school to its number of documents, `quota` the number of test documents wanted. Go through the schools in
# the order of the dict and take each one that brings the number of documents *nearer* to the quota. Return the schools taken.

# %% tags=["exercise"]
from utils.lessons import check_schools_for


def schools_for(sizes, quota):
    return ...


print(check_schools_for(schools_for))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def schools_for(sizes, quota):
#     chosen, filled = [], 0
#     for school, size in sizes.items():
#         if abs(filled + size - quota) < abs(filled - quota):
#             chosen.append(school)
#             filled += size
#     return chosen
# ```
# A hash of each school's name with a chance of one in ten is simpler, but with few schools it often draws no test school at all.
# </details>
#
# **One exercise without a check.** Write a comment on the report at the top that has a high hit rate and helps nobody. Which
# number of this lesson gives you away?

# %% [markdown]
# ## The four predictions
#
# <details><summary>1: two teachers</summary>
# In about a third of the cases. Each notices about half of the flaws and makes few points. About another report: seldom, only what
# is said under many reports.
# </details>
# <details><summary>2: silence</summary>
# Only what form and harmlessness are worth. With the first version of the rubric it was almost half of all points.
# </details>
# <details><summary>3: only the first point</summary>
# Recall falls, and the hit rate does not fall with it: the first point is the safest one, and the hit rate never asks what is missing.
# </details>
# <details><summary>4: what is missed</summary>
# What is missing from a report is named most often. What has to be pointed at or compared is named least. The bars show by how much.
# </details>

# %% [markdown]
# ## InstructGPT and this lesson
#
# | | InstructGPT | here | why |
# |---|---|---|---|
# | prompts | customers' and labelers' | pupils' reports | one task, so that comments can be taken apart |
# | who writes and ranks | about 40 people | simulated teachers and labelers | gold is known |
# | pretraining text | the web | reports with marks, lists of flaws and careless comments | a small model needs dense labels |
# | beta | 0.02 | `lesson.config.ppo.beta` | with a smaller one PPO writes one stock phrase under every report |
# | evaluation | preferences of people, benchmarks | preferences of simulated people, planted flaws, overlap with a second teacher | comments can be right or wrong |
# | second teacher | - | as in Liang et al. 2023 | shows what agreement can be expected |
#
# ## What is saved, and what comes next
#
# `runs/notebook_10` holds the sample database and its import. Lesson 09 compares comments of any system on real text, where
# points have to be found and matched by a program: there the same numbers need more care.
#
# - In the code: [`utils/worlds/reports`](../utils/worlds/reports/world.py), [`utils/feedback/database`](../utils/feedback/database/importer.py).
# - [Learners' documents](../docs/learner-feedback.md): the mapping, the masks, what to do before you use it.
# - Terms: [glossary](../docs/glossary.md).
