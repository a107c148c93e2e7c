"""Pupils' short reports with planted flaws, and teachers' comments on them. Everything here is simulated.

Other rooms reach it by its name (`utils.worlds.registry.world_of`).
"""

from utils.worlds.reports.world import ReportsWorld

__all__ = ["ReportsWorld"]
