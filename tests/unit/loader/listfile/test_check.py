"""The file as a whole: its size, and how its problems are told."""

import pytest

from loader.listfile import NO_LIMITS, WEB_LIMITS, Check, Code, Limits, Problem, Severity, check, columns

HEADER = columns.HEADER
ERRORS = "file_empty file_too_large too_many_entries not_csv bad_encoding header_invalid column_count required_missing"
ERRORS += " pin_invalid pin_damaged pin_too_short pin_duplicate comma_in_field control_character field_too_long"
ERRORS += " quote_unbalanced"
WARNINGS = "pin_zeros_lost pin_guessable email_unlikely"


def line(pin: str) -> str:
    return f"{pin},Mike,Doe,XYZ,,,Uxbridge,UK,"


def file(*lines: str) -> bytes:
    return "\r\n".join([*lines, ""]).encode()


def codes(problems: list[Problem]) -> list[Code]:
    return [problem.code for problem in problems]


def test_the_codes_are_those_of_the_design() -> None:
    """No code more, no code less; each an error or a warning as the design says."""
    assert [code.value for code in Code if code.severity is Severity.ERROR] == ERRORS.split()
    assert [code.value for code in Code if code.severity is Severity.WARNING] == WARNINGS.split()


@pytest.mark.parametrize("data", [b"", b"\n", b"  \r\n\r\n\t\n", b"\xef\xbb\xbf", b"\xff\xfe", b"\xef\xbb\xbf\r\n"])
def test_a_file_with_nothing_in_it_is_empty(data: bytes) -> None:
    """Blank lines and a byte order mark are nothing."""
    found = check(data, filename="list.csv")
    assert [(problem.code, problem.params) for problem in found.errors] == [(Code.FILE_EMPTY, {})]


@pytest.mark.parametrize("data", [file(HEADER), file(HEADER, "", ",,,,,,,,"), HEADER.encode()])
def test_a_header_without_an_entry_is_an_empty_file(data: bytes) -> None:
    """An empty list never replaces one by mistake."""
    found = check(data, filename="list.csv")
    assert [(problem.code, problem.params) for problem in found.errors] == [(Code.FILE_EMPTY, {"why": "header_only"})]
    assert (found.processed, found.encoding, found.delimiter) == (0, "utf-8", ",")


@pytest.mark.parametrize(
    ("size", "expected"), [(1_000_000, []), (1_000_001, [Code.FILE_TOO_LARGE]), (2_000_000, [Code.FILE_TOO_LARGE])]
)
def test_a_file_on_the_web_has_at_most_a_million_bytes(size: int, expected: list[Code]) -> None:
    """The command line takes any size."""
    data = file(HEADER, line("1234")).ljust(size, b"\n")
    assert codes(check(data, filename="list.csv", limits=WEB_LIMITS).errors) == expected
    assert check(data, filename="list.csv", limits=NO_LIMITS).error_count == 0


@pytest.mark.parametrize(("count", "expected"), [(8_000, []), (8_001, [Code.TOO_MANY_ENTRIES])])
def test_a_list_on_the_web_has_at_most_8000_entries(count: int, expected: list[Code]) -> None:
    """The command line takes any number."""
    data = file(HEADER, *(line(f"{number:08}") for number in range(count)), "", ",,,,,,,,")
    found = check(data, filename="list.csv", limits=WEB_LIMITS)
    assert codes(found.errors) == expected
    assert found.processed == count
    assert len(check(data, filename="list.csv").entries) == count


def test_too_many_entries_is_told_before_what_is_wrong_with_them() -> None:
    """And what is wrong with them is told too."""
    found = check(file(HEADER, line("12"), line("x"), line("34")), filename="list.csv", limits=Limits(2, None))
    assert [(problem.code, problem.line) for problem in found.errors] == [
        (Code.TOO_MANY_ENTRIES, None),
        (Code.PIN_INVALID, 3),
    ]
    assert found.errors[0].params == {"count": 3, "max": 2}


def many_faults(count: int) -> Check:
    lines = [(line("12"), line("x"), line("7"), line("1E5"))[number % 4] for number in range(count)]
    return check(file(HEADER, *lines), filename="list.csv")


def test_all_problems_come_at_once_in_the_order_of_the_file() -> None:
    """Whether they are found line by line or over all lines."""
    found = many_faults(8)
    assert [(problem.code, problem.line) for problem in found.errors] == [
        (Code.PIN_INVALID, 3),
        (Code.PIN_INVALID, 4),
        (Code.PIN_DAMAGED, 5),
        (Code.PIN_DUPLICATE, 6),
        (Code.PIN_INVALID, 7),
        (Code.PIN_INVALID, 8),
        (Code.PIN_DUPLICATE, 8),
        (Code.PIN_DAMAGED, 9),
    ]
    assert found.error_count == 8
    assert found.entries == []


def test_the_hundred_and_first_error_is_counted_and_not_listed() -> None:
    """The first 100 of the file are listed, of whatever kind."""
    found = check(file(HEADER, *([line("x")] * 101)), filename="list.csv")
    assert (len(found.errors), found.error_count) == (100, 101)
    few, many = many_faults(80), many_faults(4_000)
    assert few.error_count < 100
    assert len(many.errors) == 100
    assert many.errors[: few.error_count] == few.errors
    assert [problem.line for problem in many.errors] == sorted(problem.line or 0 for problem in many.errors)
    assert many.error_count == 3_000 + 999 + 999


def test_a_duplicate_is_told_at_the_later_line_and_names_the_first() -> None:
    """Also where one of the two lines has another fault."""
    lines = [line("0012"), line("12"), line("34").replace("Mike", ""), line("0012"), line("34"), line("0012")]
    found = check(file(HEADER, *lines), filename="list.csv")
    duplicates = [problem for problem in found.errors if problem.code is Code.PIN_DUPLICATE]
    assert [(problem.line, problem.column, problem.params) for problem in duplicates] == [
        (5, "PIN Entry Code", {"found": "0012", "first_line": 2}),
        (6, "PIN Entry Code", {"found": "34", "first_line": 4}),
        (7, "PIN Entry Code", {"found": "0012", "first_line": 2}),
    ]


def test_progress_is_told_now_and_then_and_at_the_end() -> None:
    """In lines done, of all lines."""
    told: list[tuple[int, int]] = []
    data = file(HEADER, *(line(f"{number:08}") for number in range(25_000)))
    check(data, filename="list.csv", progress=lambda done, total: told.append((done, total)))
    assert told == [(10_000, 25_001), (20_000, 25_001), (25_001, 25_001)]


def test_a_long_cell_is_quoted_in_part() -> None:
    """A message stays a sentence, whatever is in the file."""
    found = check(file(HEADER, line("x\u200b" * 95), line("y" * 95)), filename="list.csv")
    assert [problem.params["found"] for problem in found.errors] == ["x\ufffd" * 19 + "x…", "y" * 39 + "…"]
