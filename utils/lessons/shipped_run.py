"""The shipped run: results of one finished run of the tiny world in data/lessons, so that every lesson runs alone.

`shipped()` gives them as a `Run`, so that a lesson reads `lesson.path("ppo")` like a run of its own. Large tables
are gzipped; `utils.core.io` finds `train.jsonl.gz` if `train.jsonl` is requested. Only `ship` writes there;
a lesson's own results go to `utils.lessons.notebook.run_folder`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from utils.config import Config, load_config
from utils.core.errors import UserError
from utils.core.io import (
    atomic_path,
    digest,
    digest_path,
    read_bytes,
    read_json,
    read_text,
    write_bytes,
    write_json,
    write_text,
)
from utils.core.runtime import ROOT
from utils.lessons.notebook import fast
from utils.pipeline.run import CONFIG_FILE, STAGE_FILE, Run
from utils.sft.run import checkpoint_dir, kept_epochs

FOLDER = "data/lessons"
MANIFEST = "manifest.json"
FAST_DOCUMENTS = 2000  # of pretraining text, with FAST=1
CARD = "README.md"
GZIP_ABOVE_BYTES = 50_000
MAX_BYTES = 16_000_000
LEFT_OUT_FILES = (STAGE_FILE, CONFIG_FILE, "report.html")
LEFT_OUT_FOLDERS = ("checkpoint", "largest")


def shipped(folder: Path = ROOT / FOLDER) -> Run:
    """The shipped run: its settings in `.config`, its results at `.path(stage)`. Read only.

    With FAST=1 its pretraining text is short. Raises UserError if the folder does not exist.
    """
    if not (folder / CONFIG_FILE).exists():
        raise UserError(f"{folder} has no shipped run: fetch the whole repository, or run scripts/lesson_artifacts.py.")
    config = load_config(folder / CONFIG_FILE)
    return Run(folder, replace(config, web_documents=FAST_DOCUMENTS) if fast() else config)


def shown_epochs(config: Config) -> list[int]:
    """SFT epochs whose checkpoints are shipped: the first, the middle and the last kept one."""
    kept = sorted(kept_epochs(config.sft))
    return sorted({kept[0], kept[len(kept) // 2], kept[-1]})


def ship(run_dir: Path, folder: Path | None = None) -> dict[str, Any]:
    """Copy the parts of a finished run that lessons need into `folder`, with a manifest and a data card. Returns the manifest.

    folder: None takes data/lessons for the tiny profile, data/PROFILE for another one.

    Raises UserError if the run is not finished or the copy would be larger than `MAX_BYTES`.
    """
    if not (run_dir / "summary.json").exists():
        raise UserError(f"{run_dir} has no summary.json: give a finished run (scripts/pipeline.py --profile tiny).")
    config = load_config(run_dir / "base" / CONFIG_FILE)
    folder = folder or ROOT / _place(config)
    fresh = folder.with_name(f".new-{folder.name}")
    shutil.rmtree(fresh, ignore_errors=True)
    for source in _files(run_dir, config):
        _copy(source, fresh / source.relative_to(run_dir))
    settings = read_text(run_dir / "base" / CONFIG_FILE)  # as written by the run, without settings that were added later
    write_text(fresh / CONFIG_FILE, re.sub(r"(?m)^out: .*$", f"out: {_place(config)}", settings, count=1))
    found = _manifest(fresh, config, read_json(run_dir / "summary.json"))
    if found["bytes"] > MAX_BYTES:
        shutil.rmtree(fresh)
        raise UserError(
            f"The files of {run_dir} that lessons need have {found['bytes']} bytes, more than {MAX_BYTES}: ship fewer."
        )
    write_json(fresh / MANIFEST, found)
    write_text(fresh / CARD, card(found))
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    return found


def _place(config: Config) -> str:
    """Where the repository keeps the shipped run of a profile."""
    return FOLDER if config.profile == "tiny" else f"data/{config.profile}"


def _files(run_dir: Path, config: Config) -> Iterator[Path]:
    """Files of a run that are shipped, in order."""
    models = {checkpoint_dir(run_dir / "sft", epoch) for epoch in shown_epochs(config)}
    for file in sorted(run_dir.rglob("*")):
        parts = file.relative_to(run_dir).parts
        unwanted = file.name in LEFT_OUT_FILES or any(part in LEFT_OUT_FOLDERS or part.startswith(".") for part in parts)
        start = parts[:2] == ("reward", "init")  # a copy of the shipped base
        epoch = parts[0] == "sft" and len(parts) > 2 and run_dir / parts[0] / parts[1] not in models
        if file.is_file() and not (unwanted or start or epoch):
            yield file


def _copy(source: Path, target: Path) -> None:
    """Copy a file; a large table is gzipped, with `.gz` after its name."""
    if source.suffix in (".json", ".jsonl") and source.name != "tokenizer.json" and source.stat().st_size > GZIP_ABOVE_BYTES:
        write_bytes(target.with_name(f"{target.name}.gz"), source.read_bytes())
        return
    with atomic_path(target) as part:
        shutil.copyfile(source, part)


def contents(folder: Path) -> dict[str, str]:
    """sha256 of every shipped file's content (tables as unpacked), without manifest and card."""
    files = sorted(f for f in folder.rglob("*") if f.is_file() and f.name != MANIFEST and f != folder / CARD)
    return {f.relative_to(folder).as_posix(): _content_digest(f) for f in files}


