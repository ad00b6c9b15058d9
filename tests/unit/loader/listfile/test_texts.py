"""Every text that a list file can call for, and a file that does."""

from typing import Any

import pytest

from loader.listfile import Code, Limits, check, columns, message, messages

HEADER = columns.HEADER
GOOD = "1234,Mike,Doe,XYZ,,,Uxbridge,UK,"


def row(pin: str = "1234", first: str = "Mike", *, email: str = "") -> str:
    return f"{pin},{first},Doe,XYZ,,{email},Uxbridge,UK,"


FILES: dict[tuple[Code, str], bytes | str] = {
    (Code.FILE_EMPTY, ""): "",
    (Code.FILE_EMPTY, "header_only"): HEADER,
    (Code.FILE_TOO_LARGE, ""): "\n".join([HEADER, "x" * 1_000]),
    (Code.TOO_MANY_ENTRIES, ""): "\n".join([HEADER, *(row(str(pin)) for pin in range(10, 14))]),
    (Code.NOT_CSV, "name"): "",
    (Code.NOT_CSV, "spreadsheet"): b"PK\x03\x04[Content_Types].xml",
    (Code.NOT_CSV, "archive"): b"PK\x03\x04list.csv",
    (Code.NOT_CSV, "pdf"): b"%PDF-1.7",
    (Code.NOT_CSV, "document"): "<html>",
    (Code.NOT_CSV, "binary"): bytes(100),
    (Code.BAD_ENCODING, "utf-8"): HEADER.encode() + "Zoë Müller ".encode() + b"\xff",
    (Code.BAD_ENCODING, "utf-8-sig"): b"\xef\xbb\xbf\xff",
    (Code.BAD_ENCODING, "utf-16"): b"\xff\xfe\0",
    (Code.BAD_ENCODING, "utf-16-unmarked"): HEADER.encode("utf-16-le"),
    (Code.BAD_ENCODING, "utf-32"): HEADER.encode("utf-32"),
    (Code.BAD_ENCODING, "windows-1252"): HEADER.encode() + b"\x81",
    (Code.HEADER_INVALID, ""): HEADER.replace("Phone", "Telephone"),
    (Code.HEADER_INVALID, "missing"): HEADER.replace("Phone", ""),
    (Code.HEADER_INVALID, "below"): "\n" + HEADER,
    (Code.HEADER_INVALID, "unparted"): HEADER.replace(",", "|"),
    (Code.HEADER_INVALID, "more"): HEADER + ",Notes",
    (Code.COLUMN_COUNT, "blank"): f"{HEADER}\n\n{GOOD}",
    (Code.COLUMN_COUNT, "fewer"): f"{HEADER}\n1234,Mike",
    (Code.COLUMN_COUNT, "cut"): "\n".join([HEADER, GOOD[:-1]]),
    (Code.COLUMN_COUNT, "separator"): "\n".join([HEADER, GOOD.replace(",", ";")]),
    (Code.COLUMN_COUNT, "more"): "\n".join([HEADER, GOOD + ",x"]),
    (Code.REQUIRED_MISSING, ""): "\n".join([HEADER, row(first="")]),
    (Code.REQUIRED_MISSING, "line"): f"{HEADER}\n,,,,,,,,\n{GOOD}",
    (Code.PIN_INVALID, "other"): "\n".join([HEADER, row("x")]),
    (Code.PIN_INVALID, "digits"): "\n".join([HEADER, row("１２３４")]),
    (Code.PIN_INVALID, "invisible"): "\n".join([HEADER, row("12\u200b34")]),
    (Code.PIN_INVALID, "long"): "\n".join([HEADER, row("12345678901")]),
    (Code.PIN_INVALID, "marked"): "\n".join([HEADER, row("'1234")]),
    (Code.PIN_INVALID, "separators"): "\n".join([HEADER, row("12 34")]),
    (Code.PIN_INVALID, "short"): "\n".join([HEADER, row("7")]),
    (Code.PIN_INVALID, "zeros_lost"): "\n".join([HEADER, row("7"), row("1234"), row("5678")]),
    (Code.PIN_DAMAGED, "date"): "\n".join([HEADER, row("2026-01-02")]),
    (Code.PIN_DAMAGED, "decimals"): "\n".join([HEADER, row("1000.0")]),
    (Code.PIN_DAMAGED, "formula_error"): "\n".join([HEADER, row("#N/A")]),
    (Code.PIN_DAMAGED, "hashes"): "\n".join([HEADER, row("####")]),
    (Code.PIN_DAMAGED, "scientific"): "\n".join([HEADER, row("1.23E+09")]),
    (Code.PIN_TOO_SHORT, ""): "\n".join([HEADER, row("12345")]),
    (Code.PIN_TOO_SHORT, "zeros_lost"): "\n".join([HEADER, row("12345"), row("123456"), row("234567")]),
    (Code.PIN_DUPLICATE, ""): f"{HEADER}\n{GOOD}\n{GOOD}",
    (Code.COMMA_IN_FIELD, ""): "\n".join([HEADER, row(first='"Mike, Jr"')]),
    (Code.CONTROL_CHARACTER, ""): "\n".join([HEADER, row(first="Mi\x07ke")]),
    (Code.CONTROL_CHARACTER, "line_break"): "\n".join([HEADER, row(first='"Mi\nke"')]),
    (Code.CONTROL_CHARACTER, "tab"): "\n".join([HEADER, row(first="Mi\tke")]),
    (Code.FIELD_TOO_LONG, ""): "\n".join([HEADER, row(first="x" * 201)]),
    (Code.QUOTE_UNBALANCED, ""): "\n".join([HEADER, row(first='"Mike')]),
    (Code.PIN_ZEROS_LOST, ""): "\n".join([HEADER, row("12"), row("1234"), row("5678")]),
    (Code.PIN_GUESSABLE, "better"): "\n".join([HEADER, row("12")]),
    (Code.PIN_GUESSABLE, "most"): "\n".join([HEADER, *(row(str(pin)) for pin in range(10, 70))]),
    (Code.PIN_GUESSABLE, ""): "\n".join([HEADER, row("1234567890")]),
    (Code.EMAIL_UNLIKELY, ""): "\n".join([HEADER, row(email="mike")]),
}
ELSEWHERE = {(Code.PIN_DUPLICATE, "in_list")}
"""What is said of one entry that is typed in, and not of a file."""
CALLS: dict[tuple[Code, str], dict[str, Any]] = {
    (Code.FILE_TOO_LARGE, ""): {"limits": Limits(None, 1_000)},
    (Code.TOO_MANY_ENTRIES, ""): {"limits": Limits(3, None)},
    (Code.PIN_TOO_SHORT, ""): {"minimum_digits": 6},
    (Code.PIN_TOO_SHORT, "zeros_lost"): {"minimum_digits": 6},
    (Code.NOT_CSV, "name"): {"filename": "list.xlsx"},
    (Code.PIN_GUESSABLE, "better"): {"guessable_share": 0.001},
    (Code.PIN_GUESSABLE, "most"): {"guessable_share": 0.001},
    (Code.PIN_GUESSABLE, ""): {"guessable_share": 0.0},
}


def test_there_is_a_file_for_every_text() -> None:
    """And no text that nothing ever says."""
    assert set(FILES) | ELSEWHERE == {(code, why) for code, texts in messages.TEXTS.items() for why in texts}


@pytest.mark.parametrize(("code", "why"), FILES)
def test_a_file_is_told_by_its_text(code: Code, why: str) -> None:
    """One problem of that kind and no other error, in a whole sentence."""
    file = FILES[code, why]
    data = file.encode() if isinstance(file, str) else file
    found = check(data, **{"filename": "list.csv", "guessable_share": 1.0, **CALLS.get((code, why), {})})
    problems = found.errors or found.warnings
    assert [(problem.code, problem.params.get("why", "")) for problem in problems] == [(code, why)]
    assert "{" not in message(problems[0])
