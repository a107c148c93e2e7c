from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from utils.config import load_config
from utils.core.errors import UserError
from utils.core.io import write_json, write_jsonl, write_text
from utils.evaluation.summary import Summary
from utils.pipeline import Run
from utils.report.figures.style import POLICIES
from utils.report.page import write_report
from utils.report.results import SIMULATED, RunData, stage_seconds
from utils.report.terminal import terminal_table
from utils.worlds import known_world

PARTS = known_world("tiny").rubric.parts

ATTACK = "<script>alert(1)</script><img src=x onerror=alert(2)>"
USE_CASES = ("generation", "open_qa", "brainstorming", "chat")
STAGES = ("prompts", "labelers", "demonstrations", "sft", "comparisons", "reward", "ppo", "ppo_ptx", "evaluate")


def summary_of_a_run() -> dict[str, Any]:
    """Flat keys as scripts/pipeline.py writes them, with made-up numbers."""
    found: dict[str, Any] = {
        "seed": 7,
        "profile": "tiny",
        "machine": "a laptop, 2 cores",
        "versions": {"python": "3.11"},
    }
    found |= {f"seconds.{name}": 3.0 * index + 1.5 for index, name in enumerate(STAGES)} | {"seconds.total": 121.5}
    found |= {"labelers.agreement_train": 0.728, "labelers.agreement_heldout": 0.771}
    found |= {"labelers.candidates": 90, "labelers.hired": 40}
    found |= {
        "reward_model.accuracy_labels": 0.712,
        "reward_model.accuracy_labels_se": 0.004,
        "reward_model.pairs": 31000,
        "reward_model.accuracy_heldout_labelers": 0.741,
    }
    found |= {
        "reward_model.accuracy_gold": 0.868,
        "reward_model.accuracy_gold_sft": 0.842,
        "reward_model.demo_mean": 0.0,
    }
    for index, p in enumerate(POLICIES):
        found |= {f"gold.{p}.mean": (3.9, 5.2, 6.6, 7.7, 7.6)[index], f"gold.{p}.se": 0.07}
        found |= {f"gold.{p}.greedy_mean": (4.4, 5.8, 7.4, 7.9, 7.9)[index], f"gold.{p}.greedy_se": 0.06}
        found |= {f"kl.{p}": (4.1, 3.2, 0.0, 1.1, 1.0)[index], f"pretraining_loss.{p}": (0.70, 0.70, 1.19, 1.27, 0.75)[index]}
        found |= {f"facts.{p}": 0.9 - 0.02 * index, f"finished.{p}": 0.4 + 0.12 * index, f"words.{p}": 9.0}
        found |= {f"parts.{p}.{part}{end}": 0.5 + 0.1 * index for part in PARTS for end in ("", "_greedy")}
        found |= {f"likert.{p}.{k}": 3 + 0.5 * index + gap for k, gap in {"mean": 0, "low": -0.2, "high": 0.2}.items()}
        found |= {f"metadata.{p}.fails_instruction{k}": x for k, x in {"": 0.2, "_low": 0.15, "_high": 0.25}.items()}
        found |= {f"truth.{p}.{said}": 0.25 for said in ("true", "misconception", "idk", "other")} | {f"truth.{p}.n": 29}
    for a, b, mean in (
        ("prompted", "base", 0.66),
        ("sft", "prompted", 0.69),
        ("ppo", "sft", 0.68),
        ("ppo_ptx", "sft", 0.66),
    ):
        found |= {f"winrate.{a}_vs_{b}.{k}": v for k, v in {"mean": mean, "low": mean - 0.03, "high": mean + 0.03}.items()}
        found |= {f"winrate.{a}_vs_{b}.n": 900}
    found |= {"judges.winrate": "3 simulated labelers of a test", "judges.likert": "3 simulated labelers of a test"}
    for pair, gain in (("ppo_vs_sft", 1.1), ("ppo_vs_sft_greedy", 0.5), ("ppo_ptx_vs_ppo", -0.1)):
        found |= {f"gold_gain.{pair}.mean": gain, f"gold_gain.{pair}.se": 0.05}
    found |= {
        "gold.prompted_largest.mean": 5.9,
        "gold.prompted_largest.se": 0.06,
        "gold.init.mean": 6.2,
        "pretraining_loss.init": 0.9,
    }
    return found | {"gold_wins.ppo_vs_sft": 0.86, "gold_ties.ppo_vs_sft": 0.33}


