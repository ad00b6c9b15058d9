"""A conference as a calendar file."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from admin.calendar_file import Event, calendar_file, uid_of
from loader.store.invitations import Date
from tests.unit.admin.ics import event_of, moment, parse

SUMMER = datetime(2027, 5, 4, 12, 30, tzinfo=UTC).timestamp()
PARIS = Date(SUMMER, 90, "Europe/Paris", 1_800_000_000.0)
EVENT = Event(
    uid=uid_of("C-1001", "Mike", "Doe", "mike@example.com"),
    made_at=1_800_000_100.0,
    date=PARIS,
    title="Weekly call; with, all \\ of us",
    description="Call:\n  +1 303 555 0100\n\nPasscode: 7784321",
    location="+1 303 555 0100",
    organizer_name='Alicia "Al" Customer; Inc.',
    organizer_email="alicia@example.com",
)


def test_the_event_says_what_when_and_by_whom() -> None:
    made = calendar_file(EVENT)
    assert (made.name, made.subtype, made.parameters) == ("invitation.ics", "calendar", {"method": "PUBLISH"})
    calendar = parse(made.data)
    event = event_of(calendar)
    assert event.text("SUMMARY") == EVENT.title
    assert event.text("DESCRIPTION") == "Call:\n+1 303 555 0100\n\nPasscode: 7784321"
    assert event.the("DTSTART").value == "20270504T143000"
    assert event.the("DTSTART").parameters == {"TZID": "Europe/Paris"}
    assert event.the("DTEND").value == "20270504T160000"
    assert event.the("ORGANIZER").value == "mailto:alicia@example.com"
    assert event.the("ORGANIZER").parameters == {"CN": "Alicia 'Al' Customer; Inc."}
    assert event.the("CLASS").value == "PRIVATE"


@pytest.mark.parametrize(
    "zone",
    ["Europe/Paris", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Asia/Tokyo", "UTC", "America/Sao_Paulo",
     "Pacific/Chatham", "Africa/Casablanca", "Europe/Dublin", "Antarctica/Troll"],
)  # fmt: skip
@pytest.mark.parametrize(
    "begins",
    [(2027, 1, 10, 9), (2027, 5, 4, 12), (2027, 3, 28, 0), (2027, 3, 28, 1), (2027, 10, 31, 0), (2027, 10, 31, 1),
     (2027, 11, 7, 5), (2027, 4, 3, 14)],
)  # fmt: skip
@pytest.mark.parametrize("minutes", [45, 1440])
def test_begin_and_end_are_right_by_the_time_zone_in_the_file_alone(
    zone: str, begins: tuple[int, int, int, int], minutes: int
) -> None:
    """Around the days when clocks change too, and in an hour that comes twice."""
    at = datetime(*begins, 30, tzinfo=UTC)
    date = Date(at.timestamp(), minutes, zone, 1_800_000_000.0)
    calendar = parse(calendar_file(msgspec.structs.replace(EVENT, date=date)).data)
    for name, expected in (("DTSTART", at.timestamp()), ("DTEND", at.timestamp() + minutes * 60)):
        assert moment(calendar, name).timestamp() == expected, name


def test_the_same_conference_and_person_is_the_same_event_and_a_later_change_counts_for_more() -> None:
    first = event_of(parse(calendar_file(EVENT).data))
    moved = msgspec.structs.replace(PARIS, starts_at=SUMMER + 86400, changed_at=PARIS.changed_at + 90)
    second = event_of(parse(calendar_file(msgspec.structs.replace(EVENT, date=moved)).data))
    assert first.the("UID") == second.the("UID")
    assert int(first.the("SEQUENCE").value) < int(second.the("SEQUENCE").value) < 2**31
    assert uid_of("C-1001", "Mike", "Doe", "mike@example.com") == uid_of("C-1001", "MIKE", "Doe", "Mike@example.com")
    assert uid_of("C-1001", "Mike", "Doe", "m@example.com") != uid_of("C-1002", "Mike", "Doe", "m@example.com")
    assert uid_of("C-1001", "a", "bc", "x") != uid_of("C-1001", "ab", "c", "x")


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@given(title=texts, description=texts, name=texts)
def test_whatever_stands_in_a_title_the_file_is_one(title: str, description: str, name: str) -> None:
    """Lines of 75 octets, nothing injected: the reader finds the same properties, whatever the text."""
    event = msgspec.structs.replace(EVENT, title=title, description=description, location=title, organizer_name=name)
    calendar = parse(calendar_file(event).data)
    names = [one.name for one in event_of(calendar).properties if one.name != "LOCATION"]
    assert names == [
        "UID", "DTSTAMP", "SEQUENCE", "DTSTART", "DTEND", "SUMMARY", "DESCRIPTION", "ORGANIZER", "CLASS", "STATUS",
        "TRANSP",
    ]  # fmt: skip
    assert len(calendar.components) == 2
