"""The table of `docs/security.md`: every requirement stands there, and what it names is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "security.md").read_text()
MET: Final = {"yes", "partly", "no", "–"}
COUNTS: Final = {
    "1": (2, 9, 11, 3, 2), "2": (3, 3, 4, 1), "3": (0, 2, 4, 6, 5, 0, 2), "4": (3, 1, 2, 4), "5": (1, 3, 2, 3),
    "6": (3, 12, 4, 4, 5, 3, 0, 4), "7": (3, 4, 2, 5, 2, 2), "8": (2, 3, 1, 1), "9": (3, 4),
    "10": (2, 2, 4, 11, 5, 2, 3), "11": (2, 3, 3, 4, 1, 1), "12": (3, 2, 4), "13": (1, 5, 2, 5), "14": (2, 4, 3),
    "15": (3, 3, 7), "16": (1, 5, 4, 3, 3), "17": (1, 4, 2),
}  # fmt: skip
"""How many requirements of levels 1 and 2 each section of each chapter of ASVS 5.0.0 has: they are the first ones."""
REQUIREMENTS: Final = [
    (int(chapter), section, number)
    for chapter, counts in COUNTS.items()
    for section, count in enumerate(counts, 1)
    for number in range(1, count + 1)
]


def rows() -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| V")
    ]


def meant(told: str) -> list[tuple[int, int, int]]:
    """The requirements that a row is about: single ones, and from one to another."""
    found = []
    for part in told.split(", "):
        first, _, last = part.partition("–")
        begin, end = (tuple(map(int, one.removeprefix("V").split("."))) for one in (first, last or first))
        found += [one for one in REQUIREMENTS if begin <= one <= end]
    return found


@cache
def names_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / "tests" / file).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_requirement_stands_in_the_table_once() -> None:
    assert len(REQUIREMENTS) == 253
    told = [one for row in rows() for one in meant(row[0])]
    assert sorted(told) == REQUIREMENTS


def test_each_says_whether_it_is_met_and_how() -> None:
    """What is met says how; what is not says why."""
    for number, asked, met, how, _ in rows():
        assert asked, number
        assert how, number
        assert met in MET, number


def test_the_tests_that_it_names_are_there() -> None:
    named = [one for row in rows() for one in re.findall(r"`([^`]*)`", row[4])]
    assert len(named) > 100
    for one in named:
        file, _, test = one.partition("::")
        assert test in names_in(file), one


def test_the_modules_that_it_names_are_there() -> None:
    named = {one for row in rows() for one in re.findall(r"`([\w/]+\.(?:py|js|html|txt|toml)|systemd/)`", row[3])}
    assert len(named) > 30
    for one in named:
        assert (ROOT / one).exists(), one