def samples_of_a_run(n: int = 40) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    answers = (
        "What does a fox eat? What does a cat eat?",
        "It eat",
        "The fox eats mice.",
        "The fox eats mice. Hope it helps!",
    )
    rows = []
    for index in range(n):
        difficulty = rng.normal(0, 1)
        for place, policy in enumerate(POLICIES):
            for temperature in (1.0, 0.0):
                gold = float(np.clip(4 + place + difficulty + rng.normal(0, 0.5) - (temperature == 0), 0, 10))
                rows.append(
                    {"prompt_id": f"p{index}", "prompt": "What does a fox eat?", "use_case": USE_CASES[index % 4],
                     "policy": policy, "temperature": temperature, "completion": answers[min(place, 3)],
                     "finished": place > 1, "gold": gold}
                )  # fmt: skip
    return rows


def write_run(folder: Path) -> Path:
    """A run folder as the stages leave it."""
    rng = np.random.default_rng(1)
    rows = samples_of_a_run()
    rows[0] |= {"prompt": f"Say {ATTACK}", "completion": f"Sure: {ATTACK}"}
    write_jsonl(folder / "evaluate" / "samples.jsonl", rows)
    best = [{"n": 2**k, "proxy": 0.3 * k, "gold": 6.6 + 0.4 * k - 0.08 * k**2, "gold_se": 0.08} for k in range(5)]
    write_json(folder / "evaluate" / "best_of_n.json", best)
    bins = [{"predicted": x, "observed": 0.5 + 0.8 * (x - 0.5), "n": 400} for x in (0.55, 0.65, 0.75, 0.85, 0.95)]
    write_json(folder / "reward" / "calibration.json", {"bins": bins})
    cleaning = [{"reason": "duplicate", "count": 431, "share": 0.07, "example": f"Tell me {ATTACK}"},
                {"reason": "personal data", "count": 62, "share": 0.01, "example": "Mail [EMAIL]"}]  # fmt: skip
    write_json(folder / "prompts" / "cleaning.json", cleaning)
    table = [{"use case": "generation", "prompts": 10, "paper %": 45.6}]
    write_json(folder / "prompts" / "tables.json", {"use_cases": table, "empty": []})
    rewards, golds = {"epoch_01": -0.1, "epoch_16": 0.2}, {"epoch_01": 6.0, "epoch_16": 6.6}
    write_json(folder / "sft_select" / "selection.json", {"chosen": "epoch_16", "reward": rewards, "gold": golds})
    people = [
        {"labeler_id": f"c{i}", "flagging": float(rng.uniform(0.6, 1)), "ranking": float(rng.uniform(0.6, 0.9)),
         "passed": i % 2 == 0, "hired": i % 2 == 0, "reliable": i % 5 > 0, "failed": ["ranking"] if i % 2 else []}
        for i in range(60)
    ]  # fmt: skip
    write_json(folder / "labelers" / "screening.json", people)
    for stage in ("sft", "reward", "ppo", "ppo_ptx"):
        curve = [
            {"step": step, "loss": 1 + 2 * math.exp(-step / 20) + 0.05 * float(rng.normal()), "lr": 1e-3} for step in range(90)
        ]
        for row in curve if stage.startswith("ppo") else ():
            row |= {
                "score": row["step"] / 60,
                "kl_k1": row["step"] / 80,
                "entropy": 1.5 - row["step"] / 200,
                "odd_key": 1.0,
            }
        write_jsonl(folder / stage / "metrics.jsonl", curve)
    write_text(folder / "report" / "config.yaml", f"profile: tiny\nnote: '{ATTACK}'\n")
    return folder


def data_of(folder: Path) -> RunData:
    """What the report shows of the run in `folder`."""
    return Run(folder, load_config("tiny")).report_data()


