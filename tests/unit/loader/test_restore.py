"""A copy put back: what people decided is as it was, what happened stays, and nothing is told twice."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from loader.backup import BackupError, back_up
from loader.errors import DatabaseUnavailable, KeyFileError
from loader.feed import Feed
from loader.keyring import Keyring
from loader.model import Entry, Kind, Level, Owner, Position
from loader.publish import publish, read_list
from loader.restore import Restored, restore
from loader.rotate import rotate_key
from loader.store import SCHEMA_VERSION, open_store, sqlite_url
from loader.store.restoring import DECIDED, ENDED, FEED, HAPPENED, put_back, put_in_place
from loader.store.tables import metadata

People = Callable[..., list[Entry]]


class Installation:
    """A database in a folder of its own, with a key file and a copy of it."""

    def __init__(self, folder: Path, made: Path) -> None:
        self.database = folder / "rollcall.db"
        self.copy = folder / "copies" / "copy.db"
        self.copy.parent.mkdir()
        shutil.copy(made, self.database)
        self.keyring = Keyring.create(folder / "rollcall.key")

    def publish(self, owner: Owner, entries: list[Entry]) -> None:
        async def put() -> None:
            async with open_store(sqlite_url(self.database)) as store:
                await publish(store, self.keyring, owner, entries, by="test", source="import")

        asyncio.run(put())

    def list_of(self, owner: Owner) -> list[Entry]:
        async def read() -> list[Entry]:
            async with open_store(sqlite_url(self.database)) as store:
                block = await read_list(store, self.keyring, owner)
                return list(block.entries()) if block else []

        return asyncio.run(read())

    def changes(self, since: int) -> list[tuple[Kind, str]]:
        """What a daemon learns that has come as far as this."""

        async def look() -> list[tuple[Kind, str]]:
            async with open_store(sqlite_url(self.database)) as store:
                return [(change.kind, change.id) for change in await Feed(store, Position(since)).poll()]

        return asyncio.run(look())

    def back_up(self) -> None:
        back_up(self.database, self.copy, self.keyring.path)

    def restore(self, **options: Any) -> Restored:
        return restore(self.copy, self.database, self.keyring.path, by="cli:test", **options)

    def execute(self, statement: str, *values: object) -> list[Any]:
        with closing(sqlite3.connect(self.database, isolation_level=None)) as connection:
            return connection.execute(statement, values).fetchall()

    @property
    def position(self) -> int:
        return int(self.execute("SELECT position FROM feed")[0][0])


@pytest.fixture
def here(tmp_path: Path, made: Path, alicia: Owner, people: People) -> Installation:
    """The example with a list of three, and a copy of that."""
    installation = Installation(tmp_path, made)
    installation.publish(alicia, people(3))
    installation.back_up()
    return installation


def rows(file: Path, tables: Any) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(file)) as connection:
        return {
            table.name: sorted(connection.execute(f"SELECT * FROM {table.name}").fetchall(), key=repr)
            for table in tables
        }


def happen(here: Installation) -> None:
    """A call, its conference, its journal, a webhook, an invitation, and who did what."""
    here.execute(
        "INSERT INTO occurrence (id, conference_id, company_id, organizer_id, title, started_at, last_at, present, admitted,"
        " rejected, version) VALUES (1, 'C-1001', 'globaltest', 'alicia', 'Weekly call', 1, 1, 1, 1, 0, 1)"
    )
    key_id = here.keyring.current
    here.execute(
        "INSERT INTO call (occurrence_id, source, verification_id, door, admitted_at, key_id, sealed)"
        " VALUES (1, 'pbx-1', 'v1', 'http', 1, ?, x'00')", key_id
    )  # fmt: skip
    here.execute("INSERT INTO journal VALUES ('j1', 3, 1000)")
    here.execute(
        "INSERT INTO webhook_delivery (company_id, event_id, event, about, created_at, next_at, attempts, delivered, key_id,"
        " sealed) VALUES ('globaltest', 'e1', 'participant.admitted', 'v1', 1, 1, 0, 0, ?, x'00')", key_id
    )  # fmt: skip
    here.execute(
        "INSERT INTO invitation (conference_id, level, owner_id, person, queued_by, queued_at, language, next_at, attempts,"
        " key_id, sealed) VALUES ('C-1001', 'organizer', 'alicia', x'00', 'alicia', 1, 'en', 1, 0, ?, x'00')", key_id
    )  # fmt: skip
    here.execute(
        "INSERT INTO audit (at, user_id, address, action, target, detail) VALUES (1, 'eve', '', 'list_exported', 'x', '')"
    )


def test_every_table_is_known_to_go_back_or_to_stay() -> None:
    """A new one goes back unless somebody says otherwise: has it been thought of?"""
    assert {table.name for table in DECIDED} == {
        "company", "authorization_code", "organizer", "conference", "app_user", "switch", "switch_token", "pin_list", "list_revision",
        "list_part", "credential", "company_choice", "organizer_choice", "conference_date",
    }  # fmt: skip
    named = [*DECIDED, *HAPPENED, *FEED, *ENDED]
    assert len(named) == len(set(named)) == len(metadata.tables)


def test_what_was_decided_is_byte_for_byte_that_of_the_copy(here: Installation, alicia: Owner, people: People) -> None:
    before = rows(here.database, DECIDED)
    here.publish(alicia, people(5, "Eve"))
    here.publish(Owner(Level.COMPANY, "other"), people(2))
    here.execute("UPDATE company SET name = 'Changed'")
    here.execute("DELETE FROM conference")
    here.execute("INSERT INTO switch VALUES ('pbx-9', 1, '192.0.2.7', 5)")
    here.execute("INSERT INTO switch_token VALUES (x'99', 'pbx-9', 1, NULL)")
    done = here.restore()
    assert rows(here.database, DECIDED) == before
    assert here.list_of(alicia) == people(3)
    assert (done.holds.lists, done.holds.entries, done.schema) == (1, 3, SCHEMA_VERSION)
    assert here.execute("PRAGMA integrity_check") == [("ok",)]
    assert here.execute("PRAGMA foreign_key_check") == []


def test_what_was_there_is_kept_beside_it_as_it_was_at_the_last_moment(here: Installation) -> None:
    here.execute("UPDATE company SET name = 'Changed'")
    before = rows(here.database, metadata.tables.values())
    former = here.restore().former
    assert former is not None
    assert former.parent == here.database.parent
    assert former.stat().st_mode & 0o777 == 0o600
    assert rows(former, metadata.tables.values()) == before
    again = here.restore().former
    assert again != former


def test_what_happened_stays(here: Installation) -> None:
    """So that no event of a roll is lost or counted twice, and nothing is told or sent again."""
    happen(here)
    before = rows(here.database, HAPPENED)
    here.restore()
    after = rows(here.database, HAPPENED)
    (told,) = [row for row in after.pop("audit") if row not in before["audit"]]
    assert told[2] == "cli:test"
    assert told[5:7] == ("database_restored", "copy.db")
    del before["audit"]
    assert after == before


def test_all_are_signed_out(here: Installation) -> None:
    """Whoever was signed out since, or whose link was used up, does not come in by the copy."""
    fill = (
        "INSERT INTO app_user (id, role, name, email) VALUES ('eve', 'operator', 'Eve', 'eve@example.com')",
        "INSERT INTO web_session VALUES (x'01', 'eve', 1, 1, '', '', '')",
        "INSERT INTO one_time_link VALUES (x'01', 'eve', 9e9)",
        "INSERT INTO staged_upload VALUES ('1', 'eve', 1, 'x.csv', '', 0, 'k', x'00')",
    )
    for statement in fill[:2]:
        here.execute(statement)
    here.back_up()
    for statement in fill[2:3]:
        here.execute(statement)
    here.execute(fill[3].replace("'k'", f"'{here.keyring.current}'"))
    here.restore()
    assert [here.execute(f"SELECT * FROM {table.name}") for table in ENDED] == [[], [], []]


def test_who_can_come_in_again_is_told(here: Installation) -> None:
    for number in range(1, 8):
        here.execute("INSERT INTO switch VALUES (?, 1, '', NULL)", f"pbx-{number}")
        here.execute("INSERT INTO switch_token VALUES (?, ?, 1, NULL)", bytes([number]), f"pbx-{number}")
    here.execute("UPDATE switch_token SET expires_at = 9e9 WHERE switch_id IN ('pbx-5', 'pbx-6')")
    here.execute("UPDATE switch_token SET expires_at = 2 WHERE switch_id = 'pbx-7'")
    for name in "alicia", "bob", "carol":
        here.execute("INSERT INTO app_user (id, role, name, email) VALUES (?, 'organizer', '', '')", name)
        here.execute("INSERT INTO credential VALUES (?, 'old', NULL, NULL, 0, 1)", name)
    here.back_up()
    # Removed, rotated, in an overlap, an overlap that was ended; and one that is as it was, and one that has expired.
    here.execute("DELETE FROM switch_token WHERE switch_id IN ('pbx-1', 'pbx-5', 'pbx-7')")
    here.execute("DELETE FROM switch WHERE id = 'pbx-1'")
    here.execute("UPDATE switch_token SET hash = x'22' WHERE switch_id = 'pbx-2'")
    here.execute("UPDATE switch_token SET expires_at = 9e9 WHERE switch_id = 'pbx-4'")
    here.execute("DELETE FROM credential WHERE user_id = 'bob'")
    here.execute("DELETE FROM app_user WHERE id = 'bob'")
    here.execute("UPDATE credential SET password_hash = 'new', totp_step = 77 WHERE user_id = 'carol'")
    returned = here.restore().returned
    assert returned.switches == ("pbx-1", "pbx-2", "pbx-4", "pbx-5")
    assert (returned.users, returned.passwords) == (("bob",), ("carol",))
    # A code that was used is used.
    assert here.execute("SELECT totp_step FROM credential WHERE user_id = 'carol'") == [(77,)]


# The feed


def test_a_daemon_learns_of_all_that_is_different_and_of_nothing_else(
    here: Installation, alicia: Owner, people: People
) -> None:
    """Changed since, new since, and gone since: each is one more change, after all that it knows."""
    here.publish(Owner(Level.COMPANY, "globaltest"), people(1))
    here.back_up()
    here.publish(alicia, people(5))
    here.publish(Owner(Level.COMPANY, "other"), people(2))
    known = here.position
    here.restore()
    assert sorted(here.changes(known)) == [(Kind.LIST, "company:other"), (Kind.LIST, "organizer:alicia")]
    assert here.list_of(Owner(Level.COMPANY, "other")) == []
    assert here.changes(here.position) == []


def test_nobody_is_unlocked_by_it(here: Installation) -> None:
    """Neither who was unlocked after the copy, nor who was before and has been forgotten since."""

    async def unlock(lockout_id: str) -> None:
        async with open_store(sqlite_url(here.database)) as store, store.writing() as writing:
            assert await writing.unlock([lockout_id], by="eve", at=2.0) == [lockout_id]

    for lockout_id in "before", "after":
        here.execute(
            "INSERT INTO lockout (id, kind, conference_id, switch, at, until, failures, key_id, sealed)"
            " VALUES (?, 'caller', '', '', 1, 9e9, 5, ?, x'00')", lockout_id, here.keyring.current
        )  # fmt: skip
    asyncio.run(unlock("before"))
    here.back_up()
    here.execute("DELETE FROM change WHERE id = 'before'")
    asyncio.run(unlock("after"))
    told = here.execute("SELECT * FROM change WHERE kind = 'unlock'")
    known = here.position
    here.restore()
    assert here.changes(known) == []
    assert here.execute("SELECT * FROM change WHERE kind = 'unlock'") == told


def test_the_feed_never_goes_back_to_a_position_that_it_had(here: Installation, alicia: Owner, people: People) -> None:
    """A daemon that looks away for a while would take the new for what it has."""
    here.publish(alicia, people(4))
    newer = here.copy.with_name("newer.db")
    back_up(here.database, newer, here.keyring.path)
    seen = [here.position]
    for copy in (here.copy, newer, here.copy):
        restore(copy, here.database, here.keyring.path, by="cli:test")
        assert (Kind.LIST, "organizer:alicia") in here.changes(seen[-1])
        seen.append(here.position)
    assert seen == sorted(set(seen))


# Keys and versions


def test_a_copy_of_before_a_rotation_needs_the_key_file_of_then(
    here: Installation, tmp_path: Path, alicia: Owner
) -> None:
    older = tmp_path / "older.key"
    shutil.copy(here.keyring.path, older)

    async def rotate() -> None:
        async with open_store(sqlite_url(here.database)) as store:
            await rotate_key(store, here.keyring)

    asyncio.run(rotate())
    before = rows(here.database, metadata.tables.values())
    with pytest.raises(BackupError, match="does not hold key"):
        here.restore()
    assert rows(here.database, metadata.tables.values()) == before
    here.restore(older_keys=older)
    ring = Keyring.load(here.keyring.path)
    assert ring.key_ids == {ring.current, here.keyring.current}
    assert ring.current != here.keyring.current
    assert len(here.list_of(alicia)) == 3
    asyncio.run(rotate())
    assert Keyring.load(here.keyring.path).key_ids == {ring.current}
    assert len(here.list_of(alicia)) == 3


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        ("UPDATE list_part SET ciphertext = zeroblob(length(ciphertext))", "was damaged or tampered with"),
        ("UPDATE list_revision SET active = 2", "has 3 entries"),
        ("UPDATE alembic_version SET version_num = '9999'", "newer Rollcall"),
        ("DROP TABLE alembic_version", "already exists|holds no Rollcall database"),
    ],
)
def test_a_copy_that_cannot_be_used_changes_nothing(here: Installation, harm: str, problem: str) -> None:
    with closing(sqlite3.connect(here.copy)) as connection, connection:
        connection.execute(harm)
    before = here.database.read_bytes(), sorted(here.database.parent.iterdir())
    with pytest.raises(Exception, match=problem) as told:
        here.restore()
    assert isinstance(told.value, BackupError)
    assert ".rollcall-copy" not in str(told.value)
    assert (here.database.read_bytes(), sorted(here.database.parent.iterdir())) == before


def test_a_damaged_copy_changes_nothing(here: Installation) -> None:
    """Where no list is, and the damage would be found one day only."""
    with closing(sqlite3.connect(here.copy)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'consent'").fetchone()
    with here.copy.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 100)
    before = here.database.read_bytes()
    with pytest.raises(BackupError, match=r"copy\.db is damaged"):
        here.restore()
    assert here.database.read_bytes() == before


@pytest.mark.parametrize("whole", [False, True])
def test_a_rotation_that_comes_in_between_keeps_its_key_or_has_the_copy_refused(
    here: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    """It is over when the copy was looked through and is about to be put back."""
    older = tmp_path / "older.key"
    shutil.copy(here.keyring.path, older)

    async def rotate() -> None:
        async with open_store(sqlite_url(here.database)) as store:
            await rotate_key(store, Keyring.load(here.keyring.path))

    def rotated_first(*arguments: Any, **options: Any) -> Any:
        asyncio.run(rotate())
        return (put_in_place if whole else put_back)(*arguments, **options)

    monkeypatch.setattr("loader.restore.put_in_place" if whole else "loader.restore.put_back", rotated_first)
    with pytest.raises(KeyFileError, match="does not hold key"):
        here.restore(whole=whole)
    (newest,) = Keyring.load(here.keyring.path).key_ids
    assert newest != here.keyring.current
    assert not list(here.database.parent.glob("*.before-*"))
    here.restore(whole=whole, older_keys=older)
    assert len(Keyring.load(here.keyring.path).key_ids) == 2
    assert here.keyring.current in Keyring.load(here.keyring.path).key_ids


def test_where_there_is_no_room_all_stays_as_it_was(here: Installation, small_disk: Path) -> None:
    """The disk is full in the midst of it."""
    database = small_disk / "rollcall.db"
    shutil.copy(here.database, database)
    with closing(sqlite3.connect(database)) as connection:
        before = list(connection.iterdump())
    size = database.stat().st_size
    # Room for what is staged and for what was there, and not for the log of the transaction.
    filling = small_disk / "filling"
    filling.write_bytes(bytes(shutil.disk_usage(small_disk).free - 2 * size - 100_000))
    with pytest.raises((DatabaseUnavailable, BackupError), match=r"disk is full|No space left"):
        restore(here.copy, database, here.keyring.path, by="x")
    filling.unlink()
    with closing(sqlite3.connect(database)) as connection:
        assert list(connection.iterdump()) == before
    assert [file.name for file in small_disk.iterdir() if not file.name.endswith(("-wal", "-shm"))] == ["rollcall.db"]
    restore(here.copy, database, here.keyring.path, by="x")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB; the test is skipped where none can be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", folder], capture_output=True, check=False)


def test_what_is_no_copy_is_refused(here: Installation, tmp_path: Path) -> None:
    for file in (here.keyring.path, tmp_path / "nowhere.db", tmp_path):
        with pytest.raises(BackupError, match="is no copy of a database"):
            restore(file, here.database, here.keyring.path, by="x")
    with pytest.raises(BackupError, match="is the database itself"):
        restore(here.database, here.database, here.keyring.path, by="x")


# All of it


def test_where_there_is_no_database_the_copy_becomes_it(here: Installation, alicia: Owner, people: People) -> None:
    here.database.unlink()
    done = here.restore()
    assert done.former is None
    assert here.list_of(alicia) == people(3)
    assert here.database.stat().st_mode & 0o777 == 0o600
    here.publish(alicia, people(4))
    assert here.execute("PRAGMA integrity_check") == [("ok",)]


def test_the_log_of_the_one_that_is_gone_is_not_applied_to_the_copy(here: Installation, tmp_path: Path) -> None:
    log = here.database.with_name("rollcall.db-wal")
    with closing(sqlite3.connect(here.database, isolation_level=None)) as connection:
        connection.execute("UPDATE company SET name = 'Of the one that is gone'")
        shutil.copy(log, tmp_path / "log")
    here.database.unlink()
    shutil.copy(tmp_path / "log", log)
    here.restore()
    assert ("Of the one that is gone",) not in here.execute("SELECT name FROM company")
    assert here.execute("PRAGMA integrity_check") == [("ok",)]
    (kept,) = here.database.parent.glob("rollcall.db.before-*-wal")
    assert kept.read_bytes() == (tmp_path / "log").read_bytes()


def test_what_stood_in_the_log_is_not_lost_if_it_ends_halfway(
    here: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon was killed, and its log is still there when the copy is put in place."""
    (tmp_path / "left").mkdir()
    log = here.database.with_name("rollcall.db-wal")
    with closing(sqlite3.connect(here.database, isolation_level=None)) as connection:
        connection.execute("UPDATE company SET name = 'Committed'")
        for file in (here.database, log):
            shutil.copy(file, tmp_path / "left")
    for file in (tmp_path / "left").iterdir():
        shutil.copy(file, here.database.parent)
    assert log.stat().st_size

    def killed(*_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("loader.store.restoring.move_into_place", killed)
    with pytest.raises(KeyboardInterrupt):
        here.restore(whole=True)
    assert here.execute("SELECT DISTINCT name FROM company") == [("Committed",)]


def test_the_whole_copy_takes_what_it_had_still_to_send_as_sent(here: Installation) -> None:
    """Nobody knows what was sent since. Pages say so, and whoever wants it sends it again."""
    happen(here)
    here.execute("UPDATE occurrence SET send_asked_at = 1")
    here.back_up()
    rolls = rows(here.database, [metadata.tables["call"], metadata.tables["journal"]])
    here.execute("DELETE FROM call")
    here.execute("UPDATE journal SET segment = 9")
    former = here.restore(whole=True).former
    assert former is not None
    assert former.exists()
    assert rows(here.database, [metadata.tables["call"], metadata.tables["journal"]]) == rolls
    assert here.execute("SELECT next_at, sealed, delivered FROM webhook_delivery") == [(None, None, 0)]
    assert here.execute("SELECT failed FROM invitation") == [("interrupted",)]
    assert here.execute("SELECT send_asked_at, send_failed FROM occurrence") == [(None, "interrupted")]


def test_a_damaged_database_is_replaced_only_if_that_is_said(here: Installation, alicia: Owner) -> None:
    here.database.write_bytes(b"no database any more" * 1000)
    with pytest.raises(BackupError, match=r"is not an SQLite database; to put the copy in its place .* --whole"):
        here.restore()
    former = here.restore(whole=True).former
    assert former is not None
    assert former.read_bytes().startswith(b"no database any more")
    assert len(here.list_of(alicia)) == 3


def test_a_database_of_another_version_is_replaced_only_if_that_is_said(here: Installation) -> None:
    """As to go back to an older version."""
    here.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(BackupError, match=r"newer Rollcall .* --whole"):
        here.restore()
    here.restore(whole=True)
    assert here.execute("SELECT version_num FROM alembic_version") == [(SCHEMA_VERSION,)]


USER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT * FROM company").fetchall()
print("open", flush=True)
sys.stdin.read()
"""


def test_a_database_that_is_in_use_is_not_replaced_as_a_file(here: Installation) -> None:
    """Not even if nobody is at work in it: who has it open would go on with what is no longer there."""
    before = here.database.stat().st_ino
    with subprocess.Popen(
        [sys.executable, "-c", USER, here.database], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == b"open\n"
        with pytest.raises(DatabaseUnavailable, match="is in use; stop daemon and web site"):
            here.restore(whole=True)
        assert here.database.stat().st_ino == before
        assert not list(here.database.parent.glob("*.before-*"))
        user.communicate()
    here.restore(whole=True)
    assert here.database.stat().st_ino != before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_database_keeps_its_owner(here: Installation) -> None:
    os.chown(here.database, 65534, 65534)
    here.restore(whole=True)
    assert here.database.stat().st_uid == 65534
