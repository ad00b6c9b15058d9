"""The operations port: `/metrics`, `/healthz`, `/readyz`."""

from __future__ import annotations

import time
from typing import Final

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from daemon.doors.http_reply import Get, Headers, Peer, Reply, head
from daemon.health import Health

DOOR: Final = "operations"
"""The port's name in metrics."""

_METRICS_HEAD: Final = head(200, CONTENT_TYPE_LATEST)
_JSON: Final = "application/json"
_READINESS_HEAD: Final = {True: head(200, _JSON), False: head(503, _JSON)}
_UP: Final = Reply(head(200, _JSON), b'{"up":true}')


class Operations:
    """Answers those who run the daemon."""

    def __init__(self, health: Health, registry: CollectorRegistry) -> None:
        self._health = health
        self._registry = registry

    def gets(self, path: str) -> Get | None:
        """What answers this path."""
        return {"/metrics": self._metrics, "/healthz": self._up, "/readyz": self._ready}.get(path)

    def _up(self, _target: str, _headers: Headers, _peer: Peer) -> Reply:
        return _UP

    def _ready(self, _target: str, _headers: Headers, _peer: Peer) -> Reply:
        readiness = self._health.readiness(time.monotonic())
        return Reply(_READINESS_HEAD[readiness.ready], msgspec.json.encode(readiness))

    def _metrics(self, _target: str, _headers: Headers, _peer: Peer) -> Reply:
        return Reply(_METRICS_HEAD, generate_latest(self._registry))
