"""What switches send: questions over HTTP, FastAGI, datagrams of RADIUS, and what platforms post to their doors."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import struct
import time
from contextlib import suppress
from functools import cache
from typing import Any, Final
from urllib.parse import parse_qsl, unquote_to_bytes
from xml.etree import ElementTree as ET

import msgspec
import structlog
from multidict import CIMultiDict, CIMultiDictProxy
from pyrad.packet import AuthPacket

from daemon.doors import fastagi, httapi, jambonz, twiml, voicexml
from daemon.doors.dialogue import State
from daemon.doors.http import HttpDoor
from daemon.doors.http_question import READERS
from daemon.doors.http_reply import Reply
from daemon.doors.http_server import HttpServer, _Connection
from daemon.doors.http_serving import MAX_BODY, WebDoor, server
from daemon.doors.openapi import document
from daemon.doors.problem import Problem
from daemon.doors.radius import RadiusDoor
from daemon.doors.radius_clients import Clients
from daemon.doors.radius_packet import ACCESS_ACCEPT, MAX_PACKET, Secret, parse
from daemon.doors.surroundings import Surroundings
from daemon.doors.webhooks import SealedStates
from daemon.live import Live
from daemon.metrics import Metrics
from daemon.verify import Verifier
from loader.door_sections import FastAgi, Httapi, Jambonz, Twiml, VoiceXml
from loader.index import MAX_KEYED, MAX_TOLD, Question
from loader.keyring import Keyring
from loader.model import Switch
from tests.fuzz.disk import file_with
from tests.fuzz.harness import PART, Harness, parts, patched
from tests.unit.daemon.doors.asterisk import USAGE, Channel, HangUp, environment
from tests.unit.daemon.doors.clouds import CALL, CLOUDS, secret_file
from tests.unit.daemon.doors.clouds import SECRET as CLOUDS_SECRET
from tests.unit.daemon.doors.conftest import TOKEN, At, get, post, some_lists
from tests.unit.daemon.doors.platforms import BASIC, OPEN, PASSCODE, PIN
from tests.unit.daemon.doors.radius_gateway import NAMES, SECRET, access, accounting, clients_file

_ACCEPTED_PINS: Final = ("004127", "1234", "900001")


@cache
def _live() -> Live:
    live = Live()
    live.swap(some_lists())
    live.swap_switches([Switch.new("pbx-1", hashlib.sha256(TOKEN.encode()).digest(), 0.0)])
    return live


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


@cache
def _keyring() -> Keyring:
    file = file_with("wire.key", b"")
    file.unlink()
    return Keyring.create(file)


@cache
def _surroundings() -> Surroundings:
    return Surroundings(_live(), Metrics("0"), _keyring, lambda: 5.0)


def _accepted(door: str) -> float:
    labels = {"door": door, "result": "accepted"}
    return _surroundings().metrics.registry.get_sample_value("rollcall_verifications_total", labels) or 0.0


def _assert_nothing_broke(logged: list[Any]) -> None:
    assert not [line for line in logged if line["log_level"] in ("error", "critical")], logged


# Questions


def _question(data: bytes) -> None:
    """A body is the question that a plain reading finds in it, or a problem that repeats nothing."""
    how, body = data[:1], data[1:4097]
    media_type, read = (
        ("application/json", _read_json) if how != b"f" else ("application/x-www-form-urlencoded", _read_form)
    )
    expected = read(body)
    try:
        question = READERS[media_type](body)
    except Problem as problem:
        assert problem.status == 400
        told = json.loads(problem.body())
        assert set(told.get("errors", {})) <= {"passcode", "pin", "call_id", "caller"}
        assert expected is None, (body, expected)
    else:
        assert expected is not None
        assert msgspec.structs.astuple(question) == msgspec.structs.astuple(expected), body


def _read_json(body: bytes) -> Question | None:
    try:
        pairs = json.loads(body.decode(), object_pairs_hook=tuple, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    # An empty object is an empty tuple, and an array is a list.
    return _read_pairs(pairs) if isinstance(pairs, tuple) else None


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def _read_form(body: bytes) -> Question | None:
    pairs = []
    try:
        body.decode()
        for pair in body.split(b"&"):
            name, _, value = pair.replace(b"+", b" ").partition(b"=")
            if pair:
                pairs.append((unquote_to_bytes(name).decode(), unquote_to_bytes(value).decode()))
    except UnicodeDecodeError:
        return None
    return _read_pairs(tuple(pairs))


def _read_pairs(pairs: tuple[tuple[str, Any], ...]) -> Question | None:
    values: dict[str, str] = {}
    for name, most in (("passcode", MAX_KEYED), ("pin", MAX_KEYED), ("call_id", MAX_TOLD), ("caller", MAX_TOLD)):
        found = [value for key, value in pairs if key == name]
        if len(found) > 1:
            return None
        if not found or (found[0] is None and name not in ("passcode", "pin")):
            continue
        if not isinstance(found[0], str) or len(found[0]) > most or re.search("[\ud800-\udfff]", found[0]):
            return None
        values[name] = found[0]
    return Question(**values) if {"passcode", "pin"} <= set(values) else None


# HTTP


class _Wire(asyncio.Transport):
    """The server's side of a connection without a network."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.is_closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 1)}.get(name, default)

    def write(self, data: Any) -> None:
        if not self.is_closed:
            self.written += data

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def pause_reading(self) -> None:
        """There is nothing to pause."""

    def resume_reading(self) -> None:
        """There is nothing to resume."""


