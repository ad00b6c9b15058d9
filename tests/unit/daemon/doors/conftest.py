"""The HTTP door, served on a real port, with one company's lists in force."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from aiohttp import web

from daemon.doors.http import HttpDoor
from daemon.doors.http_server import HttpServer
from daemon.doors.openapi import document
from daemon.live import Live
from daemon.metrics import Metrics
from daemon.verify import Verifier
from loader.compiled import Block, compile_list
from loader.index import EMPTY, Index
from loader.model import Conference, Entry, Level, Owner, Passcode, Pin, Revision, Switch

TOKEN = "rc_only-a-test"
OWNERS = (
    Owner(Level.ORGANIZER, "alicia"),
    Owner(Level.AUTHORIZATION_CODE, "3625046"),
    Owner(Level.COMPANY, "globaltest"),
)


def entry(pin: str, first_name: str = "Mike", *, active: bool = True) -> Entry:
    return Entry(Pin(pin), first_name, "Doe", "XYZ", "+1 555 0100", "mike@example.com", "Uxbridge", "UK", "", active)


@pytest.fixture
def index() -> Index:
    """A conference that wants a PIN, one that wants none, and lists at two levels."""
    return EMPTY.changed(
        conferences=[
            Conference("C-1001", "Weekly call", Passcode("7784321"), "alicia", True, OWNERS),
            Conference("C-1002", "Open | house", Passcode("7784322"), "alicia", False, OWNERS),
        ],
        lists={
            OWNERS[0]: Block(
                compile_list([entry("004127"), entry("1234", "Zoë|Ann"), entry("99", active=False)]), Revision(12)
            ),
            OWNERS[2]: Block(compile_list([entry("900001", "Petra")]), Revision(3)),
        },
    )


@pytest.fixture
def live(index: Index) -> Live:
    live = Live()
    live.swap(index)
    live.swap_switches([Switch("pbx-1", hashlib.sha256(TOKEN.encode()).digest(), 0.0)])
    return live


class Answer(NamedTuple):
    """An answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


class Client:
    """One connection, spoken to in bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, *, has_body: bool = True) -> Answer:
        """The next answer. Raises IncompleteReadError when the connection was closed instead."""
        async with asyncio.timeout(10):
            head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode().rstrip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            length = int(headers["content-length"]) if has_body else 0
            body = await self.reader.readexactly(length)
        return Answer(int(first.split()[1]), headers, body, head + body)

    async def ask(self, data: bytes) -> Answer:
        await self.send(data)
        return await self.answer()

    async def is_closed(self) -> bool:
        """Wait for the other side to close; whether nothing more came."""
        async with asyncio.timeout(10):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True


class Served:
    """A server that runs, and its port."""

    def __init__(self, server: HttpServer, runner: web.ServerRunner, metrics: Metrics) -> None:
        self.server, self.runner, self.metrics = server, runner, metrics
        self.port: int = runner.addresses[0][1]
        self._clients: list[Client] = []

    async def client(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self._clients.append(client)
        return client

    async def ask(self, data: bytes) -> Answer:
        """The answer to one request, on a connection of its own."""
        return await (await self.client()).ask(data)

    async def stop(self) -> None:
        await self.runner.cleanup()
        for client in self._clients:
            client.writer.close()


@asynccontextmanager
async def serving(
    live: Live, *, at_once: bool = True, drain_timeout: float = 5.0, verifier: Verifier | None = None
) -> AsyncIterator[Served]:
    """The HTTP door on a port that the system has chosen."""
    metrics = Metrics("0")
    door = HttpDoor(live, verifier or Verifier(live, metrics.tally("http")), document("0"))
    server = HttpServer(
        door.gets,
        metrics.refusals("http"),
        posts=door.posts,
        at_once=at_once,
        drain_timeout=lambda: drain_timeout,
    )
    runner = web.ServerRunner(server)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served = Served(server, runner, metrics)
    try:
        yield served
    finally:
        await served.stop()


Serve = Callable[..., Awaitable[Served]]


@pytest.fixture(params=[True, False], ids=["at once", "by a task"])
async def served(live: Live, request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    """The door, once for each of the two ways that a request can go."""
    async with serving(live, at_once=request.param) as door:
        yield door


def post(
    body: bytes | dict[str, Any],
    path: str = "/v1/verify",
    *,
    token: str | None = TOKEN,
    media_type: str | None = "application/json",
    headers: str = "",
    version: str = "HTTP/1.1",
) -> bytes:
    """A POST as a switch sends it."""
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    lines = [f"POST {path} {version}", "Host: rollcall", f"Content-Length: {len(body)}"]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    if media_type is not None:
        lines.append(f"Content-Type: {media_type}")
    return ("\r\n".join(lines) + "\r\n" + headers + "\r\n").encode() + body


def get(path: str, *, token: str | None = TOKEN, method: str = "GET") -> bytes:
    authorization = "" if token is None else f"Authorization: Bearer {token}\r\n"
    return f"{method} {path} HTTP/1.1\r\nHost: rollcall\r\n{authorization}\r\n".encode()
