"""From a source such as "hub:oasst2" to the rows of `utils.data.schemas`: splits by author, cleaning, what was dropped.

A split depends on the author (or post, passage, opening of a conversation) and on the prompt alone, so it is the same for
the prompts, demonstrations and rankings of one dataset, in every run.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from utils.core.errors import UserError
from utils.core.runtime import stream_seed
from utils.data.hub.adapters import ADAPTERS
from utils.data.hub.examples import Drops, Example, Row
from utils.data.hub.fetch import Files, find_files, stream_rows
from utils.data.hub.registry import Source, parse_source
from utils.data.matching import prompt_key
from utils.data.prompts import clean_prompts
from utils.data.rows import id_of_prompt
from utils.data.schemas import SPLITS, Comparison, Demonstration, Prompt
from utils.data.splits import SPLIT_FRACTIONS, split_of_key

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from utils.config import DataConfig
    from utils.data.prompts import Length

Schema = Prompt | Demonstration | Comparison
AnyRow = TypeVar("AnyRow", bound=Schema)
SPLIT_SEED = 0  # splits belong to the data and not to a run
HELD_OUT = {"valid": 0.5, "test": 0.5}


@dataclass(frozen=True)
class Loaded:
    """Examples of a source for one use, in the publisher's order, and what the adapter dropped, by reason."""

    source: Source
    kind: str
    files: Files
    rows: int
    examples: list[Example]
    dropped: Counter[str]


def check_source(text: str, kind: str) -> None:
    """Raise UserError unless the source can be used as `kind`, its files are there (now downloaded) and its columns."""
    source = parse_source(text, kind)
    if next(stream_rows(source, find_files(source)), None) is None:
        raise UserError(f"{text} has no rows: name another file or @REVISION.")


def load_examples(text: str, kind: str, quiet: bool = False) -> Loaded:
    """All examples of a source that can be used as `kind` (prompts, demonstrations or comparisons), each with its split.

    Prints licence and data card, unless `quiet`. Raises UserError for a source that cannot be downloaded, read or used so.
    """
    source = parse_source(text, kind)
    files, counter, dropped = find_files(source), Counter[str](), Drops()
    _announce(source, quiet)
    rows = _counted(stream_rows(source, files), counter)
    examples = assign_splits(list(ADAPTERS[source.dataset.adapter](rows, dropped)), dropped)
    chosen = []
    for example in examples:
        if reason := example.lacking.get(kind):
            dropped[reason] += 1
        else:
            chosen.append(example)
    if not chosen:
        why = ", ".join(f"{reason} {count}" for reason, count in dropped.items()) or "it has no rows"
        raise UserError(f"{text}: nothing in it can be used as {kind} ({why}): name another file or dataset.")
    return Loaded(source, kind, files, counter["rows"], chosen, dropped)


def load_texts(text: str, limit: int | None = None, quiet: bool = False) -> tuple[list[str], Row]:
    """The first `limit` documents of a source of pretraining text, and its record (see `source_record`)."""
    source = parse_source(text, "pretraining")
    files, counter = find_files(source), Counter[str]()
    _announce(source, quiet)
    rows = _counted(stream_rows(source, files), counter)
    texts = list(islice((t for _, row in rows if (t := (row["text"] or "").strip())), limit))
    if not texts:
        raise UserError(f"{text} has no text: name another file or @REVISION.")
    dropped = Counter({"an empty text": counter["rows"] - len(texts)})
    return texts, source_record(Loaded(source, "pretraining", files, counter["rows"], [], +dropped), len(texts))


def source_record(loaded: Loaded, used: int) -> Row:
    """What a run records of a source: where it is from (the commit, if known), its licence, rows, what was left out."""
    source, dataset = loaded.source, loaded.source.dataset
    return {
        "source": source.text,
        "kind": loaded.kind,
        "dataset": dataset.repo or next(iter(dataset.files.values())),
        "revision": None if source.path is not None else source.revision,
        "commit": loaded.files.commit,
        "files": loaded.files.names(),
        "licence": dataset.licence,
        "card": dataset.card,
        "rows": loaded.rows,
        "used": used,
        "dropped": dict(sorted(loaded.dropped.items())),
    }


def _announce(source: Source, quiet: bool) -> None:
    """One line with origin and licence."""
    dataset = source.dataset
    if not quiet:
        place = source.path or dataset.repo or "openaipublic.blob.core.windows.net"
        print(f"{source.text}: {place}, licence {dataset.licence}; data card {dataset.card}", flush=True)


def _counted(rows: Iterable[Any], counter: Counter[str]) -> Iterable[Any]:
    for row in rows:
        counter["rows"] += 1
        yield row


# --- splits ----------------------------------------------------------------------------------------------------------


