"""Another program holds the database's lock for a minute: callers notice nothing, and who edits is told at once or soon."""

from __future__ import annotations

import sqlite3
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Event
from typing import Final

import pytest

from tests.integration.conftest import Start
from tests.integration.processes import Daemon, Installation, wait_until
from tests.integration.site import Site, Visitor

_LOCKED_FOR: Final = 60.0
_SOON: Final = 15.0
"""Seconds in which whoever wants to write is told that he cannot; a little more than twice what a lock is waited for."""
_WRITERS: Final = 24
"""More than the site has connections."""


def asked(daemon: Daemon, token: str, name: str, times: int) -> list[float]:
    """How long so many accepted verifications took, in seconds, the shortest first."""
    took = []
    for number in range(times):
        begun = time.perf_counter()
        assert daemon.admits(token, f"{name}.{number}", "004127")
        took.append(time.perf_counter() - begun)
    return sorted(took)


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("user")
def test_a_minute_s_lock_holds_up_changes_and_nobody_else(
    installation: Installation, token: str, start: Start, admin: Callable[..., Site]
) -> None:
    """The daemon answers as fast as before; pages that read are shown; forms are refused in words; then all arrives."""
    daemon, site = start().wait_until_ready(), admin().start().wait_until_ready()
    visitor = Visitor(site.port).sign_in()
    before = asked(daemon, token, "before", 200)
    wait_until(lambda: calls(installation) == 200)
    over = Event()

    def edit(_: int) -> list[tuple[int, float]]:
        told = []
        mine = Visitor(site.port)
        mine.take_over(visitor)
        while not over.is_set():
            begun = time.monotonic()
            answer = mine.post("/conferences/C-1001/pin-entry", pin_entry="1")
            told.append((answer.status, time.monotonic() - begun))
            assert answer.status != 503 or b"The database cannot be used at the moment" in answer.body
        return told

    with (
        closing(sqlite3.connect(installation.database, isolation_level=None)) as database,
        ThreadPoolExecutor(_WRITERS) as threads,
    ):
        database.execute("BEGIN EXCLUSIVE")
        begun = time.monotonic()
        writers = [threads.submit(edit, number) for number in range(_WRITERS)]
        during: list[float] = []
        read: list[float] = []
        try:
            while time.monotonic() - begun < _LOCKED_FOR:
                during += asked(daemon, token, f"during{len(during)}", 20)
                at = time.perf_counter()
                assert b"004127" in visitor.get("/lists/organizer/alicia").body
                read.append(time.perf_counter() - at)
                assert daemon.readiness.status == 200
                assert site.get("/readyz", ops=True)[0] == 200
                time.sleep(0.2)
            installation.rollcall("switch", "add", "pbx-2", status=1)
            assert "stayed locked by another process for 5 s" in installation.said[-1]
            assert calls(installation) == 200
        finally:
            database.execute("ROLLBACK")
            over.set()
        told = [answer for writer in writers for answer in writer.result()]
    assert statistics.median(during) < 3 * statistics.median(before)
    assert max(read) < 2, "who reads does not wait for those who write"
    refusals = [took for status, took in told if status == 503]
    assert len(refusals) >= 3 * _WRITERS
    assert max(refusals) < _SOON
    assert {status for status, _ in told} <= {303, 503}
    wait_until(lambda: calls(installation) == 200 + len(during))
    assert visitor.post("/conferences/C-1001/pin-entry", pin_entry="1").status == 303
    assert "Traceback" not in site.log + daemon.log


def calls(installation: Installation) -> int:
    """How many calls are on rolls."""
    with closing(sqlite3.connect(f"file:{installation.database}?mode=ro", uri=True)) as database:
        return int(database.execute("SELECT count(DISTINCT call_id) FROM call").fetchone()[0])
