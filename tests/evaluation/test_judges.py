"""Every judge, beside what it is made of: the run's own win rates, gold, rewards, log-probabilities, people's files."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import GPT2LMHeadModel, PreTrainedTokenizerBase

from utils.config import DataConfig, LabelerConfig
from utils.core.errors import UserError
from utils.data.outputs import Output, join_outputs
from utils.data.schemas import Comparison, Prompt
from utils.evaluation.judgements import Judgements, likert, metadata, win_rate
from utils.evaluation.judges import (
    PAIRWISE,
    GoldRubric,
    LanguageModelJudge,
    People,
    RewardJudge,
    SimulatedLabelers,
    by_scores,
)
from utils.evaluation.statistics import gold_comparison
from utils.labeling import FLAGS, make_heldout
from utils.lessons import shipped
from utils.models.loading import load_policy, load_reward
from utils.models.tokenizers import load_tokenizer
from utils.reward.scoring import RewardModel
from utils.sampling.sampler import Response
from utils.worlds import known_world

WORLD = known_world("tiny")
LESSON = shipped()
NAMES = ("sft", "ppo", "ppo_ptx")


def sampled(names: Sequence[str] = NAMES, count: int | None = None) -> list[Comparison]:
    """Sampled outputs of policies of the shipped run on its test prompts."""
    rows = [row for row in LESSON.samples() if row["policy"] in names and row["temperature"] == 1.0]
    fields = ("policy", "prompt_id", "prompt", "completion", "finished", "use_case")
    return join_outputs(Output(*(row[name] for name in fields)) for row in rows)[:count]


# --- simulated labelers and gold -------------------------------------------------------------------------------------


def test_held_out_labelers_say_of_files_what_they_say_in_the_run() -> None:
    labelers = LESSON.labelers("heldout")
    judges = SimulatedLabelers(WORLD, LESSON.prompts("test"), labelers, seed=LESSON.config.seed)
    found, summary = judges.judge(sampled()), LESSON.summary()
    assert found.whose == "10 simulated held-out labelers"
    rates = {(pair.a, pair.b): pair for pair in summary.win_rates()}
    for policy in ("ppo", "ppo_ptx"):
        share, known = win_rate(found, policy, "sft"), rates[policy, "sft"]
        assert (share.mean, share.n) == (pytest.approx(known.mean), known.n == 900 and 900)
        assert share.judges == 10 and share.prompts == 900
    rating = likert(found, "ppo")
    assert rating is not None and (rating.n, rating.judges) == (900, 10)
    assert set(metadata(found, "sft")) == set(WORLD.rubric.flags)


def test_several_labelers_may_judge_each_prompt() -> None:
    labelers = make_heldout(WORLD.rubric, LabelerConfig(), 1)
    outputs = sampled(count=30)
    found = SimulatedLabelers(WORLD, LESSON.prompts("test"), labelers, "training", each=4).judge(outputs)
    share = win_rate(found, "ppo", "sft")
    assert (share.n, share.prompts, found.whose) == (120, 30, "10 simulated training labelers")
    with pytest.raises(UserError, match="is not among the prompts"):
        SimulatedLabelers(WORLD, LESSON.prompts("valid"), labelers).judge(outputs)


def test_gold_decides_as_the_comparison_of_golds() -> None:
    outputs = sampled(("sft", "ppo"), 200)
    found = GoldRubric(WORLD, LESSON.prompts("test")).judge(outputs)
    asked = {p.prompt_id: p for p in LESSON.prompts("test")}
    golds = [
        [WORLD.gold(asked[r.prompt_id], text, end) for text, end in zip(r.completions, r.finished, strict=True)]
        for r in outputs
    ]
    share, known = win_rate(found, "ppo", "sft"), gold_comparison(*reversed(list(zip(*golds, strict=True))), WORLD.rubric.tie)
    assert share.mean == pytest.approx(known.won + known.tied / 2) and share.ties == pytest.approx(200 * known.tied)
    assert found.whose == "the gold rubric of the tiny world (simulated)" and share.judges == 1


def test_scores_become_pairs_with_ties() -> None:
    rows = [Comparison("p", "?", ("x", "y", "z"), (), (True,) * 3, ("a", "b", "c"))]
    found = by_scores(rows, [[0.3, 0.1, 0.2]], "me", tie=0.1)
    assert [(row.policies, row.ranks) for row in found.rankings] == [
        (("a", "b"), (1, 2)), (("a", "c"), (1, 1)), (("b", "c"), (1, 1)),
    ]  # fmt: skip
    assert {row.labeler_id for row in found.rankings} == {"me"}


# --- models ----------------------------------------------------------------------------------------------------------

ANSWERS = {"good": "A whale lives in the sea.", "bad": "The dog ran home.", "twin": "A whale lives in the sea."}
OUTPUTS = join_outputs(
    Output(name, f"p{i}", prompt, text)
    for i, prompt in enumerate(("Name an animal.", "Which?"))
    for name, text in ANSWERS.items()
)


def test_a_reward_model_prefers_the_higher_reward_and_equal_outputs_tie(reward_dir: Path) -> None:
    model = RewardModel.load(reward_dir, DataConfig(max_prompt_tokens=20, max_response_tokens=20))
    found = RewardJudge(model, "runs/x/reward").judge(OUTPUTS)
    assert found.whose == "the reward model runs/x/reward" and not found.ratings
    for row in found.rankings:
        rewards = model.score_responses([row.prompt] * 2, [Response(text, True) for text in row.completions])
        expected = (1, 1) if row.policies == ("good", "twin") else (1, 2) if rewards[0] > rewards[1] else (2, 1)
        assert row.ranks == expected and row.labeler_id == found.whose
    assert win_rate(found, "good", "twin").ties == 2
    short = RewardModel.load(reward_dir, DataConfig(max_prompt_tokens=2, max_response_tokens=4))
    assert [note[:30] for note in RewardJudge(short, "x").judge(OUTPUTS).notes] == [
        "2 prompts lost their beginning", "6 outputs lost their end, as t",
    ]  # fmt: skip


def log_odds(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerBase, question: str) -> float:
    """log P(" A") - log P(" B") after a question, by the model's own forward pass."""
    start, words = tokenizer(question)["input_ids"], [tokenizer(word)["input_ids"] for word in (" A", " B")]
    found = []
    for word in words:
        with torch.no_grad():
            logits = model(torch.tensor([[*start, *word]])).logits[0].log_softmax(-1)
        found.append(sum(float(logits[len(start) - 1 + k, token]) for k, token in enumerate(word)))
    return found[0] - found[1]


