"""Stages that measure and report: evaluate, report (sec. 3.6, 4)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from utils.core import processes
from utils.core.io import write_json, write_jsonl
from utils.core.runtime import machine, progress, versions
from utils.data.hub import short_name
from utils.data.schemas import Prompt
from utils.evaluation.policies import (
    EVALUATED,
    Judged,
    Policy,
    alignment_tax,
    best_of_n,
    compare,
    gold_summary,
    judged,
    kl_to,
    labeler_ratings,
    labeler_win_rate,
    respond,
    reward_win_rates,
    temperatures,
)
from utils.evaluation.statistics import mean_se
from utils.evaluation.summary import Section, Summary
from utils.models.tokenizers import load_tokenizer
from utils.pipeline.base import prepared
from utils.pipeline.run import Run
from utils.pipeline.training_stages import judging_world
from utils.planning import memory
from utils.report.page import write_report
from utils.report.terminal import terminal_table
from utils.sampling.sampler import Response

WIN_RATES = (("prompted", "base"), ("sft", "prompted"), ("ppo", "sft"), ("ppo_ptx", "sft"))
COMPARISONS = (
    ("prompted", "base"), ("sft", "prompted"), ("ppo", "sft"), ("ppo_ptx", "sft"), ("ppo", "init"), ("ppo_ptx", "ppo"),
    ("ppo", "prompted_largest"),
)  # fmt: skip


def policies(run: Run, folder: Path) -> list[Policy]:
    """All policies of the run and, if the settings name one, the largest base model, prompted.

    folder: where a copy of the largest base is written if its tokenizer lacks tokens.
    """
    found = [
        Policy(name, run.model_dir("base" if name == "prompted" else name), prompted=name == "prompted") for name in EVALUATED
    ]
    if run.config.largest_model is not None:
        place = run.config.largest_model
        largest = processes.on_main(lambda: prepared(place, folder / "largest"))
        found.append(Policy("prompted_largest", largest, prompted=True))
    return found


def evaluate_stage(run: Run, folder: Path) -> None:
    """Evaluate every policy on the test prompts, sampled and greedy; the metrics go to evaluation.json."""
    prompts = run.prompts("test")
    world = judging_world(run, prompts)
    if world is None:
        _evaluate_without_rubric(run, folder, prompts)
        return
    # Every policy answers every test prompt twice; gold scores each answer.
    cfg = run.config
    found = {policy.name: policy for policy in policies(run, folder)}
    answers = {
        name: {kind: judged(found[name], prompts, cfg, t) for kind, t in temperatures(cfg).items()}
        for name in progress(found, total=len(found), label="evaluate")
    }
    # Comparisons between policies, then the metrics of each policy alone.
    summary = _comparisons(run, prompts, answers)
    for name, policy in found.items():
        pair = answers[name]
        summary.add(gold_summary(name, pair["sampled"], pair["greedy"]))
        summary.add(Summary.of(world.extra_metrics(name, prompts, pair["sampled"].responses, pair["greedy"].responses)))
        summary.add(_kl(run, policy, prompts, pair["sampled"].responses))
        summary.add(alignment_tax(policy, cfg))
    # Best-of-n shows how far the reward model can be trusted. It uses validation prompts, as test prompts are for results.
    valid = run.prompts("valid")[: cfg.evaluation.best_of_prompts]
    curve = best_of_n(found["init"], valid, cfg.evaluation.best_of, cfg, run.reward_model().score_responses)
    if processes.is_main():
        write_jsonl(folder / "samples.jsonl", sample_rows(prompts, answers, temperatures(cfg)))
        write_json(folder / "best_of_n.json", curve)
        summary.save(folder / "evaluation.json")


def _kl(run: Run, policy: Policy, prompts: list[Prompt], responses: list[Response]) -> Summary:
    """Section kl: KL(policy || init), where init is the reference of PPO's penalty. Empty for a base model with another
    vocabulary, for which this KL is not defined."""
    reference = run.model_dir("init")
    if load_tokenizer(policy.path).get_vocab() != load_tokenizer(reference).get_vocab():
        return Summary()
    return Summary(kl=Section({policy.name: kl_to(policy, reference, prompts, responses, run.config)}))


def _comparisons(run: Run, prompts: list[Prompt], answers: dict[str, dict[str, Judged]]) -> Summary:
    """Gold differences (sampled and greedy) and win rates between policies; ratings and metadata of each."""
    found = Summary()
    labelers = run.labelers("heldout")
    for a, b in COMPARISONS:
        if b in answers:
            found.add(compare(a, b, answers[a]["sampled"], answers[b]["sampled"]))
            found.add(compare(a, b, answers[a]["greedy"], answers[b]["greedy"], is_greedy=True))
    for a, b in WIN_RATES:
        found.add(labeler_win_rate(a, b, answers[a]["sampled"], answers[b]["sampled"], prompts, labelers, run.config))
    found.add(labeler_ratings({name: kinds["sampled"] for name, kinds in answers.items()}, prompts, labelers, run.config))
    return found


def sample_rows(prompts: list[Prompt], answers: dict[str, dict[str, Judged]], asked: dict[str, float]) -> list[dict[str, Any]]:
    """Every response as a row of samples.jsonl. answers: policy -> "sampled" or "greedy" -> responses; asked: the
    temperatures of these two."""
    return [
        {
            "prompt_id": p.prompt_id, "prompt": p.prompt, "use_case": p.use_case, "policy": name,
            "temperature": asked[kind], "completion": r.text, "finished": r.finished, "gold": g,
        }
        for name, kinds in answers.items()
        for kind, found in kinds.items()
        for p, r, g in zip(prompts, found.responses, found.golds, strict=True)
    ]  # fmt: skip


def _evaluate_without_rubric(run: Run, folder: Path, prompts: list[Prompt]) -> None:
    """For the user's own prompts: mean reward, share of finished answers, KL of each policy, and its win rate against the SFT
    model by the reward model's opinion."""
    summary = Summary()
    rows = []
    temperature = run.config.evaluation.temperature
    found, judge = policies(run, folder), run.reward_model()
    answers: dict[str, list[Response]] = {}
    scores: dict[str, list[float]] = {}
    for policy in progress(found, total=len(found), label="evaluate"):
        answers[policy.name] = responses = respond(policy, prompts, run.config, temperature)
        scores[policy.name] = rewards = judge.score_responses([p.prompt for p in prompts], responses)
        mean = mean_se(rewards)
        summary.reward[policy.name] = Section(mean=mean.mean, se=mean.se)
        summary.finished[policy.name] = mean_se([float(r.finished) for r in responses]).mean
        summary.add(_kl(run, policy, prompts, responses))
        rows += [
            {
                "prompt_id": p.prompt_id, "prompt": p.prompt, "use_case": p.use_case, "policy": policy.name,
                "temperature": temperature, "completion": r.text, "finished": r.finished, "reward": x,
            }
            for p, r, x in zip(prompts, responses, rewards, strict=True)
        ]  # fmt: skip
    summary.add(reward_win_rates(answers, scores, prompts, "sft", run.config.evaluation.confidence))
    if processes.is_main():
        write_jsonl(folder / "samples.jsonl", rows)
        summary.save(folder / "evaluation.json")


