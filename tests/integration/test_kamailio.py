"""A real Kamailio with the configuration that is shipped, between a caller and a bridge made of sipp.

Where Kamailio has the module http_async_client, which Debian leaves out, all is tested with that one too. KAMAILIO_MODULES
may name the folder of the modules.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from loader.keyring import Keyring
from loader.model import Entry, Level, Owner, Pin
from loader.publish import publish
from loader.store import open_store
from tests.integration.conftest import Start
from tests.integration.processes import UNCOUNTED, Daemon, Installation, free_port, wait_until
from tests.integration.programs import program
from tests.integration.sip import Bridge, Message, Phone, SipServer, call, free_udp_port

CONFIGURATION = Path(__file__).parents[2] / "configs" / "switches" / "kamailio" / "kamailio.cfg"
PASSCODE, OPEN = "7784321", "7784322"
PIN, INACTIVE = "004127", "5550199"
QUOTED = "5550177"
WRONG = "9041755501"
MANY = 300
_MODULES = os.environ.get("KAMAILIO_MODULES", "")
REFUSED = "Passcode or PIN is not valid"


@pytest.fixture
def installation(installation: Installation) -> Installation:
    """With somebody whose PIN is switched off, and with a name that is awkward in a header."""
    entries = [
        _entry(PIN, "Mike", "Doe"),
        _entry(INACTIVE, "Paul", "Doe", active=False),
        _entry(QUOTED, 'Ann "Zoë" \\ O\'Neil', "$rU %0D%0A+ Doe;x=1 & <b>"),
    ]

    async def put() -> None:
        async with open_store(installation.environment["ROLLCALL_DATABASE__URL"]) as store:
            owner = Owner(Level.ORGANIZER, "alicia")
            await publish(store, Keyring.load(installation.key), owner, entries, by="test", source="test")

    asyncio.run(put())
    return installation


def _has(module: str) -> bool:
    folders = [Path(_MODULES)] if _MODULES else Path("/usr").glob("lib*/**/kamailio/modules")
    return any((folder / f"{module}.so").exists() for folder in folders)


def _entry(pin: str, first_name: str, last_name: str, *, active: bool = True) -> Entry:
    return Entry(Pin(pin), first_name, last_name, "XYZ", "", "", "Uxbridge", "UK", "", active)


class Stub:
    """Stands for a Rollcall that answers questions with these bytes, the last of them again and again; None: silence."""

    def __init__(self, *answers: bytes | None) -> None:
        self._answers = list(answers)
        self.asked: list[bytes] = []
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), self._handle)  # type: ignore[arg-type]
        self._server.daemon_threads = True
        self._server.request_queue_size = 500
        self._server.socket.listen(500)
        self._over = threading.Event()
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _handle(self, connection: socket.socket, *_: object) -> None:
        self.asked.append(connection.recv(65536))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if answer is None:
            self._over.wait(60)
        else:
            connection.sendall(answer)

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()


StartStub = Callable[..., Stub]


@pytest.fixture
def stub() -> Iterator[StartStub]:
    stubs: list[Stub] = []

    def start(*answers: bytes | None) -> Stub:
        stubs.append(Stub(*answers))
        return stubs[-1]

    yield start
    for one in stubs:
        one.close()


def http(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (status, len(body), body)


Kamailio = Callable[..., SipServer]


@pytest.fixture(params=["http_client", *(["http_async_client"] if _has("http_async_client") else [])])
def kamailio(tmp_path: Path, token: str, request: pytest.FixtureRequest) -> Iterator[Kamailio]:
    """Starts Kamailio with these settings; what it logged must hold no PIN that the tests use."""
    servers: list[SipServer] = []

    def start(daemon_port: int, bridge_port: int, **more: str) -> SipServer:
        port = free_udp_port()
        settings = {
            "LISTEN": f"udp:127.0.0.1:{port}",
            "BRIDGE": f'"127.0.0.1:{bridge_port}"',
            "ROLLCALL": f'"http://127.0.0.1:{daemon_port}"',
            "ROLLCALL_TOKEN": f'"{token}"',
            **more,
        }
        if request.param == "http_async_client":
            settings["WITH_HTTP_ASYNC"] = ""
        defines = [part for name, value in settings.items() for part in ("-A", f"{name}={value}" if value else name)]
        command = [program("kamailio"), "-f", str(CONFIGURATION), "-DD", "-E", "-m", "32", "-Y", str(tmp_path)]
        modules = ["-L", _MODULES] if _MODULES else []
        servers.append(SipServer(tmp_path, port, [*command, *modules, *defines]))
        servers[-1].wait_until_it_answers()
        return servers[-1]

    yield start
    logs = [server.log for server in servers]
    for server in servers:
        server.stop()
    for log in logs:
        errors = re.findall(r"^.*(?:ERROR|CRITICAL|BUG).*$", log, re.MULTILINE)
        assert all(re.search(r" http_(async_)?client ", error) for error in errors), log
        for secret in (PIN, INACTIVE, QUOTED, WRONG, token):
            assert secret not in log


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[Bridge]:
    bridge = Bridge(tmp_path, free_udp_port())
    yield bridge
    bridge.kill()


@pytest.fixture
def daemon(start: Start) -> Daemon:
    return start(**UNCOUNTED).wait_until_ready()


@pytest.fixture
def server(kamailio: Kamailio, daemon: Daemon, bridge: Bridge) -> SipServer:
    """All three, as they belong together."""
    return kamailio(daemon.port, bridge.port)


def test_who_is_accepted_reaches_the_bridge_with_his_name_and_without_his_pin(
    server: SipServer, bridge: Bridge, tmp_path: Path
) -> None:
    """To hang up goes through as well. The caller's own To header comes back to him as he sent it."""
    calls = call(tmp_path, server.port, f"{PASSCODE}*{PIN}")
    (invited,) = bridge.invited
    assert invited.first == f"INVITE sip:C-1001@127.0.0.1:{bridge.port} SIP/2.0"
    assert invited.header("X-Rollcall-Name") == '"Mike Doe"'
    assert invited.header("To") == f"<sip:C-1001@127.0.0.1:{bridge.port}>"
    assert not bridge.heard(PIN)
    assert not bridge.heard(PASSCODE)
    assert f"{PASSCODE}*{PIN}@" in str(calls.answer.header("To"))
    assert bridge.heard("BYE sip:")