@cache
def _http_servers() -> tuple[HttpServer, HttpServer]:
    """One that answers plain questions at once, and one that has aiohttp's task answer them all."""
    live, metrics = _live(), Metrics("0")

    async def made(at_once: bool) -> HttpServer:
        door = HttpDoor(live, Verifier(live, metrics.tally("http")), document("0"))
        return HttpServer(
            door.gets,
            metrics.refusals("http"),
            posts=door.posts,
            late_posts=door.late_posts,
            at_once=at_once,
            drain_timeout=lambda: 5.0,
        )

    return _loop().run_until_complete(made(True)), _loop().run_until_complete(made(False))


_CHANGING: Final = re.compile(rb'"verification_id":"[^"]+"|verification_id=[0-9a-f-]+|\r\nDate: [^\r]+')
_STATUSES: Final = re.compile(rb"^HTTP/1.1 ([0-9]{3}) ", re.MULTILINE)
_END: Final = b"\r\n\r\nGET /end HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_BODY: Final = re.compile(rb"content-length|transfer-encoding|upgrade|connect", re.IGNORECASE)
"""What may announce more than came: then there is nothing to be answered yet. All else is answered at the end."""
_TURNS: Final = 40
"""Turns of the event loop in which all must be answered that can be."""


async def _spoken(http: HttpServer, segments: list[bytes]) -> bytes:
    """What is answered to these segments, without what is never the same."""
    connection, wire = http(), _Wire()
    connection.connection_made(wire)
    for segment in [*segments, _END]:
        if not wire.is_closed:
            connection.data_received(segment)
            for _ in range(4):
                await asyncio.sleep(0)
    if not wire.is_closed:
        connection.eof_received()
    for _ in range(_TURNS):
        if wire.is_closed:
            break
        await asyncio.sleep(0)
    await _hung_up(connection)
    return _CHANGING.sub(b"", bytes(wire.written))


async def _hung_up(connection: _Connection) -> None:
    """The client goes away, and the connection's task comes to its end."""
    task = connection._task_handler
    connection.connection_lost(None)
    if task is not None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _http(data: bytes) -> None:
    """Both ways of the server answer any bytes the same, and never with an error of ours."""
    segments = data.split(PART)
    quick, slow = _http_servers()
    with structlog.testing.capture_logs() as logged:
        one, other = (_loop().run_until_complete(_spoken(http, segments)) for http in (quick, slow))
    _assert_nothing_broke(logged)
    assert one == other, (one, other)
    statuses = {int(status) for status in _STATUSES.findall(one)}
    assert statuses <= {100, 200, 204, 400, 401, 404, 405, 408, 413, 415, 417}, statuses
    assert b"Traceback" not in one
    assert statuses or _BODY.search(data.replace(PART, b"")), data


# FastAGI


@cache
def _agi_door() -> fastagi.FastAgiDoor:
    async def made() -> fastagi.FastAgiDoor:
        return fastagi.FastAgiDoor(FastAgi(), _surroundings(), asyncio.get_running_loop())

    return _loop().run_until_complete(made())


