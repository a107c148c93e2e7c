"""What the project knows about public human data: where it is stored, its columns, its licence. One record per dataset.

`revision` is a commit if one is known: several public programs name these commits and files, and `pytest -m hub` asks
the hub. Otherwise it is a branch, and what is loaded may change. `REFS_PARQUET` is the branch
with the hub's own parquet copy (CONFIG/SPLIT/NNNN.parquet), the way to data sets that still have a loading script, which
`datasets` 4.0 no longer runs.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from utils.config import PUBLIC
from utils.core.errors import UserError

PREFIX = PUBLIC
MAIN = "main"
REFS_PARQUET = "refs/convert/parquet"
TRUTHFULQA = "741b8276f2d1982aa3d5b832d3ee81ed3b896490"
DOLLY = "bdd27f4d94b9c1f951818a7da7fd7aeea5dbff1a"
GLUE = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"
OPENAI_LABELS = "https://openaipublic.blob.core.windows.net/lm-human-preferences/labels"
HH_PARTS = ("helpful-base", "helpful-online", "helpful-rejection-sampled", "harmless-base")
LM_PARTS = ("sentiment/offline_5k", "descriptiveness/offline_5k", "tldr/online_45k", "cnndm/online_45k")
TRAINING_KINDS = ("prompts", "demonstrations", "comparisons", "pretraining")
KINDS = (*TRAINING_KINDS, "evaluation")


@dataclass(frozen=True)
class HubDataset:
    """One dataset, or one part of it that is loaded alone.

    name: what stands after "hub:". repo: namespaced id on the Hugging Face hub, "" if `files` are web addresses.
    files: the publisher's split -> pattern of its files in the repository. columns: what the adapter reads; all must
    exist. kinds: what it can be used as, of KINDS. builder: of `datasets.load_dataset`. adapter: name of the function in
    `adapters` or `evaluations`. revision: a commit, or a branch. rejected: kind -> why the publisher or the
    method does not allow this use. examples: of an evaluation, the files of a part that is not evaluated, like `files`: the
    few-shot examples come from there.
    """

    name: str
    repo: str
    files: Mapping[str, str]
    columns: tuple[str, ...]
    kinds: tuple[str, ...]
    licence: str
    adapter: str
    revision: str
    builder: str = "parquet"
    streamed: bool = False
    rejected: Mapping[str, str] = field(default_factory=dict)
    examples: Mapping[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Where it is stored: its repository on the hub, or the host of its files."""
        return self.repo or next(iter(self.files.values())).removeprefix("https://").partition("/")[0]

    @property
    def card(self) -> str:
        """Path of the data card in the repository; parts of a dataset share one."""
        return f"data/hub/{self.name.partition('/')[0]}.md"


def _converted(config: str, *splits: str) -> dict[str, str]:
    """Patterns of the hub's parquet copy of one configuration."""
    return {split: f"{config}/{split}/*.parquet" for split in splits}


def _parquet(start: str, *splits: str) -> dict[str, str]:
    """Patterns of the publisher's own parquet files."""
    return {split: f"{start}/{split}-*.parquet" for split in splits}


def _oasst(name: str, revision: str) -> HubDataset:
    return HubDataset(
        name,
        f"OpenAssistant/{name}",
        _parquet("data", "train", "validation"),
        ("message_id", "parent_id", "user_id", "text", "role", "lang", "review_result", "deleted", "rank", "synthetic",
         "message_tree_id"),
        ("prompts", "demonstrations", "comparisons"),
        "Apache-2.0",
        "oasst",
        revision,
    )  # fmt: skip


def _hh(part: str) -> HubDataset:
    return HubDataset(
        f"hh-rlhf/{part}",
        "Anthropic/hh-rlhf",
        {split: f"{part}/{split}.jsonl.gz" for split in ("train", "test")},
        ("chosen", "rejected"),
        ("prompts", "comparisons"),
        "MIT",
        "hh_rlhf",
        "09be8c5bbc57cb3887f3a9732ad6aa7ec602a1fa",
        builder="json",
        rejected={"demonstrations": "its card asks that dialogue agents are not trained on these texts by supervision"},
    )