def test_a_name_with_quotes_stays_one_header(server: SipServer, bridge: Bridge, tmp_path: Path) -> None:
    """Quotes and backslashes are escaped (RFC 3261, section 25.1), and nothing in a name is read as a script."""
    call(tmp_path, server.port, f"{PASSCODE}*{QUOTED}")
    (invited,) = bridge.invited
    name = str(invited.header("X-Rollcall-Name"))
    assert re.fullmatch(r'"(?:[^"\\]|\\.)*"', name)
    assert re.sub(r"\\(.)", r"\1", name[1:-1]) == 'Ann "Zoë" \\ O\'Neil $rU %0D%0A+ Doe;x=1 & <b>'


def test_a_pin_may_come_in_a_header_which_goes_no_further(server: SipServer, bridge: Bridge, tmp_path: Path) -> None:
    call(tmp_path, server.port, PASSCODE, headers=f"x-rollcall-pin: {PIN}\n")
    (invited,) = bridge.invited
    assert invited.header("X-Rollcall-Name") == '"Mike Doe"'
    assert invited.header("X-Rollcall-PIN") is None
    assert not bridge.heard(PIN)


def test_what_only_rollcall_may_say_is_not_taken_from_a_caller(
    server: SipServer, bridge: Bridge, tmp_path: Path
) -> None:
    forged = 'x-rollcall-name: "The Boss"\nX-Rollcall-Level: company\nHistory-Info: <sip:{user}@x>;index=1\n'
    forged = forged.replace("{user}", f"{PASSCODE}*{PIN}")
    call(tmp_path, server.port, f"{PASSCODE}*{PIN}", headers=forged)
    call(tmp_path, server.port, OPEN, headers=forged)
    with_name, without = bridge.invited
    assert with_name.header("X-Rollcall-Name") == '"Mike Doe"'
    assert without.header("X-Rollcall-Name") is None
    for invited in (with_name, without):
        assert invited.header("X-Rollcall-Level") is None
    assert not bridge.heard(PIN)


