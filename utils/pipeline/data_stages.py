"""Stages that make the data: prompts, labelers, demonstrations, comparisons (sec. 3.2-3.4, App. A, B)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from utils.config import Config, LabelerConfig
from utils.core import processes
from utils.core.errors import UserError
from utils.core.io import write_json, write_rows
from utils.core.runtime import python_rng, stream_seed
from utils.data import hub
from utils.data.formats import load_comparisons, load_demonstrations, load_prompts, load_texts
from utils.data.left_out import Notes, reasons, write_left_out
from utils.data.limits import distinct_answers, within_limits
from utils.data.matching import prompt_key
from utils.data.prompt_tables import cleaning_table, length_table, prompts_per_user_table, source_table, use_case_table
from utils.data.prompts import clean_prompts, left_out_by_cleaning, token_length
from utils.data.schemas import SPLITS, Comparison, Demonstration, Prompt
from utils.data.splits import check_leaks, fill_splits, split_by_user
from utils.labeling import (
    FINAL_EVALUATION,
    TRAINING,
    Completions,
    Items,
    ScreeningReport,
    SimulatedLabeler,
    calibrate_noise,
    demonstration_writer,
    label_comparisons,
    make_candidates,
    make_heldout,
    mean_agreement,
    rank_all,
    screen,
    screening_prompts,
    screening_set,
)
from utils.pipeline.artifacts import SOURCE_FILE
from utils.pipeline.labels import is_store, store_demonstrations, store_rankings
from utils.pipeline.run import Run
from utils.sampling.sampler import Draw, Response, completions_to_rank
from utils.worlds.protocol import Scores, World
from utils.worlds.registry import known_world, world_of

Outputs = Sequence[Sequence[tuple[str, Response]]]
Parts = Sequence[Sequence[Scores]]
Row = TypeVar("Row", Prompt, Demonstration, Comparison)
FINAL = ("train", "test")  # splits that rankings need: for training and for measuring the reward model
SETS = ("sft", "rm", "ppo", "valid", "test")
SPARE = 1.35  # raw prompts made for each prompt needed: cleaning removes some, mostly duplicates
CALIBRATION_PROMPTS = 300
SCREENING_POOL = 1500


# --- prompts -------------------------------------------------------------------------------------------------------


def prompts_stage(run: Run, folder: Path) -> None:
    """Clean the raw prompts and write one file for each of SETS, with tables of dropped and of kept prompts."""
    cfg, notes = run.config, Notes()
    # All of the user's files are read first, so that an error in any of them stops the run here.
    check_files(cfg, notes)
    # Cleaning as in A.2: language, personal data, length, duplicates, at most so many prompts per user.
    filters = replace(cfg.data, language=language_of(cfg))
    raw = _raw_prompts(cfg, folder, notes)
    length = token_length(run.tokenizer(), cfg.data, (row.prompt for row in raw))
    result = clean_prompts(raw, filters, length)
    notes.left_out += left_out_by_cleaning(result, filters, notes.place)
    # Each kept prompt goes to one set.
    sets = assign_prompts(result.kept, cfg, notes)
    for name, rows in sets.items():
        write_rows(folder / f"{name}.jsonl", rows)
    # Tables for the report, as in A.2 and A.3.
    kept = [row for rows in sets.values() for row in rows]
    write_json(folder / "cleaning.json", cleaning_table(result))
    tables = {
        "use_cases": use_case_table(kept),
        "sources": source_table(kept),
        "per_user": prompts_per_user_table(kept),
        "lengths": length_table(kept, length),
    }
    write_json(folder / "tables.json", tables)
    write_left_out(folder, Notes() if _of_the_world(cfg) else notes)


def _of_the_world(cfg: Config) -> bool:
    """Whether the prompts come from a world, which always makes more than are needed."""
    return cfg.data.prompts is None and not stand_ins(cfg)


def language_of(cfg: Config) -> str:
    """The language that cleaning keeps: `data.language`, where "auto" is English in a world and any for the user's prompts."""
    if cfg.data.language != "auto":
        return cfg.data.language
    return "english" if _of_the_world(cfg) else "any"


