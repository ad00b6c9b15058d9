"""What the database is told of a daemon."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import structlog

from daemon import presence as module
from daemon.presence import Presence
from loader.model import DaemonState, Owner, Position
from loader.store import Store, open_store
from loader.store import engine as engines
from tests.unit.daemon.conftest import Followed, People, Put, connections_in_use, events
from tests.unit.daemon.faults import renamed

ID = "node-1:8470"


@pytest.fixture
def presence(followed: Followed, store: Store, monkeypatch: pytest.MonkeyPatch) -> Presence:
    """Of a daemon that speaks as often as it may, and only when there is news."""
    monkeypatch.setattr(module, "_AT_MOST_EVERY", 0.01)
    return Presence(store, ID, "1.2.3", followed.follower)


async def word(store: Store, is_it: Callable[[DaemonState], bool] = lambda _: True) -> DaemonState:
    """What the only daemon tells, once it tells that."""
    async with asyncio.timeout(5):
        while not (daemons := await store.daemons()) or not is_it(daemons[0]):
            await asyncio.sleep(0.01)
    (daemon,) = daemons
    return daemon


async def test_a_daemon_tells_what_it_has_in_force_and_takes_its_leave(
    presence: Presence, followed: Followed, store: Store, put: Put, alicia: Owner
) -> None:
    """At once when something changes, though it speaks rarely otherwise; after a clean stop it is told of no more."""
    before = time.time()
    async with presence.told():
        first = await word(store)
        assert (first.id, first.version, first.position) == (ID, "1.2.3", await store.position())
        assert before - 60 < first.started_at <= first.seen_at
        await put(alicia, [])
        await followed.look()
        position = await store.position()
        last = await word(store, lambda told: told.position == position)
        assert last.started_at == first.started_at
        assert last.applied_at >= first.applied_at
    assert await store.daemons() == []


async def test_it_is_heard_of_now_and_then_when_nothing_happens(
    presence: Presence, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_EVERY", 0.01)
    async with presence.told():
        first = await word(store)
        await word(store, lambda told: told.seen_at > first.seen_at)


async def test_no_word_comes_after_the_last(
    followed: Followed, store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it is in telling when the daemon stops: a word that came later would stand for good.

    Nor does a word that is broken off keep the database locked, for the last one or for anybody else.
    """
    monkeypatch.setattr(module, "_AT_MOST_EVERY", 0.0)
    monkeypatch.setattr(module, "_EVERY", 0.0)
    monkeypatch.setattr(engines, "BUSY_TIMEOUT", 0.3)
    before = DaemonState(ID, "1.2.3", 0.0, Position(0), 0.0, 0.0)
    async with open_store(url) as own:
        presence = Presence(own, ID, "1.2.3", followed.follower)
        for turns in range(0, 100, 4):
            await store.record_daemon(before)
            async with presence.told():
                for _ in range(turns):
                    await asyncio.sleep(0)
            assert await store.daemons() == []
            assert len(asyncio.all_tasks()) == 1
            assert connections_in_use(own) == 0


async def test_it_takes_its_leave_when_it_is_cancelled(presence: Presence, store: Store) -> None:
    """As the daemon does it on SIGTERM."""

    async def follow() -> None:
        async with presence.told():
            await asyncio.Event().wait()

    following = asyncio.create_task(follow())
    await word(store)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    assert await store.daemons() == []


async def test_a_database_that_is_gone_does_not_silence_it_for_ever(
    presence: Presence, store: Store, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log is left to the follower, who finds the same."""
    monkeypatch.setattr(module, "_EVERY", 0.01)
    mend = renamed(database)
    with structlog.testing.capture_logs() as logged:
        async with presence.told():
            await asyncio.sleep(0.05)
            mend()
            assert (await word(store)).id == ID
    assert logged == []


async def test_a_database_that_is_locked_holds_nobody_up(
    presence: Presence, followed: Followed, store: Store, put: Put, alicia: Owner, people: People, database: Path
) -> None:
    """What another committed before is in force while a word still waits for its turn."""
    await put(alicia, people(1, "Ann"))
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        async with presence.told():
            await asyncio.sleep(0.05)
            assert connections_in_use(store) == 1
            await followed.look()
            assert followed.first_name("000000") == "Ann"
            connection.execute("COMMIT")
            await word(store)


async def test_a_stop_without_a_database_is_a_stop_all_the_same(
    presence: Presence, store: Store, database: Path
) -> None:
    async with presence.told():
        await word(store)
        mend = renamed(database)
    mend()
    assert [daemon.id for daemon in await store.daemons()] == [ID]


async def test_an_error_that_nobody_thought_of_does_not_end_it(
    presence: Presence, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_EVERY", 0.01)
    real, failures = store.record_daemon, iter([RuntimeError("never thought of")])

    async def record(state: DaemonState) -> None:
        for failure in failures:
            raise failure
        await real(state)

    monkeypatch.setattr(store, "record_daemon", record)
    with structlog.testing.capture_logs() as logged:
        async with presence.told():
            await word(store)
    assert events(logged) == ["presence_failed"]
