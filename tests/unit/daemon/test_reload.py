"""Following the database: what is in force after each kind of change."""

import asyncio
import time
from itertools import pairwise
from pathlib import Path

import pytest

from loader.directory import apply_directory, parse_directory
from loader.index import Reason
from loader.keyring import Keyring
from loader.model import Level, ListRevision, Owner, Switch
from loader.publish import publish, put_back
from loader.roll import Locked
from loader.rotate import rotate_key
from loader.store import Store
from loader.store.lockouts import Lockouts
from loader.store.rolls import Progress
from loader.store.taking import RollTaker
from tests.unit.daemon.conftest import Followed, People, Put, during
from tests.unit.daemon.faults import execute

CODE = Owner(Level.AUTHORIZATION_CODE, "3625046")
SECOND = b"""
    [[company.organizer.conference]]
    id = "C-1002"
    title = "Open house"
    passcode = "7784322"
    pin_entry = false
[[company]]
id = "other"
"""


async def apply(store: Store, directory: bytes) -> None:
    await apply_directory(store, parse_directory(directory, format="toml"))


def with_second(example: bytes) -> bytes:
    """The example with one more conference."""
    return example.replace(b'[[company]]\nid = "other"\n', SECOND)


def swapped(directory: bytes) -> bytes:
    """The two conferences have each other's passcode."""
    return directory.replace(b'"7784321"', b'"x"').replace(b'"7784322"', b'"7784321"').replace(b'"x"', b'"7784322"')


async def test_what_is_there_at_the_start_is_in_force(
    store: Store, keyring: Keyring, url: str, put: Put, alicia: Owner, people: People
) -> None:
    await put(alicia, people(3))
    await store.add_switch(Switch.new("pbx-1", bytes(32), 0.0))
    followed = Followed(store, keyring, url)
    assert (followed.live.index, followed.switches, followed.health.loaded) == (None, None, False)
    await followed.load()
    assert followed.health.loaded
    assert followed.first_name("000002") == "Mike"
    assert followed.switches == {bytes(32): "pbx-1"}
    assert followed.metric("rollcall_index_entries") == 3
    assert followed.metric("rollcall_index_lists") == 1
    assert followed.metric("rollcall_index_conferences") == 1
    assert followed.metric("rollcall_position_applied") == await store.position() == followed.health.position
    assert followed.metric("rollcall_loads_total") == 1
    # Nothing waited for it: it was there before the daemon was.
    assert followed.metric("rollcall_commit_to_force_seconds_count") == 0


async def test_a_list_is_in_force_after_one_look(
    followed: Followed, put: Put, alicia: Owner, people: People, store: Store
) -> None:
    """New, replaced, and at each level; the metrics follow, and tell how long it took from the commit."""
    await put(alicia, people(3))
    assert followed.ask("000000").reason is Reason.UNKNOWN_PIN
    await followed.look()
    assert followed.first_name("000000") == "Mike"
    await put(alicia, people(2, "Ann"))
    await put(CODE, people(5, "Ben"))
    await followed.look()
    assert [followed.first_name(f"{pin:06}") for pin in (0, 4, 5)] == ["Ann", "Ben", None]
    assert followed.metric("rollcall_index_entries") == 7
    assert followed.metric("rollcall_commit_to_force_seconds_count") == 3
    last = followed.metric("rollcall_commit_to_force_last_seconds")
    assert last is not None
    assert 0 <= last < 1
    assert followed.health.position == await store.position()
    assert followed.follower.applied.is_set()


async def test_switches_come_and_go(followed: Followed, store: Store) -> None:
    await store.add_switch(Switch.new("pbx-1", bytes(32), 0.0))
    await store.add_switch(Switch.new("pbx-2", bytes(31) + b"1", 0.0))
    await followed.look()
    assert followed.switches == {bytes(32): "pbx-1", bytes(31) + b"1": "pbx-2"}
    await store.remove_switch("pbx-1")
    await followed.look()
    assert followed.switches == {bytes(31) + b"1": "pbx-2"}


