"""The list of all stages, from the base model to the report: which settings and files each of them depends on.

scripts/pipeline.py and the lessons run it.
"""

from __future__ import annotations

from collections.abc import Collection

from utils.config import Config
from utils.core.errors import UserError
from utils.core.io import PathLike
from utils.core.runtime import locate
from utils.models.directories import check_kind, read_config
from utils.models.lora import check_lora
from utils.pipeline.base import base_stage
from utils.pipeline.data_stages import comparisons_stage, demonstrations_stage, labelers_stage, prompts_stage, stand_ins
from utils.pipeline.evaluation_stages import evaluate_stage, report_stage
from utils.pipeline.run import Run, Stage
from utils.pipeline.training_stages import (
    cross_validation_stage,
    init_stage,
    ppo_ptx_stage,
    ppo_stage,
    reward_stage,
    sft_select_stage,
    sft_stage,
)
from utils.worlds.registry import known_world, world_names, world_of


def _world(config: Config) -> list[str]:
    """Source files of the run's world: when they change, the data are made again."""
    world = world_of(config)
    return world.sources() if world else []


def _rankings(config: Config) -> list[str | None]:
    """The user's rankings, where prompts and demonstrations are taken from them."""
    return [config.data.comparisons] if stand_ins(config) else []


def _base_settings(config: Config) -> list[object]:
    """What the stage "base" checks against the model's context."""
    data, ptx = config.data, config.ppo_ptx
    lengths = [data.max_prompt_tokens, data.max_response_tokens, data.prompted_template, ptx.ptx_length]
    return [*lengths, ptx.gamma_ptx > 0, config.init.pretrain_fraction > 0]


STAGES = (
    Stage("base", base_stage, settings=_base_settings, reads=lambda c: [c.model]),
    Stage(
        "prompts", prompts_stage, needs=("base",), settings=lambda c: c.data,
        reads=lambda c: [c.data.prompts, *_rankings(c), *_world(c)],
    ),
    Stage("labelers", labelers_stage, settings=lambda c: [c.labelers, c.world], reads=_world),
    Stage(
        "demonstrations", demonstrations_stage, needs=("prompts", "labelers"), settings=lambda c: c.labelers,
        reads=lambda c: [c.data.demonstrations, *_rankings(c)],
    ),
    Stage(
        "sft", sft_stage, needs=("base", "demonstrations"), settings=lambda c: [c.sft, c.data], shared=True,
        share=0.5,
    ),
    Stage(
        "init", init_stage, needs=("base", "demonstrations"),
        settings=lambda c: [c.init, c.data, c.ppo_ptx.ptx_length, c.web_documents],
        reads=lambda c: [c.data.pretraining], shared=True, share=0.5,
    ),
    Stage(
        "comparisons", comparisons_stage, needs=("base", "prompts", "labelers", "sft", "init"),
        settings=lambda c: [c.sampling, c.labelers, c.data], reads=lambda c: [c.data.comparisons],
        shared=True,
    ),
    Stage(
        "reward", reward_stage, needs=("comparisons", "sft", "demonstrations"), settings=lambda c: c.reward,
        reads=lambda c: [c.reward_init], shared=True,
    ),
    Stage("sft_select", sft_select_stage, needs=("sft", "reward", "prompts"), shared=True, share=0.5),
    Stage(
        "ppo", ppo_stage, needs=("init", "reward", "prompts"), settings=lambda c: c.ppo, shared=True, share=0.5,
    ),
    Stage(
        "ppo_ptx", ppo_ptx_stage, needs=("init", "reward", "prompts"), settings=lambda c: [c.ppo_ptx, c.web_documents],
        reads=lambda c: [c.data.pretraining], shared=True, share=0.5,
    ),
    Stage(
        "cross_validation", cross_validation_stage, needs=("comparisons", "sft"), settings=lambda c: c.reward,
        reads=lambda c: [c.reward_init], shared=True, share=0.5,
    ),
    Stage(
        "evaluate", evaluate_stage, needs=("base", "sft_select", "init", "ppo", "ppo_ptx", "comparisons", "prompts"),
        settings=lambda c: c.evaluation, reads=lambda c: [c.largest_model], shared=True,
    ),
    Stage("report", report_stage, needs=("evaluate", "reward", "cross_validation", "prompts")),
)  # fmt: skip


def run_pipeline(
    config: Config, out: PathLike, only: Collection[str] | None = None, force: bool = False, smoke: bool = False
) -> Run:
    """Run every stage (or those in `only`) of one configuration into `out`; finished unchanged stages are skipped.

    The stage "base" always runs first: it is fast, and every other stage needs it. smoke: a small trial run. Raises
    UserError for input that cannot be used, if possible before training starts, and for a smoke run that would replace
    the results of a full run.
    """
    chosen = None if only is None else ("base", *only)
    check_inputs(config, chosen)
    check_lora(config.compute)
    run = Run(out, config, smoke)
    run.execute(STAGES, only=chosen, force=force)
    return run


def check_inputs(config: Config, only: Collection[str] | None = None) -> None:
    """Raise UserError if prompts have no source, if simulated labelers would have to judge the user's own prompts, or if
    the largest base, which only the last stages read, is no language model with its weights.

    Prompts and demonstrations can come from the user's rankings (`data_stages.stand_ins`).
    """
    data, world = config.data, world_of(config)
    if config.largest_model is not None and (only is None or "evaluate" in only):
        check_kind(read_config(locate(config.largest_model)), config.largest_model, "policy")
    if data.prompts is None and world:
        return
    if data.prompts is None and data.comparisons is None:
        first = known_world(world_names()[0])
        raise UserError(
            f'The profile "{config.profile}" has no prompts of its own: give yours with --prompts FILE, or rankings with '
            "--comparisons FILE, whose prompts are then used, or a public dataset with --prompts hub:oasst2, or take "
            f"{first.title}'s with --set world={first.name}."
        )
    whose = world.title if world else "a world"
    for name, verb in (("demonstrations", "answer"), ("comparisons", "rank answers to")):
        if getattr(data, name) is None and (only is None or name in only) and not stand_ins(config):
            raise UserError(
                f"Simulated labelers can {verb} {whose}'s prompts only, not those of {data.prompts}: "
                f"give your own {name} with --{name} FILE as well."
            )
