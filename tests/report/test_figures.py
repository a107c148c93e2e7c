from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from utils.evaluation.summary import Summary, number
from utils.pipeline import STAGES
from utils.report import figures as plotting
from utils.report.figures import frame, style, training

SUMMARY: dict[str, object] = {"seed": 1, "machine": "a computer"}
for place, name in enumerate(style.POLICIES):
    SUMMARY |= {f"gold.{name}.mean": 4.0 + place, f"gold.{name}.se": 0.05}
    SUMMARY |= {f"gold.{name}.greedy_mean": 4.5 + place, f"gold.{name}.greedy_se": 0.04}
for pair in ("prompted_vs_base", "ppo_vs_sft", "ppo_ptx_vs_sft"):
    SUMMARY |= {f"winrate.{pair}.mean": 0.65, f"winrate.{pair}.low": 0.62, f"winrate.{pair}.high": 0.68}
    SUMMARY |= {f"winrate.{pair}.n": 900}
METRICS = [{"step": step, "loss": 3.0 / (step + 1), "kl": 0.01 * step} for step in range(120)]
PRESSURE = [{"kl": k, "proxy": k / 10, "gold": 5 - (k - 2) ** 2 / 9, "gold_se": 0.1} for k in (0.0, 0.5, 2.0, 6.0)]
LEARNT = {
    "one": [{"loss": 3.0}, {"loss": 1.0, "valid_loss": 2.5, "passes": 0.5}, {"loss": 1.0, "valid_loss": 2.7, "passes": 1}]
}
CHECKPOINTS = [
    {"epoch": e, "valid_loss": v, "reward": e / 9, "reward_se": 0.1, "gold": g, "gold_se": 0.1}
    for e, v, g in ((1, 0.7, 6.0), (2, 0.6, 7.0), (4, 0.8, 6.5))
]

TAX = [
    {"knob": "gamma_ptx", "value": v, "seed": s, "gold": 8 - v / 9 + s / 50, "pretraining_loss": 1 - v / 20}
    for v in (0.0, 1.0)
    for s in (1, 2)
] + [{"knob": "model", "value": name, "seed": None, "gold": 7.0, "pretraining_loss": 0.9} for name in ("base", "init")]

SHARES, LOSS = plotting.Look("share (%)", "use case"), plotting.Look("policy", "loss", reference=1.0)

