"""Every metric, as Prometheus reads it."""

import asyncio
import re

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from daemon.metrics import Metrics
from loader.index import Reason


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_every_result_is_there_from_the_start() -> None:
    """So that a rate can be told from the first one on."""
    metrics = Metrics("1.2.3")
    metrics.tally("http")
    for result in ("accepted", *Reason):
        assert sample(metrics, "rollcall_verifications_total", door="http", result=result) == 0


def test_verifications_are_counted_by_door_and_result() -> None:
    metrics = Metrics("1.2.3")
    http, other = metrics.tally("http"), metrics.tally("fastagi")
    http("accepted", 0.00015)
    http("accepted", 3.0)
    http("unknown_pin", 60.0)
    other("accepted", 0.0001)
    assert sample(metrics, "rollcall_verifications_total", door="http", result="accepted") == 2
    assert sample(metrics, "rollcall_verifications_total", door="fastagi", result="accepted") == 1
    assert sample(metrics, "rollcall_verification_seconds_count", door="http") == 3
    assert sample(metrics, "rollcall_verification_seconds_sum", door="http") == 63.00015
    buckets = {"0.0001": 0.0, "0.0002": 1.0, "2.0": 1.0, "5.0": 2.0, "10.0": 2.0, "+Inf": 3.0}
    for bound, count in buckets.items():
        assert sample(metrics, "rollcall_verification_seconds_bucket", door="http", le=bound) == count
    # A bound belongs to its bucket.
    assert sample(metrics, "rollcall_verification_seconds_bucket", door="fastagi", le="0.0001") == 1


def test_the_buckets_fit_the_time_limits_of_switches() -> None:
    metrics = Metrics("1.2.3")
    metrics.tally("http")
    bounds = re.findall(r'rollcall_verification_seconds_bucket\{door="http",le="([^"]+)"', text(metrics))
    assert {"0.0001", "0.5", "2.0", "5.0", "10.0"} <= set(bounds)
    assert (bounds[0], bounds[-2:]) == ("0.0001", ["10.0", "+Inf"])


def test_a_commit_is_timed_until_it_is_in_force() -> None:
    metrics = Metrics("1.2.3")
    metrics.in_force(0.12)
    metrics.in_force(0.3)
    assert sample(metrics, "rollcall_commit_to_force_seconds_count") == 2
    assert sample(metrics, "rollcall_commit_to_force_last_seconds") == 0.3


def test_what_is_running_is_told() -> None:
    assert sample(Metrics("1.2.3"), "rollcall_build_info", version="1.2.3") == 1


def test_labels_do_not_grow_with_customers() -> None:
    """Doors, results, statuses, versions and bounds: nothing that a customer brings."""
    metrics = Metrics("1.2.3")
    metrics.tally("http")("accepted", 0.1)
    metrics.refusals("http")(401)
    labels = {
        name
        for family in text_string_to_metric_families(text(metrics))
        for sample_ in family.samples
        for name in sample_.labels
        if family.name.startswith("rollcall_")
    }
    assert labels == {"door", "kind", "result", "status", "version", "le"}


def test_every_metric_says_what_it_is_and_begins_with_rollcall() -> None:
    metrics = Metrics("1.2.3")
    metrics.tally("http")
    families = [
        f for f in text_string_to_metric_families(text(metrics)) if not f.name.startswith(("process", "python"))
    ]
    assert len(families) > 10
    for family in families:
        assert family.name.startswith("rollcall_")
        assert family.documentation.endswith(".")


async def test_it_is_read_on_the_loop_without_holding_it_up() -> None:
    """A scrape takes milliseconds at most."""
    metrics = Metrics("1.2.3")
    for door in range(10):
        metrics.tally(f"door-{door}")
    loop = asyncio.get_running_loop()
    took = []
    for _ in range(5):
        begun = loop.time()
        text(metrics)
        took.append(loop.time() - begun)
    assert min(took) < 0.02


def text(metrics: Metrics) -> str:
    return generate_latest(metrics.registry).decode()