# --- report --------------------------------------------------------------------------------------------------------


def report_stage(run: Run, folder: Path) -> None:
    """Write summary.json and report.html into the run's folder, and print a table."""
    summary = summarise(run)
    summary.save(run.out_dir / "summary.json")
    shown = run.report_data()
    write_report(shown, summary, run.out_dir / "report.html")
    print(terminal_table(summary, shown.left_out))


def summarise(run: Run) -> Summary:
    """All numbers of a run."""
    summary = run.evaluation()
    about = {"profile": run.config.profile, "world": run.config.world, "seed": run.config.seed}
    summary.about.update(about, machine=machine(), versions=versions())
    if given := run.config.data.comparisons:
        summary.data["comparisons"] = short_name(given)
    seconds = run.seconds()
    summary.seconds.update(seconds, total=run.total_seconds())
    summary.memory.update(_memory(run))
    summary.labelers, summary.reward_model = _labelers(run), _reward(run)
    return summary


def _memory(run: Run) -> dict[str, Section]:
    """What each stage used where worker processes ran it, beside the plan of the stages that train."""
    found = {name: Section(used) for name, used in run.memory().items()}
    if found:
        for need in memory.planned(replace(run.config, model=str(run.model_dir("base")))):
            if need.stage in found:
                found[need.stage]["planned"] = need.total
    return found


def _labelers(run: Run) -> Section:
    """Agreement and screening; empty if the rankings are the user's own."""
    agreement = run.agreement()
    if agreement is None:
        return Section()
    pool = run.screening_summary()
    groups = {
        f"agreement_{group}{end}": agreement[f"{group}_{name}"]
        for group in ("train", "heldout")
        for end, name in (("", "mean"), ("_se", "se"))
    }
    return Section(groups, **{name: pool[name] for name in ("candidates", "hired", "caught")})


def _reward(run: Run) -> Section:
    """Accuracies with standard errors, mean reward of demonstrations, calibration error."""
    found = run.reward_evaluation()
    labels = found["labels"]
    metrics = Section(pairs=labels["pairs"], calibration_error=labels["calibration_error"])
    metrics.update({name: found[name] for name in ("demo_mean", "demo_mean_valid")})
    for name in ("labels", "heldout_labelers", "gold", "gold_sft"):
        if name in found:
            metrics[f"accuracy_{name}"] = found[name]["accuracy"]
            metrics[f"accuracy_{name}_se"] = found[name]["accuracy_se"]
    for kind, accuracy in found.get("minimal_pairs", {}).items():
        name = "_".join(("accuracy", *kind.split()))
        metrics.update({name: accuracy["accuracy"], f"{name}_se": accuracy["accuracy_se"]})
    if run.has_cross_validation():
        crossed = run.cross_validation()
        metrics.update({f"cv_{name}": crossed[name] for name in ("training", "training_se", "heldout", "heldout_se")})
    return metrics
