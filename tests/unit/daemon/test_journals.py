"""Several journals read as one: in the order in which things happened, as far as it matters, and none is left out."""

from __future__ import annotations

import fcntl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from daemon.journal import Journal
from daemon.journals import Batch, Taking, left_behind, next_batch
from daemon.rollkeeper import RollKeeper
from loader.journal_files import JournalReader
from loader.keyring import Keyring
from loader.roll import Left
from loader.store import Store
from loader.store.rolls import BEGINNING
from loader.store.taking import RollTaker

NOW = 1000.0


@asynccontextmanager
async def two(folder: Path, keyring: Keyring) -> AsyncGenerator[tuple[Journal, Journal]]:
    journals = [Journal(folder, lambda: keyring, synced=False) for _ in range(2)]
    try:
        yield journals[0], journals[1]
    finally:
        for journal in journals:
            await journal.close()


async def write(journal: Journal, *ats: float) -> None:
    """One record."""
    for at in ats:
        journal.append(Left(at, "pbx-1", f"{at:g}"))
    await journal.kept()


def taking(keyring: Keyring, *journals: Journal) -> list[Taking]:
    opened = [Taking(JournalReader(journal.folder, lambda: keyring)) for journal in journals]
    for one in opened:
        one.begin_at(BEGINNING)
    return opened


async def test_records_come_by_their_youngest_event(tmp_path: Path, keyring: Keyring) -> None:
    """A record with an old event in it may stand on one that was written before it."""
    async with two(tmp_path, keyring) as (one, other):
        await write(one, 10, 20)
        await write(other, 1, 25)
        await write(other, 26)
        await write(one, 30)
        journals = taking(keyring, one, other)
        batch = next_batch(journals, 100, NOW)
        assert [event.at for event in batch.events] == [10, 20, 1, 25, 26, 30]
        assert batch.is_all
        assert batch.places.keys() == set(journals)


async def test_what_is_written_while_it_is_read_waits(tmp_path: Path, keyring: Keyring) -> None:
    async with two(tmp_path, keyring) as (one, other):
        await write(one, NOW - 1)
        await write(other, NOW + 0.1)
        journals = taking(keyring, one, other)
        batch = next_batch(journals, 100, NOW)
        assert [event.at for event in batch.events] == [NOW - 1]
        assert batch.is_all
        assert [event.at for event in next_batch(journals, 100, NOW + 1).events] == [NOW + 0.1]


async def test_a_clock_that_was_set_back_holds_nothing_up(tmp_path: Path, keyring: Keyring) -> None:
    async with two(tmp_path, keyring) as (one, other):
        await write(one, NOW + 3600)
        await write(other, NOW - 1)
        assert len(next_batch(taking(keyring, one, other), 100, NOW).events) == 2


async def test_one_with_much_does_not_let_the_others_run_ahead(tmp_path: Path, keyring: Keyring) -> None:
    async with two(tmp_path, keyring) as (one, other):
        for at in range(50):
            await write(one, float(at))
        await write(other, 24.5)
        journals = taking(keyring, one, other)
        batches: list[Batch] = []
        while not batches or not batches[-1].is_all:
            batches.append(next_batch(journals, 10, NOW))
        ats = [event.at for batch in batches for event in batch.events]
        assert ats == sorted(ats)
        assert len(ats) == 51
        assert [len(batch.events) for batch in batches] == [10, 10, 10, 10, 10, 1]


async def test_a_keeper_takes_all_of_them_and_each_event_once(tmp_path: Path, store: Store, keyring: Keyring) -> None:
    taken: list[str] = []

    class Taker(RollTaker):
        async def apply_all(self, keyring, events, taken_to) -> None:  # type: ignore[no-untyped-def]
            await super().apply_all(keyring, events, taken_to)
            taken.extend(event.call_id for event in events)

    async with two(tmp_path, keyring) as (one, other):
        readers = [JournalReader(journal.folder, lambda: keyring) for journal in (one, other)]
        keepers = [RollKeeper(readers, Taker(store, quiet=60.0), keyring, call_timeout=60.0) for _ in range(2)]
        for at in range(20):
            await write((one, other)[at % 2], float(at))
        await keepers[0].take()
        for at in range(20, 40):
            await write((one, other)[at % 2], float(at))
        # As that of a daemon that was killed, which knows nothing of the other.
        await keepers[1].take()
        for at in range(40, 60):
            await write((one, other)[at % 2], float(at))
        await keepers[0].take()
        await keepers[1].take()
    assert taken == [f"{at}" for at in range(60)]
    taker = RollTaker(store, quiet=60.0)
    assert [await taker.progress(reader.id) for reader in readers] == [
        reader.read(BEGINNING, 1000)[1] for reader in readers
    ]
    assert BEGINNING not in [await taker.progress(reader.id) for reader in readers]


async def test_what_was_left_is_taken_once(tmp_path: Path, store: Store, keyring: Keyring) -> None:
    async with two(tmp_path, keyring) as (one, other):
        await write(one, 1.0)
        await write(other, 2.0)
        readers = [JournalReader(journal.folder, lambda: keyring) for journal in (one, other)]
        keeper = RollKeeper(readers[:1], RollTaker(store, quiet=60.0), keyring, call_timeout=60.0, left=readers[1:])
        await keeper.take()
        assert keeper.taken == 2
        await write(other, 3.0)
        await keeper.take()
        assert keeper.taken == 2


async def test_journals_that_a_process_has_are_not_left_behind(tmp_path: Path, keyring: Keyring) -> None:
    async with two(tmp_path, keyring) as (one, other):
        await write(one, 1.0)
        await write(other, 2.0)
        assert left_behind(tmp_path, ()) == []
    assert left_behind(tmp_path, ()) == [one.folder, other.folder]
    assert left_behind(tmp_path, [one.folder]) == [other.folder]
    (tmp_path / "7").mkdir()
    (tmp_path / "other").mkdir()
    assert left_behind(tmp_path, [one.folder]) == [other.folder]
    # To look takes nobody's place.
    with (other.folder / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
