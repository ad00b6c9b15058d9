"""What befalls a database file, and what is done about it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

Mend = Callable[[], None]


def execute(database: Path, *statements: str) -> None:
    """Change the database behind everybody's back."""
    with closing(sqlite3.connect(database)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def tamper(database: Path, owner_id: str) -> None:
    """Make an owner's list into one that nobody can open."""
    execute(database, f"UPDATE list_part SET ciphertext = zeroblob(length(ciphertext)) WHERE owner_id = '{owner_id}'")


def backup(database: Path, copy: Path) -> None:
    """A whole copy, what stands in the write-ahead log included."""
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


def restore(copy: Path, database: Path) -> None:
    """Write a copy over what the database holds, as `.restore` of SQLite's own tool does."""
    backup(copy, database)


def put_in_place(copy: Path, database: Path) -> None:
    """Put a file in the place of another, with its write-ahead log removed beforehand."""
    shutil.copy(copy, copy.with_suffix(".copy"))
    remove_log(database)
    copy.with_suffix(".copy").replace(database)


def remove(database: Path) -> None:
    """Delete the database, its write-ahead log included."""
    remove_log(database)
    database.unlink()


def remove_log(database: Path) -> None:
    for suffix in ("-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)


# Each of these breaks the database, and gives what mends it.


def renamed(database: Path) -> Mend:
    away = database.with_suffix(".away")
    database.rename(away)

    def mend() -> None:
        away.rename(database)

    return mend


def deleted(database: Path) -> Mend:
    before = database.with_suffix(".before")
    backup(database, before)
    remove(database)
    return lambda: put_in_place(before, database)


def not_a_database(database: Path) -> Mend:
    before, other = database.with_suffix(".before"), database.with_suffix(".other")
    backup(database, before)
    other.write_bytes(b"no database at all" * 100)
    put_in_place(other, database)
    return lambda: put_in_place(before, database)


def a_folder(database: Path) -> Mend:
    mend = deleted(database)
    database.mkdir()

    def back() -> None:
        database.rmdir()
        mend()

    return back


def a_newer_version(database: Path) -> Mend:
    before, newer = database.with_suffix(".before"), database.with_suffix(".newer")
    backup(database, before)
    backup(database, newer)
    execute(newer, "UPDATE alembic_version SET version_num = '9999'")
    put_in_place(newer, database)
    return lambda: put_in_place(before, database)


def without_a_table(database: Path) -> Mend:
    """Conferences can still be read, and lists cannot: reading all of it fails half-way."""
    before, broken = database.with_suffix(".before"), database.with_suffix(".broken")
    backup(database, before)
    backup(database, broken)
    execute(broken, "DROP TABLE list_part", "UPDATE feed SET position = position + 1")
    put_in_place(broken, database)
    return lambda: put_in_place(before, database)
