"""Many lists of many conferences, as the bench has them, in small."""

import os
from pathlib import Path

from daemon.health import Health
from daemon.live import Live
from daemon.metrics import Metrics
from daemon.reload import Follower
from loader.index import Question, decide
from loader.keyring import Keyring
from loader.model import Kind
from loader.shared_index import IndexReader, SharedIndex, Update
from loader.store import open_store
from tests.bench.many import Many
from tests.bench.workplace import Workplace


async def test_all_are_found_by_the_daemon_and_by_its_workers(tmp_path: Path) -> None:
    """After the first load, and after a change of something that many conferences have."""
    workplace = Workplace(tmp_path)
    many = await Many.written(workplace, 3_000)
    assert (many.lists, many.conferences) == (30, 60)
    updates: list[Update] = []
    shared, reader = SharedIndex(), IndexReader()
    attached = shared.attach(updates.append)
    async with open_store(f"sqlite:///{workplace.database}") as store:
        live, metrics = Live(), Metrics("0")
        keyring = Keyring.load(tmp_path / "rollcall.key")
        follower = Follower(store, keyring, live, Health(5.0), metrics, interval=0.1, shared=shared)
        await follower.load()
        assert metrics.registry.get_sample_value("rollcall_index_entries") == many.entries
        async with store.writing() as writing:
            for at in range(many.organizers):
                writing.changed(Kind.ORGANIZER, f"organizer-{at}")
        await follower.look()
    assert live.index is not None
    assert len(live.index.conferences) == many.conferences + 1
    seen = [live.index]
    for update in updates:
        index = reader.apply(update.message, [os.dup(fd) for fd in update.fds])
        if index is not None:
            seen.append(index)
        attached.applied(reader.number)
    assert len(seen) == 3
    for index in seen:
        for passcode, pin in many.callers(200):
            decision = decide(index, Question(passcode, pin))
            assert decision.accepted
            assert decision.participant is not None
