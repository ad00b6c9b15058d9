"""Copies of the database: whole, looked through, and put where they belong."""

import asyncio
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from loader.backup import BackupError, back_up, database_file
from loader.errors import BlockError, DatabaseError, DatabaseUnavailable, DatabaseVersionError, KeyFileError
from loader.keyring import Keyring
from loader.model import Entry, Owner
from loader.publish import publish
from loader.rotate import rotate_key
from loader.store import open_store, sqlite_url
from loader.store.copies import copy_database, unfinished

People = Callable[..., list[Entry]]


@pytest.fixture
def database(made: Path, tmp_path: Path, keyring: Keyring, alicia: Owner, people: People) -> Path:
    """The example, with a list of three."""
    file = tmp_path / "rollcall.db"
    shutil.copy(made, file)

    async def fill() -> None:
        async with open_store(sqlite_url(file)) as store:
            await publish(store, keyring, alicia, people(3), by="test", source="import")

    asyncio.run(fill())
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "copies"
    made.mkdir()
    return made


def rows(file: Path) -> list[str]:
    """All that a database holds, as SQL."""
    with closing(sqlite3.connect(file)) as connection:
        return list(connection.iterdump())


def test_a_copy_holds_what_the_database_holds_and_is_its_owners_alone(
    database: Path, folder: Path, keyring: Keyring
) -> None:
    done = back_up(database, folder, keyring.path)
    assert rows(done.file) == rows(database)
    assert done.file.stat().st_mode & 0o777 == 0o600
    # By its header it has no write-ahead log: nothing is put beside it by whoever looks at it.
    assert done.file.read_bytes()[18:20] == b"\1\1"
    assert list(folder.iterdir()) == [done.file]
    assert (done.holds.lists, done.holds.entries, done.size) == (1, 3, done.file.stat().st_size)


def test_what_stands_in_the_write_ahead_log_is_in_the_copy(database: Path, folder: Path, keyring: Keyring) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("INSERT INTO company VALUES ('late', 'Late')")
        connection.commit()
        assert database.with_name("rollcall.db-wal").stat().st_size
        done = back_up(database, folder, keyring.path)
    with closing(sqlite3.connect(done.file)) as copy:
        assert copy.execute("SELECT name FROM company WHERE id = 'late'").fetchall() == [("Late",)]


def test_a_copy_is_of_one_moment_however_much_is_written_meanwhile(database: Path, tmp_path: Path) -> None:
    """A writer commits after each step; the copy neither begins anew nor makes him wait."""
    with closing(sqlite3.connect(database, isolation_level=None, timeout=0)) as writer:
        writer.execute("CREATE TABLE filling (one)")
        writer.execute("INSERT INTO filling VALUES (zeroblob(50000000))")
        steps: list[int] = []

        def wrote(done: int, _total: int) -> None:
            steps.append(done)
            writer.execute("INSERT INTO company VALUES (?, '')", (f"new-{len(steps)}",))

        copy_database(database, tmp_path / "copy.db", wrote)
        assert len(steps) > 4
        assert steps == sorted(set(steps))
        with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
            assert copy.execute("SELECT id FROM company ORDER BY id").fetchall() == [("globaltest",), ("other",)]
        assert len(writer.execute("SELECT id FROM company").fetchall()) == 2 + len(steps)


def test_a_file_is_replaced_as_a_whole(database: Path, folder: Path, keyring: Keyring) -> None:
    file = folder / "nightly.db"
    back_up(database, file, keyring.path)
    first = file.stat().st_ino
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("INSERT INTO company VALUES ('late', 'Late')")
    assert back_up(database, file, keyring.path).file == file
    assert file.stat().st_ino != first
    assert rows(file) == rows(database)


def test_only_the_newest_copies_are_kept_and_nothing_else_is_touched(
    database: Path, folder: Path, keyring: Keyring
) -> None:
    mine = [folder / f"rollcall-2026010{day}T000000Z.db" for day in range(1, 6)]
    others = [folder / name for name in ("rollcall-20260101T000000Z.db.txt", "other-20260101T000000Z.db", "x.db")]
    for file in (*mine, *others):
        file.write_bytes(b"")
    done = back_up(database, folder, keyring.path, keep=3)
    assert done.removed == tuple(mine[:3])
    assert sorted(folder.iterdir()) == sorted([*mine[3:], *others, done.file])


