"""Each rule of a line: a record that passes, and one that is refused, for what, and in which column."""

import pytest

from loader.listfile import Check, Code, check, columns
from loader.listfile.rules import examine, is_email_likely, read

GOOD = ("1234", "Mike", "Doe", "XYZ", "+1 555 0100", "mike@example.com", "Uxbridge", "UK", "guest")


def check_record(*fields: str, delimiter: str = ",") -> Check:
    lines = [delimiter.join(columns.TITLES), delimiter.join(fields)]
    return check("\r\n".join(lines).encode(), filename="list.csv")


def with_field(column: int, value: str) -> list[str]:
    return [*GOOD[:column], value, *GOOD[column + 1 :]]


@pytest.mark.parametrize("pin", ["12", "0012", "00", "1234567890", "0000000000"])
def test_a_pin_has_two_to_ten_digits(pin: str) -> None:
    """It is taken as it stands, leading zeros and all."""
    assert [entry.pin for entry in check_record(*with_field(0, pin)).entries] == [pin]


@pytest.mark.parametrize(
    ("pin", "why"),
    [
        ("7", "short"),
        ("12345678901", "long"),
        ("12a4", "other"),
        ("PIN Entry Code", "other"),
        ("-1234", "other"),
        ("+1234", "other"),
        ("=0012", "other"),
        ("=1+1", "other"),
        ("@1234", "other"),
        ("O123", "other"),
        ("12-34-56", "separators"),
        ("12 34", "separators"),
        ("12-34", "separators"),
        ("1.234", "separators"),
        ("1\xa0234", "separators"),
        ("'0012", "marked"),
        ('="0012"', "marked"),
        ("“0012”", "marked"),
        ("‚0012‘", "marked"),
        ("１２３４", "digits"),
        ("1２34", "digits"),
        ("١٢٣٤", "digits"),
        ("12²", "digits"),
        ("\ufeff1234", "invisible"),
        ("12\u200b34", "invisible"),
        ("\u200e1234", "invisible"),
    ],
)
def test_what_is_no_pin_is_told_for_what_it_is(pin: str, why: str) -> None:
    """The hint fits the fault."""
    found = check_record(*with_field(0, pin))
    assert [(problem.code, problem.line, problem.column) for problem in found.errors] == [
        (Code.PIN_INVALID, 2, "PIN Entry Code")
    ]
    assert found.errors[0].params["why"] == why
    assert found.entries == []


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize(
    ("pin", "why"),
    [
        ("1.23E+09", "scientific"),
        ("1,23E+09", "scientific"),
        ("1E5", "scientific"),
        ("1e+05", "scientific"),
        ("1000.0", "decimals"),
        ("1000,0", "decimals"),
        ("1000.00", "decimals"),
        ("##", "hashes"),
        ("########", "hashes"),
        ("#N/A", "formula_error"),
        ("#VALUE!", "formula_error"),
        ("#WERT!", "formula_error"),
        ("#DIV/0!", "formula_error"),
        ("Err:502", "formula_error"),
        ("2026-01-02", "date"),
        ("1/2/2026", "date"),
        ("02.01.2026", "date"),
        ("1/2/26", "date"),
        ("12:34", "date"),
        ("12:34:00", "date"),
    ],
)
def test_what_a_spreadsheet_has_damaged_is_told_for_what_it_is(pin: str, why: str, delimiter: str) -> None:
    """A decimal comma too is told as damage and not as a comma in a field."""
    found = check_record(*with_field(0, f'"{pin}"'), delimiter=delimiter)
    assert [(problem.code, problem.column, problem.params) for problem in found.errors] == [
        (Code.PIN_DAMAGED, "PIN Entry Code", {"why": why, "found": pin})
    ]