@pytest.mark.parametrize("user", [OPEN, f"{OPEN}*", f"{OPEN}*{WRONG}"])
def test_a_conference_without_pin_entry_takes_whoever_knows_it(
    server: SipServer, bridge: Bridge, tmp_path: Path, user: str
) -> None:
    call(tmp_path, server.port, user)
    assert [invited.first.split()[1] for invited in bridge.invited] == [f"sip:C-1002@127.0.0.1:{bridge.port}"]


def test_whoever_is_refused_hears_the_same_and_never_reaches_the_bridge(
    kamailio: Kamailio, daemon: Daemon, bridge: Bridge, tmp_path: Path
) -> None:
    """A wrong PIN, an unknown passcode, an inactive PIN, none, and what is neither passcode nor PIN.

    The same process has just let somebody in, and nothing of him is left.
    """
    server = kamailio(daemon.port, bridge.port, WAITING="1")
    call(tmp_path, server.port, f"{PASSCODE}*{PIN}")
    users = [
        f"{PASSCODE}*{WRONG}",
        f"9999999*{PIN}",
        f"{PASSCODE}*{INACTIVE}",
        PASSCODE,
        f"{PASSCODE}*",
        f"{PASSCODE}*{PIN}*",
        f"{PASSCODE}*{PIN}*1",
        f"*{PIN}",
        "C-1001",
        "bridge",
        "1" * 33,
        f"{PASSCODE}*12&passcode=7784322",
        f"{PASSCODE}*%0D%0A",
        f"{OPEN}'",
        f"{OPEN}%2A",
    ]
    answers = [call(tmp_path, server.port, user, expect=403).answer for user in users]
    assert {answer.first for answer in answers} == {f"SIP/2.0 403 {REFUSED}"}
    assert all(answer.header("Retry-After") is None for answer in answers)
    assert len(bridge.invited) == 1


def test_a_few_hundred_calls_in_a_row_are_all_answered(
    kamailio: Kamailio, bridge: Bridge, daemon: Daemon, tmp_path: Path
) -> None:
    """Those who are let in, and those who are not; each call is asked about once.

    The time limit is out of the way of a machine that is busy with other things.
    """
    server = kamailio(daemon.port, bridge.port, SECONDS="10", MILLISECONDS="10000")
    call(tmp_path, server.port, f"{PASSCODE}*{PIN}", count=MANY, rate=100)
    call(tmp_path, server.port, f"{PASSCODE}*{WRONG}", expect=403, count=MANY, rate=100)
    assert len(bridge.invited) == MANY
    for result, count in (("accepted", MANY), ("unknown_pin", MANY)):
        assert daemon.metric(f'rollcall_verifications_total{{door="http",result="{result}"}}') == count


# When Rollcall cannot be asked


def test_without_a_daemon_a_call_is_refused_at_once(kamailio: Kamailio, bridge: Bridge, tmp_path: Path) -> None:
    server = kamailio(free_port(), bridge.port)
    calls = call(tmp_path, server.port, f"{PASSCODE}*{PIN}", expect=503)
    assert calls.answer.first == "SIP/2.0 503 PIN cannot be checked"
    assert calls.seconds < 1
    assert not bridge.invited


def test_a_daemon_that_says_nothing_is_waited_for_no_longer_than_the_limit(
    kamailio: Kamailio, bridge: Bridge, stub: StartStub, tmp_path: Path
) -> None:
    """One call, and then a hundred together: they do not wait for each other."""
    silent = stub(None)
    server = kamailio(silent.port, bridge.port)
    alone = call(tmp_path, server.port, f"{PASSCODE}*{PIN}", expect=503)
    assert alone.seconds < 2
    together = call(tmp_path, server.port, f"{PASSCODE}*{PIN}", expect=503, count=100, rate=1000)
    assert together.seconds < 5
    assert not bridge.invited


def test_while_calls_wait_for_rollcall_others_are_answered(kamailio: Kamailio, bridge: Bridge, stub: StartStub) -> None:
    """As many as can wait, and more than there are processes to receive SIP."""
    silent = stub(None)
    server = kamailio(silent.port, bridge.port)
    with closing(Phone(server.port)) as phone:
        for _ in range(16):
            phone.send("INVITE", f"{PASSCODE}*{PIN}")
        wait_until(lambda: len(silent.asked) == 16)
        begun = time.monotonic()
        phone.send("OPTIONS", "anybody")
        assert phone.answer("OPTIONS").status == 200
        assert time.monotonic() - begun < 0.5


