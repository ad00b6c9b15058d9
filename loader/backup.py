"""Copies of the database that can be relied on: made beside all else, looked through, and put where they belong.

A copy holds what is committed. What is still on its way (events in a daemon's journal, for a second) is not in it, and
neither is the key file: who finds a copy has no PINs.
"""

from __future__ import annotations

import asyncio
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from loader.compiled import Block
from loader.errors import BlockError, DatabaseUnavailable, RollcallError
from loader.keyring import Keyring
from loader.model import Position
from loader.reader import read_lists
from loader.store import SCHEMA_VERSION, open_store, sqlite_file, sqlite_url
from loader.store.copies import Progress, check_integrity, copy_database, is_database, move_into_place, unfinished

MOMENT: Final = "%Y%m%dT%H%M%SZ"
"""How a moment stands in the name of a file, in UTC."""


class BackupError(RollcallError):
    """No copy can be made there, or it cannot be used; nothing was changed."""


class Verified(msgspec.Struct, frozen=True):
    """What a database was found to hold, all of which can be opened with the key file."""

    schema: str
    position: Position
    lists: int
    entries: int
    key_ids: frozenset[str]


class Backup(msgspec.Struct, frozen=True):
    """A finished copy: its bytes, and the seconds that it took. `removed` are older ones that made room."""

    file: Path
    size: int
    seconds: float
    holds: Verified
    removed: tuple[Path, ...]


def database_file(url: str) -> Path:
    """The file to be copied. Raises BackupError if the database is no file, DatabaseError if the URL makes no sense."""
    file = sqlite_file(url)
    if file is None:
        raise BackupError("this is for SQLite; PostgreSQL has tools of its own, such as pg_dump and pg_basebackup")
    return file


def back_up(
    database: Path, target: Path, key_file: Path, *, keep: int | None = None, progress: Progress | None = None
) -> Backup:
    """Copy the database to a file, or, named by the moment, into a folder; the file is whole or as it was.

    Of the copies in that folder the newest `keep` are kept, if that is given. The copy is looked through before it gets
    its name. Raises BackupError, DatabaseError, KeyFileError, BlockError. Not for within an event loop.
    """
    begun = time.perf_counter()
    moment = datetime.now(UTC).strftime(MOMENT)
    file = target / f"{database.stem}-{moment}.db" if target.is_dir() else target
    try:
        _check_place(database, file)
        with unfinished(file.parent) as copy:
            copy_database(database, copy, progress or (lambda _done, _total: None))
            check_integrity(copy)
            holds = asyncio.run(look_through(copy, Keyring.load(key_file)))
            move_into_place(copy, file)
        removed = _make_room(target, database.stem, file, keep) if keep is not None else ()
        return Backup(file, file.stat().st_size, time.perf_counter() - begun, holds, removed)
    except OSError as error:
        raise BackupError(f"{error.filename or file}: {error.strerror or error}") from None


async def look_through(file: Path, keyring: Keyring) -> Verified:
    """See whether a database can be used: its version, the keys, and every list in force.

    Raises DatabaseError, KeyFileError or BlockError with the first that is wrong.
    """
    async with open_store(sqlite_url(file), writable=False) as store:
        key_ids = frozenset(await store.key_ids())
        for key_id in sorted(key_ids):
            keyring = keyring.holding(key_id)
        lists = entries = 0
        async for listed, block in read_lists(store, keyring):
            if not isinstance(block, Block):
                raise block
            if (block.count, block.active_count) != (listed.entries, listed.active):
                raise BlockError(f"the list of {listed.owner} has {block.count} entries instead of {listed.entries}")
            lists += 1
            entries += block.count
        return Verified(SCHEMA_VERSION, await store.position(), lists, entries, key_ids)


def _check_place(database: Path, file: Path) -> None:
    if not database.is_file():
        raise DatabaseUnavailable(f"there is no database {database}")
    if not file.exists():
        return
    if file.samefile(database):
        raise BackupError(f"{file} is the database itself")
    if not file.is_file() or not is_database(file):
        raise BackupError(f"{file} is there and is no copy of a database; it is not replaced")


def _make_room(folder: Path, stem: str, newest: Path, keep: int) -> tuple[Path, ...]:
    """Remove the oldest copies of this database beyond so many, the newest among them; which ones."""
    named = re.compile(re.escape(stem) + r"-\d{8}T\d{6}Z\.db")
    # Whatever the clock says, the newest is the one that was just made.
    others = sorted(file for file in folder.iterdir() if named.fullmatch(file.name) and file.name != newest.name)
    too_many = tuple(others[: max(0, len(others) - (keep - 1))])
    for old in too_many:
        old.unlink(missing_ok=True)
    return too_many
