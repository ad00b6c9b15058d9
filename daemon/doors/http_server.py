"""HTTP as both the switches' and the operations port speak it: aiohttp's parser and connections, our own answers.

`web.Application` and `web.Response` are left out: together they take longer than all the rest of a verification, and
every address here is known beforehand. A request goes one of two ways:

- at once: a POST to a known address that is plain, whole, and alone on its connection is answered where its last
  bytes were parsed. All framing is still aiohttp's: nothing here reads a length or looks for the end of a header.
- by aiohttp's task for the connection: everything else.

Both ways end in :meth:`HttpServer.answer_post`, so that they cannot answer differently.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Any, Final, TypeAlias, cast

import structlog
from aiohttp import EMPTY_PAYLOAD, HttpVersion10, HttpVersion11, StreamReader, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawRequestMessage

from daemon.doors.http_reply import (
    Answer,
    Get,
    Headers,
    LatePost,
    Peer,
    Post,
    Renderer,
    Reply,
    problem_reply,
    unexpected,
)
from daemon.doors.known_heads import KnownHead, KnownHeads, is_one_piece
from daemon.doors.problem import Problem
from daemon.roll import NO_ROLL, WhenKept
from loader.connections import FAR_AWAY, Guard, Guarded, Limits

log = structlog.get_logger(__name__)

MAX_BODY: Final = 4096
"""Bytes of a request's body."""
BODY_TIMEOUT: Final = 10.0
"""Seconds in which a body must follow its head."""
_LINGERING: Final = 2.0
"""Seconds in which what is left of a body is thrown away after its answer, so that the answer is not lost."""
_MOMENT: Final = 0.02
"""Seconds that aiohttp has to end connections on which nothing is under way."""
_BETWEEN_LOOKS: Final = 0.01
"""Seconds between two looks at what is still busy at the end."""
_LAST_WORDS: Final = 0.2
"""Seconds at the end in which a question that is on its way still reaches us, on a connection that seems idle."""
_CONTINUE: Final = "100-continue"
_MAX_UNREAD: Final = 64 * 1024
"""Bytes of answers, beside the last, that a client may leave unread before it is let go."""

Refused: TypeAlias = Callable[[int], None]
"""Counts a request that was refused with this status."""


