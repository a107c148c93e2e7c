"""Evaluation (sec. 3.6, 4): gold scores, win rates, alignment tax, best-of-n, public benchmarks, statistics.

This room does not train.
"""

from __future__ import annotations

from utils.evaluation.answering import Subject
from utils.evaluation.bases import measure_base, text_digest, write_card, write_judge_card
from utils.evaluation.judgements import Judgements, likert, measures, metadata, strengths, win_rate
from utils.evaluation.judges import GoldRubric, Judge, LanguageModelJudge, People, RewardJudge, SimulatedLabelers, by_scores
from utils.evaluation.minimal_pairs import PAIRS, PAIRS_SEED, judged_right, likelier_right
from utils.evaluation.policies import (
    Judged,
    Policy,
    alignment_tax,
    appending,
    best_of_n,
    compare,
    fact_items,
    gold_summary,
    held_out_web,
    judged,
    kl_to,
    labeler_ratings,
    labeler_win_rate,
    overview,
    part_means,
    respond,
    reward_win_rates,
    temperatures,
)
from utils.evaluation.preference import bradley_terry, crossed_mean, crossed_win_rate
from utils.evaluation.public import Public, evaluate_models, load_public
from utils.evaluation.reading import circuits_right, reading, reading_curve
from utils.evaluation.samples import COLUMNS, read_samples
from utils.evaluation.scores import first_lines, score_samples, unequal_groups
from utils.evaluation.statistics import mean_se, normal_quantile, paired_difference, score_interval, spread_over_seeds
from utils.evaluation.summary import Pair, Summary
from utils.evaluation.tasks import TASKS, judge_kinds
from utils.evaluation.tax import choice_accuracy, choice_logprobs, next_token_logprobs, pretraining_loss
from utils.evaluation.text_judges import TEXT_JUDGES, judges_by_kind

__all__ = [
    "COLUMNS",
    "GoldRubric",
    "Judge",
    "TEXT_JUDGES",
    "Judged",
    "Judgements",
    "LanguageModelJudge",
    "PAIRS",
    "PAIRS_SEED",
    "Pair",
    "People",
    "Policy",
    "RewardJudge",
    "SimulatedLabelers",
    "Public",
    "Subject",
    "Summary",
    "TASKS",
    "appending",
    "best_of_n",
    "bradley_terry",
    "by_scores",
    "choice_accuracy",
    "choice_logprobs",
    "circuits_right",
    "compare",
    "crossed_mean",
    "crossed_win_rate",
    "evaluate_models",
    "fact_items",
    "first_lines",
    "gold_summary",
    "held_out_web",
    "judged",
    "judge_kinds",
    "judged_right",
    "judges_by_kind",
    "kl_to",
    "labeler_ratings",
    "labeler_win_rate",
    "likert",
    "likelier_right",
    "load_public",
    "mean_se",
    "measure_base",
    "measures",
    "metadata",
    "next_token_logprobs",
    "normal_quantile",
    "overview",
    "paired_difference",
    "part_means",
    "read_samples",
    "reading",
    "reading_curve",
    "respond",
    "reward_win_rates",
    "score_interval",
    "score_samples",
    "spread_over_seeds",
    "strengths",
    "alignment_tax",
    "temperatures",
    "text_digest",
    "unequal_groups",
    "pretraining_loss",
    "win_rate",
    "write_card",
    "write_judge_card",
]