FIGURES: dict[str, Callable[[], Figure]] = {
    "training_curves": lambda: plotting.training_curves(METRICS, "loss", "kl", labels={"loss": "loss (nats)"}),
    "lines": lambda: plotting.lines(
        [1, 2, 4], {"a": [0.1, 0.2, 0.3], "ppo": [1, 1, 2]}, plotting.Look("x", "y", "t", 0.5, "half"), True, 2
    ),
    "beside_paper": lambda: plotting.beside_paper(["open_qa", "chat"], [12.0, 8.0], [12.4, 8.4], SHARES),
    "bars": lambda: plotting.bars_with_intervals(["base", "other"], [1, 2], [0.9, 1.8], [1.1, math.nan], LOSS),
    "gold": lambda: plotting.gold_by_policy(SUMMARY, 10),
    "win_rates": lambda: plotting.win_rates(SUMMARY),
    "overoptimisation": lambda: plotting.overoptimisation(PRESSURE),
    "best_of_n": lambda: plotting.best_of_n([{"n": n, "proxy": n / 9, "gold": 5.0} for n in (1, 2, 4)]),
    "best_of_n_of_two": lambda: plotting.best_of_n({m: [{"n": n, "proxy": n, "gold": 5.0} for n in (1, 2)] for m in "ab"}),
    "train_and_valid": lambda: plotting.train_and_valid(LEARNT, "loss", "valid_loss", "passes", "passes", "loss (nats)"),
    "checkpoint_choice": lambda: plotting.checkpoint_choice(CHECKPOINTS),
    "grouped_bars": lambda: plotting.grouped_bars(
        ["form", "manner"], {"sft": [(1, 0.1), (2, 0.2)], "x": [(0, 0), (1, 0)]}, plotting.Look("x", "y")
    ),
    "scatter": lambda: plotting.scatter(
        [{"a": i, "b": 2, "b_se": 0.1, "name": "p"} for i in (1, 2)], "a", "b", plotting.Look("a", "b"), zero=True
    ),
    "pair_loss": lambda: plotting.pair_loss({"1 over 2": 1.5, "2 over 3": -0.5}),
    "ladder": lambda: plotting.ladder([{"policy": p, "params": n, "gold": 4, "se": 0.1} for p in "ab" for n in (9, 99)]),
    "agreement": lambda: plotting.agreement_bars(["training", "held-out"], [0.72, 0.77], [0.726, None]),
    "calibration": lambda: plotting.calibration([0.1, 0.9], [0.2, 0.8], [5, 50]),
    "histogram": lambda: plotting.histogram({"sft": [1.0, 2.0], "ppo": [2.0, 3.0]}, "gold (points)"),
    "tax_sweep": lambda: plotting.tax_sweep(TAX, "gamma_ptx"),
    "arms_over_seeds": lambda: plotting.arms_over_seeds({"gold": {"a": [1.0, 2.0], "b": []}, "KL": {"a": [3.0]}}, "More?"),
    "curves_over_seeds": lambda: plotting.curves_over_seeds(
        {"a": [[{"x": i, "y": s} for i in (1, 2)] for s in (1, 2)], "b": [[{"x": 1, "y": 2}, {"x": 3}]]},
        "x",
        "y",
        ("x", "y"),
        "?",
    ),
    "histogram_one": lambda: plotting.histogram([1.0, 2.0, 2.0], "tokens"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_runs_with_labelled_axes_alt_text_and_svg(name: str) -> None:
    figure = FIGURES[name]()
    assert isinstance(figure, Figure) and figure.axes
    for axes in figure.axes:
        assert axes.get_ylabel()
    assert all(axes.get_xlabel() for axes in figure.axes if axes.get_subplotspec().is_last_row())
    assert re.search(r"\d", plotting.alt_text(figure)) and len(plotting.alt_text(figure)) > 20
    root = ET.fromstring(plotting.inline_svg(figure, "figure-" + name).replace("&nbsp;", " "))
    assert root.tag == "svg" and root.get("role") == "img" and root.get("aria-label")


@pytest.mark.parametrize("here", [None, "pretrain", "init", "ppo_ptx", "report"])
def test_pipeline_map(here: str | None) -> None:
    figure = plotting.pipeline_map(here)
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert {"reward model", "PPO-ptx", "labelers"} <= set(texts)
    assert ("you are here" in texts) == (here is not None) == ("You are here" in plotting.alt_text(figure))


def test_every_stage_of_the_architecture_is_on_the_map() -> None:
    for stage in (one.name for one in STAGES if one.name != "base"):
        plotting.pipeline_map(stage)
    with pytest.raises(ValueError, match="no stage 'dpo'"):
        plotting.pipeline_map("dpo")


def test_inline_svg_is_self_contained_unique_and_follows_the_page() -> None:
    one, two = (plotting.inline_svg(FIGURES["gold"](), name) for name in ("one", "two"))
    assert "http" not in one and "<script" not in one and "xmlns" not in one
    assert f"var(--ink, {style.INK})" in one and not re.search(f"(?<!, ){style.INK}", one)
    ids = [set(re.findall(r'\bid="([^"]+)"', text)) for text in (one, two)]
    assert ids[0] and not ids[0] & ids[1]
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', one))
    assert used and used <= ids[0]
    assert one == plotting.inline_svg(FIGURES["gold"](), "one")
    with pytest.raises(ValueError, match="figure name"):
        plotting.inline_svg(FIGURES["gold"](), 'x" onload="')


def test_alt_text_and_labels_of_hostile_names_are_escaped_in_svg() -> None:
    figure = plotting.bars_with_intervals(['<script>"x"</script>'], [1.0], [0.5], [1.5], LOSS)
    assert "<script" not in plotting.inline_svg(figure, "hostile")


def test_style_is_ours_whatever_the_caller_set_and_leaves_no_trace() -> None:
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"axes.labelcolor": "red", "axes.facecolor": "black"}):
        axes = FIGURES["bars"]().axes[0]
    assert axes.yaxis.label.get_color() == style.INK
    assert dict(matplotlib.rcParams) == before


def test_a_policy_has_one_colour_and_one_marker_everywhere() -> None:
    assert set(style.COLOURS) == set(style.MARKERS) == set(style.LABELS) == set(style.ORDER) > set(style.POLICIES)
    assert len(set(style.COLOURS.values())) == len(set(style.MARKERS.values())) == len(style.ORDER)
    assert set(style.COLOURS.values()) <= set(style.OKABE_ITO)
    bars = plotting.bars_with_intervals(["ppo", "base"], [1, 2], [1, 2], [1, 2], LOSS).axes[0].patches
    assert to_rgb(bars[0].get_facecolor()) == to_rgb(style.COLOURS["ppo"])