def assign_splits(examples: Sequence[Example], dropped: Drops) -> list[Example]:
    """Examples with their split: groups are never divided, and no prompt is in two splits.

    If the publisher has no held-out part, 90/5/5 % of the groups by hash. If there is one, its groups are divided into
    validation and test. Dropped and counted: training rows of groups of the held-out part, and rows whose prompt somebody
    in another group wrote too, if that one is in the test split, or in validation while these rows are in training. (To
    join such groups would make one of nearly all authors, as many people write "Hello".)
    """
    texts = [prompt_key(example.prompt) for example in examples]
    keys = [example.group or text for example, text in zip(examples, texts, strict=True)]
    held = {key for key, example in zip(keys, examples, strict=True) if _held_out(example)}
    splits = [_split(key, example, held) for key, example in zip(keys, examples, strict=True)]
    last: dict[str, str] = {}
    for text, split in zip(texts, splits, strict=True):
        last[text] = max(last.get(text, split), split, key=SPLITS.index)
    kept = []
    for example, key, text, split in zip(examples, keys, texts, splits, strict=True):
        if split == "train" and key in held:
            dropped["its author, post or opening is in the publisher's held-out part"] += 1
        elif split != last[text]:
            dropped["its prompt is also in a held-out split"] += 1
        else:
            kept.append(replace(example, split=split))
    return kept


def _split(key: str, example: Example, held: set[str]) -> str:
    """The split of a group, from its own hash alone."""
    if _held_out(example):
        return split_of_key(key, HELD_OUT, SPLIT_SEED)
    return "train" if held else split_of_key(key, SPLIT_FRACTIONS, SPLIT_SEED)


def _held_out(example: Example) -> bool:
    return example.publisher_split not in ("", "train")


# --- cleaning and choice ---------------------------------------------------------------------------------------------


def as_prompts(examples: Iterable[Example]) -> list[Prompt]:
    """The distinct prompts of examples."""
    first = {example.prompt: example for example in reversed(list(examples))}
    return [
        Prompt(id_of_prompt(e.prompt), e.prompt, e.use_case, e.source, e.user_id, e.split) for e in reversed(first.values())
    ]


def clean_examples(loaded: Loaded, data_cfg: DataConfig, tokenizer: PreTrainedTokenizerBase | Length | None = None) -> Loaded:
    """Drop examples whose prompt the paper's cleaning drops (`clean_prompts`); all examples of a kept prompt stay."""
    result = clean_prompts(as_prompts(loaded.examples), data_cfg, tokenizer)
    reasons = {row.prompt.prompt: f"prompt: {row.reason}" for row in result.dropped}
    dropped = loaded.dropped.copy()
    dropped.update(reasons[example.prompt] for example in loaded.examples if example.prompt in reasons)
    return replace(loaded, examples=[e for e in loaded.examples if e.prompt not in reasons], dropped=dropped)


def rows_of(loaded: Loaded) -> list[Schema]:
    """Examples as the rows of their kind."""
    if loaded.kind == "prompts":
        return list(as_prompts(loaded.examples))
    build: Callable[[Example], Schema] = _demonstration if loaded.kind == "demonstrations" else _comparison
    return [build(example) for example in loaded.examples]


def _demonstration(e: Example) -> Demonstration:
    return Demonstration(id_of_prompt(e.prompt), e.prompt, e.completion, e.labeler_id, e.use_case, e.split)


def _comparison(e: Example) -> Comparison:
    return Comparison(
        prompt_id=id_of_prompt(e.prompt),
        prompt=e.prompt,
        completions=e.completions,
        ranks=e.ranks,
        finished=e.finished or (True,) * len(e.completions),
        policies=e.policies,
        labeler_id=e.labeler_id,
        use_case=e.use_case,
        split=e.split,
    )


def without_prompts_of(rows: Sequence[AnyRow], others: Iterable[Schema]) -> list[AnyRow]:
    """Rows whose prompt (as `prompt_key` compares) is in none of `others`: for two sets that must not share a prompt."""
    taken = {prompt_key(row.prompt) for row in others}
    return [row for row in rows if prompt_key(row.prompt) not in taken]


def first_rows(rows: Sequence[AnyRow], limits: dict[str, int], seed: int) -> dict[str, list[AnyRow]]:
    """Rows by split, of at most limits[split] prompts that a run's seed chooses; all rows of a chosen prompt stay."""
    by_split: dict[str, list[AnyRow]] = {split: [] for split in SPLITS}
    ids: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        ids[row.split].add(row.prompt_id)
    for split, limit in limits.items():
        order = sorted(ids[split], key=lambda name: (stream_seed(seed, "hub", name), name))
        chosen = set(order[:limit])
        by_split[split] = [row for row in rows if row.split == split and row.prompt_id in chosen]
    return by_split
