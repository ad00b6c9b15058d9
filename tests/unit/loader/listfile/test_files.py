"""Files as spreadsheets and editors write them."""

import codecs
import itertools

import pytest

from loader.listfile import Code, check, columns
from loader.model import Entry, Pin

PEOPLE = [
    Entry(Pin("0012"), "Zoë", "Doe", "XYZ", "", "", "Uxbridge", "UK", ""),
    Entry(Pin("12"), "Mike", "Müller", "Café 5 €", "+1 555 0100", "mike@example.com", "Genève", "CH", "guest"),
]
ROWS = [
    columns.TITLES,
    ("0012", "Zoë", "Doe", "XYZ", "", "", "Uxbridge", "UK", ""),
    ("12", "Mike", "Müller", "Café 5 €", "+1 555 0100", "mike@example.com", "Genève", "CH", "guest"),
]
ENCODINGS = {
    "utf-8": lambda text: text.encode("utf-8"),
    "utf-8-sig": lambda text: text.encode("utf-8-sig"),
    "utf-16 little-endian": lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
    "utf-16 big-endian": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "windows-1252": lambda text: text.encode("cp1252"),
}
LINE_ENDS = ["\r\n", "\n", "\r"]
DELIMITERS = [",", ";", "\t"]
HEADER = columns.HEADER
LINE = "1234,Mike,Doe,XYZ,,,Uxbridge,UK,"


@pytest.mark.parametrize("is_quoted", [False, True])
@pytest.mark.parametrize(
    ("encoding", "delimiter", "line_end"), list(itertools.product(ENCODINGS, DELIMITERS, LINE_ENDS))
)
def test_each_encoding_separator_and_line_end_gives_the_same_entries(
    encoding: str, delimiter: str, line_end: str, is_quoted: bool
) -> None:
    """However a spreadsheet has written the file, the entries are the same, and it is told how it was written."""
    rows = [[f'"{cell}"' if is_quoted else cell for cell in row] for row in ROWS]
    text = line_end.join(delimiter.join(row) for row in rows) + line_end
    found = check(ENCODINGS[encoding](text), filename="list.csv")
    assert found.errors == []
    assert found.entries == PEOPLE
    assert found.processed == 2
    assert found.encoding == encoding.split(" ", maxsplit=1)[0]
    assert found.delimiter == delimiter


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(HEADER + "\n" + LINE, id="no line end at the end"),
        pytest.param(HEADER + "\r\n" + LINE + "\r\n\r\n\r\n", id="blank lines at the end"),
        pytest.param(HEADER + "\n" + LINE + "\n   \n\t\n", id="lines of white space at the end"),
        pytest.param(HEADER + "\n" + LINE + "\n,,,,,,,,\n,,,,,,,,\n", id="lines of empty cells at the end"),
        pytest.param(HEADER + "\n" + LINE + '\n"","","",,,,,,\n', id="quoted empty cells at the end"),
        pytest.param(HEADER + "\n" + LINE + '\n"  ",,"",,,,,,"\xa0"\n', id="quoted cells of white space at the end"),
        pytest.param(HEADER + ",,,\n" + LINE + ",,,\n,,,,,,,,,,,\n", id="padded with empty cells"),
        pytest.param(HEADER + "\n" + LINE + ", ,\t,\xa0\n", id="padded with white space"),
        pytest.param(HEADER.replace("PIN Entry", "Pin Entry") + "\n" + LINE, id="the older header"),
        pytest.param(HEADER.upper().replace(",", " , ") + "\n" + LINE, id="case and outer spaces of titles"),
        pytest.param("\ufeff\ufeff" + HEADER + "\n" + LINE, id="two byte order marks"),
        pytest.param(HEADER + "\n" + LINE.replace(",", " , ").replace("Mike", "\xa0Mike\t"), id="outer white space"),
        pytest.param(HEADER + "\n" + LINE.replace("Mike", ' "Mike" '), id="spaces around quotes"),
    ],
)
def test_what_spreadsheets_do_to_files_is_met(text: str) -> None:
    """Padding, blank ends and outer white space change nothing."""
    found = check(text.encode(), filename="list.csv")
    assert found.errors == []
    assert found.entries == [Entry(Pin("1234"), "Mike", "Doe", "XYZ", "", "", "Uxbridge", "UK", "")]
    assert found.processed == 1