def test_gold_bars_show_the_numbers_of_the_summary_and_skip_what_is_missing() -> None:
    part = {k: v for k, v in SUMMARY.items() if not k.startswith(("gold.sft", "gold.ppo.greedy"))}
    axes = plotting.gold_by_policy(part).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["base", "prompted\nbase", "PPO", "PPO-ptx"]
    assert [bar.get_height() for bar in axes.patches] == [4.0, 5.0, 7.0, 8.0, 4.5, 5.5, 8.5]
    with pytest.raises(ValueError, match="run the evaluate stage"):
        plotting.gold_by_policy({"seed": 1})


def test_win_rates_are_read_in_order_with_underscored_names() -> None:
    pairs = Summary.of(SUMMARY | {"winrate.x_vs_y.mean": 0.4, "winrate.broken_vs_y.mean": None}).win_rates()
    assert [(p.a, p.b) for p in pairs] == [("prompted", "base"), ("ppo", "sft"), ("ppo_ptx", "sft"), ("x", "y")]
    assert pairs[1][2:] == (0.65, 0.62, 0.68, 900) and math.isnan(pairs[3].low) and pairs[3].n == 0
    assert plotting.win_rates({"winrate.x_vs_y.mean": 0.4}).axes


def test_curves_of_two_runs_are_told_apart_and_rows_without_the_key_skipped() -> None:
    runs = {"ppo": [{"step": 0, "kl": 0.0}, {"step": 1}, {"step": 2, "kl": 1.0}], "ppo_ptx": [{"step": 0, "kl": 0.5}]}
    axes = plotting.training_curves(runs, "kl").axes[0]
    assert [line.get_color() for line in axes.lines] == [style.COLOURS["ppo"], style.COLOURS["ppo_ptx"]]
    assert axes.lines[0].get_xdata().tolist() == [0.0, 2.0]
    assert len(plotting.training_curves(METRICS * 2, "loss", "kl", "step").axes) == 3  # the fourth place is empty
    with pytest.raises(ValueError, match="'reward'"):
        plotting.training_curves(METRICS, "reward")
    with pytest.raises(ValueError, match="no row"):
        plotting.training_curves(METRICS)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=200))
def test_smoothing_stays_within_the_data_and_keeps_a_constant(values: list[float]) -> None:
    smooth = training._smooth(np.asarray(values))
    assert len(smooth) == len(values)
    assert smooth.min() >= min(values) - 1e-9 and smooth.max() <= max(values) + 1e-9
    half = len(values) // 40
    window = values[: half + 1]
    assert smooth[0] == pytest.approx(sum(window) / len(window), abs=1e-9)


def test_proxy_and_gold_panels_share_their_axis_and_mark_the_best() -> None:
    above, below = plotting.overoptimisation(PRESSURE).axes
    assert above.get_xlim() == below.get_xlim() and below.get_xscale() == "function"
    (best,) = [text for text in below.texts if text.get_text() == "best"]
    assert best.xy == (2.0, pytest.approx(5.1))


@pytest.mark.parametrize(("count", "shown"), [(63_000, "63k"), (3_400_000, "3.4M"), (1.5e9, "1.5B"), (12, "12")])
def test_readable_count(count: float, shown: str) -> None:
    assert frame.readable_count(count) == shown


def test_lines_and_bars_beside_the_paper_say_their_numbers() -> None:
    figure = plotting.lines([1, 4], {"a": [0.1, 0.3], "b": [0.2, 0.2]}, plotting.Look("n", "share"), True, 2)
    assert "a from 0.1 at 1 to 0.3 at 4" in plotting.alt_text(figure)
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["1", "4"]
    assert plotting.alt_text(plotting.beside_paper(["open_qa"], [12.0], [12.4], SHARES)).endswith("open_qa 12 (paper 12.4)")
    with pytest.raises(ValueError, match="series_0 has 1"):
        plotting.lines([1, 2], {"a": [1.0]}, LOSS)


def backgrounds(text: str) -> list[str]:
    return [m.lower() for m in re.findall(r"background:(#\w+)", text)]


def test_token_strips_escape_and_colour_by_sign() -> None:
    row = plotting.TokenRow("<b>", ["<script>", " a\n", ""], [1.0, -1.0, 0.0])
    text = plotting.token_strips([row], 'adv "x"')
    assert "<script" not in text and "&lt;script&gt;" in text and "adv &quot;x&quot;: 1" in text
    assert "&lt;b&gt;" in text and "<b>" not in text and "&#8629;" in text
    assert backgrounds(text) == ["#e69f00", "#56b4e9", "#ffffff"]
    assert backgrounds(plotting.token_strips([plotting.TokenRow("", ["a"], [math.nan])], "v")) == ["#ffffff"]
    assert text.count("<div") == text.count("</div>") and text.count("<span") == text.count("</span>")


