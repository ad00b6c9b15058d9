"""A door beside the HTTP door that is asked over HTTP all the same: what opens it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final, Protocol

from aiohttp import web

from daemon.doors.http_reply import Get, Post, Reply
from daemon.doors.http_server import HttpServer
from daemon.doors.problem import Problem
from daemon.doors.surroundings import Surroundings
from loader.sections import Tls

MAX_BODY: Final = 64 * 1024
"""Bytes of what a platform may post: some tell all that they know of a call."""
_BACKLOG: Final = 1024
"""Connections that may wait to be accepted: a thousand callers may join in the same second."""


class WebDoor(Protocol):
    """What answers: see :class:`HttpServer`."""

    @property
    def posts(self) -> Mapping[str, Post]: ...

    def gets(self, path: str) -> Get | None: ...

    def refusal(self, problem: Problem) -> Reply: ...


def server(name: str, door: WebDoor, surroundings: Surroundings) -> HttpServer:
    """The server of this door."""
    return HttpServer(
        door.gets,
        surroundings.metrics.refusals(name),
        posts=door.posts,
        refusal=door.refusal,
        when_kept=surroundings.rolls.when_kept,
        max_body=MAX_BODY,
        drain_timeout=surroundings.drain_timeout,
        limits=surroundings.limits,
    )


class WebPort(Protocol):
    """Where a door listens, as its section of the settings says."""

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...

    @property
    def tls(self) -> Tls: ...


@asynccontextmanager
async def serving(
    name: str, settings: WebPort, door: Callable[[], WebDoor], surroundings: Surroundings
) -> AsyncGenerator[int]:
    """Serve a door; its port. Raises PortError, SettingsError, and what making the door raises."""
    runner = web.ServerRunner(server(name, door(), surroundings))
    async with surroundings.ports.listening(
        runner, f"doors.{name}.port", settings.host, settings.port, tls=settings.tls, backlog=_BACKLOG
    ) as listened:
        yield listened
