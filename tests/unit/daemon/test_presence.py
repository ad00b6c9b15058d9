"""What the database is told of a daemon."""

import asyncio
import time
from pathlib import Path

import pytest
import structlog

from daemon import presence as module
from daemon.presence import Presence
from loader.model import DaemonState, Owner
from loader.store import Store
from tests.unit.daemon.conftest import Followed, Put


async def told(store: Store) -> DaemonState:
    """The first word of the only daemon."""
    async with asyncio.timeout(5):
        while not (daemons := await store.daemons()):
            await asyncio.sleep(0.01)
    (daemon,) = daemons
    return daemon


async def test_a_daemon_tells_what_it_has_in_force_and_takes_its_leave(
    followed: Followed, store: Store, put: Put, alicia: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once when something changes, though it speaks rarely otherwise; after a clean stop it is told of no more."""
    monkeypatch.setattr(module, "_AT_MOST_EVERY", 0.01)
    before = time.time()
    presence = Presence(store, "node-1:8470", "1.2.3", followed.follower)
    async with asyncio.TaskGroup() as tasks, presence.until_left():
        telling = tasks.create_task(presence.tell())
        daemon = await told(store)
        assert (daemon.id, daemon.version, daemon.position) == ("node-1:8470", "1.2.3", await store.position())
        assert before <= daemon.started_at <= daemon.seen_at
        await put(alicia, [])
        await followed.look()
        async with asyncio.timeout(5):
            while (await told(store)).position < await store.position():
                await asyncio.sleep(0.01)
        telling.cancel()
    assert await store.daemons() == []


async def test_a_database_that_is_gone_does_not_silence_it_for_ever(
    followed: Followed, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AT_MOST_EVERY", 0.01)
    monkeypatch.setattr(module, "_EVERY", 0.01)
    database = tmp_path / "rollcall.db"
    database.rename(tmp_path / "away.db")
    presence = Presence(store, "node-1:8470", "1.2.3", followed.follower)
    async with asyncio.TaskGroup() as tasks:
        telling = tasks.create_task(presence.tell())
        await asyncio.sleep(0.05)
        (tmp_path / "away.db").rename(database)
        assert (await told(store)).id == "node-1:8470"
        telling.cancel()


async def test_an_error_that_nobody_thought_of_does_not_end_it(
    followed: Followed, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AT_MOST_EVERY", 0.01)
    monkeypatch.setattr(module, "_EVERY", 0.01)
    real, failures = store.record_daemon, iter([RuntimeError("never thought of")])

    async def record(state: DaemonState) -> None:
        for failure in failures:
            raise failure
        await real(state)

    monkeypatch.setattr(store, "record_daemon", record)
    presence = Presence(store, "node-1:8470", "1.2.3", followed.follower)
    with structlog.testing.capture_logs() as logged:
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(presence.tell())
            await told(store)
            telling.cancel()
    assert [line["event"] for line in logged] == ["presence_failed"]
