"""A strict reader of calendar files: RFC 5545 sections 3.1 and 3.6, as far as ours use them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

_LINE = re.compile(
    r"(?P<name>[A-Z-]+)(?P<parameters>(?:;[A-Z-]+=(?:\"[^\"\x00-\x1f\x7f]*\"|[^\";:,\x00-\x1f\x7f]*))*):(?P<value>[^\x00-\x08\x0a-\x1f\x7f]*)"
)
_ONCE = (
    "UID",
    "DTSTAMP",
    "SEQUENCE",
    "DTSTART",
    "DTEND",
    "SUMMARY",
    "DESCRIPTION",
    "ORGANIZER",
    "CLASS",
    "STATUS",
    "TRANSP",
)


class Property(NamedTuple):
    name: str
    parameters: dict[str, str]
    value: str


class Component:
    def __init__(self, name: str) -> None:
        self.name = name
        self.properties: list[Property] = []
        self.components: list[Component] = []

    def the(self, name: str) -> Property:
        (found,) = [one for one in self.properties if one.name == name]
        return found

    def text(self, name: str) -> str:
        return unescaped(self.the(name).value)


def parse(data: bytes) -> Component:
    """The calendar. Whatever is not as the standard says is an AssertionError."""
    assert data.endswith(b"\r\n")
    physical = data.split(b"\r\n")[:-1]
    lines: list[bytes] = []
    for line in physical:
        assert b"\r" not in line
        assert b"\n" not in line
        assert 0 < len(line) <= 75
        line.decode("utf-8")
        if line.startswith(b" "):
            lines[-1] += line[1:]
        else:
            lines.append(line)
    stack = [Component("")]
    for line in lines:
        found = _LINE.fullmatch(line.decode("utf-8"))
        assert found is not None, line
        name, value = found["name"], found["value"]
        if name == "BEGIN":
            stack.append(Component(value))
            stack[-2].components.append(stack[-1])
        elif name == "END":
            assert stack.pop().name == value
        else:
            pairs = re.findall(r";([A-Z-]+)=(\"[^\"]*\"|[^;:]*)", found["parameters"])
            stack[-1].properties.append(Property(name, {key: told.strip('"') for key, told in pairs}, value))
    (top,) = stack
    (calendar,) = top.components
    assert calendar.name == "VCALENDAR"
    assert [calendar.the(name).value for name in ("VERSION", "METHOD", "CALSCALE")] == ["2.0", "PUBLISH", "GREGORIAN"]
    assert calendar.the("PRODID").value
    event = event_of(calendar)
    for name in _ONCE:
        event.the(name)
    assert not [one for one in event.properties if one.name == "ATTENDEE"]
    assert re.fullmatch(r"\d{8}T\d{6}Z", event.the("DTSTAMP").value)
    zones = {one.the("TZID").value for one in calendar.components if one.name == "VTIMEZONE"}
    named = {one.parameters["TZID"] for one in event.properties if "TZID" in one.parameters}
    assert named <= zones
    for zone in calendar.components:
        if zone.name == "VTIMEZONE":
            assert zone.components
            for one in zone.components:
                assert one.name in ("STANDARD", "DAYLIGHT")
                for name in ("DTSTART", "TZOFFSETFROM", "TZOFFSETTO"):
                    one.the(name)
    return calendar


def event_of(calendar: Component) -> Component:
    (event,) = [one for one in calendar.components if one.name == "VEVENT"]
    return event


def moment(calendar: Component, name: str) -> datetime:
    """When it is in UTC, from what stands in the file alone: the time zone's last observance before it."""
    told = event_of(calendar).the(name)
    if told.value.endswith("Z"):
        return datetime.strptime(told.value, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    local = datetime.strptime(told.value, "%Y%m%dT%H%M%S")  # noqa: DTZ007
    (zone,) = [one for one in calendar.components if one.name == "VTIMEZONE"]
    observed = [one for one in zone.components if datetime.strptime(one.the("DTSTART").value, "%Y%m%dT%H%M%S") <= local]  # noqa: DTZ007
    last = max(observed, key=lambda one: one.the("DTSTART").value)
    sign, hours, minutes = re.fullmatch(r"([+-])(\d\d)(\d\d)", last.the("TZOFFSETTO").value).groups()  # type: ignore[union-attr]
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    return (local - (offset if sign == "+" else -offset)).replace(tzinfo=UTC)


def unescaped(value: str) -> str:
    """A value of type TEXT; what is not escaped as it must be is an AssertionError."""
    assert re.fullmatch(r"(?:[^\\;,]|\\[\\;,nN])*", value) is not None, value
    return re.sub(r"\\([\\;,nN])", lambda found: "\n" if found[1] in "nN" else found[1], value)
