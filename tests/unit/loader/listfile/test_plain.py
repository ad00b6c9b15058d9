"""Lines that are read many at once."""

import pytest

from loader.listfile.columns import COUNT
from loader.listfile.plain import read_plain
from loader.listfile.records import records
from loader.listfile.rules import examine, is_email_likely
from loader.model import Entry

PLAIN = ["0471", "Zoë", '"Doe"', "XYZ Ltd", "", "zoe@example.com", "株", "UK", '""']
DELIMITERS = [",", ";", "\t"]
UNUSUAL = [
    "", " ", '""', '" "', " Doe", "Doe ", '" Doe"', '"a""b"', '"a', '"a"b', 'a"b', '"a" ', "a,b", '"a,b"', "a;b", '"a;b"', "a\tb",
    '"a\tb"', "a\xa0", "\xa0", "a\x85b", "a\u2028", "a\0", "7", "12a", "٣", "12345678901", "a@b", "a@b.example", "x" * 140,
    "x" * 201, '"a\nb"',
]  # fmt: skip


def singly(lines: list[str], delimiter: str) -> list[Entry | None]:
    """What the closer look at each record gives."""
    found = [record for _, record in records(lines, 0, delimiter)]
    return [None if record is None else examine(2, record).entry for record in found]


@pytest.mark.parametrize("delimiter", DELIMITERS)
def test_plain_lines_are_read_together(delimiter: str) -> None:
    """In quotes or without, whatever separates the cells."""
    lines = [delimiter.join(PLAIN), delimiter.join(["12", *PLAIN[1:]])]
    entries = read_plain(lines, delimiter)
    assert entries is not None
    assert entries == singly(lines, delimiter)
    assert [entry.last_name for entry in entries] == ["Doe", "Doe"]


@pytest.mark.parametrize("delimiter", DELIMITERS)
@pytest.mark.parametrize("column", range(COUNT))
def test_what_is_unusual_is_left_to_the_closer_look(column: int, delimiter: str) -> None:
    """Nothing is vouched for that the closer look reads otherwise, refuses, or has a warning for."""
    for unusual in UNUSUAL:
        lines = [delimiter.join(PLAIN), delimiter.join([*PLAIN[:column], unusual, *PLAIN[column + 1 :]])]
        entries = read_plain(lines, delimiter)
        if entries is not None:
            assert entries == singly(lines, delimiter), unusual
            assert all(not entry.email or is_email_likely(entry.email) for entry in entries), unusual


@pytest.mark.parametrize("cells", [[], [""], PLAIN[:-1], [*PLAIN, ""], [*PLAIN, "", ""]])
def test_a_line_with_other_cells_is_left_to_the_closer_look(cells: list[str]) -> None:
    """Also where another line makes up for it."""
    assert read_plain([",".join(cells)], ",") is None
    assert read_plain([",".join(cells), ",".join([*PLAIN, *PLAIN[len(cells) :]])], ",") is None
