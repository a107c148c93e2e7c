"""Human data of the Hugging Face hub as the rows of `utils.data.schemas`: "hub:dolly" instead of a file's name."""

from utils.data.hub.evaluations import EvalItem, load_evaluation, load_example_items
from utils.data.hub.load import (
    Loaded,
    as_prompts,
    check_source,
    clean_examples,
    first_rows,
    load_examples,
    load_texts,
    rows_of,
    source_record,
    without_prompts_of,
)
from utils.data.hub.registry import DATASETS, KINDS, PREFIX, HubDataset, Source, is_hub, parse_source, short_name

__all__ = [
    "DATASETS",
    "KINDS",
    "PREFIX",
    "EvalItem",
    "HubDataset",
    "Loaded",
    "Source",
    "as_prompts",
    "check_source",
    "clean_examples",
    "first_rows",
    "is_hub",
    "load_evaluation",
    "load_example_items",
    "load_examples",
    "load_texts",
    "parse_source",
    "rows_of",
    "short_name",
    "source_record",
    "without_prompts_of",
]
