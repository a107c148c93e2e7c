"""Predicted seconds compared with those that a finished run took (scripts/plan.py --check)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from utils.core.errors import UserError
from utils.core.runtime import choose_device, machine, versions
from utils.data.encoding import encode_completion, encode_prompt
from utils.pipeline.run import Run
from utils.planning.operations import Data, by_stage, data_at_limits, shape_of, stage_work
from utils.planning.speed import predict, speeds_of

CALIBRATION = "sft"  # the stage whose measured seconds set the pace for the others
PREDICTED = ("init", "reward", "ppo", "ppo_ptx")  # training stages; the others mostly process data


def data_of_run(run: Run) -> Data:
    """Sizes of the data that a finished run read: rows and mean tokens of its files, and the length of PPO's answers."""
    tokenizer, data = run.tokenizer(), run.config.data
    prompts = {name: run.prompts(name) for name in ("rm", "ppo", "valid", "test")}
    demonstrations = run.demonstrations("train")
    ranked = run.comparisons("train")
    rounds = [row for stage in ("ppo", "ppo_ptx") for row in run.metrics(stage)]

    def prompt_tokens(texts: Sequence[str]) -> float:
        return _mean([len(encode_prompt(tokenizer, text, data)) for text in texts])

    answers = [set(zip(row.completions, row.finished or [True] * len(row.completions), strict=True)) for row in ranked]
    lengths = [len(encode_completion(tokenizer, text, end or not text, data)) for group in answers for text, end in group]
    return Data(
        n_sft=len(demonstrations),
        n_rm=len(ranked),
        n_valid=len(prompts["valid"]),
        n_test=len(prompts["test"]),
        sft_prompt=prompt_tokens([row.prompt for row in demonstrations]),
        demonstration=_mean([len(encode_completion(tokenizer, row.completion, True, data)) for row in demonstrations]),
        rm_prompt=prompt_tokens([row.prompt for row in ranked]),
        completion=_mean(lengths),
        ppo_prompt=prompt_tokens([row.prompt for row in prompts["ppo"]]),
        response=_mean([row["length"] for row in rounds]),
        drawn=data_at_limits(run.config).drawn,
        distinct=_mean([len(group) for group in answers]),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def compare(run: Run) -> dict[str, Any]:
    """Predicted and measured seconds of a finished run's training stages on this machine, as one record.

    The prediction uses two measurements of the machine: the rates of a probe of the model's shape, and `pace`, the ratio of
    measured to probed seconds in the SFT stage (a stage also loads data, writes checkpoints and has colder caches). It
    does not use the measured seconds of the other stages. Raises UserError if a stage is missing.
    """
    seconds = run.seconds()
    missing = [name for name in (CALIBRATION, *PREDICTED) if name not in seconds]
    if missing:
        raise UserError(f'{run.out_dir}: the stage "{missing[0]}" has not finished; finish the run with scripts/pipeline.py.')
    data, path = data_of_run(run), run.model_dir("base")
    paths = [path] if run.config.reward_init is None else [path, Path(run.config.reward_init)]
    speeds = speeds_of(paths, data, choose_device(run.config.device))
    shapes = [shape_of(p) for p in paths]
    work = stage_work(run.config, shapes[0], shapes[-1], data)
    probed, flops = predict(work, speeds), by_stage(work)
    pace = seconds[CALIBRATION] / probed[CALIBRATION]
    rows = [comparison(name, seconds[name], pace * probed[name], flops[name]) for name in PREDICTED]
    measured, predicted = (sum(row[f"{kind}_seconds"] for row in rows) for kind in ("measured", "predicted"))
    return {
        "machine": machine(), "versions": versions(), "seed": run.config.seed, "profile": run.config.profile,
        "model": run.config.model, "parameters": shapes[0].parameters, "calibrated_on": CALIBRATION, "pace": pace,
        "stages": rows, "total": comparison("total", measured, predicted, sum(flops[name] for name in PREDICTED)),
        "largest_error": max(abs(row["ratio"] - 1) for row in rows),
        "speeds": {name: asdict(speed) for name, speed in speeds.items()}, "data": asdict(data),
    }  # fmt: skip


def comparison(stage: str, measured: float, predicted: float, flops: float) -> dict[str, Any]:
    """One row: seconds and their ratio, predicted over measured."""
    return {
        "stage": stage, "measured_seconds": measured, "predicted_seconds": predicted, "ratio": predicted / measured,
        "flops": flops,
    }  # fmt: skip