class HttpServer(web.Server):
    """Answers every request, malformed ones too, with what `gets` and `posts` say or with a problem; never with a 500.

    `gets` finds what answers a path, if anything; `posts` are by path, and `late_posts` finds those that may have to
    wait. `refusal` renders the problems of what has no refusal of its own. No answer leaves before `when_kept` calls
    back. `at_once` allows the first of the two ways. A body may have `max_body` bytes. `drain_timeout` tells at the end
    how many seconds what is under way may still take. `limits` are those of its connections.
    """

    def __init__(
        self,
        gets: Callable[[str], Get | None],
        refused: Refused,
        *,
        posts: Mapping[str, Post] = MappingProxyType({}),
        refusal: Callable[[Problem], Reply] = problem_reply,
        late_posts: Callable[[str], LatePost | None] = lambda _: None,
        when_kept: WhenKept = NO_ROLL.when_kept,
        at_once: bool = True,
        max_body: int = MAX_BODY,
        drain_timeout: Callable[[], float],
        limits: Limits = Limits(),  # noqa: B008 - a value
    ) -> None:
        # A body is read as it was sent: what is compressed could unpack to anything.
        super().__init__(
            self._handle,
            access_log=None,
            auto_decompress=False,
            lingering_time=_LINGERING,
            keepalive_timeout=FAR_AWAY,
        )
        self.guard = Guard(limits, refused)
        self._gets = gets
        self._posts = posts
        self._refusal = refusal
        self._late_posts = late_posts
        self._when_kept = when_kept
        self._at_once = posts if at_once else {}
        self._known_heads = KnownHeads()
        self.max_body = max_body
        self._refused = refused
        self._drain_timeout = drain_timeout
        self._render = Renderer().render
        self._outbox: list[tuple[_Connection, bytes, bool]] = []
        self._draining = False

    def __call__(self) -> _Connection:
        return _Connection(self, loop=self._loop, **self._kwargs)

    # The end

    def pre_shutdown(self) -> None:
        """Begin to drain: whatever is asked from now on is answered as the last on its connection."""
        self._draining = True
        self.guard.stop()
        self.send_answers()

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109 - aiohttp's signature
        """Wait for what is busy and for what may be on its way, and close all that is left."""
        last_words = self._loop.time() + _LAST_WORDS
        with suppress(TimeoutError):
            async with asyncio.timeout(self._drain_timeout()):
                while self._is_anybody_there(self._loop.time() < last_words):  # noqa: ASYNC110 - nothing tells when
                    await asyncio.sleep(_BETWEEN_LOOKS)
        await super().shutdown(_MOMENT)

    def _is_anybody_there(self, may_ask: bool) -> bool:  # noqa: FBT001 - private
        """Whether a connection is to be waited for. Where nothing is under way it is closed, unless it still may ask."""
        waited_for = False
        for connection in cast("list[_Connection]", self.connections):
            if connection.transport is None or connection.is_answered:
                continue
            if may_ask or not connection.is_idle():
                waited_for = True
            else:
                # aiohttp's close() would leave it open, and deaf to what is asked on it, until the others have ended.
                connection.force_close()
        return waited_for

    # At once

    def answers_known(self, connection: _Connection, received: bytes) -> bool:
        """Answer what has just come, if it is one whole request with a head that is known: whether it was answered."""
        found = self._known_heads.find(received)
        if found is None or self._draining:
            return False
        known, body = found
        self._send_soon(connection, self._answered_by(known.answer, body, connection, known.refusal))
        return True

    def answers_at_once(
        self, connection: _Connection, message: object, payload: StreamReader, received: bytes | None
    ) -> bool:
        """Answer a request that has just come, unless it is not plain and whole: whether it was answered.

        `received` is all that it was parsed from, if that is no more than the request.
        """
        if not isinstance(message, RawRequestMessage):
            return False
        post = self._at_once.get(message.path) or self._at_once.get(message.path.partition("?")[0])
        if (
            post is None
            or message.method != hdrs.METH_POST
            or message.version is not HttpVersion11
            or message.should_close
            or message.upgrade
            or hdrs.EXPECT in message.headers
            or not payload.is_eof()
            or payload.total_bytes > self.max_body
            or self._draining
        ):
            return False
        if post.styled is not None:
            post = post.styled(message.path, message.headers)
        body = payload.read_nowait()
        if post.prepared is None:
            reply = self.answer_post(post, message.path, message.headers, body, connection)
        else:
            answer = post.prepared(message.headers)
            reply = self._answered_by(answer, body, connection, post.refusal)
            if received is not None and not message.chunked and reply.succeeded:
                self._known_heads.learn(received, KnownHead(answer, post.refusal, len(body)))
        self._send_soon(connection, reply)
        return True

    def _send_soon(self, connection: _Connection, reply: Reply) -> None:
        # Answers to what came together leave together: one wakes the other side up, the others find it awake.
        if not self._outbox:
            self._loop.call_soon(self.send_answers)
        connection.unsent += 1
        self._outbox.append((connection, self._render(reply, HttpVersion11, keep_alive=not reply.close), reply.close))

    def send_answers(self) -> None:
        """Write all answers that were given at once and are still here, as soon as what they say is kept."""
        if self._outbox:
            answers, self._outbox = self._outbox, []
            self._when_kept(partial(self._send, answers))

    def _send(self, answers: list[tuple[_Connection, bytes, bool]]) -> None:
        now = self._loop.time()
        for connection, answer, close in answers:
            connection.unsent -= 1
            connection.idle_from(now)
            if connection.transport is not None:
                _write(connection.transport, answer)
                if close or (connection.closes_when_sent and not connection.unsent):
                    connection.force_close()

    def answer_post(self, post: Post, target: str, headers: Headers, body: bytes, peer: Peer) -> Reply:
        """The answer of an address, whatever happens in it."""
        return self._answered_by(partial(post.answer, target, headers), body, peer, post.refusal)

    def _answered_by(self, answer: Answer, body: bytes, peer: Peer, refusal: Callable[[Problem], Reply]) -> Reply:
        try:
            return answer(body, peer)
        except Problem as problem:
            return self.refuse(problem, refusal)
        except Exception as error:  # noqa: BLE001 - whatever it is, the switch gets an answer
            return self._failed(error, refusal)

    # By aiohttp's task

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        reply = await self._answered(request)
        kept = self._loop.create_future()
        self._when_kept(lambda: None if kept.done() else kept.set_result(None))
        if not kept.done():
            await kept
        connection = cast("_Connection", request.protocol)
        if connection.transport is None:
            raise ConnectionResetError
        keep_alive = request.keep_alive and not reply.close and not self._draining
        head_only = request.method == hdrs.METH_HEAD
        _write(connection.transport, self._render(reply, request.version, keep_alive=keep_alive, head_only=head_only))
        connection.is_answered = not keep_alive or connection.is_over()
        return _CLOSED if connection.is_answered else _KEPT

    async def _answered(self, request: web.BaseRequest) -> Reply:
        post = self._posts.get(request.path)
        if post is not None and post.styled is not None:
            post = post.styled(request.raw_path, request.headers)
        refusal = self._refusal if post is None else post.refusal
        peer = cast("_Connection", request.protocol)
        try:
            if request.version not in (HttpVersion10, HttpVersion11):
                raise _not_http()
            _require_known_expectation(request)
            if post is not None:
                _require(request, hdrs.METH_POST)
                body = await _read_body(request, self.max_body)
                return self.answer_post(post, request.raw_path, request.headers, body, peer)
            late = self._late_posts(request.raw_path)
            if late is not None:
                refusal = late.refusal
                _require(request, hdrs.METH_POST)
                body = await _read_body(request, self.max_body)
                return await late.answer(request.raw_path, request.headers, body, peer)
            get = self._gets(request.path)
            if get is None:
                raise Problem(404, "There is no such address.")
            _require(request, hdrs.METH_GET, hdrs.METH_HEAD)
            return get(request.raw_path, request.headers, peer)
        except Problem as problem:
            return self.refuse(problem, refusal)
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the switch gets an answer
            return self._failed(error, refusal)

    def _failed(self, error: Exception, refusal: Callable[[Problem], Reply]) -> Reply:
        log.error("request_failed", exc_info=error)
        return self.refuse(unexpected(), refusal)

    def refuse(self, problem: Problem, refusal: Callable[[Problem], Reply]) -> Reply:
        """Count a problem, and make it an answer."""
        self._refused(problem.status)
        return refusal(problem)

    def refuse_malformed(self, connection: _Connection, problem: Problem) -> web.StreamResponse:
        """Answer what cannot be read as a request, and end its connection."""
        if connection.transport is None:
            raise ConnectionResetError
        _write(connection.transport, self._render(self.refuse(problem, self._refusal), (1, 1), keep_alive=False))
        return _CLOSED


