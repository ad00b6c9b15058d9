"""A conference as a calendar file: iCalendar (RFC 5545), published (RFC 5546 section 3.2.1).

It is published and not a request: a request has the calendar answer by mail whether one comes, and nobody reads those
answers here. To publish again, with the same UID and a higher SEQUENCE, puts the new date in the old one's place.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from admin.post import Attachment, mailable, one_line
from loader.store.invitations import Date

_MAX_OCTETS: Final = 75
"""Of a line, without its end (RFC 5545 section 3.1)."""
_SEQUENCE_BEGINS: Final = 1_577_836_800.0
"""2020-01-01. A sequence is a number of 32 bits: it counts the minutes since then."""
_QUARTER: Final = timedelta(minutes=15)
_LONG_AGO: Final = timedelta(days=366)


class Event(msgspec.Struct, frozen=True):
    """What stands in a calendar. `made_at` is in seconds since 1970 UTC."""

    uid: str
    made_at: float
    date: Date
    title: str
    description: str
    location: str
    organizer_name: str
    organizer_email: str


def uid_of(conference_id: str, *person: str) -> str:
    """The same for the same conference and person, whatever else of the invitation changes; it tells neither."""
    return hashlib.sha256("\x1f".join((conference_id, *person)).casefold().encode()).hexdigest()[:32] + "@rollcall"


def calendar_file(event: Event) -> Attachment:
    """The file, as it goes with a mail. Raises MailError if the organizer's address cannot be one."""
    lines = "".join(_folded(line) for line in _lines(event))
    return Attachment("invitation.ics", lines.encode("utf-8"), "calendar", {"method": "PUBLISH"})


def _lines(event: Event) -> Iterator[str]:
    date = event.date
    zone = ZoneInfo(date.time_zone)
    begins = datetime.fromtimestamp(date.starts_at, zone)
    ends = datetime.fromtimestamp(date.starts_at + date.minutes * 60, zone)
    yield "BEGIN:VCALENDAR"
    yield "VERSION:2.0"
    yield "PRODID:-//Rollcall//Rollcall//EN"
    yield "CALSCALE:GREGORIAN"
    yield "METHOD:PUBLISH"
    if zone.key != "UTC":
        yield from _zone_lines(zone, begins, ends)
    yield "BEGIN:VEVENT"
    yield f"UID:{event.uid}"
    yield f"DTSTAMP:{datetime.fromtimestamp(event.made_at, UTC):%Y%m%dT%H%M%SZ}"
    yield f"SEQUENCE:{max(0, int((date.changed_at - _SEQUENCE_BEGINS) // 60))}"
    yield f"DTSTART{_local(begins)}"
    yield f"DTEND{_local(ends)}"
    yield f"SUMMARY:{_text(event.title)}"
    yield f"DESCRIPTION:{_text(event.description)}"
    if event.location:
        yield f"LOCATION:{_text(event.location)}"
    yield f"ORGANIZER;CN={_parameter(event.organizer_name)}:mailto:{mailable(event.organizer_email)}"
    # The description holds a PIN: calendars that are shared show no more than that one is busy.
    yield "CLASS:PRIVATE"
    yield "STATUS:CONFIRMED"
    yield "TRANSP:OPAQUE"
    yield "END:VEVENT"
    yield "END:VCALENDAR"


def _local(at: datetime) -> str:
    zone = at.tzinfo
    if not isinstance(zone, ZoneInfo) or zone.key == "UTC" or at.fold:
        # Of an hour that comes twice, local time is the first one (RFC 5545 section 3.3.5).
        return f":{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    return f";TZID={zone.key}:{at:%Y%m%dT%H%M%S}"


def _zone_lines(zone: ZoneInfo, begins: datetime, ends: datetime) -> Iterator[str]:
    """The time zone, as far as the event needs it: since the last change of the clocks before it, and those in it."""
    yield "BEGIN:VTIMEZONE"
    yield f"TZID:{zone.key}"
    at = begins.astimezone(UTC)
    since = at - _LONG_AGO
    changes = list(_changes(zone, since, ends.astimezone(UTC)))
    before = [change for change in changes if change <= at][-1:]
    for change in before or [since]:
        yield from _observance(zone, change, is_change=bool(before))
    for change in changes:
        if change > at:
            yield from _observance(zone, change, is_change=True)
    yield "END:VTIMEZONE"


def _changes(zone: ZoneInfo, since: datetime, until: datetime) -> Iterator[datetime]:
    """When the clocks changed, in UTC. They do so at a quarter of an hour."""
    at = since.replace(minute=0, second=0, microsecond=0)
    day = timedelta(days=1)
    while at < until:
        if _offset(zone, at) != _offset(zone, at + day):
            change = at
            while _offset(zone, change) == _offset(zone, at):
                change += _QUARTER
            if change <= until:
                yield change
        at += day


def _observance(zone: ZoneInfo, change: datetime, *, is_change: bool) -> Iterator[str]:
    after = _offset(zone, change)
    before = _offset(zone, change - _QUARTER) if is_change else after
    local = change.astimezone(zone)
    kind = "DAYLIGHT" if local.dst() else "STANDARD"
    yield f"BEGIN:{kind}"
    # In the time of before the change (RFC 5545 section 3.6.5).
    yield f"DTSTART:{(change + before).replace(tzinfo=None):%Y%m%dT%H%M%S}"
    yield f"TZOFFSETFROM:{_signed(before)}"
    yield f"TZOFFSETTO:{_signed(after)}"
    yield f"TZNAME:{local.tzname()}"
    yield f"END:{kind}"


def _offset(zone: ZoneInfo, at: datetime) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta()


def _signed(offset: timedelta) -> str:
    minutes = int(offset.total_seconds() // 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}{abs(minutes) % 60:02}"


def _text(text: str) -> str:
    """A value of type TEXT (RFC 5545 section 3.3.11): the lines of a text are kept, other control characters go."""
    lines = (one_line(line) for line in text.split("\n"))
    return re.sub(r"([\\;,])", r"\\\1", "\n".join(lines)).replace("\n", "\\n")


def _parameter(text: str) -> str:
    """A parameter's value in quotes. It cannot hold any itself (RFC 5545 section 3.1)."""
    return '"' + one_line(text).replace('"', "'") + '"'


def _folded(line: str) -> str:
    """A line as it is written: not more than 75 octets, never cut inside a character."""
    parts, part, size = [], "", 0
    for character in line:
        octets = len(character.encode("utf-8"))
        if size + octets > _MAX_OCTETS:
            parts.append(part)
            # The blank that begins the next line counts.
            part, size = "", 1
        part, size = part + character, size + octets
    return "\r\n ".join([*parts, part]) + "\r\n"