def test_after_a_silence_the_next_calls_are_asked_about_again(
    kamailio: Kamailio, bridge: Bridge, stub: StartStub, start: Start, tmp_path: Path
) -> None:
    """A daemon that comes back answers within a few seconds, without anybody doing anything."""
    silent = stub(None)
    daemon_port = silent.port
    server = kamailio(daemon_port, bridge.port)
    call(tmp_path, server.port, f"{PASSCODE}*{PIN}", expect=503, count=20, rate=1000)
    silent.close()
    daemon = start(ROLLCALL_DAEMON__PORT=str(daemon_port)).wait_until_ready()
    assert daemon.port == daemon_port

    def is_let_in() -> bool:
        with closing(Phone(server.port)) as phone:
            phone.send("INVITE", f"{PASSCODE}*{PIN}")
            return phone.answer("INVITE").status == 200

    wait_until(is_let_in, within=10)


@pytest.mark.parametrize(
    "answer",
    [
        http(b"result=accepted&conference_id=C-1001", b"500 Internal Server Error"),
        http(b"result=accepted&conference_id=C-1001", b"202 Accepted"),
        http(b"result=error&title=Unauthorized", b"401 Unauthorized"),
        http(b"result=accepted"),
        http(b"result=accepted&conference_id="),
        http(b"result=accepted&conference_id=C-1001@elsewhere"),
        http(b"result=accepted\r\n&conference_id=C-1001"),
        http(b"result=acceptedly&conference_id=C-1001"),
        http(b"result=error&title=accepted&conference_id=C-1001"),
        http(b"accepted|Mike|Doe|XYZ|organizer|C-1001"),
        http(b'{"result":"accepted","conference_id":"C-1001"}'),
        http(b"<html>\nresult=accepted&conference_id=C-1001\n</html>"),
        http(b"<html>result=accepted&conference_id=C-1001</html>"),
        http(b""),
        http(b"\0\xff" * 40_000),
        b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\nresult=accepted&conference_id=C-1001",
        b"result=accepted&conference_id=C-1001",
        b"",
    ],
)
def test_an_answer_that_does_not_say_accepted_lets_nobody_in(
    kamailio: Kamailio, bridge: Bridge, stub: StartStub, tmp_path: Path, answer: bytes
) -> None:
    """Neither in a process that has asked about nobody yet, nor in one whose last caller was let in."""
    accepted = http(b"result=accepted&verification_id=1-1&conference_id=C-1001")
    server = kamailio(stub(answer, accepted, answer).port, bridge.port, WAITING="1")
    for expect in (503, 200, 503):
        call(tmp_path, server.port, f"{PASSCODE}*{PIN}", expect=expect)
    assert len(bridge.invited) == 1


def test_what_is_asked_is_a_form_that_a_caller_cannot_add_to(
    kamailio: Kamailio, bridge: Bridge, stub: StartStub, token: str
) -> None:
    rollcall = stub(http(b"result=rejected&reason=unknown_pin"))
    server = kamailio(rollcall.port, bridge.port)
    with closing(Phone(server.port)) as phone:
        phone.send_within(f"a&pin=1+=%26{'x' * 200}", "INVITE", f"{PASSCODE}*{PIN}")
        assert phone.answer("INVITE").status == 403
        phone.send_within("2", "INVITE", PASSCODE, caller="sip:example.com")
        assert phone.answer("INVITE").status == 403
    asked, without_caller = rollcall.asked
    assert without_caller.endswith(f"passcode={PASSCODE}&pin=&call_id=2&caller=".encode())
    head, _, body = asked.decode().partition("\r\n\r\n")
    assert head.startswith("POST /v1/verify.txt?style=form HTTP/1.1\r\n")
    assert f"\r\nAuthorization: Bearer {token}\r\n" in f"{head}\r\n"
    assert PIN not in head
    fields = parse_qsl(body, strict_parsing=True)
    assert fields[:2] == [("passcode", PASSCODE), ("pin", PIN)]
    assert len(fields) == len(dict(fields)) == 4
    assert dict(fields)["call_id"].startswith("a&pin=1+=%26")
    assert len(dict(fields)["call_id"]) == 128
    assert dict(fields)["caller"] == "+15550100"


