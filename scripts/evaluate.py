"""Final evaluation of a run on its test prompts, summary.json and report.html (sec. 3.6, 4); with a command, other scores.

scripts/evaluate.py --profile tiny --out runs/tiny            cross-validation, evaluation and report of a run
scripts/evaluate.py score --task drop --samples FILE.csv      scores of outputs that exist already
scripts/evaluate.py model --model DIR --tasks rte hellaswag   any causal language model on public benchmarks (App. D)
scripts/evaluate.py prefer --outputs sft.jsonl ppo.jsonl --judge reward=DIR   whose outputs a judge prefers
Each has its own --help, such as `scripts/evaluate.py score --help`.
"""

from __future__ import annotations

import argparse
import csv
import io
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import _bootstrap  # noqa: F401  (first: makes `utils` ours)

from utils.config import load_config
from utils.core.cli import main
from utils.core.errors import UserError
from utils.core.io import digest_path, write_json, write_rows, write_text
from utils.core.runtime import choose_device, locate, machine, versions
from utils.data.hub import PREFIX, is_hub, parse_source
from utils.evaluation import (
    COLUMNS,
    TASKS,
    TEXT_JUDGES,
    Public,
    Subject,
    evaluate_models,
    first_lines,
    judge_kinds,
    judges_by_kind,
    load_public,
    measures,
    read_samples,
    score_samples,
    unequal_groups,
)
from utils.pipeline import (
    JUDGES,
    Chosen,
    judge_of,
    open_run,
    outputs_to_judge,
    pipeline_command,
    reference_of,
    settings_of,
)
from utils.publish.chat import labelled_policies, named_folders
from utils.report import Table, print_table

stage = pipeline_command(__doc__, ("cross_validation", "evaluate", "report"))
KEYS = ("model", "prompt", "questions")


def run(arguments: Sequence[str]) -> None:
    if arguments and arguments[0] in COMMANDS:
        COMMANDS[arguments[0]](arguments[1:])
    else:
        stage(arguments)


# --- score -----------------------------------------------------------------------------------------------------------


def score(arguments: Sequence[str]) -> None:
    """Scores of outputs in a table, per model and prompt type, with 95 % intervals over items.

    The columns are those of InstructGPT's released samples; others are ignored. An output is cut at its first newline, as in
    the paper. Writes scores.json, scores.csv and scores.md to OUT.
    """
    parser = _parser(score)
    parser.add_argument("--task", required=True, choices=COLUMNS, help=", ".join(COLUMNS))
    parser.add_argument("--samples", required=True, metavar="FILE", help="CSV, TSV, JSON lines or parquet")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the results (default: runs/scores/TASK)")
    parser.add_argument("--models", nargs="+", default=[], metavar="NAME", help="all names that model_type may have")
    parser.add_argument("--whole", action="store_true", help="do not cut outputs at their first newline")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap of BLEU (default: %(default)s)")
    args = parser.parse_args(arguments)
    start, out = perf_counter(), args.out or Path("runs/scores") / args.task
    samples, cut = read_samples(args.samples, args.task, args.models), 0
    if not args.whole:
        samples, cut = first_lines(samples)
    rows = score_samples(samples, args.task, seed=args.seed)
    notes = [unequal_groups(samples), f"{cut} outputs were cut at their first newline." if cut else ""]
    notes += [_left_out(samples)]
    notes = [note for note in notes if note]
    table = Table.of(_side_by_side(rows)).without_blank_columns()
    record = {
        "task": args.task, "samples": Path(args.samples).name, "sha256": digest_path(args.samples), "rows": len(samples),
        "seed": args.seed, "whole": args.whole, "notes": notes, "seconds": perf_counter() - start, "machine": machine(),
        "versions": versions(), "scores": rows,
    }  # fmt: skip
    write_json(out / "scores.json", record)
    write_text(out / "scores.csv", _csv(rows))
    write_text(out / "scores.md", "\n".join([table.markdown(), "", "Brackets: 95 % intervals over items.", *notes, ""]))
    print_table(table)
    print("\n".join([*notes, f"{len(samples)} rows; brackets: 95 % intervals over items; {out / 'scores.json'}, .csv, .md"]))