@pytest.mark.parametrize("title", columns.TITLES)
def test_a_field_is_required_or_not(title: str) -> None:
    """PIN, names, company, city and state/country are required; phone, email and other are not."""
    found = check_record(*with_field(columns.TITLES.index(title), " \xa0"))
    missing = [(problem.code, problem.line, problem.column) for problem in found.errors]
    is_optional = title in {"Phone", "Email", "Other"}
    assert missing == ([] if is_optional else [(Code.REQUIRED_MISSING, 2, title)])


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("title", columns.TITLES)
def test_no_field_may_hold_a_comma(title: str, delimiter: str) -> None:
    """Quotes do not help, nor does another separator."""
    found = check_record(*with_field(columns.TITLES.index(title), '"12,34"'), delimiter=delimiter)
    assert [(problem.code, problem.column) for problem in found.errors] == [(Code.COMMA_IN_FIELD, title)]


@pytest.mark.parametrize(
    ("character", "params"),
    [
        ("\0", {"code_point": "U+0000"}),
        ("\x07", {"code_point": "U+0007"}),
        ("\x1b", {"code_point": "U+001B"}),
        ("\x7f", {"code_point": "U+007F"}),
        ("\x80", {"code_point": "U+0080"}),
        ("\x9f", {"code_point": "U+009F"}),
        ("\t", {"why": "tab"}),
        ("\x0b", {"why": "line_break"}),
        ("\u2028", {"why": "line_break"}),
    ],
)
@pytest.mark.parametrize("title", columns.TITLES)
def test_no_field_may_hold_a_control_character(title: str, character: str, params: dict[str, str | int]) -> None:
    """Each is told with its column."""
    found = check_record(*with_field(columns.TITLES.index(title), f"1{character}2"))
    assert [(problem.code, problem.column, problem.params) for problem in found.errors] == [
        (Code.CONTROL_CHARACTER, title, params)
    ]


def test_a_control_character_at_the_edge_of_a_field_is_refused_too() -> None:
    """It is not stripped as spaces are; a tab is."""
    assert [problem.code for problem in check_record(*with_field(1, "Mike\x1c")).errors] == [Code.CONTROL_CHARACTER]
    assert check_record(*with_field(1, "\tMike\t")).error_count == 0


@pytest.mark.parametrize("title", columns.TITLES)
def test_a_field_has_at_most_200_characters(title: str) -> None:
    """Characters, not bytes; outer spaces don't count."""
    column = columns.TITLES.index(title)
    found = check_record(*with_field(column, "ä" * 201))
    assert [(problem.code, problem.column) for problem in found.errors if problem.code != Code.PIN_INVALID] == [
        (Code.FIELD_TOO_LONG, title)
    ]
    if title != columns.PIN:
        assert check_record(*with_field(column, "  " + "ä" * 200 + "  ")).error_count == 0


@pytest.mark.parametrize(
    ("fields", "params"),
    [
        (GOOD[:8], {"why": "cut", "count": 8, "expected": 9}),
        (GOOD[1:], {"why": "fewer", "count": 8, "expected": 9}),
        ((*GOOD[:4], *GOOD[5:]), {"why": "fewer", "count": 8, "expected": 9}),
        (GOOD[:1], {"why": "fewer", "count": 1, "expected": 9}),
        ((*GOOD, "x"), {"why": "more", "count": 10, "expected": 9}),
        ((*GOOD, "", "", "x", ""), {"why": "more", "count": 12, "expected": 9}),
        (("1234;Mike;Doe;XYZ;;;Uxbridge;UK;",), {"why": "separator", "count": 1, "expected": 9}),
        (("1234\tMike\tDoe\tXYZ\t\t\tUxbridge\tUK\t",), {"why": "separator", "count": 1, "expected": 9}),
    ],
)
def test_a_line_has_nine_fields(fields: tuple[str, ...], params: dict[str, str | int]) -> None:
    """It is one problem, whatever else would be wrong in the columns that moved."""
    found = check_record(*fields)
    assert [(problem.code, problem.line, problem.column, problem.params) for problem in found.errors] == [
        (Code.COLUMN_COUNT, 2, None, params)
    ]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("1234,Mike,Doe,Acme, Inc.,,,Uxbridge,UK,", id="no city"),
        pytest.param("1234,Mike,Doe,Acme, Inc.,,mike@example.com,Uxbridge,UK,", id="an address for a city"),
        pytest.param("1234,Mike,Doe,Acme, Inc.,555 0100,,Uxbridge,UK,", id="a number for an address"),
        pytest.param("1234,Mike, Jr,Doe,XYZ,,,Uxbridge,UK,", id="further on the left"),
    ],
)
def test_a_stray_comma_is_not_taken_for_padding(text: str) -> None:
    """If the line is longer than the header and its fields are in the wrong columns, the last, empty, is no padding."""
    found = check(f"{columns.HEADER}\n{text}\n".encode(), filename="list.csv")
    assert [(problem.code, problem.params["why"], problem.params["count"]) for problem in found.errors] == [
        (Code.COLUMN_COUNT, "more", 10)
    ]


