"""Lines become records: where fields and records end, and what the quotes mean.

The csv module is not used: to it, one forgotten quote makes the rest of the file a single field. Here a quoted
field ends with its line, or within a few lines if that makes a whole record (a line break in a cell).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final, TypeAlias

from loader.listfile import columns

DELIMITERS: Final = (",", ";", "\t")

Fields: TypeAlias = list[str]

_QUOTED = re.compile(r'[ \xa0]*"([^"]*+(?:""[^"]*+)*+)("?)[ \xa0]*')
_LOOK_AHEAD_LINES: Final = 20
_LOOK_AHEAD_CHARACTERS: Final = 10_000


def records(lines: Sequence[str], start: int, delimiter: str) -> Iterator[tuple[int, Fields | None]]:
    """Each record from the index on, with the number of its first line, counted from 1; None as in read_record."""
    numbered = enumerate(islice(lines, start, None), start + 1)
    for number, line in numbered:
        if '"' not in line:
            yield number, line.split(delimiter)
            continue
        fields, further = read_record(lines, number - 1, delimiter)
        for _ in range(further):
            next(numbered)
        yield number, fields


def read_record(lines: Sequence[str], at: int, delimiter: str) -> tuple[Fields | None, int]:
    """The fields of the record that begins at the index, and how many further lines it takes.

    None stands for a record whose quotes do not pair up; it takes no further line.
    """
    fields, is_open = _split_quoted(lines[at], delimiter)
    return _read_on(lines, at, delimiter) if is_open else (fields, 0)


def without_padding(fields: Fields) -> Fields:
    """The fields without the empty ones beyond the ninth."""
    end = len(fields)
    while end > columns.COUNT and not fields[end - 1].strip():
        end -= 1
    return fields[:end]


def _read_on(lines: Sequence[str], at: int, delimiter: str) -> tuple[Fields | None, int]:
    """The record that begins at the index and has a field that is still open at the end of the line."""
    for end in range(at + 1, min(at + 1 + _LOOK_AHEAD_LINES, len(lines))):
        if '"' not in lines[end]:
            continue
        record = "\n".join(lines[at : end + 1])
        if len(record) > _LOOK_AHEAD_CHARACTERS:
            break
        fields, is_open = _split_quoted(record, delimiter)
        if not is_open:
            is_whole = fields is not None and len(without_padding(fields)) == columns.COUNT
            return (fields, end - at) if is_whole else (None, 0)
    return None, 0


def _split_quoted(text: str, delimiter: str) -> tuple[Fields | None, bool]:
    """The fields, or None if the quotes do not pair up; and whether that is because the last field is still open."""
    fields = []
    at = 0
    while True:
        quoted = _QUOTED.match(text, at)
        if quoted is None:
            end = text.find(delimiter, at)
            if end < 0:
                end = len(text)
            fields.append(text[at:end])
        else:
            if not quoted[2]:
                return None, True
            end = quoted.end()
            if end < len(text) and text[end] != delimiter:
                return None, False
            fields.append(quoted[1].replace('""', '"'))
        if end == len(text):
            return fields, False
        at = end + 1