def check_files(cfg: Config, notes: Notes | None = None) -> None:
    """Read the user's other files, so that errors in them are reported before training starts.

    notes: collects what is left out of the pretraining text, which no other data stage reads.
    """
    readers: dict[str, Callable[[str], object]] = {
        "demonstrations": lambda path: user_demonstrations(path, Notes()),
        "comparisons": lambda path: user_comparisons(path, cfg.seed, Notes(), needed=("train",) if stand_ins(cfg) else FINAL),
        "pretraining": lambda path: load_texts(path, cfg.web_documents, notes or Notes()),
    }
    for kind in readers:  # all names before any download
        if hub.is_hub(getattr(cfg.data, kind)):
            hub.parse_source(getattr(cfg.data, kind), kind)
    for kind, read in readers.items():
        source = getattr(cfg.data, kind)
        if hub.is_hub(source):
            hub.check_source(source, kind)
        elif source is not None:
            read(source)


def _raw_prompts(cfg: Config, folder: Path, notes: Notes) -> list[Prompt]:
    """The user's prompts, those of a public dataset (in a random order) or the world's, before cleaning."""
    d = cfg.data
    source, kind = (d.prompts, "prompts") if d.prompts is not None or not stand_ins(cfg) else (d.comparisons, "comparisons")
    if source is not None and hub.is_hub(source):
        loaded = hub.load_examples(source, kind)
        asked = hub.as_prompts(loaded.examples)
        write_json(folder / SOURCE_FILE, hub.source_record(loaded, len(asked)))
        rows = sorted(asked, key=lambda p: stream_seed(cfg.seed, "hub", p.prompt_id))
        return fill_splits(source, rows, ("valid", "test"), cfg.seed, notes)
    if d.prompts is not None:
        return fill_splits(d.prompts, _split(load_prompts(d.prompts, notes=notes), cfg), ("valid", "test"), cfg.seed, notes)
    if stand_ins(cfg):
        assert d.comparisons is not None
        rankings = _own_rankings(cfg, notes)
        for c in rankings:
            notes.places.setdefault((c.prompt,), notes.place(c))
        return fill_splits(d.comparisons, prompts_of(rankings), ("valid", "test"), cfg.seed, notes)
    wanted = {"train": d.n_sft + d.n_rm + d.n_ppo, "valid": d.n_valid, "test": d.n_test}
    return known_world(cfg).make_prompts(cfg.seed, {k: round(SPARE * n) for k, n in wanted.items()})


def _split(rows: list[Prompt], cfg: Config) -> list[Prompt]:
    """The user's prompts, split by user if all are in train; unchanged if no prompt would be left in train."""
    if {row.split for row in rows} != {"train"}:
        return rows
    found = split_by_user(rows, fractions={"train": 0.8, "valid": 0.1, "test": 0.1}, seed=cfg.seed)
    return found if any(row.split == "train" for row in found) else rows


def stand_ins(cfg: Config) -> bool:
    """Whether prompts and demonstrations come from the user's rankings (their prompts and their best answers), because
    the user gives rankings but no prompts, and the run has no world that makes them."""
    return cfg.data.comparisons is not None and not (world_of(cfg) and cfg.data.prompts is None)


def prompts_of(comparisons: Sequence[Comparison]) -> list[Prompt]:
    """The prompts of rankings, each once (as `prompt_key` compares them: rows may have ids of their own)."""
    found: dict[str, Prompt] = {}
    for c in comparisons:
        found.setdefault(prompt_key(c.prompt), Prompt(c.prompt_id, c.prompt, c.use_case, split=c.split))
    return list(found.values())


