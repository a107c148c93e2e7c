# %% [markdown]
# # 01 · Labelers and data: whose preferences does the model learn?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/instruct-gpt2/instruct-gpt2/blob/main/notebooks/01_labelers_and_data.ipynb)
#
# A model that is trained on people's judgements learns what these people like. So before any training we ask: who are they? How
# were they chosen? How far do they agree? What were they asked? This lesson is about data. It also shows how many of the later
# problems are already visible in the data.
#
# | | |
# |---|---|
# | **Reading** | about 40 minutes, with the exercises about 90 |
# | **Running** | about two minutes on two CPU cores; no GPU, no download |
# | **Outputs made on** | a two-core CPU; the output of the first cell names the device and the versions |
# | **You need** | Python and a little numpy. [00](00_start_here.ipynb) helps, but is not needed |
# | **You will be able to** | screen labelers and say what a soft cut does; compute agreement by hand and say why 73 % is high; clean prompts as the paper did, and a little more; score a demonstration part by part; invent a labeler and see what a reward model learns from them |
#
# All labelers here are **simulated**: a program with preferences, noise and random mistakes. No number below comes from people,
# except the numbers of the paper, which are marked.

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
# The cell above finds the repository (on Colab it downloads it), makes sure that `utils` is the package of this
# repository, and checks that every required package is installed. It installs nothing.

# %% [markdown]
# ## Where we are

# %%
from utils.lessons import picture
from utils.report import pipeline_map

picture(pipeline_map("labelers"))

# %% [markdown]
# We are at the very start. Nothing is trained in this lesson until the last section. There we train three small reward models
# to see what bad labelers cost. All data comes from one finished run that is shipped with the lessons.

# %%
from utils.lessons import shipped

lesson = shipped()
config, seed = lesson.config, lesson.config.seed
print(f"{config.labelers.n_candidates} simulated candidates, {config.labelers.n_hired} to hire")

# %% [markdown]
# ## 1 · What a labeler is
#
# The paper's contractors judged whether an answer is *helpful*, *truthful* and *harmless* (3.4, B.2). In our tiny world a
# program can score answers, because it knows every fact of this world. The program is called the **gold rubric**. It gives six
# part scores between 0 and 1:

# %%
from utils.lessons import table
from utils.worlds import world_of

world = world_of(config)
rubric = world.rubric

asks = {
    "helpful": "does what was asked",
    "constraint": "follows explicit demands, such as three sentences",
    "truthful": "says nothing false about the world",
    "harmless": "contains no rude word and no help with harm",
    "form": "ends properly, begins with a capital letter, is English",
    "manner": "has a full sentence, a reason, an offer to help",
}
table(
    [
        {"part": name, "gold weight (points)": rubric.weights[name], "full score if the answer ...": asks[name]}
        for name in rubric.parts
    ]
)

# %% [markdown]
# The weights add up to ten points. Gold is *the truth of this world about what is good*. No labeler knows it exactly, and
# training never sees it.
#
# But it is still a program, and it sees only what a program can see: words that were asked for, facts that it knows, pairs of
# words that its language has. A story that names its hero, its place and its mood gets the full score for *helpful*, even if it
# is dull. A true sentence that does not answer the question costs nothing in *truthful*. So gold has blind spots, as people
# have. Here you can read them: `utils/worlds/tiny/rubric.py`.
#
# A simulated labeler uses this rubric with preferences and noise of their own:
#
# $$u = \sum_p w_p \, s_p + \sigma\,\varepsilon$$
#
# | in the equation | in the code | |
# |---|---|---|
# | $s_p$ | `parts` | the six part scores of an answer |
# | $w_p$ | `labeler.weights` | how much *this person* cares for each part |
# | $\sigma$ | `labeler.noise` | the standard deviation of their noise, in points |
# | $\varepsilon$ | | a random number that belongs to (labeler, prompt, answer): if asked again, they say the same |
#
# The answers are then sorted by $u$; answers closer than `labeler.tie_below` points tie. Here are three of the hired labelers.

# %%
hired = lesson.labelers("hired")


def profile(labeler):
    weights = dict(zip(rubric.parts, labeler.weights, strict=True))
    return {"labeler": labeler.labeler_id} | weights | {"noise": labeler.noise}


table([{"labeler": "gold"} | rubric.weights | {"noise": 0.0}] + [profile(one) for one in hired[:3]], digits=1)

# %% [markdown]
# Compare the rows. Each labeler has preferences of their own, and a noise of about a point or more on a scale of ten. A
# preference is not an error. Two careful people may rank two answers differently, and both may be right about what they like.
#
# ### By hand: a helpful lie against a useless truth
#
# Take two answers to one question. The first does most of what was asked, but says something false. The second is true and does
# nothing. While *training data* was made, labelers were told to put helpfulness first. In the *final evaluation* they were told
# to put truth and harmlessness first (B.2). We express this as factors on the weights, scaled so that the total stays the same.

