"""Files in and out: tables, rows, JSON, JSONL and tensors, with one clear sentence for each possible error.

Every write goes to a temporary file beside the target, is flushed to the disk and renamed: a reader sees the old file or
the new one, also after the run was killed. Nothing is pickled.
"""

from __future__ import annotations

import dataclasses
import errno
import gzip
import hashlib
import json
import math
import os
import re
import types
import typing
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from utils.core.errors import UserError
from utils.core.tables import Row, check_text, csv_rows, json_rows, kind_of, parquet_rows, parse_json, sqlite_rows

if TYPE_CHECKING:
    import torch

RowClass = TypeVar("RowClass")
PathLike = str | os.PathLike[str]

JSON_LINES = (".jsonl", ".json", ".ndjson")
CSV_SEPARATORS = {".csv": ",", ".tsv": "\t"}
SQLITE = (".sqlite", ".sqlite3", ".db")
READABLE = ".jsonl, .json, .csv, .tsv (each also with .gz), .parquet, .sqlite or .db"
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
OLD_FIELDS = {"ended": "finished"}  # names that fields had in files of version 0.1, which stay readable
COMMIT = re.compile(r"[0-9a-f]{40}")  # also the name of the folder of a download from the hub


# --- writing -------------------------------------------------------------------------------------------------------


@contextmanager
def disk_errors(path: PathLike, needed: int | None = None) -> Iterator[None]:
    """Turn the errors of a full disk and of a place that cannot be written into a UserError with `path` and the remedy.

    needed: size in bytes of what is being written, for the message.
    """
    try:
        yield
    except OSError as error:
        raise _disk_error(error.errno, error.strerror or str(error), path, needed) from error


def _disk_error(code: int | None, reason: str, path: PathLike, needed: int | None) -> UserError:
    """The sentence for the operating system's error `code` while writing `path`."""
    if code in DISK_FULL:
        size = f" needs about {max(needed / 1e6, 0.1):.1f} MB more than is free" if needed else " did not fit"
        return UserError(
            f"The disk is full: {path}{size}; delete what you do not need (old folders in runs/ are the first to "
            "look at) and run the same command again."
        )
    return UserError(f"Cannot write {path} ({reason.lower()}): choose another place or change the permissions.")


@contextmanager
def atomic_path(path: PathLike, needed: int | None = None) -> Iterator[Path]:
    """Give a temporary path beside `path`; at the end flush it to the disk and rename it to `path`.

    On any error the temporary file is removed and `path` is kept. Raises UserError when the disk is full or
    the place cannot be written.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    with disk_errors(target, needed):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb+") as handle:
                os.fsync(handle.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


def write_bytes(path: PathLike, content: bytes) -> None:
    """Write `content` atomically; a name that ends in .gz is compressed (same content, same bytes)."""
    if str(path).endswith(".gz"):
        content = gzip.compress(content, mtime=0)
    with atomic_path(path, len(content)) as temporary:
        temporary.write_bytes(content)


def write_text(path: PathLike, text: str) -> None:
    """Write UTF-8 text atomically; half of a surrogate pair is no character and becomes "?"."""
    write_bytes(path, text.encode(errors="replace"))


def write_json(path: PathLike, value: Any) -> None:
    """Write one JSON value atomically, indented. Dataclasses, tuples, paths, numpy and torch scalars are converted;
    NaN and infinities become null, because JSON has no such numbers."""
    write_text(path, json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: PathLike, rows: Iterable[Any]) -> None:
    """Write one JSON object per line, atomically (values as in `write_json`)."""
    write_text(path, "".join(_line(row) for row in rows))


def append_jsonl(path: PathLike, rows: Iterable[Any]) -> None:
    """Append one JSON object per line in a single write; an incomplete last line, left by a killed process, is removed."""
    content = "".join(_line(row) for row in rows).encode(errors="replace")
    with disk_errors(path, len(content)):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with Path(path).open("ab+") as handle:
            _drop_partial_line(handle)
            handle.write(content)


def _drop_partial_line(handle: typing.BinaryIO) -> None:
    """Cut `handle` after its last newline and leave the position at the end."""
    size = handle.seek(0, os.SEEK_END)
    if size == 0:
        return
    handle.seek(size - 1)
    if handle.read(1) != b"\n":
        handle.seek(0)
        handle.truncate(handle.read().rfind(b"\n") + 1)
    handle.seek(0, os.SEEK_END)


def _line(row: Any) -> str:
    """One row as a line of JSON."""
    return json.dumps(plain(row), ensure_ascii=False, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """`value` as a JSON value: dict, list, str, int, float, bool or None."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    raise TypeError(f"JSON cannot hold a {type(value).__name__}")


