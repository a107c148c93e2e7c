"""Stages that measure a run for a study: each writes metrics.json, numbers by name and the rows of curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from utils.config import Config
from utils.core.io import digest, digest_path, read_json, read_jsonl, write_json
from utils.core.runtime import choose_device, stream_seed
from utils.data.encoding import encode_prompt
from utils.data.schemas import Prompt
from utils.evaluation.bases import measure_tax
from utils.evaluation.judgements import Judgements, win_rate
from utils.evaluation.judges import SimulatedLabelers
from utils.evaluation.policies import (
    Judged,
    Policy,
    best_of_n,
    completions_of,
    judged,
    kl_to,
    labeler_ratings,
    temperatures,
)
from utils.evaluation.statistics import mean_se
from utils.findings.fits import BEST_OF_N, RL, best_of_n_kl, fit_curve
from utils.labeling import SimulatedLabeler, make_heldout
from utils.models.loading import load_policy, reward_from_policy
from utils.models.tokenizers import load_tokenizer
from utils.pipeline.run import Run, Stage
from utils.pipeline.stages import STAGES
from utils.pipeline.training_stages import gold_probe, reward_init_dir
from utils.ppo.metrics import over_kl
from utils.reward.scoring import RewardModel
from utils.reward.train import Rankings, fit
from utils.sampling.sampler import Response
from utils.training.loop import METRICS
from utils.worlds.protocol import World
from utils.worlds.registry import known_world

METRICS_FILE = "metrics.json"
Numbers = Mapping[str, float]
Rows = Sequence[Mapping[str, Any]]
TAX = ("pretraining_loss", "facts", "copying.right_second")
BEST_OF = (1, 2, 4, 8, 16, 32, 64)
BEST_OF_PROMPTS = 100
JUDGES = 10  # labelers of each group who compare the same two answers
TRUTH_SEED, TRUTH_PROMPTS, TRUTH_QUESTIONS = 2024, 10_000, 300
ENDS = ("_low", "_high", "_n")  # of the keys of an interval
COMPARED = ("prompted", "sft", "ppo", "ppo_ptx")  # whose answers labelers rate


def write_metrics(folder: Path, metrics: Numbers, rows: Rows = ()) -> None:
    """Write what a run measured."""
    write_json(folder / METRICS_FILE, {"metrics": dict(metrics), "rows": list(rows)})


def read_metrics(folder: Path) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Metrics (numbers that are not known are left out) and rows of a run."""
    found = read_json(folder / METRICS_FILE)
    return {name: value for name, value in found["metrics"].items() if value is not None}, found["rows"]


# --- a policy trained by PPO -----------------------------------------------------------------------------------------


def measure_policy(run: Run, folder: Path, name: str) -> None:
    """Gold, reward, KL to the start, alignment tax and parts of the rubric on test prompts; gold over the KL in training."""
    cfg, prompts, policy = run.config, run.prompts("test"), Policy(name, run.model_dir(name))
    found = {kind: judged(policy, prompts, cfg, t) for kind, t in temperatures(cfg).items()}
    sampled = found["sampled"]
    rewards = run.reward_model().score_responses([p.prompt for p in prompts], sampled.responses)
    metrics = {
        "gold": _mean(sampled.golds),
        "gold_greedy": _mean(found["greedy"].golds),
        "reward": _mean(rewards),
        "kl": kl_to(policy, run.model_dir("init"), prompts, sampled.responses, cfg),
        "finished": _mean([float(r.finished) for r in sampled.responses]),
        "words": _mean([float(len(r.text.split())) for r in sampled.responses]),
        **measure_tax(known_world(cfg), policy.path, TAX),
        **parts_of(sampled),
    }
    rows, fitted = training_curve(run, name)
    write_metrics(folder, metrics | fitted, rows)


def parts_of(found: Judged) -> dict[str, float]:
    """Mean of each part of the rubric, 0 to 1."""
    return {f"part.{part}": _mean([s[i] for s in found.parts]) for i, part in enumerate(found.rubric.parts)}


