"""Following the database: what is in force after each kind of change, and after each kind of fault."""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
from structlog.typing import EventDict

from loader.directory import apply_directory, parse_directory
from loader.index import Reason
from loader.keyring import Keyring
from loader.model import Entry, Level, Owner, Switch
from loader.publish import publish
from loader.rotate import rotate_key
from loader.store import Store, migrate, open_store
from tests.unit.daemon.conftest import Followed, Put

People = Callable[..., list[Entry]]
CODE = Owner(Level.AUTHORIZATION_CODE, "3625046")
OTHER_CODE = Owner(Level.AUTHORIZATION_CODE, "77")


async def apply(store: Store, directory: bytes) -> None:
    await apply_directory(store, parse_directory(directory, format="toml"))


# What changed


async def test_what_is_there_at_the_start_is_in_force(
    store: Store, keyring: Keyring, url: str, put: Put, alicia: Owner, people: People
) -> None:
    await put(alicia, people(3))
    await store.add_switch(Switch("pbx-1", bytes(32), 0.0))
    followed = Followed(store, keyring, url)
    assert followed.live.index is None
    await followed.follower.load()
    assert followed.first_name("000002") == "Mike"
    assert followed.live.switches == {bytes(32): "pbx-1"}
    assert followed.metric("rollcall_index_entries") == 3
    assert followed.metric("rollcall_index_lists") == 1
    assert followed.metric("rollcall_index_conferences") == 1
    assert followed.metric("rollcall_position_applied") == await store.position() == followed.health.position
    assert followed.metric("rollcall_loads_total") == 1


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


async def test_a_lookup_that_has_the_old_list_keeps_it_whole(
    followed: Followed, store: Store, keyring: Keyring, alicia: Owner, people: People
) -> None:
    """An index that was taken before a change answers as before it, a large one too."""
    many = [entry for entry in people(30_000) if entry.pin]
    await publish(store, keyring, alicia, many, by="test", source="import")
    await followed.look()
    index = followed.live.index
    assert index is not None
    await publish(store, keyring, CODE, people(2), by="test", source="import")
    await followed.look()
    assert index.lists.keys() == {alicia}
    assert followed.first_name("029999") == "Mike"


async def test_switches_come_and_go(followed: Followed, store: Store) -> None:
    await store.add_switch(Switch("pbx-1", bytes(32), 0.0))
    await store.add_switch(Switch("pbx-2", bytes(31) + b"1", 0.0))
    await followed.look()
    assert followed.live.switches is not None
    assert set(followed.live.switches.values()) == {"pbx-1", "pbx-2"}
    await store.remove_switch("pbx-1")
    await followed.look()
    assert followed.live.switches == {bytes(31) + b"1": "pbx-2"}


async def test_a_conference_moves_to_another_passcode(followed: Followed, store: Store, example: bytes) -> None:
    await apply(store, example.replace(b'"7784321"', b'"5550100"'))
    await followed.look()
    assert followed.ask("1", "7784321").reason is Reason.UNKNOWN_PASSCODE
    assert followed.ask("1", "5550100").reason is Reason.UNKNOWN_PIN


async def test_two_conferences_swap_their_passcodes(followed: Followed, store: Store, example: bytes) -> None:
    second = b"""
    [[company.organizer.conference]]
    id = "C-1002"
    title = "Open house"
    passcode = "7784322"
    pin_entry = false
[[company]]
id = "other"
"""
    both = example.replace(b'[[company]]\nid = "other"\n', second)
    await apply(store, both)
    await followed.look()
    assert followed.ask("", "7784322").accepted
    await apply(
        store, both.replace(b'"7784321"', b'"x"').replace(b'"7784322"', b'"7784321"').replace(b'"x"', b'"7784322"')
    )
    await followed.look()
    assert followed.ask("", "7784321").accepted
    assert followed.ask("", "7784322").reason is Reason.PIN_REQUIRED


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


# What went wrong


