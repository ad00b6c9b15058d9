"""Tables for spreadsheets: CSV in which no cell is run as a formula."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Final

_FORMULA: Final = re.compile(r'(^|[;\t\r\n][ "]*)(?=[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])')
"""Where a formula may begin: at the beginning of a cell, and after what parts cells where a comma does not (a semicolon
in much of Europe). Excel in Japanese takes the wide characters for the others.
"""


def csv_file(rows: Iterable[Sequence[str]]) -> bytes:
    """Rows of cells as CSV (RFC 4180): UTF-8 with a byte order mark, as without one Excel takes it for Windows-1252.

    What a spreadsheet would run as a formula gets an apostrophe in front.
    """
    out = io.StringIO()
    csv.writer(out).writerows([harmless(cell) for cell in row] for row in rows)
    return out.getvalue().encode("utf-8-sig")


def harmless(cell: str) -> str:
    """The cell as a spreadsheet shows it: with an apostrophe in front of what it would run."""
    return _FORMULA.sub(r"\1'", cell)