@pytest.mark.parametrize("name", ["Mike%0D%0AX-Evil%3A%201", "Mike%0AX-Evil%3A1", "Mike%00", "%1B"])
def test_no_name_ends_a_header_whatever_rollcall_says(
    kamailio: Kamailio, bridge: Bridge, stub: StartStub, tmp_path: Path, name: str
) -> None:
    """Its own answers hold no control character."""
    body = f"result=accepted&verification_id=1-1&level=company&conference_id=C-1001&first_name={name}&last_name=Doe"
    server = kamailio(stub(http(body.encode())).port, bridge.port)
    call(tmp_path, server.port, f"{PASSCODE}*{PIN}")
    (invited,) = bridge.invited
    assert invited.header("X-Evil") is None
    assert invited.header("X-Rollcall-Name") in (None, r'"Mike\0 Doe"')


@pytest.mark.parametrize(
    ("seconds", "told"), [("&retry_after=60", "60"), ("", None), ("&retry_after=60%0D%0AX-Evil%3A1", None)]
)
def test_who_is_locked_out_is_told_when_to_try_again(
    kamailio: Kamailio,
    bridge: Bridge,
    stub: StartStub,
    tmp_path: Path,
    seconds: str,
    told: str | None,
) -> None:
    locked = stub(http(f"result=rejected&reason=locked{seconds}&verification_id=1-1".encode()))
    server = kamailio(locked.port, bridge.port)
    answer = call(tmp_path, server.port, f"{PASSCODE}*{PIN}", expect=480).answer
    assert answer.first == "SIP/2.0 480 Too many wrong tries"
    assert answer.header("Retry-After") == told
    assert not bridge.invited


@pytest.mark.parametrize(
    ("answer", "user"),
    [
        (http(b"result=rejected&reason=unknown_pin"), "rejected"),
        (http(b"result=rejected&reason=locked&retry_after=60"), "locked"),
        (http(b""), "unavailable"),
    ],
)
def test_a_media_server_says_why_a_call_is_refused(
    kamailio: Kamailio,
    bridge: Bridge,
    stub: StartStub,
    tmp_path: Path,
    answer: bytes,
    user: str,
) -> None:
    media = Bridge(tmp_path, free_udp_port())
    try:
        server = kamailio(stub(answer).port, bridge.port, ANNOUNCEMENTS=f'"127.0.0.1:{media.port}"')
        call(tmp_path, server.port, f"{PASSCODE}*{PIN}")
        (invited,) = media.invited
        assert invited.first.split()[1] == f"sip:{user}@127.0.0.1:{media.port}"
        assert not media.heard(PIN)
        assert not bridge.invited
    finally:
        media.kill()


# What a caller may send besides


def test_who_hangs_up_while_rollcall_is_asked_does_not_reach_the_bridge(
    kamailio: Kamailio, bridge: Bridge, stub: StartStub
) -> None:
    silent = stub(None)
    server = kamailio(silent.port, bridge.port)
    with closing(Phone(server.port)) as phone:
        call_id = phone.send("INVITE", f"{PASSCODE}*{PIN}")
        wait_until(lambda: len(silent.asked) == 1)
        phone.send_within(call_id, "CANCEL", f"{PASSCODE}*{PIN}")
        assert phone.answer("CANCEL").status == 200
        assert phone.answer("INVITE").status in (487, 503)
    assert not bridge.invited


def test_a_call_that_is_sent_again_is_asked_about_once(kamailio: Kamailio, bridge: Bridge, stub: StartStub) -> None:
    rollcall = stub(http(b"result=rejected&reason=unknown_pin"))
    server = kamailio(rollcall.port, bridge.port)
    with closing(Phone(server.port)) as phone:
        call_id = phone.send("INVITE", f"{PASSCODE}*{WRONG}")
        for _ in range(3):
            phone.send_within(call_id, "INVITE", f"{PASSCODE}*{WRONG}")
        assert phone.answer("INVITE").status == 403
        phone.send_within(call_id, "INVITE", f"{PASSCODE}*{WRONG}")
        assert phone.answer("INVITE").status == 403
    assert len(rollcall.asked) == 1


