"""A switch may ask as often as it may, whichever process answers."""

import fcntl
import multiprocessing
import os
import time

from daemon.live import Live
from daemon.rate_limit import RateLimit
from daemon.shared_rates import SharedRates
from loader.model import Switch

_SECOND = 1_000_000_000


def two() -> tuple[SharedRates, SharedRates]:
    """The main process's and a worker's."""
    main = SharedRates()
    main.limit("other", 5)
    main.limit("pbx-1", 10)
    worker = SharedRates(os.dup(main.file))
    worker.told(main.places)
    return main, worker


def test_two_let_through_what_one_alone_would() -> None:
    alone = RateLimit(10)
    shared = [rates.limit("pbx-1", 10) for rates in two()]
    for request in range(200):
        now = 10 * _SECOND + request * 37_000_000
        assert shared[request % 2].wait(now) == alone.wait(now)


def test_switches_have_rates_of_their_own() -> None:
    main, _ = two()
    first, second = main.limit("pbx-1", 1), main.limit("pbx-2", 1)
    assert first.wait(_SECOND) == 0
    assert second.wait(_SECOND) == 0
    assert first.wait(_SECOND) > 0


def _ask(file: int, let: "multiprocessing.sharedctypes.Synchronized[int]") -> None:
    rates = SharedRates(os.dup(file))
    rates.told({"pbx-1": 1})
    limit = rates.limit("pbx-1", 1000)
    passed = sum(not limit.wait(_SECOND) for _ in range(5000))
    with let.get_lock():
        let.value += passed


def test_processes_that_ask_at_the_same_moment_are_counted_each() -> None:
    main, _ = two()
    context = multiprocessing.get_context("fork")
    let = context.Value("i", 0)
    processes = [context.Process(target=_ask, args=(main.file, let)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert let.value == 1000


def test_a_process_that_stopped_while_it_counted_holds_nobody_up() -> None:
    main, worker = two()
    fcntl.flock(main.file, fcntl.LOCK_EX)
    begun = time.monotonic()
    assert worker.limit("pbx-1", 10).wait(_SECOND) == 0
    assert time.monotonic() - begun < 1


def test_a_switch_keeps_its_place_when_switches_change() -> None:
    main, worker = two()
    lives = [Live(0, rates.limit) for rates in (main, worker)]
    switches = [Switch.new("pbx-1", b"1" * 32, 0.0, rate=1), Switch.new("pbx-9", b"9" * 32, 0.0, rate=1)]
    for listed in (switches, switches[1:], switches):
        lives[0].swap_switches(listed)
        worker.told(main.places)
        lives[1].swap_switches(listed)
    assert main.places == {"other": 0, "pbx-1": 1, "pbx-9": 2}
    limits = [live.tokens[b"9" * 32].limit for live in lives if live.tokens is not None]
    assert [limit.wait(_SECOND) > 0 for limit in limits if limit is not None] == [False, True]
