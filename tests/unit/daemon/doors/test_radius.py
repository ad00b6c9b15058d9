"""The RADIUS door over real sockets, asked with pyrad's packets."""

import asyncio
import hmac
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import structlog
from pyrad.packet import AcctPacket, AuthPacket

from daemon.doors.datagrams import answer_some
from daemon.doors.opening import enabled
from daemon.doors.radius import RadiusDoor, _Remembered, serving
from daemon.doors.radius_clients import Clients
from daemon.live import Live
from daemon.roll import NO_ROLL
from loader.door_sections import Doors, Radius
from loader.errors import SettingsError
from loader.index import Index
from loader.logs import exception_told
from loader.model import Conference, Passcode
from loader.ports import Ports
from loader.service import PortError
from tests.unit.daemon.doors.conftest import OWNERS
from tests.unit.daemon.doors.radius_gateway import (
    CONF_ID,
    NAMES,
    SECRET,
    Gateway,
    Served,
    access,
    accounting,
    clients_file,
    opened_door,
    pairs,
    status_server,
    surroundings,
)
from tests.unit.daemon.doors.throttles import Broken, Locking

ACCEPT, REJECT, ACCOUNTING_RESPONSE = 2, 3, 5


@pytest.fixture
async def served(live: Live, tmp_path: Path) -> AsyncIterator[Served]:
    async with opened_door(live, tmp_path) as door:
        yield door


@pytest.fixture
def gateway(served: Served) -> Gateway:
    return served.gateway()


# What is answered


async def test_an_accepted_pin_is_answered_with_who_it_is_and_what_he_joins(served: Served, gateway: Gateway) -> None:
    reply = await gateway.ask(access(h323_conf_id=f"h323-conf-id={CONF_ID}"))
    assert reply.code == ACCEPT
    assert reply["h323-return-code"] == ["h323-return-code=0"]
    assert reply["Reply-Message"] == ["This PIN is valid."]
    assert pairs(reply) == {
        "conference-id": "C-1001",
        "level": "organizer",
        "first-name": "Mike",
        "last-name": "Doe",
        "company": "XYZ",
    }
    (told,) = reply["Class"]
    assert told.startswith(b"rollcall:")
    assert told.endswith(f":{CONF_ID}".encode())
    assert served.verifications("accepted") == 1


@pytest.mark.parametrize("pin", ["", None, "12"])
async def test_a_conference_without_pin_entry_accepts_without_a_participant(gateway: Gateway, pin: str | None) -> None:
    reply = await gateway.ask(access("7784322", pin))
    assert reply.code == ACCEPT
    assert reply["h323-return-code"] == ["h323-return-code=0"]
    assert reply["Reply-Message"] == ["No PIN is needed."]
    assert pairs(reply) == {"conference-id": "C-1002"}


REJECTED = [
    ("7784321", "4321", 2, "unknown_pin"),
    ("7784321", "99", 7, "inactive_pin"),
    ("7784321", "", 2, "pin_required"),
    ("7784321", None, 2, "pin_required"),
    ("778432", "004127", 1, "unknown_passcode"),
    ("", "", 1, "unknown_passcode"),
    # What nobody can key is in no list.
    ("7784321", "٠٠٤١٢٧", 2, "unknown_pin"),
    ("7784321", b"\xff\xfe", 2, "unknown_pin"),
    ("7784321", b"004127\x00\x01", 2, "unknown_pin"),
    ("7784321", "004127 ", 2, "unknown_pin"),
    ("7784321", "0" * 33, 2, "unknown_pin"),
    ("7784321", "0" * 128, 2, "unknown_pin"),
    (b"\xff7784321", "004127", 1, "unknown_passcode"),
    ("7784321\x00", "004127", 1, "unknown_passcode"),
    ("7" * 253, "004127", 1, "unknown_passcode"),
]


@pytest.mark.parametrize(("passcode", "pin", "code", "reason"), REJECTED)
async def test_a_rejection_says_why(
    served: Served, gateway: Gateway, passcode: str, pin: str | None, code: int, reason: str
) -> None:
    reply = await gateway.ask(access(passcode, pin))
    assert reply.code == REJECT
    assert reply["h323-return-code"] == [f"h323-return-code={code}"]
    assert pairs(reply) == {"reason": reason}
    assert len(reply["Reply-Message"]) == 1
    assert "Class" not in reply
    assert served.verifications(reason) == 1


