"""What every training stage is told besides its data and its own settings."""

from __future__ import annotations

from dataclasses import dataclass

from utils.config import ComputeConfig, DataConfig


@dataclass(frozen=True)
class StageSetup:
    """How a stage reads text, draws random numbers and computes.

    data: templates and length limits. seed: of all its random streams (`utils.core.runtime.stream_seed`). device: as
    `choose_device` takes it. compute: precision, size of a pass, adapters.
    """

    data: DataConfig
    seed: int
    device: str = "auto"
    compute: ComputeConfig = ComputeConfig()
