"""A roll as a file: who was on the call, and when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from loader.csvfile import csv_file
from loader.store.rolls import Call
from loader.xlsxfile import xlsx_file

TITLES: Final = (
    "First Name",
    "Last Name",
    "Company",
    "Phone",
    "Email",
    "City",
    "State/Country",
    "Other",
    "Admitted",
    "Joined",
    "Left",
    "Duration",
    "Ended",
    "Calling Number",
    "Time Zone",
)
"""The columns. They are the same in every language, as those of the list file are. There is no PIN among them."""
_WIDTHS: Final = (18, 18, 24, 20, 30, 18, 18, 24, 20, 20, 20, 10, 10, 18, 24)


def roll_csv(calls: Iterable[Call], time_zone: str) -> bytes:
    """A roll as CSV, a line a call, in the order of admission.

    Times are `2026-05-04 14:03:22` in the time zone, whose name and offset stand in the last column. The duration is
    hours, minutes and seconds from joining (from admission where the switch told of no joining) to leaving. What is not
    known is empty: `Ended` is empty while the caller is in, and otherwise `left`, `moved` or `silent`.
    """
    zone = ZoneInfo(time_zone)
    return csv_file([TITLES, *(tuple(_cells(call, zone)) for call in calls)])


def roll_xlsx(calls: Iterable[Call], time_zone: str) -> bytes:
    """The same as an Excel sheet. Raises InvalidValue if a sheet cannot hold so many calls."""
    zone = ZoneInfo(time_zone)
    return xlsx_file("Roll", TITLES, _WIDTHS, (_cells(call, zone) for call in calls))


def duration_of(call: Call) -> float | None:
    """Seconds that a call lasted, from joining (or admission) to leaving; None while it is on or its end is unknown."""
    if call.left_at is None:
        return None
    return max(0.0, call.left_at - (call.admitted_at if call.joined_at is None else call.joined_at))


def _cells(call: Call, zone: ZoneInfo) -> Iterator[str]:
    who = call.participant
    if who is None:
        yield from [""] * 8
    else:
        yield from (who.first_name, who.last_name, who.company, who.phone)
        yield from (who.email, who.city, who.state_country, who.other)
    for at in (call.admitted_at, call.joined_at, call.left_at):
        yield "" if at is None else _moment(at, zone)
    seconds = duration_of(call)
    yield "" if seconds is None else _span(int(seconds))
    yield "" if call.ended is None else call.ended.value
    yield call.caller or ""
    offset = datetime.fromtimestamp(call.admitted_at, zone).strftime("%z")
    yield f"{zone.key} {offset[:3]}:{offset[3:5]}"


def _moment(at: float, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(at, zone).strftime("%Y-%m-%d %H:%M:%S")


def _span(seconds: int) -> str:
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
