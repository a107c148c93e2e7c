"""CPU seconds of extraction, matching and the report on simulated feedback (rules), on one thread.

    OMP_NUM_THREADS=1 python benchmarks/feedback_speed.py --texts 1000

Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from utils.core.runtime import machine, versions
from utils.feedback import RulesExtractor, match_feedback, overlap_report, simulate_reviews


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=1000, help="feedback texts: four per document (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    feedback = simulate_reviews(max(args.texts // 4, 2)).feedback
    marks = [time.process_time()]
    points = RulesExtractor().extract(feedback)
    marks.append(time.process_time())
    matches = match_feedback(feedback, points)
    marks.append(time.process_time())
    overlap_report(feedback, points, matches.rows)
    marks.append(time.process_time())
    names = ("extract", "match", "report")
    seconds = {name: round(b - a, 2) for name, a, b in zip(names, marks, marks[1:], strict=False)}
    result = {"benchmark": "feedback_speed", "texts": len(feedback), "points": len(points), "cpu_seconds": seconds}
    print(json.dumps(result | {"total": round(marks[-1] - marks[0], 2), "machine": machine(), "versions": versions()}))


if __name__ == "__main__":
    main()
