"""Numbers of several processes: none is lost, and nobody's are somebody else's."""

import os
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from daemon.metrics import Metrics
from daemon.shared_counter import SharedCounter
from daemon.shares import Shares


def of_processes(count: int) -> list[Shares]:
    """The shares of so many processes, as each of them sees them."""
    first = Shares(count)
    return [first, *(Shares(count, number, first.file) for number in range(1, count))]


def test_each_counts_for_itself_and_anybody_adds_up() -> None:
    shares = [one.take(3) for one in of_processes(3)]
    for number, share in enumerate(shares, 1):
        share.own[1] += number
        share.own[2] += 0.5
    assert [shares[0].total(at) for at in range(3)] == [0, 6, 1.5]
    assert [share.own[1] for share in shares] == [1, 2, 3]


def test_what_a_killed_process_has_counted_stays_and_its_successor_goes_on() -> None:
    shares = Shares(2)
    seen = shares.take(1)
    for _ in range(3):
        pid = os.fork()
        if not pid:
            own = Shares(2, 1, shares.file).take(1)
            own.own[0] += 5
            os.kill(os.getpid(), 9)
        os.waitpid(pid, 0)
    assert seen.total(0) == 15


@pytest.mark.parametrize("processes", [1, 2])
def test_numbers_that_are_taken_one_after_the_other_do_not_overlap(processes: int) -> None:
    shares = Shares(processes)
    some, others = shares.take(2), shares.take(2)
    some.own[1] += 1
    assert [others.total(0), others.total(1)] == [0, 0]


def test_there_is_no_room_for_ever() -> None:
    shares = Shares()
    with pytest.raises(ValueError, match="not so many"):
        shares.take(100_000)


def test_a_counter_tells_of_what_was_counted_or_asked_for() -> None:
    registry = CollectorRegistry()
    wanted = [("http", str(status)) for status in range(400, 404)]
    counter = SharedCounter("c", "c.", ["door", "status"], shares=Shares(2), shared=wanted, registry=registry)
    counter.labels("http", "401")
    counter.labels("http", "403").inc(2)
    counter.labels("radius", "400").inc()
    told = {tuple(sample.labels.values()): sample.value for family in registry.collect() for sample in family.samples}
    assert told == {("http", "401"): 0, ("http", "403"): 2, ("radius", "400"): 1}


def test_the_main_process_tells_what_all_have_counted() -> None:
    """Whatever a worker counts: each kind once."""
    main, worker = (Metrics("1", shares) for shares in of_processes(2))
    count: list[tuple[Callable[[Metrics], object], str, dict[str, str]]] = [
        (lambda m: m.tally("http")("accepted", 0.1), "rollcall_verifications_total", {"result": "accepted"}),
        (lambda m: m.refusals("http")(429), "rollcall_http_requests_refused_total", {"status": "429"}),
        (lambda m: m.tokens_refused("http")("expired"), "rollcall_tokens_refused_total", {"why": "expired"}),
        (lambda m: m.call_events("http")("left"), "rollcall_call_events_total", {"event": "left"}),
        (lambda m: m.roll_events_dropped(1), "rollcall_roll_events_dropped_total", {}),
        (lambda m: m.locked("switch"), "rollcall_throttle_locked_total", {"kind": "switch"}),
        (lambda m: m.held_up("busy"), "rollcall_throttle_refused_total", {"kind": "busy"}),
        (lambda m: m.tls.refused("daemon", "timeout"), "rollcall_handshakes_refused_total", {"why": "timeout"}),
    ]
    for do, name, labels in count:
        door = {"door": "http"} if not {"kind"} & labels.keys() and labels else {}
        if name.startswith("rollcall_handshakes"):
            door = {"port": "daemon"}
        for metrics in (main, worker, worker):
            do(metrics)
        assert main.registry.get_sample_value(name, door | labels) == 3, name
    assert main.registry.get_sample_value("rollcall_verification_seconds_count", {"door": "http"}) == 3
    worker.events_waiting(7)
    main.events_waiting_here = lambda: 2
    assert main.registry.get_sample_value("rollcall_roll_events_waiting") == 9


def test_the_other_doors_are_the_main_process_s_alone() -> None:
    main, worker = (Metrics("1", shares) for shares in of_processes(2))
    worker.tally("fastagi")("accepted", 0.1)
    main.tally("fastagi")("accepted", 0.1)
    told = main.registry.get_sample_value("rollcall_verifications_total", {"door": "fastagi", "result": "accepted"})
    assert told == 1
