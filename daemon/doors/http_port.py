"""The HTTP door and its server, put together: the same in the main process and in each worker."""

from __future__ import annotations

from typing import Final

from daemon.doors.http import DOOR, HttpDoor
from daemon.doors.http_server import HttpServer
from daemon.doors.openapi import document
from daemon.doors.surroundings import Surroundings
from loader.sections import Daemon
from loader.service import most_connections

SETTING: Final = "daemon.port"
"""How its port is called in the settings."""
BACKLOG: Final = 1024
"""Connections that may wait to be accepted: a thousand callers may join in the same second."""


def http_server(surroundings: Surroundings, settings: Daemon, version: str) -> HttpServer:
    """The server of the port that switches ask over HTTP; it has one process's part of the connections."""
    metrics, roll = surroundings.metrics, surroundings.rolls
    connections = most_connections(-(-settings.max_connections // settings.workers))
    door = HttpDoor(
        surroundings.live,
        surroundings.verifier(DOOR),
        document(version),
        roll,
        metrics.call_events(DOOR),
        metrics.tokens_refused(DOOR),
    )
    return HttpServer(
        door.gets,
        metrics.refusals(DOOR),
        posts=door.posts,
        late_posts=door.late_posts,
        when_kept=roll.when_kept,
        at_once=settings.at_once,
        drain_timeout=surroundings.drain_timeout,
        limits=surroundings.limits._replace(connections=connections),
    )
