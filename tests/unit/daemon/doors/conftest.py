"""The HTTP door, served on a real port, with one company's lists in force."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import pytest
from aiohttp import web
from openapi_schema_validator import OAS31Validator

from daemon.doors.http import HttpDoor
from daemon.doors.http_server import HttpServer, _Connection
from daemon.doors.openapi import document
from daemon.live import Live
from daemon.metrics import Metrics
from daemon.throttle import NO_THROTTLE, Throttle
from daemon.verify import Verifier
from loader.compiled import Block, compile_list
from loader.connections import Limits
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
    return some_lists()


def some_lists() -> Index:
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
    live.swap_switches([Switch.new("pbx-1", hashlib.sha256(TOKEN.encode()).digest(), 0.0)])
    return live


class At(NamedTuple):
    """The other end of a connection."""

    address: str = "192.0.2.7"


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

    @property
    def form(self) -> dict[str, str]:
        """What a form holds; no key may stand twice."""
        fields = parse_qsl(self.text, keep_blank_values=True, strict_parsing=True)
        assert len(fields) == len(dict(fields))
        return dict(fields)


@cache
def described() -> dict[str, Any]:
    """What `/openapi.json` says."""
    told: dict[str, Any] = json.loads(document("1.2.3"))
    return told


def response(path: str, method: str, status: int) -> dict[str, Any]:
    """What is said of an answer with this status; of an unknown address, that it is a problem."""
    if path not in described()["paths"]:
        return {"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    told: dict[str, Any] = described()["paths"][path][method]["responses"][str(status)]
    return told


@cache
def validator(path: str, method: str, status: int, media_type: str) -> OAS31Validator:
    """What holds a body against the description. Fields that the description does not name are refused."""
    schema = response(path, method, status)["content"][media_type]["schema"]
    return OAS31Validator({**schema, "components": closed(described()["components"])})


def closed(schema: Any) -> Any:
    """The same, where an object has no other fields than those named."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        inner.setdefault("additionalProperties", False)
    return inner


def _read(media_type: str, answer: Answer) -> Any:
    match media_type:
        case "text/plain":
            return answer.text
        case "application/x-www-form-urlencoded":
            return answer.form
        case _:
            return answer.json


def hold_against_description(request: bytes, answer: Answer) -> None:
    """Every answer of every test is as `/openapi.json` describes it."""
    _, _, rest = request.decode("latin-1").partition(" ")
    path = rest.partition(" ")[0].partition("?")[0]
    if path.startswith("/v1/conferences/"):
        path = "/v1/conferences/{passcode}"
    path = re.sub(r"/v1/calls/[^/]+/", "/v1/calls/{call_id}/", path)
    # What another method is answered is told with the one that there is.
    method = next(iter(described()["paths"].get(path, {"": None})))
    media_type = answer.headers["content-type"].partition(";")[0]
    body = _read(media_type, answer)
    validator(path, method, answer.status, media_type).validate(body)
    if media_type == "application/problem+json":
        assert body["status"] == answer.status
    for name in response(path, method, answer.status).get("headers", {}):
        assert answer.headers[name.lower()]


class Client:
    """One connection, spoken to in bytes."""

    def __init__(self, served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._served, self.reader, self.writer = served, reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def send_alone(self, data: bytes) -> None:
        """Send what the other side is to have in one piece, and by itself; wait until it has it, or has closed."""
        server, reader = self._served.server, self.reader
        heard = server.heard + len(data)
        self.writer.write(data)
        await self._served.until(
            lambda: server.heard == heard or reader._eof or reader.exception()  # type: ignore[attr-defined]
        )

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
        """The answer to one request."""
        return await self.ask_on(data, data)

    async def ask_on(self, request: bytes, rest: bytes) -> Answer:
        """The answer to a request of which only the rest is still to be sent."""
        await self.send(rest)
        answer = await self.answer()
        if self._served.is_described:
            hold_against_description(request, answer)
        return answer

    async def is_closed(self) -> bool:
        """Wait for the other side to close; whether nothing more came."""
        async with asyncio.timeout(10):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True

    def close(self) -> None:
        self.writer.transport.abort()


class _HeardConnection(_Connection):
    """Tells how much came."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        server = self._server
        assert isinstance(server, HeardServer)
        server.heard += len(data)


class HeardServer(HttpServer):
    """The real server; `heard` is how many bytes it has had, `known` the requests that it knew by their heads."""

    heard = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.known: list[bytes] = []

    def answers_known(self, connection: _Connection, received: bytes) -> bool:
        is_known = super().answers_known(connection, received)
        if is_known:
            self.known.append(received)
        return is_known

    def __call__(self) -> _Connection:
        return _HeardConnection(self, loop=self._loop, **self._kwargs)


class Served:
    """A server that runs, and its port."""

    def __init__(self, server: HeardServer, runner: web.ServerRunner, metrics: Metrics, *, is_described: bool) -> None:
        self.server, self.runner, self.metrics, self.is_described = server, runner, metrics, is_described
        self.port: int = runner.addresses[0][1]
        self._clients: list[Client] = []

    async def client(self) -> Client:
        client = Client(self, *await asyncio.open_connection("127.0.0.1", self.port))
        self._clients.append(client)
        return client

    async def ask(self, data: bytes) -> Answer:
        """The answer to one request, on a connection of its own."""
        return await (await self.client()).ask(data)

    async def until(self, is_so: Callable[[], object]) -> None:
        """Wait for what has to come about in the server."""
        async with asyncio.timeout(10):
            while not is_so():
                await asyncio.sleep(0)

    def stopping(self) -> asyncio.Task[None]:
        """Begin to stop, as the daemon does on SIGTERM."""
        return asyncio.create_task(self.runner.cleanup())

    async def stop(self) -> None:
        for client in self._clients:
            client.close()
        await self.runner.cleanup()


@asynccontextmanager
async def serving(
    live: Live,
    *,
    at_once: bool = True,
    drain_timeout: float = 5.0,
    throttle: Throttle = NO_THROTTLE,
    limits: Limits = Limits(),  # noqa: B008 - a value
) -> AsyncIterator[Served]:
    """The HTTP door on a port that the system has chosen."""
    metrics = Metrics("0")
    verifier = Verifier(live, metrics.tally("http"), throttle)
    door = HttpDoor(live, verifier, document("0"), refused=metrics.tokens_refused("http"))
    server = HeardServer(
        door.gets,
        metrics.refusals("http"),
        posts=door.posts,
        late_posts=door.late_posts,
        at_once=at_once,
        drain_timeout=lambda: drain_timeout,
        limits=limits,
    )
    async with listening(server, metrics, is_described=True) as served:
        yield served


@asynccontextmanager
async def listening(server: HeardServer, metrics: Metrics, *, is_described: bool) -> AsyncIterator[Served]:
    """A server on a port that the system has chosen; whether `/openapi.json` tells of it."""
    runner = web.ServerRunner(server)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served = Served(server, runner, metrics, is_described=is_described)
    try:
        yield served
    finally:
        await served.stop()


@pytest.fixture
async def served(live: Live) -> AsyncIterator[Served]:
    """The door as it is unless the settings say otherwise."""
    async with serving(live) as door:
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