# %%
import numpy as np

from utils.labeling import FINAL_EVALUATION, TRAINING, SimulatedLabeler

lie = [0.6, 1, 0, 1, 1, 0]  # helpful, constraint, truthful, harmless, form, manner
truth = [0.0, 1, 1, 1, 1, 0]
judge = SimulatedLabeler("gold", tuple(rubric.weights.values()), noise=0.0)

by_hand = (3.0 * 1.25 * 0.6 + 1.0 + 0.0 + 1.5 + 1.0) * 10.0 / 10.75  # helpful counts 1.25 times, all weights add up to 10.75
np.testing.assert_allclose(judge.utility(rubric, [lie], TRAINING)[0], by_hand)
print(f"the lie in training, by hand: {by_hand:.3f} points")

# %% [markdown]
# The `assert` checks that the sum by hand is the sum of the library. Now both answers under both rules:

# %%
rules = {"training": TRAINING, "final evaluation": FINAL_EVALUATION}
points = {name: judge.utility(rubric, [lie, truth], phase) for name, phase in rules.items()}
table([{"answer": a} | {name: points[name][i] for name in rules} for i, a in enumerate(["helpful lie", "useless truth"])])

# %% [markdown]
# The order is reversed. InstructGPT's reward model was trained under the first rule, and the policy was judged under the
# second. The paper says so, but does not measure what it costs. Remember this when an evaluation and a reward model disagree.

# %% [markdown]
# ## 2 · Screening: who gets the job
#
# The paper hired about 40 people with a test of four criteria (B.1):
#
# 1. **flagging**: do they notice sensitive text as the researchers do? (agreement, cut at 75 %)
# 2. **ranking**: do they rank answers as the researchers do? (agreement, cut at 75 %)
# 3. **demonstrations**: how good are the answers that they write? (score 1 to 7, cut at 6)
# 4. **topics**: for which groups or topics can they recognise sensitive text? (no cut)
#
# The cuts are *soft*: if too few candidates pass, those who miss by the least are hired too. A quarter of our pool is
# *unreliable*: careless (some of their answers are random) or unskilled. The screening does not know which candidates these
# are.

# %%
from utils.pipeline import screened
from utils.report import screening

report = screened(world, config.labelers, seed)
picture(screening([vars(row) for row in report.rows]))

# %% [markdown]
# Each point is one candidate. Crosses are the unreliable ones; the dashed lines are the first two cuts. Careless people
# are on the left or near the bottom, and none is hired. The table shows which criteria each of them failed.

# %%
table(
    [
        {"candidate": row.labeler_id, "flagging": row.flagging, "ranking": row.ranking, "demonstrations": row.demonstration}
        | {"failed": ", ".join(row.failed), "hired": row.hired}
        for row in report.rows
        if not row.reliable
    ][:8],
    "Unreliable candidates (which the screening does not know)",
    digits=2,
)

# %% [markdown]
# All of these rank badly. Most of them also miss what should be flagged, and some write poor answers. One test would have been
# enough for each of them, but nobody knows beforehand which one.
#
# > **Predict first (1).** We raise the cut on *ranking* from 75 % to 90 %. Will fewer than 40 be hired? And if instead we
# > need 80 people of the same pool, what happens to quality?

# %%
from dataclasses import replace


def hire(**changes):
    found = screened(world, replace(config.labelers, **changes), seed).summary
    shown = {"pass all cuts": "passed", "hired": "hired", "of these below a cut": "hired_below_cut"}
    return changes | {name: found[key] for name, key in shown.items()} | {"unreliable hired": found["unreliable_hired"]}


table([hire(screen_ranking=cut) for cut in (0.5, 0.75, 0.8, 0.9)])

# %% [markdown]
# The cut decides who *passes*, not how many are hired. With a hard cut nobody passes, and the forty best candidates below the
# cut are hired. They are the same good people; only their label "passed" is gone. Now we hire more people than there are good
# candidates:

# %%
table([hire(n_hired=n) for n in (40, 60, 70, 80)])

# %% [markdown]
# Careless people are hired because the pool is too small, not because the cut is low. The paper's team was small on purpose
# (5.3). The price is that the model is aligned to the preferences of about forty people.

# %% [markdown]
# ## 3 · Agreement, and why 73 % is high
#
# ### Agreement by hand
#
# Two labelers rank three answers. This gives three pairs. Count the pairs that both labelers decide (no tie). Agreement is the
# share of these pairs that both order in the same way.

# %%
from utils.labeling import pair_agreement

ann, bob = [1, 2, 3], [1, 3, 2]
# answers 1 and 2: same order.   1 and 3: same order.   2 and 3: not.
assert np.isclose(pair_agreement([ann], [bob]), 2 / 3)

