"""Texts outside of pages, such as mails: in a language, with dates as it writes them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from babel.dates import format_date, format_datetime, format_time
from babel.numbers import format_decimal

from admin.rendering import CATALOGUES, DOMAIN
from loader.catalogues import catalogue
from loader.store.invitations import Date

WIDTH: Final = 72
"""Columns of a line of plain text (RFC 3676 section 4.2 asks for 78 at most)."""

_PIECES: Final = re.compile(r"\S+|[ \t]+")
_NOT_FIRST: Final = ("Pe", "Pf", "Po", "Lm")
"""Kinds of characters that do not begin a line: what closes, full stops and the like, and marks of length."""
_NOT_LAST: Final = ("Ps", "Pi")
"""Those that do not end one: what opens."""


class Words:
    """One language."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._translations = catalogue(CATALOGUES, language, DOMAIN)

    def _(self, text: str, **values: Any) -> str:
        """A text in this language."""
        return self._translations.gettext(text) % values if values else self._translations.gettext(text)

    def ngettext(self, singular: str, plural: str, count: int) -> str:
        """A text for so many, with `%(n)s` in it."""
        return self._translations.ngettext(singular, plural, count) % {"n": self.number(count)}

    def number(self, value: int) -> str:
        return format_decimal(value, locale=self.language)

    def moment(self, seconds: float, time_zone: str) -> str:
        """A day and a time of day, with the time zone."""
        zone = ZoneInfo(time_zone)
        told = format_datetime(datetime.fromtimestamp(seconds, UTC), "medium", tzinfo=zone, locale=self.language)
        return f"{told} ({self._zone(seconds, zone)})"

    def span(self, date: Date) -> str:
        """When a conference is held: from when to when, with the day of the week and the time zone."""
        zone = ZoneInfo(date.time_zone)
        ends_at = date.starts_at + date.minutes * 60
        first, last = (datetime.fromtimestamp(at, zone) for at in (date.starts_at, ends_at))
        day = format_date(first, "full", locale=self.language)
        until = format_time(last, "short", locale=self.language)
        if last.date() != first.date():
            until = f"{format_date(last, 'full', locale=self.language)}, {until}"
        begins = format_time(first, "short", locale=self.language)
        return f"{day}, {begins} \N{EN DASH} {until} ({self._zone(date.starts_at, zone)})"

    @staticmethod
    def _zone(seconds: float, zone: ZoneInfo) -> str:
        offset = datetime.fromtimestamp(seconds, zone).strftime("%z")
        return "UTC" if zone.key == "UTC" else f"{zone.key}, UTC{offset[:3]}:{offset[3:5]}"


def wrapped(text: str) -> str:
    """Text with its lines broken at WIDTH columns, where the script allows it.

    What has no place to break, such as an address, stays whole. A line that begins with blanks stays as it is.
    """
    return "\n".join(broken for line in text.split("\n") for broken in _broken(line)) if text else ""


def _broken(line: str) -> Iterator[str]:
    if line.startswith(" ") or _columns(line) <= WIDTH:
        yield line
        return
    current, width = "", 0
    for piece in _pieces(line):
        columns = _columns(piece)
        if current and width + columns > WIDTH and not piece.isspace():
            yield current.rstrip()
            current, width = "", 0
        if current or not piece.isspace():
            current, width = current + piece, width + columns
    if current.strip():
        yield current.rstrip()


def _pieces(line: str) -> Iterator[str]:
    """What a line may be broken between: words, and each wide character, as Japanese has no blanks."""
    for found in _PIECES.findall(line):
        piece = ""
        for character in found:
            apart = _is_wide(character) or (piece and _is_wide(piece[-1]))
            if piece and apart and _may_break(piece[-1], character):
                yield piece
                piece = ""
            piece += character
        yield piece


def _may_break(before: str, after: str) -> bool:
    return unicodedata.category(after) not in _NOT_FIRST and unicodedata.category(before) not in _NOT_LAST


def _columns(text: str) -> int:
    return sum(2 if _is_wide(character) else 1 for character in text)


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"
