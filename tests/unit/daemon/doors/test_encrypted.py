"""The HTTP door with TLS: each answer leaves in one write there too, whichever way it goes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop
from aiohttp import web

from daemon.doors.http import HttpDoor
from daemon.doors.http_server import HttpServer
from daemon.doors.openapi import document
from daemon.live import Live
from daemon.metrics import Metrics
from daemon.verify import Verifier
from loader.connections import Limits
from loader.ports import Ports
from loader.sections import Tls
from tests.unit.daemon.doors.conftest import get, post
from tests.unit.loader.certificates import Authority, put

Loops = Callable[[], asyncio.AbstractEventLoop]
QUESTION = post({"passcode": "7784321", "pin": "004127"})


class Client:
    """Speaks TLS by hand, so that it sees the records that come."""

    def __init__(self, context: ssl.SSLContext, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self._reader, self._writer = reader, writer

    async def shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self.flush()
                await self.receive()
            else:
                self.flush()
                return

    def flush(self) -> None:
        self._writer.write(self._outgoing.read())

    async def receive(self) -> bytes:
        async with asyncio.timeout(10):
            received = await self._reader.read(65536)
        if received:
            self._incoming.write(received)
        else:
            self._incoming.write_eof()
        return received

    def send(self, data: bytes) -> None:
        self._tls.write(data)
        self.flush()

    async def answer(self) -> bytes:
        """An answer, which must come in one record and in one piece."""
        record = await self.receive()
        assert len(record) == 5 + int.from_bytes(record[3:5])
        return self._tls.read()

    async def rest(self) -> bytes:
        """All that comes until the other side ends the connection."""
        rest = b""
        while True:
            try:
                some = self._tls.read()
            except ssl.SSLWantReadError:
                await self.receive()
            except ssl.SSLError:
                return rest
            else:
                if not some:
                    return rest
                rest += some

    def say_goodbye(self) -> None:
        """Tell that nothing more will be asked."""
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            self.flush()

    async def is_cut_off(self) -> None:
        """Wait until the other side has ended the connection, without this side's having agreed."""
        while await self.receive():
            pass

    def close(self) -> None:
        self._writer.transport.abort()


class Encrypted:
    """The door, with TLS."""

    def __init__(self, folder: Path, live: Live, *, at_once: bool) -> None:
        authority, clients = Authority(), Authority("Clients")
        certificate, key = authority.signs().write(folder, "server")
        put(folder / "clients.pem", clients.certificate)
        # Clients with certificates get no tickets, which look like an answer from outside.
        self._tls = Tls(certificate=str(certificate), key=str(key), client_ca=str(folder / "clients.pem"))
        self._trust = ssl.create_default_context(cadata=authority.certificate.decode())
        self._trust.load_cert_chain(*clients.signs("pbx-1").write(folder, "client"))
        self._live, self._at_once = live, at_once
        self.limits = Limits()
        self.server: HttpServer
        self._port = 0

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        metrics = Metrics("0")
        door = HttpDoor(self._live, Verifier(self._live, metrics.tally("http")), document("0"))
        self.server = HttpServer(
            door.gets,
            metrics.refusals("http"),
            posts=door.posts,
            late_posts=door.late_posts,
            at_once=self._at_once,
            drain_timeout=lambda: 5.0,
            limits=self.limits,
        )
        runner = web.ServerRunner(self.server)
        async with Ports().listening(runner, "daemon.port", "127.0.0.1", 0, tls=self._tls) as self._port:
            yield

    async def client(self) -> Client:
        client = Client(self._trust, *await asyncio.open_connection("127.0.0.1", self._port))
        await client.shake_hands()
        return client


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def loop_factory(request: pytest.FixtureRequest) -> Loops:
    factory: Loops = request.param
    return factory


@pytest.fixture(params=[True, False], ids=["at once", "by a task"])
def door(tmp_path: Path, live: Live, request: pytest.FixtureRequest) -> Encrypted:
    return Encrypted(tmp_path, live, at_once=request.param)


def test_each_answer_leaves_in_one_write(door: Encrypted, loop_factory: Loops) -> None:
    async def test() -> None:
        async with door.open():
            client = await door.client()
            for request in (QUESTION, QUESTION, get("/v1/conferences/7784321"), post(b"{")):
                client.send(request)
                answer = await client.answer()
                assert answer.startswith(b"HTTP/1.1 400 " if request == post(b"{") else b"HTTP/1.1 200 ")
            client.send(post({"passcode": "7784321", "pin": "004127"}, headers="Connection: close\r\n"))
            assert b'"result":"accepted"' in await client.rest()
            client.close()

    _run(test(), loop_factory)


def test_at_the_end_what_is_under_way_is_answered(door: Encrypted, loop_factory: Loops) -> None:
    """Half a question, and one that is sent at this moment on a connection that was idle."""

    async def test() -> None:
        over = asyncio.Event()

        async def serve() -> None:
            async with door.open():
                opened.set()
                await over.wait()

        opened = asyncio.Event()
        serving = asyncio.create_task(serve())
        await opened.wait()
        half, idle = await door.client(), await door.client()
        idle.send(QUESTION)
        await idle.answer()
        half.send(QUESTION[:-5])
        over.set()
        async with asyncio.timeout(10):
            while not door.server._draining:
                await asyncio.sleep(0)
        idle.send(QUESTION)
        half.send(QUESTION[-5:])
        for client in (idle, half):
            answer = await client.rest()
            assert b'"result":"accepted"' in answer
            assert b"Connection: close\r\n" in answer
            client.close()
        await serving

    _run(test(), loop_factory)


def test_who_says_goodbye_behind_a_question_disturbs_nobody(
    door: Encrypted,
    loop_factory: Loops,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """TLS ends both directions; nothing is logged of it, and the door goes on."""

    async def test() -> None:
        async with door.open():
            for request in (QUESTION, get("/v1/conferences/7784321"), QUESTION[:-5]):
                client = await door.client()
                client.send(request)
                client.say_goodbye()
                await client.rest()
                client.close()
            client = await door.client()
            client.send(QUESTION)
            assert b'"result":"accepted"' in await client.answer()
            client.close()

    _run(test(), loop_factory)
    assert not [record for record in caplog.records if "took" not in record.message and record.levelname != "DEBUG"]


def test_connections_keep_within_limits_here_too(door: Encrypted, loop_factory: Loops) -> None:
    """The one that was idle for longest goes, and half a head in its time, even if the client does not agree to it."""
    door.limits = Limits(connections=2, head=0.5)

    async def test() -> None:
        async with door.open():
            idle, asking, newcomer = [await door.client() for _ in range(3)]
            await idle.is_cut_off()
            newcomer.send(QUESTION[:20])
            await newcomer.is_cut_off()
            asking.send(QUESTION)
            assert b'"result":"accepted"' in await asking.answer()
            for client in (idle, asking, newcomer):
                client.close()

    _run(test(), loop_factory)


def _run(test: Coroutine[None, None, None], loop_factory: Loops) -> None:
    with asyncio.Runner(loop_factory=loop_factory, debug=True) as runner:
        runner.run(test)