async def test_an_inactive_pin_sounds_like_an_unknown_one(gateway: Gateway) -> None:
    messages = [(await gateway.ask(access(pin=pin)))["Reply-Message"] for pin in ("99", "4321")]
    assert messages[0] == messages[1]


async def test_who_is_locked_out_hears_for_how_long(live: Live, tmp_path: Path) -> None:
    async with opened_door(live, tmp_path, Locking(caller=lambda _: 60)) as served:
        reply = await served.gateway().ask(access())
    assert (reply.code, reply["h323-return-code"]) == (REJECT, ["h323-return-code=10"])
    assert pairs(reply) == {"reason": "locked", "retry-after": "60"}


async def test_a_passcode_is_not_cut_to_the_length_of_another(live: Live, index: Index, gateway: Gateway) -> None:
    longest = Conference("C-9", "Long", Passcode("9" * 32), "alicia", False, OWNERS)
    live.swap(index.changed(conferences=[longest]))
    assert (await gateway.ask(access("9" * 32))).code == ACCEPT
    assert (await gateway.ask(access("9" * 33))).code == REJECT


CALLS: list[tuple[dict[str, Any], str | None, str | None]] = [
    ({"h323_conf_id": f"h323-conf-id={CONF_ID}", "Acct_Session_Id": "17"}, CONF_ID, None),
    ({"h323_conf_id": CONF_ID, "Calling_Station_Id": "+15550100"}, CONF_ID, "+15550100"),
    ({"Acct_Session_Id": "0000002A"}, "0000002A", None),
    ({"Acct_Session_Id": "", "Calling_Station_Id": ""}, None, None),
    ({"h323_conf_id": "h323-conf-id=", "Acct_Session_Id": "17"}, "17", None),
    ({"h323_conf_id": "h323-conf-id=", "Calling_Station_Id": b"\xff"}, None, "\ufffd"),
    ({"Acct_Session_Id": "x" * 253, "Calling_Station_Id": "5" * 253}, "x" * 128, "5" * 128),
    ({}, None, None),
    # Cisco's attributes may stand together in one of the vendor's, and other vendors have a 24 too.
    ({"Vendor_Specific": b"\0\0\0\x09\x01\x03x\x18\x0417"}, "17", None),
    ({"Vendor_Specific": [b"\0\0\0\x08\x18\x0418", b"\0\0\0\x09\x18\x0417"]}, "17", None),
    # What cannot be read is passed over.
    ({"Vendor_Specific": [b"\0\0\0\x09\x18\x0518", b"", b"\0\0\0\x09\x18", b"\0\0\0\x09\x18\x0417"]}, "17", None),
    (
        {"Vendor_Specific": [b"\0\0\0\x09\x18\x00", b"\0\0\0\x09\x01\x01\x18\x0418"], "Acct_Session_Id": "17"},
        "17",
        None,
    ),
]


@pytest.mark.parametrize(("attributes", "call_id", "caller"), CALLS)
async def test_call_and_caller_are_told(
    live: Live, tmp_path: Path, attributes: dict[str, Any], call_id: str | None, caller: str | None
) -> None:
    throttle = Locking()
    async with opened_door(live, tmp_path, throttle) as served:
        await served.gateway().ask(access(**attributes))
    (question,) = throttle.questions
    assert (question.passcode, question.pin) == ("7784321", "004127")
    assert (question.call_id, question.caller) == (call_id, caller)


async def test_proxies_get_their_states_back_in_order(gateway: Gateway) -> None:
    states = [b"first", b"\x00\xff", b"", b"first"]
    for request in (access(Proxy_State=states), access(pin="1", Proxy_State=states)):
        assert (await gateway.ask(request))["Proxy-State"] == states
    assert (await gateway.ask(accounting("Interim-Update", Proxy_State=states)))["Proxy-State"] == states


