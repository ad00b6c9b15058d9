"""Following the feed."""

import asyncio
import shutil
from pathlib import Path

import pytest

from loader.errors import DatabaseUnavailable
from loader.feed import Feed, FeedRestarted
from loader.model import Kind, Position, Switch
from loader.store import Store


def switch(name: str) -> Switch:
    return Switch.new(name, name.encode().ljust(32), 0.0)


async def test_each_change_is_told_once(store: Store) -> None:
    """A look tells what has changed since the last; the next is silent."""
    feed = Feed(store, await store.position())
    await store.add_switch(switch("one"))
    await store.add_switch(switch("two"))
    assert [(change.kind, change.id) for change in await feed.poll()] == [(Kind.SWITCH, "one"), (Kind.SWITCH, "two")]
    assert feed.position == await store.position()
    assert await feed.poll() == []


async def test_what_changed_twice_stands_once_at_its_latest_position(store: Store) -> None:
    """The feed is compacted: who was away reads each thing once."""
    feed = Feed(store, await store.position())
    await store.add_switch(switch("one"))
    await store.add_switch(switch("two"))
    await store.remove_switch("one")
    changes = await feed.poll()
    assert [change.id for change in changes] == ["two", "one"]
    assert [change.position for change in changes] == [await store.position() - 1, await store.position()]


async def test_a_transaction_that_failed_is_not_told(store: Store) -> None:
    """What was rolled back has left no trace and used no position."""
    feed = Feed(store, await store.position())

    async def fail() -> None:
        async with store.writing() as writing:
            await writing.add_switch(switch("one"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await feed.poll() == []
    assert await store.switches() == []


async def test_waiting_ends_with_the_change(store: Store) -> None:
    """Who waits is told within a few looks."""
    feed = Feed(store, await store.position(), interval=0.01)
    waiting = asyncio.create_task(feed.wait())
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await store.add_switch(switch("one"))
    changes = await asyncio.wait_for(waiting, 2)
    assert [change.id for change in changes] == ["one"]


async def test_a_database_that_comes_back_loses_nothing(store: Store, tmp_path: Path) -> None:
    """While the database is gone each look says so; afterwards the feed goes on where it was."""
    feed = Feed(store, await store.position())
    await store.add_switch(switch("one"))
    (tmp_path / "rollcall.db").rename(tmp_path / "away.db")
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable, match=r"rollcall\.db: cannot be opened"):
            await feed.poll()
    assert not (tmp_path / "rollcall.db").exists()
    (tmp_path / "away.db").rename(tmp_path / "rollcall.db")
    assert [change.id for change in await feed.poll()] == ["one"]


async def test_a_database_put_back_from_a_backup_is_noticed(store: Store, made: Path, tmp_path: Path) -> None:
    """The feed went back: everything must be read again, which only the caller can do."""
    await store.add_switch(switch("one"))
    feed = Feed(store, await store.position())
    shutil.copy(made, tmp_path / "backup.db")
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"rollcall.db{suffix}").unlink(missing_ok=True)
    (tmp_path / "backup.db").replace(tmp_path / "rollcall.db")
    with pytest.raises(FeedRestarted, match="went back"):
        await feed.poll()
    assert await Feed(store, Position(0)).poll() != []
