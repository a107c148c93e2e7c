"""What a run costs, before it starts: operations by stage, petaflop/s-days, GPU hours, and seconds on this machine.

scripts/plan.py --profile gpt2 --model gpt2 --gpu T4         a plan (from names of known models or a model's folder)
scripts/plan.py --paper [--json]                             the paper's 175B run compared with the paper's numbers
scripts/plan.py --profile tiny --here                        time a few passes, and predict the seconds on this machine
scripts/plan.py --check runs/tiny runs/other                 predicted and measured seconds: results/plan/measured.json
scripts/plan.py --plot results/plan                          how cost grows with size, K, episodes, pretraining ratio
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import _bootstrap  # noqa: F401  (first: makes `utils` ours)
import torch

from utils.config import Config, load_config
from utils.core.cli import add_settings, given_settings, main
from utils.core.errors import UserError
from utils.core.io import write_json
from utils.core.runtime import choose_device, locate, machine
from utils.experiments import compare, data_of_run
from utils.pipeline import open_run
from utils.planning import memory, predict, speeds_of
from utils.planning import operations as planner
from utils.planning.operations import GPUS, PF_DAY, UTILISATION, Data, Shape, Work
from utils.report import Table, print_table
from utils.report import figures as plotting


def run(arguments: Sequence[str]) -> None:
    args = parse(arguments)
    if args.paper:
        show_paper(args.json)
    elif args.check:
        check([Path(folder) for folder in args.check], args.results)
    elif args.plot:
        plotting.save_figure(plotting.cost_growth(planner.growth()), args.plot / "growth.png")
        print(f"{args.plot / 'growth.png'}: written")
    else:
        show_plan(args)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_settings(parser)
    parser.add_argument("--paper", action="store_true", help="the paper's run at 175B, from its settings and data")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--gpu", choices=GPUS, help="hours on this GPU (default: all of them)")
    parser.add_argument("--format", default="fp32", choices=("fp32", "fp16", "bf16"), help="number format on the GPU")
    parser.add_argument("--reward-model", metavar="MODEL", help="reward and value model, if its size differs from --model")
    parser.add_argument("--prompt-tokens", type=float, help="mean tokens of a prompt (default: the limit)")
    parser.add_argument("--answer-tokens", type=float, help="mean tokens of an answer (default: the limit)")
    parser.add_argument("--lengths-of", metavar="RUN", help="rows and lengths of a finished run instead of the limits")
    parser.add_argument("--here", action="store_true", help="time a few passes and predict seconds on this machine")
    parser.add_argument("--check", nargs="+", metavar="RUN", help="predicted and measured seconds of finished runs")
    parser.add_argument("--results", type=Path, default=Path("results/plan"), help="where --check writes measured.json")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="write growth.png there")
    return parser.parse_args(arguments)


# --- a plan --------------------------------------------------------------------------------------------------------


def show_plan(args: argparse.Namespace) -> None:
    config = load_config(args.profile, given_settings(args))
    check_lengths(config, args)
    policy = planner.shape_of(config.model)
    judge = args.reward_model or config.reward_init or config.model
    reward = planner.shape_of(judge)
    data, where = lengths(config, args)
    work = planner.stage_work(config, policy, reward, data)
    record = plan_record(config, policy, reward, data, where, work, args)
    found = memory_needs(config, policy, reward, args)
    record["memory_gib"] = {need.stage: round(need.total / memory.GIB, 2) for need in found}
    if args.here:
        paths = [locate(path) for path in dict.fromkeys((config.model, judge))]
        record["seconds_here"] = predict(work, speeds_of(paths, data, choose_device(config.device)))
        record["machine"] = machine()
    if args.json:
        print(json.dumps(record, indent=1))
        return
    print_plan(record)
    print("\nMemory of one device with prompts and answers at their limits:")
    print_table(Table.of(memory.rows(found)))
    most = max(found, key=lambda need: need.total)
    if args.gpu and most.total > room(args):
        helps = all(need.total <= room(args) for need in memory_needs(memory.adapted(config), policy, reward, args))
        print(f"It does not fit into a {args.gpu}: {memory.remedy(config, most, room(args), helps)}.")


def room(args: argparse.Namespace) -> float:
    """Bytes of the GPU's memory that a plan may use; 0 if no GPU is named."""
    return memory.SHARE * GPUS[args.gpu].memory * memory.GIB if args.gpu else 0


def memory_needs(config: Config, policy: Shape, reward: Shape, args: argparse.Namespace) -> list[memory.Need]:
    """What each training stage needs, in the largest passes that fit the GPU if one is named, else in whole batches."""
    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[args.format]
    return memory.needs(config, policy, reward, dtype, room(args))


def check_lengths(config: Config, args: argparse.Namespace) -> None:
    """Raise UserError for a mean length that no run with these settings can have."""
    for option, given, limit in (
        ("prompt", args.prompt_tokens, config.data.max_prompt_tokens),
        ("answer", args.answer_tokens, config.data.max_response_tokens),
    ):
        if given is not None and not 1 <= given <= limit:
            raise UserError(
                f"--{option}-tokens is {given:g}: it must be from 1 to the longest {option} of the settings, {limit} "
                f"(data.max_{'prompt' if option == 'prompt' else 'response'}_tokens)."
            )


