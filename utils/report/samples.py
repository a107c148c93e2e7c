"""The section that shows every policy's answers to the same prompts, before and after training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from utils.evaluation.summary import number
from utils.report.blocks import Answer, Block, PromptCard, Section, Tab, Tabs, details, present
from utils.report.figures.style import ORDER, POLICIES, in_order, policy_colour, policy_label

Row = Mapping[str, Any]
OPEN_CARDS = 5  # prompts shown; the others are folded away
TABS = {"hot": "temperature 1", "greedy": "greedy", "extremes": "PPO's largest gains and losses"}


def samples_section(rows: Sequence[Row], maximum: float) -> Section:
    """rows: of evaluate/samples.jsonl. maximum: points of the whole rubric."""
    rows = [{**row, "share": None if (gold := number(row, "gold")) is None else gold / maximum} for row in rows]
    hot, greedy = (_by_prompt([r for r in rows if is_greedy(r) == flag]) for flag in (False, True))
    chosen = _first_of_each_use_case(hot or greedy)
    views = {"hot": _cards(hot, chosen), "greedy": _cards(greedy, chosen), "extremes": _extremes(hot)}
    tabs = [Tab(key, TABS[key], blocks) for key, blocks in views.items() if blocks]
    judged = any(row["share"] is not None for row in rows)
    lead = "The same test prompts, answered by every policy: the first prompt of each use case, not picked by hand. " + (
        f"The number and bar are the gold score (0 to {maximum:g})." if judged else "The number is the reward model's score."
    )
    return Section("samples", "Before and after", lead, Tabs(tabs) if tabs else None)


def is_greedy(row: Row) -> bool:
    """Whether a row of samples.jsonl is a greedy answer."""
    return row.get("temperature") in (None, "greedy") or number(row, "temperature") == 0.0


def _answer(row: Row) -> Answer:
    """One policy's answer: gold score with a meter, or the reward where there is no gold score."""
    policy, gold, reward = str(row.get("policy", "")), number(row, "gold"), number(row, "reward")
    score = f"{gold:.1f}" if gold is not None else f"{reward:+.2f}" if reward is not None else ""
    share = number(row, "share")
    meter = None if share is None else min(1.0, max(0.0, share))
    text, finished = str(row.get("completion", "")), bool(row.get("finished", True))
    return Answer(policy_colour(policy), policy_label(policy), score, meter, text, finished)


def _prompt_card(rows: Sequence[Row], remark: str = "") -> PromptCard:
    """A prompt with all policies' answers side by side; unknown policies after the known ones."""
    by_policy = {str(row.get("policy", "")): row for row in rows}
    names = [p for p in in_order(by_policy) if p in POLICIES or p not in ORDER]
    use_case = str(rows[0].get("use_case", "")).replace("_", " ")
    return PromptCard(use_case, remark, str(rows[0].get("prompt", "")), [_answer(by_policy[name]) for name in names])


def _by_prompt(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by prompt, of prompts that several policies answered."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(str(row.get("prompt_id", row.get("prompt", ""))), []).append(row)
    return {key: group for key, group in groups.items() if len({str(r.get("policy")) for r in group}) > 1}


def _one_each(group: Sequence[Row]) -> list[Row]:
    """The first sample of every policy."""
    first: dict[str, Row] = {}
    for row in group:
        first.setdefault(str(row.get("policy", "")), row)
    return list(first.values())


def _first_of_each_use_case(groups: Mapping[str, list[Row]]) -> list[str]:
    """Prompt ids: the first of every use case; with fewer than four use cases, the first six prompts."""
    chosen: dict[str, str] = {}
    for key, group in groups.items():
        chosen.setdefault(str(group[0].get("use_case", "")), key)
    return list(chosen.values()) if len(chosen) > 3 else list(groups)[:6]


def _cards(groups: Mapping[str, list[Row]], keys: Sequence[str]) -> list[Block]:
    """Cards of the prompts `keys`; those after the first few are folded away."""
    cards = [_prompt_card(_one_each(groups[key])) for key in keys if key in groups]
    rest = cards[OPEN_CARDS:]
    return present([*cards[:OPEN_CARDS], details(f"{len(rest)} more", *rest)])


def _gains(groups: Mapping[str, list[Row]], a: str = "ppo", b: str = "sft") -> list[tuple[float, str]]:
    """(gold of a - gold of b, prompt id), smallest first, of prompts where both have a gold score."""
    found = []
    for key, group in groups.items():
        gold = {str(row.get("policy")): number(row, "gold") for row in _one_each(group)}
        first, second = gold.get(a), gold.get(b)
        if first is not None and second is not None:
            found.append((first - second, key))
    return sorted(found, key=lambda pair: pair[0])


def _extremes(groups: Mapping[str, list[Row]], count: int = 3) -> list[Block]:
    """Where PPO gained and lost most gold points against SFT."""
    gains = _gains(groups)
    worst = [pair for pair in gains[:count] if pair[0] < 0]
    best = [pair for pair in reversed(gains[-count:]) if pair[0] > 0]
    return [_prompt_card(_one_each(groups[key]), f"{gain:+.1f} against SFT") for gain, key in [*best, *worst]]
