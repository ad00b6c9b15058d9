"""The list file: what goes out comes back, and no bytes break the check."""

from collections.abc import Sequence
from io import BytesIO

import msgspec
import openpyxl
from hypothesis import given, settings
from hypothesis import strategies as st

from loader.listfile import (
    DEFAULT_GUESSABLE_SHARE,
    MAX_LISTED,
    Check,
    Code,
    Limits,
    Severity,
    check,
    columns,
    export_csv,
    export_xlsx,
    message,
)
from loader.listfile.plain import read_plain
from loader.listfile.records import records
from loader.listfile.rules import examine, is_email_likely, read
from loader.model import MAX_FIELD_LENGTH, Entry, Pin, parse_pin, parse_text

CHARACTERS = st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters=",")
FIELD = st.text(CHARACTERS, max_size=20).map(str.strip)
REQUIRED = FIELD.filter(bool)
PIN = st.text("0123456789", min_size=2, max_size=10).map(Pin)
ENTRY = st.builds(Entry, PIN, REQUIRED, REQUIRED, REQUIRED, FIELD, FIELD, REQUIRED, REQUIRED, FIELD, st.booleans())
ENTRIES = st.lists(ENTRY, unique_by=lambda entry: entry.pin, min_size=1, max_size=30)
TROUBLE = st.sampled_from(
    [b'"', b'""', b",", b";", b"\t", b"\r", b"\n", b"\r\n", b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b"\xe9", b"\xc3", b"\x81"]
)  # fmt: skip
CELL = st.one_of(
    PIN, FIELD, st.text(max_size=8), st.sampled_from(["", " ", "7", "1E5", "x,y", "\t", "a\nb", "é" * 199])
)


def assert_sound(found: Check) -> None:
    """What holds for every check, whatever the file."""
    assert len(found.errors) == min(found.error_count, MAX_LISTED)
    assert bool(found.entries) is (found.error_count == 0)
    assert all(problem.code.severity is Severity.ERROR for problem in found.errors)
    assert all(problem.code.severity is Severity.WARNING for problem in found.warnings)
    assert [problem.line or 0 for problem in found.errors] == sorted(problem.line or 0 for problem in found.errors)
    for problem in found.errors + found.warnings:
        assert message(problem)
    for entry in found.entries:
        parse_pin(entry.pin)
        for field in (entry.first_name, entry.last_name, entry.company, entry.city, entry.state_country):
            assert parse_text(field) == field
        for field in (entry.phone, entry.email, entry.other):
            assert parse_text(field, required=False) == field


@given(ENTRIES)
def test_what_was_downloaded_can_be_uploaded_again_unchanged(entries: list[Entry]) -> None:
    """The same entries come back, in the same order; those that were inactive are active."""
    found = check(export_csv(entries), filename="list.csv")
    assert found.errors == []
    assert found.entries == [msgspec.structs.replace(entry, active=True) for entry in entries]
    assert (found.encoding, found.delimiter, found.processed) == ("utf-8-sig", ",", len(entries))
    assert export_csv(found.entries) == export_csv(entries)


@settings(deadline=None)
@given(ENTRIES)
def test_the_excel_download_holds_every_field_as_text(entries: list[Entry]) -> None:
    """Whatever is in it, a sheet comes of it that can be opened, and no cell is a number, a formula or a link."""
    sheet = openpyxl.load_workbook(BytesIO(export_xlsx(entries))).worksheets[0]
    for entry, row in zip(entries, sheet.iter_rows(min_row=2), strict=True):
        assert tuple(cell.value or "" for cell in row) == msgspec.structs.astuple(entry)[:9]
        assert {cell.data_type for cell in row if cell.value is not None} == {"s"}


@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_break_the_check(data: bytes, restore_zeros: bool) -> None:
    """There is an answer to whatever is uploaded."""
    assert_sound(check(data, filename="list.csv", restore_zeros=restore_zeros))


@given(ENTRIES, st.lists(st.tuples(st.integers(0, 2_000), TROUBLE), min_size=1, max_size=6), st.booleans())
def test_no_mutation_of_a_list_breaks_the_check(
    entries: list[Entry], faults: list[tuple[int, bytes]], restore_zeros: bool
) -> None:
    """Quotes, separators, line ends and stray bytes anywhere are told, or harmless."""
    data = export_csv(entries)
    for place, fault in faults:
        at = place % (len(data) + 1)
        data = data[:at] + fault + data[at:]
    assert_sound(check(data, filename="list.csv", restore_zeros=restore_zeros, limits=Limits(20, 100_000)))


@given(st.lists(st.lists(CELL, min_size=7, max_size=11), max_size=8), st.sampled_from([",", ";", "\t"]))
def test_no_cells_break_the_check(rows: list[list[str]], delimiter: str) -> None:
    """Below a good header any cells give entries or errors, and each entry obeys every rule."""
    lines = [columns.TITLES, *rows]
    text = "\r\n".join(delimiter.join(line) for line in lines)
    assert_sound(check(text.encode("utf-8", "replace"), filename="list.csv", guessable_share=DEFAULT_GUESSABLE_SHARE))