def _own_rankings(cfg: Config, notes: Notes) -> list[Comparison]:
    """All of the user's rankings."""
    assert cfg.data.comparisons is not None
    splits = user_comparisons(cfg.data.comparisons, cfg.seed, notes, needed=("train",))
    return [row for rows in splits.values() for row in rows]


def assign_prompts(prompts: Sequence[Prompt], cfg: Config, notes: Notes | None = None) -> dict[str, list[Prompt]]:
    """The prompts of each of SETS; a prompt is in at most one of them.

    Labelers' prompts go to SFT first, customers' to the reward model and PPO (Table 6). With fewer training prompts
    than asked for, the three training sets shrink in proportion. notes: collects the prompts that are more than the sets
    need. Raises UserError if a set would be empty, with what was left out before.
    """
    d, notes = cfg.data, notes or Notes()
    rows = {s: [p for p in prompts if p.split == s] for s in ("train", "valid", "test")}
    # Labelers' prompts first, then customers', each in a random order that depends on the prompt alone.
    order = {p.prompt_id: stream_seed(cfg.seed, "set", p.prompt_id) for p in rows["train"]}
    train = sorted(rows["train"], key=lambda p: (p.source == "customer", order[p.prompt_id]))
    # Sizes of the three training sets; with too few prompts all three shrink in proportion.
    total = d.n_sft + d.n_rm + d.n_ppo
    sizes = [d.n_sft, d.n_rm, d.n_ppo]
    if len(train) < total:
        sizes = [max(1, round(len(train) * n / total)) for n in sizes]
        if sizes[0] + sizes[1] >= len(train) > 2:  # each set has at least one
            sizes = [1, len(train) - 2, 1]
    cut, end = sizes[0], sizes[0] + sizes[1]
    sets = {"sft": train[:cut], "rm": train[cut:end], "ppo": train[end : end + sizes[2]]}
    sets |= {"valid": rows["valid"][: d.n_valid], "test": rows["test"][: d.n_test]}
    # No set may be empty: the sentence says what was left out before.
    empty = [name for name, found in sets.items() if not found]
    if empty:
        counts = ", ".join(f"{len(found)} in {name}" for name, found in rows.items())
        why = f"; left out: {reasons(notes.left_out)}" if notes.left_out else ""
        raise UserError(
            f"After cleaning no prompt is left for {', '.join(empty)} ({len(prompts)} prompts in all: {counts}{why}); "
            + ("change the setting named" if why else "give more prompts, at least 3 for training and 1 each in valid and test")
            + "."
        )
    # Prompts above the sizes asked for are noted, so that the report can say so.
    extra = f"data.n_sft + data.n_rm + data.n_ppo = {total}"
    notes.leave_out("prompts", train[end + sizes[2] :], "there are more for training than are asked for", extra)
    for name, wanted in (("valid", d.n_valid), ("test", d.n_test)):
        notes.leave_out(
            "prompts", rows[name][wanted:], f"there are more in {name} than are asked for", f"data.n_{name}={wanted}"
        )
    return sets


def pretraining_texts(run: Run, source: str, folder: Path | None = None) -> list[str]:
    """Documents of the user's file or of a public dataset, whose record goes into `folder`."""
    limit = run.config.web_documents
    if not hub.is_hub(source):
        return load_texts(source, limit, Notes())  # what is left out was said by the stage of the prompts
    texts, record = hub.load_texts(source, limit, quiet=not processes.is_main())
    if folder is not None and processes.is_main():
        write_json(folder / SOURCE_FILE, record)
    return texts


# --- labelers ------------------------------------------------------------------------------------------------------


def labelers_stage(run: Run, folder: Path) -> None:
    """Make a pool of simulated candidates and screen them by the criteria of B.1; make the held-out group, without screening.

    Without a world simulated labelers cannot judge anything, and the stage writes nothing.
    """
    world = world_of(run.config)
    if world is None:
        return
    cfg, seed = run.config.labelers, run.config.seed
    report = screened(world, cfg, seed)
    write_json(folder / "screening.json", [asdict(row) for row in report.rows])
    write_json(folder / "summary.json", {**report.summary, "note": report.note})
    write_rows(folder / "hired.jsonl", report.hired)
    write_rows(folder / "heldout.jsonl", make_heldout(world.rubric, cfg, seed))