def training_curve(run: Run, name: str) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Proxy reward and gold gain over the distance from the start, during training, and the fit of Gao et al. (2022)."""
    cfg = getattr(run.config, name)
    probe = gold_probe(run, cfg)
    assert probe is not None, "the world of a study has a rubric"
    start = probe(load_policy(run.model_dir("init"), choose_device(run.config.device)))
    rows = [
        {**row, "distance": math.sqrt(max(0.0, row["kl"])), "gain": row["gold"] - start} for row in over_kl(run.metrics(name))
    ]
    return rows, fitted_numbers("rl", rows, RL)


def fitted_numbers(prefix: str, rows: Sequence[Mapping[str, float]], form: str) -> dict[str, float]:
    """Parameters and residuals of the fit to rows {distance, gain}; nothing if there are too few of them."""
    try:
        found = fit_curve([row["distance"] for row in rows], [row["gain"] for row in rows], form)
    except ValueError:
        return {}
    values = {"alpha": found.alpha, "beta": found.beta, "rms": found.rms, "peak": found.peak}
    return {f"{prefix}_{key}": value for key, value in values.items()}


# --- reward models ---------------------------------------------------------------------------------------------------


def measure_reward(run: Run, folder: Path) -> None:
    """Accuracies of the reward model, and gold of the best of n answers by its reward."""
    found = run.reward_evaluation()
    metrics = {f"accuracy_{name}": found[name]["accuracy"] for name in ("labels", "heldout_labelers", "gold", "gold_sft")}
    metrics |= {"demonstration_mean": found["demo_mean"]}
    prompts = run.prompts("valid")[:BEST_OF_PROMPTS]
    start = Policy("init", run.model_dir("init"))
    curve = best_of_n(start, prompts, BEST_OF, run.config, run.reward_model().score_responses)
    first = curve[0]["gold"]
    rows = [{**row, "distance": math.sqrt(best_of_n_kl(int(row["n"]))), "gain": row["gold"] - first} for row in curve]
    metrics |= {"best_of_16": next(row["gold"] for row in rows if row["n"] == 16), "best_of_64": rows[-1]["gold"]}
    write_metrics(folder, metrics | fitted_numbers("best_of_n", rows, BEST_OF_N), rows)


def measure_reward_curve(run: Run, folder: Path) -> None:
    """A reward model trained with its loss on validation rankings logged on the way (footnote 5). It is not kept."""
    cfg = run.config.reward
    start = reward_init_dir(run, folder)
    model = reward_from_policy(start, choose_device(run.config.device), run.config.seed)
    judge = RewardModel(model, load_tokenizer(start), run.config.data)
    train = judge.encode(run.comparisons("train")[: cfg.max_rankings]).groups
    rankings = Rankings(train, judge.encode(run.comparisons("valid")).groups, valid_per_epoch=4)
    key = digest([digest_path(start), cfg, run.config.data, train])
    loop = fit(folder / "training", judge, rankings, cfg, run.config.seed, key, run.config.compute)
    logged = read_jsonl(folder / "training" / METRICS)
    loop.finish()
    per_epoch = -(-len(logged) // cfg.epochs)
    rows = [
        {
            "passes": row["passes"], "valid_loss": row["valid_loss"], "valid_accuracy": row["valid_accuracy"],
            "train_loss": _mean([r["loss"] for r in logged[max(0, row["step"] - per_epoch // 4) : row["step"] + 1]]),
        }
        for row in logged
        if "passes" in row
    ]  # fmt: skip
    losses, last = [row["valid_loss"] for row in rows], rows[-1]
    after_one = next(row for row in rows if row["passes"] >= 1 - 1e-9)
    metrics = {
        "loss_after_one_pass": after_one["valid_loss"], "accuracy_after_one_pass": after_one["valid_accuracy"],
        "final_loss": last["valid_loss"], "final_accuracy": last["valid_accuracy"],
        "rise": last["valid_loss"] - min(losses), "gap": last["valid_loss"] - last["train_loss"],
    }  # fmt: skip
    write_metrics(folder, metrics, rows)


def measure_labeler_groups(run: Run, folder: Path) -> None:
    """Accuracy of cross-validated reward models on training groups of labelers and on the group left out (4.1)."""
    found = run.cross_validation()
    metrics = {name: found[name] for name in ("training", "heldout", "difference")}
    rows = [{"fold": i, "training": f["training"], "heldout": f["heldout"]} for i, f in enumerate(found["folds"])]
    write_metrics(folder, metrics, rows)


# --- what labelers say of final outputs ------------------------------------------------------------------------------


def answers_of(run: Run, names: Sequence[str], prompts: Sequence[Prompt], temperature: float) -> dict[str, Judged]:
    """Answers of policies of a run; "prompted" is the base with its question template."""
    found = {}
    for name in names:
        place = run.model_dir("base" if name == "prompted" else name)
        found[name] = judged(Policy(name, place, prompted=name == "prompted"), prompts, run.config, temperature)
    return found


def labeler_groups_of(run: Run) -> dict[str, list[SimulatedLabeler]]:
    """Three groups of judges. training: who ranked the training data. paper: held-out labelers as in the paper, who were not
    screened and agree more. weights: other people with the training labelers' noise and care; only their weights differ."""
    hired, cfg = run.labelers("hired"), replace(run.config.labelers, n_heldout=len(run.labelers("hired")))
    others = make_heldout(known_world(run.config).rubric, cfg, stream_seed(run.config.seed, "findings", "weights"))
    same_noise = [
        replace(one, labeler_id=f"weights_{i:03d}", weights=other.weights)
        for i, (one, other) in enumerate(zip(hired, others, strict=True))
    ]
    return {"training": hired, "paper": run.labelers("heldout"), "weights": same_noise}


