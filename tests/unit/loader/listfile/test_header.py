"""The header line: what is right, and what is wrong with one that is not."""

import pytest

from loader.listfile import Check, Code, Problem, check, columns

HEADER = columns.HEADER
LINE = "1234,Mike,Doe,XYZ,,,Uxbridge,UK,"
BAD = "x,Mike,Doe,XYZ,,,Uxbridge,UK,"


def file(*lines: str) -> bytes:
    return "\r\n".join([*lines, ""]).encode()


def codes(problems: list[Problem]) -> list[Code]:
    return [problem.code for problem in problems]


def whys(found: Check) -> list[tuple[Code, int | None, str | int | None]]:
    return [(problem.code, problem.line, problem.params.get("why")) for problem in found.errors]


@pytest.mark.parametrize(
    ("header", "column", "params"),
    [
        (
            HEADER.replace("Company", "Firm"),
            "Company",
            {"position": 4, "expected": "Company", "found": "Firm"},
        ),
        (
            HEADER.replace("First Name", "FirstName"),
            "First Name",
            {"position": 2, "expected": "First Name", "found": "FirstName"},
        ),
        (
            HEADER.replace("PIN Entry Code", "PIN"),
            "PIN Entry Code",
            {"position": 1, "expected": "PIN Entry Code", "found": "PIN"},
        ),
        (LINE, "PIN Entry Code", {"position": 1, "expected": "PIN Entry Code", "found": "1234"}),
        (HEADER + ",More", None, {"why": "more", "found": "More", "expected": 9}),
        (
            HEADER.replace(",Other", ""),
            "Other",
            {"why": "missing", "position": 9, "expected": "Other", "found": ""},
        ),
        (
            HEADER.replace("Phone", ""),
            "Phone",
            {"why": "missing", "position": 5, "expected": "Phone", "found": ""},
        ),
        ("", "PIN Entry Code", {"why": "missing", "position": 1, "expected": "PIN Entry Code", "found": ""}),
    ],
)
def test_the_first_wrong_title_is_told(header: str, column: str | None, params: dict[str, str | int]) -> None:
    """With what is found, what is expected, and where."""
    found = check(file(header, LINE), filename="list.csv")
    assert found.errors == [Problem(Code.HEADER_INVALID, 1, column, params)]


def test_the_lines_are_judged_too_if_only_a_title_is_misspelt() -> None:
    """Nobody has to mend the header first to hear of the rest."""
    found = check(file(HEADER.replace("Company", "Firm"), BAD), filename="list.csv")
    assert codes(found.errors) == [Code.HEADER_INVALID, Code.PIN_INVALID]


@pytest.mark.parametrize(
    "header",
    [
        HEADER.replace("First Name,Last Name", "Last Name,First Name"),
        HEADER.replace(",Other", ""),
        "hello",
    ],
)
def test_the_lines_are_not_judged_by_columns_that_are_not_there(header: str) -> None:
    """A header with other columns is one problem, not one for each line."""
    found = check(file(header, BAD, BAD), filename="list.csv")
    assert codes(found.errors) == [Code.HEADER_INVALID]
    assert found.processed == 0


def test_a_header_with_an_open_quote_is_told_as_that() -> None:
    """Without a header nothing else can be judged."""
    found = check(file('"' + HEADER, LINE), filename="list.csv")
    assert [(problem.code, problem.line) for problem in found.errors] == [(Code.QUOTE_UNBALANCED, 1)]


@pytest.mark.parametrize(
    ("header", "delimiter"),
    [
        (HEADER, ","),
        (HEADER.replace(",", ";"), ";"),
        (HEADER.replace(",", "\t"), "\t"),
        ('"' + HEADER.replace(",", '";"') + '"', ";"),
        (HEADER.replace(",", ";").replace("Company", "Company, Ltd"), ";"),
        ("PIN", None),
    ],
)
def test_the_separator_is_told_from_the_header_line(header: str, delimiter: str | None) -> None:
    """It is the one that makes the most of the nine titles."""
    assert check(file(header, LINE), filename="list.csv").delimiter == delimiter


