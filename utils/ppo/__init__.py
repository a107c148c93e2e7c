"""PPO and PPO-ptx (sec. 3.5, C.4, Eq. 2): experience of a round, its updates, the loop over rounds.

`train_ppo` runs a stage; `metrics.METRICS` explains what it logs.
"""

from __future__ import annotations

from utils.ppo.experience import experience_metrics, load_ppo_models, reward_scores, run_round
from utils.ppo.metrics import METRICS, over_kl
from utils.ppo.train import PPOInputs, start_loop, train_ppo
from utils.ppo.update import draw_ptx_rows, policy_loss, ptx_loss, update_round

__all__ = [
    "METRICS",
    "PPOInputs",
    "draw_ptx_rows",
    "experience_metrics",
    "load_ppo_models",
    "over_kl",
    "policy_loss",
    "ptx_loss",
    "reward_scores",
    "run_round",
    "start_loop",
    "train_ppo",
    "update_round",
]