def test_the_copy_that_was_just_made_is_kept_whatever_the_clock_says(
    database: Path, folder: Path, keyring: Keyring
) -> None:
    later = folder / "rollcall-29990101T000000Z.db"
    later.touch()
    done = back_up(database, folder, keyring.path, keep=1)
    assert done.removed == (later,)
    assert list(folder.iterdir()) == [done.file]


def test_a_copy_that_cannot_be_used_gets_no_name_and_removes_nothing(
    database: Path, folder: Path, keyring: Keyring, tmp_path: Path
) -> None:
    older = folder / "rollcall-20260101T000000Z.db"
    older.write_bytes(b"")
    other = Keyring.create(tmp_path / "other.key")
    with pytest.raises(KeyFileError, match="does not hold key"):
        back_up(database, folder, other.path, keep=1)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE list_part SET ciphertext = zeroblob(length(ciphertext))")
    with pytest.raises(BlockError, match="was damaged or tampered with"):
        back_up(database, folder, keyring.path, keep=1)
    assert list(folder.iterdir()) == [older]


def test_all_keys_that_the_copy_needs_must_be_there(database: Path, folder: Path, keyring: Keyring) -> None:
    """Also those that no list in force is under."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE key_in_use SET key_id = '0123456789ab'")
    with pytest.raises(KeyFileError, match="does not hold key 0123456789ab"):
        back_up(database, folder, keyring.path)


def test_a_list_whose_counts_do_not_agree_is_told(database: Path, folder: Path, keyring: Keyring) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE list_revision SET entries = 4")
    with pytest.raises(BlockError, match="has 3 entries instead of 4"):
        back_up(database, folder, keyring.path)


def test_damaged_pages_are_told(database: Path, folder: Path, keyring: Keyring) -> None:
    with database.open("r+b") as file:
        file.seek(-2 * 4096, os.SEEK_END)
        file.write(b"\xff" * 4096)
    with pytest.raises(DatabaseError, match=r"damaged|malformed"):
        back_up(database, folder, keyring.path)
    assert not list(folder.iterdir())


async def test_a_rotation_is_followed(database: Path, folder: Path, keyring: Keyring) -> None:
    async with open_store(sqlite_url(database)) as store:
        await rotate_key(store, keyring)
    done = await asyncio.to_thread(back_up, database, folder, keyring.path)
    assert done.holds.entries == 3


def test_what_is_no_copy_is_not_replaced(database: Path, folder: Path, keyring: Keyring) -> None:
    """A slip of the hand costs neither the key file nor the database."""
    key = keyring.path.read_bytes()
    with pytest.raises(BackupError, match="is no copy of a database; it is not replaced"):
        back_up(database, keyring.path, keyring.path)
    with pytest.raises(BackupError, match="is the database itself"):
        back_up(database, database, keyring.path)
    link = folder / "link.db"
    link.hardlink_to(database)
    with pytest.raises(BackupError, match="is the database itself"):
        back_up(database, link, keyring.path)
    assert keyring.path.read_bytes() == key


def test_places_that_are_not_there_are_told(database: Path, tmp_path: Path, keyring: Keyring) -> None:
    with pytest.raises(BackupError, match="No such file or directory"):
        back_up(database, tmp_path / "nowhere" / "x.db", keyring.path)
    with pytest.raises(DatabaseUnavailable, match="there is no database"):
        back_up(tmp_path / "nowhere.db", tmp_path / "x.db", keyring.path)
    (tmp_path / "new.db").touch()
    with pytest.raises(DatabaseVersionError, match="holds no Rollcall database"):
        back_up(tmp_path / "new.db", tmp_path / "x.db", keyring.path)
    assert not (tmp_path / "x.db").exists()


def test_postgresql_has_tools_of_its_own() -> None:
    with pytest.raises(BackupError, match="pg_dump"):
        database_file("postgresql://db.example.com/rollcall")


def test_what_a_killed_process_has_left_is_removed_and_what_another_works_on_is_not(
    folder: Path,
) -> None:
    left = [folder / f".rollcall-copy-left{suffix}" for suffix in ("", "-wal", "-shm", "-journal")]
    for file in left:
        file.touch()
    held, told = threading.Event(), threading.Event()
    at_work: list[Path] = []

    def work() -> None:
        with unfinished(folder) as file:
            at_work.append(file)
            held.set()
            told.wait(10)

    thread = threading.Thread(target=work)
    thread.start()
    held.wait(10)
    with unfinished(folder) as file:
        assert sorted(folder.iterdir()) == sorted([*at_work, file])
    told.set()
    thread.join()
    assert not list(folder.iterdir())
