"""List files and tables: what is uploaded, and what spreadsheets are given."""

from __future__ import annotations

import csv
import io
from typing import Final

import msgspec

from admin.lists import COLUMNS, read_entry
from loader.csvfile import csv_file
from loader.listfile import MAX_LISTED, NO_LIMITS, WEB_LIMITS, Check, Severity, check, columns, export_csv, message
from loader.model import parse_pin, parse_text
from tests.fuzz.harness import PART, Harness, parts

_LINES: Final = "1234,Mike,Doe,XYZ,+1 555 0100,mike@example.com,Uxbridge,UK,\n0012,Zoë,Ann,XYZ,,,Paris,FR,x\n"
_FILE: Final = columns.HEADER + "\n" + _LINES
_DIALECTS: Final = tuple(
    (delimiter, encoding)
    for delimiter in (",", ";", "\t")
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "cp1252")
)  # fmt: skip
_LISTED_KINDS: Final = 3
"""Kinds of warnings that are told line by line or width by width."""


def assert_sound(found: Check) -> None:
    """What holds for every check, whatever the file."""
    assert len(found.errors) == min(found.error_count, MAX_LISTED)
    assert len(found.warnings) <= _LISTED_KINDS * MAX_LISTED
    assert bool(found.entries) is (found.error_count == 0)
    assert all(problem.code.severity is Severity.ERROR for problem in found.errors)
    assert all(problem.code.severity is Severity.WARNING for problem in found.warnings)
    assert [problem.line or 0 for problem in found.errors] == sorted(problem.line or 0 for problem in found.errors)
    for problem in found.errors + found.warnings:
        told = message(problem)
        assert told
        assert len(told) < 1000
        assert told.isprintable()
    for entry in found.entries:
        parse_pin(entry.pin)
        for field in (entry.first_name, entry.last_name, entry.company, entry.city, entry.state_country):
            assert parse_text(field) == field
        for field in (entry.phone, entry.email, entry.other):
            assert parse_text(field, required=False) == field


def _list_file(data: bytes) -> None:
    """A file as it is, or lines below a good header in one of the dialects. What is good comes back as it was."""
    how, body = data[:1] or b"\0", data[1:]
    number = how[0]
    if number & 0x40:
        delimiter, encoding = _DIALECTS[number % len(_DIALECTS)]
        head = columns.HEADER.replace(",", delimiter) + "\r\n"
        body = (head + body.decode("utf-8", "replace")).encode(encoding, "replace")
    limits = WEB_LIMITS if number & 0x80 else NO_LIMITS
    found = check(body, filename="list.csv", limits=limits, restore_zeros=bool(number & 0x20))
    assert_sound(found)
    if found.entries:
        again = check(export_csv(found.entries), filename="list.csv")
        assert again.entries == [msgspec.structs.replace(entry, active=True) for entry in found.entries]
        assert (again.error_count, again.encoding, again.delimiter) == (0, "utf-8-sig", ",")


def _typed_entry(data: bytes) -> None:
    """What is typed into the form of one entry is an entry that a list file can hold, or is told what is wrong."""
    typed = dict(zip(COLUMNS, (text.decode("utf-8", "replace") for text in parts(data, len(COLUMNS))), strict=True))
    entry, problems = read_entry(typed)
    assert (entry is None) is bool(problems)
    for problem in problems:
        assert message(problem)
    if entry is not None:
        found = check(export_csv([entry]), filename="list.csv")
        assert found.entries == [entry]


def _spreadsheet(data: bytes) -> None:
    """What goes to a spreadsheet comes out of it cell by cell, and none of it is run."""
    rows = [[cell.decode("utf-8", "replace") for cell in row.split(b"\x1f")] for row in data.split(b"\x1e")]
    made = csv_file(rows)
    read = list(csv.reader(io.StringIO(made.decode("utf-8-sig"), newline="")))
    assert len(read) == len(rows)
    for was, row in zip(rows, read, strict=True):
        for before, cell in zip(was, row, strict=False):
            assert not cell.lstrip(' "').startswith(("=", "+", "-", "@", "\t", "\r", "\n")) or cell.startswith(
                (" ", '"')
            )
            assert not cell.startswith(("=", "+", "-", "@"))
            assert [one for one in cell if one != "'"] == [one for one in before if one != "'"]


HARNESSES: Final = {
    "list_file": Harness(
        _list_file,
        [
            b"\x00" + _FILE.encode(),
            b"\x80" + _FILE.encode("utf-16"),
            b"\x20" + _FILE.replace(",", ";").encode("cp1252"),
            *(bytes([0x40 + at]) + _LINES.replace(",", _DIALECTS[at][0]).encode() for at in range(len(_DIALECTS))),
            b'\x40"1234","Mike ""M""","Doe","XYZ",,,"Ux\nbridge",UK,"',
            b"\x001.23E+09,Mike,Doe,XYZ,,,Uxbridge,UK,",
            b"\x00PK\x03\x04",
        ],
        [b'"', b'""', b",", b";", b"\t", b"\r\n", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xc2\xa0", b"1E5", b"####"],
    ),
    "typed_entry": Harness(
        _typed_entry,
        [PART.join(b"1234 Mike Doe XYZ +15550100 mike@example.com Uxbridge UK -".split())],
        [PART, b",", b'"', b"\xe2\x80\xa8", b"\xc2\x85", b"\xef\xbb\xbf"],
        2048,
    ),
    "spreadsheet": Harness(
        _spreadsheet,
        [b"a\x1fb\x1e=1+1\x1f-2", b'"=x\x1f ;@y', b"\xef\xbc\x9d1"],
        [b"=", b"+", b"-", b"@", b";", b"\t", b"\r", b"\n", b'"', b"'", b"\x1f", b"\x1e", b"\xef\xbc\x9d"],
        2048,
    ),
}  # fmt: skip
