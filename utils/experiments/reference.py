"""Reference results: several seeds of one profile, the ladder of sizes, and a run that over-optimises on purpose.

Everything README, notebooks and docs quote is written by these functions into results/<profile>/.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from utils.config import PPOConfig, config_to_dict
from utils.core.errors import UserError
from utils.core.io import read_json, write_json, write_text
from utils.core.runtime import machine, versions
from utils.evaluation.bases import measure_base
from utils.evaluation.policies import Policy, gold_summary, judged
from utils.evaluation.statistics import mean_se, spread_over_seeds
from utils.evaluation.summary import Pair, Section, Summary, number
from utils.models.loading import count_parameters, load_policy
from utils.pipeline.run import Run, open_run
from utils.pipeline.training_stages import train_policy
from utils.report import figures as plotting
from utils.report.tables import Table
from utils.sft.run import checkpoint_dir
from utils.sft.train import train_sft
from utils.worlds.registry import known_world


class Target:
    """One figure that a run must reach: its name, how it follows from a summary, and the bound."""

    def __init__(self, name: str, value: Callable[[Summary], float], low: float = -math.inf, high: float = math.inf) -> None:
        self.name, self.value, self.low, self.high = name, value, low, high

    def bound(self) -> str:
        """The bound in words."""
        if math.isinf(self.high):
            return f">= {self.low:g}"
        return f"<= {self.high:g}" if math.isinf(self.low) else f"{self.low:g} to {self.high:g}"


def _z(a: str, b: str, greedy: bool = False) -> Callable[[Summary], float]:
    """Gold gain of policy a over policy b in standard errors."""

    def value(s: Summary) -> float:
        gain = s.gold_gain[Pair(a, b, greedy)]
        return gain["mean"] / gain["se"]

    return value


def _gain(s: Summary, policy: str = "ppo") -> float:
    """Gold gain of a policy over SFT."""
    return s.gold_gain[Pair(policy, "sft")]["mean"]


def _kept(s: Summary) -> float:
    """Share of PPO's gold gain over SFT that PPO-ptx keeps."""
    return _gain(s, "ppo_ptx") / _gain(s)


def _undone(s: Summary) -> float:
    """Share of PPO's rise in pretraining loss over the base that PPO-ptx undoes."""
    loss = s.pretraining_loss
    return (loss["ppo"] - loss["ppo_ptx"]) / (loss["ppo"] - loss["base"])


def _misconceptions(s: Summary) -> float:
    """Share of misconceptions stated by PPO minus by the model it started from."""
    return s.truth["ppo"]["misconception"] - s.truth["init"]["misconception"]


TARGETS = (
    Target("agreement of training labelers", lambda s: s.labelers["agreement_train"], 0.70, 0.74),
    Target("agreement of held-out labelers", lambda s: s.labelers["agreement_heldout"], 0.74, 0.80),
    Target("reward model on unseen prompts, labels", lambda s: s.reward_model["accuracy_labels"], 0.69),
    Target("reward model on unseen prompts, gold", lambda s: s.reward_model["accuracy_gold"], 0.85),
    Target("reward model on pairs of SFT samples, gold", lambda s: s.reward_model["accuracy_gold_sft"], 0.82),
    Target("prompted over base, gold, standard errors", _z("prompted", "base"), 4),
    Target("SFT over prompted, gold, standard errors", _z("sft", "prompted"), 4),
    Target("PPO over SFT, gold, standard errors", _z("ppo", "sft"), 4),
    Target("PPO over SFT, gold points of 10", _gain, 0.6),
    Target("PPO over SFT, share of decided pairs won", lambda s: s.gold_wins[Pair("ppo", "sft")], 0.80),
    Target("PPO over SFT, both greedy, standard errors", _z("ppo", "sft", greedy=True), 3),
    Target("PPO-ptx: share of PPO's gold gain kept", _kept, 0.9),
    Target("PPO-ptx: share of PPO's web-loss rise undone", _undone, 0.7),
    Target("PPO over the largest prompted base, standard errors", _z("ppo", "prompted_largest"), 4),
    Target("PPO and SFT samples that tie under gold", lambda s: s.gold_ties[Pair("ppo", "sft")], high=0.40),
    Target("misconceptions stated, PPO minus its own SFT", _misconceptions, high=0.0),
)


