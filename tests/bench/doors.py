"""The front doors, each asked as its switch asks, beside the HTTP door.

The load comes from several processes, each with one question under way. Such a client takes about as long for a
question as the daemon does, so that the rate alone would flatter: therefore the processor time that an answer costs
the daemon is measured too.

To add a door: write what asks it one question (:data:`Asker`), and give it a line in `_DOORS`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import multiprocessing
import os
import re
import socket
import struct
import tempfile
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import count, cycle
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, time
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import urlencode
from uuid import uuid4

from daemon.doors.radius_packet import (
    ACCESS_ACCEPT,
    ACCESS_REQUEST,
    CALLING_STATION_ID,
    H323_CONF_ID,
    USER_NAME,
    USER_PASSWORD,
    Secret,
    attribute,
    cisco,
)
from loader.listfile import export_csv
from tests.bench import agi_crowd
from tests.bench.data import people
from tests.bench.figures import Figure
from tests.bench.load import question
from tests.bench.workplace import Workplace, bare_server, free_port

_CLIENTS: Final = 4
_CROWD: Final = 16
"""Callers whom one client asks about at the same time, where there are many."""
_QUESTIONS: Final = 1000
_TICKS: Final = os.sysconf("SC_CLK_TCK")

Asker: TypeAlias = Callable[[str], None]
"""Asks whether this PIN is valid, and waits for the whole answer. Raises RuntimeError unless it is accepted."""
Crowd: TypeAlias = Callable[[int, str, Sequence[str], float, int], list[float]]
"""Asks a port for a passcode and these PINs, for so many seconds, so many of them at once; the seconds each took."""
MakeAsker: TypeAlias = Callable[[int, Workplace], Asker]
"""Makes what asks at this port; called in the process that is to ask."""


class Door(NamedTuple):
    """A door to be measured: its name in the settings, what else must be set for it, and what asks it.

    `beside` is the program that it is compared with, called with a port and asked by the same client; without one it
    is compared with the HTTP door, asked in the way that `http` names.
    """

    name: str
    asker: MakeAsker
    settings: Callable[[Workplace], Mapping[str, str]] = lambda _: {}
    beside: str | None = None
    goal: float | None = None
    http: str = "HTTP, a connection each"
    crowd: Crowd | None = None
    """Asks about many callers at once. With it the door and what is beside it are measured so, too."""


class Load(NamedTuple):
    """Answers a second, the seconds that half of them and 99 % took at most, and the server's seconds for one."""

    per_second: float
    p50: float
    p99: float
    processor: float


