"""Entries become files: the list file itself, an Excel sheet, and the header line to begin with."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Final

from loader.errors import InvalidValue
from loader.listfile import columns
from loader.model import Entry

MAX_SHEET_ENTRIES: Final = 1_048_575
"""The rows of an Excel sheet, less the header."""

_LINE_END: Final = "\r\n"
_FORMULA_STARTS: Final = ("=", "+", "-", "@")
_COLUMN_WIDTHS: Final = (16, 18, 18, 24, 20, 30, 18, 18, 24)


def export_csv(entries: Iterable[Entry]) -> bytes:
    """The list file, which can be uploaded again unchanged: UTF-8, commas, CR LF.

    It has a byte order mark, as without one Excel takes UTF-8 for Windows-1252. Whether an entry is active has no
    column there.
    """
    lines = [columns.HEADER]
    lines += [",".join(map(_cell, _fields(entry))) for entry in entries]
    lines.append("")
    return BOM_UTF8 + _LINE_END.join(lines).encode("utf-8")


def template() -> bytes:
    """The header line alone, to be filled in."""
    return (columns.HEADER + _LINE_END).encode("ascii")


def export_xlsx(entries: Iterable[Entry]) -> bytes:
    """An Excel sheet in which every cell is text: no zero is lost and nothing is run as a formula.

    Raises InvalidValue if a sheet cannot hold so many entries.
    """
    import xlsxwriter  # type: ignore[import-untyped]  # noqa: PLC0415 - slow to import, and seldom needed

    # Not constant_memory: it would write the PINs to a temporary file, unencrypted.
    output = BytesIO()
    workbook = xlsxwriter.Workbook(output, {"in_memory": True})
    sheet = workbook.add_worksheet("PIN list")
    title = workbook.add_format({"bold": True, "num_format": "@"})
    text = workbook.add_format({"num_format": "@"})
    formula_like = workbook.add_format({"num_format": "@", "quote_prefix": True})
    for column, (name, width) in enumerate(zip(columns.TITLES, _COLUMN_WIDTHS, strict=True)):
        sheet.set_column(column, column, width, text)
        sheet.write_string(0, column, name, title)
    sheet.freeze_panes(1, 0)
    sheet.ignore_errors({"number_stored_as_text": "A1:I1048576"})
    for row, entry in enumerate(entries, 1):
        if row > MAX_SHEET_ENTRIES:
            raise InvalidValue(f"an Excel sheet holds at most {MAX_SHEET_ENTRIES:,} entries: download the CSV instead")
        for column, value in enumerate(_fields(entry)):
            if value:
                sheet.write_string(row, column, value, formula_like if value.startswith(_FORMULA_STARTS) else text)
    workbook.close()
    return output.getvalue()


def _fields(entry: Entry) -> Iterator[str]:
    yield entry.pin
    yield entry.first_name
    yield entry.last_name
    yield entry.company
    yield entry.phone
    yield entry.email
    yield entry.city
    yield entry.state_country
    yield entry.other


def _cell(value: str) -> str:
    if '"' in value:
        return '"' + value.replace('"', '""') + '"'
    return value
