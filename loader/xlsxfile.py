"""Tables for spreadsheets: an Excel sheet in which every cell is text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Final

from loader.errors import InvalidValue

MAX_SHEET_ENTRIES: Final = 1_048_575
"""The rows of an Excel sheet, less the header."""

_FORMULA_STARTS: Final = ("=", "+", "-", "@")


def xlsx_file(name: str, titles: Sequence[str], widths: Sequence[int], rows: Iterable[Iterable[str]]) -> bytes:
    """A sheet of this name: no zero is lost and nothing is run as a formula. Widths are in characters.

    Raises InvalidValue if a sheet cannot hold so many rows.
    """
    import xlsxwriter  # type: ignore[import-untyped]  # noqa: PLC0415 - slow to import, and seldom needed

    # Not constant_memory: it would write what is in the cells to a temporary file, unencrypted.
    output = BytesIO()
    workbook = xlsxwriter.Workbook(output, {"in_memory": True})
    sheet = workbook.add_worksheet(name)
    title = workbook.add_format({"bold": True, "num_format": "@"})
    text = workbook.add_format({"num_format": "@"})
    formula_like = workbook.add_format({"num_format": "@", "quote_prefix": True})
    for column, (told, width) in enumerate(zip(titles, widths, strict=True)):
        sheet.set_column(column, column, width, text)
        sheet.write_string(0, column, told, title)
    sheet.freeze_panes(1, 0)
    sheet.ignore_errors({"number_stored_as_text": "A1:XFD1048576"})
    for row, cells in enumerate(rows, 1):
        if row > MAX_SHEET_ENTRIES:
            raise InvalidValue(f"an Excel sheet holds at most {MAX_SHEET_ENTRIES:,} entries: download the CSV instead")
        for column, value in enumerate(cells):
            if value:
                sheet.write_string(row, column, value, formula_like if value.startswith(_FORMULA_STARTS) else text)
    workbook.close()
    return output.getvalue()