@pytest.mark.parametrize("header", [columns.HEADER, columns.HEADER + ",", columns.HEADER + ",,,"])
def test_what_is_wrong_in_a_padded_line_is_told_by_its_column(header: str) -> None:
    """A sheet with empty columns is as good as one without."""
    padding = header.removeprefix(columns.HEADER)
    lines = [header, "1234,Mike,Doe,XYZ,,,,UK," + padding, "56,Mike,Doe,XYZ,,,Uxbridge,UK," + padding]
    found = check("\n".join(lines).encode(), filename="list.csv")
    assert [(problem.code, problem.line, problem.column) for problem in found.errors] == [
        (Code.REQUIRED_MISSING, 2, "City")
    ]


def test_all_that_is_wrong_with_a_line_is_told_in_the_order_of_its_columns() -> None:
    """Nobody has to upload five times to find five faults."""
    found = check_record("1E5", "", "Doe", '"X, Y"', "1\t2", "mike", "U" * 201, "", "")
    assert [(problem.code, problem.column) for problem in found.errors] == [
        (Code.PIN_DAMAGED, "PIN Entry Code"),
        (Code.REQUIRED_MISSING, "First Name"),
        (Code.COMMA_IN_FIELD, "Company"),
        (Code.CONTROL_CHARACTER, "Phone"),
        (Code.FIELD_TOO_LONG, "City"),
        (Code.REQUIRED_MISSING, "State/Country"),
    ]


@pytest.mark.parametrize("email", ["mike@example.com", "mike.doe+x@mail.example.co.uk", "zoë@exämple.example"])
def test_a_mail_address_that_looks_like_one_gives_no_warning(email: str) -> None:
    """Nothing is said about it."""
    assert is_email_likely(email)
    assert check_record(*with_field(5, email)).warnings == []


@pytest.mark.parametrize(
    "email",
    ["mike", "mike@", "@example.com", "mike@example", "a@b@example.com", "mike @example.com", "a@x.com;b@x.com"],
)
def test_a_mail_address_that_does_not_look_like_one_is_warned_of(email: str) -> None:
    """The file is taken all the same."""
    found = check_record(*with_field(5, email))
    assert [(problem.code, problem.line, problem.column, problem.params) for problem in found.warnings] == [
        (Code.EMAIL_UNLIKELY, 2, "Email", {"found": email})
    ]
    assert len(found.entries) == 1


@pytest.mark.parametrize(
    "fields",
    [
        list(GOOD),
        [f" {field}\xa0" for field in GOOD],
        with_field(8, "x" * 170),
        with_field(0, "7"),
        [*GOOD, "", " "],
    ],
)
def test_the_short_way_and_the_long_way_agree(fields: list[str]) -> None:
    """Where the short way gives an entry, the long way gives the same."""
    entry = examine(2, fields, 11).entry
    assert entry is not None
    assert read(fields, 11) in {entry, None}