async def test_what_does_not_fit_beside_the_states_of_proxies_is_left_out(gateway: Gateway) -> None:
    """The verdict's number is there as long as it fits, and no reply has more bytes than a packet may have."""
    states = [*[bytes(253)] * 15, bytes(120)]
    reply = await gateway.ask(access(Proxy_State=states))
    assert reply["Proxy-State"] == states
    assert reply["h323-return-code"] == ["h323-return-code=0"]
    assert pairs(reply) == {"conference-id": "C-1001"}
    # Beside these there are 49 bytes: room for the verdict's 26, and not for the Class behind it.
    longest = access(Calling_Station_Id="+1555010012345678901", Proxy_State=[*states, bytes(60)])
    assert len(longest.RequestPacket()) == 4096
    reply = await gateway.ask(longest)
    assert reply.code == ACCEPT
    assert set(reply.keys()) == {"Message-Authenticator", "Proxy-State", "h323-return-code"}


async def test_what_follows_the_packet_in_its_datagram_is_ignored(gateway: Gateway) -> None:
    gateway.send(access().RequestPacket() + b"\x02\x02padding")
    assert (await gateway.heard())[0] == ACCEPT


# What is not answered


async def test_without_an_index_nothing_is_answered_so_that_the_gateway_asks_another_server(
    live: Live, index: Index, served: Served, gateway: Gateway
) -> None:
    live.index = None
    request = access()
    gateway.send(request.RequestPacket())
    gateway.send(status_server(AuthPacket).RequestPacket())
    await served.until(lambda: served.dropped("not_loaded") == 2)
    assert (await gateway.ask(accounting("Start", Acct_Session_Id="17"))).code == ACCOUNTING_RESPONSE
    live.swap(index)
    assert (await gateway.ask(request)).code == ACCEPT


async def test_what_breaks_is_not_answered_and_its_text_is_not_logged(live: Live, tmp_path: Path) -> None:
    async with opened_door(live, tmp_path, Broken()) as served:
        gateway = served.gateway()
        with structlog.testing.capture_logs() as logged:
            gateway.send(access().RequestPacket())
            reply = await gateway.ask(status_server(AuthPacket))
    assert reply.code == ACCEPT
    assert served.dropped("failed") == 1
    (line,) = logged
    error = line["exc_info"]
    assert (line["event"], line["door"]) == ("request_failed", "radius")
    told = exception_told((type(error), error, error.__traceback__))
    assert "ZeroDivisionError" in told
    assert "004127" not in told


async def test_what_is_no_pap_is_rejected_and_not_verified(served: Served, gateway: Gateway) -> None:
    """There is nothing to look up in a hash; silence would make the gateway give this server up."""
    requests = [access(pin=None, CHAP_Password=bytes(17)), access(CHAP_Password=bytes(17)), access(EAP_Message=b"")]
    for request in requests:
        reply = await gateway.ask(request)
        assert (reply.code, reply["Reply-Message"]) == (REJECT, ["Only PAP is understood."])
    assert served.dropped("not_pap") == 3
    assert served.verifications("accepted") == 0


def packet(code: int, attributes: bytes, *, length: int | None = None) -> bytes:
    return struct.pack("!BBH", code, 1, 20 + len(attributes) if length is None else length) + bytes(16) + attributes


def resigned(attributes: bytes) -> bytes:
    """An Access-Request with these attributes, and a signature that is right."""
    unsigned = packet(1, attributes + b"\x50\x12" + bytes(16))
    return unsigned[:-16] + hmac.digest(SECRET, unsigned, "md5")


NAME = b"\x01\x097784321"
DROPPED = [
    (b"", "malformed"),
    (bytes(19), "malformed"),
    (packet(1, b"")[:-1], "malformed"),
    (packet(1, NAME, length=19), "malformed"),
    (packet(1, NAME, length=30), "malformed"),
    (packet(1, bytes(4077)), "malformed"),
    (packet(1, b"\x01"), "malformed"),
    (packet(1, b"\x01\x00"), "malformed"),
    (packet(1, b"\x01\x01"), "malformed"),
    (packet(1, b"\x01\x03"), "malformed"),
    (packet(1, NAME + b"\x50\x11" + bytes(15)), "malformed"),
    (resigned(NAME + b"\x50\x12" + bytes(16)), "malformed"),
    (resigned((b"\x12\xff" + bytes(253)) * 15 + b"\x12\xe1" + bytes(223) + NAME), "malformed"),
    (resigned(b""), "malformed"),
    (resigned(NAME + NAME), "malformed"),
    (resigned(NAME + b"\x02\x02"), "malformed"),
    (resigned(NAME + b"\x02\x07short"), "malformed"),
    (resigned(NAME + b"\x02\x92" + bytes(144)), "malformed"),
    (resigned(NAME + (b"\x02\x12" + bytes(16)) * 2), "malformed"),
    (packet(1, NAME), "not_signed"),
    (packet(1, NAME + b"\x50\x12" + bytes(16)), "wrong_secret"),
    (packet(12, b""), "not_signed"),
    (packet(2, b""), "unexpected_code"),
    (packet(4, b""), "unexpected_code"),
    (packet(11, b""), "unexpected_code"),
    (packet(255, b""), "unexpected_code"),
]


