"""Rolls across processes: what was answered is on the roll, once, whatever is killed and whatever is gone."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

from loader.keyring import Keyring
from loader.store import open_store
from loader.store.rolls import Call, Occurrence, RollBook
from tests.integration.callers import Doors
from tests.integration.conftest import Start
from tests.integration.processes import Daemon, Installation, wait_until


class Rolls:
    """What is in the database."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def read(self) -> list[tuple[Occurrence, list[Call]]]:
        async def all_of_them() -> list[tuple[Occurrence, list[Call]]]:
            keyring = Keyring.load(self._installation.key)
            found = []
            async with open_store(f"sqlite:///{self._installation.database}", writable=False) as store:
                book = RollBook(store)
                number = 1
                while (occurrence := await book.occurrence(number)) is not None:
                    found.append((occurrence, await book.calls(keyring, number)))
                    number += 1
            return found

        return asyncio.run(all_of_them())

    def call_ids(self) -> Counter[str]:
        """How often each call stands on a roll."""
        with closing(sqlite3.connect(self._installation.database)) as database:
            return Counter(row[0] for row in database.execute("select call_id from call"))


@pytest.fixture
def rolls(installation: Installation) -> Rolls:
    return Rolls(installation)


def verify(daemon: Daemon, token: str, call_id: str, pin: str = "004127") -> bool:
    """Whether the caller was answered that he is accepted."""
    return daemon.admits(token, call_id, pin)


def tell(daemon: Daemon, token: str, call_id: str, event: str) -> int:
    return daemon.tell(token, call_id, event)


@pytest.fixture
def ends(installation: Installation) -> Iterator[None]:
    """Keepers whose daemon was killed have ended when the test has: they end by themselves."""
    yield
    wait_until(lambda: not _keepers_of(installation))


def _keepers_of(installation: Installation) -> list[int]:
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                if str(installation.folder / "journal").encode() in (process / "cmdline").read_bytes():
                    found.append(int(process.name))
            except OSError:
                continue
    return found


pytestmark = pytest.mark.usefixtures("ends")


def test_a_call_is_on_the_roll_within_a_second(start: Start, token: str, rolls: Rolls) -> None:
    daemon = start().wait_until_ready()
    assert verify(daemon, token, "1.0")
    wait_until(lambda: rolls.call_ids() == {"1.0": 1})  # the keeper takes a moment to start
    assert tell(daemon, token, "1.0", "left") == 204
    assert verify(daemon, token, "1.1")
    assert wait_until(lambda: "1.1" in rolls.call_ids()) < 1
    assert not verify(daemon, token, "1.2", pin="999999")
    for event in "joined", "left":
        assert tell(daemon, token, "1.1", event) == 204
    assert tell(daemon, token, "1.2", "joined") == 404
    wait_until(lambda: rolls.read()[0][0].present == 0)
    ((occurrence, (_, call)),) = rolls.read()
    assert occurrence.conference_id == "C-1001"
    assert call.participant is not None
    assert (call.participant.first_name, call.participant.last_name, call.caller) == ("Mike", "Doe", "+15550100")
    assert call.joined_at is not None
    assert call.left_at is not None
    assert call.admitted_at <= call.joined_at <= call.left_at <= time.time()
    wait_until(lambda: rolls.read()[0][0].rejected == 1)


def test_an_occurrence_ends_by_itself(start: Start, token: str, rolls: Rolls) -> None:
    daemon = start(ROLLCALL_ROLL__QUIET="0.1").wait_until_ready()
    assert verify(daemon, token, "1.1")
    assert tell(daemon, token, "1.1", "left") == 204
    wait_until(lambda: bool(rolls.read()) and rolls.read()[0][0].ended_at is not None)
    assert verify(daemon, token, "2.1")
    wait_until(lambda: len(rolls.read()) == 2)


