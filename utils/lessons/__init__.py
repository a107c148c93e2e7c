"""What the notebooks need: the shipped run that they read, functions that show results, checks of the exercises.

Nothing else imports this room.
"""

from __future__ import annotations

from utils.lessons.exercises.data import (
    check_accuracy_from_agreement,
    check_agreement,
    check_capped,
    check_deduplicated,
    check_reweighted,
)
from utils.lessons.exercises.feedback import (
    check_overlap_excess,
    check_overlap_hit_rate,
    check_threshold,
    check_without_topic,
)
from utils.lessons.exercises.learners import check_excess, check_hit_rate, check_precision_recall, check_schools_for
from utils.lessons.exercises.ppo import (
    check_advantages,
    check_best_policy,
    check_kl_estimates,
    check_response_mask,
    check_token_loss,
)
from utils.lessons.exercises.ppo_ptx import check_objective, check_paired, check_picked, check_same_gamma, check_win_rate
from utils.lessons.exercises.real import check_gigabytes, check_held_out, check_hours, check_missing, check_split_pair
from utils.lessons.exercises.reward import (
    check_best_of_n,
    check_forward_rows,
    check_off_topic_accuracy,
    check_pair_loss,
    check_ranking_loss,
    check_shifted,
)
from utils.lessons.exercises.sft import check_batch_loss, check_choose, check_labels, check_rate, check_web_share
from utils.lessons.exercises.start import check_loss_mask, check_pairs, check_tax_undone, check_token_rewards
from utils.lessons.label_box import label_box, rank_box
from utils.lessons.notebook import (
    chat_box,
    compared,
    fast,
    fast_settings,
    picture,
    quiet,
    run_folder,
    short_ppo,
    side_by_side,
    start,
    table,
    text_box,
    token_texts,
    token_view,
)
from utils.lessons.shipped_run import FOLDER, ship, shipped

__all__ = [
    "FOLDER",
    "chat_box",
    "check_accuracy_from_agreement",
    "check_advantages",
    "check_agreement",
    "check_batch_loss",
    "check_best_of_n",
    "check_best_policy",
    "check_capped",
    "check_choose",
    "check_deduplicated",
    "check_excess",
    "check_forward_rows",
    "check_gigabytes",
    "check_held_out",
    "check_hit_rate",
    "check_hours",
    "check_kl_estimates",
    "check_labels",
    "check_loss_mask",
    "check_missing",
    "check_objective",
    "check_off_topic_accuracy",
    "check_overlap_excess",
    "check_overlap_hit_rate",
    "check_pair_loss",
    "check_paired",
    "check_pairs",
    "check_picked",
    "check_precision_recall",
    "check_ranking_loss",
    "check_rate",
    "check_response_mask",
    "check_reweighted",
    "check_same_gamma",
    "check_schools_for",
    "check_shifted",
    "check_split_pair",
    "check_tax_undone",
    "check_threshold",
    "check_token_loss",
    "check_token_rewards",
    "check_web_share",
    "check_win_rate",
    "check_without_topic",
    "compared",
    "fast",
    "fast_settings",
    "label_box",
    "picture",
    "quiet",
    "rank_box",
    "run_folder",
    "ship",
    "shipped",
    "short_ppo",
    "side_by_side",
    "start",
    "table",
    "text_box",
    "token_texts",
    "token_view",
]
