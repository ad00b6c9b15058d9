"""What can be wrong with a list file, as values: a code, a place, and what the text needs to say it."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

MAX_LISTED: Final = 100
"""How many errors are listed. All are counted."""

_CLIPPED: Final = 40


class Severity(StrEnum):
    """What a problem does to the file."""

    ERROR = "error"
    WARNING = "warning"


class Code(StrEnum):
    """The name of a problem, the same in pages, tool and tests."""

    FILE_EMPTY = "file_empty"
    FILE_TOO_LARGE = "file_too_large"
    TOO_MANY_ENTRIES = "too_many_entries"
    NOT_CSV = "not_csv"
    BAD_ENCODING = "bad_encoding"
    HEADER_INVALID = "header_invalid"
    COLUMN_COUNT = "column_count"
    REQUIRED_MISSING = "required_missing"
    PIN_INVALID = "pin_invalid"
    PIN_DAMAGED = "pin_damaged"
    PIN_TOO_SHORT = "pin_too_short"
    PIN_DUPLICATE = "pin_duplicate"
    COMMA_IN_FIELD = "comma_in_field"
    CONTROL_CHARACTER = "control_character"
    FIELD_TOO_LONG = "field_too_long"
    QUOTE_UNBALANCED = "quote_unbalanced"

    PIN_ZEROS_LOST = "pin_zeros_lost"
    PIN_GUESSABLE = "pin_guessable"
    EMAIL_UNLIKELY = "email_unlikely"

    @property
    def severity(self) -> Severity:
        """An error refuses the file, a warning is only shown."""
        return Severity.WARNING if self in _WARNINGS else Severity.ERROR


_WARNINGS: Final = frozenset({Code.PIN_ZEROS_LOST, Code.PIN_GUESSABLE, Code.EMAIL_UNLIKELY})


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong. It may quote the file, PINs too: for the eyes of the list's owner, never for a log.

    ``line`` counts from 1 as a text editor does, None for what concerns the whole file; ``column`` is the title as
    the design writes it, None for what concerns the whole line. ``params`` are named in the text; ``why`` among them
    tells kinds of one code apart.
    """

    code: Code
    line: int | None = None
    column: str | None = None
    params: dict[str, str | int] = msgspec.field(default_factory=dict)


def quoted(text: str) -> str:
    """A cell as a message may quote it: at most 40 characters, on one line, nothing invisible."""
    clipped = text if len(text) <= _CLIPPED else text[: _CLIPPED - 1] + "…"
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in clipped)