@pytest.mark.parametrize(("datagram", "why"), DROPPED)
async def test_garbage_is_not_answered(served: Served, gateway: Gateway, datagram: bytes, why: str) -> None:
    with structlog.testing.capture_logs() as logged:
        assert await gateway.is_silent_to(datagram)
    assert served.dropped(why) == 1
    assert not logged


def test_what_the_list_of_garbage_is_made_with_can_be_answered() -> None:
    """Otherwise its signatures could all be wrong."""
    request = AuthPacket(secret=SECRET, dict=NAMES, packet=resigned(NAME))
    assert request.verify_message_authenticator()


async def test_a_request_without_a_signature_is_not_answered(served: Served, gateway: Gateway) -> None:
    assert await gateway.is_silent_to(access(signed=False).RequestPacket())
    assert served.dropped("not_signed") == 1


async def test_who_does_not_know_the_secret_is_not_answered(served: Served, gateway: Gateway) -> None:
    assert await gateway.is_silent_to(access(secret=b"another-secret").RequestPacket())
    assert await gateway.is_silent_to(status_server(AuthPacket, secret=b"another-secret").RequestPacket())
    assert await gateway.is_silent_to(accounting("Start", secret=b"another-secret").RequestPacket(), to_accounting=True)
    status = status_server(AcctPacket, secret=b"another-secret")
    assert await gateway.is_silent_to(status.RequestPacket(), to_accounting=True)
    assert served.dropped("wrong_secret") == 4
    assert served.calls("joined") == 0


async def test_who_is_no_client_is_not_answered(served: Served, gateway: Gateway) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.2", 0))
        stranger.sendto(access().RequestPacket(), ("127.0.0.1", served.port))
        stranger.sendto(accounting("Start").RequestPacket(), ("127.0.0.1", served.accounting_port))
        assert (await gateway.ask(access())).code == ACCEPT
        assert (await gateway.ask(accounting("Interim-Update"))).code == ACCOUNTING_RESPONSE
        with pytest.raises(BlockingIOError):
            stranger.recv(4096, socket.MSG_DONTWAIT)
    assert served.dropped("unknown_client") == 2
    assert served.verifications("accepted") == 1


async def test_a_thousand_sources_of_halves_and_garbage_keep_no_caller_waiting(served: Served) -> None:
    halves = [access().RequestPacket()[:size] for size in (3, 19, 40)]
    others = [Gateway(served) for _ in range(1000)]
    loop = asyncio.get_running_loop()
    waited = []
    try:
        for number, other in enumerate(others):
            other.send(halves[number % 3])
            other.send(b"\x01" * number)
            if number % 10 == 9:
                begun = loop.time()
                assert (await served.gateway().ask(access())).code == ACCEPT
                waited.append(loop.time() - begun)
    finally:
        for other in others:
            other.socket.close()
    assert median(waited) < 0.1
    assert served.dropped("malformed") == 2000
    assert served.verifications("accepted") == 100


# Retransmissions


async def test_a_retransmission_gets_the_same_bytes_and_counts_once(served: Served, gateway: Gateway) -> None:
    for request in (access(identifier=1), access(pin="4321", identifier=2)):
        datagram = request.RequestPacket()
        answers = set()
        for _ in range(4):
            gateway.send(datagram)
            answers.add(await gateway.heard())
        assert len(answers) == 1
    assert served.verifications("accepted") == 1
    assert served.verifications("unknown_pin") == 1


async def test_an_accounting_request_that_is_sent_again_counts_once(served: Served, gateway: Gateway) -> None:
    datagram = accounting("Start", Acct_Session_Id="17").RequestPacket()
    answers = set()
    for _ in range(4):
        gateway.send(datagram, to_accounting=True)
        answers.add(await gateway.heard())
    assert len(answers) == 1
    assert served.calls("joined") == 1


