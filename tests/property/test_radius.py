"""RADIUS for any bytes: nothing is raised, nobody is let in, and pyrad reads the same in the same packets."""

import hmac
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyrad.packet import AuthPacket, PacketError

from daemon.doors.radius import RadiusDoor
from daemon.doors.radius_clients import Clients
from daemon.doors.radius_packet import (
    ACCESS_ACCEPT,
    ACCESS_REJECT,
    ACCOUNTING_RESPONSE,
    Malformed,
    Secret,
    attribute,
    cisco,
    parse,
)
from daemon.live import Live
from tests.unit.daemon.doors.radius_gateway import NAMES, SECRET, access, accounting, clients_file, surroundings

FROM = ("127.0.0.1", 5000)
CISCO = 26
NUMBERS = st.integers(0, 255)
VALUES = st.binary(max_size=253)
PARTS = st.lists(
    st.tuples(NUMBERS, st.binary(max_size=40)).map(lambda one: bytes((one[0], 2 + len(one[1]))) + one[1])
    | st.binary(max_size=60).map(lambda value: b"\x1a%c\0\0\0\x09%b" % (6 + len(value), value))
    | st.binary(max_size=6),
    max_size=8,
).map(b"".join)
HEADS = st.builds(
    lambda code, length, body: (
        struct.pack("!BBH", code, 7, 20 + len(body) if length is None else length) + bytes(16) + body
    ),
    st.sampled_from([1, 2, 4, 5, 11, 12, 40, 43]) | NUMBERS,
    st.none() | st.integers(0, 65535),
    PARTS,
)
KNOWN = [access(), access(pin="4321"), access("7784322", ""), accounting("Start", Acct_Session_Id="17")]
KNOWN_BYTES = [packet.RequestPacket() for packet in KNOWN]
FLIPPED = st.builds(
    lambda datagram, at, bit: bytes(
        byte ^ (1 << bit if where == at % len(datagram) else 0) for where, byte in enumerate(datagram)
    ),
    st.sampled_from(KNOWN_BYTES),
    st.integers(0, 4095),
    st.integers(0, 7),
)
DATAGRAMS = st.binary(max_size=200) | HEADS | FLIPPED


def signed(datagram: bytes) -> bytes:
    """The same with a signature at its end that is right, and a length that is right."""
    head = datagram[:2] + struct.pack("!H", len(datagram) + 18) + datagram[4:]
    return head + b"\x50\x12" + hmac.digest(SECRET, head + b"\x50\x12" + bytes(16), "md5")


@pytest.fixture
def door(live: Live, tmp_path: Path) -> RadiusDoor:
    return RadiusDoor(surroundings(live), Clients.read(str(clients_file(tmp_path))))


def dropped(door: RadiusDoor) -> list[str]:
    """Watch what is dropped from now on, and why."""
    why: list[str] = []
    door._dropped = why.append
    return why


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(datagram=DATAGRAMS)
def test_whoever_does_not_know_the_secret_is_not_answered(door: RadiusDoor, datagram: bytes) -> None:
    """Nor is anything raised: what is wrong is counted, and never as something that broke."""
    why = dropped(door)
    assert door.authentication(datagram, FROM) is None
    assert door.accounting(datagram, FROM) is None
    assert len(why) == 2
    assert "failed" not in why


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(datagram=HEADS)
def test_whoever_knows_the_secret_breaks_nothing_either(door: RadiusDoor, datagram: bytes) -> None:
    """Gateways have faults too: with any attributes there is a proper answer or none, and nobody is let in."""
    why = dropped(door)
    for answer in (door.authentication, door.accounting):
        reply = answer(signed(datagram), FROM)
        if reply is not None:
            assert len(reply) == struct.unpack("!H", reply[2:4])[0] <= 4096
            # An Access-Accept says that this is alive, if that was the question, and nothing of a caller.
            assert reply[0] != ACCESS_ACCEPT or datagram[0] == 12
    assert "failed" not in why


@settings(max_examples=500, deadline=None)
@given(datagram=DATAGRAMS | HEADS.map(signed))
@example(datagram=b"\x01\x07\x00\x16" + bytes(16) + b"\x00\x02")
def test_pyrad_reads_the_same_in_any_bytes(datagram: bytes) -> None:
    try:
        theirs = AuthPacket(secret=SECRET, dict=NAMES, packet=datagram)
    except PacketError:
        with pytest.raises(Malformed):
            parse(datagram)
        return
    try:
        ours = parse(datagram)
    except Malformed:
        # Stricter: no attribute reaches over the end, and there is one signature at most, of 16 bytes.
        assert reaches_over_the_end(datagram) or [len(one) for one in dict.get(theirs, 80, [])] != [16]
        return
    assert (ours.code, ours.identifier, ours.authenticator) == (theirs.code, theirs.id, theirs.authenticator)
    for number in range(256):
        if number not in (CISCO, 80):
            assert list(ours.values(number)) == dict.get(theirs, number, [])
    assert (None if ours.signature is None else [ours.signature]) == dict.get(theirs, 80)
    if ours.signature is not None and theirs.code in (1, 12):
        assert ours.has_signature_of(Secret(SECRET)) == theirs.verify_message_authenticator()