async def test_a_list_that_was_tampered_with_keeps_its_last_good_state(
    followed: Followed, put: Put, alicia: Owner, people: People, tmp_path: Path, keyring: Keyring, store: Store
) -> None:
    """It is told once, the others go in force, and so does it when it is mended."""
    await put(alicia, people(1, "Ann"))
    await followed.look()
    await put(alicia, people(1, "Mallory"))
    await put(CODE, people(2, "Ben"))
    with sqlite3.connect(tmp_path / "rollcall.db") as connection:
        connection.execute("UPDATE list_part SET ciphertext = zeroblob(length(ciphertext)) WHERE owner_id = 'alicia'")
    connection.close()
    with structlog.testing.capture_logs() as logged:
        await followed.look()
        await followed.look()
    assert (followed.first_name("000000"), followed.first_name("000001")) == ("Ann", "Ben")
    told = [line for line in logged if line["event"] == "list_not_opened"]
    assert len(told) == 1
    assert told[0]["owner"] == "organizer:alicia"
    assert "revision 2" in told[0]["problem"]
    assert followed.metric("rollcall_lists_not_applied") == 1
    assert followed.metric("rollcall_reload_failures_total") == 1
    assert followed.health.readiness(0.0).lists_not_applied == 1

    await put(alicia, people(1, "Cleo"))
    followed.follower._unopened[alicia].again_at = 0.0
    await followed.look()
    assert followed.first_name("000000") == "Cleo"
    assert followed.metric("rollcall_lists_not_applied") == 0
    assert followed.health.position == await store.position()


async def test_one_bad_list_at_the_start_does_not_keep_the_others_out(
    store: Store, keyring: Keyring, url: str, put: Put, alicia: Owner, people: People, tmp_path: Path
) -> None:
    await put(alicia, people(1, "Ann"))
    await put(CODE, people(1, "Ben"))
    with sqlite3.connect(tmp_path / "rollcall.db") as connection:
        connection.execute("DELETE FROM list_part WHERE owner_id = 'alicia'")
    connection.close()
    followed = Followed(store, keyring, url)
    with structlog.testing.capture_logs():
        await followed.follower.load()
    assert followed.first_name("000000") == "Ben"
    assert followed.metric("rollcall_lists_not_applied") == 1


async def test_a_key_that_was_rotated_meanwhile_is_read_from_the_file(
    followed: Followed, store: Store, keyring: Keyring, put: Put, alicia: Owner, people: People
) -> None:
    await put(alicia, people(1, "Ann"))
    await followed.look()
    rotated = await rotate_key(store, keyring)
    await publish(store, rotated, alicia, people(1, "Ben"), by="test", source="import")
    await followed.look()
    assert followed.first_name("000000") == "Ben"


async def test_a_missing_key_keeps_the_last_good_state(
    followed: Followed, store: Store, keyring: Keyring, put: Put, alicia: Owner, people: People
) -> None:
    await put(alicia, people(1, "Ann"))
    await followed.look()
    before = keyring.path.read_bytes()
    rotated = await rotate_key(store, keyring)
    after = keyring.path.read_bytes()
    await publish(store, rotated, alicia, people(1, "Ben"), by="test", source="import")
    keyring.path.write_bytes(before)
    with structlog.testing.capture_logs() as logged:
        await followed.look()
    assert followed.first_name("000000") == "Ann"
    assert "put that file back" in logged[0]["problem"]
    keyring.path.write_bytes(after)
    followed.follower._unopened[alicia].again_at = 0.0
    await followed.look()
    assert followed.first_name("000000") == "Ben"


async def test_a_restored_backup_is_read_again_as_a_whole(
    followed: Followed, store: Store, put: Put, alicia: Owner, people: People, tmp_path: Path
) -> None:
    """The file is another, the feed stands further back: what the backup holds is in force."""
    await put(alicia, people(1, "Ann"))
    await followed.look()
    backup(tmp_path / "rollcall.db", tmp_path / "backup.db")
    await put(alicia, people(1, "Ben"))
    await put(CODE, people(2, "Cleo"))
    await followed.look()
    restore(tmp_path / "backup.db", tmp_path / "rollcall.db")
    with structlog.testing.capture_logs() as logged:
        await followed.look()
    assert [line["event"] for line in logged if line["log_level"] == "warning"] == ["feed_restarted"]
    assert (followed.first_name("000000"), followed.first_name("000001")) == ("Ann", None)
    assert followed.metric("rollcall_index_entries") == 1
    assert followed.metric("rollcall_loads_total") == 2


async def test_another_file_in_the_databases_place_is_read_again(
    followed: Followed, put: Put, alicia: Owner, people: People, tmp_path: Path, keyring: Keyring
) -> None:
    """Even if its feed stands further on."""
    await put(alicia, people(1, "Ann"))
    await followed.look()
    backup(tmp_path / "rollcall.db", tmp_path / "other.db")
    async with open_store(f"sqlite:///{tmp_path / 'other.db'}") as other:
        await publish(other, keyring, alicia, people(1, "Ben"), by="test", source="import")
    restore(tmp_path / "other.db", tmp_path / "rollcall.db")
    with structlog.testing.capture_logs():
        await followed.look()
    assert followed.first_name("000000") == "Ben"