@pytest.mark.parametrize(
    "above", [[""], ["", ""], ["sep=,"], ["sep=;"], ["PIN list of 2026"], [LINE], ["PIN list,,,,,,,,"]]
)
@pytest.mark.parametrize(
    "header", [HEADER, HEADER.replace(",", ";"), '"' + HEADER.replace(",", '"\t"') + '"', HEADER + ",,"]
)
def test_a_header_that_is_not_the_first_line_is_told_where_it_is(above: list[str], header: str) -> None:
    """It has to become the first line, and nothing else is said."""
    found = check(file(*above, header, BAD), filename="list.csv")
    assert found.errors == [Problem(Code.HEADER_INVALID, 1, None, {"why": "below", "header_line": len(above) + 1})]


def test_a_misspelt_header_is_told_before_a_second_header() -> None:
    """As in a file that was put together from two."""
    found = check(file(HEADER.replace("Phone", "Telephone"), LINE, HEADER, BAD), filename="list.csv")
    assert [(problem.code, problem.line, problem.column) for problem in found.errors] == [
        (Code.HEADER_INVALID, 1, "Phone"),
        (Code.PIN_INVALID, 3, "PIN Entry Code"),
        (Code.PIN_INVALID, 4, "PIN Entry Code"),
    ]


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(HEADER.replace(",", "|"), id="another separator"),
        pytest.param(HEADER.replace(",", "   "), id="spaces"),
        pytest.param(f'"{HEADER}"', id="the whole line in quotes"),
        pytest.param(f'"{HEADER}",,', id="the whole line in one cell of a sheet"),
    ],
)
def test_titles_that_are_all_in_one_cell_are_told_as_that(header: str) -> None:
    """Rather than as one very long title."""
    assert whys(check(file(header, header, BAD), filename="list.csv")) == [(Code.HEADER_INVALID, 1, "unparted")]


def test_every_misspelt_title_is_told() -> None:
    """As long as some titles are right: otherwise it is no header, and one problem says so."""
    found = check(file(HEADER.replace("First Name", "First\xa0Name").replace("Phone", ""), LINE), filename="list.csv")
    assert [(problem.line, problem.column, problem.params["found"]) for problem in found.errors] == [
        (1, "First Name", "First\ufffdName"),
        (1, "Phone", ""),
    ]
    german = "PIN;Vorname;Nachname;Firma;Telefon;E-Mail;Ort;Land;Sonstiges"
    found = check(file(german, LINE.replace(",", ";")), filename="list.csv")
    assert [problem.column for problem in found.errors] == ["PIN Entry Code"]


def test_the_order_of_the_columns_is_told_at_the_first_that_is_elsewhere() -> None:
    """A misspelt title further on does not make it worth while to judge the lines."""
    header = HEADER.replace("First Name,Last Name", "Last Name,First Name").replace("City", "Town")
    assert codes(check(file(header, BAD), filename="list.csv").errors) == [Code.HEADER_INVALID]


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("\ufeff" + HEADER, id="byte order mark"),
        pytest.param('\ufeff"PIN Entry Code"' + HEADER.removeprefix("PIN Entry Code"), id="and quotes after it"),
        pytest.param('"' + HEADER.replace(",", '","') + '"', id="each in quotes"),
        pytest.param(HEADER + ",,,", id="empty cells after it"),
        pytest.param(HEADER + "  ", id="spaces after it"),
        pytest.param(HEADER.replace(",", "\xa0,\xa0"), id="outer non-breaking spaces"),
        pytest.param(HEADER.lower(), id="small letters"),
    ],
)
def test_a_right_header_is_taken(header: str) -> None:
    """As spreadsheets and people write it."""
    assert check(file(header, LINE), filename="list.csv").error_count == 0


@pytest.mark.parametrize("title", ["\ufeffCompany", "Company\u200b", "Com pany", "'Company", "Company:"])
def test_anything_but_case_and_outer_spaces_counts(title: str) -> None:
    """Also what cannot be seen."""
    found = check(file(HEADER.replace("Company", title), LINE), filename="list.csv")
    assert [(problem.code, problem.column) for problem in found.errors] == [(Code.HEADER_INVALID, "Company")]


def test_a_title_with_a_line_break_moves_the_numbers_of_the_lines() -> None:
    """The header then takes two lines, as an editor shows it."""
    found = check(file(HEADER.replace("First Name", '"First\r\nName"'), BAD), filename="list.csv")
    assert [(problem.code, problem.line) for problem in found.errors] == [
        (Code.HEADER_INVALID, 1),
        (Code.PIN_INVALID, 3),
    ]