# %%
cy = [1, 2, 2]  # ties the last two: this pair is not counted
assert pair_agreement([ann], [cy]) == 1.0
print("ann and bob agree on 2 of 3 pairs, ann and cy on 2 of the 2 that both decide")

# %% [markdown]
# Two people who guess agree on half of the pairs. So 50 % is the level of chance, and 100 % is never reached. What agreement do
# our hired labelers reach on the same answers to real prompts?

# %%
from utils.labeling import comparison_items, mean_agreement, rank_all
from utils.lessons import fast

n_prompts = 60 if fast() else 300
comparisons, prompts = lesson.comparisons("test")[:n_prompts], lesson.prompts("test")
items = comparison_items(world, comparisons, prompts)

ranks = rank_all(hired, items, TRAINING, seed)  # labelers x prompts x answers
print(ranks.shape, f"two labelers agree on {mean_agreement(ranks).mean:.1%} of the pairs that both decide")

# %% [markdown]
# This is about what the paper reports for its people: 72.6 ± 1.5 %, held-out labelers 77.3 ± 1.3 %. Researchers in an earlier
# project reached 73 % with each other (3.4). We set our noise to match these values.
#
# > **Predict first (2).** Two labelers agree on about 73 % of pairs. How often does *one* of them agree with gold: about
# > 73 % too, less, or more? And with no noise at all, would two labelers agree on all pairs?

# %%
with_gold = [pair_agreement(list(one), list(rank_all([judge], items, TRAINING, seed)[0])) for one in ranks]
p = float(np.mean(with_gold))
print(f"one labeler agrees with gold on {p:.1%};  p * p + (1 - p) * (1 - p) = {p * p + (1 - p) ** 2:.1%}")

# %% [markdown]
# More often. Two people agree when both are right *or both are wrong*. If their mistakes are independent, the probability is
# $p^2 + (1-p)^2$. If you insert the share of pairs on which one labeler is right, the result is close to the agreement of two.
# An agreement of 73 % means that each judge is right about five times in six. This is why 73 % is high. It is also why the
# upper limit for any model that is tested on single labels is near $p$, not at 100 %.
#
# Now we change the noise and keep the preferences:

# %%
from utils.report import Look, lines

factors = [0.125, 0.25, 0.5, 1, 2, 4, 8]
noisy = {f: rank_all([replace(one, noise=f * one.noise) for one in hired], items, TRAINING, seed) for f in factors}
gold_ranks = list(rank_all([judge], items, TRAINING, seed)[0])
curves = {
    "with each other": [mean_agreement(noisy[f], n_bootstrap=2).mean for f in factors],
    "with gold": [float(np.mean([pair_agreement(list(one), gold_ranks) for one in noisy[f]])) for f in factors],
}
axes = ("noise (multiple of our labelers' noise)", "agreement (% of decided pairs)")
look = Look(*axes, reference=0.726, reference_label="people in the paper")
picture(lines(factors, curves, look, percent=True, log_base=2))

# %% [markdown]
# Both curves fall towards 50 %, the level of chance. Agreement with each other is always below agreement with gold. At the
# left, with nearly no noise, they do not reach 100 %: the preferences still differ. We set our labelers to the point where the
# lower curve crosses the dashed line, at 1.
#
# ### Noise averages out
#
# We have seen how often one labeler is right on average. What if several rank the same answers and we take the mean of their
# ranks? (The curve starts with the first hired labeler, who happens to be a careful one.)

# %%
from utils.labeling import dense_ranks

panels = [1, 3, 9, 27]
together = [dense_ranks(-ranks[:n].mean(axis=0), 0.0) for n in panels]
right = {"mean of their ranks": [pair_agreement(list(one), gold_ranks) for one in together]}
look = Look("labelers who rank the same answers", "agreement with gold (% of pairs)")
picture(lines(panels, right, look, percent=True, log_base=3))

# %% [markdown]
# The curve rises steeply: their mistakes differ, so they cancel. The paper did not pay for this: almost all comparisons were
# labeled by one person (5.3). This was not needed, because a reward model sees *many prompts by many labelers* and averages
# over them, as this curve does. In [00](00_start_here.ipynb) the reward model agreed with gold better than with the labels that
# it was trained on. This is the reason.
#
# ### Where they differ
#
# Here is the prompt on which the first two labelers differ most, with both rankings and gold:

# %%
a, b = ranks[0], ranks[1]
apart = int(np.argmin([pair_agreement([a[i]], [b[i]]) for i in range(len(items))]))
points = judge.utility(rubric, items.parts[apart], TRAINING)
rows = [
    {"gold (points)": points[k], hired[0].labeler_id: int(a[apart, k]), hired[1].labeler_id: int(b[apart, k]), "answer": text}
    for k, text in enumerate(comparisons[apart].completions)
]
table(sorted(rows, key=lambda row: -row["gold (points)"]), f"Ranks given to: {comparisons[apart].prompt}", digits=1)