def test_a_thousand_calls_through_all_doors_and_a_kill_in_the_middle(
    start: Start, token: str, rolls: Rolls, tmp_path: Path
) -> None:
    """Every call that was answered is on its roll, once; after a restart all goes on."""
    doors = Doors(tmp_path)
    daemon = start(**doors.settings).wait_until_ready()
    calls = doors.calls(daemon, token)
    answered: list[str] = []

    def call(number: int) -> None:
        door = list(calls)[number % len(calls)]
        call_id = f"{door}-{number}"
        with suppress(OSError, ValueError):  # the daemon is gone
            if calls[door](call_id):
                answered.append(call_id)
        if number == 500:
            daemon.signal(signal.SIGKILL)

    with ThreadPoolExecutor(8) as switches:
        list(switches.map(call, range(1000)))
    assert 300 < len(answered) < 600
    assert {call_id.partition("-")[0] for call_id in answered} == set(calls)
    wait_until(lambda: rolls.call_ids().keys() >= set(answered))

    again = start(**doors.settings).wait_until_ready()
    for door, one in doors.calls(again, token).items():
        assert one(f"{door}-again")
        answered.append(f"{door}-again")
    wait_until(lambda: rolls.call_ids().keys() >= set(answered))
    assert set(rolls.call_ids().values()) == {1}
    # What was admitted before the kill is known after it.
    known = next(call_id for call_id in answered if call_id.startswith("http-"))
    assert tell(again, token, known, "joined") == 204


def test_a_kill_of_daemon_and_keeper_loses_nothing(start: Start, token: str, rolls: Rolls) -> None:
    daemon = start().wait_until_ready()
    (keeper,) = daemon.keepers
    os.kill(keeper, signal.SIGSTOP)
    for number in range(20):
        assert verify(daemon, token, f"1.{number}")
    os.kill(keeper, signal.SIGKILL)
    daemon.signal(signal.SIGKILL)
    daemon.process.wait(10)
    assert len(rolls.call_ids()) == 0
    again = start().wait_until_ready()
    assert tell(again, token, "1.7", "left") == 204
    wait_until(lambda: len(rolls.call_ids()) == 20)
    wait_until(lambda: rolls.read()[0][0].present == 19)


def test_a_keeper_that_ends_is_started_again(start: Start, token: str, rolls: Rolls) -> None:
    daemon = start().wait_until_ready()
    (keeper,) = daemon.keepers
    os.kill(keeper, signal.SIGKILL)
    assert verify(daemon, token, "1.1")
    wait_until(lambda: rolls.call_ids() == {"1.1": 1})
    assert daemon.has_logged("rolls_not_kept")


def test_a_signal_to_all_processes_leaves_nothing_behind(start: Start, token: str, rolls: Rolls) -> None:
    """As who stops a service may send it to the keeper too, and Ctrl-C does."""
    daemon = start().wait_until_ready()
    (keeper,) = daemon.keepers
    assert verify(daemon, token, "1.0")
    wait_until(lambda: rolls.call_ids() == {"1.0": 1})
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(keeper, number)
    for call in range(1, 50):
        assert verify(daemon, token, f"1.{call}")
    assert daemon.stop() == 0
    assert len(rolls.call_ids()) == 50
    assert not daemon.has_logged("rolls_not_kept")


def test_a_rotation_of_the_key_stops_neither_rolls_nor_the_next_start(
    start: Start, token: str, rolls: Rolls, installation: Installation
) -> None:
    daemon = start().wait_until_ready()
    assert verify(daemon, token, "1.1")
    wait_until(lambda: rolls.call_ids() == {"1.1": 1})
    installation.rollcall("key", "rotate")
    assert verify(daemon, token, "1.2")
    wait_until(lambda: len(rolls.call_ids()) == 2)
    os.kill(daemon.keepers[0], signal.SIGKILL)
    assert verify(daemon, token, "1.3")
    wait_until(lambda: len(rolls.call_ids()) == 3)
    assert daemon.stop() == 0
    again = start().wait_until_ready()
    assert tell(again, token, "1.3", "left") == 204
    wait_until(lambda: rolls.read()[0][0].present == 2)


def test_callers_are_let_in_while_the_database_is_locked(
    start: Start, token: str, rolls: Rolls, installation: Installation
) -> None:
    daemon = start().wait_until_ready()
    with closing(sqlite3.connect(installation.database, isolation_level=None)) as database:
        database.execute("begin immediate")
        begun = time.monotonic()
        for number in range(50):
            assert verify(daemon, token, f"1.{number}")
        assert time.monotonic() - begun < 2
        assert len(rolls.call_ids()) == 0
        assert (daemon.metric("rollcall_roll_journal_bytes") or 0) > 0
        database.execute("rollback")
    wait_until(lambda: len(rolls.call_ids()) == 50)


def test_a_stop_in_order_leaves_nothing_behind(start: Start, token: str, rolls: Rolls) -> None:
    daemon = start().wait_until_ready()
    for number in range(50):
        assert verify(daemon, token, f"1.{number}")
    assert daemon.stop() == 0
    assert len(rolls.call_ids()) == 50