def screened(world: World, cfg: LabelerConfig, seed: int) -> ScreeningReport:
    """The pool of candidates, screened on prompts of the world (B.1)."""
    chosen = screening_prompts(world, world.make_prompts(seed, {"train": SCREENING_POOL}), seed)
    material, write = screening_set(world, chosen, seed), demonstration_writer(world, chosen, seed)
    return screen(make_candidates(world.rubric, cfg, seed), material, write, cfg, seed)


# --- demonstrations ------------------------------------------------------------------------------------------------


def demonstrations_stage(run: Run, folder: Path) -> None:
    """Demonstrations by hired simulated labelers for the SFT prompts and some validation prompts, or the user's file."""
    path, notes = run.config.data.demonstrations, Notes()
    # Three sources: the user's file or a public dataset, the best answers of the user's rankings, simulated labelers.
    if path is not None:
        splits = _hub_demonstrations(run, folder, path) if hub.is_hub(path) else _file_demonstrations(run, path, notes)
        check_leaks({f"demonstrations of {path}": [*splits["train"], *splits["valid"]], "prompts": _held_out(run)})
    elif stand_ins(run.config):
        splits = dict(zip(("train", "valid"), _best_answers(run, notes), strict=True))
    else:
        splits = {name: write_demonstrations(run, run.prompts(s)) for name, s in (("train", "sft"), ("valid", "valid"))}
    # The user's text can be longer than the limits.
    if path is not None or stand_ins(run.config):
        tokenizer = run.tokenizer()
        rows = within_limits([*splits["train"], *splits["valid"]], tokenizer, run.config.data, notes)
        splits = _by_split(str(path or run.config.data.comparisons), rows, ("train",), notes)
    write_rows(folder / "train.jsonl", splits["train"])
    write_rows(folder / "valid.jsonl", splits["valid"])
    write_left_out(folder, notes)


def _file_demonstrations(run: Run, path: str, notes: Notes) -> dict[str, list[Demonstration]]:
    """The demonstrations of the user's file for training and validation."""
    splits = user_demonstrations(path, notes)
    notes.leave_out("demonstrations", splits["test"], "they are in the split test, which is for other data")
    return _first_rows({name: splits[name] for name in ("train", "valid")}, run.config.data.max_rows, "demonstrations", notes)


def _best_answers(run: Run, notes: Notes) -> tuple[list[Demonstration], list[Demonstration]]:
    """Demonstrations (train, valid): the best-ranked answers to the prompts for SFT and for validation."""
    cfg = run.config
    own = Notes()
    comparisons = _own_rankings(cfg, own)
    sets = {name: {prompt_key(p.prompt) for p in run.prompts(name)} for name in SETS}
    train = [c for c in comparisons if prompt_key(c.prompt) in sets["sft"]]
    if not train:  # the prompts come from another file: take rankings of prompts that no set has
        others = set().union(*sets.values())
        order = {c.prompt_id: stream_seed(cfg.seed, "set", c.prompt_id) for c in comparisons}
        train = [c for c in comparisons if c.split == "train" and prompt_key(c.prompt) not in others]
        train = sorted(train, key=lambda c: order[c.prompt_id])[: cfg.data.n_sft]
    valid = [c for c in comparisons if prompt_key(c.prompt) in sets["valid"]]
    if not train:
        raise UserError(f"{cfg.data.comparisons}: no ranking is left to take a demonstration from: give --demonstrations FILE.")
    shown, shown_valid = demonstrations_of(train, "train"), demonstrations_of(valid, "valid")
    print(
        f"demonstrations: the best-ranked answers of {len(shown)} prompts of {cfg.data.comparisons} stand in for "
        "demonstrations, and their rankings are not used again. Preferred answers may still be poor training examples (the "
        "card of hh-rlhf advises against them): give better ones with --demonstrations FILE (or hub:dolly).",
        flush=True,
    )
    for c in (*train, *valid):
        notes.places.update({(c.prompt, text): own.place(c) for text in c.completions})
    return shown, shown_valid


