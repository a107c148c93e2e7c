"""Labelers: who they are, how they are screened, how they rank, how much they agree.

All labelers here are simulated.
"""

from __future__ import annotations

from utils.labeling.agreement import Agreement, cohens_kappa, krippendorff_alpha, mean_agreement, pair_agreement
from utils.labeling.items import Items, make_items
from utils.labeling.labelers import (
    FINAL_EVALUATION,
    FLAGS,
    NEVER_RAISED,
    TOPICS,
    TRAINING,
    SimulatedLabeler,
    dense_ranks,
    make_candidates,
    make_heldout,
)
from utils.labeling.ranking import assign, calibrate_noise, completion_names, judge_pairs, label_comparisons, rank_all, rate
from utils.labeling.screening import ScreeningMaterial, ScreeningReport, ScreeningRow, make_material, screen
from utils.labeling.tiny_world import (
    comparison_items,
    comparison_parts,
    demonstration_writer,
    relabel,
    screening_prompts,
    screening_set,
)

__all__ = [
    "FINAL_EVALUATION",
    "FLAGS",
    "NEVER_RAISED",
    "TOPICS",
    "TRAINING",
    "Agreement",
    "Items",
    "ScreeningMaterial",
    "ScreeningReport",
    "ScreeningRow",
    "SimulatedLabeler",
    "assign",
    "calibrate_noise",
    "cohens_kappa",
    "comparison_items",
    "comparison_parts",
    "completion_names",
    "demonstration_writer",
    "dense_ranks",
    "judge_pairs",
    "krippendorff_alpha",
    "label_comparisons",
    "make_candidates",
    "make_heldout",
    "make_items",
    "make_material",
    "mean_agreement",
    "pair_agreement",
    "rank_all",
    "rate",
    "relabel",
    "screen",
    "screening_prompts",
    "screening_set",
]