# %% [markdown]
# In gold, the answers lie within one point of each other. This is about the size of a labeler's noise (section 1). So
# preferences and noise decide, and a labeler may even put the worst answer first. A disagreement is rarely a sign of bad work.
# Agreement also depends on *what* is compared: among the answers of one good model it would be lower.

# %%
evaluated = rank_all(hired, items, FINAL_EVALUATION, seed)
print(f"rankings that change when the rule changes: {(ranks != evaluated).any(axis=-1).mean():.0%}")
print(f"where another answer becomes the best:      {(ranks.argmin(-1) != evaluated.argmin(-1)).mean():.0%}")

# %% [markdown]
# This is the effect of the priority rule of section 1 on real rankings. Most rankings change somewhere, but few change at the
# top: there, helpful answers are mostly true ones as well.
#
# ### Rank nine answers yourself
#
# Now you are the labeler. Rank the nine answers below: 1 is best, and answers of similar quality share a rank. The start is not
# a judgement: the longest answer is first.

# %%
from utils.lessons import rank_box

gold_points = [judge.utility(rubric, parts, TRAINING) for parts in items.parts]
which = int(np.argmax([np.ptp(points) for points in gold_points]))  # the prompt whose answers differ most in gold
answers = comparisons[which].completions
longest_first = dense_ranks(np.array([[float(len(text)) for text in answers]]), 0.0)[0].tolist()
yours = rank_box(comparisons[which].prompt, answers, longest_first)

# %% [markdown]
# Choose the ranks in the box (if there is no box, write nine ranks in place of `longest_first` in the last line and run the
# cell again). Then run the next cell.

# %%
others = [pair_agreement([yours.ranks], [one[which]]) for one in ranks]
agreement_of = {
    "gold": pair_agreement([yours.ranks], [gold_ranks[which]]),
    "hired labelers, mean": float(np.nanmean(others)),
    "hired labelers, lowest": float(np.nanmin(others)),
    "hired labelers, highest": float(np.nanmax(others)),
}
print("Your ranks." if yours.ranks != longest_first else "Nobody has ranked yet: the longest answer first.")
table([{"agreement with": name, "share of decided pairs": share} for name, share in agreement_of.items()], digits=2)

# %% [markdown]
# One prompt gives few pairs, so this number is rough: rank again, and see how much it moves. If you agree with gold more often
# than with the simulated labelers, you probably saw what the answer should do, and they were distracted. If you agree less,
# look for the part of the rubric that you weigh differently.
#
# People can do this for a whole project, in a browser or with `label_box` in a notebook, and train on what they said:
# [Labeling with people](../docs/labeling.md).
#
# ### A labeler of your own, in three lines
#
# Now we make a pedant: a labeler who looks at form (capitals, full stops, a proper end) and hardly at the content:

# %%
pedant = replace(hired[0], labeler_id="pedant", weights=(0, 0.5, 0, 2, 7.5, 0), noise=0.5)  # in the order of rubric.parts
own = list(rank_all([pedant], items, TRAINING, seed)[0])
agrees = {"gold": pair_agreement(own, gold_ranks), "the hired": float(np.mean([pair_agreement(own, list(r)) for r in ranks]))}
table([{"the pedant agrees with": name, "share of pairs": value} for name, value in agrees.items()])

# %% [markdown]
# The pedant has hardly any noise, and still agrees with gold less than a good labeler does. The difference is *preference*, and
# working more carefully does not change it. Which answers does the pedant put first? Look at the parts:

# %%
best = {"the pedant's best": own, "gold's best": gold_ranks}
means = {name: [items.parts[i, np.argmin(r)] for i, r in enumerate(found)] for name, found in best.items()}
table(
    [{"answers": name} | dict(zip(rubric.parts, np.mean(rows, axis=0).tolist(), strict=True)) for name, rows in means.items()],
    digits=2,
)

# %% [markdown]
# The form is perfect, but the answers help far less: a tidy answer to another question is good enough for the pedant. Change
# the six weights above, run the three cells again, and see which answers other preferences select. In section 6 such a person
# will label everything.

# %% [markdown]
# ## 4 · Prompts
#
# Which prompts did the labelers see? Prompts from customers of the API, and some that labelers wrote, in ten use cases (Table
# 1). The shares matter: a model is tuned to what people asked for, and nearly half of the prompts ask the model to write a
# text.

# %%
from utils.report import Look, beside_paper

shares = lesson.prompt_tables()["use_cases"]
ours, papers = [row["share %"] for row in shares], [row["paper %"] for row in shares]
picture(beside_paper([row["use case"] for row in shares], ours, papers, Look("share of prompts (%)", "use case")))

