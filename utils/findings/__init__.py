"""The paper's findings asked again: studies with predictions written before the run, seeds listed beforehand, and verdicts
computed from intervals over seeds. Runs share every stage in which they do not differ.
"""

from __future__ import annotations

from utils.findings.execute import Executor, worker_count
from utils.findings.fits import Fit, best_of_n_kl, fit_curve
from utils.findings.results import RESULTS, Batch, read_result, report_study, verdict_rows
from utils.findings.shared import Store
from utils.findings.studies import STUDIES
from utils.findings.study import Arm, Claim, Study, chosen
from utils.findings.verdict import VERDICTS, Verdict, judge

__all__ = [
    "RESULTS",
    "STUDIES",
    "VERDICTS",
    "Arm",
    "Batch",
    "Claim",
    "Executor",
    "Fit",
    "Store",
    "Study",
    "Verdict",
    "best_of_n_kl",
    "chosen",
    "fit_curve",
    "judge",
    "read_result",
    "report_study",
    "verdict_rows",
    "worker_count",
]
