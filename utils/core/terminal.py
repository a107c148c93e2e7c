"""Output that never fails because of a character that the terminal, file or pipe cannot show."""

from __future__ import annotations

import codecs
import io
import sys

HANDLER = "utils-plain"
# Characters in reports, plans and progress lines -> their ASCII form.
PLAIN = {
    "±": "+-", "→": "->", "←": "<-", "–": "-", "—": "-", "…": "...", "×": "x", "·": "-", "≥": ">=", "≤": "<=", "≈": "~",
    "“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "\N{NO-BREAK SPACE}": " ", "\N{MINUS SIGN}": "-",
}  # fmt: skip


def plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """Handler of codecs errors: characters of `PLAIN` in their ASCII form, any other as a question mark."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(PLAIN.get(character, "?") for character in error.object[error.start : error.end]), error.end


def show_any_text() -> None:
    """Make stdout and stderr replace characters that their encoding lacks, and stdin replace invalid bytes."""
    codecs.register_error(HANDLER, plain)
    for stream, handler in ((sys.stdout, HANDLER), (sys.stderr, HANDLER), (sys.stdin, "replace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=handler)