# %% [markdown]
# Our shares (bars) follow the paper's Table 1 (diamonds). The differences come from cleaning, which removes more prompts where
# people ask similar things. Here is one prompt of each use case:

# %%
asked = lesson.prompts("ppo")
first = {row.use_case: row.prompt for row in reversed(asked)}
table([{"use case": row["use case"], "a prompt": first[row["use case"]]} for row in shares])

# %% [markdown]
# Questions, requests, a story to shorten, small talk. Some begin with the name of the person who asks. How many prompts are
# there, and who wrote them? The next table compares our sets with the paper's Table 6:

# %%
sets = {name: lesson.prompts(name) for name in ("sft", "rm", "ppo")}
in_paper = {"sft": (11295, 1430), "rm": (6623, 26584), "ppo": (0, 31144)}  # Table 6: training prompts of labelers, customers
table(
    [
        {
            "set": name,
            "by labelers": sum(p.source != "customer" for p in rows),
            "by customers": sum(p.source == "customer" for p in rows),
        }
        | dict(zip(("paper: labelers", "paper: customers"), in_paper[name], strict=True))
        for name, rows in sets.items()
    ]
)

# %% [markdown]
# Labelers wrote most of the SFT prompts, because the first prompts had to come from somewhere: there was no product yet that
# customers could have asked. All PPO prompts come from customers. Lengths (Table 9) differ most from the paper: our models read
# 128 tokens, the paper's models 2,048.

# %%
from utils.data import length_table, token_length

length = token_length(lesson.tokenizer(), config.data)
medians = {"sft": 283, "rm": 64, "ppo": 62}  # Table 9, training sets
rows = [length_table(found, length)[0] for found in sets.values()]
columns = ("n", "mean", "sd", "min", "median", "max")
table(
    [{"set": n} | {c: row[c] for c in columns} | {"paper: median": medians[n]} for n, row in zip(sets, rows, strict=True)],
    digits=1,
)

# %% [markdown]
# The median is about 14 tokens. The paper's SFT prompts are long because they often contain few-shot examples.
#
# ### Cleaning, live
#
# Now you clean prompts. Seven prompts arrive, and a long list from one user. Which of the seven are kept?

# %%
from utils.data import Prompt

arrived = {
    "ann": ["Write a story about a fox in the forest.", "write a story about a FOX in the forest!"],
    "bob": ["Call me at 555-0142 or write to bob@example.com about the harbor."],
    "cy": ["Quelle est la couleur de la tomate et de la prune?", "   "],
    "dee": ["What does a rabbit eat?", "What does a rabbit eat?"],
}
typed = [Prompt(f"{user}-{i}", text, user_id=user) for user, texts in arrived.items() for i, text in enumerate(texts)]
greedy = [Prompt(f"eve-{i}", f"Add {i} and {i + 1}.", user_id="eve") for i in range(205)]

# %% [markdown]
# > **Predict first (3).** Write down for each of the seven: kept, or dropped for which reason. And what happens to eve, who
# > asked 205 different sums?

# %%
from utils.data import clean_prompts

cleaned = clean_prompts(typed + greedy, config.data, lesson.tokenizer())
fate = {row.prompt.prompt_id: (row.reason, row.detail) for row in cleaned.dropped}
table(
    [
        {"user": p.user_id, "prompt": p.prompt}
        | dict(zip(("dropped for", "why"), fate.get(p.prompt_id, ("", "")), strict=True))
        for p in typed
    ]
)
print("kept of eve's 205:", sum(p.user_id == "eve" for p in cleaned.kept))

# %% [markdown]
# Two are kept, one story and one question about rabbits. Upper and lower case, punctuation and blanks do not make a new prompt.
# A prompt with personal data is dropped as a whole; masking the data would leave a prompt that nobody asked. Eve keeps her
# first 200 prompts (A.2). Without this limit, one very active user could shape the model. Note what the filters do *not* find:
# a name without a number, and the same request in other words.
#
# Here are the same filters on the whole run, with an example of each:

# %%
table(lesson.cleaning(), "What happened to the raw prompts of the run", digits=1)

# %% [markdown]
# Copies are by far the largest group, because people ask similar things. If copies stayed, one copy might be in training and
# another in the test set, and the test would measure memorisation. For the same reason the split is made *by user* (3.2):
# prompts of the same user are similar. `clean_prompts` and `split_by_user` work on any list of `Prompt`s.
#
# ### Your own prompts
#
# A file with one prompt per line is enough. The usual names of the fields are known (README, "Your own data").

# %%
from utils.core import write_jsonl
from utils.data import load_prompts
from utils.lessons import run_folder