@given(st.lists(st.one_of(CELL, REQUIRED), min_size=9, max_size=9), PIN, st.integers(9, 12))
def test_the_short_way_takes_nothing_that_the_long_way_refuses(fields: list[str], pin: str, width: int) -> None:
    """The quick reading of a plain record is only quicker."""
    for record in (fields, [pin, *fields[1:]], [pin, *fields[1:], "", " "]):
        entry = read(record, width)
        if entry is not None:
            assert examine(2, record, width).entry == entry


WORD = st.sampled_from(["Mike", "Zoë", "XYZ Ltd", "株", '"Doe"'])
PLAIN_ROW = st.tuples(PIN, WORD, WORD, WORD, WORD, st.sampled_from(["", '""', "a.b@example.com"]), WORD, WORD, WORD)


@given(st.lists(PLAIN_ROW, min_size=1, max_size=3), st.sampled_from([",", ";", "\t"]), st.integers(0, 8), CELL)
def test_lines_taken_together_give_what_each_gives_by_itself(
    rows: list[Sequence[str]], delimiter: str, column: int, cell: str
) -> None:
    """What is vouched for all at once is what the closer look at each gives, and there is nothing to warn of."""
    lines = [delimiter.join(row) for row in [*rows, [*rows[-1][:column], cell, *rows[-1][column + 1 :]]]]
    assert read_plain(lines[:-1], delimiter) is not None
    entries = read_plain(lines, delimiter)
    if entries is not None:
        fields = [record for _, record in records(lines, 0, delimiter) if record is not None]
        assert entries == [examine(2, record).entry for record in fields]
        assert all(not entry.email or is_email_likely(entry.email) for entry in entries)


@settings(deadline=None)
@given(st.integers(1, 450), st.data())
def test_an_unusual_line_is_told_in_its_place(count: int, data: st.DataObject) -> None:
    """Also where lines are so many that they are looked at together: the others give their entries, or their errors."""
    lines = [f"{number:04},Mike,Doe,XYZ,,,Uxbridge,UK," for number in range(count)]
    at = data.draw(st.integers(0, count - 1))
    whole = check("\n".join([columns.HEADER, *lines]).encode(), filename="list.csv")
    for unusual in ('"U,"', '"U', "U\0", ' "UK" ', " UK", "U,K", '"U\nK"', "U" * 201):
        changed = [*lines[:at], lines[at].replace("UK", unusual), *lines[at + 1 :]]
        found = check("\n".join([columns.HEADER, *changed]).encode(), filename="list.csv")
        alone = check("\n".join([columns.HEADER, changed[at]]).encode(), filename="list.csv")
        assert found.processed == count
        assert [problem.line for problem in found.errors] == [at + 2 for _ in alone.errors]
        assert [problem.code for problem in found.errors] == [problem.code for problem in alone.errors]
        if not alone.errors:
            assert found.entries == [*whole.entries[:at], *alone.entries, *whole.entries[at + 1 :]]


@given(st.lists(PIN, min_size=1, max_size=40))
def test_a_pin_is_refused_exactly_where_it_stood_before(pins: list[str]) -> None:
    """Duplicates, against a plain set."""
    lines = [columns.HEADER, *(f"{pin},Mike,Doe,XYZ,,,Uxbridge,UK," for pin in pins)]
    found = check("\n".join(lines).encode(), filename="list.csv")
    oracle = [number for number, pin in enumerate(pins, 2) if pin in pins[: number - 2]]
    assert [problem.line for problem in found.errors if problem.code is Code.PIN_DUPLICATE] == oracle


@given(st.lists(st.text("0123456789", min_size=1, max_size=4), min_size=1, max_size=20))
def test_the_zeros_that_are_offered_are_those_that_are_restored(pins: list[str]) -> None:
    """In the lines that are warned of, and in no other."""
    lines = [columns.HEADER, *(f"{pin},Mike,Doe,XYZ,,,Uxbridge,UK," for pin in pins)]
    data = "\n".join(lines).encode()
    offered = [found for found in check(data, filename="list.csv").warnings if found.code is Code.PIN_ZEROS_LOST]
    for problem in offered:
        assert problem.line is not None
        pins[problem.line - 2] = str(problem.params["restored"])
    restored = check(data, filename="list.csv", restore_zeros=True)
    assert Code.PIN_ZEROS_LOST not in {problem.code for problem in restored.warnings}
    assert (restored.error_count == 0) is (len(set(pins)) == len(pins) and min(map(len, pins)) > 1)
    if restored.error_count == 0:
        assert [entry.pin for entry in restored.entries] == pins


@given(st.integers(MAX_FIELD_LENGTH - 2, MAX_FIELD_LENGTH + 2), st.sampled_from(["a", "é", "株", "\U0001f600"]))
def test_length_is_counted_in_characters(length: int, character: str) -> None:
    """However many bytes a character takes."""
    text = f"{columns.HEADER}\n1234,{character * length},Doe,XYZ,,,Uxbridge,UK,"
    assert check(text.encode(), filename="list.csv").error_count == (length > MAX_FIELD_LENGTH)