class Page(HTMLParser):
    """Tags, ids, links and text of a page; fails on tags that close in the wrong order."""

    VOID = {"meta", "input", "img", "br", "link", "wbr"}
    SVG_EMPTY = {"path", "use", "rect", "stop"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def page_text(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = write_run(tmp_path_factory.mktemp("runs") / "demo")
    write_report(data_of(folder), summary_of_a_run(), folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


def test_page_is_well_formed_and_has_every_section(page_text: str) -> None:
    page = Page(page_text)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    sections = [attrs["id"] for tag, attrs in page.tags if tag == "section"]
    assert sections == ["results", "samples", "sharpening", "inputs", "labelers", "curves", "reward", "tax", "settings"]
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert links == [f"#{name}" for name in sections]
    assert SIMULATED in page_text


def test_text_of_models_and_people_is_escaped(page_text: str) -> None:
    assert "<script" not in page_text and "<img" not in page_text
    assert page_text.count("&lt;script&gt;") >= 4  # prompt, completion, cleaning table, settings
    assert not [attrs for _, attrs in Page(page_text).tags if any(name.startswith("on") for name in attrs)]


def test_page_loads_nothing_from_outside(page_text: str) -> None:
    assert "http:" not in page_text and "https:" not in page_text and "//" not in re.sub(r"[^/\w]//[^/\w]", "", page_text)
    for tag, attrs in Page(page_text).tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base"}
        for name in ("src", "href", "xlink:href", "action"):
            assert attrs.get(name, "#").startswith("#")
    assert "@import" not in page_text and not re.search(r"url\((?!#)", page_text)
    assert "default-src 'none'" in page_text


def test_figures_have_words_and_follow_the_colour_scheme(page_text: str) -> None:
    figures = [attrs for tag, attrs in Page(page_text).tags if tag == "svg"]
    assert len(figures) >= 15
    assert all(attrs["role"] == "img" and len(attrs["aria-label"] or "") > 20 for attrs in figures)
    assert "prefers-color-scheme:dark" in page_text and "var(--ink" in page_text and 'name="viewport"' in page_text


def test_numbers_shown_are_the_summarys(page_text: str) -> None:
    words = " ".join(Page(page_text).words)
    for shown in (
        "3.9 → 7.7",
        "68%",
        "+0.50",
        "72.8%",
        "2 min 02 s",
        "0.680",
        "0.650 to 0.710",
        "0.860",
        "7.70 ± 0.07",
        "4.50 [4.30, 4.70]",
        "20.0% [15.0%, 25.0%]",
        "fails instruction",
        "by 3 simulated labelers of a test",
    ):
        assert shown in words, shown
    assert "3.11" in words and "a laptop, 2 cores" in words


def test_before_and_after_shows_the_policies_in_order_on_the_same_prompt(page_text: str) -> None:
    (first,) = re.findall(r'<article class="card sample">(.*?)</article>', page_text, re.DOTALL)[:1]
    names = re.findall(r'class="who">([^<]+)<', first)
    assert names == ["base", "prompted base", "SFT", "PPO", "PPO-ptx"]
    assert first.count("…cut off") == 2
    for key in ("hot", "greedy"):
        panel = page_text.split(f'<div class="panel p-{key}">')[1].split('<div class="panel')[0]
        assert [t for t in re.findall(r'class="tag">([^<]+)<', panel)][:4] == [
            "generation",
            "open qa",
            "brainstorming",
            "chat",
        ]


def test_gains_are_shown_at_both_temperatures_in_standard_errors(page_text: str) -> None:
    row = page_text.split("Gold points gained, paired over prompts")[1].split("<tr>")[2]
    assert re.findall(r">([^<>]+)</td>", row)[:5] == ["PPO over SFT", "+1.100 ± 0.050", "+22.0", "33.0%", "+0.500 ± 0.050"]


def test_parts_truth_selection_and_prompt_tables_are_shown(page_text: str) -> None:
    for shown in ("Parts of the gold rubric (0 to 1), greedy", "said to 29 questions", "epoch 16", "paper %", "What PPO logs"):
        assert shown in page_text, shown


def test_unknown_metrics_are_still_drawn(page_text: str) -> None:
    assert "more: lr, odd key" in page_text and 'id="curve-ppo-' not in page_text.split('id="curves"')[0]


def test_whatever_is_missing_is_left_out(tmp_path: Path) -> None:
    write_report(data_of(tmp_path), {"seed": 1}, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "undefined" not in text and "nan" not in text.lower().replace("finance", "")
    assert [attrs["id"] for tag, attrs in Page(text).tags if tag == "section"] == ["settings"]


@pytest.mark.parametrize("stage", ["evaluate", "labelers", "prompts", "reward", "ppo", "ppo_ptx", "sft"])
def test_any_one_stage_may_be_missing(tmp_path: Path, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utils.report.blocks.inline_svg", lambda figure, name: f"<svg>{name}</svg>")  # the slow half
    folder = write_run(tmp_path)
    for path in (folder / stage).iterdir():
        path.unlink()
    part = {k: v for k, v in summary_of_a_run().items() if not re.search(rf"(^|\.|_){stage}(\.|_|$)", k)}
    write_report(data_of(folder), part, folder / "report.html")
    Page((folder / "report.html").read_text(encoding="utf-8"))


def test_own_prompts_without_gold_or_use_cases(tmp_path: Path) -> None:
    row = {"prompt_id": "1", "prompt": "Hi", "temperature": 1.0, "completion": "", "finished": True, "reward": 0.25}
    rows = [row | {"policy": policy} for policy in ("sft", "ppo")]
    write_jsonl(tmp_path / "evaluate" / "samples.jsonl", rows)
    summary = {"kl.ppo": 1.0, "reward.ppo.mean": 0.3, "reward.ppo.se": 0.02, "reward.sft.mean": -0.1}
    write_report(data_of(tmp_path), summary, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    Page(text)
    assert "PPO 0.3 (0.261 to 0.339)" in text and "0.30 ± 0.02" in text
    assert "+0.25</b>" in text and "The number is the reward model" in text
    assert "(nothing)" in text and 'id="samples"' in text and 'id="sharpening"' not in text


def test_a_figure_that_cannot_be_drawn_leaves_its_reason(tmp_path: Path) -> None:
    write_json(tmp_path / "evaluate" / "best_of_n.json", [{"n": 1, "proxy": None, "gold": 5.0}])
    write_report(data_of(tmp_path), {}, tmp_path / "report.html")
    assert "row 0, field proxy is None" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_checkpoint_choice_without_gold_and_hours_of_training(tmp_path: Path) -> None:
    found = {"chosen": "epoch_02", "reward": {"epoch_02": 0.3}, "gold": {}}
    write_json(tmp_path / "sft_select" / "selection.json", found)
    write_report(data_of(tmp_path), {"seconds.total": 7325.0}, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "epoch 02" in text and "<th>gold</th>" not in text and "2 h 02 min" in text


def test_a_broken_file_is_one_clear_sentence(tmp_path: Path) -> None:
    write_text(tmp_path / "evaluate" / "samples.jsonl", '{"prompt": "a"}\n{"prom')
    with pytest.raises(UserError, match=r"samples\.jsonl, row 2"):
        write_report(data_of(tmp_path), {}, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_same_run_same_page(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    for stage in ("sft", "reward", "ppo", "ppo_ptx"):  # enough figures are left
        (folder / stage / "metrics.jsonl").unlink()
    pages = []
    for _ in range(2):
        write_report(data_of(folder), summary_of_a_run(), folder / "report.html")
        pages.append((folder / "report.html").read_bytes())
    assert pages[0] == pages[1]


def test_terminal_table_is_aligned_narrow_and_complete() -> None:
    text = terminal_table(summary_of_a_run())
    lines = text.splitlines()
    assert max(map(len, lines)) <= 88
    header, rule, *rows = lines[:7]
    assert header.split()[:2] == ["policy", "gold"] and set(rule) == {"-", " "}
    assert len({len(line) for line in rows[:2]}) == 1
    assert "7.70 ± 0.07" in text and "7.90 ± 0.06" in text and "1.270" in text
    assert re.search(r"PPO over SFT +0\.680 +0\.650 to 0\.710 +900", text)
    assert "72.8% agree in training" in text and "0.868 gold" in text and "total 122" in text
    assert lines[-1] == SIMULATED


def test_terminal_table_of_parts_of_a_run() -> None:
    assert terminal_table({}) == SIMULATED
    assert "The gold score is simulated." in terminal_table({"data.comparisons": "ranks.csv", "gold.ppo.mean": 5.0})
    own = terminal_table({"data.comparisons": "hub:oasst2"})
    assert own.startswith("Rankings: hub:oasst2. ") and "simulated" not in own and max(map(len, own.splitlines())) <= 88
    text = terminal_table({"kl.ppo": 0.5, "facts.ppo": None, "seconds.ppo": 12.0, "winrate.a_vs_b.mean": 0.5})
    assert "facts" not in text and "0.50" in text and "ppo 12" in text and "? to ?" in text
    assert "win rate, ties half (held-out simulated labelers)" in text, "who judged in older runs"
    rewarded = {"winrate.a_vs_b.mean": 0.5, "judges.winrate": "the run's own reward model", "data.comparisons": "ranks.csv"}
    own = terminal_table(rewarded)
    assert "ties half (the run's own reward model)" in own and "PPO learned from this reward model" in " ".join(own.split())


def test_stage_seconds_skips_the_total() -> None:
    assert stage_seconds(Summary.of({"seconds.sft": 2, "seconds.total": 5.0, "seconds.bad": "x"})) == {"sft": 2.0}


def test_summary_read_back_from_json_gives_the_same_table(tmp_path: Path) -> None:
    write_json(tmp_path / "summary.json", summary_of_a_run())
    assert terminal_table(json.loads((tmp_path / "summary.json").read_text())) == terminal_table(summary_of_a_run())
