"""Personal data in text, found by patterns (sec. 3.2: the paper filters PII from the train split).

Found: e-mail addresses, phone numbers, US social security numbers, Korean resident numbers, payment cards (Luhn), IPv4
addresses, URLs that carry a login or a token, API keys and written-out passwords. Patterns cannot find names, street
addresses or birthdays: text without findings has less risk, but it may still hold personal data.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import NamedTuple


class Finding(NamedTuple):
    """`text[start:end]` is personal data of this kind."""

    kind: str
    start: int
    end: int


def luhn(digits: str) -> bool:
    """True if a card number's check digit is right (ISO/IEC 7812-1, Annex B)."""
    total = 0
    for i, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + i % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _is_card(match: str) -> bool:
    digits = re.sub(r"\D", "", match)
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and luhn(digits)


def _is_address(match: str) -> bool:
    try:
        address = ipaddress.IPv4Address(match)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified or address.is_multicast)


def _is_phone(match: str) -> bool:
    return 7 <= len(re.sub(r"[^0-9]", "", match)) <= 15


_CUE = r"(?:\b(?:call|phone|tel|telephone|mobile|cell|fax|whatsapp|text me|reach me)\b\D{0,20})"
_SECRET = r"(?:access_?token|token|api_?key|key|auth|sig|signature|secret|session(?:id)?|password|pwd)"

# kind -> (pattern, further check). A named group is the finding, the rest of the match its context.
# `[0-9]` and not `\d`, which also matches digits of other scripts.
# In the order in which overlapping findings are resolved: the first kind wins.
PATTERNS: dict[str, tuple[re.Pattern[str], Callable[[str], bool] | None]] = {
    "url_token": (
        re.compile(rf"\bhttps?://(?:[^\s/@:]+:[^\s/@]+@\S+|\S{{1,2000}}[?&#;]{_SECRET}=[^\s&]{{4,}}\S*)", re.IGNORECASE),
        None,
    ),
    "api_key": (
        re.compile(
            r"\b(?:sk-[\w-]{16,}|[sr]k_(?:live|test)_\w{16,}|AKIA[0-9A-Z]{16}|AIza[\w-]{35}|gh[pousr]_\w{20,}"
            r"|github_pat_\w{20,}|glpat-[\w-]{20,}|hf_\w{20,}|xox[abprs]-[\w-]{10,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]+)"
        ),
        None,
    ),
    "password": (
        re.compile(r"\b(?:api[ _-]?key|password|passwd|secret)(?:\s*[:=]|\s+is:?)\s*[\"']?(?=\S*[0-9])\S{6,}", re.IGNORECASE),
        None,
    ),
    # A Korean particle may follow without a blank, so the end is "no more Latin letter", not "no more letter".
    "email": (re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}(?![A-Za-z0-9_])"), None),
    "resident_number": (
        re.compile(r"(?<![\w-])[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])-[1-8][0-9]{6}(?![0-9A-Za-z_-])"),
        None,
    ),
    "credit_card": (re.compile(r"(?<![\w.-])[3-6](?:[ -]?[0-9]){12,18}(?![\w-]|\.[0-9])"), _is_card),
    "ssn": (re.compile(r"(?<![\w-])(?!000|666|9)[0-9]{3}([- ])(?!00)[0-9]{2}\1(?!0000)[0-9]{4}(?![\w-])"), None),
    "ipv4": (re.compile(r"(?<![\w.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?!\w|\.[0-9])"), _is_address),
    "phone": (
        re.compile(
            r"(?<![\w.])\+[0-9]{1,3}(?:[ .()-]{0,2}[0-9]){6,13}(?!\w)"
            r"|(?<![\w.-])(?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])[0-9]{3}[ .-][0-9]{4}(?![\w-])"
            r"|(?<![\w.-])555[ .-][0-9]{4}(?![\w-])"
            r"|(?<![\w.-])(?:\+82[ -]?|0)(?:1[016789]|2|[3-6][1-5])[ .-]?[0-9]{3,4}[ .-][0-9]{4}(?![0-9A-Za-z_-])"
            r"|(?<![\w.-])01[016789][0-9]{7,8}(?![0-9A-Za-z_-])"
            rf"|(?i:{_CUE})(?P<number>[0-9](?:[ .()/-]{{0,2}}[0-9]){{6,13}})(?!\w)"
        ),
        _is_phone,
    ),
}


def find_pii(text: str) -> list[Finding]:
    """Findings in order of position, without overlaps."""
    findings: list[Finding] = []
    taken = bytearray(len(text))
    for kind, (pattern, check) in PATTERNS.items():
        for match in pattern.finditer(text):
            start, end = match.span(match.lastgroup or 0)
            if not any(taken[start:end]) and (check is None or check(text[start:end])):
                findings.append(Finding(kind, start, end))
                taken[start:end] = b"\1" * (end - start)
    return sorted(findings, key=lambda finding: finding.start)


def mask_pii(text: str) -> str:
    """Text with every finding replaced by its kind in brackets, such as `[EMAIL]`. Nothing is left to find."""
    while findings := find_pii(text):  # again: masking one finding can reveal another beside it
        for finding in reversed(findings):
            text = f"{text[: finding.start]}[{finding.kind.upper()}]{text[finding.end :]}"
    return text
