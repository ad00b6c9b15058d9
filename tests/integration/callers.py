"""One caller through each door of a running daemon: passcode, PIN, and whether he was told that he is in."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from daemon.doors.radius_packet import ACCT_SESSION_ID, USER_NAME, USER_PASSWORD, Secret, attribute
from tests.integration.processes import Daemon, free_port
from tests.unit.daemon.doors.asterisk import environment
from tests.unit.daemon.doors.clouds import CLOUDS, Cloud, secret_file
from tests.unit.daemon.doors.conftest import Answer
from tests.unit.daemon.doors.radius_gateway import SECRET, clients_file

PASSCODE: Final = "7784321"
PIN: Final = "004127"
_PATIENCE: Final = 10.0
_STATE: Final = re.compile(rb"<rollcall_state>([^<]+)<|name=\"state\" expr=\"'([^']+)'\"")

Call = Callable[[str], bool]
"""Makes a call that has this ID; whether it was let in. Raises OSError or ValueError if the daemon has gone."""


class Doors:
    """All doors of one daemon, open; `settings` is the environment that opens them."""

    def __init__(self, folder: Path) -> None:
        names = ("fastagi", "httapi", "twiml", "jambonz", "voicexml", "radius")
        self.ports = {name: free_port() for name in (*names, "accounting")}
        self.settings = {f"ROLLCALL_DOORS__{name.upper()}__ENABLED": "true" for name in names}
        self.settings |= {f"ROLLCALL_DOORS__{name.upper()}__PORT": str(self.ports[name]) for name in names}
        secret, clients = str(secret_file(folder)), str(clients_file(folder))
        self.settings |= {
            "ROLLCALL_DOORS__TWIML__AUTH_TOKEN_FILE": secret,
            "ROLLCALL_DOORS__JAMBONZ__SECRET_FILE": secret,
            "ROLLCALL_DOORS__RADIUS__CLIENTS_FILE": clients,
            "ROLLCALL_DOORS__RADIUS__ACCOUNTING_PORT": str(self.ports["accounting"]),
        }
        self.settings |= {f"ROLLCALL_DOORS__{cloud.name.upper()}__URL": cloud.url for cloud in CLOUDS}

    def calls(self, daemon: Daemon, token: str) -> dict[str, Call]:
        """What calls through each door."""
        return {
            "http": lambda call_id: _http(daemon, token, call_id),
            "fastagi": lambda call_id: _fastagi(self.ports["fastagi"], call_id),
            "httapi": lambda call_id: _httapi(self.ports["httapi"], token, call_id),
            "voicexml": lambda call_id: _voicexml(self.ports["voicexml"], token, call_id),
            "radius": lambda call_id: _radius(self.ports["radius"], call_id),
        } | {cloud.name: _through(cloud, self.ports[cloud.name]) for cloud in CLOUDS}


def _http(daemon: Daemon, token: str, call_id: str) -> bool:
    body = json.dumps({"passcode": PASSCODE, "pin": PIN, "call_id": call_id, "caller": "+15550100"})
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return bool(daemon.request("POST", "/v1/verify", body, headers).json.get("result") == "accepted")


def _fastagi(port: int, call_id: str) -> bool:
    with _connected(port) as connection, connection.makefile("rb") as lines:
        connection.sendall(environment("verify", PASSCODE, PIN, uniqueid=call_id))
        mark = _line(lines.readline()).split(b'"')[1]
        connection.sendall(b"200 result=1 (%b)\n" % mark)
        return b"accepted" in _line(lines.readline())


def _line(line: bytes) -> bytes:
    if not line.endswith(b"\n"):
        raise ConnectionResetError
    return line


def _radius(port: int, call_id: str) -> bool:
    authenticator = os.urandom(16)
    pad = hashlib.md5(SECRET + authenticator).digest()
    hidden = bytes(one ^ other for one, other in zip(pad, PIN.encode().ljust(16, b"\0"), strict=True))
    body = attribute(USER_NAME, PASSCODE.encode()) + attribute(USER_PASSWORD, hidden)
    body += attribute(ACCT_SESSION_ID, call_id.encode())
    unsigned = bytes((1, 7)) + (20 + len(body) + 18).to_bytes(2) + authenticator + body + b"\x50\x12" + bytes(16)
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as gateway:
        gateway.settimeout(2)
        gateway.connect(("127.0.0.1", port))
        gateway.send(unsigned[:-16] + Secret(SECRET).signature(unsigned))
        return gateway.recv(4096)[0] == 2


def _through(cloud: Cloud, port: int) -> Call:
    name = "CallSid" if cloud.name == "twiml" else "call_sid"

    def call(call_id: str) -> bool:
        named = {name: call_id}
        asked = cloud.heard(_posted(port, cloud.request(cloud.url, cloud.first() | named, headers=_CLOSE)))
        for digits in PASSCODE, PIN:
            request = cloud.request(asked.following, cloud.keyed(digits) | named, headers=_CLOSE)
            asked = cloud.heard(_posted(port, request))
        return asked.conference == "C-1001"

    return call


_CLOSE: Final = "Connection: close\r\n"


def _httapi(port: int, token: str, call_id: str) -> bool:
    state = answered = b""
    for digits in "", PASSCODE, PIN:
        body = f"session_id={call_id}&rollcall_state={state.decode()}&rollcall_digits={digits}"
        answered = _form(port, token, "/httapi", body)
        state = _state(answered)
    return b"<continue" in answered


def _voicexml(port: int, token: str, call_id: str) -> bool:
    state = answered = b""
    for digits in PASSCODE, PIN:
        body = f"call_id={call_id}&caller=&state={state.decode()}&digits={digits}"
        answered = _form(port, token, "/heard.vxml?language=en", body)
        state = _state(answered)
    return b"'accepted'" in answered


def _state(document: bytes) -> bytes:
    found = _STATE.search(document)
    return (found[1] or found[2]) if found else b""


def _form(port: int, token: str, target: str, body: str) -> bytes:
    head = (
        f"POST {target} HTTP/1.1\r\nHost: rollcall\r\nAuthorization: Bearer {token}\r\n{_CLOSE}"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return _posted(port, (head + body).encode()).body


def _posted(port: int, request: bytes) -> Answer:
    with _connected(port) as connection:
        connection.sendall(request)
        received = b""
        while some := connection.recv(65536):
            received += some
    head, between, body = received.partition(b"\r\n\r\n")
    if not between:
        raise ConnectionResetError
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    if len(body) != int(headers.get("content-length", 0)):
        raise ConnectionResetError
    return Answer(int(first.split()[1]), headers, body, received)


@contextmanager
def _connected(port: int) -> Iterator[socket.socket]:
    with closing(socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)) as connection:
        yield connection
