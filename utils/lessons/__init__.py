"""What the notebooks need: the shipped run that they start from, what they show, checks of their exercises.

Nothing else imports this room.
"""

from __future__ import annotations

from utils.lessons.notebook import (
    chat_box,
    compared,
    fast,
    fast_settings,
    picture,
    quiet,
    run_folder,
    short_ppo,
    side_by_side,
    start,
    table,
    text_box,
    token_texts,
    token_view,
)
from utils.lessons.shipped_run import FOLDER, ship, shipped

__all__ = [
    "FOLDER",
    "chat_box",
    "compared",
    "fast",
    "fast_settings",
    "picture",
    "quiet",
    "run_folder",
    "ship",
    "shipped",
    "short_ppo",
    "side_by_side",
    "start",
    "table",
    "text_box",
    "token_texts",
    "token_view",
]