# --- seeds ---------------------------------------------------------------------------------------------------------


def collect_seeds(runs: Sequence[Path], folder: Path) -> dict[str, Any]:
    """Write seeds.json (each run's summary), summary.json (mean and t-interval of every figure) and targets.json."""
    summaries = [Summary.load(run / "summary.json") for run in runs]
    flat = [summary.flat() for summary in summaries]
    seeds = [summary.about["seed"] for summary in summaries]
    write_json(folder / "seeds.json", {str(seed): keys for seed, keys in zip(seeds, flat, strict=True)})
    metrics = [key for key in flat[0] if key != "seed" and all(number(keys, key) is not None for keys in flat)]
    spread = {key: spread_over_seeds([keys[key] for keys in flat])._asdict() for key in metrics}
    about = {"seeds": seeds, "machine": machine(), "versions": versions()}
    write_json(folder / "summary.json", {**about, "figures": spread})
    targets = [_target_row(target, summaries) for target in TARGETS]
    write_json(folder / "targets.json", {**about, "targets": targets})
    return {**about, "figures": spread, "targets": targets}


def _target_row(target: Target, summaries: Sequence[Summary]) -> dict[str, Any]:
    values = [target.value(s) for s in summaries]
    met = sum(target.low <= v <= target.high for v in values)
    return {"figure": target.name, "bound": target.bound(), "values": values, "met": met, "seeds": len(values)}


LORA_FIGURES = (
    "gold.sft.mean", "gold.ppo.mean", "gold.ppo_ptx.mean", "gold_gain.ppo_vs_sft.mean", "reward_model.accuracy_labels",
    "reward_model.accuracy_gold", "kl.ppo", "pretraining_loss.sft", "pretraining_loss.ppo", "pretraining_loss.ppo_ptx",
)  # fmt: skip


def compare_lora(runs: Sequence[Path], folder: Path) -> dict[str, Any]:
    """Runs with LoRA adapters against those of the same seeds that train all weights (folder/seeds.json): lora.json with
    both means and the paired difference of every figure, each with its t-interval over seeds.

    Raises UserError if a run has no partner or has trained all weights itself.
    """
    adapted = [Summary.load(run / "summary.json").flat() for run in runs]
    whole = {seed: Summary.of(keys).flat() for seed, keys in read_json(folder / "seeds.json").items()}
    ranks = {open_run(run).config.compute.lora_rank for run in runs}
    missing = [s["seed"] for s in adapted if str(s["seed"]) not in whole]
    if missing or len(ranks) > 1 or 0 in ranks:
        raise UserError(
            f"{folder / 'seeds.json'} has no seed {missing[0]}: run it without LoRA first (scripts/sweep.py)." if missing
            else f"The runs have compute.lora_rank {sorted(ranks)}: give runs of one rank above 0."
        )  # fmt: skip
    rows = []
    for key in LORA_FIGURES:
        pairs = [(s[key], whole[str(s["seed"])][key]) for s in adapted]
        found = {"lora": [a for a, _ in pairs], "all_weights": [b for _, b in pairs], "difference": [a - b for a, b in pairs]}
        rows.append({"figure": key, **{name: spread_over_seeds(values)._asdict() for name, values in found.items()}})
    about = {"seeds": [s["seed"] for s in adapted], "lora_rank": ranks.pop(), "machine": machine(), "versions": versions()}
    record = {**about, "figures": rows}
    write_json(folder / "lora.json", record)
    return record