TEMPLATE = "{prompt}|{first}|{second}|"


def test_a_language_model_is_asked_in_both_orders(policy_dir: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    model = load_policy(policy_dir)
    judge = LanguageModelJudge(model, tokenizer, "small", TEMPLATE, batch_size=3)
    found = judge.judge(OUTPUTS)
    split = 0
    for row in found.rankings:
        x, y = row.completions
        if x == y:
            assert row.ranks == (1, 1)
            continue
        there, back = (
            log_odds(model, tokenizer, TEMPLATE.format(prompt=row.prompt, first=a, second=b)) for a, b in ((x, y), (y, x))
        )
        assert row.ranks == ((1, 2) if there - back > 0 else (2, 1))
        split += (there > 0) == (back > 0)
    assert found.notes == [f"The order of the two outputs decides {split} of 4 verdicts when each order is asked alone."]
    assert found.whose == "the language model small" and win_rate(found, "good", "bad").n == 2


def test_a_language_model_does_not_care_which_policy_comes_first(policy_dir: Path) -> None:
    """With the shipped policy, which always likes one letter better: in both orders its liking cancels out."""
    place = LESSON.model_dir("sft")
    judge = LanguageModelJudge(load_policy(place), load_tokenizer(place), "sft", TEMPLATE)
    there = win_rate(judge.judge(sampled(("sft", "ppo"), 40)), "ppo", "sft")
    turned = [
        dataclasses.replace(row, completions=row.completions[::-1], policies=row.policies[::-1])
        for row in sampled(("sft", "ppo"), 40)
    ]
    back = win_rate(judge.judge(turned), "ppo", "sft")
    assert there.mean == back.mean and 0 < there.mean < 1


def test_what_does_not_fit_is_cut_or_said(policy_dir: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    model = load_policy(policy_dir)  # 64 positions
    pair = [Output(name, "p7", "one two three " * 12 + "end", text) for name, text in (("a", "xyz"), ("b", "uvw"))]
    judge = LanguageModelJudge(model, tokenizer, "small", TEMPLATE)
    assert judge.judge(join_outputs(pair)).notes[1:] == ["1 prompts lost their beginning to fit into the model's context."]
    long = [dataclasses.replace(one, completion=f"{one.completion} " * 20) for one in pair]
    with pytest.raises(
        UserError, match=r"small: the outputs of prompt p7 need \d+ tokens more than the 64 that the model reads"
    ):
        judge.judge(join_outputs(long))
    with pytest.raises(UserError, match=r"The template of the judge lacks \{second\}"):
        dataclasses.replace(judge, template="{prompt} {first}").judge(OUTPUTS)
    assert all(f"{{{place}}}" in PAIRWISE for place in ("prompt", "first", "second"))


# --- people ----------------------------------------------------------------------------------------------------------


def rankings() -> list[Comparison]:
    """Rankings of three outputs by two people, one of them all tied."""
    rows = []
    for i, (ranks, who) in enumerate([((1, 2, 3), "L01"), ((2, 1, 1), "L02"), ((1, 1, 1), "L01")]):
        rows.append(
            Comparison(
                f"p{i}", f"prompt {i}", tuple(f"{name} {i}" for name in NAMES), ranks, (True,) * 3, NAMES, (5, 4, 7),
                tuple(dict.fromkeys(FLAGS, name == "sft") for name in NAMES), who,
            )
        )  # fmt: skip
    return rows


@pytest.mark.parametrize("form", ["jsonl", "csv", "pairs"])
def test_people_are_read_from_every_export_of_the_labeling_room(form: str, tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy", reason="needs the extra [labeling]")
    from utils.labeling.store import create_project, import_comparisons, open_store
    from utils.labeling.store.files import export_file

    store = open_store(tmp_path / "labels.db")
    project = create_project(store, "week 1")
    import_comparisons(store, project.id, rankings())
    file = tmp_path / f"week.{'csv' if form == 'csv' else 'jsonl'}"
    export_file(store, project, file, form)
    outputs = join_outputs(
        Output(name, row.prompt_id, row.prompt, text)
        for row in rankings()
        for name, text in zip(NAMES, row.completions, strict=True)
    )
    people = People.read(file)
    found = people.judge(outputs)
    assert found.whose == f"people, 2 judges ({file.name})"
    share = win_rate(found, "sft", "ppo")
    if form == "pairs":  # a pair cannot say that two outputs tie
        assert (share.mean, share.n) == (0.5, 2)
        with pytest.raises(UserError, match='no row has the field "policies": add it, or give the files'):
            people.judge()
        return
    assert (share.mean, share.n, share.ties, share.judges) == (0.5, 3, 1, 2)
    rating = likert(found, "ppo_ptx")
    assert rating is not None and (rating.mean, rating.n) == (7, 3) and metadata(found, "sft")["hallucination"].mean == 1
    assert win_rate(people.judge(), "sft", "ppo") == share, "the file itself names the policies"


def people(*rows: Comparison) -> People:
    return People(rows or rankings(), "week.jsonl")


def test_people_judge_the_outputs_they_saw() -> None:
    row = rankings()[0]
    said = [("mine", row.completions[0]), ("copy", row.completions[0]), ("other", f" {row.completions[2]}\n")]
    found = people().judge(join_outputs(Output(name, "x", row.prompt, text) for name, text in said))
    assert [(one.policies, one.ranks) for one in found.rankings] == [(("mine", "copy", "other"), (1, 1, 3))]
    assert found.notes == ["2 rankings of week.jsonl compare other outputs and are left out."]
    with pytest.raises(UserError, match="week.jsonl: none of its 3 rankings compares two of these outputs: give the files"):
        people().judge(OUTPUTS)
    nameless = people(*(dataclasses.replace(one, labeler_id="") for one in rankings())).judge()
    assert nameless.whose == "people, judges without names (week.jsonl)" and "over prompts alone" in nameless.notes[0]


def test_a_rating_off_the_scale_is_said(tmp_path: Path) -> None:
    file = tmp_path / "week.csv"
    file.write_text(
        'prompt,completions,ranks,ratings\n?,"[""a"", ""b""]","[1, 2]","[7, 1]"\n!,"[""a"", ""b""]","[1, 1]","[8, 1]"\n'
    )
    with pytest.raises(UserError, match=r'week.csv, row 2, field "ratings": found \[8, 1\]: ratings are from 1 to 7'):
        People.read(file)


def test_a_judge_of_ones_own_needs_one_method() -> None:
    class Longest:
        def judge(self, outputs: Sequence[Comparison]) -> Judgements:
            return by_scores(outputs, [list(map(len, row.completions)) for row in outputs], "whoever likes length")

    assert win_rate(Longest().judge(OUTPUTS), "good", "bad").mean == 1.0


def test_reward_of_the_shipped_run_agrees_with_gold_more_often_than_not() -> None:
    outputs = sampled(("base", "ppo"), 60)
    model = RewardModel(load_reward(LESSON.model_dir("reward")), LESSON.tokenizer("reward"), LESSON.config.data)
    by_model = RewardJudge(model, "reward").judge(outputs)
    by_gold = GoldRubric(WORLD, [p for p in LESSON.prompts("test") if isinstance(p, Prompt)]).judge(outputs)
    decided = [(a.ranks, b.ranks) for a, b in zip(by_model.rankings, by_gold.rankings, strict=True) if len(set(b.ranks)) > 1]
    assert sum(a == b for a, b in decided) / len(decided) > 0.7
