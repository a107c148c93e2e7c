"""Scores of outputs: by hand, BLEU and ROUGE-L against plain definitions, intervals by simulation; the script."""

from __future__ import annotations

import builtins
import math
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_samples import answer, judged, table, toxic
from test_scripts import load_script

from utils.core.errors import UserError
from utils.core.io import read_json, read_text
from utils.core.runtime import numpy_rng
from utils.evaluation.samples import RELEASED, Sample
from utils.evaluation.scores import bleu_measure, first_lines, score_samples, unequal_groups


def texts(*pairs: tuple[str, str]) -> list[Sample]:
    return [Sample("m", "p", str(i), text, ((gold,),)) for i, (text, gold) in enumerate(pairs)]


def values(samples: list[Sample], task: str) -> dict[str, tuple[float, int]]:
    return {row["metric"]: (row["value"], row["n"]) for row in score_samples(samples, task) if row["questions"] == "all"}


def test_reading_in_percent() -> None:
    found = values(texts(("7,761", "7761"), ("Rams", "Rams and Jets"), ("", "x")), "drop")
    assert found == {"f1": (pytest.approx(100 * (1 + 0.5) / 3), 3), "exact": (pytest.approx(100 / 3), 3)}
    squad = [*texts(("Not in background.", "Not in background."), ("", "old")), Sample("m", "p", "x", "It.", ())]
    found = values(squad, "squadv2")
    assert (
        found["f1"] == (pytest.approx(100 / 3), 3) and found["f1_no_answer"] == (50.0, 2) and found["f1_has_answer"] == (0.0, 1)
    )


def plain_bleu(pairs: list[tuple[str, str]]) -> float:
    """Papineni et al. 2002 on texts of plain words."""
    logs, hyp, ref = 0.0, sum(len(a.split()) for a, _ in pairs), sum(len(b.split()) for _, b in pairs)
    for n in range(1, 5):

        def grams(text: str, n: int = n) -> Counter[tuple[str, ...]]:
            words = text.split()
            return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

        same = sum((grams(a) & grams(b)).total() for a, b in pairs)
        logs += math.log(same / sum(grams(a).total() for a, _ in pairs)) / 4
    return 100 * math.exp(logs + min(0.0, 1 - ref / hyp))


def test_bleu_is_the_definition_on_the_whole_group_and_its_interval_covers() -> None:
    rng = numpy_rng(1, "bleu")
    pairs = []
    for _ in range(60):
        gold = [str(word) for word in rng.integers(0, 50, 12)]
        pairs.append((" ".join(word if rng.random() < 0.8 else "x" for word in gold), " ".join(gold)))
    found = bleu_measure(texts(*pairs))["bleu"].estimate(0.95, 0)
    assert found.value == pytest.approx(plain_bleu(pairs)) and found.n == 60
    assert found.low < found.value < found.high
    again = [plain_bleu([pairs[i] for i in rng.integers(0, 60, 60)]) for _ in range(300)]
    assert np.quantile(again, 0.025) == pytest.approx(found.low, abs=1.5)
    assert np.quantile(again, 0.975) == pytest.approx(found.high, abs=1.5)
    assert bleu_measure(texts(*pairs))["bleu"].estimate(0.95, 0) == found, "the same seed gives the same interval"
    two = [Sample("m", "p", "1", "a b c d e", (("x y",), ("a b c d e",)))]
    assert bleu_measure(two)["bleu"].estimate().value == pytest.approx(100.0), "either reference is right"


def test_rouge_l_by_hand() -> None:
    found = values(texts(("the cat sat", "the cat lay down"), ("", "x")), "tldr")
    assert found == {"rouge_l": (pytest.approx((2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4)) / 2), 2)}