def results_table(results: Mapping[str, Any]) -> str:
    """README's table in Markdown: every policy, mean over seeds with its 95 % t-interval."""
    spread = Summary.of(results["figures"])
    policies = [
        (
            plotting.policy_label(name),
            _spread(spread.gold[name]["mean"]),
            _spread(spread.gold[name]["greedy_mean"]),
            _spread(spread.kl.get(name)),
            _spread(spread.pretraining_loss[name]),
            _spread(spread.finished[name]),
        )
        for name in ("base", "prompted", "sft", "ppo", "ppo_ptx")
    ]
    wins = [
        (f"{plotting.policy_label(a)} over {plotting.policy_label(b)}", _spread(spread.winrate[Pair(a, b)]["mean"]))
        for a, b in (("prompted", "base"), ("sft", "prompted"), ("ppo", "sft"), ("ppo_ptx", "sft"))
    ]
    targets = [
        (t["figure"], t["bound"], f"{min(t['values']):.3g} to {max(t['values']):.3g}", f"{t['met']} of {t['seeds']}")
        for t in results["targets"]
    ]
    parts = (
        f"Seeds {', '.join(map(str, results['seeds']))}; mean ± half a 95 % t-interval over seeds; "
        "gold in points of 10 (simulated).",
        Table(("policy", "gold, T = 1", "gold, greedy", "KL, nats", "pretraining loss", "finished"), policies).markdown(),
        Table(("held-out simulated labelers prefer", "share of wins, ties half"), wins).markdown(),
        Table(("target", "bound", "measured, lowest to highest", "seeds that meet it"), targets).markdown(),
        f"Machine: {results['machine']}. Source: results/tiny/summary.json, results/tiny/targets.json.",
    )
    return "\n\n".join(parts)


def _spread(found: Mapping[str, float] | None, digits: int = 2) -> str:
    """Mean ± half the interval over seeds; a dash if there is none."""
    if found is None:
        return "-"
    return f"{found['mean']:.{digits}f} ± {(found['high'] - found['low']) / 2:.{digits}f}"


def timing(run: Path, folder: Path) -> dict[str, Any]:
    """Write timing.json: the seconds of every stage of one run that had the machine to itself."""
    summary = Summary.load(run / "summary.json")
    about = Section({name: summary.about[name] for name in ("seed", "machine", "versions")})
    kept = Summary(about=about, seconds=summary.seconds).flat()
    write_json(folder / "timing.json", kept)
    return kept


def cost_line(found: Mapping[str, Any]) -> str:
    """README's line on what a run costs, from timing.json."""
    return (
        f"The whole pipeline takes {found['seconds.total'] / 60:.1f} minutes on an otherwise idle machine "
        f"({found['machine']}; results/tiny/timing.json); no GPU, no download of models or data."
    )


# --- the ladder of sizes -------------------------------------------------------------------------------------------


def ladder(run: Run, models: Mapping[str, Path], folder: Path, work: Path) -> list[dict[str, Any]]:
    """Gold of base, prompted base and SFT for every base size on the run's test prompts; and PPO of the run's own size.

    SFT uses the run's demonstrations and settings; its last checkpoint is evaluated. Rows go to ladder.json.
    """
    cfg, prompts = run.config, run.prompts("test")
    train, valid = (run.demonstrations(s) for s in ("train", "valid"))
    rows = []
    for name, path in models.items():
        train_sft(work / name, path, train, valid, cfg.sft, cfg.data, cfg.seed)
        last = checkpoint_dir(work / name, max(cfg.sft.checkpoints))
        for policy in (Policy("base", path), Policy("prompted", path, True), Policy("sft", last)):
            found = {t: judged(policy, prompts, cfg, x) for t, x in (("sampled", 1.0), ("greedy", 0.0))}
            points = gold_summary("x", found["sampled"], found["greedy"]).gold["x"]
            rows.append(
                {
                    "size": name,
                    "params": count_parameters(load_policy(path)),
                    "policy": policy.name,
                    "gold": points["mean"],
                    "se": points["se"],
                    "greedy": points["greedy_mean"],
                    "greedy_se": points["greedy_se"],
                }
            )
    write_json(folder / "ladder.json", {"seed": cfg.seed, "machine": machine(), "versions": versions(), "rows": rows})
    return rows