async def test_an_empty_database_in_its_place_silences_nobody(
    followed: Followed, put: Put, alicia: Owner, people: People, tmp_path: Path
) -> None:
    await put(alicia, people(1, "Ann"))
    await followed.look()
    await migrate(f"sqlite:///{tmp_path / 'empty.db'}")
    restore(tmp_path / "empty.db", tmp_path / "rollcall.db")
    with structlog.testing.capture_logs() as logged:
        await followed.look()
        await followed.look()
    assert followed.first_name("000000") == "Ann"
    assert followed.health.problem is not None
    assert "holds no conference" in followed.health.problem
    assert [line["event"] for line in logged].count("database_unavailable") == 1


def gone(database: Path) -> Callable[[], None]:
    database.rename(database.with_suffix(".away"))

    def put_back() -> None:
        database.with_suffix(".away").rename(database)

    return put_back


def not_a_database(database: Path) -> Callable[[], None]:
    before = database.with_suffix(".before")
    backup(database, before)
    database.with_suffix(".new").write_bytes(b"no database at all" * 100)
    restore(database.with_suffix(".new"), database)
    return lambda: restore(before, database)


@pytest.mark.parametrize("break_", [gone, not_a_database])
async def test_without_a_database_all_stays_in_force_until_it_is_back(
    followed: Followed,
    put: Put,
    alicia: Owner,
    people: People,
    tmp_path: Path,
    break_: Callable[[Path], Callable[[], None]],
) -> None:
    """It is told once in the log, and in the metric of failures each time."""
    await put(alicia, people(1, "Ann"))
    await followed.look()
    mend = break_(tmp_path / "rollcall.db")
    with structlog.testing.capture_logs() as logged:
        await followed.look()
        await followed.look()
    assert followed.first_name("000000") == "Ann"
    assert followed.health.problem is not None
    assert events(logged) == ["database_unavailable"]
    assert followed.metric("rollcall_reload_failures_total") == 2
    mend()
    with structlog.testing.capture_logs() as logged:
        await followed.look()
    assert followed.health.readiness(0.0).problem is None
    assert events(logged) == ["database_back"]
    await put(alicia, people(1, "Ben"))
    await followed.look()
    assert followed.first_name("000000") == "Ben"


async def test_a_locked_database_is_read_all_the_same(
    followed: Followed, put: Put, alicia: Owner, people: People, tmp_path: Path
) -> None:
    """Readers do not wait for a writer, not even for one that never ends."""
    await put(alicia, people(1, "Ann"))
    connection = sqlite3.connect(tmp_path / "rollcall.db", isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    await followed.look()
    assert followed.first_name("000000") == "Ann"
    connection.close()


async def test_looks_become_rarer_while_they_fail(followed: Followed, tmp_path: Path) -> None:
    """Up to one a second, and at once as often as before when the database is back."""
    mend = gone(tmp_path / "rollcall.db")
    waits = []
    with structlog.testing.capture_logs():
        for _ in range(10):
            await followed.look()
            waits.append(followed.follower._back_off)
        assert waits == sorted(waits)
        assert waits[0] == 0.01
        assert waits[-1] == 1.0
        mend()
        await followed.look()
    assert followed.follower._back_off == 0.0


async def test_an_error_that_nobody_thought_of_does_not_end_the_following(
    followed: Followed, put: Put, alicia: Owner, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> None:
        raise RuntimeError("never thought of")

    with monkeypatch.context() as patched, structlog.testing.capture_logs() as logged:
        patched.setattr(followed.follower, "_apply", broken)
        await put(alicia, people(1, "Ann"))
        await followed.look()
    assert "reload_failed" in events(logged)
    assert followed.health.problem == "RuntimeError"
    with structlog.testing.capture_logs():
        await followed.look()
    assert followed.first_name("000000") == "Ann"


def events(logged: list[EventDict]) -> list[str]:
    return [line["event"] for line in logged]


def backup(database: Path, copy: Path) -> None:
    """A whole copy, what stands in the write-ahead log included."""
    source, target = sqlite3.connect(database), sqlite3.connect(copy)
    source.backup(target)
    source.close()
    target.close()


def restore(copy: Path, database: Path) -> None:
    """Put a file in the place of another, as an operator does."""
    shutil.copy(copy, copy.with_suffix(".copy"))
    for suffix in ("-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    copy.with_suffix(".copy").replace(database)
