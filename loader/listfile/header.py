"""The header line: which separator it has, whether it is the one that a list file must have, and what is wrong if not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from loader.listfile import columns
from loader.listfile.problems import Code, Problem, quoted
from loader.listfile.records import DELIMITERS, read_record, without_padding

_LOOK_BELOW: Final = 10


class Header(NamedTuple):
    """What came of the header line.

    ``delimiter`` is None if the line has none. ``lines`` is how many lines it takes, ``width`` the number of its cells,
    those beyond the ninth included. ``goes_on`` tells whether what follows can be judged: it can if there are nine
    columns, and a wrong title is a misspelt one rather than one of another column.
    """

    delimiter: str | None
    lines: int
    width: int
    problems: list[Problem]
    goes_on: bool


def read_header(lines: Sequence[str]) -> Header:
    """Read the header, which the first of the lines should be."""
    delimiter = find_delimiter(lines[0])
    cells, further = read_record(lines, 0, delimiter or DELIMITERS[0])
    if cells is None:
        return Header(delimiter, 1, 0, [Problem(Code.QUOTE_UNBALANCED, 1)], goes_on=False)
    titles = without_padding(cells)
    wrong = [column for column in range(columns.COUNT) if not _is_right(titles, column)]
    if not wrong and len(titles) == columns.COUNT:
        return Header(delimiter, 1 + further, len(cells), [], goes_on=True)
    elsewhere = _elsewhere(lines, titles) if len(wrong) == columns.COUNT else None
    if elsewhere is not None:
        return Header(delimiter, 1 + further, len(cells), [elsewhere], goes_on=False)
    are_misspelt = len(titles) == columns.COUNT and not any(columns.is_any_title(titles[column]) for column in wrong)
    problems = _wrong_titles(titles, wrong if are_misspelt else wrong[:1])
    return Header(delimiter, 1 + further, len(cells), problems, goes_on=are_misspelt)


def find_delimiter(header: str) -> str | None:
    """The separator that makes the most of the nine titles out of the header line; None if it has no separator."""

    def score(delimiter: str) -> tuple[int, int]:
        titles = header.split(delimiter)
        known = sum(columns.is_any_title(title.strip(' \xa0"')) for title in titles)
        return known, len(titles)

    best = max(DELIMITERS, key=score)
    return best if best in header else None


def _elsewhere(lines: Sequence[str], titles: list[str]) -> Problem | None:
    """What is wrong if the titles are right, but in another line or all in one cell."""
    for number, line in enumerate(lines[1:_LOOK_BELOW], 2):
        if _is_header(line):
            return Problem(Code.HEADER_INVALID, 1, None, {"why": "below", "header_line": number})
    if any(columns.holds_all_titles(title) for title in titles):
        return Problem(Code.HEADER_INVALID, 1, None, {"why": "unparted"})
    return None


def _wrong_titles(titles: list[str], wrong: list[int]) -> list[Problem]:
    if not wrong:
        more = next(title for title in titles[columns.COUNT :] if title.strip())
        params: dict[str, str | int] = {"why": "more", "found": quoted(more.strip()), "expected": columns.COUNT}
        return [Problem(Code.HEADER_INVALID, 1, None, params)]
    if len(wrong) == columns.COUNT:
        wrong = wrong[:1]  # this is no header, which need not be said nine times
    return [_wrong_title(titles, column) for column in wrong]


def _wrong_title(titles: list[str], column: int) -> Problem:
    found = titles[column].strip() if column < len(titles) else ""
    title = columns.TITLES[column]
    params: dict[str, str | int] = {"position": column + 1, "expected": title, "found": quoted(found)}
    if not found:
        params["why"] = "missing"
    return Problem(Code.HEADER_INVALID, 1, title, params)


def _is_header(line: str) -> bool:
    cells, _ = read_record([line], 0, find_delimiter(line) or DELIMITERS[0])
    return cells is not None and all(_is_right(cells, column) for column in range(columns.COUNT))


def _is_right(titles: list[str], column: int) -> bool:
    return column < len(titles) and columns.is_title(titles[column], column)
