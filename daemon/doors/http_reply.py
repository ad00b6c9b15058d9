"""Answers over HTTP as bytes: head and body together, so that each leaves in one write."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from time import time
from typing import Final, NamedTuple, Protocol, TypeAlias

import msgspec
from multidict import CIMultiDictProxy

from daemon.doors.problem import MEDIA_TYPE, TITLES, Problem

Headers: TypeAlias = CIMultiDictProxy[str]


class Reply(msgspec.Struct, frozen=True, gc=False):
    """A ready answer: its first lines (see :func:`head`), its body, and whether the connection ends with it."""

    head: bytes
    body: bytes
    close: bool = False

    @property
    def succeeded(self) -> bool:
        """Whether what was asked for was done."""
        return self.head.startswith(b"HTTP/1.1 2")


NO_CONTENT: Final = Reply(b"HTTP/1.1 204 No Content\r\nCache-Control: no-store\r\n", b"")
"""What was told has been heard. It has no body, nor a length of one: RFC 9110, section 8.6."""


class Peer(Protocol):
    """Who is at the other end of a connection."""

    @property
    def address(self) -> str:
        """Its address as the connection tells it; empty where there is none, as on a Unix socket."""


Get: TypeAlias = Callable[[str, Headers, Peer], Reply]
"""Answers a GET from its target, query and all, its headers, and who asks; raises Problem to refuse it."""


Answer: TypeAlias = Callable[[bytes, Peer], Reply]
"""Answers a body, and who sends it, to a head that is already read; raises Problem to refuse it."""


class Post(NamedTuple):
    """An address whose answers need no more than the target (query and all), the headers, the body, and who posts.

    `answer` raises Problem to refuse; `refusal` renders a problem. `styled` finds the form of the address that this
    target and these headers ask for, where there are several. `prepared`, where there is one, reads headers once for
    all bodies that come with the same: it gives what `answer` does with them.
    """

    answer: Callable[[str, Headers, bytes, Peer], Reply]
    refusal: Callable[[Problem], Reply]
    styled: Callable[[str, Headers], Post] | None = None
    prepared: Callable[[Headers], Answer] | None = None


class LatePost(NamedTuple):
    """As :class:`Post`, for an answer that may have to wait for something."""

    answer: Callable[[str, Headers, bytes, Peer], Awaitable[Reply]]
    refusal: Callable[[Problem], Reply]


def head(status: int, media_type: str, headers: Mapping[str, str] | None = None) -> bytes:
    """The first lines of an answer, to be made once for each kind of answer."""
    lines = [f"HTTP/1.1 {status} {TITLES.get(status, 'OK')}", f"Content-Type: {media_type}", "Cache-Control: no-store"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "".join(f"{line}\r\n" for line in lines).encode("ascii")


def problem_reply(problem: Problem) -> Reply:
    """A problem as it is answered, unless an address has a form of its own."""
    return Reply(head(problem.status, MEDIA_TYPE, problem.headers), problem.body(), problem.close)


def unexpected() -> Problem:
    """What is answered when something broke: to a switch that means to ask again, or to refuse the caller."""
    return Problem(503, "Something broke; it is in the log.", headers={"Retry-After": "1"}, close=True)


class Renderer:
    """Turns replies into what goes over the wire; it knows what the date is."""

    __slots__ = ("_date", "_date_of", "_starts")

    def __init__(self) -> None:
        self._date = b""
        self._date_of = 0
        self._starts: dict[bytes, bytes] = {}
        """What most answers begin with, in this second: first lines, date, and all but the number of the length."""

    def render(self, reply: Reply, version: tuple[int, int], *, keep_alive: bool, head_only: bool = False) -> bytes:
        """The whole answer to a request of this HTTP version."""
        now = int(time())
        if now != self._date_of:
            self._date_of = now
            self._date = formatdate(now, usegmt=True).encode("ascii")
            self._starts.clear()
        body = reply.body
        if keep_alive and not head_only and version >= (1, 1) and reply is not NO_CONTENT:
            start = self._starts.get(reply.head)
            if start is None:
                start = self._starts[reply.head] = b"%bDate: %b\r\nContent-Length: " % (reply.head, self._date)
            return b"%b%d\r\n\r\n%b" % (start, len(body), body)
        if not keep_alive:
            connection = b"Connection: close\r\n"
        elif version < (1, 1):
            connection = b"Connection: keep-alive\r\n"
        else:
            connection = b""
        if reply is NO_CONTENT:
            return b"%bDate: %b\r\n%b\r\n" % (reply.head, self._date, connection)
        return b"%bDate: %b\r\n%bContent-Length: %d\r\n\r\n%b" % (
            reply.head,
            self._date,
            connection,
            len(body),
            b"" if head_only else body,
        )
