"""The clock is set forward by a day and back again, under all programs: nothing waits for the day to come."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from tests.integration.conftest import Start
from tests.integration.processes import Installation, wait_until
from tests.integration.programs import missing
from tests.integration.site import Site, Visitor

_PLACES: Final = ("/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime", "/usr/lib/faketime")
_DAY: Final = 86400


class Clock:
    """What programs of an installation take for the time: so many seconds ahead of it."""

    def __init__(self, installation: Installation) -> None:
        library = next((file for one in _PLACES if (file := Path(one) / "libfaketimeMT.so.1").exists()), None)
        if library is None:
            missing("faketime", "faketime is not installed")
        self._file = installation.folder / "faketime"
        self.set(0)
        installation.environment |= {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            # Seconds after which the file is looked at again; without, all takes several times as long.
            "FAKETIME_CACHE_DURATION": "1",
            # The other clock is the system's own, which nobody sets.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, ahead: int) -> None:
        # At once: a file that is being written would be read.
        new = self._file.with_suffix(".new")
        new.write_text(f"{ahead:+}\n")
        new.replace(self._file)


@pytest.fixture
def clock(installation: Installation, user: None) -> Clock:
    return Clock(installation)


def is_signed_out(visitor: Visitor) -> bool:
    return visitor.get("/account").headers.get("location", "").startswith("/signin")


def state(installation: Installation) -> str:
    """What `rollcall status` says of the only daemon."""
    (daemon,) = json.loads(installation.rollcall("status", "--format", "json"))["daemons"]
    return str(daemon["state"])


def occurrences(installation: Installation) -> list[tuple[Any, ...]]:
    """Present and end of each occurrence."""
    with closing(sqlite3.connect(installation.database)) as database:
        return database.execute("SELECT present, ended_at FROM occurrence ORDER BY id").fetchall()


def are_over(installation: Installation, count: int) -> bool:
    found = occurrences(installation)
    return len(found) == count and all(present <= 0 and ended_at for present, ended_at in found)


def test_rolls_end_lists_come_in_force_and_daemons_are_heard_of(
    installation: Installation, token: str, start: Start, clock: Clock
) -> None:
    daemon = start(ROLLCALL_ROLL__QUIET="1", ROLLCALL_ROLL__CALL_TIMEOUT="60").wait_until_ready()
    assert daemon.admits(token, "1.1", "004127")
    wait_until(lambda: len(occurrences(installation)) == 1)

    clock.set(_DAY)
    # Nobody has heard of the first call for a day, as far as is known.
    wait_until(lambda: are_over(installation, 1))
    for call_id in "2.1", "2.2":
        assert daemon.admits(token, call_id, "004127")
    assert daemon.tell(token, "2.1", "left") == 204
    installation.put("5550100")
    wait_until(lambda: daemon.accepts(token, "5550100"))
    wait_until(lambda: occurrences(installation)[1:] == [(2, None)])

    clock.set(0)
    assert daemon.tell(token, "2.2", "left") == 204
    wait_until(lambda: are_over(installation, 2))
    installation.put("5550101")
    wait_until(lambda: daemon.accepts(token, "5550101"))
    assert daemon.readiness.status == 200
    wait_until(lambda: state(installation) == "up to date")
    assert "Traceback" not in daemon.log


def test_a_call_that_nobody_ends_is_over_though_the_clock_was_set_back(
    installation: Installation, token: str, start: Start, clock: Clock
) -> None:
    clock.set(_DAY)
    daemon = start(ROLLCALL_ROLL__QUIET="1", ROLLCALL_ROLL__CALL_TIMEOUT="60").wait_until_ready()
    assert daemon.admits(token, "1.1", "004127")
    wait_until(lambda: occurrences(installation) == [(1, None)])
    clock.set(0)
    wait_until(lambda: are_over(installation, 1))


def test_whoever_signed_in_by_a_wrong_clock_can_sign_in_again(clock: Clock, admin: Callable[..., Site]) -> None:
    """A session is no longer good for a day, nor is anybody kept waiting for one."""
    site = admin().start().wait_until_ready()
    before = Visitor(site.port).sign_in()
    clock.set(_DAY)
    wait_until(lambda: is_signed_out(before))
    ahead = Visitor(site.port).sign_in()
    guessing = Visitor(site.port)
    guessing.get("/signin")
    for _ in range(4):
        assert guessing.post("/signin", name="alicia", password="not this one").status in (403, 429)
    assert guessing.post("/signin", name="alicia", password="not this one").status == 429
    clock.set(0)
    wait_until(lambda: is_signed_out(ahead))
    Visitor(site.port).sign_in()
    assert "Traceback" not in site.log
