"""What a run costs before it is started: operations, GPU hours and memory of every stage.

scripts/plan.py prints it.
"""

from __future__ import annotations

from utils.planning.operations import (
    GPUS,
    PF_DAY,
    UTILISATION,
    Batches,
    Counting,
    Data,
    Pass,
    Shape,
    Texts,
    Work,
    by_stage,
    data_at_limits,
    kwise,
    read,
    sampling,
    shape_of,
    shape_of_model,
    stage_work,
)
from utils.planning.speed import predict, speeds_of

__all__ = [
    "Batches",
    "Counting",
    "Data",
    "GPUS",
    "PF_DAY",
    "Pass",
    "Shape",
    "Texts",
    "UTILISATION",
    "Work",
    "by_stage",
    "data_at_limits",
    "kwise",
    "predict",
    "read",
    "sampling",
    "shape_of",
    "shape_of_model",
    "speeds_of",
    "stage_work",
]
