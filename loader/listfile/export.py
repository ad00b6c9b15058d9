"""Entries become files: the list file itself, an Excel sheet, and the header line to begin with."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from typing import Final

from loader.listfile import columns
from loader.model import Entry
from loader.xlsxfile import xlsx_file

_LINE_END: Final = "\r\n"
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
    return xlsx_file("PIN list", columns.TITLES, _COLUMN_WIDTHS, map(_fields, entries))


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