SAVED: dict[str, tuple[bytes, list[tuple[Code, int | None, str | None]], list[str]]] = {
    "LibreOffice: a space far on the right, and rows below": (
        (
            b"PIN Entry Code,First Name,Last Name,Company,Phone,Email,City,State/Country,Other,,,\n"
            b"0012,Zo\xc3\xab,M\xc3\xbcller,Caf\xc3\xa9,+15550100,zoe@example.com,Gen\xc3\xa8ve,CH,guest,,,\n"
            b",,,,,,,,,,,\n,,,,,,,,,,, \n,,,,,,,,,,, \n"
        ),
        [],
        ["0012"],
    ),
    "LibreOffice: quotes, a comma and a line break in cells, a formula that fails": (
        (
            b"PIN Entry Code,First Name,Last Name,Company,Phone,Email,City,State/Country,Other\n"
            b'0012,"Zo\n\xc3\xab",M\xc3\xbcller,Caf\xc3\xa9,+15550100,zoe@example.com,Gen\xc3\xa8ve,CH,#N/A\n'
            b'3456,Zo\xc3\xab,M\xc3\xbcller,"Acme, Inc.",15550100,zoe@example.com,Gen\xc3\xa8ve,CH,guest\n'
            b'7890,Zo\xc3\xab,"Mike ""M""",Caf\xc3\xa9,+15550100,zoe@example.com,Gen\xc3\xa8ve,CH,2\n'
            b"#N/A,Zo\xc3\xab,M\xc3\xbcller,Caf\xc3\xa9,+15550100,zoe@example.com,Gen\xc3\xa8ve,CH,2\n"
        ),
        [
            (Code.CONTROL_CHARACTER, 2, "First Name"),
            (Code.COMMA_IN_FIELD, 4, "Company"),
            (Code.PIN_DAMAGED, 6, "PIN Entry Code"),
        ],
        [],
    ),
    "LibreOffice: Western encoding with semicolons, all text in quotes": (
        (
            b'"PIN Entry Code";"First Name";"Last Name";"Company";"Phone";"Email";"City";"State/Country";"Other"\n'
            b'"0012";"Zo\xeb";"M\xfcller";"Caf\xe9";"+15550100";"zoe@example.com";"Gen\xe8ve";"CH";"guest"\n'
        ),
        [],
        ["0012"],
    ),
    "LibreOffice: an encoding of DOS, which has other letters": (
        (
            b"PIN Entry Code,First Name,Last Name,Company,Phone,Email,City,State/Country,Other\n"
            b"0012,Zo?,M\x81ller,Caf\x82,+15550100,zoe@example.com,Gen?ve,CH,guest\n"
        ),
        [(Code.BAD_ENCODING, 2, None)],
        [],
    ),
    "Excel: Other is empty in many lines": (
        (
            b"PIN Entry Code,First Name,Last Name,Company,Phone,Email,City,State/Country,Other\r\n"
            b"0012,Zo\xeb,M\xfcller,Caf\xe9,+15550100,zoe@example.com,Gen\xe8ve,CH,\r\n"
            b"0034,Zo\xeb,M\xfcller,Caf\xe9,+15550100,zoe@example.com,Gen\xe8ve,CH\r\n"
        ),
        [(Code.COLUMN_COUNT, 3, None)],
        [],
    ),
}


@pytest.mark.parametrize("name", SAVED)
def test_what_a_spreadsheet_has_saved_is_read_or_told(name: str) -> None:
    """Files as they come out of one, byte by byte."""
    data, errors, pins = SAVED[name]
    found = check(data, filename="list.csv")
    assert [(problem.code, problem.line, problem.column) for problem in found.errors] == errors
    assert [entry.pin for entry in found.entries] == pins


