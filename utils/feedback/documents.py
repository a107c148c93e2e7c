"""The text of a document: PDF (pypdf), docx (python-docx), text or Markdown.

pymupdf is faster, but its licence (AGPL) does not fit this project.
"""

from __future__ import annotations

import io
import logging
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

from utils.core.errors import UserError
from utils.core.io import PathLike, read_bytes, read_text

TEXT_FILES = (".txt", ".md", ".markdown", ".text")
FEWEST_CHARACTERS = 20  # of a whole PDF: a scan has none, or the name of the scanner


def read_document(path: PathLike) -> str:
    """The text of a file, NFKC-normalised (a PDF's ligatures become letters), pages separated by blank lines.

    Raises UserError if it is empty, broken, protected, a scan without text, or of another kind.
    """
    kind = Path(path).suffix.lower()
    if kind == ".pdf":
        text = _pdf(path)
    elif kind == ".docx":
        text = _docx(path)
    elif kind in TEXT_FILES:
        text = read_text(path)
    else:
        raise UserError(f"{path}: unknown kind of document; use .pdf, .docx, {', '.join(TEXT_FILES)}.")
    if not text.strip():
        raise UserError(f"{path}: the document is empty; give one with text.")
    return unicodedata.normalize("NFKC", text)


def _pdf(path: PathLike) -> str:
    try:
        from pypdf import PdfReader
        from pypdf.errors import PyPdfError
    except ImportError:
        raise UserError(f"{path}: reading PDF needs pypdf: run pip install pypdf.") from None
    content = read_bytes(path)
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # what it warns of is either read nevertheless or an error below
    try:
        reader = PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            raise UserError(f"{path}: the PDF is protected by a password; save it without one.")
        pages = [page.extract_text() or "" for page in reader.pages]
    except (PyPdfError, ValueError, KeyError, OSError, RecursionError) as error:
        raise UserError(f"{path}: this is no readable PDF ({error}); export it again.") from None
    if not pages:
        raise UserError(f"{path}: this PDF has no pages; export it again.")
    text = "\n\n".join(pages)
    if len("".join(text.split())) < FEWEST_CHARACTERS:
        raise UserError(f"{path}: the {len(pages)} pages of this PDF have no text (a scan?); run text recognition (OCR) first.")
    return text


def _docx(path: PathLike) -> str:
    try:
        from docx import Document
    except ImportError:
        raise UserError(f"{path}: reading docx needs python-docx: run pip install python-docx.") from None
    content = read_bytes(path)
    try:
        return "\n".join(_block(part) for part in Document(io.BytesIO(content)).iter_inner_content())
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: this is no readable docx file ({error}); save it again.") from None


def _block(part: Any) -> str:
    """The text of a paragraph, or of a table's rows with a tab between cells."""
    if hasattr(part, "rows"):
        return "\n".join("\t".join(cell.text for cell in row.cells) for row in part.rows)
    return str(part.text)
