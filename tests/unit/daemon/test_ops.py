"""The operations port."""

from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from daemon.health import Health
from daemon.metrics import Metrics
from daemon.ops import Operations
from tests.unit.daemon.doors.conftest import HeardServer, Served, get, listening


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
    server = HeardServer(operations.gets, metrics.refusals("operations"), drain_timeout=lambda: 1.0)
    async with listening(server, metrics, is_described=False) as door:
        yield door


async def test_metrics_are_told_in_prometheus_own_words(served: Served) -> None:
    answer = await served.ask(get("/metrics"))
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    told = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert told["rollcall_build_info"].samples[0].labels == {"version": "1.2.3"}
    assert told.keys() >= {"rollcall_http_requests_refused", "rollcall_index_entries", "process_open_fds"}


async def test_a_process_that_answers_is_up_whatever_else_is_wrong(served: Served, health: Health) -> None:
    health.loaded = False
    health.draining = True
    health.problem = "rollcall.db: is gone"
    answer = await served.ask(get("/healthz"))
    assert (answer.status, answer.json) == (200, {"up": True})


async def test_it_is_ready_when_loaded_and_fresh(served: Served) -> None:
    answer = await served.ask(get("/readyz"))
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    told = answer.json
    assert 0 <= told.pop("seconds_since_look") < 5
    assert told == {"ready": True, "index": "loaded", "database": "up", "position": 0, "lists_not_applied": 0}


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("loaded", False, {"index": "loading"}),
        ("stale_after", 0.0, {"index": "loaded"}),
        ("draining", True, {"draining": True}),
    ],
)
async def test_what_keeps_it_from_being_ready_is_told(
    served: Served, health: Health, name: str, value: Any, told: dict[str, Any]
) -> None:
    setattr(health, name, value)
    answer = await served.ask(get("/readyz"))
    assert (answer.status, answer.json["ready"]) == (503, False)
    assert told.items() <= answer.json.items()


async def test_a_database_that_is_gone_is_told_while_the_index_is_still_fresh(served: Served, health: Health) -> None:
    health.problem = "rollcall.db: is gone"
    answer = await served.ask(get("/readyz"))
    assert (answer.status, answer.json["database"], answer.json["problem"]) == (200, "down", "rollcall.db: is gone")


@pytest.mark.parametrize(
    ("request_", "status"),
    [(get("/"), 404), (get("/metrics/"), 404), (get("/v1/verify"), 404), (get("/metrics", method="POST"), 405)],
)
async def test_nothing_else_is_there(served: Served, request_: bytes, status: int) -> None:
    answer = await served.ask(request_)
    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
    assert served.metrics.registry.get_sample_value(
        "rollcall_http_requests_refused_total", {"door": "operations", "status": str(status)}
    ) == 1  # fmt: skip


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz"])
async def test_head_is_answered_without_a_body(served: Served, path: str) -> None:
    client = await served.client()
    await client.send(get(path, method="HEAD"))
    assert (await client.answer(has_body=False)).status == 200
    assert (await client.ask(get("/healthz"))).json == {"up": True}


async def test_a_metric_that_cannot_be_read_is_503(served: Served) -> None:
    def broken() -> float:
        raise ValueError

    served.metrics.database_up.set_function(broken)
    with structlog.testing.capture_logs() as logged:
        answer = await served.ask(get("/metrics"))
    assert (answer.status, [line["event"] for line in logged]) == (503, ["request_failed"])
