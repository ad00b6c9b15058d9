"""The keeper: what is in the journal comes into the database, and nothing else has to wait for that."""

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest

from daemon import rollkeeper
from daemon.journal import Journal
from daemon.rollkeeper import RollKeeper
from loader.journal_files import JournalReader
from loader.keyring import Keyring
from loader.roll import Event, Left
from loader.store import Store
from loader.store.rolls import Progress
from loader.store.taking import RollTaker


@pytest.fixture
async def journal(tmp_path: Path, keyring: Keyring) -> AsyncIterator[Journal]:
    journal = Journal(tmp_path / "journal", lambda: keyring, synced=False)
    yield journal
    await journal.close()


class _BusyTaker(RollTaker):
    """While it takes some, more come."""

    def __init__(self, store: Store, journal: Journal) -> None:
        super().__init__(store, quiet=60.0)
        self.journal = journal
        self.taken: list[int] = []

    async def apply_all(
        self, keyring: Keyring, events: Sequence[Event], taken: Mapping[str, tuple[Progress, Progress]]
    ) -> None:
        await super().apply_all(keyring, events, taken)
        self.taken.append(len(events))
        assert len(self.taken) < 20, "it takes for ever"
        self.journal.append(Left(1.0, "pbx-1", "1"))
        await self.journal.kept()


async def test_who_takes_what_has_come_does_not_go_on_for_as_long_as_more_comes(
    journal: Journal, store: Store, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls are ended, companies are told and others write even while callers come all the time."""
    monkeypatch.setattr(rollkeeper, "_AT_ONCE", 10)
    taker = _BusyTaker(store, journal)
    keeper = RollKeeper([JournalReader(journal.folder, lambda: keyring)], taker, keyring, call_timeout=60.0)
    for number in range(25):
        journal.append(Left(float(number), "pbx-1", str(number)))
        await journal.kept()
    await keeper.take()
    assert taker.taken == [10, 10, 7]
    await keeper.take()
    assert taker.taken == [10, 10, 7, 1]