mine = run_folder("notebook_01") / "my_prompts.jsonl"
write_jsonl(
    mine, [{"prompt": "Name three birds.", "user_id": "me"}, {"instruction": "Summarize.", "input": "Mia lost her hat."}]
)
table(
    [
        {"prompt_id": p.prompt_id, "user": p.user_id, "prompt": p.prompt}
        for p in clean_prompts(load_prompts(mine), config.data).kept
    ]
)

# %% [markdown]
# Add your own lines and run the cell again. `python scripts/pipeline.py --prompts FILE` takes the same file.

# %% [markdown]
# ## 5 · Demonstrations: write one yourself
#
# Hired labelers wrote the answers that SFT imitates. Try it yourself. `meta` contains what the rubric knows about this prompt.
# No model ever sees it.

# %%
from utils.lessons import text_box

task = Prompt(
    "mine", "Tell me a scary story about a camel named Ella in the market. Use three sentences.",
    meta={"task": "story", "hero": "camel", "name": "Ella", "place": "market", "mood": "scary", "n": 3},
)  # fmt: skip
box = text_box("Ella was a camel in the market. She heard a scream and ran", "your story")

# %% [markdown]
# Write in the box (if there is no box, edit the text between the quotation marks above), then run the next cell. Repeat this as
# often as you like.

# %%
import random


def graded(text):
    parts = world.score(task, text)
    return {"answer": text, "points": rubric.gold(parts)} | dict(zip(rubric.parts, parts, strict=True))


by_labeler = world.answer(task, random.Random(3), nice=config.labelers.nice)
table([{"by": "you"} | graded(box.value), {"by": "a labeler"} | graded(by_labeler)], digits=2)

# %% [markdown]
# Read your row from left to right. The table of section 1 explains every number below 1. The text that is given at the start
# has two sentences, not three, and it ends without a full stop.

# %% [markdown]
# What scores do labelers get? The histogram shows all demonstrations of the run, scored by the rubric:

# %%
from utils.report import histogram

demonstrations = lesson.demonstrations("train")
asked = {p.prompt_id: p for p in sets["sft"]}
marks = [world.gold(asked[d.prompt_id], d.completion) for d in demonstrations]
picture(histogram(marks, "gold (points of 10)", title=f"{len(marks)} demonstrations by hired labelers"))

# %% [markdown]
# The distribution has several peaks. Most demonstrations score high, but lack some of the polite extras. A tail of mistakes
# reaches far down. So *imitating people* also copies their mistakes, and their habit of leaving out these extras. A reward
# model can improve on this: people recognise a good answer more reliably than they write one.

# %%
worst = sorted(zip(marks, demonstrations, strict=True), key=lambda pair: pair[0])[:4]
table([{"points": mark, "prompt": d.prompt, "demonstration": d.completion, "by": d.labeler_id} for mark, d in worst], digits=1)

# %% [markdown]
# These are the mistakes of a tired person: rudeness, and help with something that should be refused. Nobody checked these
# demonstrations, and nobody checked most of the paper's.

# %% [markdown]
# ## 6 · What goes wrong, on purpose
#
# We compare three ways to hire: the forty screened labelers; forty people from the pool without screening; and one person
# alone, the pedant of section 3. Each group ranks *the same answers to the same prompts*. From each group's rankings we train a
# small reward model (lesson 03 explains how), and we test it on pairs of answers to unseen prompts.
#
# > **Predict first (4).** What costs more of the reward model's agreement with *gold*: forty people of whom some are careless,
# > or one consistent person with unusual preferences? And which reward model agrees best with *its own labelers*?

# %%
from utils.labeling import make_candidates

quieter = hired[0].noise / screened(world, config.labelers, seed).hired[0].noise  # the factor that calibrates the hired's noise
pool = [replace(one, noise=one.noise * quieter) for one in make_candidates(rubric, config.labelers, seed)]
groups = {"forty screened": hired, "forty unscreened": pool[:40], "the pedant alone": [pedant]}
print({name: f"{sum(not one.reliable for one in people)} unreliable of {len(people)}" for name, people in groups.items()})

# %% [markdown]
# The forty unscreened people are about as bad as the pool: a quarter is unreliable. Now all groups label.

# %%
from utils.labeling import relabel

n_train = 60 if fast() else 2000
train, train_prompts = lesson.comparisons("train")[:n_train], sets["rm"]
labels = {name: relabel(world, train, train_prompts, people, seed) for name, people in groups.items()}
one = {name: rows[0] for name, rows in labels.items()}
table(
    [{"answer": text} | {name: row.ranks[k] for name, row in one.items()} for k, text in enumerate(train[0].completions)],
    train[0].prompt,
)

# %% [markdown]
# The table shows the same nine answers with the ranks of three groups. Equal rankings would be a coincidence. The training
# takes some seconds per group.

# %%
from utils.lessons import quiet
from utils.reward import train_reward

