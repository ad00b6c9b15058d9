"""The operations port."""

from collections.abc import AsyncIterator
from time import monotonic

import pytest
from aiohttp import web

from daemon.doors.http_server import HttpServer
from daemon.health import Health
from daemon.metrics import Metrics
from daemon.ops import Operations
from tests.unit.daemon.doors.conftest import Served, get


@pytest.fixture
def health() -> Health:
    health = Health(5.0)
    health.loaded = True
    health.looked(monotonic())
    return health


@pytest.fixture
async def served(health: Health) -> AsyncIterator[Served]:
    metrics = Metrics("1.2.3")
    operations = Operations(health, metrics.registry)
    server = HttpServer(operations.gets, metrics.refusals("operations"), drain_timeout=lambda: 1.0)
    runner = web.ServerRunner(server)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    door = Served(server, runner, metrics)
    yield door
    await door.stop()


async def test_metrics_are_told_in_prometheus_own_words(served: Served) -> None:
    answer = await served.ask(get("/metrics"))
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert 'rollcall_build_info{version="1.2.3"} 1.0' in answer.text


async def test_a_process_that_answers_is_up_whatever_else_is_wrong(served: Served, health: Health) -> None:
    health.loaded = False
    health.problem = "rollcall.db: is gone"
    answer = await served.ask(get("/healthz"))
    assert (answer.status, answer.json) == (200, {"up": True})


async def test_readiness_says_what_is_wrong(served: Served, health: Health) -> None:
    answer = await served.ask(get("/readyz"))
    assert (answer.status, answer.json["ready"], answer.json["index"]) == (200, True, "loaded")
    health.loaded = False
    health.problem = "rollcall.db: is gone"
    answer = await served.ask(get("/readyz"))
    assert (answer.status, answer.json["index"], answer.json["problem"]) == (503, "loading", "rollcall.db: is gone")


@pytest.mark.parametrize(("request_", "status"), [(get("/"), 404), (get("/metrics", method="POST"), 405)])
async def test_nothing_else_is_there(served: Served, request_: bytes, status: int) -> None:
    answer = await served.ask(request_)
    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
    assert served.metrics.registry.get_sample_value(
        "rollcall_http_requests_refused_total", {"door": "operations", "status": str(status)}
    ) == 1  # fmt: skip


async def test_head_is_answered_without_a_body(served: Served) -> None:
    client = await served.client()
    await client.send(get("/readyz", method="HEAD"))
    assert (await client.answer(has_body=False)).status == 200