def _side_by_side(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per group with a column for each metric."""
    groups: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in rows:
        shown = groups.setdefault(tuple(row[key] for key in KEYS), {key: row[key] for key in KEYS} | {"n": row["n"]})
        digits = 1 if row["metric"].startswith(("f1", "exact", "bleu")) else 3
        value, low, high = (f"{row[key]:.{digits}f}" for key in ("value", "low", "high"))
        shown[row["metric"]] = f"{value} [{low}, {high}]" if row["n"] else "no value"
    found = list(groups.values())
    alone = all(row["questions"] == "all" for row in found)
    return [{key: value for key, value in row.items() if not (alone and key == "questions")} for row in found]


def _left_out(samples: Sequence[Any]) -> str:
    """A sentence on outputs without a value, such as a toxicity that is not known."""
    count = sum(None in sample.values.values() for sample in samples)
    return f"{count} outputs have no value in a column of scores and do not count there." if count else ""


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


# --- model -----------------------------------------------------------------------------------------------------------


def model(arguments: Sequence[str]) -> None:
    """Score models on the paper's public benchmarks (App. D): bias, toxicity, truth, multiple choice, answers from a passage,
    translation, summaries; and reward models on best-of-4.

    scripts/evaluate.py model --model DIR1 DIR2 --tasks hellaswag --shots 5 --limit 1000
    scripts/evaluate.py model --run runs/gpt2 --tasks crows_pairs rte     base, SFT, PPO and PPO-ptx of a run
    scripts/evaluate.py model --run runs/x --tasks hub:winogender=all_sentences.tsv    a local file
    scripts/evaluate.py model --run runs/x --tasks reward_bench           the reward model of a run

    Examples (--shots) come from the training part on the hub, or from a file: --examples hub:rte=train.parquet. Writes the
    answers to every item and results.json to OUT, as it goes: the same command again goes on where it stopped. A model as
    small as the tiny world's is at chance on all of them.
    """
    start, args = perf_counter(), _model_arguments(arguments)
    out = args.out or (Path(args.run) / "public" if args.run else Path("runs/public"))
    examples = {parse_source(text, "evaluation").dataset.name: text for text in map(_hub, args.examples)}
    benchmarks = [
        load_public(text, args.limit, args.shots, examples.get(parse_source(text, "evaluation").dataset.name))
        for text in map(_hub, args.tasks)
    ]
    judges, device = judges_by_kind(judge_kinds(public.task for public in benchmarks), args.judge), choose_device(args.device)
    rows: list[dict[str, Any]] = []
    for models, part in _models_of(args, benchmarks):
        rows += evaluate_models(models, part, judges, out, device, args.batch_size)
    command = shlex.join(["scripts/evaluate.py", "model", *arguments])
    record = {"command": command, "machine": machine(), "versions": versions(), "seconds": perf_counter() - start}
    write_json(out / "results.json", record | {"rows": rows})
    print_table(Table.of([_shown(row) for row in rows]).without_blank_columns())
    print(f"Brackets: 95 % intervals over items; {out / 'results.json'}")
    for kind, judge in judges.items():
        print(f"{kind} as judged by: {judge.name}.")


def _models_of(args: argparse.Namespace, benchmarks: Sequence[Public]) -> Iterator[tuple[dict[str, Subject], list[Public]]]:
    """Which models answer which benchmarks: reward models those of rewards, policies the others."""
    others = [public for public in benchmarks if public.task.method != "reward"]
    rewards = [public for public in benchmarks if public.task.method == "reward"]
    if others:
        folders = labelled_policies(open_run(locate(args.run))) if args.run else named_folders(args.model)
        yield {name: Subject(folder) for name, folder in folders.items()}, others
    if rewards:
        yield _reward_models(args), rewards


def _reward_models(args: argparse.Namespace) -> dict[str, Subject]:
    """The reward model of a run, or those in folders, with the settings by which they read."""
    if args.run:
        run = open_run(locate(args.run))
        return {"reward model": Subject(run.model_dir("reward"), run.config.data)}
    data = load_config(args.profile).data if args.profile else None
    return {name: Subject(folder, data or settings_of(folder).data) for name, folder in named_folders(args.model).items()}


def _shown(row: dict[str, Any]) -> dict[str, str]:
    """A row of the table on the terminal."""
    digits = 1 if row["metric"].startswith(("f1", "exact", "bleu")) else 3

    def number(name: str, sign: str = "") -> str:
        return f"{row[name]:{sign}.{digits}f}"

    return {
        "benchmark": row["benchmark"], "prompt": row["prompt"], "metric": row["metric"], "model": row["model"],
        "n": str(row["n"]), "value": f"{number('value')} [{number('low')}, {number('high')}]" if row["n"] else "no value",
        "chance": "" if row["chance"] is None else number("chance"),
        "beside the first": f"{number('difference', '+')} ± {number('difference_half_width')}" if row["n"] else "",
    }  # fmt: skip


def _model_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _parser(model)
    parser.add_argument("--model", nargs="+", default=[], metavar="DIR", help="model folders")
    parser.add_argument("--run", metavar="DIR", help="the policies of a finished run")
    parser.add_argument(
        "--tasks", nargs="+", required=True, metavar="NAME", help=f"NAME, NAME@REVISION or NAME=FILE of {', '.join(TASKS)}"
    )
    parser.add_argument("--limit", type=int, default=500, help="items of each benchmark (default: %(default)s)")
    parser.add_argument("--shots", type=int, default=0, help="examples before each question, few-shot (default: %(default)s)")
    parser.add_argument("--examples", nargs="+", default=[], metavar="NAME=FILE", help="files with the examples of --shots")
    kinds = ", ".join(TEXT_JUDGES)
    parser.add_argument("--judge", nargs="+", default=[], metavar="KIND=DIR", help=f"models that judge {kinds} (else rules)")
    parser.add_argument("--profile", help="whose settings a reward model reads by, if its folder has no config.yaml")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the results (default: RUN/public or runs/public)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--batch-size", type=int, default=32, help="sequences per pass (default: %(default)s)")
    args = parser.parse_args(arguments)
    if bool(args.run) == bool(args.model):
        raise UserError("Name the policies: --run with the folder of a run, or --model with folders of models, not both.")
    if args.limit < 1 or args.shots < 0 or args.batch_size < 1:
        raise UserError("--limit and --batch-size must be 1 or more, --shots 0 or more.")
    return args


def _hub(text: str) -> str:
    """The name of a benchmark with or without "hub:"."""
    return text if is_hub(text) else PREFIX + text


# --- prefer ----------------------------------------------------------------------------------------------------------


def prefer(arguments: Sequence[str]) -> None:
    """Compare outputs of policies by a judge's opinion: win rates with ties, ratings 1-7, metadata, Bradley-Terry strengths.

    scripts/evaluate.py prefer --run runs/tiny --judge heldout                    simulated held-out labelers of a run
    scripts/evaluate.py prefer --outputs sft=a.jsonl ppo=b.csv --judge reward=DIR a reward model
    scripts/evaluate.py prefer --outputs a.jsonl b.jsonl --judge model=DIR        any causal language model, both orders
    scripts/evaluate.py prefer --judge people=rankings.jsonl                      people's rankings of outputs

    A file of outputs has a prompt and a completion in each row. Writes preferences.json, preferences.csv, preferences.md and
    judgements.jsonl to OUT. Intervals are over prompts and judges, those of strengths over prompts.
    """
    args = _prefer_arguments(arguments)
    start, run = perf_counter(), open_run(locate(args.run)) if args.run else None
    outputs = outputs_to_judge(args.judge, args.outputs, run, args.greedy, args.policies, args.limit)
    chosen = Chosen(args.each, args.template or "", args.profile, args.device, args.batch_size)
    judged = judge_of(args.judge, run, chosen).judge(outputs)
    reference = reference_of(judged.policies, args.reference)
    rows = measures(judged, reference)
    notes = list(judged.notes)
    if not any(row["metric"] == "strength" for row in rows):
        notes.append("No Bradley-Terry strengths: a policy or a group of policies wins or loses every comparison with others.")
    record = {
        "whose": judged.whose, "judge": args.judge, "reference": reference, "policies": judged.policies,
        "outputs": [Path(name).name for name in args.outputs] or args.run, "greedy": args.greedy,
        "judgements": len(judged.rankings), "notes": notes, "seconds": perf_counter() - start, "machine": machine(),
        "versions": versions(), "measures": rows,
    }  # fmt: skip
    tables = _preference_tables(rows, reference)
    said = f"Judged by {judged.whose}. Brackets: 95 % intervals over prompts and judges, of strengths over prompts."
    write_json(args.out / "preferences.json", record)
    write_text(args.out / "preferences.csv", _csv(rows))
    write_text(args.out / "preferences.md", "\n\n".join([*(table.markdown() for table in tables), said, *notes]) + "\n")
    write_rows(args.out / "judgements.jsonl", judged.rankings)
    for table in tables:
        print_table(table)
        print()
    print("\n".join([said, *notes, f"{args.out / 'preferences.json'}, .csv, .md; judgements.jsonl"]))


def _preference_tables(rows: Sequence[dict[str, Any]], reference: str) -> list[Table]:
    """One row per policy: preferences; metadata, if there are any."""
    shown = {"win_rate": f"win rate over {reference}", "ties": "ties", "likert": "Likert 1-7", "strength": "strength"}
    preferences: dict[str, dict[str, Any]] = {}
    fields: dict[str, dict[str, Any]] = {}
    for row in rows:
        policy, metric = row["policy"], row["metric"]
        text = f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
        cells = preferences.setdefault(policy, {"policy": policy, **dict.fromkeys(shown.values(), "")})
        if metric in shown:
            cells[shown[metric]] = text
        else:
            fields.setdefault(policy, {"policy": policy})[metric.replace("_", " ")] = text
        if metric == "win_rate":
            cells |= {"ties": f"{row['ties']:.3f}", "judgements": row["n"], "prompts": row["prompts"], "judges": row["judges"]}
    found = (Table.of(list(part.values())).without_blank_columns() for part in (preferences, fields))
    return [table for table in found if table.rows]


def _prefer_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _parser(prefer)
    parser.add_argument("--judge", required=True, metavar="JUDGE", help=f"{JUDGES}; the first four are of --run")
    parser.add_argument("--outputs", nargs="+", default=[], metavar="[NAME=]FILE", help="one file per policy, or with `policy`")
    parser.add_argument("--run", metavar="DIR", help="a run: its outputs if there are no files, its prompts and judges")
    parser.add_argument("--greedy", action="store_true", help="the greedy outputs of the run instead of the sampled ones")
    parser.add_argument("--policies", nargs="+", default=[], metavar="NAME", help="compare only these")
    parser.add_argument("--reference", metavar="NAME", help="the policy of the win rates (default: sft, else the first)")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N prompts")
    parser.add_argument("--each", type=int, default=1, help="simulated labelers per prompt (default: %(default)s)")
    parser.add_argument("--template", metavar="FILE", help="question to a language model, with {prompt}, {first} and {second}")
    parser.add_argument("--profile", help="settings of a reward model that no run made")
    parser.add_argument("--out", type=Path, default=Path("runs/preferences"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--batch-size", type=int, default=32, help="sequences per pass (default: %(default)s)")
    args = parser.parse_args(arguments)
    if args.each < 1 or args.batch_size < 1 or (args.limit is not None and args.limit < 1):
        raise UserError("--each, --batch-size and --limit must be 1 or more.")
    return args


def _parser(command: Any) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=f"evaluate.py {command.__name__}",
        description=command.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


COMMANDS = {"score": score, "model": model, "prefer": prefer}


if __name__ == "__main__":
    sys.exit(main(run))