async def test_a_list_may_go_altogether(
    followed: Followed, put: Put, alicia: Owner, people: People, database: Path
) -> None:
    """An empty one answers nobody; one that is no longer there is not asked."""
    await put(alicia, people(3))
    await put(CODE, people(3, "Ben"))
    await followed.look()
    await put(alicia, [])
    await followed.look()
    assert followed.first_name("000000") == "Ben"
    assert (followed.metric("rollcall_index_lists"), followed.metric("rollcall_index_entries")) == (2, 3)
    execute(
        database,
        "PRAGMA foreign_keys = OFF",
        "DELETE FROM pin_list WHERE owner_id = 'alicia'",
        "UPDATE feed SET position = position + 1",
        "UPDATE change SET position = (SELECT position FROM feed) WHERE id = 'organizer:alicia'",
    )
    await followed.look()
    assert (followed.metric("rollcall_index_lists"), followed.metric("rollcall_index_entries")) == (1, 3)


async def test_a_revision_that_is_put_back_is_in_force(
    followed: Followed, store: Store, keyring: Keyring, put: Put, alicia: Owner, people: People
) -> None:
    before = await put(alicia, people(1, "Ann"))
    await put(alicia, people(1, "Ben"))
    await put_back(store, keyring, alicia, before, by="test")
    await followed.look()
    assert followed.first_name("000000") == "Ann"
    assert followed.ask("000000").revision == 3


