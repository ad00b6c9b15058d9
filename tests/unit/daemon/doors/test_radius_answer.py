"""Decisions as attributes: any text is safe, and none is longer than an attribute may be."""

from typing import Any

import pytest
from pyrad.packet import AuthPacket

from daemon.doors.radius_answer import accepted, rejected
from daemon.doors.radius_packet import ACCESS_ACCEPT, Secret, attribute, parse
from daemon.verify import Verification
from loader.index import Decision, Reason
from loader.model import Conference, Level, Participant, Passcode, Revision
from tests.unit.daemon.doors.conftest import OWNERS
from tests.unit.daemon.doors.radius_gateway import SECRET, access, pairs


def told(attributes: list[bytes]) -> Any:
    """These attributes as pyrad reads them in a reply."""
    request = access()
    answer = parse(request.RequestPacket()).reply(ACCESS_ACCEPT, Secret(SECRET), attributes, signed=True)
    reply = request.CreateReply(packet=answer)
    assert request.VerifyReply(reply, answer, enforce_ma=True)
    return reply


def accept_of(first_name: str) -> Any:
    who = Participant(first_name, "Doe", "XYZ", "", "", "Uxbridge", "UK", "")
    conference = Conference("C-1001", "Weekly call", Passcode("7784321"), "alicia", True, OWNERS)
    decision = Decision(None, conference, who, Level.ORGANIZER, Revision(1))
    return told(accepted(Verification("9f-1", decision), "17"))


NAMES = [
    ('Mike "the" O\'Doe', 'Mike "the" O\'Doe'),
    ("<Mike & Ann>", "<Mike & Ann>"),
    ("h323-ivr-in=level:company", "h323-ivr-in=level:company"),
    ("Zoë 太郎 👩‍🚀", "Zoë 太郎 👩‍🚀"),
    ("", ""),
    ("Mike\nh323-return-code=0\r\x00\x1b\x7f\x85\u2028", "Mike h323-return-code=0      "),
    ("Mike\ud800", "Mike "),
    # 247 bytes, of which `h323-ivr-in=first-name:` has 23.
    ("x" * 224, "x" * 224),
    ("x" * 225, "x" * 224),
    ("é" * 112, "é" * 112),
    ("é" * 200, "é" * 112),
    ("x" + "é" * 200, "x" + "é" * 111),
    ("xy" + "太" * 200, "xy" + "太" * 74),
    ("👩" * 200, "👩" * 56),
    ("x" + "👩" * 200, "x" + "👩" * 55),
]


@pytest.mark.parametrize(("name", "shown"), NAMES)
def test_any_name_can_be_told(name: str, shown: str) -> None:
    """Line breaks become spaces, and what is too long ends between two characters."""
    reply = accept_of(name)
    assert reply.code == ACCESS_ACCEPT
    assert pairs(reply)["first-name"] == shown
    assert pairs(reply)["last-name"] == "Doe"
    assert pairs(reply)["level"] == "organizer"


def test_a_value_that_is_no_text_is_cut_where_it_is_too_long() -> None:
    assert attribute(18, b"\x80" * 300) == b"\x12\xff" + b"\x80" * 253


def test_every_reason_has_its_return_code() -> None:
    codes = {}
    for reason in Reason:
        reply = told(rejected(Decision(reason)))
        (code,) = reply["h323-return-code"]
        codes[reason.value] = code
        assert pairs(reply) == {"reason": reason.value}
    assert codes == {
        "locked": "h323-return-code=10",
        "unknown_passcode": "h323-return-code=1",
        "pin_required": "h323-return-code=2",
        "inactive_pin": "h323-return-code=7",
        "unknown_pin": "h323-return-code=2",
    }


def test_tries_that_are_left_and_seconds_to_wait_are_told() -> None:
    reply = told(rejected(Decision(Reason.UNKNOWN_PIN, attempts_left=0)))
    assert pairs(reply) == {"reason": "unknown_pin", "attempts-left": "0"}
    reply = told(rejected(Decision(Reason.LOCKED, retry_after=60)))
    assert pairs(reply) == {"reason": "locked", "retry-after": "60"}


def test_what_is_neither_accepted_nor_rejected_is_rejected() -> None:
    """A decision without a conference lets nobody in."""
    assert told(rejected(Decision(None)))["h323-return-code"] == ["h323-return-code=1"]


def test_the_class_is_one_attribute_however_long_the_calls_id() -> None:
    decision = Decision(None, Conference("C-1", "Call", Passcode("1"), "alicia", False, OWNERS))
    for call_id, value in (
        (None, b"rollcall:9f-1:"),
        ("17", b"rollcall:9f-1:17"),
        ("\ud800", b"rollcall:9f-1:?"),
        ("x" * 128, b"rollcall:9f-1:" + b"x" * 128),
        ("é" * 128, b"rollcall:9f-1:"),
    ):
        assert told(accepted(Verification("9f-1", decision), call_id))["Class"] == [value]


def test_pyrad_reads_what_the_tests_take_it_for() -> None:
    """A reply that was changed on its way is none, whatever attribute was changed."""
    request: AuthPacket = access()
    answer = bytearray(parse(request.RequestPacket()).reply(ACCESS_ACCEPT, Secret(SECRET), signed=True))
    answer[25] ^= 1
    assert not request.VerifyReply(request.CreateReply(packet=bytes(answer)), bytes(answer), enforce_ma=True)
