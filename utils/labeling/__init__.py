"""Labelers: who they are, how they are screened, how they rank, how much they agree.

All labelers here are simulated: they judge the answers to a world's prompts (`utils.worlds`).
"""

from __future__ import annotations

from utils.labeling.agreement import (
    Agreement,
    agreement_matrix,
    cohens_kappa,
    common_decisions,
    krippendorff_alpha,
    mean_agreement,
    pair_agreement,
)
from utils.labeling.items import Items, make_items
from utils.labeling.labelers import (
    FLAGS,
    TOPICS,
    SimulatedLabeler,
    dense_ranks,
    make_candidates,
    make_heldout,
)
from utils.labeling.ranking import (
    Completions,
    assign,
    calibrate_noise,
    comparison_items,
    comparison_parts,
    completion_names,
    label_comparisons,
    rank_all,
    relabel,
)
from utils.labeling.screening import (
    ScreeningMaterial,
    ScreeningReport,
    ScreeningRow,
    demonstration_writer,
    make_material,
    screen,
    screening_prompts,
    screening_set,
)
from utils.worlds.protocol import FINAL_EVALUATION, TRAINING

__all__ = [
    "FINAL_EVALUATION",
    "FLAGS",
    "TOPICS",
    "TRAINING",
    "Agreement",
    "Completions",
    "Items",
    "ScreeningMaterial",
    "ScreeningReport",
    "ScreeningRow",
    "SimulatedLabeler",
    "agreement_matrix",
    "assign",
    "calibrate_noise",
    "cohens_kappa",
    "common_decisions",
    "comparison_items",
    "comparison_parts",
    "completion_names",
    "demonstration_writer",
    "dense_ranks",
    "krippendorff_alpha",
    "label_comparisons",
    "make_candidates",
    "make_heldout",
    "make_items",
    "make_material",
    "mean_agreement",
    "pair_agreement",
    "rank_all",
    "relabel",
    "screen",
    "screening_prompts",
    "screening_set",
]
