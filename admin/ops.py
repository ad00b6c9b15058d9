"""The operations port: `/metrics`, `/healthz`, `/readyz`."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from admin.metrics import Metrics
from loader.errors import DatabaseError
from loader.store import Store


def make_app(metrics: Metrics, store: Store) -> web.Application:
    """Answers those who run the site."""

    async def up(_request: web.Request) -> web.Response:
        return web.json_response({"up": True})

    async def told(_request: web.Request) -> web.Response:
        await _look(metrics, store)
        return web.Response(body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def ready(_request: web.Request) -> web.Response:
        problem = await _look(metrics, store)
        state = {"ready": problem is None, "database": "up" if problem is None else "down"}
        return web.json_response(state | ({"problem": problem} if problem else {}), status=503 if problem else 200)

    app = web.Application()
    app.add_routes([web.get("/healthz", up), web.get("/metrics", told), web.get("/readyz", ready)])
    return app


async def _look(metrics: Metrics, store: Store) -> str | None:
    """Why the database cannot be used; None if it can."""
    try:
        await store.position()
    except DatabaseError as error:
        metrics.database_up.set(0)
        return str(error)
    metrics.database_up.set(1)
    return None