def lengths(config: Config, args: argparse.Namespace) -> tuple[Data, str]:
    """Rows and lengths to plan with, and one sentence on where they come from."""
    data, where = planner.data_at_limits(config), "every prompt and answer as long as its limit: the most expensive case"
    if args.lengths_of:
        folder = Path(args.lengths_of)
        data, where = data_of_run(open_run(folder)), f"rows and mean lengths of {folder}"
    for given, names in (
        (args.prompt_tokens, ("sft_prompt", "rm_prompt", "ppo_prompt")),
        (args.answer_tokens, ("demonstration", "completion", "response")),
    ):
        if given is not None:
            data, where = replace(data, **{name: given for name in names}), "mean lengths as given"
    return data, where


def plan_record(
    config: Config, policy: Shape, reward: Shape, data: Data, where: str, work: Sequence[Work], args: argparse.Namespace
) -> dict[str, Any]:
    """The plan as one JSON object."""
    names = [args.gpu] if args.gpu else [name for name, gpu in GPUS.items() if args.format in gpu.peak]
    stages = planner.by_stage(work)
    hours = {n: {s: planner.gpu_hours([w for w in work if w.stage == s], GPUS[n], args.format) for s in stages} for n in names}
    return {
        "profile": config.profile,
        "policy": asdict(policy),
        "reward_model": asdict(reward),
        "data": asdict(data),
        "flops": stages,
        "parts": {f"{w.stage}: {w.part}": w.flops for w in work},
        "pf_days": {name: flops / PF_DAY for name, flops in stages.items()},
        "gpu_hours": hours,
        "assumptions": [
            f"lengths: {where}",
            f"GPU: peak {args.format} as the maker states it, "
            + ", ".join(f"{GPUS[n].peak[args.format] / 1e12:g} TFLOP/s ({n})" for n in names),
            "share of the peak that a pass gets (assumed, not measured): "
            + ", ".join(f"{kind} {share:g}" for kind, share in UTILISATION.items()),
        ],
    }


def print_plan(record: dict[str, Any]) -> None:
    policy, hours = record["policy"], record["gpu_hours"]
    judge = record["reward_model"]["parameters"]
    print(f"{policy['name']}: {policy['parameters']:,} parameters; reward and value model {judge:,}")
    here = record.get("seconds_here", {})
    head = ["stage", "FLOPs", "PF-days", *(f"{name} hours" for name in hours), *(["seconds here"] if here else [])]
    rows = [
        [
            stage, f"{flops:.2e}", f"{flops / PF_DAY:.2e}", *(f"{hours[n][stage]:.2g}" for n in hours),
            *([f"{here[stage]:.1f}"] if here else []),
        ]
        for stage, flops in record["flops"].items()
    ]  # fmt: skip
    total = [
        "total", f"{sum(record['flops'].values()):.2e}", f"{sum(record['pf_days'].values()):.2e}",
        *(f"{sum(h.values()):.2g}" for h in hours.values()), *([f"{sum(here.values()):.1f}"] if here else []),
    ]  # fmt: skip
    print_table(Table(head, [*rows, total]))
    for line in record["assumptions"]:
        print(f"- {line}")
    if here:
        print(f"- seconds here: those of models ({record['machine']}), without the work on data, which small models wait for")


# --- the paper -----------------------------------------------------------------------------------------------------


def show_paper(as_json: bool) -> None:
    record = planner.paper_record(planner.paper_plan())
    if as_json:
        print(json.dumps(record, indent=1))
        return
    names = {"sft": "SFT 175B", "ppo_ptx": "PPO-ptx 175B", "pretraining": "GPT-3 pretraining"}
    rows = []
    for key, name in names.items():
        mine, paper = record[f"{key}_175b_pf_days"], record[f"paper_{key}_175b_pf_days"]
        rows.append([name, f"{mine:,.2f}", f"{paper:,.1f}", f"{mine / paper:.2f}"])
    print_table(Table(("petaflop/s-days", "computed", "paper", "ratio"), rows))
    print("\nPPO-ptx by part:")
    print_table(Table(("", "PF-days"), [(part, f"{value:.2f}") for part, value in record["ppo_ptx_parts_pf_days"].items()]))
    print("\nAssumptions:")
    for line in record["assumptions"]:
        print(f"- {line}")
    print("\nOther assumptions:")
    others = [
        [a["assumption"], f"{a['sft_175b_pf_days']:.2f}", f"{a['ppo_ptx_175b_pf_days']:.1f}"]
        for a in record["other_assumptions"]
    ]
    print_table(Table(("", "SFT", "PPO-ptx"), others))


# --- against runs --------------------------------------------------------------------------------------------------


def check(folders: Sequence[Path], results: Path) -> None:
    """Compare every run, print a table, write measured.json."""
    records = [compare(open_run(folder)) for folder in folders]
    for folder, record in zip(folders, records, strict=True):
        rows = [
            (row["stage"], f"{row['measured_seconds']:.1f}", f"{row['predicted_seconds']:.1f}", f"{row['ratio']:.2f}")
            for row in (*record["stages"], record["total"])
        ]
        print(f"{folder}: {record['model']}, {record['parameters']:,} parameters, {record['machine']}")
        print_table(Table(("stage", "measured s", "predicted s", "ratio"), rows))
        print(f"calibrated on the stage {record['calibrated_on']}: pace {record['pace']:.2f} of the probe")
    write_json(results / "measured.json", {"runs": records})
    print(f"{results / 'measured.json'}: written")


if __name__ == "__main__":
    sys.exit(main(run))