def write_rows(path: PathLike, rows: Iterable[Any]) -> None:
    """Write dataclass rows (`utils.data.schemas`) as JSONL; `read_rows` reads them back equal."""
    write_jsonl(path, rows)


# --- reading -------------------------------------------------------------------------------------------------------


def stored(path: PathLike) -> Path:
    """`path`, or `path`.gz if only this exists."""
    packed = Path(f"{path}.gz")
    return packed if not Path(path).exists() and packed.exists() else Path(path)


def read_bytes(path: PathLike) -> bytes:
    """Content of a file (see `stored`), uncompressed if its name ends in .gz.

    Raises UserError if the file is missing, is a folder, cannot be read, or is damaged gzip.
    """
    try:
        place = stored(path)
        content = place.read_bytes()
        return gzip.decompress(content) if place.name.endswith(".gz") else content
    except FileNotFoundError:
        raise UserError(f"The file {path} does not exist: check the path.") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder, but a file was expected: give the path of a file in it.") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is an incomplete gzip file ({error}): copy or download it again.") from None
    except OSError as error:
        raise UserError(f"Cannot read {path} ({(error.strerror or str(error)).lower()}).") from None


def read_text(path: PathLike) -> str:
    """Content of a UTF-8 text file without a byte order mark. Raises UserError (see `read_bytes`, and other
    encodings)."""
    content = read_bytes(path)
    check_text(content, path)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, row {row}: the text is not UTF-8; save the file as UTF-8.") from None


def read_json(path: PathLike) -> Any:
    """The JSON value in a file. Raises UserError with row and column if it is broken or empty."""
    text = read_text(path)
    if not text.strip():
        raise UserError(f"{path} is empty: expected one JSON value.")
    try:
        return parse_json(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, row {error.lineno}, column {error.colno}: broken JSON ({error.msg}).") from None
    except ValueError as error:
        raise UserError(f"{path}: {error}.") from None


def read_jsonl(path: PathLike) -> list[Row]:
    """Objects of a JSONL file (one per line, blank lines skipped) or of JSON in another layout, see `tables.json_rows`.

    Raises UserError naming the row if a line is broken JSON or not an object, or if there is no row at all.
    """
    return _filled(json_rows(read_text(path), path), path)


def _filled(rows: list[Row], path: PathLike) -> list[Row]:
    """`rows`, or a UserError if there are none."""
    if not rows:
        raise UserError(f"{path} is empty: expected at least one row.")
    return rows


def read_table(path: PathLike) -> list[Row]:
    """Rows of a table as dicts: .jsonl, .ndjson, .json (JSON in any layout of `tables.json_rows`), .csv, .tsv (all also
    .gz), .parquet, .sqlite/.db (`file.db::table`; the name may be left out if there is one table).

    CSV cells are text; `read_rows` converts them. Raises UserError naming file and row for everything unreadable.
    """
    name = str(path)
    base, _, table = name.partition("::")
    suffix = Path(base.removesuffix(".gz")).suffix.lower()
    if suffix in SQLITE:
        return _filled(sqlite_rows(base, table), path)
    if table:
        raise UserError(f"{path}: only an SQLite file has tables; leave out ::{table}.")
    if suffix in JSON_LINES:
        return read_jsonl(path)
    if suffix in CSV_SEPARATORS:
        return _filled(csv_rows(read_text(path), CSV_SEPARATORS[suffix], path), path)
    if suffix == ".parquet":
        return _filled(parquet_rows(read_bytes(path), path), path)
    raise UserError(f"{path}: unknown file format; use {READABLE}.")


# --- typed rows ----------------------------------------------------------------------------------------------------


def read_rows(path: PathLike, cls: type[RowClass]) -> list[RowClass]:
    """Rows of a table (any format of `read_table`) as objects of the dataclass `cls`; other columns are left out.

    Raises UserError naming file, row and field if a field is missing or has the wrong type.
    """
    return [row_from_dict(row, cls, f"{path}, row {number}") for number, row in enumerate(read_table(path), 1)]


def row_from_dict(row: Mapping[str, Any], cls: type[RowClass], where: str) -> RowClass:
    """One dataclass object from a dict. `where` (file and row) begins the message of the UserError."""
    values = {}
    hints = field_types(cls)
    if not OLD_FIELDS.keys().isdisjoint(row):
        row = {OLD_FIELDS.get(name, name): value for name, value in row.items()}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if field.name not in row:
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                present = ", ".join(row) or "no field"
                raise UserError(f'{where}: the field "{field.name}" is missing; the row has {present}.')
            continue
        try:
            values[field.name] = convert(row[field.name], hints[field.name])
        except ValueError as error:
            raise UserError(f'{where}, field "{field.name}": {error}.') from None
    return cls(**values)


def field_types(cls: Any) -> dict[str, Any]:
    """Resolved type of each field of a dataclass."""
    return _type_hints(cls)


_type_hints = cache(typing.get_type_hints)


_READY = (str, bool, int)


def convert(value: Any, hint: Any) -> Any:
    """`value` as the type `hint` (str, int, float, bool, Any, X | None, tuple[X, ...], dict[K, V]).

    Whole numbers are fine for float, lists for tuple; text is read as a number, truth value or JSON where `hint` asks
    for one (CSV cells, command lines, "1e-3" in YAML). Raises ValueError; its text is the end of an error sentence.
    """
    if hint is Any or (type(value) is hint and hint in _READY):
        return value
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None or value in ("", "null"):
            return None
        return convert(value, next(kind for kind in arguments if kind is not type(None)))
    if origin in (tuple, list):
        items = _from_text(value) if isinstance(value, str) else value
        if not isinstance(items, list | tuple):
            raise ValueError(f"expected a list, found {kind_of(value)}")
        return origin(convert(item, arguments[0]) for item in items)
    if origin is dict or hint is dict:
        items = _from_text(value) if isinstance(value, str) else value
        if not isinstance(items, Mapping):
            raise ValueError(f"expected an object with named values, found {kind_of(value)}")
        kind = arguments[1] if arguments else Any
        return {str(key): convert(item, kind) for key, item in items.items()}
    return _convert_scalar(value, hint)


def _convert_scalar(value: Any, hint: type) -> Any:
    """`value` as str, bool, int or float; ValueError if it is something else."""
    if hint is str and isinstance(value, str):
        return value
    if hint is bool:
        if isinstance(value, bool):
            return value
        known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if str(value).strip().lower() in known:
            return known[str(value).strip().lower()]
    if hint in (int, float) and not isinstance(value, bool) and isinstance(value, str | int | float):
        for kind in (hint, float):
            with suppress(ValueError, OverflowError):
                number = kind(value)
                if math.isfinite(number) and number == hint(number) and (isinstance(value, str) or number == value):
                    return hint(number)
    names = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}
    raise ValueError(f"expected {names.get(hint, hint)}, found {kind_of(value)}")