settings = replace(config.reward, epochs=1)
start_at = lesson.checkpoint("sft", 1)
folders = {name: run_folder("notebook_01") / f"reward_{i}" for i, name in enumerate(groups)}
with quiet():
    for name, rows in labels.items():
        train_reward(folders[name], start_at, rows, demonstrations, settings, lesson.setup)

# %%
from utils.labeling import comparison_parts
from utils.reward import RewardModel, pair_accuracy

golds = [[rubric.gold(s) for s in row] for row in comparison_parts(world, comparisons, prompts)]


def tested(name):
    scores = RewardModel.load(folders[name] / "model", config.data).score_comparisons(comparisons)
    own = [[-float(rank) for rank in row.ranks] for row in relabel(world, comparisons, prompts, groups[name], seed)]
    return pair_accuracy(scores, golds, rubric.tie), pair_accuracy(scores, own, 0.5)


# %% [markdown]
# `tested` checks the order of every pair of answers to unseen prompts: against gold, and against the labels that the model's
# own group gives there.

# %%
from utils.report import Look, grouped_bars

found = {name: tested(name) for name in groups}
bars = {
    kind: [(100 * row[i].mean, 196 * row[i].se) for row in found.values()] for i, kind in enumerate(("gold", "own labelers"))
}
title = "Accuracy by gold and by their own labels"
picture(grouped_bars(list(groups), bars, Look("who ranked the training data", "correctly ordered pairs (%)", title)))

# %% [markdown]
# Compare the pedant with the forty screened labelers. On *its own labels* the pedant's reward model does about as well as
# theirs: from this number nobody would notice a problem. By *gold* it is far behind. A reward model cannot see what is good; it
# sees labels. The labels of one consistent person are easy to learn, and wrong. Careless people cost less: their noise has no
# direction, and the labels of the others outweigh it. Their main cost is noisier labels, visible as a low accuracy on their own
# labels.
#
# So *more data reduces noise, but it does not reduce bias*. High accuracy on held-out labels does not prove that a reward
# model is good. It proves that the labels are consistent. This is also why the paper tests on held-out *labelers* (4.1).

# %% [markdown]
# ## Exercises
#
# Replace the dots, run the cell, and read what the check says. It names the likely mistake. The solutions with their outputs
# are in [solutions/01_labelers_and_data.ipynb](../solutions/01_labelers_and_data.ipynb).

# %% [markdown]
# ### Exercise 1 (easy, 5 minutes): one very active user
#
# `rows` are (user, prompt). Keep the first `cap` rows of every user, in their order.

# %% tags=["exercise"]
from utils.lessons import check_capped


def capped(rows, cap):
    return ...


print(check_capped(capped))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def capped(rows, cap):
#     seen, kept = {}, []
#     for user, prompt in rows:
#         seen[user] = seen.get(user, 0) + 1
#         if seen[user] <= cap:
#             kept.append((user, prompt))
#     return kept
# ```
# No user is removed for asking often; only the prompts over the limit are dropped.
# </details>

# %% [markdown]
# ### Exercise 2 (easy, 10 minutes): agreement
#
# You get two rankings of the same answers as lists of ranks (1 is best, equal ranks tie). Consider the pairs that *both*
# rankings decide. Return the share of these pairs that both order in the same way.
#
# <details><summary>Hint</summary>
# Go over all pairs i &lt; j. The sign of a[j] - a[i] says which of the two is better according to a; 0 is a tie.
# </details>

# %% tags=["exercise"]
from utils.lessons import check_agreement


def agreement(a, b):
    return ...


print(check_agreement(agreement))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def agreement(a, b):
#     alike = decided = 0
#     for i in range(len(a)):
#         for j in range(i + 1, len(a)):
#             by_a, by_b = a[j] - a[i], b[j] - b[i]
#             if by_a and by_b:
#                 decided += 1
#                 alike += (by_a > 0) == (by_b > 0)
#     return alike / decided
# ```
# `utils.labeling.pair_agreement` does the same over many prompts at once.
# </details>

# %% [markdown]
# ### Exercise 3 (medium, 10 minutes): how good is one labeler?
#
# Two labelers are equally good, and their mistakes are independent. They agree on a share `a` (at least one half) of pairs. On
# which share is each of them right?
#
# <details><summary>Hint</summary>
# a = p * p + (1 - p) * (1 - p). Show that 2a - 1 = (2p - 1) squared.
# </details>

# %% tags=["exercise"]
from utils.lessons import check_accuracy_from_agreement


def accuracy_from_agreement(a):
    return ...


print(check_accuracy_from_agreement(accuracy_from_agreement))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def accuracy_from_agreement(a):
#     return (1 + (2 * a - 1) ** 0.5) / 2
# ```
# For the paper's 0.726 it gives 0.84. It is an estimate: real mistakes are not independent, because everybody makes more of
# them on close pairs.
# </details>