# --- over-optimisation ---------------------------------------------------------------------------------------------


def over_kl(metrics: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Rows {round, kl, proxy, gold} for `plotting.overoptimisation`, of the rounds after which gold was measured.

    A record's KL and score are of samples from before its update, its gold from after it: so gold goes with the KL and the
    score of the next record, and that of the last round, which has none, is left out.
    """
    pairs = [(row, after) for row, after in zip(metrics, metrics[1:], strict=False) if "gold" in row]
    return [
        {"round": after["step"], "kl": after["kl_k1"], "proxy": after["score"], "gold": row["gold"]} for row, after in pairs
    ]


def overoptimise(run: Run, cfg: PPOConfig, folder: Path, work: Path) -> list[dict[str, float]]:
    """PPO of a finished run again with other settings (beta 0): proxy reward, gold and KL as training goes on."""
    rows = over_kl(train_policy(run, work, cfg))
    about = {"seed": run.config.seed, "settings": config_to_dict(replace(run.config, ppo=cfg))["ppo"]}
    write_json(folder / "overoptimisation.json", {**about, "machine": machine(), "versions": versions(), "rows": rows})
    return rows


# --- the alignment tax against gamma and beta ----------------------------------------------------------------------

TAX_FIGURES = ("pretraining_loss", "facts", "copying.right_second")


def tax_sweep(
    run: Run, cfg: PPOConfig, knobs: Mapping[str, Sequence[float]], seeds: Sequence[int], folder: Path, work: Path,
    most: int | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """PPO of a finished run with one setting changed at a time: gold on validation prompts, KL and alignment tax.

    knobs: setting of PPOConfig -> its values; the others stay as in `cfg`. seeds: of PPO alone, all from the same init
    and reward model. most: validation prompts, None for all. Rows {knob, value, seed, ...} and those of base and init (knob
    "model") go to tax_sweep.json.
    """
    rows: list[dict[str, Any]] = []
    for name, path in (("base", run.model_dir("base")), ("init", run.model_dir("init"))):
        rows.append({"knob": "model", "value": name, "seed": None, **_tax_row(run, path, most)})
    for knob, values in knobs.items():
        for value in values:
            for seed in seeds:
                again = Run(run.out_dir, replace(run.config, seed=seed))
                place = work / f"{knob}_{value:g}_{seed}"
                last = train_policy(again, place, _with(cfg, knob, value))[-1]
                found = {"score": last["score"], "kl": last["kl_k1"], **_tax_row(again, place / "model", most)}
                rows.append({"knob": knob, "value": value, "seed": seed, **found})
    about = {"seeds": list(seeds), "settings": config_to_dict(cfg), "machine": machine(), "versions": versions()}
    write_json(folder / "tax_sweep.json", {**about, "rows": rows})
    return rows


def _with(cfg: PPOConfig, knob: str, value: Any) -> PPOConfig:
    return replace(cfg, **{knob: value})


def _tax_row(run: Run, path: Path, most: int | None) -> dict[str, float]:
    """Gold on validation prompts at temperature 1 and greedy, and the figures of the alignment tax, of one model."""
    prompts, figures = run.prompts("valid")[:most], measure_base(known_world(run.config), path)
    golds = {t: mean_se(judged(Policy("x", path), prompts, run.config, t).golds).mean for t in (1.0, 0.0)}
    return {"gold": golds[1.0], "gold_greedy": golds[0.0], **{name: figures[name] for name in TAX_FIGURES}}


def save_figure(figure: Figure, path: Path) -> None:
    """A PNG with its alternative text beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    write_text(path.with_suffix(".txt"), plotting.alt_text(figure) + "\n")