def _from_text(text: str) -> Any:
    """JSON value in a cell of text, or the text itself."""
    try:
        return parse_json(text)
    except ValueError:
        return text


# --- tensors and digests -------------------------------------------------------------------------------------------


def write_tensors(path: PathLike, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write named tensors as safetensors, atomically; shared or strided memory is copied first."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    own = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    needed = sum(tensor.numel() * tensor.element_size() for tensor in own.values())
    with atomic_path(path, needed) as temporary:
        try:
            save_file(own, temporary, metadata=dict(metadata or {}))
        except SafetensorError as error:
            if "os error 28" not in str(error):
                raise
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error


def read_tensors(path: PathLike, device: str | torch.device = "cpu") -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Named tensors (copied into memory, not mapped from the file) and metadata of a safetensors file.

    Raises UserError if it is missing or truncated.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise UserError(f"The file {path} does not exist: check the path.")
    try:
        with safe_open(path, framework="pt", device=str(device)) as handle:
            return {name: handle.get_tensor(name).clone() for name in handle.keys()}, dict(handle.metadata() or {})
    except SafetensorError as error:
        raise UserError(f"{path} is an incomplete safetensors file ({error}): write or copy it again.") from None


def digest(value: Any) -> str:
    """sha256 of a value's JSON with sorted keys: equal settings have equal digests."""
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()


def digest_path(path: PathLike) -> str:
    """sha256 of a file's content, or of the names and contents of all files below a folder (hidden ones left out).

    For `file.db::table` it is the digest of the file. Raises UserError if `path` does not exist.
    """
    base = Path(str(path).partition("::")[0])
    if base.is_file():
        with base.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    if not base.is_dir():
        raise UserError(f"{path} does not exist: check the path.")
    files = sorted(file for file in base.rglob("*") if file.is_file())
    names = [(file, file.relative_to(base)) for file in files]
    shown = [(file, name) for file, name in names if not any(part.startswith(".") for part in name.parts)]
    return digest([[name.as_posix(), digest_path(file)] for file, name in shown])
