"""Rows of a dataset of the registry, from the hub or from local files, and one sentence for everything that can go wrong.

Files of the hub are downloaded whole (`huggingface_hub.snapshot_download`: resumed, cached, usable offline afterwards)
and read as a stream, so nothing is copied a second time; very large datasets are streamed from the hub itself. Local
files go through the same reader.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.core.errors import UserError
from utils.core.io import COMMIT, DISK_FULL
from utils.data.hub.registry import PREFIX, Source

Row = dict[str, Any]

BUILDERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".ndjson": "json", ".csv": "csv", ".tsv": "csv"}
_SPLIT = re.compile(r"(?:^|[^a-z])(train|validation|valid|dev|test)(?=$|[^a-z])")


@dataclass(frozen=True)
class Files:
    """The publisher's split ("" if it is not known) -> paths or addresses; and the commit, None for local files."""

    by_split: Mapping[str, tuple[str, ...]]
    commit: str | None = None

    def names(self) -> list[str]:
        """Every file, by name alone."""
        return [name.rpartition("/")[2] for names in self.by_split.values() for name in names]


def find_files(source: Source) -> Files:
    """The files of a source; those of the hub are downloaded first. Raises UserError (see `hub_errors`)."""
    if source.path is not None:
        return _local_files(source, source.path)
    dataset = source.dataset
    if not dataset.repo:
        return Files({split: (address,) for split, address in dataset.files.items()})
    with hub_errors(source):
        return _streamed_files(source) if dataset.streamed else _downloaded_files(source)


def _streamed_files(source: Source) -> Files:
    """Addresses of files that are read over the network, at the commit that the revision names now."""
    from huggingface_hub import HfApi

    dataset = source.dataset
    commit = HfApi().dataset_info(dataset.repo, revision=source.revision).sha
    root = f"hf://datasets/{dataset.repo}@{commit}"
    return Files({split: (f"{root}/{pattern}",) for split, pattern in dataset.files.items()}, commit)


def _downloaded_files(source: Source) -> Files:
    """Files in the hub's cache, downloaded if they are not there."""
    from huggingface_hub import constants, snapshot_download

    dataset = source.dataset
    patterns = list(dataset.files.values())
    folder = Path(snapshot_download(dataset.repo, repo_type="dataset", revision=source.revision, allow_patterns=patterns))
    found = _matching(folder, dataset.files)
    if not found and constants.HF_HUB_OFFLINE:
        raise UserError(_offline(source))
    if len(found) < len(dataset.files):
        absent = next(pattern for split, pattern in dataset.files.items() if split not in found)
        raise UserError(
            f"The dataset {dataset.repo} has no file {absent} at {source.revision}: it may have been moved; name another "
            f"revision with {PREFIX}{dataset.name}@REVISION, or a local copy with {PREFIX}{dataset.name}=PATH."
        )
    return Files(found, folder.name if COMMIT.fullmatch(folder.name) else None)


