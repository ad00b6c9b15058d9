"""HTTP as both the switches' and the operations port speak it: aiohttp's server, with answers of our own.

An answer leaves in one write, head and body together. `web.Application` and `web.Response` are left out: together
they take longer than all the rest of a verification, and every address here is known beforehand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from email.utils import formatdate
from time import time
from typing import Any, Final, NamedTuple, TypeAlias

import structlog
from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from daemon.doors.problem import MEDIA_TYPE, TITLES, Problem

log = structlog.get_logger(__name__)

MAX_BODY: Final = 4096
"""Bytes of a request's body."""
BODY_TIMEOUT: Final = 10.0
"""Seconds in which a body must follow its head."""
_MOMENT: Final = 0.1
"""Seconds that aiohttp has to end connections on which nothing is under way."""
_MAX_UNREAD: Final = 256 * 1024
"""Bytes of answers that a client may leave unread before it is let go."""


class Reply(NamedTuple):
    """A ready answer: its first lines (see :func:`head`), its body, and whether the connection ends with it."""

    head: bytes
    body: bytes
    close: bool = False


Answer: TypeAlias = Callable[[web.BaseRequest], Awaitable[Reply]]
"""Answers any request; raises Problem to refuse it."""

Refused: TypeAlias = Callable[[int], None]
"""Counts a request that was refused with this status."""


def head(status: int, media_type: str, headers: Mapping[str, str] | None = None) -> bytes:
    """The first lines of an answer, to be made once for each kind of answer."""
    lines = [f"HTTP/1.1 {status} {TITLES.get(status, 'OK')}", f"Content-Type: {media_type}", "Cache-Control: no-store"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "".join(f"{line}\r\n" for line in lines).encode("ascii")


def problem_reply(problem: Problem) -> Reply:
    """A problem as it is answered."""
    return Reply(head(problem.status, MEDIA_TYPE, problem.headers), problem.body(), problem.close)


class HttpServer(web.Server):
    """Answers every request, malformed ones too, with what `answer` says or with a problem; never with a 500.

    `drain_timeout` tells at the end how many seconds what is under way may still take.
    """

    def __init__(self, answer: Answer, refused: Refused, *, drain_timeout: Callable[[], float]) -> None:
        # A body is read as it was sent: what is compressed could unpack to anything.
        super().__init__(self._handle, access_log=None, auto_decompress=False, lingering_time=2.0)
        self._answer = answer
        self._refused = refused
        self._drain_timeout = drain_timeout
        self._date = b""
        self._date_of = 0
        self._busy: set[web.RequestHandler] = set()
        self._nothing_busy = asyncio.Event()
        self._draining = False

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)

    def pre_shutdown(self) -> None:
        """Begin to drain: what is idle is closed, and what is busy ends with its answer."""
        self._draining = True
        for connection in self.connections:
            # aiohttp's own would leave a body unread that is still on its way.
            if connection not in self._busy:
                connection.close()

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109 - aiohttp's signature
        """Wait for what is busy, and close all that is left."""
        if self._busy:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._drain_timeout()):
                    await self._nothing_busy.wait()
        await super().shutdown(_MOMENT)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        self._busy.add(connection)
        try:
            if hdrs.EXPECT in request.headers:
                reply = await self._expected(request)
            else:
                reply = await self._answered(request)
            return self.send(request, reply)
        finally:
            self._busy.remove(connection)
            if self._draining and not self._busy:
                self._nothing_busy.set()

    async def _expected(self, request: web.BaseRequest) -> Reply:
        if request.headers[hdrs.EXPECT].lower() != "100-continue":
            return self.refusal(Problem(417, "Only 100-continue can be expected.", close=True))
        if request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return await self._answered(request)

    async def _answered(self, request: web.BaseRequest) -> Reply:
        try:
            return await self._answer(request)
        except Problem as problem:
            return self.refusal(problem)
        except ConnectionError:
            raise
        except Exception:
            log.exception("request_failed")
            return self.refusal(unexpected())

    def refusal(self, problem: Problem) -> Reply:
        """Count a problem, and answer it."""
        self._refused(problem.status)
        return problem_reply(problem)

    def send(self, request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
        """Write an answer as a whole."""
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        keep_alive = request.keep_alive and not reply.close and not self._draining
        if not keep_alive:
            connection = b"Connection: close\r\n"
        elif request.version < (1, 1):
            connection = b"Connection: keep-alive\r\n"
        else:
            connection = b""
        first_lines, body, _ = reply
        sent = b"" if request.method == hdrs.METH_HEAD else body
        transport.write(
            b"%bDate: %b\r\n%bContent-Length: %d\r\n\r\n%b" % (first_lines, self._now(), connection, len(body), sent)
        )
        if transport.get_write_buffer_size() > _MAX_UNREAD:
            transport.abort()
        return _KEPT if keep_alive else _CLOSED

    def _now(self) -> bytes:
        now = int(time())
        if now != self._date_of:
            self._date_of = now
            self._date = formatdate(now, usegmt=True).encode("ascii")
        return self._date


class _Connection(web.RequestHandler):
    """One client's connection, which answers what is not HTTP with a problem too, and logs nothing of it."""

    __slots__ = ("_server",)

    def __init__(self, server: HttpServer, **kwargs: Any) -> None:
        super().__init__(server, **kwargs)
        self._server = server

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it may repeat what was sent
    ) -> web.StreamResponse:
        if status == 400:
            problem = Problem(400, "The request is not HTTP/1.1.", close=True)
        else:
            log.error("request_failed", exception=type(exc).__name__)
            problem = unexpected()
        return self._server.send(request, self._server.refusal(problem))


class _Sent(web.StreamResponse):
    """Stands for an answer that is already on its way."""

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._keep_alive = keep_alive

    async def prepare(self, request: web.BaseRequest) -> None:
        """There is nothing left to do."""

    async def write_eof(self, data: bytes = b"") -> None:
        """There is nothing left to do."""


_KEPT: Final = _Sent(keep_alive=True)
_CLOSED: Final = _Sent(keep_alive=False)


def unexpected() -> Problem:
    """What is answered when something broke: to a switch that means to ask again, or to refuse the caller."""
    return Problem(503, "Something broke; it is in the log.", headers={"Retry-After": "1"}, close=True)


async def read_body(request: web.BaseRequest) -> bytes:
    """The whole body, up to MAX_BODY bytes, chunked or not. Raises Problem, ConnectionError."""
    content = request.content
    if content.is_eof():
        # As good as always: the body came in one segment with its head.
        body = content.read_nowait()
        if len(body) > MAX_BODY:
            raise _too_large()
        return body
    if (request.content_length or 0) > MAX_BODY:
        raise _too_large()
    received = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            while chunk := await content.readany():
                received += chunk
                if len(received) > MAX_BODY:
                    raise _too_large()
    except TimeoutError:
        raise Problem(408, f"The body did not come within {BODY_TIMEOUT:g} seconds.", close=True) from None
    except (web.RequestPayloadError, HttpProcessingError):
        raise Problem(400, "The body is not what its head says.", close=True) from None
    return bytes(received)


def _too_large() -> Problem:
    return Problem(413, f"The body has more than {MAX_BODY} bytes.", close=True)
