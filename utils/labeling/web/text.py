"""How the text of models and labelers is put on a page: escaped, with characters that nobody can see made visible.

A right-to-left override, a zero-width space or a NUL changes what a reader sees. They are shown as a small mark with their
code, so that a labeler judges what is there. Characters that scripts and emoji need (joiners, variation selectors) stay.
"""

from __future__ import annotations

import re
import unicodedata

from markupsafe import Markup, escape

# C0 and C1 controls without tab and newline, zero-width space, word joiner, byte order mark, soft hyphen, bidirectional
# embeddings, overrides and isolates, tags, interlinear marks, half surrogates.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")


def shown(text: str, title: str = "Invisible character {code}") -> Markup:
    """`text` as safe HTML. title: of the mark of a character that cannot be seen; {code} is its code point."""
    lines = text.replace("\r\n", "\n")
    parts: list[Markup] = []
    end = 0
    for found in _HIDDEN.finditer(lines):
        parts.append(escape(lines[end : found.start()]))
        code = f"U+{ord(found[0]):04X}"
        name = unicodedata.name(found[0], "")
        hint = title.format(code=f"{code} {name}".strip())
        parts.append(Markup('<span class="hidden-character" title="{}">{}</span>').format(hint, code))
        end = found.end()
    parts.append(escape(lines[end:]))
    return Markup("").join(parts)


def plain(text: str) -> str:
    """Text without characters that HTML, a form or a database cannot hold: NUL and half surrogates become U+FFFD."""
    return _SURROGATE.sub("\ufffd", text).replace("\x00", "\ufffd")


def excerpt(text: str, limit: int = 160) -> str:
    """The beginning of a text in one line."""
    line = " ".join(text[: 4 * limit].split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def bold(text: str) -> Markup:
    """A sentence of the catalogue as HTML: **words** are strong, everything else is escaped."""
    pieces = text.split("**")
    return Markup("").join(Markup("<strong>{}</strong>").format(p) if i % 2 else escape(p) for i, p in enumerate(pieces))