async def _agi(door: fastagi.FastAgiDoor, segments: list[bytes]) -> list[bytes]:
    """What is sent to Asterisk: an empty segment stands for what Asterisk truly answers."""
    connection, wire = fastagi._Connection(door, asyncio.get_running_loop()), _AgiWire()
    connection.connection_made(wire)
    channel = Channel(f"{PASSCODE}#{PIN}#", {"PASSCODE": PASSCODE, "PIN": PIN})
    for segment in segments:
        sent = segment
        if not segment and wire.lines:
            try:
                sent = channel.do(wire.lines[-1].decode()[:-1]).encode()
            except HangUp:
                sent = b"HANGUP\n"
        if not wire.is_closed:
            connection.data_received(sent)
            # What is said leaves at the end of the turn.
            await asyncio.sleep(0)
    if not wire.is_closed:
        connection.connection_lost(None)
    else:
        door.ended(connection)
    assert wire.is_closed
    return wire.lines


class _AgiWire(_Wire):
    """Knows each line by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[bytes] = []

    def write(self, data: Any) -> None:
        assert not self.is_closed
        self.lines.append(bytes(data))


def _fastagi(data: bytes) -> None:
    """Whatever comes, in whatever pieces: an end, whole commands, and nobody let in whom nobody accepted."""
    door, before = _agi_door(), _accepted("fastagi")
    with structlog.testing.capture_logs() as logged:
        lines = _loop().run_until_complete(_agi(door, data.split(PART)))
    _assert_nothing_broke(logged)
    for line in lines:
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        assert len(line) <= 2047
    admitting = [line for line in lines if line.endswith(b',accepted"\n')]
    assert len(admitting) <= _accepted("fastagi") - before
    assert not admitting or admitting == lines[-1:]


# RADIUS


@cache
def _radius_door() -> RadiusDoor:
    clients = clients_file(file_with("marker", b"").parent)
    return RadiusDoor(_surroundings(), Clients.read(str(clients)))


def _radius(data: bytes) -> None:
    """Without the secret nobody is answered; with it, whatever else a packet holds, a right answer or none."""
    how, rest = data[:1], data[1:]
    door, address = _radius_door(), ("127.0.0.1", 5000)
    with structlog.testing.capture_logs() as logged:
        if how in (b"s", b"a") and len(rest) >= 20:
            packet = _signed(rest) if how == b"s" else _authentic(rest)
            before = _accepted("radius")
            for port in (door.authentication, door.accounting):
                answer = port(packet, address)
                if answer is not None:
                    _assert_answers(packet, answer, new=_accepted("radius") > before)
        else:
            assert door.authentication(rest, address) is None or rest.startswith(_GENUINE)
            assert door.accounting(rest, address) is None or rest.startswith(_GENUINE)
    _assert_nothing_broke(logged)


def _assert_answers(packet: bytes, answer: bytes, *, new: bool) -> None:
    assert 20 <= len(answer) <= MAX_PACKET
    assert parse(answer).identifier == packet[1]
    if answer[0] != ACCESS_ACCEPT or packet[0] != 1:
        return
    asked = AuthPacket(packet=packet, secret=SECRET, dict=NAMES)
    assert asked.VerifyReply(asked.CreateReply(packet=answer), answer, enforce_ma=True)
    (name,) = dict.get(asked, 1, [])
    hidden = dict.get(asked, 2, [b""])
    pin = Secret(SECRET).revealed(hidden[0], packet[4:20]) if hidden[0] else b""
    assert name.decode() == OPEN or (name.decode() == PASSCODE and pin.decode() in _ACCEPTED_PINS)
    assert new or packet in _seen
    if len(_seen) < 10_000:
        _seen.add(packet)


_seen: Final[set[bytes]] = set()
"""Accepted requests: a retransmission has the answer of the first."""


def _signed(packet: bytes) -> bytes:
    """The same with a right signature at its end, and a right length."""
    head = packet[:2] + struct.pack("!H", (len(packet) + 18) & 0xFFFF) + packet[4:]
    return head + b"\x50\x12" + hmac.digest(SECRET, head + b"\x50\x12" + bytes(16), "md5")


def _authentic(packet: bytes) -> bytes:
    """The same with the authenticator of accounting, and a right length."""
    head = packet[:2] + struct.pack("!H", len(packet) & 0xFFFF)
    return head + hashlib.md5(head + bytes(16) + packet[20:] + SECRET).digest() + packet[20:]


_GENUINE: Final = tuple(
    one.RequestPacket() for one in (access(), access(OPEN, ""), accounting("Start", Acct_Session_Id="1.17"))
)


# Doors of platforms

_HOST: Final = "https://rollcall.example.com"


@cache
def _door(name: str) -> tuple[HttpServer, WebDoor]:
    secret = str(secret_file(file_with("marker", b"").parent))
    surroundings = _surroundings()
    door: WebDoor
    if name == "twiml":
        door = twiml.TwimlDoor(Twiml(url=f"{_HOST}/twiml", auth_token_file=secret), surroundings)
    elif name == "jambonz":
        door = jambonz.JambonzDoor(Jambonz(url=f"{_HOST}/jambonz", secret_file=secret), surroundings)
    elif name == "httapi":
        door = httapi.HttapiDoor(Httapi(), surroundings)
    else:
        door = voicexml.VoiceXmlDoor(VoiceXml(), surroundings)

    async def made() -> HttpServer:
        return server(name, door, surroundings)

    return _loop().run_until_complete(made()), door


def _posted(name: str, path: str, target: str, headers: dict[str, str], body: bytes) -> Reply:
    """The answer to a POST, as the server would give it; it logs nothing."""
    http, door = _door(name)
    before = _accepted(name)
    with structlog.testing.capture_logs() as logged:
        reply = http.answer_post(door.posts[path], target, CIMultiDictProxy(CIMultiDict(headers)), body, At())
    _assert_nothing_broke(logged)
    assert b"\r\n\r\n" not in reply.head
    admits = re.search(rb"<Dial|<conference|<transfer|'accepted'\"|\"verb\":\"conference\"", reply.body)
    assert not admits or _accepted(name) == before + 1 or reply.body in _admitted
    if admits and len(_admitted) < 10_000:
        _admitted.add(reply.body)
    return reply


_admitted: Final[set[bytes]] = set()
"""Answers that let somebody in: who asks the same again has the same answer."""


def _query(chosen: bytes) -> str:
    """What aiohttp lets stand in an address: ASCII, without spaces and what else is not seen."""
    return re.sub(r"[^!-~]", "", chosen.decode("ascii", "ignore"))


def _status(reply: Reply) -> int:
    return int(reply.head.split(b" ", 2)[1])


def _state(name: str, chosen: bytes) -> str:
    """A state of a dialogue: a right one, one that was changed, or whatever was chosen."""
    if chosen[:1] != b"!":
        return _query(chosen)
    genuine = SealedStates(name, _keyring).seal(CALL, State(PASSCODE, 1, 0)).encode()
    return _query(patched(genuine, chosen[1:]))


def _twiml(data: bytes) -> None:
    """A query, a state and a form, signed: a document or a problem."""
    state, query, body = parts(data, 3)
    target = f"/twiml?state={_state('twiml', state)}&{_query(query)}"
    form = parse_qsl(body.decode(errors="replace"), keep_blank_values=True)
    signed = _HOST + target + "".join(name + value for name, value in sorted(set(form)))
    digest = hmac.digest(CLOUDS_SECRET.encode(), signed.encode("utf-8", "surrogateescape"), "sha1")
    headers = {"X-Twilio-Signature": base64.b64encode(digest).decode()}
    for path, where in (("/twiml", target), ("/twiml/status", target.replace("/twiml", "/twiml/status", 1))):
        reply = _posted("twiml", path, where, headers, body)
        assert _status(reply) in (200, 204, 400, 403)
        if _status(reply) == 200:
            assert ET.fromstring(reply.body).tag == "Response"
    assert _status(_posted("twiml", "/twiml", target, {"X-Twilio-Signature": query.decode("latin-1")}, body)) == 403


def _jambonz(data: bytes) -> None:
    """A query, a state and a body, signed: verbs or a problem."""
    state, query, body = parts(data, 3)
    target = f"/jambonz?state={_state('jambonz', state)}&{_query(query)}"
    at = b"%d" % time.time()
    signature = hmac.new(CLOUDS_SECRET.encode(), at + b"." + body, "sha256").hexdigest()
    headers = {"Jambonz-Signature": f"t={at.decode()},v1={signature}"}
    for path in ("/jambonz", "/jambonz/status"):
        reply = _posted("jambonz", path, target, headers, body)
        assert _status(reply) in (200, 204, 400)
        if _status(reply) == 200:
            assert all("verb" in verb for verb in json.loads(reply.body))
    assert _status(_posted("jambonz", "/jambonz", target, {"Jambonz-Signature": query.decode("latin-1")}, body)) == 403


def _httapi(data: bytes) -> None:
    """A token, a state and a form: a document, whatever they are."""
    how, state, body = parts(data, 3)
    authorization = BASIC if how == b"" else how.decode("latin-1")
    if state:
        body += b"&rollcall_state=" + _state("httapi", state).encode()
    reply = _posted("httapi", httapi.PATH, httapi.PATH, {"Authorization": authorization}, body)
    assert _status(reply) == 200
    assert ET.fromstring(reply.body).tag == "document"


def _voicexml(data: bytes) -> None:
    """A token, a query, a state and a form: a document, whatever they are."""
    how, query, state, body = parts(data, 4)
    headers = {"Authorization": BASIC if how == b"" else how.decode("latin-1")}
    target = f"{voicexml.HEARD}?{_query(query)}"
    if state:
        body += b"&state=" + _state("voicexml", state).encode()
    reply = _posted("voicexml", voicexml.HEARD, target, headers, body)
    assert _status(reply) in (200, 400, 401)
    assert ET.fromstring(reply.body).tag.endswith("vxml")


def _sealed_state(data: bytes) -> None:
    """A state is the one that was sealed for this call at this door, or it is none."""
    call_id, text = parts(data, 2)
    states = SealedStates("twiml", _keyring)
    sealed, state = _sealed_example()
    shown = (
        patched(sealed.encode(), text[1:]).decode("latin-1") if text[:1] == b"!" else text.decode("utf-8", "replace")
    )
    opened = states.open(CALL, shown)
    if opened is not None:
        assert opened == state
        # base64 leaves a few bits at the end to taste, which seal nothing.
        assert base64.urlsafe_b64decode(shown + "==") == base64.urlsafe_b64decode(sealed + "==")
    other = call_id.decode("utf-8", "replace")
    assert other == CALL or states.open(other, sealed) is None
    assert SealedStates("jambonz", _keyring).open(CALL, sealed) is None


@cache
def _sealed_example() -> tuple[str, State]:
    state = State(PASSCODE, 1, 0)
    return SealedStates("twiml", _keyring).seal(CALL, state), state


def _form(**fields: str) -> bytes:
    return "&".join(f"{name}={value}" for name, value in fields.items()).encode()


_ASKED: Final = {"passcode": PASSCODE, "pin": PIN}
_CHUNKED: Final = (
    post(_ASKED).replace(b"Content-Length: 40", b"Transfer-Encoding: chunked").partition(b"{")[0]
    + b"28\r\n" + json.dumps(_ASKED).encode() + b"\r\n0\r\n\r\n"
)  # fmt: skip
AGI: Final = environment("verify", "var:PASSCODE", "var:PIN")

HARNESSES: Final = {
    "question": Harness(
        _question,
        [
            b"j" + json.dumps(_ASKED).encode(),
            b"j" + json.dumps({**_ASKED, "call_id": "1.17", "caller": None, "x": [1.5, {}]}).encode(),
            b'j{"passcode":"\\ud83d\\ude00","pin":"\\ud800"}',
            b'j{"passcode":1,"pin":"1","pin":"2"}',
            b"f" + _form(passcode=PASSCODE, pin=PIN, call_id="1.17", caller="%2B15550100"),
        ],
        [b'"passcode"', b'"pin"', b'"call_id"', b'"caller"', b"\\u0000", b"NaN", b"null", b"[", b"&", b"%ff", b"+"],
        4097,
    ),
    "http": Harness(
        _http,
        [
            post(_ASKED),
            post(_ASKED, "/v1/verify.txt?style=form") + PART + get("/v1/conferences/7784321"),
            post(_ASKED, headers="Expect: 100-continue\r\n"),
            post(b"", "/v1/calls/1.17/joined", media_type=None),
            get("/openapi.json", method="HEAD"),
            _CHUNKED,
            b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        ],
        [
            b"\r\n", b"\r\n\r\n", PART, b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n",
            b"Expect: 100-continue\r\n", b"Upgrade: websocket\r\n", b"HTTP/1.0", b"HTTP/2.0", b"http://", b"%2F", b"?",
            b"Accept: application/x-www-form-urlencoded\r\n", b"Content-Encoding: gzip\r\n", b"PRI * HTTP/2.0",
        ],
    ),
    "fastagi": Harness(
        _fastagi,
        [
            PART.join((AGI, b"", b"")),
            PART.join((environment("ivr"), b"", b"", b"", b"", b"")),
            PART.join((environment("verify", PASSCODE, PIN), b"200 result=1 (", b"x)\n", b"HANGUP\n")),
            PART.join((AGI[:30], AGI[30:], USAGE.encode())),
            environment("joined") + PART + environment("left"),
        ],
        [PART, b"agi_arg_3: ", b"200 result=", b"520-", b"520 ", b"HANGUP\n", b" (timeout)", b"\n\n", b"-1", b"var:"],
    ),
    "radius": Harness(
        _radius,
        [
            *(b"u" + packet for packet in _GENUINE),
            *(b"s" + packet[:-18] for packet in _GENUINE[:2]),
            b"a" + _GENUINE[2],
            b"s\x0c\x01\0\x14" + bytes(16),
        ],
        [b"\x01\x09" + PASSCODE.encode(), b"\x02\x12", b"\x1a\x0c\0\0\0\x09\x18\x06", b"\x50\x12", b"\x21\x03", b"\x03"],
    ),
    "twiml": Harness(
        _twiml,
        [
            PART.join((b"", b"language=fr", _form(**CLOUDS[0].first()))),
            PART.join((b"!", b"", _form(**CLOUDS[0].keyed(PIN)))),
            PART.join((b"!\0\0\0\1", b"", _form(**CLOUDS[0].keyed(PIN)))),
            PART.join((b"", b"", _form(**CLOUDS[0].status("joined")))),
        ],
        [b"&Digits=", b"&CallSid=", PART, b"%00", b"%ff", b"<", b"]]>", b"&CallStatus=completed", b"!"],
        MAX_BODY,
    ),
    "jambonz": Harness(
        _jambonz,
        [
            PART.join((b"", b"language=ja", json.dumps(CLOUDS[1].first()).encode())),
            PART.join((b"!", b"", json.dumps(CLOUDS[1].keyed(PIN)).encode())),
            PART.join((b"", b"", json.dumps(CLOUDS[1].status("left")).encode())),
        ],
        [b'"digits"', b'"call_sid"', PART, b"\\u0000", b"\\ud800", b"[", b"{", b"null", b"!"],
        MAX_BODY,
    ),
    "httapi": Harness(
        _httapi,
        [
            PART.join((b"", b"", _form(session_id="1"))),
            PART.join((b"", b"!", _form(session_id=CALL, rollcall_digits=PIN))),
            PART.join((b"Bearer x", b"x", _form(session_id="1", exiting="true"))),
        ],
        [PART, b"&rollcall_digits=", b"&exiting=true", b"%00", b"%ff", b"%3C", b"Basic ", b"!"],
        MAX_BODY,
    ),
    "voicexml": Harness(
        _voicexml,
        [
            PART.join((b"", b"language=de", b"", _form(call_id="1", digits=OPEN))),
            PART.join((b"", b"", b"!", _form(call_id=CALL, digits="+".join(PIN)))),
            PART.join((b"Basic x", b"", b"x", _form(call_id="1", caller="%00"))),
        ],
        [PART, b"&digits=", b"&caller=", b"%00", b"%ff", b"%3C", b"%27", b"!"],
        MAX_BODY,
    ),
    "sealed_state": Harness(
        _sealed_state,
        [PART.join((b"CA1", b"!")), PART.join((CALL.encode(), b"!\0\0\0\x01")), PART.join((b"", b"AAAA-_=="))],
        [PART, b"=", b"-", b"_", b"!"],
        512,
    ),
}  # fmt: skip