def run(*, rounds: int = 5, seconds: float = 2.0, entries: int = 8_000) -> list[Figure]:
    """Each door beside what it is compared with and beside HTTP, in turn, round by round; figures are medians."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        workplace = Workplace(Path(folder))
        listed = list(people(entries))
        file = Path(folder) / "list.csv"
        file.write_bytes(export_csv(listed))
        workplace.rollcall("import", str(file), "--organizer", "ann")
        pins = [entry.pin for entry in listed[:_QUESTIONS]]
        ports = {door.name: free_port() for door in _DOORS}
        settings = {name: value for door in _DOORS for name, value in _opened(door, ports[door.name], workplace)}
        daemon = stack.enter_context(workplace.daemon(**settings))
        measured: dict[str, tuple[MakeAsker, int, int]] = {
            "HTTP, kept alive": (http_kept_alive, daemon.port, daemon.pid),
            "HTTP, a connection each": (http, daemon.port, daemon.pid),
        }
        for door in _DOORS:
            measured[door.name] = (door.asker, ports[door.name], daemon.pid)
            if door.beside is not None:
                bare = stack.enter_context(bare_server(door.beside))
                measured[_bare(door)] = (door.asker, bare.port, bare.pid)
        loads: dict[str, list[Load]] = {name: [] for name in measured}
        crowds: dict[str, list[Load]] = {name: [] for name in measured}
        for _ in range(rounds):
            for name, (asker, port, pid) in measured.items():
                loads[name].append(_load(partial(asker, port, workplace), pid, pins, seconds))
            for door in _DOORS:
                if door.crowd is not None:
                    for name in (door.name, _bare(door)):
                        _, port, pid = measured[name]
                        asked = (port, workplace.passcode, pins, seconds, _CROWD)
                        crowds[name].append(_measured(pid, door.crowd, [asked]))
        accepted = [daemon.metric(f'rollcall_verifications_total{{door="{d.name}",result="accepted"}}') for d in _DOORS]
        if not all(accepted):
            raise RuntimeError("a door was not asked")
    figures = [figure for name in ("HTTP, kept alive", "HTTP, a connection each") for figure in _told(name, loads)]
    for door in _DOORS:
        figures += _told(door.name, loads, beside=_bare(door) if door.beside else door.http)
        if door.beside is not None:
            figures += _shares(door, door.name, loads[door.name], loads[_bare(door)])
        if door.crowd is not None:
            name = f"{door.name}, {_CROWD} at once"
            figures += _told(name, {name: crowds[door.name], "": crowds[_bare(door)]}, beside="")
            figures += _shares(door, name, crowds[door.name], crowds[_bare(door)])
    return figures


# The figures


def _bare(door: Door) -> str:
    return f"{door.name}, bare"


def _opened(door: Door, port: int, workplace: Workplace) -> Iterator[tuple[str, str]]:
    prefix = f"ROLLCALL_DOORS__{door.name.upper()}__"
    for key, value in {"ENABLED": "true", "PORT": str(port), **door.settings(workplace)}.items():
        yield prefix + key, value


def _told(name: str, loads: Mapping[str, Sequence[Load]], *, beside: str | None = None) -> Iterator[Figure]:
    def both(what: str, unit: str, of: Callable[[Load], float]) -> Figure:
        other = None if beside is None else median(map(of, loads[beside]))
        return Figure(f"{name}: {what}", median(map(of, loads[name])), unit, beside=other)

    yield both("answers a second", "/s", lambda load: load.per_second)
    yield both("p50", "ms", lambda load: 1000 * load.p50)
    yield both("p99", "ms", lambda load: 1000 * load.p99)
    yield both("processor time an answer", "µs", lambda load: 1e6 * load.processor)


def _shares(door: Door, name: str, ours: Sequence[Load], bare: Sequence[Load]) -> Iterator[Figure]:
    pairs = list(zip(ours, bare, strict=True))
    rate = median(mine.per_second / other.per_second for mine, other in pairs)
    cost = median(other.processor / mine.processor for mine, other in pairs)
    name = f"{name}: as a share of the bare server's"
    yield Figure(f"{name}, answers a second", rate, "x", goal=door.goal, sense="at least")
    yield Figure(f"{name}, answers a second of processor time", cost, "x")


# The load


def _load(make: Callable[[], Asker], pid: int, pins: Sequence[str], seconds: float) -> Load:
    share = len(pins) // _CLIENTS
    return _measured(pid, _ask, [(make, pins[at * share : (at + 1) * share], seconds) for at in range(_CLIENTS)])


def _measured(pid: int, ask: Callable[..., list[float]], clients: Sequence[tuple[object, ...]]) -> Load:
    """What came of it that each of these clients asked in a process of its own."""
    before = _processor_time(pid)
    with multiprocessing.get_context("fork").Pool(len(clients)) as pool:
        begun = perf_counter()
        asked = pool.starmap(ask, clients, chunksize=1)
        took = perf_counter() - begun
    times = [time for some in asked for time in some]
    return Load(
        len(times) / took,
        median(times),
        quantiles(times, n=100)[98],
        (_processor_time(pid) - before) / len(times),
    )


def _ask(make: Callable[[], Asker], pins: Sequence[str], seconds: float) -> list[float]:
    ask = make()
    times = []
    end = perf_counter() + seconds
    for pin in cycle(pins):
        begun = perf_counter()
        if begun > end:
            break
        ask(pin)
        times.append(perf_counter() - begun)
    return times


def _processor_time(pid: int) -> float:
    """Seconds that a process has had so far."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / _TICKS


# HTTP


def http_kept_alive(port: int, workplace: Workplace) -> Asker:
    """On one connection."""
    connection = connected(port)

    def ask(pin: str) -> None:
        _ask_http(connection, workplace, pin)

    return ask


def http(port: int, workplace: Workplace) -> Asker:
    """On a new connection for each question."""

    def ask(pin: str) -> None:
        with connected(port) as connection:
            _ask_http(connection, workplace, pin)

    return ask


def _ask_http(connection: socket.socket, workplace: Workplace, pin: str) -> None:
    connection.sendall(question(workplace.token, workplace.passcode, pin))
    answer = connection.recv(65536)
    if b'"result":"accepted"' not in answer:
        raise RuntimeError("not accepted over HTTP")


