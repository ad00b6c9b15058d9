"""Entries as files."""

import csv
from io import BytesIO, StringIO

import openpyxl
import pytest

from loader.errors import InvalidValue
from loader.listfile import check, columns, export_csv, export_xlsx, template
from loader.model import Entry, Pin

ENTRIES = [
    Entry(Pin("0012"), "Zoë", "Doe", "=1+1", "+1 555 0100", "-x@example.com", "@home", "UK", "007"),
    Entry(Pin("1234567890"), 'Mike "M"', "Müller; Jr", "株式会社", "", "", "Genève", "CH", "http://example.com"),
    Entry(Pin("99"), "'Ann", "O'Hara", '"XYZ"', "0044 555", "", "Osaka", "{=A1}", "1E5", active=False),
]


def rows() -> list[tuple[str, ...]]:
    return [
        ("0012", "Zoë", "Doe", "=1+1", "+1 555 0100", "-x@example.com", "@home", "UK", "007"),
        ("1234567890", 'Mike "M"', "Müller; Jr", "株式会社", "", "", "Genève", "CH", "http://example.com"),
        ("99", "'Ann", "O'Hara", '"XYZ"', "0044 555", "", "Osaka", "{=A1}", "1E5"),
    ]


def test_an_exported_list_is_a_csv_file_that_excel_opens_right() -> None:
    """UTF-8 with a byte order mark, commas, CR LF; fields go out as they came in."""
    data = export_csv(ENTRIES)
    assert data.startswith(b"\xef\xbb\xbf" + columns.HEADER.encode() + b"\r\n0012,Zo\xc3\xab,Doe,=1+1,")
    assert data.endswith(b"\r\n")
    read_back = list(csv.reader(StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    assert read_back == [list(columns.TITLES), *(list(row) for row in rows())]


def test_an_exported_list_can_be_uploaded_again() -> None:
    """Nothing is lost but the flag `active`, which has no column."""
    found = check(export_csv(ENTRIES), filename="list.csv")
    assert found.errors == []
    assert [(entry.pin, entry.first_name, entry.company, entry.other) for entry in found.entries] == [
        (entry.pin, entry.first_name, entry.company, entry.other) for entry in ENTRIES
    ]
    assert all(entry.active for entry in found.entries)


def test_the_template_is_the_header_line() -> None:
    """To which entries can be added."""
    assert template() == b"PIN Entry Code,First Name,Last Name,Company,Phone,Email,City,State/Country,Other\r\n"
    found = check(template() + b"1234,Mike,Doe,XYZ,,,Uxbridge,UK,\r\n", filename="list.csv")
    assert [entry.pin for entry in found.entries] == ["1234"]


def test_every_cell_of_the_excel_download_is_text() -> None:
    """No leading zero is lost, and what looks like a formula or a link is only text."""
    book = openpyxl.load_workbook(BytesIO(export_xlsx(ENTRIES)))
    sheet = book.worksheets[0]
    assert [[cell.value or "" for cell in row] for row in sheet.rows] == [
        list(columns.TITLES),
        *(list(row) for row in rows()),
    ]
    for row in sheet.iter_rows(min_row=2):
        for cell in row:
            if cell.value is not None:
                assert cell.data_type == "s"
                assert cell.number_format == "@"
                assert cell.hyperlink is None
                assert bool(cell.quotePrefix) is (str(cell.value)[0] in "=+-@")
    assert sheet.freeze_panes == "A2"
    assert sheet.column_dimensions["A"].width > 10


def test_an_empty_list_can_be_exported() -> None:
    """It is the header alone."""
    assert export_csv([]) == b"\xef\xbb\xbf" + template()
    sheet = openpyxl.load_workbook(BytesIO(export_xlsx([]))).worksheets[0]
    assert [cell.value for cell in sheet[1]] == list(columns.TITLES)
    assert sheet.max_row == 1


def test_more_entries_than_a_sheet_has_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than left out without a word."""
    monkeypatch.setattr("loader.xlsxfile.MAX_SHEET_ENTRIES", 2)
    export_xlsx(ENTRIES[:2])
    with pytest.raises(InvalidValue, match="at most 2 entries"):
        export_xlsx(ENTRIES)
