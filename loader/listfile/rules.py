"""One record becomes an entry, or it is told all that is wrong with it.

:func:`read` is the short way for a record without anything unusual; :func:`examine` is the long way for the others.
What can only be judged over all PINs of a file is in :mod:`loader.listfile.pins`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from sys import intern
from typing import Final, NamedTuple

from loader.listfile import columns
from loader.listfile.problems import Code, Problem, quoted
from loader.listfile.records import DELIMITERS, Fields, without_padding
from loader.model import MAX_FIELD_LENGTH, MAX_PIN_LENGTH, Entry, Pin

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LINE_BREAKS: Final = "\n\x0b\x0c\x85\u2028\u2029"
_ONE_EMAIL: Final = r"[^@\s<>()\",;]+@(?:[^@\s.<>()\",;]+\.)+[^@\s.<>()\",;]{2,}"
_EMAIL = re.compile(_ONE_EMAIL)
_EMAILS = re.compile(rf"(?:(?:{_ONE_EMAIL})?\n)*+")
# Patterns for what is wrong are compiled by re when they are needed: most files need none.
_DAMAGED: Final = (
    ("hashes", r"##+"),
    ("formula_error", r"#[^\W\d_][\w/]*[!?]?|Err:[0-9]+"),
    ("scientific", r"[+-]?[0-9]+(?:[.,][0-9]+)?[eE][+-]?[0-9]+"),
    ("decimals", r"[0-9]+[.,]0{1,2}"),
    ("date", r"[0-9]{4}([./-])[0-9]{1,2}\1[0-9]{1,2}|[0-9]{1,2}([./-])[0-9]{1,2}\2[0-9]{4}"),
    ("date", r"[0-9]{1,2}/[0-9]{1,2}/[0-9]{2}|[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?"),
)
_BETWEEN_DIGITS: Final = r"[\s./()'_\u2010-\u2015\u2019-]+"
_MARKED_AS_TEXT: Final = r"""=?['"\u2018-\u201f\u00ab\u00bb]+[0-9]+['"\u2018-\u201f\u00ab\u00bb]*"""


class Examined(NamedTuple):
    """What a record gives: its PIN if it has one, one digit included; its entry if all of it is right; its problems."""

    pin: str | None
    entry: Entry | None
    problems: list[Problem]


def read(fields: Fields, width: int = columns.COUNT) -> Entry | None:
    """The entry of a plain record; None if the record needs a closer look, wrong or not.

    The PIN has 1 to 10 digits here: one digit may still have zeros restored. ``width`` as in :func:`examine`.
    """
    if columns.COUNT < len(fields) <= width:
        fields = without_padding(fields)
    joined = "".join(fields)
    if len(fields) != columns.COUNT or len(joined) > MAX_FIELD_LENGTH or "," in joined or not joined.isprintable():
        return None
    pin, first, last, company, phone, email, city, state, other = map(str.strip, fields)
    if not (first and last and company and city and state and _is_pin_like(pin)):
        return None
    # The same places stand in thousands of lines; kept once, they take a third less memory.
    return Entry(Pin(pin), first, last, intern(company), phone, email, intern(city), intern(state), other)


def examine(line: int, fields: Fields, width: int = columns.COUNT) -> Examined:
    """All that is wrong with one record, in the order of its columns.

    ``width`` is the number of the header's cells. A record with more of them may be padded, or have a comma too many.
    """
    cells = without_padding(fields)
    if len(cells) != columns.COUNT:
        return Examined(None, None, [_column_count(line, cells)])
    values = [cell.strip() for cell in cells]
    if not any(values):
        return Examined(None, None, [Problem(Code.REQUIRED_MISSING, line, None, {"why": "line"})])
    if len(fields) > width and _are_moved(values):
        return Examined(None, None, [_column_count(line, fields)])
    problems = _examine_pin(line, cells[0])
    pin = None if problems else values[0]
    for title, field in zip(columns.TITLES[1:], cells[1:], strict=True):
        problems += _examine_field(line, title, field)
    if problems:
        return Examined(pin, None, problems)
    _, first, last, company, phone, email, city, state, other = values
    return Examined(pin, Entry(Pin(values[0]), first, last, company, phone, email, city, state, other), [])


def is_email_likely(email: str) -> bool:
    """Whether a mail address looks like one: `name@example.com`."""
    return _EMAIL.fullmatch(email) is not None


def are_emails_likely(emails: Sequence[str]) -> bool:
    """Whether all of them do that are not empty. None holds a line break."""
    return _EMAILS.fullmatch("\n".join([*emails, ""])) is not None


def are_pins_like(pins: Sequence[str]) -> bool:
    """Whether each of them, none of which is empty, has 1 to 10 digits."""
    digits = "".join(pins)
    return digits.isascii() and digits.isdigit() and max(map(len, pins)) <= MAX_PIN_LENGTH


def _is_pin_like(pin: str) -> bool:
    return 1 <= len(pin) <= MAX_PIN_LENGTH and pin.isascii() and pin.isdigit()


def _are_moved(values: list[str]) -> bool:
    """Whether the values stand in the wrong columns, as those after a comma that is part of a field do."""
    _, first, last, company, _, email, city, state, _ = values
    return not (first and last and company and city and state) or "@" in city or (email != "" and "@" not in email)


def _column_count(line: int, cells: Fields) -> Problem:
    params: dict[str, str | int] = {"count": len(cells), "expected": columns.COUNT}
    if not any(cell.strip() for cell in cells):
        params = {"why": "blank"}
    elif len(cells) > columns.COUNT:
        params["why"] = "more"
    elif len(cells) == 1 and any(cells[0].count(other) >= columns.COUNT - 1 for other in DELIMITERS):
        params["why"] = "separator"
    elif len(cells) == columns.COUNT - 1 and not _are_moved([cell.strip() for cell in [*cells, ""]]):
        params["why"] = "cut"
    else:
        params["why"] = "fewer"
    return Problem(Code.COLUMN_COUNT, line, None, params)


def _examine_pin(line: int, field: str) -> list[Problem]:
    pin = field.strip()
    if _is_pin_like(pin):
        return _examine_field(line, columns.PIN, field)
    for why, pattern in _DAMAGED:
        if re.fullmatch(pattern, pin):
            return [Problem(Code.PIN_DAMAGED, line, columns.PIN, {"why": why, "found": quoted(pin)})]
    problems = _examine_field(line, columns.PIN, field)
    if not problems:
        problems.append(Problem(Code.PIN_INVALID, line, columns.PIN, {"why": _pin_fault(pin), "found": quoted(pin)}))
    return problems


def _pin_fault(pin: str) -> str:
    if pin.isascii() and pin.isdigit():
        return "long"
    if pin.isdigit():
        return "digits"
    if re.fullmatch(_MARKED_AS_TEXT, pin):
        return "marked"
    if pin[:1].isdigit() and pin[-1:].isdigit() and re.sub(_BETWEEN_DIGITS, "", pin).isdigit():
        return "separators"
    if not pin.isprintable():
        return "invisible"
    return "other"


def _examine_field(line: int, title: str, field: str) -> list[Problem]:
    value = field.strip()
    problems = []
    # Outer tabs are white space like outer spaces; an outer line break is still a line break.
    control = _CONTROL.search(field.strip(" \t\xa0"))
    if control:
        problems.append(Problem(Code.CONTROL_CHARACTER, line, title, _control_params(control[0])))
    elif not value and title in columns.REQUIRED:
        problems.append(Problem(Code.REQUIRED_MISSING, line, title, {}))
    if "," in value:
        problems.append(Problem(Code.COMMA_IN_FIELD, line, title, {"found": quoted(value)}))
    if len(value) > MAX_FIELD_LENGTH:
        problems.append(Problem(Code.FIELD_TOO_LONG, line, title, {"count": len(value), "max": MAX_FIELD_LENGTH}))
    return problems


def _control_params(character: str) -> dict[str, str | int]:
    if character in _LINE_BREAKS:
        return {"why": "line_break"}
    if character == "\t":
        return {"why": "tab"}
    return {"code_point": f"U+{ord(character):04X}"}