async def test_what_changes_again_while_it_is_read_is_in_force_after_the_next_look(
    followed: Followed, store: Store, put: Put, alicia: Owner, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old or new, never neither; what is told to be in force is."""
    await put(alicia, people(1, "Ann"))
    head = store.list_head

    async def changing(owner: Owner, revision: int | None = None) -> ListRevision | None:
        found = await head(owner, revision)
        monkeypatch.undo()
        await put(alicia, people(1, "Ben"))
        return found

    monkeypatch.setattr(store, "list_head", changing)
    await followed.look()
    assert followed.first_name("000000") == "Ann"
    assert followed.health.position == await store.position() - 1
    await followed.look()
    assert followed.first_name("000000") == "Ben"
    assert followed.health.position == await store.position()


async def test_a_conference_comes_and_goes(followed: Followed, store: Store, example: bytes, database: Path) -> None:
    await apply(store, with_second(example))
    await followed.look()
    assert followed.ask("", "7784322").accepted
    assert followed.metric("rollcall_index_conferences") == 2
    execute(
        database,
        "DELETE FROM conference WHERE id = 'C-1002'",
        "UPDATE feed SET position = position + 1",
        "UPDATE change SET position = (SELECT position FROM feed) WHERE id = 'C-1002'",
    )
    await followed.look()
    assert followed.ask("", "7784322").reason is Reason.UNKNOWN_PASSCODE
    assert followed.metric("rollcall_index_conferences") == 1


async def test_pin_entry_is_turned_off_and_on(followed: Followed, store: Store, example: bytes) -> None:
    for written, accepted in (("false", True), ("true", False)):
        await apply(store, example.replace(b"pin_entry = true", b"pin_entry = " + written.encode()))
        await followed.look()
        assert followed.ask("").accepted is accepted


async def test_a_conference_moves_to_another_passcode(followed: Followed, store: Store, example: bytes) -> None:
    await apply(store, example.replace(b'"7784321"', b'"5550100"'))
    await followed.look()
    assert followed.ask("1", "7784321").reason is Reason.UNKNOWN_PASSCODE
    assert followed.ask("1", "5550100").reason is Reason.UNKNOWN_PIN


async def test_two_conferences_swap_their_passcodes(followed: Followed, store: Store, example: bytes) -> None:
    """In one commit, and in one moment: no caller hears that a passcode is unknown."""
    await apply(store, with_second(example))
    await followed.look()
    assert (followed.ask("").reason, followed.ask("", "7784322").accepted) == (Reason.PIN_REQUIRED, True)
    await apply(store, swapped(with_second(example)))
    answers = await during(followed.look(), lambda: (followed.ask("").reason, followed.ask("", "7784322").reason))
    assert set(answers) == {(Reason.PIN_REQUIRED, None), (None, Reason.PIN_REQUIRED)}
    assert (followed.ask("").accepted, followed.ask("", "7784322").reason) == (True, Reason.PIN_REQUIRED)


async def test_a_passcode_is_taken_over_from_a_conference_that_went(
    followed: Followed, store: Store, example: bytes, database: Path
) -> None:
    await apply(store, with_second(example))
    await followed.look()
    execute(
        database,
        "DELETE FROM conference WHERE id = 'C-1001'",
        "UPDATE conference SET passcode = '7784321' WHERE id = 'C-1002'",
        "UPDATE feed SET position = position + 2",
        "UPDATE change SET position = (SELECT position FROM feed) WHERE id = 'C-1002'",
        "UPDATE change SET position = (SELECT position - 1 FROM feed) WHERE id = 'C-1001'",
    )
    await followed.look()
    assert followed.ask("").accepted
    assert followed.ask("", "7784322").reason is Reason.UNKNOWN_PASSCODE


async def test_an_organizer_who_changes_her_code_is_looked_up_there(
    followed: Followed, store: Store, example: bytes, put: Put, people: People
) -> None:
    """All her conferences ask the other code's list from then on."""
    more = example.replace(
        b'label = "GLOBAL TEST-USA"',
        b'label = "GLOBAL TEST-USA"\n[[company.authorization_code]]\ncode = "9"\nlabel = "N"',
    )
    await apply(store, more)
    await put(CODE, people(1, "Ann"))
    await put(Owner(Level.AUTHORIZATION_CODE, "9"), people(1, "Ben"))
    await followed.look()
    assert followed.first_name("000000") == "Ann"
    await apply(store, more.replace(b'authorization_code = "3625046"', b'authorization_code = "9"'))
    await followed.look()
    assert followed.first_name("000000") == "Ben"


async def test_nothing_new_changes_nothing(followed: Followed) -> None:
    index = followed.live.index
    await followed.look()
    assert followed.live.index is index
    assert followed.health.database_up(asyncio.get_running_loop().time())


async def test_a_list_and_its_conference_that_are_new_are_both_in_force(
    followed: Followed, store: Store, example: bytes, put: Put, people: People
) -> None:
    """Whatever changes between two looks is in force after the second, of every kind."""
    more = example.replace(
        b'label = "OTHER"',
        b"""label = "OTHER"
  [[company.organizer]]
  id = "ben"
  name = "Ben"
  email = "ben@example.com"
  authorization_code = "77"
    [[company.organizer.conference]]
    id = "C-2001"
    title = "New"
    passcode = "5550100"
""",
    )
    await apply(store, more)
    await put(Owner(Level.ORGANIZER, "ben"), people(1, "Ben"))
    await store.add_switch(Switch.new("pbx-1", bytes(32), 0.0))
    await followed.look()
    assert followed.first_name("000000", "5550100") == "Ben"
    assert followed.switches == {bytes(32): "pbx-1"}
    assert followed.health.position == await store.position()
    # Three commits: each is timed.
    assert followed.metric("rollcall_commit_to_force_seconds_count") == 3


async def test_a_key_that_was_rotated_meanwhile_is_read_from_the_file(
    followed: Followed, store: Store, keyring: Keyring, put: Put, alicia: Owner, people: People
) -> None:
    await put(alicia, people(1, "Ann"))
    await followed.look()
    rotated = await rotate_key(store, keyring)
    await publish(store, rotated, alicia, people(1, "Ben"), by="test", source="import")
    await followed.look()
    assert followed.first_name("000000") == "Ben"


async def test_a_key_that_is_rotated_while_a_list_is_read_does_no_harm(
    followed: Followed, store: Store, keyring: Keyring, put: Put, alicia: Owner, people: People,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The list is found under another key than a moment ago, and read under that one."""
    await put(alicia, people(1, "Ann"))
    head = store.list_head

    async def rotating(owner: Owner, revision: int | None = None) -> ListRevision | None:
        found = await head(owner, revision)
        monkeypatch.undo()
        await rotate_key(store, keyring)
        return found

    monkeypatch.setattr(store, "list_head", rotating)
    assert await followed.look() == []
    assert followed.first_name("000000") == "Ann"


async def test_a_change_of_any_size_gives_the_loop_back(followed: Followed, database: Path) -> None:
    """20,000 conferences in one commit: no lookup waits for all of them. Measured in the thread's own time."""
    count = 20_000
    execute(
        database,
        f"""WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < {count})
        INSERT INTO conference SELECT 'N-' || n, 'alicia', 'New', '9' || n, 0 FROM number""",
        "UPDATE feed SET position = position + 100000",
        "INSERT INTO change (kind, id, position, committed_at) SELECT 'conference', id, 10 + rowid, 0 FROM conference "
        "WHERE id LIKE 'N-%'",
    )
    spent = await during(followed.look(), time.thread_time)
    assert followed.metric("rollcall_index_conferences") == count + 1
    assert followed.ask("", f"9{count}").accepted
    assert max(after - before for before, after in pairwise(spent)) < 0.03


async def test_a_clock_that_was_set_back_does_not_turn_time_round(
    followed: Followed, put: Put, alicia: Owner, people: People, database: Path
) -> None:
    """A commit that seems to come from the future is in force at once."""
    await put(alicia, people(1, "Ann"))
    execute(database, "UPDATE change SET committed_at = committed_at + 3600")
    await followed.look()
    assert followed.metric("rollcall_commit_to_force_last_seconds") == 0
    assert followed.first_name("000000") == "Ann"


async def test_following_goes_on_at_the_interval_that_is_set_now(
    followed: Followed, put: Put, alicia: Owner, people: People
) -> None:
    """Following is ended by nothing but being cancelled."""
    followed.follower.interval = 3600.0
    following = asyncio.create_task(followed.follower.follow())
    await asyncio.sleep(0)
    followed.follower.interval = 0.01
    await put(alicia, people(1, "Ann"))
    async with asyncio.timeout(5):
        while followed.first_name("000000") is None:
            await asyncio.sleep(0.01)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following


class Locks:
    """What the keeper has taken, and what people unlock."""

    def __init__(self, store: Store, keyring: Keyring) -> None:
        self._store, self._keyring = store, keyring

    async def lock(self, *keys: str) -> None:
        now = time.time()
        events = [Locked(now, now + 60, key, "caller", 3, "C-1001", None, "pbx-1") for key in keys]
        taker = RollTaker(self._store, quiet=60.0)
        since = await taker.progress("journal")
        await taker.apply(self._keyring, events, "journal", since, Progress(1, since.offset + 1))

    async def unlock(self, *keys: str) -> float:
        """When that was."""
        assert await Lockouts(self._store).unlock(keys, by="sabine", at=time.time()) == list(keys)
        return (await self._store.unlocks())[-1].committed_at


KEY, ANOTHER = "00000000000000a1", "00000000000000a2"


@pytest.fixture
def locks(store: Store, keyring: Keyring) -> Locks:
    return Locks(store, keyring)


async def test_what_a_person_unlocks_is_handed_to_the_throttle(followed: Followed, locks: Locks, store: Store) -> None:
    """Once, with the time that it is forgotten up to; nothing of the index is touched."""
    await locks.lock(KEY, ANOTHER)
    await followed.look()
    index = followed.live.index
    at = await locks.unlock(KEY)
    await followed.look(2)
    assert followed.unlocked == [(KEY, at)]
    assert followed.live.index is index
    assert followed.health.position == await store.position()
    assert followed.metric("rollcall_commit_to_force_seconds_count") == 1
    await locks.lock(KEY)
    again = await locks.unlock(KEY)
    await followed.look(2)
    assert followed.unlocked[1:] == [(KEY, again)]


async def test_what_was_unlocked_while_the_daemon_was_away_is_handed_over_at_the_start(
    store: Store, keyring: Keyring, url: str, locks: Locks
) -> None:
    """With the first look, and not counted as a change that was late."""
    await locks.lock(KEY, ANOTHER)
    at = await locks.unlock(KEY)
    await locks.unlock(ANOTHER)
    followed = Followed(store, keyring, url)
    await followed.load()
    assert followed.health.position == await store.position()
    await followed.look(2)
    assert sorted(key for key, _ in followed.unlocked) == [KEY, ANOTHER]
    assert (KEY, at) in followed.unlocked
    assert followed.metric("rollcall_commit_to_force_seconds_count") == 0


async def test_a_throttle_that_is_busy_is_told_again_and_holds_up_nothing_else(
    followed: Followed, locks: Locks, put: Put, alicia: Owner, people: People, store: Store
) -> None:
    await locks.lock(KEY)
    followed.busy = 2
    await locks.unlock(KEY)
    await put(alicia, people(3))
    logged = await followed.look()
    assert [line["event"] for line in logged if line["log_level"] == "error"] == [
        "database_unavailable",
        "reload_failed",
    ]
    assert followed.first_name("000000") == "Mike"
    assert followed.unlocked == []
    await followed.look(2)
    assert [key for key, _ in followed.unlocked] == [KEY]
    assert followed.health.position == await store.position()


async def test_an_unlocking_that_the_feed_no_longer_tells_of_leaves_nobody_behind(
    followed: Followed, locks: Locks, store: Store
) -> None:
    """A daemon that could not look for a month has missed it, and is up to date all the same."""
    await locks.lock(KEY)
    await locks.unlock(KEY)
    await Lockouts(store).erase_some(time.time() + 1e9)
    await followed.look()
    assert followed.unlocked == []
    assert followed.health.position == await store.position()