def test_quotes_mean_what_they_mean_in_a_spreadsheet() -> None:
    """Doubled quotes stand for one; a quote inside a field without quotes stands for itself."""
    text = HEADER + '\n1234,"Mike ""M"" Doe",6" Doe,"XYZ",,"",O"Hara,"U""K",""""\n'
    found = check(text.encode(), filename="list.csv")
    assert found.errors == []
    assert found.entries == [Entry(Pin("1234"), 'Mike "M" Doe', '6" Doe', "XYZ", "", "", 'O"Hara', 'U"K', '"')]


def test_a_semicolon_is_part_of_a_field_where_commas_part_the_fields() -> None:
    """Only the separator of the header line parts fields."""
    found = check((HEADER + "\n" + LINE + "a;b\n").encode(), filename="list.csv")
    assert [entry.other for entry in found.entries] == ["a;b"]


@pytest.mark.parametrize(
    ("data", "why", "line"),
    [
        pytest.param(codecs.BOM_UTF32_LE + HEADER.encode("utf-32-le"), "utf-32", None, id="UTF-32 little-endian"),
        pytest.param(codecs.BOM_UTF32_BE + HEADER.encode("utf-32-be"), "utf-32", None, id="UTF-32 big-endian"),
        pytest.param((HEADER + "\n" + LINE).encode("utf-16-le"), "utf-16-unmarked", None, id="bare UTF-16"),
        pytest.param((HEADER + "\n" + LINE).encode("utf-16-be"), "utf-16-unmarked", None, id="bare UTF-16, other end"),
        pytest.param((HEADER + "\nZoë Müller\r\nZoë ").encode() + b"\xe9,", "utf-8", 3, id="UTF-8 with a broken byte"),
        pytest.param((HEADER + "\rZoë\r\nZoë").encode()[:-1], "utf-8", 3, id="UTF-8 cut off"),
        pytest.param(codecs.BOM_UTF8 + b"PIN\n\n\xe9", "utf-8-sig", 3, id="bad byte after the mark of UTF-8"),
        pytest.param((HEADER + "\n").encode("utf-16") + b"\0", "utf-16", 2, id="UTF-16 cut off"),
        pytest.param(codecs.BOM_UTF16_LE + b"P\0\n\0\0\xd8\n\0", "utf-16", 2, id="half of a UTF-16 pair"),
        pytest.param((HEADER + "\nZo").encode() + b"\xeb,\r\n\x81", "windows-1252", 3, id="undefined in Windows-1252"),
    ],
)
def test_bytes_that_cannot_be_read_for_certain_are_refused(data: bytes, why: str, line: int | None) -> None:
    """A wrong guess would put wrong names into the list, so the line is told instead."""
    found = check(data, filename="list.csv")
    assert [(problem.code, problem.line, problem.params) for problem in found.errors] == [
        (Code.BAD_ENCODING, line, {"why": why})
    ]
    assert found.encoding is None


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (b"CAF\xc9\xae,Andr\xe9 \xc9t\xe9", ["CAFÉ®", "André Été"]),
        ("Zoë,Anaïs ".encode() + b"Andr\xe9", None),
    ],
)
def test_windows_1252_and_broken_utf8_are_told_apart(names: bytes, expected: list[str] | None) -> None:
    """A file is UTF-8 with a fault if it has more whole sequences than stray bytes, and Windows-1252 otherwise."""
    found = check(HEADER.encode() + b"\n1234," + names + b",XYZ,,,Uxbridge,UK,", filename="list.csv")
    if expected is None:
        assert [(problem.code, problem.line) for problem in found.errors] == [(Code.BAD_ENCODING, 2)]
    else:
        assert [[entry.first_name, entry.last_name] for entry in found.entries] == [expected]