def test_toxicity_and_truth_leave_out_what_is_not_known() -> None:
    samples = [Sample("m", "p", str(i), "s", values={"toxicity": x}) for i, x in enumerate((0.2, 0.9, None))]
    assert values(samples, "real_toxicity") == {"toxicity": (pytest.approx(0.55), 2), "share_toxic": (0.5, 2)}
    assert values(samples[2:], "real_toxicity")["toxicity"][1] == 0
    marks = [(1.0, 1.0, 1.0), (1.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.0, 1.0, None)]
    rows = [
        Sample("m", "p", str(i), "a", values={"adversarial": kind, "true": true, "info": info})
        for i, (kind, true, info) in enumerate(marks)
    ]
    found = {(row["questions"], row["metric"]): (row["value"], row["n"]) for row in score_samples(rows, "truthful_qa")}
    assert found["all", "true"] == (0.75, 4) and found["all", "informative"] == (pytest.approx(2 / 3), 3)
    assert found["all", "true_informative"] == (pytest.approx(1 / 3), 3)
    assert found["adversarial", "true"] == (1.0, 2) and found["other", "true"] == (0.5, 2)


def test_outputs_end_at_their_first_newline_and_groups_are_compared() -> None:
    samples = texts(("a\nb", "a"), ("\nb", "b"), (" c ", "c"))
    cut, count = first_lines(samples)
    assert [sample.text for sample in cut] == ["a", "", "c"] and count == 2
    assert unequal_groups(samples) == ""
    assert "different items, such as n / p" in unequal_groups([*samples, Sample("n", "p", "0", "a", (("a",),))])


@pytest.mark.parametrize(("task", "package"), [("fr_to_en", "sacrebleu"), ("tldr", "rouge-score")])
def test_a_package_that_is_missing_is_one_sentence(task: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *given: Any) -> Any:
        if name.split(".")[0] == package.replace("-", "_"):
            raise ImportError(name)
        return real(name, *given)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=rf"needs the package {package}: install it with `pip install .*\[evaluation\]"):
        score_samples(texts(("a", "a")), task)


# --- the script ----------------------------------------------------------------------------------------------------


def test_the_script_scores_a_file_like_the_released_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """3,600 rows are the largest released file; 20 seconds of CPU are far below the bound of 60."""
    rows = [
        judged(model_type=name, prompt_type=prompt, question=f"q{i}", adversarial=i % 2 == 0, true=(i % 10) / 10, info="True")
        for name in RELEASED
        for prompt in ("QA prompt", "instruction prompt", "QA + instruction")
        for i in range(100)
    ]
    path, out = table(tmp_path / "truthful_qa_samples.csv", rows), tmp_path / "out"
    start = time.process_time()
    load_script("evaluate", monkeypatch).run(["score", "--task", "truthful_qa", "--samples", str(path), "--out", str(out)])
    assert time.process_time() - start < 20
    record, said = read_json(out / "scores.json"), capsys.readouterr().out
    assert record["rows"] == 3600 and len(record["scores"]) == 12 * 3 * 3 * 3 and record["notes"] == []
    assert {row["value"] for row in record["scores"] if row["metric"] == "true" and row["questions"] == "all"} == {0.4}
    assert len(read_text(out / "scores.csv").splitlines()) == 1 + len(record["scores"])
    assert "ppo-ptx-175b" in said and "0.400 [0.309, 0.498]" in said and "0.400 [0.309, 0.498]" in read_text(out / "scores.md")


@pytest.mark.parametrize("task", ["drop", "squadv2", "fr_to_en", "tldr", "cnn_dm", "real_toxicity"])
def test_the_script_scores_every_task(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = toxic if task == "real_toxicity" else answer
    path = table(tmp_path / "x.csv", [make("0.5") | {"context": str(i), "sample": f"0.5 and {i}\nmore"} for i in range(3)])
    load_script("evaluate", monkeypatch).run(["score", "--task", task, "--samples", str(path), "--out", str(tmp_path / "out")])
    record = read_json(tmp_path / "out" / "scores.json")
    assert record["scores"] and record["notes"] == ["3 outputs were cut at their first newline."]
    assert all(row["low"] <= row["value"] <= row["high"] for row in record["scores"])
