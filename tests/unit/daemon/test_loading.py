"""All that is in the database becomes one index."""

import asyncio
import gc
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.loading import Loaded, load_all
from loader.errors import DatabaseError, DatabaseUnavailable
from loader.index import Index
from loader.keyring import Keyring
from loader.model import Level, Owner, Switch
from loader.shared_index import SharedIndex
from loader.store import Store, migrate, open_store
from tests.unit.daemon.conftest import Followed, People, Put, connections_in_use, during
from tests.unit.daemon.faults import execute, tamper

CODE = Owner(Level.AUTHORIZATION_CODE, "3625046")


def nothing() -> None:
    """Nobody asks whether the database answers."""


async def load(
    store: Store, keyring: Keyring, answered: Callable[[], None] = nothing, *, may_be_empty: bool = True
) -> tuple[Loaded, Index]:
    """What is read, and the index that it makes."""
    shared = SharedIndex()
    with shared.draft(anew=True) as draft:
        loaded = await load_all(store, keyring, draft, answered, may_be_empty=may_be_empty)
        for _ in draft.pack():
            """All at once."""
        return loaded, shared.publish(draft)


async def test_everything_is_read(
    store: Store, keyring: Keyring, put: Put, alicia: Owner, people: People, database: Path
) -> None:
    """What cannot be opened is told beside the rest, with its revision."""
    await put(alicia, people(3))
    await put(CODE, people(2))
    await put(CODE, people(5))
    await store.add_switch(Switch.new("pbx-1", bytes(32), 1.0))
    tamper(database, "alicia")
    loaded, index = await load(store, keyring)
    assert loaded.position == await store.position()
    assert loaded.switches == [Switch.new("pbx-1", bytes(32), 1.0)]
    assert index.conferences["7784321"].id == "C-1001"
    assert {owner: block.count for owner, block in index.lists.items()} == {CODE: 5}
    assert (loaded.entries, loaded.size) == (5, index.lists[CODE].size)
    ((owner, (listed, problem)),) = loaded.unopened.items()
    assert (owner, listed.revision) == (alicia, 1)
    assert "tampered with" in str(problem)


async def test_what_changes_meanwhile_is_told_by_the_feed_once_more(
    store: Store,
    keyring: Keyring,
    url: str,
    put: Put,
    alicia: Owner,
    people: People,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The position is read before all else: nothing falls between the first load and the first look."""
    await put(CODE, people(1, "Ann"))
    switches = store.switches

    async def changing() -> list[Switch]:
        await put(alicia, people(1, "Ben"))
        return await switches()

    followed = Followed(store, keyring, url)
    with monkeypatch.context() as patched:
        patched.setattr(store, "switches", changing)
        await followed.load()
    assert followed.health.position == await store.position() - 1
    await followed.look()
    assert followed.first_name("000000") == "Ben"
    assert followed.health.position == await store.position()


async def test_the_loop_is_given_back_and_the_database_is_known_to_answer(
    store: Store, keyring: Keyring, put: Put, alicia: Owner, people: People
) -> None:
    """All the while that it is read, however long that takes."""
    await put(alicia, people(3000))
    answers = 0

    def answered() -> None:
        nonlocal answers
        answers += 1

    known = await during(load(store, keyring, answered), lambda: answers)
    # One conference and one list.
    assert set(known) == {0, 1, 2}
    assert len(known) > 10


@pytest.mark.parametrize("table", ["switch", "conference", "list_part"])
async def test_reading_that_fails_half_way_is_told_and_leaves_nothing_behind(
    store: Store, keyring: Keyring, put: Put, alicia: Owner, people: People, database: Path, table: str
) -> None:
    """No connection stays out, and the garbage of failures, which may come every second, can be collected."""
    await put(alicia, people(3))
    execute(database, "PRAGMA foreign_keys = OFF", f"DROP TABLE {table}")
    frozen = gc.get_freeze_count()
    for _ in range(3):
        with pytest.raises(DatabaseUnavailable, match="no such table"):
            await load(store, keyring)
    assert gc.isenabled()
    assert gc.get_freeze_count() == frozen
    assert connections_in_use(store) == 0


async def test_what_was_read_is_left_out_by_the_garbage_collector(
    store: Store, keyring: Keyring, put: Put, alicia: Owner, people: People
) -> None:
    """To walk through it would hold lookups up; what comes afterwards is collected as ever."""
    await put(alicia, people(3))
    frozen = gc.get_freeze_count()
    loaded, _ = await load(store, keyring)
    assert gc.isenabled()
    assert gc.get_freeze_count() > frozen
    tracked = gc.get_objects()
    assert not any(one is loaded.unopened for one in tracked)


async def test_a_database_without_conferences_is_refused_where_it_may_not_be(tmp_path: Path, keyring: Keyring) -> None:
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    await migrate(url)
    async with open_store(url) as empty:
        _, index = await load(empty, keyring)
        assert dict(index.conferences) == {}
        with pytest.raises(DatabaseError, match="holds no conference"):
            await load(empty, keyring, may_be_empty=False)


async def test_reading_can_be_stopped_anywhere(
    store: Store, keyring: Keyring, put: Put, alicia: Owner, people: People
) -> None:
    """Nothing is left that would hold others up, or complain at the end of the process."""
    await put(alicia, people(5000))
    await put(CODE, people(3))
    stopped = 0
    for turns in range(0, 200, 5):
        reading = asyncio.create_task(load(store, keyring))
        for _ in range(turns):
            await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait((reading,))
        stopped += reading.cancelled()
        assert gc.isenabled()
        assert connections_in_use(store) == 0
    assert stopped > 5
    await put(CODE, people(4))
    _, index = await load(store, keyring)
    assert index.lists[CODE].count == 4


def test_no_thread_of_the_database_outlives_the_event_loop(made: Path, tmp_path: Path) -> None:
    """Wherever the daemon is stopped: it would complain beside the log when it finds the loop closed."""
    shutil.copy(made, tmp_path / "rollcall.db")

    async def read() -> None:
        async with open_store(f"sqlite:///{tmp_path / 'rollcall.db'}") as store:
            await asyncio.gather(store.position(), store.switches(), store.daemons())

    async def stop_after(turns: int) -> None:
        reading = asyncio.create_task(read())
        for _ in range(turns):
            await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait((reading,))

    before = threading.active_count()
    for turns in range(60):
        asyncio.run(stop_after(turns))
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before
