"""Output that never fails because of a sign that the terminal, file or pipe cannot show."""

from __future__ import annotations

import codecs
import io
import sys

HANDLER = "utils-plain"
# Signs that reports, plans and progress use -> their plain form.
PLAIN = {
    "±": "+-", "→": "->", "←": "<-", "–": "-", "—": "-", "…": "...", "×": "x", "·": "-", "≥": ">=", "≤": "<=", "≈": "~",
    "“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "\N{NO-BREAK SPACE}": " ", "\N{MINUS SIGN}": "-",
}  # fmt: skip


def plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """Handler of codecs errors: signs of `PLAIN` in their plain form, any other as a question mark."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(PLAIN.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


def show_any_text() -> None:
    """Make stdout and stderr replace what their encoding lacks, and stdin read bytes that are not in its encoding."""
    codecs.register_error(HANDLER, plain)
    for stream, handler in ((sys.stdout, HANDLER), (sys.stderr, HANDLER), (sys.stdin, "replace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=handler)