def connected(port: int) -> socket.socket:
    """A new connection."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


# FastAGI


def fastagi(port: int, workplace: Workplace) -> Asker:
    """`verify`, as Asterisk asks: on a new connection each, with passcode and PIN in variables."""
    passcode = workplace.passcode.encode()

    def ask(pin: str) -> None:
        with connected(port) as connection:
            connection.sendall(agi_crowd.ENVIRONMENT)
            connection.sendall(agi_crowd.values(connection.recv(4096), passcode, pin.encode()))
            verdict = connection.recv(4096)
            connection.sendall(agi_crowd.DONE)
            if not verdict.endswith(b',accepted"\n') or connection.recv(1):
                raise RuntimeError("not accepted over FastAGI")

    return ask


# FreeSWITCH and VoiceXML platforms

_STATE: Final = re.compile(rb"<rollcall_state>([^<]+)<|name=\"state\" expr=\"'([^']+)'\"")


def httapi(port: int, workplace: Workplace) -> Asker:
    """The PIN, as FreeSWITCH sends it: on a new connection each, behind all that it tells of a call."""
    form = b"session_id=%d&hostname=switch&Caller-Caller-ID-Number=5550100&rollcall_state=%b&rollcall_digits=%b"
    return _by_form(port, workplace, b"/httapi", form, b"caller_id_name=")


def voicexml(port: int, workplace: Workplace) -> Asker:
    """The PIN, as a VoiceXML platform submits it: on a new connection each."""
    form = b"call_id=%d&caller=sip%%3A5550100&state=%b&digits=%b"
    return _by_form(port, workplace, b"/heard.vxml?language=en", form, b"'accepted'")


def _by_form(port: int, workplace: Workplace, target: bytes, form: bytes, accepted: bytes) -> Asker:
    head = b"POST %b HTTP/1.1\r\nHost: rollcall\r\nAuthorization: Bearer %b\r\nContent-Length: " % (
        target,
        workplace.token.encode(),
    )

    def answer(state: bytes, digits: bytes) -> bytes:
        body = form % (os.getpid(), state, digits)
        with connected(port) as connection:
            connection.sendall(head + b"%d\r\n\r\n%b" % (len(body), body))
            return connection.recv(65536)

    def following(answered: bytes) -> bytes:
        found = _STATE.search(answered)
        if found is None:
            raise RuntimeError("no state in the answer")
        return found[1] or found[2]

    # FreeSWITCH begins with a request of its own, and a VoiceXML platform with the passcode.
    state = following(answer(b"", b"")) if b"session_id" in form else b""
    state = following(answer(state, workplace.passcode.encode()))
    number = count()

    def ask(pin: str) -> None:
        # What stands before a `*` does not count, and makes each question another: one that is repeated is not decided.
        if accepted not in answer(state, b"%d*%b" % (next(number), pin.encode())):
            raise RuntimeError("not accepted by form")

    return ask


# RADIUS

_SECRET: Final = b"a-secret-for-the-bench-alone-4711"


def radius(port: int, workplace: Workplace) -> Asker:
    """A signed Access-Request with PAP, each from the same port and with the next identifier."""
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(10)
    client.connect(("127.0.0.1", port))
    secret = Secret(_SECRET)
    name = attribute(USER_NAME, workplace.passcode.encode())
    told = attribute(CALLING_STATION_ID, b"+15550100") + cisco(H323_CONF_ID, b"h323-conf-id=02102944 600A1899 1 2")
    identifiers = cycle(range(256))

    def ask(pin: str) -> None:
        identifier, authenticator = next(identifiers), os.urandom(16)
        pad = hashlib.md5(_SECRET + authenticator).digest()
        hidden = int.from_bytes(pad) ^ int.from_bytes(pin.encode().ljust(16, b"\0"))
        body = name + attribute(USER_PASSWORD, hidden.to_bytes(16)) + told + _UNSIGNED
        head = struct.pack("!BBH16s", ACCESS_REQUEST, identifier, 20 + len(body), authenticator)
        client.send((head + body)[:-16] + secret.signature(head + body))
        answer = client.recv(4096)
        if answer[0] != ACCESS_ACCEPT or answer[1] != identifier:
            raise RuntimeError("not accepted over RADIUS")

    return ask


_UNSIGNED: Final = b"\x50\x12" + bytes(16)


def _radius_settings(workplace: Workplace) -> Mapping[str, str]:
    clients = workplace.folder / "radius-clients"
    clients.write_bytes(b"127.0.0.1 %b\n" % _SECRET)
    clients.chmod(0o600)
    return {"ACCOUNTING_PORT": "0", "CLIENTS_FILE": str(clients)}


# Clouds: the signed webhook with a PIN, on a connection that is kept alive, as a proxy keeps it.

_CLOUD: Final = "https://rollcall.example.com/calls"
_CLOUD_SECRET: Final = b"0123456789abcdef0123456789abcdef"


def _cloud_settings(file: str) -> Callable[[Workplace], Mapping[str, str]]:
    def settings(workplace: Workplace) -> Mapping[str, str]:
        path = workplace.folder / "cloud-secret"
        path.touch(mode=0o600)
        path.write_bytes(_CLOUD_SECRET)
        return {"URL": _CLOUD, file: str(path)}

    return settings


def twiml(port: int, workplace: Workplace) -> Asker:
    """As Twilio posts; the PIN is in the form."""
    return _cloud(port, workplace, _twilio_request, re.compile(rb'action="[^"?]*([^"]*)"'), b"<Dial>")


def jambonz(port: int, workplace: Workplace) -> Asker:
    """As jambonz posts; the PIN is in JSON."""
    return _cloud(port, workplace, _jambonz_request, re.compile(rb'"actionHook":"[^"?]*([^"]*)"'), b'"conference"')


def _cloud(
    port: int,
    workplace: Workplace,
    request: Callable[[str, str, str], bytes],
    following: re.Pattern[bytes],
    accepted: bytes,
) -> Asker:
    connection = connected(port)
    call_id = f"CA{uuid4().hex}"

    def answered(query: str, digits: str) -> bytes:
        connection.sendall(request(query, call_id, digits))
        return connection.recv(65536)

    def query_after(answer: bytes) -> str:
        match = following.search(answer)
        if match is None:
            raise RuntimeError("the caller is not asked")
        return match[1].decode()

    asked = query_after(answered(query_after(answered("", "")), workplace.passcode))
    numbers = count()

    def ask(pin: str) -> None:
        # What stands behind the `#` is not looked at, but makes it a new question rather than a retry.
        if accepted not in answered(asked, f"{pin}#{next(numbers)}"):
            raise RuntimeError("not accepted by webhook")

    return ask


def _twilio_request(query: str, call_id: str, digits: str) -> bytes:
    form = {
        "AccountSid": "AC0123456789abcdef0123456789abcdef",
        "ApiVersion": "2010-04-01",
        "CallSid": call_id,
        "CallStatus": "in-progress",
        "Called": "+15550199",
        "CalledCity": "",
        "CalledCountry": "US",
        "Caller": "+15550100",
        "CallerCity": "SPRINGFIELD",
        "CallerCountry": "US",
        "Digits": digits,
        "Direction": "inbound",
        "FinishedOnKey": "#",
        "From": "+15550100",
        "FromCountry": "US",
        "To": "+15550199",
        "ToCountry": "US",
        "msg": "Gather End",
    }
    signed = _CLOUD + query + "".join(name + value for name, value in sorted(form.items()))
    signature = b64encode(hmac.digest(_CLOUD_SECRET, signed.encode(), "sha1")).decode()
    return _posted(query, urlencode(form), f"application/x-www-form-urlencoded\r\nX-Twilio-Signature: {signature}")


def _jambonz_request(query: str, call_id: str, digits: str) -> bytes:
    body = json.dumps(
        {
            "call_sid": call_id,
            "direction": "inbound",
            "from": "+15550100",
            "to": "15550199",
            "call_id": "fc5f8190-718a-123b-e6ba-023fd61c5256",
            "sip_status": 200,
            "sip_reason": "OK",
            "call_status": "in-progress",
            "caller_id": "+15550100",
            "account_sid": "4bfe85c1-96bb-4af7-ac83-68fe7ebd562d",
            "trace_id": "18228daa536f82e0ec29074e7bf47b89",
            "application_sid": "08d78564-d3f6-4db4-95ce-513ae757c2c9",
            "fs_sip_address": "192.0.2.1:5060",
            "digits": digits,
            "reason": "dtmfDetected",
        }
    )
    seconds = int(time())
    signature = hmac.digest(_CLOUD_SECRET, f"{seconds}.{body}".encode(), "sha256").hex()
    return _posted(query, body, f"application/json\r\nJambonz-Signature: t={seconds},v1={signature}")


def _posted(query: str, body: str, rest: str) -> bytes:
    return (
        f"POST /calls{query} HTTP/1.1\r\nHost: rollcall.example.com\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: {rest}\r\n\r\n{body}"
    ).encode()


_DOORS: Final[Sequence[Door]] = (
    Door("fastagi", fastagi, beside="tests.bench.bare_agi", goal=0.7, crowd=agi_crowd.ask),
    Door("httapi", httapi),
    Door("voicexml", voicexml),
    Door("radius", radius, _radius_settings),
    Door("twiml", twiml, _cloud_settings("AUTH_TOKEN_FILE"), http="HTTP, kept alive"),
    Door("jambonz", jambonz, _cloud_settings("SECRET_FILE"), http="HTTP, kept alive"),
)
