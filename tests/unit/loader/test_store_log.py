"""The write-ahead log is deleted by hand under running programs: nothing is lost, and nobody starts a second one."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from loader.errors import DatabaseUnavailable
from loader.model import Switch
from loader.store import Store, engine, open_store


@pytest.fixture
def log(tmp_path: Path, store: Store) -> Path:
    return tmp_path / "rollcall.db-wal"


@pytest.fixture
def another(tmp_path: Path, log: Path) -> Iterator[sqlite3.Connection]:
    """Somebody else who has the database open, and is the last to close it."""
    with closing(sqlite3.connect(tmp_path / "rollcall.db", check_same_thread=False)) as connection:
        connection.execute("SELECT count(*) FROM feed").fetchall()
        yield connection


def is_whole(database: Path) -> bool:
    with closing(sqlite3.connect(database)) as connection:
        return bool(connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)])


async def names(store: Store) -> list[str]:
    return [switch.id for switch in await store.switches()]


async def add(store: Store, *names: str) -> None:
    for name in names:
        await store.add_switch(Switch(name, 1.0, ()))


async def test_whoever_has_it_open_brings_it_into_the_file_and_goes_on(store: Store, log: Path, tmp_path: Path) -> None:
    """Also where several connections have it open, and none of them is in use."""
    await add(store, "pbx-1")
    await asyncio.gather(*(store.switches() for _ in range(4)))
    log.unlink()
    assert await names(store) == ["pbx-1"]
    assert log.exists()
    await add(store, "pbx-2")
    assert await names(store) == ["pbx-1", "pbx-2"]
    assert is_whole(tmp_path / "rollcall.db")


async def test_nobody_starts_a_second_one_as_long_as_anybody_has_the_first(
    store: Store, log: Path, another: sqlite3.Connection, url: str, tmp_path: Path
) -> None:
    await add(store, "pbx-1")
    log.unlink()
    for _ in range(3):
        with pytest.raises(DatabaseUnavailable, match="its -wal file was deleted"):
            await store.switches()
        with pytest.raises(DatabaseUnavailable, match="its -wal file was deleted"):
            await add(store, "pbx-2")
        with pytest.raises(DatabaseUnavailable, match="its -wal file was deleted"):
            async with open_store(url):
                pytest.fail("a newcomer has opened it")
    assert not log.exists()
    another.close()
    await add(store, "pbx-3")
    assert await names(store) == ["pbx-1", "pbx-3"]
    assert is_whole(tmp_path / "rollcall.db")


async def test_one_that_is_deleted_while_somebody_opens_the_database_is_not_replaced(
    store: Store, log: Path, another: sqlite3.Connection, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who looked before it was deleted has started a second one, and takes it away."""
    await add(store, "pbx-1")
    looked = engine._is_log_deleted

    def deleted_then(sides: Any) -> bool:
        found = looked(sides)
        log.unlink(missing_ok=True)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(engine, "_is_log_deleted", deleted_then)
        with pytest.raises(DatabaseUnavailable):
            async with open_store(url):
                pytest.fail("a newcomer has opened it")
    assert not log.exists()
    another.close()
    await add(store, "pbx-2")
    assert await names(store) == ["pbx-1", "pbx-2"]
    assert is_whole(tmp_path / "rollcall.db")
