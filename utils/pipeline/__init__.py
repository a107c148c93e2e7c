"""The pipeline: its stages from prompts to the report, what is run again, and the one reader of a run's files.

scripts/pipeline.py and the lessons run it; `open_run` and `run.prompts("ppo")`, `run.model_dir("init")` read a finished run.
"""

from __future__ import annotations

from utils.pipeline.artifacts import MODELS, POLICIES, Artifacts
from utils.pipeline.base import prepared
from utils.pipeline.command import pipeline_command
from utils.pipeline.data_stages import SETS, assign_prompts, pretraining_texts, screened
from utils.pipeline.evaluation_stages import sample_rows, summarise
from utils.pipeline.judging import JUDGES, Chosen, judge_of, outputs_to_judge, reference_of
from utils.pipeline.run import Run, Stage, lock, open_run, settings_of
from utils.pipeline.smoke import smoke_settings
from utils.pipeline.stages import STAGES, check_inputs, run_pipeline
from utils.pipeline.training_stages import (
    judge_reward,
    pretraining_rows,
    score_checkpoints,
    train_policy,
)

__all__ = [
    "Chosen",
    "JUDGES",
    "MODELS",
    "POLICIES",
    "SETS",
    "STAGES",
    "Artifacts",
    "Run",
    "Stage",
    "assign_prompts",
    "check_inputs",
    "judge_of",
    "judge_reward",
    "lock",
    "open_run",
    "outputs_to_judge",
    "pipeline_command",
    "prepared",
    "pretraining_rows",
    "pretraining_texts",
    "reference_of",
    "run_pipeline",
    "sample_rows",
    "score_checkpoints",
    "screened",
    "settings_of",
    "smoke_settings",
    "summarise",
    "train_policy",
]
