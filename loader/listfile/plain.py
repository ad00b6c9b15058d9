"""Many lines at once, where nothing is unusual about any of them.

A look at all cells of a column, or at all their characters, costs little more than one at a single cell. What it
cannot vouch for is read line by line by :mod:`loader.listfile.records` and :mod:`loader.listfile.rules`, which
decide what is right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from itertools import repeat
from sys import intern
from typing import Final, cast

from loader.listfile import columns
from loader.listfile.rules import are_emails_likely, are_pins_like
from loader.model import MAX_FIELD_LENGTH, Entry, Pin

_COLUMNS: Final = range(columns.COUNT)


def read_plain(lines: Sequence[str], delimiter: str) -> list[Entry] | None:
    """An entry for each line, as the closer look gives it; None if a line needs that look, wrong or not."""
    if set(map(str.count, lines, repeat(delimiter))) != {columns.COUNT - 1} or max(map(len, lines)) > MAX_FIELD_LENGTH:
        return None
    joined = delimiter.join(["", *lines, ""])
    if '"' in joined:
        if _quoted_as_a_whole(delimiter).fullmatch(joined) is None:
            return None
        joined = joined.replace('"', "")
    # Tabs are not printable; of white space only the space is.
    text = joined.replace("\t", "") if delimiter == "\t" else joined
    if not text.isprintable() or (delimiter != "," and "," in text):
        return None
    if f"{delimiter} " in joined or f" {delimiter}" in joined:
        return None
    cells = joined.split(delimiter)[1:-1]
    pins, first, last, company, phone, email, city, state, other = (cells[at :: columns.COUNT] for at in _COLUMNS)
    if not (all(map(all, (pins, first, last, company, city, state))) and are_pins_like(pins)):
        return None
    if not are_emails_likely(email):
        return None
    # The same places stand in thousands of lines; kept once, they take a third less memory.
    company, city, state = (list(map(intern, column)) for column in (company, city, state))
    return list(map(Entry, cast("list[Pin]", pins), first, last, company, phone, email, city, state, other))


@cache
def _quoted_as_a_whole(delimiter: str) -> re.Pattern[str]:
    """Cells, each after its separator, that stand in quotes or have none, and in quotes hold neither."""
    return re.compile(rf'(?:{delimiter}(?:"[^"{delimiter}]*"|[^"{delimiter}]*))*+')