def _labels(part: str) -> HubDataset:
    return HubDataset(
        f"lm-human-preferences/{part.partition('/')[0]}",
        "",
        {"train": f"{OPENAI_LABELS}/{part}.json"},
        ("query", "sample0", "sample1", "sample2", "sample3", "best"),
        ("prompts", "comparisons"),
        "MIT (code); none stated for the texts",
        "best_of_4_summaries" if part.startswith(("tldr", "cnndm")) else "best_of_4",
        "",
        builder="json",
    )


_ROWS = (
    HubDataset(
        "dolly", "databricks/databricks-dolly-15k", {"train": "databricks-dolly-15k.jsonl"},
        ("instruction", "context", "response", "category"), ("prompts", "demonstrations"), "CC BY-SA 3.0", "dolly",
        DOLLY, builder="json",
    ),
    HubDataset(
        "no_robots", "HuggingFaceH4/no_robots", _parquet("data", "train", "test"), ("messages", "category"),
        ("prompts", "demonstrations"), "CC BY-NC 4.0: not for commercial use", "no_robots",
        "e6f9a4ac5c37faeb744ba9ecf0473184d7f8105b",
    ),
    _oasst("oasst1", "fdf72ae0827c1cda404aff25b6603abec9e3399b"),
    _oasst("oasst2", "179dd21fc55192153d94adb0e0ce8f69e222bf75"),
    *map(_hh, HH_PARTS),
    HubDataset(
        "tldr", "trl-internal-testing/tldr-preference-trl-style", _parquet("data", "train", "validation"),
        ("info", "summaries", "choice", "worker", "split"), ("prompts", "comparisons"),
        "Modified MIT (feedback); CC BY 4.0 (posts)", "tldr", MAIN,
    ),
    HubDataset(
        "summarize_from_feedback", "openai/summarize_from_feedback", _converted("comparisons", "train", "validation"),
        ("info", "summaries", "choice", "worker", "split"), ("prompts", "comparisons"),
        "Modified MIT (feedback); CC BY 4.0 (posts)", "tldr", REFS_PARQUET,
    ),
    *map(_labels, LM_PARTS),
    *(
        HubDataset(
            name, "nvidia/HelpSteer3", {s: f"preference/{s}.json*.gz" for s in ("train", "validation")},
            ("domain", "context", "response1", "response2", preference), ("prompts", "comparisons"), "CC BY 4.0", adapter,
            "f6d145777bcbde96137596340fab89793acd1031", builder="json",
        )
        for name, preference, adapter in (
            ("helpsteer3", "overall_preference", "helpsteer3"),
            ("helpsteer3/individual", "individual_preference", "helpsteer3_individual"),
        )
    ),
    HubDataset(
        "webgpt", "openai/webgpt_comparisons", _converted("default", "train"),
        ("question", "answer_0", "answer_1", "score_0", "score_1"), ("prompts", "comparisons"), "none stated", "webgpt",
        REFS_PARQUET,
    ),
    HubDataset(
        "openwebtext-10k", "stas/openwebtext-10k", _converted("plain_text", "train"), ("text",), ("pretraining",),
        "CC0 1.0 (packaging); the texts belong to their authors", "texts", REFS_PARQUET,
    ),
    HubDataset(
        "openwebtext", "Skylion007/openwebtext", {"train": "plain_text/partial-train/*.parquet"}, ("text",),
        ("pretraining",), "CC0 1.0 (packaging); the texts belong to their authors", "texts", REFS_PARQUET, streamed=True,
    ),
    HubDataset(
        "truthfulqa", "truthfulqa/truthful_qa", _parquet("generation", "validation"),
        ("type", "category", "question", "best_answer", "correct_answers", "incorrect_answers"), ("evaluation",),
        "Apache-2.0", "truthfulqa", TRUTHFULQA,
    ),
    HubDataset(
        "truthfulqa/multiple_choice", "truthfulqa/truthful_qa", _parquet("multiple_choice", "validation"),
        ("question", "mc1_targets", "mc2_targets"), ("evaluation",), "Apache-2.0", "truthfulqa_choices", TRUTHFULQA,
    ),
    HubDataset(
        "realtoxicityprompts", "allenai/real-toxicity-prompts", {"train": "prompts.jsonl"},
        ("filename", "begin", "end", "challenging", "prompt", "continuation"), ("evaluation",), "Apache-2.0",
        "realtoxicityprompts", "f21629712ffd6a3d13a54fd2807ccd521c55ef74", builder="json",
    ),
    HubDataset(
        "crows_pairs", "nyu-mll/crows_pairs", _converted("*", "test"),
        ("sent_more", "sent_less", "stereo_antistereo", "bias_type"), ("evaluation",), "CC BY-SA 4.0", "crows_pairs",
        REFS_PARQUET,
    ),
    HubDataset(
        "crows_pairs/revised", "jannalu/crows_pairs_multilingual", _converted("english", "test"),
        ("sent_more", "sent_less", "stereo_antistereo", "bias_type"), ("evaluation",), "CC BY-SA 4.0", "crows_pairs",
        REFS_PARQUET,
    ),
    HubDataset(
        "winogender", "oskarvanderwal/winogender", _converted("all", "test"), ("sentid", "sentence"), ("evaluation",), "MIT",
        "winogender", REFS_PARQUET,
    ),
    HubDataset(
        "hellaswag", "Rowan/hellaswag", _parquet("data", "validation"),
        ("ind", "activity_label", "ctx", "endings", "label"), ("evaluation",), "MIT", "hellaswag",
        "218ec52e09a7e7462a5400043bb9a69a41d06b76", examples=_parquet("data", "train"),
    ),
    HubDataset(
        "squad_v2", "rajpurkar/squad_v2", _parquet("squad_v2", "validation"),
        ("id", "title", "context", "question", "answers"), ("evaluation",), "CC BY-SA 4.0", "squad_v2",
        "3ffb306f725f7d2ce8394bc1873b24868140c412", examples=_parquet("squad_v2", "train"),
    ),
    HubDataset(
        "drop", "ucinlp/drop", _parquet("data", "validation"), ("query_id", "passage", "question", "answers_spans"),
        ("evaluation",), "CC BY-SA 4.0", "drop", "95cda593fae71b60b5b19f82de3fcf3298c1239c",
        examples=_parquet("data", "train"),
    ),
    HubDataset(
        "drop/annotators", "EleutherAI/drop", _converted("*", "validation"),
        ("query_id", "passage", "question", "answer", "validated_answers"), ("evaluation",), "CC BY-SA 4.0",
        "drop_annotators", REFS_PARQUET, examples=_converted("*", "train"),
    ),
    HubDataset(
        "quac", "allenai/quac", _converted("plain_text", "validation"),
        ("wikipedia_page_title", "section_title", "context", "turn_ids", "questions", "answers"), ("evaluation",), "MIT",
        "quac", REFS_PARQUET, examples=_converted("plain_text", "train"),
    ),
    HubDataset(
        "wsc", "aps/super_glue", _converted("wsc", "validation"),
        ("text", "span1_text", "span2_index", "span2_text", "idx", "label"), ("evaluation",), "see the SuperGLUE benchmark",
        "wsc", REFS_PARQUET, examples=_converted("wsc", "train"),
    ),
    HubDataset(
        "cnn_dm", "abisee/cnn_dailymail", _parquet("3.0.0", "test"), ("article", "highlights", "id"), ("evaluation",),
        "Apache-2.0 (packaging); the articles belong to their publishers", "cnn_dailymail", MAIN,
    ),
    HubDataset(
        "tldr/posts", "trl-lib/tldr", _parquet("data", "test"), ("prompt", "completion"), ("evaluation",),
        "CC BY 4.0", "tldr_posts", MAIN,
    ),
    HubDataset(
        "dolly/closed_domain", "databricks/databricks-dolly-15k", {"train": "databricks-dolly-15k.jsonl"},
        ("instruction", "context", "response", "category"), ("evaluation",), "CC BY-SA 3.0", "closed_domain",
        DOLLY, builder="json",
    ),
    HubDataset(
        "reward_bench", "allenai/reward-bench-2", _parquet("data", "test"),
        ("id", "prompt", "chosen", "rejected", "subset"), ("evaluation",), "ODC-BY", "reward_bench", MAIN,
    ),
    HubDataset(
        "wmt15", "wmt/wmt15", _converted("fr-en", "test"), ("translation",), ("evaluation",), "unknown", "wmt15",
        REFS_PARQUET, examples=_converted("fr-en", "validation"),
    ),
    HubDataset(
        "sst2", "nyu-mll/glue", _parquet("sst2", "validation"), ("sentence", "label", "idx"), ("evaluation",),
        "see the GLUE benchmark", "sst2", GLUE, examples=_parquet("sst2", "train"),
    ),
    HubDataset(
        "rte", "nyu-mll/glue", _parquet("rte", "validation"), ("sentence1", "sentence2", "label", "idx"), ("evaluation",),
        "see the GLUE benchmark", "rte", GLUE, examples=_parquet("rte", "train"),
    ),
)  # fmt: skip
DATASETS: dict[str, HubDataset] = {row.name: row for row in _ROWS}