def demonstrations_of(comparisons: Sequence[Comparison], split: str) -> list[Demonstration]:
    """The best-ranked completion of each prompt, the first of several equal ones, as demonstrations of one split."""
    found: dict[str, Demonstration] = {}
    for c in comparisons:
        best = c.completions[c.ranks.index(min(c.ranks))]
        row = Demonstration(c.prompt_id, c.prompt, best, c.labeler_id, c.use_case, split)
        found.setdefault(prompt_key(c.prompt), row)
    return list(found.values())


def _hub_demonstrations(run: Run, folder: Path, text: str) -> dict[str, list[Demonstration]]:
    """Demonstrations of a public dataset by split, without prompts of other sets."""
    data, used = run.config.data, [*run.prompts("rm"), *run.prompts("ppo")]
    apart = {"train": [*used, *_held_out(run)], "valid": [*used, *run.prompts("test")]}
    return _from_hub(run, folder, text, "demonstrations", {"train": data.n_sft, "valid": data.n_valid}, apart, ("train",))


def _from_hub(
    run: Run,
    folder: Path,
    text: str,
    kind: str,
    limits: dict[str, int],
    apart: Mapping[str, Sequence[Prompt | Demonstration]],
    needed: Sequence[str],
) -> dict[str, list[Any]]:
    """Rows of a public dataset by split, cleaned as the paper cleans prompts; source.json says what was left out and why.

    limits: prompts of each split. apart: split -> rows whose prompts must not be in it. Raises UserError if a split in
    `needed` is left empty.
    """
    cfg = run.config
    # The same cleaning as for prompts.
    length = token_length(run.tokenizer(), cfg.data)
    loaded = hub.clean_examples(hub.load_examples(text, kind), replace(cfg.data, language=language_of(cfg)), length)
    rows: list[Any] = hub.rows_of(loaded)
    # Only the splits asked for, without prompts of other sets, and at most so many prompts per split.
    wanted = [row for row in rows if row.split in limits]
    free = [r for split in limits for r in hub.without_prompts_of([w for w in wanted if w.split == split], apart[split])]
    splits = hub.first_rows(free, limits, cfg.seed)
    # Every row that is not used is counted with its reason.
    used = sum(map(len, splits.values()))
    loaded.dropped["its split is not used"] = len(rows) - len(wanted)
    loaded.dropped["its prompt is in another set of this run"] = len(wanted) - len(free)
    loaded.dropped["more than the settings ask for (data.n_...)"] = len(free) - used
    write_json(folder / SOURCE_FILE, hub.source_record(loaded, used))
    return _by_split(text, [row for split in splits.values() for row in split], needed, Notes())


def _held_out(run: Run) -> list[Prompt]:
    """Prompts for choices (validation) and for final metrics (test)."""
    return [*run.prompts("valid"), *run.prompts("test")]


def user_demonstrations(path: str, notes: Notes) -> dict[str, list[Demonstration]]:
    """The user's demonstrations by split. Raises UserError if there are none in train, and as `load_demonstrations` does."""
    rows = store_demonstrations(path, notes) if is_store(path) else load_demonstrations(path, notes=notes)
    return _by_split(path, rows, ("train",), notes)