@pytest.mark.parametrize("method", ["INVITE", "UPDATE", "REFER", "MESSAGE", "INFO"])
def test_a_made_up_tag_and_a_route_lead_nowhere(server: SipServer, bridge: Bridge, method: str) -> None:
    """Who pretends to be within a call, and names the bridge as the next hop, is asked for a PIN like anybody."""
    route = f"Route: <sip:127.0.0.1:{server.port};lr>,<sip:127.0.0.1:{bridge.port};lr>\r\n"
    with closing(Phone(server.port)) as phone:
        phone.send(method, "C-1001", headers=route, to_tag="made-up")
        assert phone.answer(method).status == 481
        if method == "INVITE":
            phone.send(method, f"{PASSCODE}*{WRONG}", headers=route)
            assert phone.answer(method).status == 403
    assert not bridge.heard("SIP/2.0")


def _within(phone: Phone, call_id: str, user: str, answer: Message, *, to: str, route: str = "") -> None:
    """Within a call that was answered: acknowledge it, and invite this address."""
    tag, headers = _acknowledge(phone, call_id, user, answer, route=route)
    phone.send_within(call_id, "INVITE", user, headers=headers, to_tag=tag, to=to, sequence=2)


def _acknowledge(phone: Phone, call_id: str, user: str, answer: Message, *, route: str = "") -> tuple[str, str]:
    """The tag and the headers that belong to the call from then on."""
    tag = str(answer.header("To")).partition(";tag=")[2]
    headers = f"Route: {answer.header('Record-Route')}{route}\r\n"
    contact = str(answer.header("Contact")).strip("<>")
    phone.send_within(call_id, "ACK", user, headers=headers, to_tag=tag, to=contact)
    return tag, headers


def test_who_is_in_one_conference_cannot_move_on_to_another(server: SipServer, bridge: Bridge) -> None:
    """Within his call he reaches what the bridge has named, whatever he names."""
    with closing(Phone(server.port)) as phone:
        call_id = phone.send("INVITE", OPEN)
        answer = phone.answer("INVITE")
        _within(phone, call_id, OPEN, answer, to=f"sip:C-1001@127.0.0.1:{bridge.port}")
        wait_until(lambda: len(bridge.invited) == 2)
    first, second = bridge.invited
    assert first.first.split()[1] == f"sip:C-1002@127.0.0.1:{bridge.port}"
    assert second.first.split()[1] == f"sip:bridge@127.0.0.1:{bridge.port}"
    assert str(second.header("To")).startswith("<sip:C-1002@")


def test_who_hears_why_he_is_refused_cannot_move_on_to_the_bridge(
    kamailio: Kamailio, bridge: Bridge, stub: StartStub, tmp_path: Path
) -> None:
    media = Bridge(tmp_path, free_udp_port())
    rollcall = stub(http(b"result=rejected&reason=unknown_pin"))
    server = kamailio(rollcall.port, bridge.port, ANNOUNCEMENTS=f'"127.0.0.1:{media.port}"')
    try:
        with closing(Phone(server.port)) as phone:
            call_id = phone.send("INVITE", f"{PASSCODE}*{WRONG}")
            answer = phone.answer("INVITE")
            assert answer.status == 200
            route = f",<sip:127.0.0.1:{bridge.port};lr>"
            _within(phone, call_id, f"{PASSCODE}*{WRONG}", answer, to="sip:C-1001@127.0.0.1", route=route)
            refusal = phone.answer("INVITE")
            while refusal.status == 200:  # sent again until its ACK has come
                refusal = phone.answer("INVITE")
            assert refusal.status == 403
        assert not bridge.invited
    finally:
        media.kill()


def test_when_the_bridge_hangs_up_the_caller_hears_of_it(kamailio: Kamailio, daemon: Daemon, tmp_path: Path) -> None:
    bridge = Bridge(tmp_path, free_udp_port(), "hangs up")
    server = kamailio(daemon.port, bridge.port)
    try:
        with closing(Phone(server.port)) as phone:
            call_id = phone.send("INVITE", f"{PASSCODE}*{PIN}")
            _acknowledge(phone, call_id, f"{PASSCODE}*{PIN}", phone.answer("INVITE"))
            ended = phone.take("BYE")
            assert ended.first.startswith(f"BYE sip:caller@127.0.0.1:{phone.port} ")
            wait_until(lambda: bridge.heard("CSeq: 1 BYE"))
        assert not bridge.heard(PIN)
    finally:
        bridge.kill()


