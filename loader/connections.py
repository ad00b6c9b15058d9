"""How many connections there may be over HTTP, and how long each may wait: nobody can use all of them up.

aiohttp itself closes no connection on which no request has ever come whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from heapq import nsmallest
from typing import Any, Final, NamedTuple

from aiohttp import web

FAR_AWAY: Final = 1e9
"""Seconds: when aiohttp itself would close a connection, if it were for it."""
_EVERY: Final = 1.0
"""Seconds between two looks at all connections."""
_AT_ONCE: Final = 500
"""Connections that are looked at without a pause."""
_MADE_ROOM: Final = 100
"""Which part of all connections is closed together: to find them takes a look at each."""


class Limits(NamedTuple):
    """How many connections one port has at most, and for how many seconds they may wait.

    ``idle``: for the next question; ``head``: for the rest of a question's head; ``unread``: for the client to read
    what it was answered.
    """

    connections: int = 10_000
    idle: float = 900.0
    head: float = 10.0
    unread: float = 30.0


class Guarded(web.RequestHandler):
    """A connection that a guard looks after. Times are those of the event loop."""

    __slots__ = ("_guard", "begun_at", "unread_at")

    def __init__(self, guard: Guard, server: web.Server, **kwargs: Any) -> None:
        super().__init__(server, **kwargs)
        self._guard = guard
        self.begun_at: float | None = None
        """When the head that has not all come began."""
        self.unread_at: float | None = None
        """When it was first seen that an answer is not read."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._guard.come(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._guard.gone(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.has_come(whole=not self.is_idle())

    def has_come(self, *, whole: bool) -> None:
        """Something has come: all of a head, or only some of it."""
        self.begun_at = None if whole else self.begun_at or self._loop.time()

    def is_idle(self) -> bool:
        """Whether nothing is under way: aiohttp's task waits for a request."""
        return self._waiter is not None and not self._waiter.done()

    @property
    def idle_since(self) -> float | None:
        """Since when nothing is under way; None if something is."""
        # aiohttp notes at the connection's beginning, and whenever it becomes idle, when it would close it.
        return self._next_keepalive_close_time - self._keepalive_timeout if self.is_idle() else None


class GuardedRunner(web.AppRunner):
    """Serves an application whose connections keep within limits; `refused` as of :class:`Guard`."""

    def __init__(
        self, app: web.Application, guard: Guard, *, connection: type[Guarded] = Guarded, **kwargs: Any
    ) -> None:
        super().__init__(app, keepalive_timeout=FAR_AWAY, **kwargs)
        self._guard = guard
        self._connection = connection

    @property
    def server(self) -> Any:
        """What makes the connections."""
        server = super().server
        return server and _Factory(server, self._guard, self._connection)

    async def cleanup(self) -> None:
        self._guard.stop()
        await super().cleanup()


class _Factory:
    """aiohttp's server, with other connections."""

    def __init__(self, server: web.Server, guard: Guard, connection: type[Guarded]) -> None:
        self._server = server
        self._guard = guard
        self._connection = connection

    def __call__(self) -> Guarded:
        return self._connection(self._guard, self._server, loop=self._server._loop, **self._server._kwargs)  # noqa: SLF001

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)


class Guard:
    """Keeps the connections of one port within their limits. `refused` counts those that are closed, by status."""

    def __init__(self, limits: Limits, refused: Callable[[int], None] = lambda _status: None) -> None:
        self._limits = limits
        self._refused = refused
        self._here: dict[Guarded, None] = {}
        self._next: asyncio.TimerHandle | asyncio.Handle | None = None

    def come(self, connection: Guarded) -> None:
        """A connection was made: if there is no room for it those go that were idle for longest, or else it does."""
        self._here[connection] = None
        if len(self._here) > self._limits.connections:
            self._make_room(connection)
        if self._next is None:
            self._next = asyncio.get_running_loop().call_later(_EVERY, self._look)

    def gone(self, connection: Guarded) -> None:
        """A connection has ended."""
        self._here.pop(connection, None)

    def stop(self) -> None:
        """Look no more."""
        if self._next is not None:
            self._next.cancel()

    def _make_room(self, newcomer: Guarded) -> None:
        idle = [
            (since, at, one)
            for at, one in enumerate(self._here)
            if one is not newcomer and (since := one.idle_since) is not None
        ]
        room = max(1, self._limits.connections // _MADE_ROOM)
        longest = [one for _, _, one in nsmallest(room, idle)] or [newcomer]
        for one in longest:
            self._close(one, 503)

    def _close(self, connection: Guarded, status: int) -> None:
        self._refused(status)
        self._end(connection)

    def _end(self, connection: Guarded) -> None:
        self.gone(connection)
        transport = connection.transport
        connection.force_close()
        if transport is not None and transport.get_extra_info("sslcontext") is not None:
            # TLS would wait for the other side to agree to the end.
            transport.abort()

    def _look(self, left: Sequence[Guarded] | None = None) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        connections = list(self._here) if left is None else left
        for connection in connections[:_AT_ONCE]:
            self._look_at(connection, now)
        if len(connections) > _AT_ONCE:
            self._next = loop.call_soon(self._look, connections[_AT_ONCE:])
        else:
            self._next = loop.call_later(_EVERY, self._look) if self._here else None

    def _look_at(self, connection: Guarded, now: float) -> None:
        transport = connection.transport
        if transport is None:
            return
        limits = self._limits
        if not transport.get_write_buffer_size():
            connection.unread_at = None
        elif connection.unread_at is None:
            connection.unread_at = now
        elif now - connection.unread_at > limits.unread:
            # Not before all is read: that may be never.
            transport.abort()
            return
        if connection.begun_at is not None and now - connection.begun_at > limits.head:
            self._close(connection, 408)
        elif (since := connection.idle_since) is not None and now - since > limits.idle:
            self._end(connection)
