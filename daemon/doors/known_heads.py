"""Heads of requests that aiohttp has parsed, by their very bytes: what it made of them once it would make of them again.

A switch asks with the same head each time: the same address, token and media type, and a body as long as the last.
Nothing here reads a length, a field or a method; a request is known by comparing bytes, or it is not known. It must
come as one piece on a connection where nothing else is under way or half sent, be a head that aiohttp took for a plain
and whole request before, and have as many bytes behind it as that request's body had. Everything else is aiohttp's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from daemon.doors.http_reply import Answer, Reply
from daemon.doors.problem import Problem

_END: Final = b"\r\n\r\n"
_HEADS: Final = 1024
"""Heads that are known at most; then all are learnt anew."""
_LONGEST: Final = 1024
"""Bytes of a head that is worth knowing. Those of switches have 200."""


class KnownHead(NamedTuple):
    """What answers each body of `body_size` bytes that comes with this head, and what renders its problems."""

    answer: Answer
    refusal: Callable[[Problem], Reply]
    body_size: int


class KnownHeads:
    """The heads of one port."""

    def __init__(self) -> None:
        self._heads: dict[bytes, KnownHead] = {}
        self._last: tuple[bytes, int, KnownHead] | None = None
        """The head that was found last, mostly the next one's too, with the size of its requests."""

    def find(self, request: bytes) -> tuple[KnownHead, bytes] | None:
        """The head of this request, and its body; None if it is not known to be one whole request."""
        if self._last is not None:
            head, size, known = self._last
            if len(request) == size and request.startswith(head):
                return known, request[len(head) :]
        body_at = request.find(_END) + len(_END)
        head = request[:body_at]
        found = self._heads.get(head)
        if found is None or len(request) - body_at != found.body_size:
            return None
        self._last = head, len(request), found
        return found, request[body_at:]

    def learn(self, request: bytes, head: KnownHead) -> None:
        """A request was answered that is one piece, see :func:`is_one_piece`, and was authorized."""
        size = len(request) - head.body_size
        if size <= _LONGEST:
            if len(self._heads) >= _HEADS:
                self._heads.clear()
            self._heads[request[:size]] = head


def is_one_piece(received: bytes, body_size: int) -> bool:
    """Whether these bytes, of which aiohttp made one request with so long a body, are that request and nothing more.

    A head in which every line ends with CR LF, and which holds neither of them elsewhere, ends at its first empty line
    for whoever reads it.
    """
    head_size = len(received) - body_size
    head = received[:head_size]
    lines = head.count(b"\r\n")
    return (
        received.find(_END) + len(_END) == head_size
        and head.count(b"\n") == lines
        and head.count(b"\r") == lines
        and not head.startswith(b"\r\n")
    )
