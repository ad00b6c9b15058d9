"""Text becomes records: which separator, where fields and lines end, and what the quotes mean.

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


def find_delimiter(header: str) -> str | None:
    """The separator that makes the most of the nine titles out of the header line; None if it has no separator."""

    def score(delimiter: str) -> tuple[int, int]:
        titles = header.split(delimiter)
        known = sum(columns.is_any_title(title.strip(' \xa0"')) for title in titles)
        return known, len(titles)

    best = max(DELIMITERS, key=score)
    return best if best in header else None


def records(lines: Sequence[str], delimiter: str) -> Iterator[tuple[int, Fields | None]]:
    """Each record with the number of its first line, counted from 1; None for one whose quotes do not pair up.

    Of a record that is padded with empty cells only the nine columns are given.
    """
    numbered = enumerate(lines, 1)
    for number, line in numbered:
        if '"' not in line:
            fields = line.split(delimiter)
            yield number, fields if len(fields) == columns.COUNT else without_padding(fields)
            continue
        quoted, further_lines = _read_quoted(lines, number - 1, delimiter)
        for _ in range(further_lines):
            next(numbered)
        yield number, quoted


def without_padding(fields: Fields) -> Fields:
    """The fields without the empty ones beyond the ninth."""
    end = len(fields)
    while end > columns.COUNT and not fields[end - 1].strip():
        end -= 1
    return fields[:end]


def _read_quoted(lines: Sequence[str], at: int, delimiter: str) -> tuple[Fields | None, int]:
    """The record that begins at the index, and how many further lines it takes; None if its quotes do not pair up."""
    fields, is_open = _split_quoted(lines[at], delimiter)
    if not is_open:
        return fields, 0
    for end in range(at + 1, min(at + 1 + _LOOK_AHEAD_LINES, len(lines))):
        if '"' not in lines[end]:
            continue
        record = "\n".join(lines[at : end + 1])
        if len(record) > _LOOK_AHEAD_CHARACTERS:
            break
        fields, is_open = _split_quoted(record, delimiter)
        if not is_open:
            return (fields, end - at) if fields is not None and len(fields) == columns.COUNT else (None, 0)
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
            return without_padding(fields), False
        at = end + 1