def test_token_strips_share_one_scale_and_show_it() -> None:
    rows = [plotting.TokenRow("a", ["x"], [0.5]), plotting.TokenRow("b", ["x"], [2.0])]
    assert backgrounds(plotting.token_strips(rows, "v"))[1] == "#e69f00"
    assert backgrounds(plotting.token_strips(rows[:1], "v")) == backgrounds(plotting.token_strips(rows, "v"))[1:]
    wide = plotting.token_strips(rows, "KL (nats)", span=4.0)
    assert len(set(backgrounds(wide))) == 2 and "#e69f00" not in backgrounds(wide)
    assert "linear-gradient" in wide and "KL (nats)" in wide and "<span>-4</span>" in wide and "<span>4</span>" in wide


@pytest.mark.parametrize("rows", [[], [plotting.TokenRow("a", [], [])], [plotting.TokenRow("a", ["x"], [1.0, 2.0])]])
def test_token_strips_need_one_value_a_token(rows: list[plotting.TokenRow]) -> None:
    with pytest.raises(ValueError, match="no row|entries"):
        plotting.token_strips(rows, "v")


def test_numbers_of_a_summary() -> None:
    row = {"a": 1, "b": math.nan, "c": "2", "d": True, "e": np.float32(0.5), "f": None}
    assert [number(row, key) for key in "abcdefg"] == [1.0, None, None, None, 0.5, None, None]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: plotting.best_of_n([]), "no rows"),
        (lambda: plotting.best_of_n([{"n": 1, "proxy": 1.0, "gold": None}]), "row 0, field gold is None"),
        (lambda: plotting.bars_with_intervals(["a"], [1.0], [1.0], [], LOSS), "highs has 0"),
        (lambda: plotting.calibration([0.1], [0.1, 0.2]), "observed has 2"),
        (lambda: plotting.histogram([], "x"), "at least one number"),
    ],
)
def test_bad_input_is_one_clear_sentence(call: Callable[[], Figure], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_win_rates_name_the_stage_that_is_missing() -> None:
    with pytest.raises(ValueError, match="no winrate.*run the evaluate stage"):
        plotting.win_rates({})


def test_alt_text_of_a_figure_from_elsewhere() -> None:
    figure = Figure()
    axes = figure.subplots()
    axes.set(title="A title", xlabel="time (s)", ylabel="loss")
    assert plotting.alt_text(figure) == "A title: loss against time (s)"
    assert plotting.alt_text(Figure()) == "figure"


def test_training_loss_is_the_mean_since_the_last_held_out_point() -> None:
    (axes,) = plotting.train_and_valid(LEARNT, "loss", "valid_loss", "passes", "passes", "loss").axes
    fitted, held, ring = (line.get_xydata().tolist() for line in axes.lines)
    assert fitted == [[0.5, 2.0], [1.0, 1.0]] and held == [[0.5, 2.5], [1.0, 2.7]] and ring == [[0.5, 2.5]]
    with pytest.raises(ValueError, match="no row has the field 'valid_loss'"):
        plotting.train_and_valid({"one": [{"loss": 1.0}]}, "loss", "valid_loss", "passes", "x", "y")


def test_each_judge_rings_its_own_checkpoint() -> None:
    figure = plotting.checkpoint_choice(CHECKPOINTS)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [f"favourite: epoch {e}" for e in (2, 4, 2)]


def test_a_pair_costs_ln_2_without_a_margin_and_less_with_one() -> None:
    told = plotting.alt_text(plotting.pair_loss({"equal": 0.0, "right": 2.0}))
    assert "equal: margin 0.00, loss 0.69" in told and "right: margin 2.00, loss 0.13" in told


def test_scatter_tells_the_correlation_and_survives_without_one() -> None:
    rows = [{"a": float(i), "b": -2.0 * i} for i in range(4)]
    assert "correlation -1.00" in plotting.alt_text(plotting.scatter(rows, "a", "b", LOSS))
    assert "no correlation" in plotting.alt_text(plotting.scatter(rows[:1], "a", "b", LOSS))


def test_a_sweep_of_another_setting_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="no rows to draw"):
        plotting.tax_sweep(TAX, "clip")