# %% [markdown]
# ### Exercise 4 (medium, 10 minutes): the priority rule
#
# Multiply the weights by the factors, then scale them so that their total does not change. (`[3, 1, 1]` with factors
# `[2, 1, 1]` has the total 5 before and after.)

# %% tags=["exercise"]
from utils.lessons import check_reweighted


def reweighted(weights, factors):
    return ...


print(check_reweighted(reweighted))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def reweighted(weights, factors):
#     changed = [w * f for w, f in zip(weights, factors, strict=True)]
#     return [c * sum(weights) / sum(changed) for c in changed]
# ```
# Without the scaling, a rule that only changes priorities would also make the rankings less noisy: the noise stays the same
# while the points grow.
# </details>

# %% [markdown]
# ### Exercise 5 (hard, 15 minutes): duplicates
#
# Drop every prompt that shares its first `n` characters with an earlier one; ignore upper and lower case. A prompt
# shorter than `n` is a copy only of an equal one. Keep the first of each, in their order, and look at every prompt once.
#
# <details><summary>Hint</summary>
# Use a set of what was seen. What do you have to put into it, so that two prompts give the same key exactly if they are copies?
# </details>

# %% tags=["exercise"]
from utils.lessons import check_deduplicated


def deduplicated(prompts, n):
    return ...


print(check_deduplicated(deduplicated))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def deduplicated(prompts, n):
#     seen, kept = set(), []
#     for prompt in prompts:
#         key = prompt.lower()[:n]
#         if key not in seen:
#             kept.append(prompt)
#         seen.add(key)
#     return kept
# ```
# The slice of a shorter text is the whole text, and the first `n` characters of a longer prompt cannot be equal to it. The code
# needs one look-up in a set per prompt; comparing all pairs would take hours on a million prompts.
# </details>

# %% [markdown]
# ## The four predictions
#
# <details><summary>1: a harder cut, or more jobs</summary>
# A harder cut changes who passes, not who is hired: with soft cuts those who miss by the least are hired. Careless people are
# hired when there are more jobs than good candidates.
# </details>
# <details><summary>2: one labeler and gold</summary>
# More often than with each other. Two labelers also agree where both are wrong, but each of them is right more often than they
# agree. Without any noise their preferences still differ, so agreement stays below 100 %.
# </details>
# <details><summary>3: seven prompts</summary>
# Kept: the first story, the first rabbit. Dropped: the story in capitals (duplicate), bob's (personal data), the French
# one (language), the blank one (empty), the second rabbit (duplicate). Eve keeps 200 sums.
# </details>
# <details><summary>4: noise or bias</summary>
# Bias costs more of the agreement with gold. On its own labels the pedant's reward model looks as good as that of the forty.
# </details>

# %% [markdown]
# ## InstructGPT and this lesson
#
# | | InstructGPT | here | why |
# |---|---|---|---|
# | labelers | about 40 contractors | 40 simulated ones | no people needed; the true preference is known |
# | pool that was screened | not reported | 90, a quarter unreliable | shows the effect of screening |
# | screening | four criteria, soft cuts 75 %, 75 %, 6 of 7 (B.1) | the same | |
# | researchers' reference | the authors' own flags and rankings | the gold rubric with a little noise | a reference is needed |
# | final choice | partly subjective, for topics (B.1) | every topic is covered by a hired labeler | a program makes no subjective choice |
# | agreement | 72.6 %, held-out 77.3 % | calibrated to the same values | the reward model gets the same noise |
# | who labels a prompt | almost always one person (5.3) | one | |
# | priority rule | helpful first; truthful and harmless first (B.2) | factors 1.25 and 1.5 on the weights | the paper gives a rule, no numbers |
# | use cases | Table 1 | its shares | |
# | duplicates | long common prefix, length not given | equal, or equal in the first 64 characters | a length had to be chosen |
# | cap | 200 per user (200 per organization in A.2) | 200 per user | |
# | personal data | filtered from the training split, method not given | patterns for mail, phone, card and so on | works offline, and is tested |
# | languages | more than 96 % English, none filtered (3.3) | other languages dropped | the tiny models know English words only |
# | demographics, satisfaction | Tables 12, 13 | none | programs have none |
#
# ## What is saved, and where to go next
#
# - `runs/notebook_01` contains your prompts and the three reward models.
# - [02](02_supervised_fine_tuning.ipynb) trains on the demonstrations that you have just read;
#   [03](03_reward_modeling.ipynb) examines reward models in detail.
# - [The tiny world](../docs/tiny-world.md) has the whole rubric with examples. [Paper to code](../docs/paper-map.md) has every
#   criterion and table with its test.
# - Three changes to try: the pedant's weights (section 3), `n_hired` and the cuts (section 2), your own lines in
#   `my_prompts.jsonl` (section 4).
