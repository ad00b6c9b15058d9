"""Line numbers, as a text editor shows them, and quotes that do not pair up."""

import pytest

from loader.listfile import Check, Code, Problem, check, columns

HEADER = columns.HEADER
GOOD = "1234,Mike,Doe,XYZ,,,Uxbridge,UK,"
BAD = "x,Mike,Doe,XYZ,,,Uxbridge,UK,"


def check_text(text: str) -> Check:
    return check(text.encode(), filename="list.csv")


def places(problems: list[Problem]) -> list[tuple[Code, int | None, str | None]]:
    return [(problem.code, problem.line, problem.column) for problem in problems]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param(f"{HEADER}\n{BAD}\n", 2, id="LF"),
        pytest.param(f"{HEADER}\r\n{GOOD}\r\n{BAD}", 3, id="CR LF"),
        pytest.param(f"{HEADER}\r{GOOD}\r{BAD}", 3, id="CR"),
        pytest.param(f"{HEADER}\r\n{GOOD}\r{BAD}\n", 3, id="mixed"),
        pytest.param(f"{HEADER}\r{GOOD}\n{BAD}\r\n", 3, id="mixed, CR first"),
    ],
)
def test_a_line_has_the_number_that_an_editor_shows(text: str, line: int) -> None:
    """CR LF, LF and CR each end one line."""
    assert places(check_text(text).errors) == [(Code.PIN_INVALID, line, "PIN Entry Code")]


@pytest.mark.parametrize("separator", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_nothing_else_ends_a_line(separator: str) -> None:
    """What Python takes for the end of a line, and editors do not, is a control character in a field."""
    found = check_text(f"{HEADER}\n{GOOD}\n56,Mike,Doe,XYZ,,,Uxbridge,U{separator}K,\n{BAD}")
    assert places(found.errors) == [
        (Code.CONTROL_CHARACTER, 3, "State/Country"),
        (Code.PIN_INVALID, 4, "PIN Entry Code"),
    ]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_line_break_in_a_cell_is_told_at_the_first_line_of_the_record(line_end: str) -> None:
    """The lines of the cell are counted, so the numbers after it are right too."""
    lines = [HEADER, '12,Mike,Doe,"XYZ', "second line", '",,,Uxbridge,UK,', '34,Jane,Doe,XYZ,,,Uxbridge,"U', 'K",', BAD]
    found = check_text(line_end.join(lines))
    assert places(found.errors) == [
        (Code.CONTROL_CHARACTER, 2, "Company"),
        (Code.CONTROL_CHARACTER, 5, "State/Country"),
        (Code.PIN_INVALID, 7, "PIN Entry Code"),
    ]
    assert found.errors[0].params == {"why": "line_break"}
    assert found.processed == 3


@pytest.mark.parametrize(
    "faulty",
    [
        pytest.param('56,"Jane,Doe,XYZ,,,Uxbridge,UK,', id="never closed"),
        pytest.param('56,"Jane" X,Doe,XYZ,,,Uxbridge,UK,', id="text after the closing quote"),
        pytest.param('56,"Jane"",Doe,XYZ,,,Uxbridge,UK,', id="a doubled quote does not close"),
        pytest.param('56,Jane,Doe,XYZ,,,Uxbridge,UK,"', id="opened at the end"),
    ],
)
def test_an_open_quote_does_not_swallow_the_rest_of_the_file(faulty: str) -> None:
    """One line is refused, and the lines after it are judged as ever."""
    found = check_text(f'{HEADER}\n{GOOD}\n{faulty}\n{BAD}\n78,"Ann",Doe,XYZ,,,Uxbridge,UK,\n{BAD}')
    assert places(found.errors) == [
        (Code.QUOTE_UNBALANCED, 3, None),
        (Code.PIN_INVALID, 4, "PIN Entry Code"),
        (Code.PIN_INVALID, 6, "PIN Entry Code"),
    ]
    assert found.processed == 5


def test_two_lines_with_an_open_quote_each_are_two_problems() -> None:
    """The quote of the second does not close that of the first, as nine columns do not come of it."""
    faulty = '"Jane,Doe,XYZ,,,Uxbridge,UK,'
    found = check_text("\n".join([HEADER, "56," + faulty, "78," + faulty, GOOD]))
    assert places(found.errors) == [(Code.QUOTE_UNBALANCED, 2, None), (Code.QUOTE_UNBALANCED, 3, None)]


def test_an_open_quote_at_the_end_of_a_large_file_is_found_at_once() -> None:
    """A quote that is never closed is looked for a few lines ahead, not to the end of the file, from each line."""
    found = check_text("\n".join([HEADER, *['"a'] * 20_000]))
    assert found.error_count == 20_000
    assert {problem.code for problem in found.errors} == {Code.QUOTE_UNBALANCED}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["", GOOD], [(Code.COLUMN_COUNT, 2, None)]),
        (["   ", GOOD], [(Code.COLUMN_COUNT, 2, None)]),
        ([",,,,,,,,", GOOD], [(Code.REQUIRED_MISSING, 2, None)]),
        ([",,,,,,,,,,,", GOOD], [(Code.REQUIRED_MISSING, 2, None)]),
        ([GOOD, "", "", ""], []),
        ([GOOD, '""""', ""], [(Code.COLUMN_COUNT, 3, None)]),
    ],
)
def test_an_empty_line_in_the_middle_is_one_problem(
    lines: list[str], expected: list[tuple[Code, int | None, str | None]]
) -> None:
    """At the end it is none."""
    assert places(check_text("\n".join([HEADER, *lines])).errors) == expected
