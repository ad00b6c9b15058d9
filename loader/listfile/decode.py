"""Bytes become text, or it is told why they cannot.

Met are UTF-8 with or without a byte order mark, UTF-16 with one, and Windows-1252: what spreadsheets write. Other
bytes are refused rather than guessed at, as a wrong guess would put wrong names into the list.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE
from typing import Final, NamedTuple

from loader.listfile.problems import Code, Problem

_LINE_END = re.compile(r"\r\n|\n|\r")
_ZIP: Final = b"PK\x03\x04"
_ZIPPED_CSV = re.compile(rb"\.csv", re.IGNORECASE)
_OLD_EXCEL: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_PDF: Final = b"%PDF-"
_DOCUMENTS: Final = ("<", "{\\rtf")
_OTHER_BINARIES: Final = (
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"GIF8",
    b"\x1f\x8b",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!\x1a",
    b"SQLite format 3\0",
    b"\x7fELF",
)
_NOT_IN_TEXT: Final = bytes(code for code in range(32) if code not in b"\t\n\r")
_SAMPLE: Final = 65_536
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")


class Decoded(NamedTuple):
    """The text of a file without its byte order mark, and the encoding as it is reported."""

    text: str
    encoding: str


def binary_kind(data: bytes) -> str | None:
    """What a file is that is not text: `spreadsheet` (XLSX, ODS, XLS), `archive`, `pdf` or `binary`; None for text."""
    if data.startswith(_ZIP):
        # A zipped list and an XLSX begin alike. The names of the files inside are not compressed.
        return "archive" if _ZIPPED_CSV.search(data) else "spreadsheet"
    if data.startswith(_OLD_EXCEL):
        return "spreadsheet"
    if data.startswith(_PDF):
        return "pdf"
    if data.startswith(_OTHER_BINARIES):
        return "binary"
    if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE, BOM_UTF32_BE)) or _is_bare_utf16(data):
        return None
    sample = data[:_SAMPLE]
    strange = len(sample) - len(sample.translate(None, _NOT_IN_TEXT))
    return "binary" if strange * 20 > len(sample) else None


def decode(data: bytes) -> Decoded | Problem:
    """The text of a list file, or the `bad_encoding` that keeps it from being read."""
    if data.startswith((BOM_UTF32_LE, BOM_UTF32_BE)):
        return _refused("utf-32")
    for mark, codec in ((BOM_UTF16_LE, "utf-16-le"), (BOM_UTF16_BE, "utf-16-be")):
        if data.startswith(mark):
            return _decode_marked(data[len(mark) :], codec, "utf-16")
    if data.startswith(BOM_UTF8):
        return _decode_marked(data[len(BOM_UTF8) :], "utf-8", "utf-8-sig")
    if _is_bare_utf16(data):
        return _refused("utf-16-unmarked")
    try:
        return Decoded(data.decode("utf-8"), "utf-8")
    except UnicodeDecodeError as error:
        if _is_broken_utf8(data):
            return _refused("utf-8", data[: error.start].decode("utf-8"))
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError as error:
        return _refused("windows-1252", data[: error.start].decode("cp1252"))
    strange = _other_script(text)
    return Decoded(text, "windows-1252") if strange is None else _refused("windows-1252", text[:strange])


def is_document(text: str) -> bool:
    """Whether a text is a web page, XML (a spreadsheet can be saved so) or RTF: no header line begins like that."""
    return text[:_SAMPLE].lstrip().startswith(_DOCUMENTS)


def split_lines(text: str) -> list[str]:
    """The lines as a text editor counts them: CR LF, LF and CR end a line, also mixed, and nothing else does."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _decode_marked(body: bytes, codec: str, encoding: str) -> Decoded | Problem:
    """What a byte order mark announces must then be so."""
    try:
        text = body.decode(codec)
    except UnicodeDecodeError as error:
        return _refused(encoding, body[: error.start].decode(codec, "ignore"))
    return Decoded(text.lstrip("\ufeff"), encoding)


def _is_bare_utf16(data: bytes) -> bool:
    """Whether every other byte is nearly always 0, as in Western text in UTF-16, and the others hardly ever."""
    sample = data[:_SAMPLE]
    half = len(sample) // 2
    zeros = sorted((sample[0::2].count(0), sample[1::2].count(0)))
    return half > 0 and zeros[0] * 20 <= half and zeros[1] * 2 > half


def _is_broken_utf8(data: bytes) -> bool:
    """Whether bytes that are no UTF-8 were meant as such: there are as many whole sequences as stray bytes."""
    whole = data.decode("utf-8", "ignore")
    sequences = len(whole) - len(whole.encode("ascii", "ignore"))
    broken = len(data) - len(whole.encode("utf-8"))
    return sequences >= broken


def _other_script(text: str) -> int | None:
    """Where a text that was decoded as Windows-1252 shows that it is in another script; None if it seems to be Western.

    Cyrillic or Japanese in an encoding of its own becomes rows of accented letters and signs. In Western names such
    letters stand alone or in twos.
    """
    rows: dict[str, int] = {}
    for row in _NOT_ASCII.finditer(text, 0, _SAMPLE):
        rows.setdefault(row[0], row.start())
    long = [at for row, at in rows.items() if len(set(row)) > 2]
    return long[0] if len(long) > 1 and len(long) * 4 > len(rows) else None


def _refused(why: str, before: str | None = None) -> Problem:
    line = None if before is None else len(_LINE_END.findall(before)) + 1
    return Problem(Code.BAD_ENCODING, line, None, {"why": why})