def _content_digest(file: Path) -> str:
    return digest(read_bytes(file).decode()) if file.suffix == ".gz" else digest_path(file)


def _manifest(folder: Path, config: Config, summary: dict[str, Any]) -> dict[str, Any]:
    """The shipped files, the run that made them, and their size."""
    files = contents(folder)
    return {
        "profile": config.profile,
        "folder": _place(config),
        "seed": config.seed,
        "machine": summary["machine"],
        "versions": summary["versions"],
        "bytes": sum((folder / name).stat().st_size for name in files),
        "digest": digest(files),
        "files": files,
    }


def card(found: dict[str, Any]) -> str:
    """The data card of a shipped run."""
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items() if version)
    models = sum(name.endswith(".safetensors") for name in found["files"])
    folder = found.get("folder", FOLDER)
    return f"""# {folder}: one finished run, for the notebooks

**Everything here is simulated.** Prompts, labelers, demonstrations, rankings and the gold score are generated; nothing was
written or judged by people, and no number here is a human result.

| | |
|---|---|
| made by | profile `{found["profile"]}`, seed {found["seed"]}, on {found["machine"]}; {versions} |
| size | {found["bytes"] / 1e6:.1f} MB in {len(found["files"])} files, {models} of them models |
| digest | `{found["digest"]}` (of the contents; each file's is in `{MANIFEST}`) |
| licence | Apache-2.0 (this card: CC BY 4.0) |

## What is in it
The folders of a run as `utils.pipeline.run.Run` writes them, one per stage, with `metrics.jsonl` of every training stage;
`config.yaml` holds all settings, `summary.json` all metrics. Not included: all SFT checkpoints except
the first, the middle and the last, states for resuming, the report. Tables above {GZIP_ABOVE_BYTES // 1000} kB are gzipped;
`utils.core.io` reads `train.jsonl.gz` if `train.jsonl` is requested.

    from utils.lessons import shipped
    lesson = shipped({"" if folder == FOLDER else f'Path("{folder}")'})
    lesson.model_dir("ppo")        # a Hugging Face folder, safetensors

## Reproducing it
    python scripts/pipeline.py --profile {found["profile"]} --seed {found["seed"]} --out runs/lessons
    python scripts/lesson_artifacts.py --run runs/lessons

On the same machine with the same versions the digest is the same, apart from the seconds in `summary.json`. On other
machines rounding differs, and the metrics differ a little.

## Limits
Only for learning and testing. The models repeat misconceptions, some are rude, and none knows the real world.
"""