class _Connection(Guarded):
    """One client's connection."""

    __slots__ = (
        "_ended",
        "_last_body",
        "_server",
        "address",
        "body_is_broken",
        "closes_when_sent",
        "is_answered",
        "is_between",
        "unsent",
    )

    def __init__(self, server: HttpServer, **kwargs: Any) -> None:
        super().__init__(server.guard, server, **kwargs)
        self._server = server
        self._last_body: StreamReader | None = None
        self._ended = False
        self.address = ""
        self.body_is_broken = False
        """Whether the last body ended where it could no longer be read."""
        self.unsent = 0
        """Answers that were given at once and wait for what they say to be kept."""
        self.closes_when_sent = False
        """Whether the client has asked all that it will ask."""
        self.is_answered = False
        """Whether the last answer has been given; what may still come is thrown away."""
        self.is_between = True
        """Whether all that came so far is known to have been whole requests: aiohttp's parser has nothing half."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.address = str(peer[0])

    def is_idle(self) -> bool:
        """Whether nothing is under way: aiohttp's task waits for a request."""
        return super().is_idle() and not self.unsent

    def idle_from(self, now: float) -> None:
        """From now on nothing is under way."""
        self._next_keepalive_close_time = now + self._keepalive_timeout

    def is_over(self) -> bool:
        """Whether the client has closed its side, and nothing waits behind what is under way."""
        return self._ended and not self._messages

    def data_received(self, data: bytes) -> None:
        """Answer what is known; or have aiohttp parse what came, and wake its task unless it can be answered without."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            # The task is busy with another request, or about to be: what came waits for its turn.
            self._parse(data)
            self._remember()
            return
        if self.is_between and self._server.answers_known(self, data):
            return
        # Without its waiter the task sleeps on while the message is looked at.
        self._waiter = None
        is_answered = False
        try:
            self._parse(data)
            if len(self._messages) == 1:
                received = data if self.is_between else None
                is_answered = self._server.answers_at_once(self, *self._messages[0], received)
            if is_answered:
                self._messages.clear()
                if self._parser is not None:
                    self._parser.message_consumed()
        finally:
            self._waiter = waiter
            self.has_come(whole=is_answered or bool(self._messages))
            if self._messages:
                self._remember()
                waiter.set_result(None)

    def _parse(self, data: bytes) -> None:
        before = len(self._messages)
        web.RequestHandler.data_received(self, data)
        # aiohttp gives nothing when it only wants to be called.
        if self.is_between and data:
            if len(self._messages) == before + 1:
                _, body = self._messages[-1]
                self.is_between = body.is_eof() and is_one_piece(data, body.total_bytes)
            else:
                self.is_between = False

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio asks for the answer, aiohttp gives none
        """Who has nothing more to ask may still wait for an answer: whether the connection has to stay for it."""
        self._server.send_answers()
        if self.transport is not None and self.transport.get_extra_info("sslcontext") is not None:
            # TLS of Python ends both directions at once (as RFC 5246, section 7.2.1, has it).
            return False
        if self.unsent and self._waiter is not None and not self._waiter.done():
            self.closes_when_sent = True
            return True
        self._ended = not self.is_idle() and self._last_body is not None and self._last_body.is_eof()
        # aiohttp would leave unanswered what waits in line.
        self._close = self.is_over()
        return self._ended

    def _remember(self) -> None:
        if not self._messages:
            return
        message, body = self._messages[-1]
        if isinstance(message, RawRequestMessage):
            self._last_body = body
        elif self._last_body is None:
            # The first that aiohttp's task hears of this client is nothing that it can read: it has no body either.
            self._last_body = EMPTY_PAYLOAD
        elif not self._last_body.is_eof():
            # aiohttp tells it to the next request only, and this one would wait for the rest of its body.
            self.body_is_broken = True
            self._last_body.feed_eof()

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002 - it stands for what is none
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it may repeat what was sent
    ) -> web.StreamResponse:
        """What is not HTTP is answered with a problem too, and nothing of it is logged."""
        if isinstance(exc, ConnectionError):
            # The client has gone away, which is no error of ours.
            raise exc
        if status == 400:
            return self._server.refuse_malformed(self, _not_http())
        log.error("request_failed", exc_info=exc)
        return self._server.refuse_malformed(self, unexpected())


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


def _write(transport: asyncio.WriteTransport, answer: bytes) -> None:
    transport.write(answer)
    if transport.get_write_buffer_size() > _MAX_UNREAD + len(answer):
        transport.abort()


def _not_http() -> Problem:
    return Problem(400, "The request is not HTTP/1.1.", close=True)


def _require(request: web.BaseRequest, *methods: str) -> None:
    if request.method not in methods:
        raise Problem(405, f"This address is for {methods[0]}.", headers={hdrs.ALLOW: ", ".join(methods)})


def _require_known_expectation(request: web.BaseRequest) -> None:
    if request.headers.get(hdrs.EXPECT, _CONTINUE).lower() != _CONTINUE:
        raise Problem(417, f"Only {_CONTINUE} can be expected.", close=True)


async def _read_body(request: web.BaseRequest, max_body: int) -> bytes:
    """The whole body, up to so many bytes, chunked or not. Raises Problem, ConnectionError."""
    content, connection = request.content, cast("_Connection", request.protocol)
    if content.is_eof() and content.total_bytes <= max_body and not connection.body_is_broken:
        return content.read_nowait()
    if (request.content_length or 0) > max_body:
        raise _too_large(max_body)
    if hdrs.EXPECT in request.headers and request.version >= HttpVersion11 and request.transport is not None:
        # Only now: who is refused need not send a body.
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    received = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            while chunk := await content.readany():
                received += chunk
                if len(received) > max_body:
                    raise _too_large(max_body)
    except TimeoutError:
        raise Problem(408, f"The body did not come within {BODY_TIMEOUT:g} seconds.", close=True) from None
    except (web.RequestPayloadError, HttpProcessingError):
        raise _broken() from None
    if connection.body_is_broken:
        raise _broken()
    return bytes(received)


def _too_large(max_body: int) -> Problem:
    return Problem(413, f"The body has more than {max_body} bytes.", close=True)


def _broken() -> Problem:
    return Problem(400, "The body is not what its head says.", close=True)
