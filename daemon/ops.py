"""The operations port: `/metrics`, `/healthz`, `/readyz`."""

from __future__ import annotations

import time
from typing import Final

import msgspec
from aiohttp import hdrs, web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from daemon.doors.http_server import Reply, head
from daemon.doors.problem import Problem
from daemon.health import Health

DOOR: Final = "operations"
"""The port's name in metrics."""

_METRICS_HEAD: Final = head(200, CONTENT_TYPE_LATEST)
_JSON: Final = "application/json"
_READINESS_HEAD: Final = {True: head(200, _JSON), False: head(503, _JSON)}
_UP: Final = Reply(head(200, _JSON), b'{"up":true}')


class Operations:
    """Answers those who run the daemon: call it with each request."""

    def __init__(self, health: Health, registry: CollectorRegistry) -> None:
        self._health = health
        self._registry = registry

    async def __call__(self, request: web.BaseRequest) -> Reply:
        """Raises Problem."""
        if request.path not in ("/metrics", "/healthz", "/readyz"):
            raise Problem(404, "There are /metrics, /healthz and /readyz.")
        if request.method not in (hdrs.METH_GET, hdrs.METH_HEAD):
            raise Problem(405, "This address is for GET.", headers={hdrs.ALLOW: "GET, HEAD"})
        if request.path == "/healthz":
            return _UP
        if request.path == "/readyz":
            readiness = self._health.readiness(time.monotonic())
            return Reply(_READINESS_HEAD[readiness.ready], msgspec.json.encode(readiness))
        return Reply(_METRICS_HEAD, generate_latest(self._registry))
