"""The pipeline as a row of stages, from prompts to the report. `scripts/pipeline.py` and the notebooks run this."""

from __future__ import annotations

from utils.config import Config
from utils.io import PathLike
from utils.pipeline.data_stages import comparisons_stage, demonstrations_stage, labelers_stage, prompts_stage
from utils.pipeline.evaluation_stages import evaluate_stage, report_stage
from utils.pipeline.training_stages import (
    init_stage,
    ppo_ptx_stage,
    ppo_stage,
    reward_stage,
    sft_select_stage,
    sft_stage,
)
from utils.stages import Run, Stage


def _world(config: Config) -> list[str]:
    return ["data/world"] if config.world else []


STAGES = (
    Stage(
        "prompts", prompts_stage, settings=lambda c: c.data,
        reads=lambda c: [c.data.prompts, c.model, *_world(c)],
    ),
    Stage("labelers", labelers_stage, settings=lambda c: c.labelers, reads=_world),
    Stage(
        "demonstrations", demonstrations_stage, needs=("prompts", "labelers"), settings=lambda c: c.labelers,
        reads=lambda c: [c.data.demonstrations],
    ),
    Stage("sft", sft_stage, needs=("demonstrations",), settings=lambda c: [c.sft, c.data], reads=lambda c: [c.model]),
    Stage(
        "init", init_stage, needs=("demonstrations",), settings=lambda c: [c.init, c.data, c.ppo_ptx.ptx_length, c.web_documents],
        reads=lambda c: [c.model],
    ),
    Stage(
        "comparisons", comparisons_stage, needs=("prompts", "labelers", "sft", "init"),
        settings=lambda c: [c.sampling, c.labelers, c.data], reads=lambda c: [c.data.comparisons, c.model],
    ),
    Stage(
        "reward", reward_stage, needs=("comparisons", "sft", "demonstrations"), settings=lambda c: c.reward,
        reads=lambda c: [c.reward_init],
    ),
    Stage("sft_select", sft_select_stage, needs=("sft", "reward", "prompts")),
    Stage("ppo", ppo_stage, needs=("init", "reward", "prompts"), settings=lambda c: c.ppo),
    Stage("ppo_ptx", ppo_ptx_stage, needs=("init", "reward", "prompts"), settings=lambda c: [c.ppo_ptx, c.web_documents]),
    Stage(
        "evaluate", evaluate_stage, needs=("sft_select", "init", "ppo", "ppo_ptx", "comparisons", "prompts"),
        settings=lambda c: c.evaluation, reads=lambda c: [c.largest_model],
    ),
    Stage("report", report_stage, needs=("evaluate", "reward", "prompts")),
)  # fmt: skip


def run_pipeline(config: Config, out: PathLike, only: tuple[str, ...] | None = None, force: bool = False) -> Run:
    """Run every stage (or those in `only`) of one configuration into `out`; finished unchanged stages are skipped."""
    run = Run(out, config)
    run.execute(STAGES, only=only, force=force)
    return run
