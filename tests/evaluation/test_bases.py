"""utils.evaluation.bases: the metrics of base models."""

from __future__ import annotations

import pytest

from utils.core.runtime import ROOT
from utils.evaluation import bases
from utils.experiments.sweeps import TAX_METRICS
from utils.worlds.registry import known_world

MINI = ROOT / "data" / "models" / "mini"


def test_the_tax_is_a_part_of_the_metrics_and_runs_no_other_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    world = known_world("tiny")
    full = bases.measure_base(world, MINI)
    measured = []
    plain = bases.span_loss

    def counted(*arguments: object) -> bases.SpanLoss:
        measured.append(arguments)
        return plain(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(bases, "span_loss", counted)
    tax = bases.measure_tax(world, MINI, TAX_METRICS)
    assert tax == {name: full[name] for name in TAX_METRICS} and len(tax) == 3
    assert len(measured) == 1 < len(world.probes(2, 0))
    with pytest.raises(KeyError):
        bases.measure_tax(world, MINI, ["no such metric"])