async def test_the_same_identifier_is_a_new_request_with_another_authenticator_or_from_another_port(
    served: Served, gateway: Gateway
) -> None:
    request = access(pin="4321")
    await gateway.ask(request)
    await gateway.ask(access(pin="4321"))
    await served.gateway().ask(request)
    # The first one's answer is no longer remembered: its identifier has been used for another.
    await gateway.ask(request)
    assert served.verifications("unknown_pin") == 4


async def test_the_answer_to_one_caller_is_never_that_of_another(served: Served, gateway: Gateway) -> None:
    """Not even where a gateway's identifiers and authenticators repeat, as they must not."""

    def asked(request: Any) -> Any:
        again = AuthPacket(request.code, secret=SECRET, dict=NAMES, id=7, authenticator=bytes(16))
        if request.code == 1:
            again["User-Name"] = "7784321"
            again["User-Password"] = again.PwCrypt(request.PwDecrypt(request["User-Password"][0]))
        again.add_message_authenticator()
        return again

    assert (await gateway.ask(asked(status_server(AuthPacket)))).code == ACCEPT
    assert (await gateway.ask(asked(access(pin="4321")))).code == REJECT
    assert (await gateway.ask(asked(access()))).code == ACCEPT
    assert (await gateway.ask(asked(access(pin="4321")))).code == REJECT


async def test_a_retransmission_must_be_signed_too(served: Served, gateway: Gateway) -> None:
    """Who has seen a request cannot draw its answer again with something else."""
    request = access()
    await gateway.ask(request)
    forged = bytearray(request.RequestPacket())
    forged[-1] ^= 1
    assert await gateway.is_silent_to(bytes(forged))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def door(live: Live, clock: Clock, folder: Path) -> tuple[RadiusDoor, Served]:
    around = surroundings(live)
    return RadiusDoor(around, Clients.read(str(clients_file(folder))), clock=clock), Served(0, 0, around.metrics)


def test_an_answer_is_remembered_for_all_retransmissions_and_not_for_ever(live: Live, tmp_path: Path) -> None:
    clock = Clock()
    radius, served = door(live, clock, tmp_path)
    datagram = access().RequestPacket()
    first = radius.authentication(datagram, ("127.0.0.1", 5000))
    clock.now += 20
    assert radius.authentication(datagram, ("127.0.0.1", 5000)) == first
    clock.now += 11
    assert radius.authentication(datagram, ("127.0.0.1", 5000)) not in (first, None)
    assert served.verifications("accepted") == 2