def user_comparisons(path: str, seed: int, notes: Notes, needed: Sequence[str] = FINAL) -> dict[str, list[Comparison]]:
    """The user's rankings, or all of a public dataset, by split; a part of train is the test split if the file has none.

    Raises UserError if a split in `needed` is empty, and as the loaders do.
    """
    rows: list[Any] = (
        hub.rows_of(hub.load_examples(path, "comparisons", quiet=True))
        if hub.is_hub(path)
        else store_rankings(path, notes)
        if is_store(path)
        else load_comparisons(path, notes=notes)
    )
    if "test" in needed:
        rows = fill_splits(path, rows, ("test",), seed, notes)
    return _by_split(path, rows, needed, notes)


def _by_split(path: str, rows: Sequence[Row], needed: Sequence[str], notes: Notes) -> dict[str, list[Row]]:
    """Rows of the user's file by split. Raises UserError if one of the splits in `needed` is empty."""
    splits = {name: [row for row in rows if row.split == name] for name in SPLITS}
    empty = [name for name in needed if not splits[name]]
    if empty:
        why = f" ({reasons(notes.left_out)})" if notes.left_out else ""
        raise UserError(
            f'{path}: none of its {len(rows)} rows that can be used is in the split "{empty[0]}"{why}: give more rows, or a '
            "column split with train, valid or test."
        )
    return splits


def _first_rows(splits: Mapping[str, list[Row]], limit: int | None, what: str, notes: Notes) -> dict[str, list[Row]]:
    """At most `limit` rows of each split, in the order of the file; the others are noted."""
    if limit is not None:
        gone = [row for rows in splits.values() for row in rows[limit:]]
        notes.leave_out(what, gone, "there are more in their split than are asked for", f"data.max_rows={limit}")
    return {name: rows[:limit] for name, rows in splits.items()}


def write_demonstrations(run: Run, prompts: Sequence[Prompt]) -> list[Demonstration]:
    """One demonstration per prompt by a hired labeler, whose share of mistakes follows from their skill."""
    world, labelers, cfg = known_world(run.config), run.labelers("hired", calibrated=False), run.config.labelers
    rows = []
    for p in prompts:
        rng = python_rng(run.config.seed, "demonstration", p.prompt_id)
        labeler = rng.choice(labelers)
        text = world.demonstration(p, labeler, cfg, rng)
        rows.append(Demonstration(p.prompt_id, p.prompt, text, labeler.labeler_id, p.use_case, p.split))
    return rows


# --- comparisons ---------------------------------------------------------------------------------------------------


def comparisons_stage(run: Run, folder: Path) -> None:
    """K outputs of several policies per prompt, each prompt ranked by one simulated labeler; or the user's rankings.

    Several processes share the sampling; the main process does the rest.
    """
    cfg = run.config
    if cfg.data.comparisons is not None:
        if processes.is_main():
            _user_comparisons(run, folder, cfg.data.comparisons)
        return
    # K answers per prompt, from the policies of sampling.mix.
    samplers = ranking_samplers(run)
    sets = {name: run.prompts(split) for name, split in (("train", "rm"), ("valid", "valid"), ("test", "test"))}
    pairs = known_world(cfg).near_miss
    outputs = {name: completions_to_rank(rows, samplers, cfg.sampling, cfg.seed, pairs) for name, rows in sets.items()}
    # Labelers rank them.
    if processes.is_main():
        _rank_outputs(run, folder, sets, outputs)


