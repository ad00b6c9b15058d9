"""The one function that reads a list file: bytes in, entries or all that is wrong out."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

import msgspec

from loader.listfile import columns, pins
from loader.listfile.decode import binary_kind, decode, is_document, split_lines
from loader.listfile.header import Header, read_header
from loader.listfile.plain import read_plain
from loader.listfile.problems import MAX_LISTED, Code, Problem, quoted
from loader.listfile.records import DELIMITERS, Fields, records
from loader.listfile.rules import examine, is_email_likely, read
from loader.model import MIN_PIN_LENGTH, Entry, Pin

Progress = Callable[[int, int], None]
"""Is told how many lines are done, of how many."""

_PROGRESS_STEP: Final = 10_000
_AT_ONCE: Final = 200
"""Lines that are looked at together. If one of them is unusual, each of them is looked at by itself."""


class Limits(msgspec.Struct, frozen=True):
    """How much a list file may hold; None is no limit."""

    max_entries: int | None
    max_bytes: int | None


WEB_LIMITS: Final = Limits(max_entries=8_000, max_bytes=1_000_000)
NO_LIMITS: Final = Limits(max_entries=None, max_bytes=None)


class Check(msgspec.Struct, frozen=True):
    """What came of a list file.

    ``processed`` lines after the header were looked at. ``entries`` are in the order of the file, and none if there is
    an error. ``errors`` are the first 100 in the order of the file, of ``error_count``. Of each kind of warning that
    concerns single lines the first 100 are listed. ``encoding`` is `utf-8`, `utf-8-sig`, `utf-16` or `windows-1252`,
    ``delimiter`` is one of `,` `;` and the tab; each is None if the check did not come that far.
    """

    processed: int = 0
    entries: list[Entry] = msgspec.field(default_factory=list)
    errors: list[Problem] = msgspec.field(default_factory=list)
    error_count: int = 0
    warnings: list[Problem] = msgspec.field(default_factory=list)
    encoding: str | None = None
    delimiter: str | None = None


def check(
    data: bytes,
    *,
    filename: str,
    limits: Limits = NO_LIMITS,
    guessable_share: float = pins.DEFAULT_GUESSABLE_SHARE,
    restore_zeros: bool = False,
    minimum_digits: int = MIN_PIN_LENGTH,
    progress: Progress | None = None,
) -> Check:
    """Read a list file. Never raises, whatever the bytes.

    ``restore_zeros`` pads the PINs that lost their leading zeros, where most PINs have one width. ``guessable_share``
    is the chance, 0 to 1, above which a random guess is warned of. A PIN of less than ``minimum_digits`` is an error.
    """
    refusal = _refusal(data, filename, limits)
    if refusal is not None:
        return _refused(refusal)
    decoded = _decode_lines(data)
    if isinstance(decoded, Problem):
        return _refused(decoded)
    lines, encoding = decoded
    header = read_header(lines)
    delimiter = header.delimiter
    _drop_blank_end(lines, delimiter or DELIMITERS[0])
    if not lines:
        return _refused(Problem(Code.FILE_EMPTY), encoding, delimiter)
    if not header.goes_on:
        return Check(errors=header.problems, error_count=len(header.problems), encoding=encoding, delimiter=delimiter)
    if len(lines) <= header.lines and not header.problems:
        return _refused(Problem(Code.FILE_EMPTY, None, None, {"why": "header_only"}), encoding, delimiter)
    body = _Body()
    body.add_errors(header.problems)
    body.read(lines, header, progress)

    judged = pins.judge(
        body.pins,
        body.pin_lines,
        guessable_share=guessable_share,
        restore_zeros=restore_zeros,
        minimum_digits=minimum_digits,
    )
    errors = [body.errors, judged.errors]
    error_count = body.error_count + judged.error_count
    if limits.max_entries is not None and body.processed > limits.max_entries:
        params: dict[str, str | int] = {"count": body.processed, "max": limits.max_entries}
        errors.insert(0, [Problem(Code.TOO_MANY_ENTRIES, None, None, params)])
        error_count += 1
    return Check(
        processed=body.processed,
        entries=[] if error_count else _with_pins(body.entries, judged.pins),
        errors=list(islice(heapq.merge(*errors, key=_place), MAX_LISTED)),
        error_count=error_count,
        warnings=sorted([*judged.warnings, *body.warnings], key=_place),
        encoding=encoding,
        delimiter=delimiter,
    )


class _Body:
    """What the lines after the header give. While there is no error, the entries and the PINs go side by side."""

    def __init__(self) -> None:
        self.processed = 0
        self.entries: list[Entry] = []
        self.pins: list[str] = []
        self.pin_lines = array("Q")
        self.errors: list[Problem] = []
        self.error_count = 0
        self.warnings: list[Problem] = []

    def add_errors(self, problems: Sequence[Problem]) -> None:
        self.error_count += len(problems)
        self.errors += problems[: MAX_LISTED - len(self.errors)]

    def read(self, lines: Sequence[str], header: Header, progress: Progress | None) -> None:
        """Take in every record after the header."""
        delimiter = header.delimiter or DELIMITERS[0]
        at, told = header.lines, 0
        while at < len(lines):
            entries = read_plain(lines[at : at + _AT_ONCE], delimiter)
            if entries is None:
                at = self._read_singly(lines, at, delimiter, header.width)
            else:
                self._take_plain(at, entries)
                at += len(entries)
            if progress is not None and at >= told + _PROGRESS_STEP:
                told = at - at % _PROGRESS_STEP
                progress(told, len(lines))
        if progress is not None:
            progress(len(lines), len(lines))

    def _take_plain(self, at: int, entries: list[Entry]) -> None:
        self.processed += len(entries)
        self.entries += entries
        self.pins += [entry.pin for entry in entries]
        self.pin_lines.extend(range(at + 1, at + 1 + len(entries)))

    def _read_singly(self, lines: Sequence[str], at: int, delimiter: str, width: int) -> int:
        """Take in the records that begin within so many lines from the index on; the index of the next."""
        for line, fields in records(lines, at, delimiter):
            if line > at + _AT_ONCE:
                return line - 1
            self.processed += 1
            entry = None if fields is None else read(fields, width)
            if entry is None:
                self._read_closely(line, fields, width)
            else:
                self._take(line, entry)
        return len(lines)

    def _read_closely(self, line: int, fields: Fields | None, width: int) -> None:
        if fields is None:
            self.add_errors([Problem(Code.QUOTE_UNBALANCED, line)])
            return
        examined = examine(line, fields, width)
        self.add_errors(examined.problems)
        if examined.entry is not None:
            self._take(line, examined.entry)
        elif examined.pin is not None:
            self.pins.append(examined.pin)
            self.pin_lines.append(line)

    def _take(self, line: int, entry: Entry) -> None:
        self.pins.append(entry.pin)
        self.pin_lines.append(line)
        self.entries.append(entry)
        if entry.email and not is_email_likely(entry.email) and len(self.warnings) < MAX_LISTED:
            self.warnings.append(Problem(Code.EMAIL_UNLIKELY, line, columns.EMAIL, {"found": quoted(entry.email)}))


def _refusal(data: bytes, filename: str, limits: Limits) -> Problem | None:
    """Why the file is not even decoded."""
    if not filename.lower().endswith(".csv"):
        return Problem(Code.NOT_CSV, None, None, {"why": "name"})
    if not data:
        return Problem(Code.FILE_EMPTY)
    kind = binary_kind(data)
    if kind is not None:
        return Problem(Code.NOT_CSV, None, None, {"why": kind})
    if limits.max_bytes is not None and len(data) > limits.max_bytes:
        return Problem(Code.FILE_TOO_LARGE, None, None, {"count": len(data), "max": limits.max_bytes})
    return None


def _decode_lines(data: bytes) -> tuple[list[str], str] | Problem:
    """The lines and the encoding. The text as a whole is let go here: it may be large."""
    decoded = decode(data)
    if isinstance(decoded, Problem):
        return decoded
    if is_document(decoded.text):
        return Problem(Code.NOT_CSV, None, None, {"why": "document"})
    return split_lines(decoded.text), decoded.encoding


def _refused(problem: Problem, encoding: str | None = None, delimiter: str | None = None) -> Check:
    return Check(errors=[problem], error_count=1, encoding=encoding, delimiter=delimiter)


def _drop_blank_end(lines: list[str], delimiter: str) -> None:
    """Forget the lines at the end that hold nothing, or empty cells only."""
    while lines and all(_is_blank(cell) for cell in lines[-1].split(delimiter)):
        lines.pop()


def _is_blank(cell: str) -> bool:
    text = cell.strip()
    return not text or (len(text) > 1 and text[0] == text[-1] == '"' and not text[1:-1].strip())


def _with_pins(entries: list[Entry], final_pins: Sequence[str]) -> list[Entry]:
    """The entries under their PINs as restored."""
    return [
        entry if entry.pin == pin else msgspec.structs.replace(entry, pin=Pin(pin))
        for entry, pin in zip(entries, final_pins, strict=True)
    ]


def _place(problem: Problem) -> tuple[int, int]:
    """Where a problem stands in the file; what concerns the whole file stands first."""
    column = -1 if problem.column is None else columns.TITLES.index(problem.column)
    return problem.line or 0, column