def test_what_is_remembered_is_bounded(live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.doors.radius._MOST", 10)
    clock = Clock()
    radius, served = door(live, clock, tmp_path)
    datagram = access().RequestPacket()

    def asked_again(*ports: int) -> float:
        """How many of these were no longer remembered."""
        before = served.verifications("accepted")
        for port in ports:
            radius.authentication(datagram, ("127.0.0.1", port))
        return served.verifications("accepted") - before

    assert asked_again(*range(11)) == 11
    assert asked_again(*range(1, 11)) == 0
    assert asked_again(0) == 1
    assert asked_again(1) == 1


def test_who_uses_an_identifier_anew_is_not_the_oldest_and_what_is_old_is_given_back() -> None:
    clock = Clock()
    remembered = _Remembered(clock)
    one, other, third = (("127.0.0.1", 1), 1), (("127.0.0.1", 1), 2), (("127.0.0.1", 1), 3)
    remembered.keep(one, b"first", b"reply")
    clock.now += 20
    remembered.keep(other, b"first", b"reply")
    remembered.keep(one, b"second", b"another")
    clock.now += 20
    remembered.keep(third, b"first", b"reply")
    assert list(remembered._replies) == [other, one, third]
    clock.now += 15
    remembered.keep(third, b"second", b"reply")
    assert list(remembered._replies) == [third]


# Accounting


@pytest.mark.parametrize(("status", "event"), [("Start", "joined"), ("Stop", "left")])
@pytest.mark.parametrize(
    "attributes",
    [
        {"Acct_Session_Id": "17"},
        {"h323_conf_id": f"h323-conf-id={CONF_ID}", "Acct_Session_Id": "17"},
        {"Class": [b"another", b"rollcall:1-2:17"]},
    ],
)
async def test_start_and_stop_tell_who_joined_and_left(
    served: Served, gateway: Gateway, status: str, event: str, attributes: dict[str, Any]
) -> None:
    reply = await gateway.ask(accounting(status, **attributes))
    assert reply.code == ACCOUNTING_RESPONSE
    assert served.calls(event) == 1
    assert served.calls("joined") + served.calls("left") == 1


CLASSES: list[tuple[dict[str, Any], str]] = [
    ({"Class": b"rollcall:9f-1:call:17", "Acct_Session_Id": "18", "h323_conf_id": "19"}, "call:17"),
    ({"Class": b"rollcall:9f-1:", "Acct_Session_Id": "18"}, "18"),
    ({"Class": [b"x", b"rollcall:9f-1:17", b"rollcall:9f-1:16"], "Acct_Session_Id": "18"}, "17"),
    ({"Class": b"another", "Acct_Session_Id": "18", "h323_conf_id": "h323-conf-id=19"}, "19"),
    ({"Acct_Session_Id": "18"}, "18"),
]


@pytest.mark.parametrize(("attributes", "call_id"), CLASSES)
async def test_the_call_is_the_one_that_the_verification_was_for(
    live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attributes: dict[str, Any], call_id: str
) -> None:
    heard: list[str] = []
    monkeypatch.setattr("daemon.doors.surroundings.Calls.joined", lambda _, call: heard.append(call))
    async with opened_door(live, tmp_path) as served:
        await served.gateway().ask(accounting("Start", **attributes))
    assert heard == [call_id]


async def test_what_an_accept_says_brings_accounting_back_to_its_call(
    live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the gateway's accounting has other IDs, or the call's ID is too long to be told with the Class."""
    heard: list[str] = []
    monkeypatch.setattr("daemon.doors.surroundings.Calls.joined", lambda _, call: heard.append(call))
    async with opened_door(live, tmp_path) as served:
        gateway = served.gateway()
        for call_id in ("17", "é" * 126):
            reply = await gateway.ask(access(Acct_Session_Id=call_id))
            await gateway.ask(accounting("Start", Class=reply["Class"], Acct_Session_Id="other"))
    assert heard == ["17", "other"]


@pytest.mark.parametrize("status", ["Interim-Update", "Accounting-On", "Accounting-Off", 15])
async def test_other_accounting_is_answered_and_changes_nothing(served: Served, gateway: Gateway, status: str) -> None:
    reply = await gateway.ask(accounting(status, Acct_Session_Id="17"))
    assert reply.code == ACCOUNTING_RESPONSE
    assert served.calls("joined") == served.calls("left") == 0


@pytest.mark.parametrize(
    "attributes", [{"status": None, "Acct_Session_Id": "17"}, {"status": "Start"}, {"status": "Stop", "Class": b"x"}]
)
async def test_accounting_that_tells_of_no_call_is_not_answered(
    served: Served, gateway: Gateway, attributes: dict[str, Any]
) -> None:
    """What is not recorded must not be confirmed: RFC 2866, section 4.1."""
    assert await gateway.is_silent_to(accounting(**attributes).RequestPacket(), to_accounting=True)
    assert served.dropped("malformed") == 1


async def test_each_port_has_its_own_requests(served: Served, gateway: Gateway) -> None:
    assert await gateway.is_silent_to(access().RequestPacket(), to_accounting=True)
    assert await gateway.is_silent_to(accounting("Start", Acct_Session_Id="1").RequestPacket())
    assert served.dropped("unexpected_code") == 2


# Is it alive?


async def test_both_ports_say_that_they_are_alive(served: Served, gateway: Gateway) -> None:
    assert (await gateway.ask(status_server(AuthPacket))).code == ACCEPT
    assert (await gateway.ask(status_server(AcctPacket))).code == ACCOUNTING_RESPONSE
    assert await gateway.is_silent_to(status_server(AuthPacket, signed=False).RequestPacket())
    unsigned = status_server(AcctPacket, signed=False).RequestPacket()
    assert await gateway.is_silent_to(unsigned, to_accounting=True)
    assert served.dropped("not_signed") == 2


# Opening and shutting


async def test_the_settings_open_the_door(live: Live, tmp_path: Path) -> None:
    settings = Radius(enabled=True, port=0, accounting_port=0, clients_file=str(clients_file(tmp_path)))
    ((name, opening),) = enabled(Doors(radius=settings), surroundings(live))
    assert name == "radius"
    async with opening as port:
        assert port
    assert not list(enabled(Doors(), surroundings(live)))


@pytest.mark.parametrize("taken", ["port", "accounting_port"])
async def test_a_port_that_is_taken_is_named(live: Live, tmp_path: Path, taken: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        ports = {"port": 0, "accounting_port": 0, taken: other.getsockname()[1]}
        settings = Radius(enabled=True, clients_file=str(clients_file(tmp_path)), **ports)
        with pytest.raises(PortError, match=rf"^doors\.radius\.{taken}: port [0-9]+ on 127\.0\.0\.1 is in use$"):
            async with serving(settings, surroundings(live)):
                raise NotImplementedError


async def test_a_host_that_is_not_ours_is_named(live: Live, tmp_path: Path) -> None:
    settings = Radius(enabled=True, host="192.0.2.1", port=0, clients_file=str(clients_file(tmp_path)))
    with pytest.raises(PortError, match=r"^doors\.radius\.accounting_port: port 1813 on 192\.0\.2\.1 cannot be used"):
        async with serving(settings, surroundings(live)):
            raise NotImplementedError


async def test_without_clients_the_door_does_not_open(live: Live) -> None:
    with pytest.raises(SettingsError, match=r"^doors\.radius\.clients_file: "):
        async with serving(Radius(enabled=True), surroundings(live)):
            raise NotImplementedError


async def test_what_has_come_is_answered_at_the_end(live: Live, tmp_path: Path) -> None:
    settings = Radius(enabled=True, port=0, accounting_port=0, clients_file=str(clients_file(tmp_path)))
    around = surroundings(live)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waiting:
        async with serving(settings, around) as port:
            for identifier in range(100):
                waiting.sendto(access(identifier=identifier).RequestPacket(), ("127.0.0.1", port))
        waiting.settimeout(10)
        assert [waiting.recv(4096)[1] for _ in range(100)] == list(range(100))


async def test_what_comes_while_nobody_is_there_waits_at_the_sockets_that_systemd_holds(
    live: Live, tmp_path: Path
) -> None:
    """Also at several of one name; the next daemon answers it."""
    settings = Radius(enabled=True, port=0, accounting_port=0, clients_file=str(clients_file(tmp_path)))
    with ExitStack() as stack:
        waiting, one, other = (stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(3))
        for held in (one, other):
            held.bind(("127.0.0.1", 0))
            held.setblocking(False)
        waiting.settimeout(10)
        for identifier in (7, 8):
            for held in (one, other):
                waiting.sendto(access(identifier=identifier).RequestPacket(), held.getsockname())
            ports = Ports(None, {"doors.radius.port": [one.dup(), other.dup()]})
            async with serving(settings, surroundings(live)._replace(ports=ports)) as port:
                assert port == one.getsockname()[1]
            assert [waiting.recv(4096)[1] for _ in range(2)] == [identifier] * 2


async def test_at_the_end_nobody_can_keep_the_door_open(live: Live, tmp_path: Path) -> None:
    """Draining ends after its time, though more comes all the while."""
    around = surroundings(live)._replace(drain_timeout=lambda: 0.0)
    settings = Radius(enabled=True, port=0, accounting_port=0, clients_file=str(clients_file(tmp_path)))
    served = Served(0, 0, around.metrics)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        async with serving(settings, around) as port:
            for _ in range(100):
                other.sendto(b"", ("127.0.0.1", port))
    assert served.dropped("malformed") == 64


class Unsendable:
    """A socket with one datagram, from where nothing can be sent to."""

    def __init__(self) -> None:
        self.datagrams = [(access().RequestPacket(), ("127.0.0.1", 0))]

    def recvfrom(self, size: int) -> tuple[bytes, tuple[str, int]]:
        if not self.datagrams:
            raise BlockingIOError
        return self.datagrams.pop()

    def sendto(self, data: bytes, address: tuple[str, int]) -> None:
        raise OSError


def test_an_answer_that_cannot_be_sent_is_lost_and_nothing_else() -> None:
    heard: list[bytes] = []

    def answer(datagram: bytes, _address: object) -> bytes:
        heard.append(datagram)
        return b"answer"

    assert not answer_some(Unsendable(), answer, NO_ROLL.when_kept)  # type: ignore[arg-type]
    assert len(heard) == 1