def test_when_the_caller_hangs_up_before_the_bridge_answers_it_hears_of_it(
    kamailio: Kamailio, daemon: Daemon, tmp_path: Path
) -> None:
    bridge = Bridge(tmp_path, free_udp_port(), "rings")
    server = kamailio(daemon.port, bridge.port)
    try:
        with closing(Phone(server.port)) as phone:
            call_id = phone.send("INVITE", f"{PASSCODE}*{PIN}")
            wait_until(lambda: bridge.heard("SIP/2.0 180"))
            phone.send_within(call_id, "CANCEL", f"{PASSCODE}*{PIN}")
            assert phone.answer("CANCEL").status == 200
            assert phone.answer("INVITE").status == 487
            wait_until(lambda: bridge.heard("ACK sip:C-1001@"))
        assert not bridge.heard(PIN)
    finally:
        bridge.kill()


@pytest.mark.parametrize("method", ["PRACK", "UPDATE"])
def test_before_the_bridge_answers_requests_of_the_call_reach_it_without_the_pin(
    kamailio: Kamailio, daemon: Daemon, tmp_path: Path, method: str
) -> None:
    bridge = Bridge(tmp_path, free_udp_port(), "rings")
    server = kamailio(daemon.port, bridge.port)
    user = f"{PASSCODE}*{PIN}"
    try:
        with closing(Phone(server.port)) as phone:
            call_id = phone.send("INVITE", user)
            ringing = phone.answer("INVITE", at_least=180)
            headers = f"Route: {ringing.header('Record-Route')}\r\n"
            tag = str(ringing.header("To")).partition(";tag=")[2]
            contact = str(ringing.header("Contact")).strip("<>")
            phone.send_within(call_id, method, user, headers=headers, to_tag=tag, to=contact, sequence=2)
            wait_until(lambda: bridge.heard(f"{method} sip:bridge@"))
        assert not bridge.heard(PIN)
    finally:
        bridge.kill()


def test_after_kamailio_was_started_anew_a_call_can_be_ended_and_nothing_else(
    server: SipServer, bridge: Bridge
) -> None:
    """What it has forgotten shows no PIN either."""
    user = f"{PASSCODE}*{PIN}"
    route = f"Route: <sip:127.0.0.1:{server.port};lr>\r\n"
    to = f"sip:bridge@127.0.0.1:{bridge.port}"
    with closing(Phone(server.port)) as phone:
        phone.send_within("1", "INVITE", user, headers=route, to_tag="bridge-1", to=to)
        assert phone.answer("INVITE").status == 481
        phone.send_within("2", "BYE", user, headers=route, to_tag="bridge-1", to=to)
        wait_until(lambda: bridge.heard(f"BYE {to}"))
    assert not bridge.heard(PIN)


def test_a_short_to_header_hides_no_pin(server: SipServer, bridge: Bridge) -> None:
    with closing(Phone(server.port)) as phone:
        phone.send_within("1", "INVITE", f"{PASSCODE}*{PIN}", name_of_to="t")
        answer = phone.answer("INVITE")
        assert answer.status == 200
        assert f"{PASSCODE}*{PIN}@" in str(answer.header("To"))
    assert len(bridge.invited) == 1
    assert not bridge.heard(PIN)


@pytest.mark.parametrize("method", ["REGISTER", "MESSAGE", "SUBSCRIBE", "PUBLISH", "REFER", "NOTIFY"])
def test_only_calls_are_taken(server: SipServer, bridge: Bridge, method: str) -> None:
    with closing(Phone(server.port)) as phone:
        phone.send(method, f"{PASSCODE}*{PIN}")
        answer = phone.answer(method)
        assert (answer.status, answer.header("Allow")) == (405, "INVITE, ACK, CANCEL, BYE, OPTIONS")
    assert not bridge.heard("SIP/2.0")