def reaches_over_the_end(datagram: bytes) -> bool:
    at = 20
    length: int = struct.unpack("!H", datagram[2:4])[0]
    while at < length:
        at += datagram[at + 1]
    return at > length


ATTRIBUTES = st.fixed_dictionaries(
    {},
    optional={
        "Calling_Station_Id": VALUES,
        "Acct_Session_Id": VALUES,
        "Proxy_State": st.lists(st.binary(max_size=253).filter(lambda value: not value.startswith(b"0x")), max_size=3),
        "h323_conf_id": st.binary(max_size=247),
        "Class": st.binary(max_size=253).filter(lambda value: not value.startswith(b"0x")),
    },
)


@settings(max_examples=300, deadline=None)
@given(passcode=VALUES, pin=st.binary(max_size=128), secret=st.binary(min_size=1, max_size=100), attributes=ATTRIBUTES)
def test_what_pyrad_asks_is_read_as_it_was_meant(
    passcode: bytes, pin: bytes, secret: bytes, attributes: dict[str, Any]
) -> None:
    asked = access(passcode, pin, secret=secret, **attributes)
    ours = parse(asked.RequestPacket())
    shared = Secret(secret)
    assert ours.has_signature_of(shared)
    assert not ours.has_signature_of(Secret(secret + b"x"))
    assert ours.value(1) == passcode
    hidden = ours.value(2)
    assert hidden is not None
    assert shared.revealed(hidden, ours.authenticator) == pin.rstrip(b"\0")
    assert ours.value(31) == attributes.get("Calling_Station_Id")
    assert ours.cisco(24) == attributes.get("h323_conf_id")
    assert list(ours.values(33)) == attributes.get("Proxy_State", [])


@pytest.mark.parametrize("size", [1, 63, 64, 65, 200])
def test_a_secret_may_have_any_length(size: int) -> None:
    """HMAC takes those that are longer than a block of MD5 otherwise."""
    asked = access(pin="x" * 100, secret=b"s" * size)
    ours, shared = parse(asked.RequestPacket()), Secret(b"s" * size)
    assert ours.has_signature_of(shared)
    answer = ours.reply(ACCESS_ACCEPT, shared, signed=True)
    assert asked.VerifyReply(asked.CreateReply(packet=answer), answer, enforce_ma=True)


@settings(max_examples=300, deadline=None)
@given(secret=st.binary(min_size=1, max_size=100), attributes=ATTRIBUTES)
def test_what_pyrad_tells_in_accounting_is_known_by_its_authenticator(
    secret: bytes, attributes: dict[str, Any]
) -> None:
    told = accounting("Stop", secret=secret, **attributes)
    ours = parse(told.RequestPacket())
    assert ours.has_authenticator_of(Secret(secret))
    assert not ours.has_authenticator_of(Secret(secret + b"x"))
    answer = ours.reply(ACCOUNTING_RESPONSE, Secret(secret), signed=False)
    assert told.VerifyReply(told.CreateReply(packet=answer), answer)


@settings(max_examples=300, deadline=None)
@given(
    code=st.sampled_from([ACCESS_ACCEPT, ACCESS_REJECT]),
    states=st.lists(st.binary(max_size=253).filter(lambda value: not value.startswith(b"0x")), max_size=12),
    values=st.lists(st.tuples(st.sampled_from([18, 25]), st.binary(max_size=400)), max_size=12),
    vendors=st.lists(st.tuples(st.sampled_from([1, 103]), st.binary(max_size=400)), max_size=8),
)
def test_pyrad_reads_what_is_answered(
    code: int, states: list[bytes], values: list[tuple[int, bytes]], vendors: list[tuple[int, bytes]]
) -> None:
    """It verifies both authenticators, and finds the attributes in order, each cut to what one may have."""
    asked = access(Proxy_State=states)
    attributes = [*(cisco(number, value) for number, value in vendors), *(attribute(*one) for one in values)]
    answer = parse(asked.RequestPacket()).reply(code, Secret(SECRET), attributes, signed=True)
    assert len(answer) <= 4096
    reply = asked.CreateReply(packet=answer)
    assert asked.VerifyReply(reply, answer, enforce_ma=True)
    assert dict.get(reply, 33, []) == states
    told = [(number, value) for number in (1, 103) for value in dict.get(reply, (9, number), [])]
    meant = [(number, value) for which in (1, 103) for number, value in vendors if number == which]
    for (number, value), (wanted, whole) in zip(told, meant, strict=False):
        assert number == wanted
        assert whole.startswith(value)
        assert len(value) > 243 or value == whole


@given(text=st.text(max_size=300), secret=st.binary(min_size=1))
def test_a_text_is_cut_between_two_characters(text: str, secret: bytes) -> None:
    whole = text.encode()
    for made, most in ((attribute(18, whole)[2:], 253), (cisco(1, whole)[8:], 247)):
        assert len(made) <= most
        assert text.startswith(made.decode())
        assert len(made) > most - 4 or made == whole