def measure_preferences(run: Run, folder: Path) -> None:
    """Win rates over SFT by group of judges (Fig. 3), and Likert ratings and flags by the held-out labelers (Figs. 4, 5)."""
    cfg, prompts = run.config, run.prompts("test")
    answers = answers_of(run, COMPARED, prompts, cfg.evaluation.temperature)
    groups = labeler_groups_of(run)
    metrics: dict[str, float] = {}
    for group, people in groups.items():
        judges = SimulatedLabelers(known_world(cfg), prompts, people, group, cfg.seed, min(JUDGES, len(people)))
        for name in ("prompted", "ppo", "ppo_ptx"):
            rows = judges.label(completions_of((name, "sft"), (answers[name], answers["sft"]), prompts))
            metrics[f"wins.{name}.{group}"] = win_rate(Judgements(judges.whose, rows), name, "sft").mean
    rated = labeler_ratings(answers, prompts, groups["paper"], cfg)
    for name in COMPARED:
        metrics[f"likert.{name}"] = rated.likert[name]["mean"]
        metrics |= {f"{flag}.{name}": share for flag, share in rated.metadata[name].items() if not flag.endswith(ENDS)}
    write_metrics(folder, metrics)


# --- truth -----------------------------------------------------------------------------------------------------------


def measure_truth(run: Run, folder: Path) -> None:
    """What each policy says to held-out questions that have a popular wrong answer, at both temperatures; parts of the rubric
    on test prompts (Figs. 6, 7)."""
    cfg, world = run.config, known_world(run.config)
    questions = truth_questions(run, world)
    metrics: dict[str, float] = {"questions": len(questions)}
    names = ("base", "prompted", "sft", "init", "ppo", "ppo_ptx")
    found = {kind: answers_of(run, names, questions, t) for kind, t in temperatures(cfg).items()}
    tests = run.prompts("test")
    for name in names:
        both = [found[kind][name].responses for kind in ("sampled", "greedy")]
        metrics |= world.extra_metrics(name, questions, *both)
        policy = Policy(name, run.model_dir("base" if name == "prompted" else name), prompted=name == "prompted")
        metrics |= {f"{part}.{name}": value for part, value in parts_of(judged(policy, tests, cfg, 1.0)).items()}
    write_metrics(folder, metrics)


def truth_questions(run: Run, world: World) -> list[Prompt]:
    """Questions of the test split that have a popular wrong answer, at most TRUTH_QUESTIONS different ones within the length
    limit; the same for all runs."""
    empty, limit, tokenizer = [Response("", True)], run.config.data.max_prompt_tokens, run.tokenizer()
    found: dict[str, Prompt] = {}
    for prompt in world.make_prompts(TRUTH_SEED, {"test": TRUTH_PROMPTS}):
        if prompt.prompt in found or not world.extra_metrics("x", [prompt], empty, empty).get("truth.x.n"):
            continue
        if len(encode_prompt(tokenizer, prompt.prompt, run.config.data)) <= limit:
            found[prompt.prompt] = prompt
        if len(found) == TRUTH_QUESTIONS:
            break
    return list(found.values())


# --- all policies of a run -------------------------------------------------------------------------------------------


def measure_evaluation(run: Run, folder: Path) -> None:
    """The numbers of the stage evaluate under their keys of summary.json, such as gold.ppo.mean."""
    numbers = {k: v for k, v in run.evaluation().flat().items() if isinstance(v, int | float) and not isinstance(v, bool)}
    write_metrics(folder, numbers)


def _mean(values: Sequence[float]) -> float:
    return mean_se(values).mean if values else math.nan


def _how(config: Config) -> Any:
    return config.evaluation


MEASURES = (
    Stage("measured_ppo", partial(measure_policy, name="ppo"), ("init", "reward", "prompts", "ppo"), _how),
    Stage("measured_ppo_ptx", partial(measure_policy, name="ppo_ptx"), ("init", "reward", "prompts", "ppo_ptx"), _how),
    Stage("measured_reward", measure_reward, ("init", "reward", "prompts"), _how),
    Stage("reward_curve", measure_reward_curve, ("comparisons", "sft"), lambda c: c.reward, lambda c: [c.reward_init]),
    Stage("labeler_groups", measure_labeler_groups, ("cross_validation",)),
    Stage(
        "preferences", measure_preferences,
        ("base", "prompts", "labelers", "comparisons", "sft_select", "ppo", "ppo_ptx"), lambda c: [c.evaluation, c.labelers],
    ),
    Stage("truth", measure_truth, ("base", "prompts", "init", "sft_select", "ppo", "ppo_ptx"), _how),
    Stage("measured_run", measure_evaluation, ("evaluate",)),
)  # fmt: skip
STAGES_AND_MEASURES = (*STAGES, *MEASURES)