def _rank_outputs(run: Run, folder: Path, sets: Mapping[str, Sequence[Prompt]], outputs: Mapping[str, Outputs]) -> None:
    """Write labelers with calibrated noise, the ranked outputs of each set, and the labelers' agreement.

    Noise is calibrated on outputs for validation prompts; the agreement is then measured on those for test prompts.
    """
    # The rubric's part scores are what labelers see of an answer, each with their own noise.
    world = known_world(run.config)
    parts = {name: judge(world, sets[name], outputs[name]) for name in sets}
    # Noise that gives the paper's agreement (3.4).
    hired, heldout = _calibrated(run, sets["valid"], outputs["valid"], parts["valid"])
    write_rows(folder / "hired.jsonl", hired)
    write_rows(folder / "heldout.jsonl", heldout)
    # Hired labelers rank all sets; held-out labelers rank the test prompts again.
    for name, rows in sets.items():
        write_rows(folder / f"{name}.jsonl", _label(run, rows, outputs[name], parts[name], hired, TRAINING))
    write_rows(
        folder / "test_heldout.jsonl",
        _label(run, sets["test"], outputs["test"], parts["test"], heldout, FINAL_EVALUATION),
    )
    # Part scores for later stages (gold accuracy of the reward model), and the agreement on test prompts.
    for name in ("valid", "test"):
        write_json(folder / f"{name}_parts.json", [[list(s) for s in row] for row in parts[name]])
    write_json(
        folder / "agreement.json", _agreement(run, hired, heldout, _items(world, sets["test"], outputs["test"], parts["test"]))
    )


def _user_comparisons(run: Run, folder: Path, path: str) -> None:
    """Write train.jsonl, valid.jsonl and test.jsonl of the user's own rankings or of a public dataset."""
    # Rankings that also gave the prompts follow the prompts' sets; other rankings keep the splits of their file.
    cfg, notes = run.config, Notes()
    if stand_ins(cfg) and cfg.data.prompts is None:
        read = Notes()  # what reading leaves out was said by the stage of the prompts
        rankings = _own_rankings(cfg, read)
        notes.places = read.places
        splits = _of_sets(run, rankings, notes)
    elif hub.is_hub(path):
        splits = _first_rows(_hub_comparisons(run, folder, path), cfg.data.max_rows, "rankings", notes)
    else:
        splits = _first_rows(user_comparisons(path, cfg.seed, notes), cfg.data.max_rows, "rankings", notes)
    rows = [row for split in splits.values() for row in split]
    # After the length limit, answers of one prompt may be equal: those are left out.
    rows = distinct_answers(rows, run.tokenizer(), cfg.data, notes)
    splits = _by_split(path, rows, FINAL, notes)
    # Prompts for choices and for results must not be trained on.
    check_leaks({f"rankings of {path}": rows, "prompts": _held_out(run)})
    for split, found in splits.items():
        write_rows(folder / f"{split}.jsonl", found)
    write_left_out(folder, notes)


def _of_sets(run: Run, comparisons: Sequence[Comparison], notes: Notes) -> dict[str, list[Comparison]]:
    """The rankings of the prompts for the reward model, validation and test, in the splits of these prompts.

    Rankings of prompts for SFT and PPO, and of prompts that cleaning dropped, are not used.
    """
    set_of = {prompt_key(p.prompt): name for name in SETS for p in run.prompts(name)}
    groups: dict[str | None, list[Comparison]] = {}
    for c in comparisons:
        groups.setdefault(set_of.get(prompt_key(c.prompt)), []).append(c)
    others = [*groups.get("sft", []), *groups.get("ppo", [])]
    notes.leave_out("rankings", others, "their prompts are in the sets of SFT and PPO", "data.n_sft, data.n_rm, data.n_ppo")
    notes.leave_out("rankings", groups.get(None, []), "their prompts are left out or in no set (see the stage prompts)")
    names = {"train": "rm", "valid": "valid", "test": "test"}
    return {split: [replace(c, split=split) for c in groups.get(name, [])] for split, name in names.items()}


def _hub_comparisons(run: Run, folder: Path, text: str) -> dict[str, list[Comparison]]:
    """Rankings of a public dataset by split, of prompts without a demonstration; no PPO prompt is trained on."""
    data = run.config.data
    apart: dict[str, list[Prompt | Demonstration]]
    shown, valid, test = run.demonstrations("train"), run.prompts("valid"), run.prompts("test")
    apart = {"train": [*valid, *test, *run.prompts("ppo"), *shown], "valid": [*test, *shown], "test": [*valid, *shown]}
    limits = {"train": data.n_rm, "valid": data.n_valid, "test": data.n_test}
    return _from_hub(run, folder, text, "comparisons", limits, apart, ("train", "test"))