def _matching(folder: Path, patterns: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Split -> files of `folder` that its pattern matches; splits without a file are left out."""
    found = {split: tuple(map(str, sorted(folder.glob(pattern)))) for split, pattern in patterns.items()}
    return {split: names for split, names in found.items() if names}


def _local_files(source: Source, path: Path) -> Files:
    """Files at a local path: one file, the files that a pattern matches, or a folder with the repository's layout."""
    if path.is_file():
        return Files({"": (str(path),)})
    if path.is_dir():
        if found := _matching(path, source.dataset.files if source.dataset.repo else {}):
            return _files(found)
        files = [file for file in sorted(path.iterdir()) if file.is_file() and _suffix(str(file)) in BUILDERS]
    else:
        files = sorted(file for file in path.parent.glob(path.name) if file.is_file())
    if not files:
        raise UserError(
            f"{source.text}: there is no file at {path}: give a {', '.join(BUILDERS)} file (also .gz), a folder of them, or "
            f"leave out the path to download it from the hub."
        )
    by_split: dict[str, tuple[str, ...]] = {}
    for file in files:
        named = _SPLIT.search(file.name.lower())
        split = named[1] if named else ""
        by_split[split] = (*by_split.get(split, ()), str(file))
    return _files(by_split)


def _files(by_split: Mapping[str, tuple[str, ...]]) -> Files:
    """Local files by split; if all belong to one split, they have no split (such as a test file without its training file)."""
    (first, *others) = by_split.values()
    return Files(by_split if others else {"": first})


def _suffix(name: str) -> str:
    return Path(name.removesuffix(".gz")).suffix.lower()


def stream_rows(source: Source, files: Files) -> Iterator[tuple[str, Row]]:
    """(publisher's split, row) of every file in order; a row has the columns that the registry names; others may be missing.

    Raises UserError for files that cannot be read and for columns that are not there.
    """
    with hub_errors(source), _silent():
        for split, names in files.by_split.items():
            for row in _stream(source, names):
                yield split, row


@contextmanager
def _silent() -> Iterator[None]:
    """Silence the log of `datasets` about a broken file: the error sentence says it."""
    from datasets.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _stream(source: Source, names: tuple[str, ...]) -> Iterator[Row]:
    """Rows of files of one kind, without a copy of them on the disk."""
    import datasets

    suffix = _suffix(names[0]) if source.path is not None else ""
    if source.path is not None and suffix not in BUILDERS:
        raise UserError(f"{source.text}: {names[0]} has an unknown format; use {', '.join(BUILDERS)} (also .gz).")
    builder = BUILDERS.get(suffix, source.dataset.builder)
    options: Row = {"sep": "\t" if suffix == ".tsv" else ",", "keep_default_na": False} if builder == "csv" else {}
    wanted = source.dataset.columns
    for attempt in range(2):
        try:
            stream = datasets.load_dataset(builder, data_files=list(names), split="train", streaming=True, **options)
        except StopIteration:
            raise UserError(f"{source.text}: {names[0]} is empty: give a file with at least one row.") from None
        if attempt == 0 and builder == "parquet" and stream.column_names is not None:
            _check_columns(source, names, wanted, stream.column_names)
            options = {"columns": list(wanted)}  # the other columns are not read
            continue
        break
    first = True
    for row in stream:
        if first:
            _check_columns(source, names, wanted, list(row))
            first = False
        yield row


def _check_columns(source: Source, names: tuple[str, ...], wanted: tuple[str, ...], present: list[str]) -> None:
    missing = [column for column in wanted if column not in present]
    if missing:
        remedy = "name a revision that has them with @REVISION" if source.path is None else "give its publisher's file"
        raise UserError(
            f'{source.text}: {names[0]} has no column "{missing[0]}" (it has {", ".join(present)}): {PREFIX}'
            f"{source.dataset.name} needs {', '.join(wanted)}; {remedy}."
        )


# --- what can go wrong -----------------------------------------------------------------------------------------------


@contextmanager
def hub_errors(source: Source) -> Iterator[None]:
    """Turn what `datasets`, `huggingface_hub` and the operating system raise for a source into one sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        sentence = explain(error, source)
        if sentence is None:
            raise
        raise UserError(sentence) from error


def explain(error: BaseException, source: Source) -> str | None:
    """The sentence for an error of the libraries below, with its remedy; None for a fault of the program."""
    chain = _chain(error)
    for link in chain:
        if isinstance(link, OSError) and link.errno in DISK_FULL or "No space left on device" in str(link):
            return (
                f"The disk is full: {source.text} did not fit; delete what you do not need, or let the environment variable "
                "HF_HOME name a folder on a larger disk, and run the same command again."
            )
    for link in chain:
        sentence = _hub_sentence(link, source) or _file_sentence(link, source)
        if sentence:
            return sentence
    return None


def _chain(error: BaseException) -> list[BaseException]:
    """The error and what caused it."""
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in links:
        links.append(link)
        link = link.__cause__ or link.__context__
    return links


def _hub_sentence(error: BaseException, source: Source) -> str | None:
    """The sentence for what the hub or the network says."""
    from huggingface_hub import errors

    repo, local = source.dataset.repo, f"{PREFIX}{source.dataset.name}=PATH"
    if isinstance(error, errors.GatedRepoError):
        return (
            f"The dataset {repo} is gated: accept its terms at https://huggingface.co/datasets/{repo} with a free account and "
            f"run `hf auth login`, or give a local copy as {local}."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        other = "leave it out" if source.revision != source.dataset.revision else f"write {PREFIX}{source.dataset.name}@main"
        return f"The dataset {repo} has no revision {source.revision}: {other} or name one that exists."
    if isinstance(error, errors.LocalEntryNotFoundError):
        return _offline(source)
    if isinstance(error, errors.RepositoryNotFoundError | errors.DisabledRepoError):
        return (
            f"The hub has no public dataset {repo} (it was moved, closed, or needs `hf auth login`): give a local copy as "
            f"{local}."
        )
    if isinstance(error, errors.EntryNotFoundError):
        return f"The dataset {repo} has no such file at {source.revision}: name another @REVISION, or a local copy as {local}."
    if isinstance(error, errors.HfHubHTTPError):
        return _http_sentence(error, source)
    if "scripts are no longer supported" in str(error):
        return (
            f"The dataset {repo} at {source.revision} is a loading script, which `datasets` 4 does not run: use "
            f"{PREFIX}{source.dataset.name}@refs/convert/parquet, or give a local copy as {local}."
        )
    if isinstance(error, ValueError) and "BuilderConfig" in str(error):
        return f"The dataset {repo} has no such configuration ({_short(error)}): name a local copy as {local}."
    return _offline(source) if _is_network(error) else None


def _http_sentence(error: Any, source: Source) -> str:
    """The sentence for a request that the hub rejected, by its status."""
    status = getattr(error.response, "status_code", None)
    if status == 429:
        return (
            f"The hub allows no more downloads from here for now (status 429 for {source.dataset.repo}): wait some minutes, or "
            "run `hf auth login`, and run the same command again; downloaded files are kept."
        )
    if status in (401, 403):
        who = "with an account that may read it"
        return f"The hub does not give access to {source.dataset.repo} (status {status}): run `hf auth login` {who}."
    return (
        f"The hub did not send {source.dataset.repo} (status {status}): try again later (downloaded files are kept), or give a "
        f"local copy as {PREFIX}{source.dataset.name}=PATH."
    )


def _is_network(error: BaseException) -> bool:
    """Whether an error comes from the connection, by the library that raises it."""
    module = type(error).__module__.split(".")[0]
    clients = ("httpx", "httpx2", "httpcore", "aiohttp", "requests", "urllib3")
    if isinstance(error, ConnectionError | TimeoutError) or module in clients:
        return True
    return isinstance(error, OSError) and any(word in str(error) for word in ("resolve host", "Name or service", "unreachable"))


def _file_sentence(error: BaseException, source: Source) -> str | None:
    """The sentence for a file that is incomplete or of another format."""
    import pyarrow
    from datasets.exceptions import DatasetsError

    broken = (pyarrow.ArrowException, DatasetsError, EOFError, UnicodeDecodeError)
    named = type(error).__name__ in ("BadGzipFile", "error", "ParserError", "JSONDecodeError", "EmptyDataError")
    if not (isinstance(error, broken) or named):
        return None
    again = (
        "copy or download it again"
        if source.path is not None
        else f"delete its folder below {_cache_folder()} and download it again with `{source.command}`"
    )
    return f"{source.text}: a file is broken or incomplete ({_short(error)}): {again}."


def _short(error: BaseException) -> str:
    """The first line of an error, without its full stop."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")[:160]


def _cache_folder() -> str:
    """Where the hub's files are stored."""
    from huggingface_hub import constants

    return str(constants.HF_HUB_CACHE)


def _offline(source: Source) -> str:
    """What is needed without a connection, and how to get it."""
    dataset = source.dataset
    place = f"the dataset {dataset.repo}" if dataset.repo else next(iter(dataset.files.values()))
    fetch = source.command if not dataset.streamed else f"{source.command} --rows 20000"
    return (
        f"{source.text} needs {place}, which is not on this disk, and the hub cannot be reached: run `{fetch}` on a "
        "machine with a connection (without HF_HUB_OFFLINE) and give the files that it writes, or give a copy as "
        f"{PREFIX}{dataset.name}=PATH."
    )
