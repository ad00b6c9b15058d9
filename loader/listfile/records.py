"""Lines become records: where fields and records end, and what the quotes mean.

The csv module is not used: to it, one forgotten quote makes the rest of the file a single field. Here a quoted
field ends with its line, or within a few lines if that makes a whole record (a line break in a cell).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from loader.listfile import columns

DELIMITERS: Final = (",", ";", "\t")

Fields: TypeAlias = list[str]

_QUOTED = re.compile(r'[ \xa0]*"([^"]*+(?:""[^"]*+)*+)("?)[ \xa0]*')
_LOOK_AHEAD_LINES: Final = 20
_LOOK_AHEAD_CHARACTERS: Final = 10_000


def records(lines: Sequence[str], start: int, delimiter: str) -> Iterator[tuple[int, Fields | None]]:
    """Each record from the index on, with the number of its first line, counted from 1; None as in read_record."""
    at = start
    while at < len(lines):
        line, further = lines[at], 0
        if '"' not in line:
            yield at + 1, line.split(delimiter)
        else:
            fields, further = read_record(lines, at, delimiter)
            yield at + 1, fields
        at += 1 + further


def read_record(lines: Sequence[str], at: int, delimiter: str) -> tuple[Fields | None, int]:
    """The fields of the record that begins at the index, and how many further lines it takes.

    None stands for a record whose quotes do not pair up; it takes no further line.
    """
    fields: Fields = []
    try:
        open_at = _split_quoted(lines[at], 0, delimiter, fields)
        return (fields, 0) if open_at is None else _read_on(lines, at, delimiter, fields, open_at)
    except _Unpaired:
        return None, 0


def without_padding(fields: Fields) -> Fields:
    """The fields without the empty ones beyond the ninth."""
    end = len(fields)
    while end > columns.COUNT and not fields[end - 1].strip():
        end -= 1
    return fields[:end]


def _read_on(lines: Sequence[str], at: int, delimiter: str, fields: Fields, open_at: int) -> tuple[Fields | None, int]:
    """The record that begins at the index with these fields, and has one that is still open at the end of the line.

    Raises _Unpaired.
    """
    for end in range(at + 1, min(at + 1 + _LOOK_AHEAD_LINES, len(lines))):
        if '"' not in lines[end]:
            continue
        record = "\n".join(lines[at : end + 1])
        if len(record) > _LOOK_AHEAD_CHARACTERS:
            break
        # Only the open field is looked at again: a file may hold thousands of fields before each.
        still_open_at = _split_quoted(record, open_at, delimiter, fields)
        if still_open_at is None:
            return (fields, end - at) if len(without_padding(fields)) == columns.COUNT else (None, 0)
        open_at = still_open_at
    return None, 0


class _Unpaired(Exception):
    """Quotes do not pair up."""


def _split_quoted(text: str, at: int, delimiter: str, fields: Fields) -> int | None:
    """Add the fields from a place on; where the last one begins if it is still open, and is not added for it.

    Raises _Unpaired.
    """
    while True:
        quoted = _QUOTED.match(text, at)
        if quoted is None:
            end = text.find(delimiter, at)
            if end < 0:
                end = len(text)
            fields.append(text[at:end])
        else:
            if not quoted[2]:
                return at
            end = quoted.end()
            if end < len(text) and text[end] != delimiter:
                raise _Unpaired
            fields.append(quoted[1].replace('""', '"'))
        if end == len(text):
            return None
        at = end + 1
