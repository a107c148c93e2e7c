"""The one error type for mistakes that a user can correct."""

from __future__ import annotations


class UserError(Exception):
    """Bad input or a bad environment (file, field, model directory, full disk).

    The message is one sentence that names the file, the row, the field and the remedy. Command lines print it
    without a traceback and exit with code 2.
    """