@pytest.mark.parametrize(
    ("codec", "names"),
    [
        ("cp1251", "Иван,Петров,Фирма,,,Москва,RU,"),
        ("iso-8859-7", "Γιώργος,Παπαδόπουλος,Εταιρεία,,,Αθήνα,GR,"),
        ("shift-jis", "太郎,山田,株式会社,,,東京,JP,"),
        ("gbk", "伟,王,公司,,,北京,CN,"),
        ("euc-kr", "민준,김,회사,,,서울,KR,"),
    ],
)
def test_letters_of_another_script_are_not_taken_for_windows_1252(codec: str, names: str) -> None:
    """Every byte would be some letter of Windows-1252, and the list would be full of nonsense."""
    data = "\r\n".join([HEADER, "12" + LINE, "1234," + names]).encode(codec)
    found = check(data, filename="list.csv")
    assert [(problem.code, problem.line, problem.params) for problem in found.errors] == [
        (Code.BAD_ENCODING, 3, {"why": "windows-1252"})
    ]


@pytest.mark.parametrize(
    "names", ["Zoë,Müller", "ÄÖÜß,ÄÖÜß", "Friðþjófur,Þórðarson", "Créée,Conceição", "“Zoë”,——————", "€,½²³"]
)
def test_western_names_are_taken_for_windows_1252(names: str) -> None:
    """Also with some letters and signs in a row."""
    data = (HEADER + "\n1234," + names + ",XYZ,,,Uxbridge,UK,\n").encode("cp1252")
    assert [f"{entry.first_name},{entry.last_name}" for entry in check(data, filename="list.csv").entries] == [names]


@pytest.mark.parametrize("code", [0x81, 0x8D, 0x8F, 0x90, 0x9D])
def test_the_five_bytes_that_windows_1252_lacks_are_refused(code: int) -> None:
    """They show that the file is in another encoding."""
    data = (HEADER + "\n" + LINE).encode() + b"\xe9" + bytes([code])
    assert [problem.code for problem in check(data, filename="list.csv").errors] == [Code.BAD_ENCODING]


@pytest.mark.parametrize(
    ("filename", "data", "why"),
    [
        ("list.xlsx", (HEADER + "\n" + LINE).encode(), "name"),
        ("list", (HEADER + "\n" + LINE).encode(), "name"),
        ("list.csv.txt", b"", "name"),
        ("list.csv", b"PK\x03\x04\x14\0\6\0", "spreadsheet"),
        ("list.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "spreadsheet"),
        ("list.csv", b"PK\x03\x04\x14\0\6\0" + bytes(18) + b"people/List.CSV" + bytes(500), "archive"),
        ("list.csv", b"%PDF-1.7\n", "pdf"),
        ("list.csv", b"\x89PNG\r\n\x1a\n", "binary"),
        ("list.csv", b"\xff\xd8\xff\xe0", "binary"),
        ("list.csv", bytes(range(256)) * 8, "binary"),
        ("list.csv", bytes(100), "binary"),
        ("list.csv", (HEADER + "\n" + LINE).encode() + bytes(4096), "binary"),
        ("list.csv", b"<!DOCTYPE html>\n<html><head><title>Sign in</title>", "document"),
        ("list.csv", b"\xef\xbb\xbf\r\n  <table><tr><td>PIN Entry Code</td></tr></table>", "document"),
        ("list.csv", b'<?xml version="1.0"?>\n<?mso-application progid="Excel.Sheet"?>', "document"),
        ("list.csv", codecs.BOM_UTF16_LE + "<html>".encode("utf-16-le"), "document"),
        ("list.csv", b"{\\rtf1\\ansi PIN Entry Code}", "document"),
    ],
)
def test_what_is_no_csv_file_is_refused_for_what_it_is(filename: str, data: bytes, why: str) -> None:
    """A wrong name, or a spreadsheet, PDF or other binary under a right one."""
    found = check(data, filename=filename)
    assert [(problem.code, problem.params) for problem in found.errors] == [(Code.NOT_CSV, {"why": why})]
    assert found.error_count == 1


@pytest.mark.parametrize("filename", ["list.csv", "LIST.CSV", "my list (2).Csv", ".csv"])
def test_the_case_of_the_file_name_does_not_count(filename: str) -> None:
    """`LIST.CSV` is as good as `list.csv`."""
    assert check((HEADER + "\n" + LINE).encode(), filename=filename).error_count == 0
