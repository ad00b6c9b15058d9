"""Putting a copy of the database back: looked through first, and then in force at once, or nothing is changed."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

from loader.backup import MOMENT, BackupError, Verified, look_through
from loader.errors import DatabaseError, RollcallError
from loader.keyring import Keyring
from loader.store import migrate, open_store, sqlite_url
from loader.store.copies import Progress, check_integrity, copy_database, is_database, unfinished
from loader.store.restoring import Entry, Returned, put_back, put_in_place


class Restored(msgspec.Struct, frozen=True):
    """What was put back. `former` is where what was there before is kept; `schema` is the version that the copy had."""

    holds: Verified
    schema: str
    former: Path | None
    returned: Returned
    seconds: float


def restore(
    copy: Path,
    database: Path,
    key_file: Path,
    *,
    by: str,
    older_keys: Path | None = None,
    whole: bool = False,
    progress: Progress | None = None,
) -> Restored:
    """Put a copy back; of an older version it is migrated first. The copy itself is not changed.

    Into a database that can be used, what was decided goes back, while all runs (see :mod:`loader.store.restoring`). With
    `whole`, or where there is no database, the copy becomes the database, with all it holds. `older_keys` is the key file
    of the copy's time, if keys were rotated since: its keys are added to the key file.

    Raises BackupError, DatabaseError, KeyFileError; all is then as it was. Not for within an event loop.
    """
    begun = time.perf_counter()
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        if not copy.is_file() or not is_database(copy):
            raise BackupError(f"{copy} is no copy of a database")
        if database.exists() and copy.samefile(database):
            raise BackupError(f"{copy} is the database itself")
        with unfinished(database.parent) as staged:
            try:
                holds, schema = _prepared(copy, staged, key_file, older_keys, progress)
            except RollcallError as error:
                raise BackupError(str(error).replace(str(staged), str(copy))) from None
            former = _free_name(f"{database}.before-{datetime.now(UTC).strftime(MOMENT)}")
            entry = Entry(time.time(), by, copy.name, f"position {holds.position}; former database {former.name}")
            into_use = database.exists() and not whole
            if into_use:
                asyncio.run(_check_usable(database))
            ready = partial(_have_keys, key_file, older_keys, holds.key_ids)
            if into_use:
                returned = put_back(staged, database, former, entry, ready)
                return Restored(holds, schema, former, returned, time.perf_counter() - begun)
            was_there = put_in_place(staged, database, former, entry, ready)
            return Restored(holds, schema, former if was_there else None, Returned(), time.perf_counter() - begun)
    except OSError as error:
        raise BackupError(f"{error.filename or database}: {error.strerror or error}") from None


def _prepared(
    copy: Path, staged: Path, key_file: Path, older_keys: Path | None, progress: Progress | None
) -> tuple[Verified, str]:
    """Make of the copy what this program can use; what it holds, and the version that it had."""
    copy_database(copy, staged, progress or (lambda _done, _total: None))
    check_integrity(staged)
    schema = asyncio.run(migrate(sqlite_url(staged)))
    if schema is None:
        raise BackupError(f"{staged} holds no Rollcall database")
    return asyncio.run(look_through(staged, _keys(key_file, older_keys))), schema


def _keys(key_file: Path, older_keys: Path | None) -> Keyring:
    keyring = Keyring.load(key_file)
    return keyring if older_keys is None else keyring.beside(Keyring.load(older_keys))


def _have_keys(key_file: Path, older_keys: Path | None, key_ids: frozenset[str]) -> None:
    """Have these keys in the key file, which may have been rotated a moment ago. Raises KeyFileError."""
    keyring = _keys(key_file, older_keys)
    for key_id in sorted(key_ids - keyring.key_ids):
        raise keyring.lacks(key_id)
    if older_keys is not None:
        keyring.save()


def _free_name(name: str) -> Path:
    """A file of this name, or of one made from it, that is not there yet."""
    names = (Path(name), *(Path(f"{name}-{number}") for number in range(2, 100)))
    return next((file for file in names if not file.exists()), names[-1])


async def _check_usable(database: Path) -> None:
    try:
        async with open_store(sqlite_url(database), writable=False) as store:
            await store.position()
    except DatabaseError as error:
        raise BackupError(f"{error}; to put the copy in its place stop daemon and web site, and give --whole") from None