@dataclass(frozen=True)
class Source:
    """What a text such as "hub:oasst2", "hub:oasst2@REVISION" or "hub:oasst2=FILE" names.

    path: a local file, folder or pattern with the same columns, None for the hub's own.
    """

    text: str
    dataset: HubDataset
    revision: str
    path: Path | None

    @property
    def command(self) -> str:
        """The command that downloads and converts it."""
        return f"python scripts/fetch_data.py {self.dataset.name}"


def is_hub(text: str | None) -> bool:
    """Whether a setting names a dataset of this registry and not a file."""
    return text is not None and text.startswith(PREFIX)


def short_name(text: str) -> str:
    """What to call a file or source in a report: without the folders of its path."""
    if not is_hub(text):
        return Path(text).name
    source = parse_source(text)
    revision = "" if source.revision == source.dataset.revision else f"@{source.revision}"
    return f"{PREFIX}{source.dataset.name}{revision}" + (f" ({source.path.name})" if source.path is not None else "")


def parse_source(text: str, kind: str | None = None) -> Source:
    """The dataset that "hub:NAME[@REVISION][=PATH]" names, to be used as `kind`.

    Raises UserError for an unknown name or part, with the nearest one, and for a use that the dataset is not made for.
    """
    head, equals, path = text.removeprefix(PREFIX).partition("=")
    name, at, revision = head.partition("@")
    if name not in DATASETS:
        raise UserError(f'There is no "{PREFIX}{name}": {_instead(name, kind)}.')
    if (at and not revision) or (equals and not path):
        raise UserError(f'"{text}" is incomplete: write {PREFIX}{name}, {PREFIX}{name}@REVISION or {PREFIX}{name}=PATH.')
    dataset = DATASETS[name]
    if at and not equals and not dataset.repo:
        raise UserError(f'"{text}": {name} is not in a repository and has no revisions: write {PREFIX}{name}.')
    if kind is not None and kind not in dataset.kinds:
        why = dataset.rejected.get(kind, f"it is made for {', '.join(dataset.kinds)}")
        others = [f"{PREFIX}{row.name}" for row in DATASETS.values() if kind in row.kinds]
        raise UserError(f"{PREFIX}{name} cannot be used as {kind}, as {why}: use {', '.join(others)}.")
    return Source(text, dataset, revision or dataset.revision, Path(path) if path else None)


def _instead(name: str, kind: str | None) -> str:
    """What to write instead of an unknown name."""
    names = [row.name for row in DATASETS.values() if kind is None or kind in row.kinds]
    parts = [known for known in names if known.startswith(f"{name.partition('/')[0]}/")]
    near = parts or difflib.get_close_matches(name, names, 3) or names
    return f"use {' or '.join(PREFIX + known for known in near)}"