def _agreement(
    run: Run, hired: Sequence[SimulatedLabeler], heldout: Sequence[SimulatedLabeler], items: Items
) -> dict[str, float]:
    """Agreement between two labelers on the same pair, as the paper measures it (3.4): of each group, in its phase."""
    agreement: dict[str, float] = {}
    for group, people, phase in (("train", hired, TRAINING), ("heldout", heldout, FINAL_EVALUATION)):
        found = mean_agreement(rank_all(people, items, phase, run.config.seed))
        agreement |= {f"{group}_mean": found.mean, f"{group}_se": found.se}
    return agreement


def ranking_samplers(run: Run) -> dict[str, Draw]:
    """A function (prompts, names=...) -> responses for each sampled policy of `sampling.mix`."""
    cfg = run.config
    last, base = run.checkpoint("sft"), run.model_dir("base")
    paths = {"sft": last, "sft_hot": last, "init": run.model_dir("init"), "base": base, "prompted": base}
    samplers: dict[str, Draw] = {}
    for name in (n for n in cfg.sampling.mix if n in paths):
        sampler = run.sampler(paths[name], prompted=name == "prompted", batch_size=cfg.sampling.batch_size)
        temperature = cfg.sampling.hot_temperature if name == "sft_hot" else 1.0
        samplers[name] = partial(sampler, seed=cfg.seed, temperature=temperature)
    return samplers


def judge(world: World, prompts: Sequence[Prompt], outputs: Outputs) -> list[list[Scores]]:
    """Part scores of every output by the gold rubric; equal outputs of a prompt are judged once."""
    parts = []
    for p, row in zip(prompts, outputs, strict=True):
        found = {r: world.score(p, r.text, r.finished) for r in {r for _, r in row}}
        parts.append([found[r] for _, r in row])
    return parts


def _label(
    run: Run,
    prompts: Sequence[Prompt],
    outputs: Outputs,
    parts: Parts,
    labelers: Sequence[SimulatedLabeler],
    phase: str,
) -> list[Comparison]:
    """Each prompt's outputs ranked by one of the labelers; the rows keep the ids that were sampled."""
    made = _completions(prompts, outputs, parts)
    rows = label_comparisons(known_world(run.config), made, labelers, phase, run.config.seed)
    return [replace(row, ids=tuple(r.ids for _, r in drawn)) for row, drawn in zip(rows, outputs, strict=True)]


def _completions(prompts: Sequence[Prompt], outputs: Outputs, parts: Parts) -> Completions:
    """Sampled outputs and their part scores, as labelers get them."""
    return Completions(
        prompts=prompts,
        texts=[[r.text for _, r in row] for row in outputs],
        parts=parts,
        finished=[[r.finished for _, r in row] for row in outputs],
        policies=[[name for name, _ in row] for row in outputs],
    )


def _items(world: World, prompts: Sequence[Prompt], outputs: Outputs, parts: Parts) -> Items:
    """The first prompts' outputs as labelers see them."""
    n = CALIBRATION_PROMPTS
    return _completions(prompts[:n], outputs[:n], parts[:n]).items(world)


def _calibrated(
    run: Run, prompts: Sequence[Prompt], outputs: Outputs, parts: Parts
) -> tuple[list[SimulatedLabeler], list[SimulatedLabeler]]:
    """Hired and held-out labelers with the noise that gives the paper's agreement on these outputs (3.4)."""
    cfg, seed = run.config.labelers, run.config.seed
    items = _items(known_world(run.config), prompts, outputs, parts)
    hired = calibrate_noise(run.labelers("hired", calibrated=False), items, cfg.agreement_train, TRAINING, seed)
    heldout = calibrate_noise(run.labelers("heldout", calibrated=False), items, cfg.agreement_heldout, FINAL_EVALUATION, seed)
    return hired, heldout
