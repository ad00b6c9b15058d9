"""Whole copies of an SQLite database, made while others read and write it.

PostgreSQL has tools of its own for that (`pg_dump`, and base backups with its write-ahead log).
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import quote

from loader.errors import DatabaseError, DatabaseUnavailable
from loader.store.engine import BUSY_TIMEOUT, errors_translated

Progress: TypeAlias = Callable[[int, int], None]
"""Is told how much of how much is done."""

SIDE_FILES: Final = ("-wal", "-shm", "-journal")
"""What SQLite may keep beside a database, by the end of the name."""
_PAGES: Final = 2048
"""Pages that are copied in one step: 8 MB. Each goes to the disk before the next: what piled up would hold up others."""
_UNFINISHED: Final = ".rollcall-copy-"


def copy_database(source: Path, target: Path, progress: Progress = lambda _done, _total: None) -> None:
    """All that is committed in a database, as of one moment, is written to a file that is empty or not yet there.

    Nobody waits for it: the copy reads one state all the while, and writers write on beside it. The file is on the disk
    at the end, and has nothing beside it. Raises DatabaseUnavailable.
    """
    with (
        errors_translated(str(source)),
        opened(source) as read,
        closing(sqlite3.connect(target, isolation_level=None)) as written,
    ):
        # Nobody reads this file before it is whole.
        written.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")
        # Without a transaction of its own the copy would begin anew whenever somebody commits.
        read.execute("BEGIN")
        read.execute("SELECT count(*) FROM sqlite_master").fetchone()

        def stepped(_status: int, left: int, total: int) -> None:
            sync(target)
            progress(total - left, total)

        read.backup(written, pages=_PAGES, progress=stepped)
        # With a write-ahead log it would get files beside it as soon as somebody looks at it.
        written.execute("PRAGMA journal_mode = DELETE")
    sync(target)


def check_integrity(file: Path, *, thorough: bool = True) -> None:
    """Have SQLite look at every page, and unless it is to be quick, whether indexes agree with their tables.

    Raises DatabaseError if it is damaged, DatabaseUnavailable if it cannot be read.
    """
    pragma = "integrity_check" if thorough else "quick_check"
    with errors_translated(str(file)), opened(file) as connection:
        (found,) = connection.execute(f"PRAGMA {pragma}(1)").fetchone()
    if found != "ok":
        # SQLite tells pages and row numbers, no content.
        raise DatabaseError(f"{file} is damaged: {' '.join(found.split())}")


def is_database(file: Path) -> bool:
    """Whether the file begins as an SQLite database does. Raises OSError."""
    with file.open("rb") as begun:
        return begun.read(16) == b"SQLite format 3\0"


@contextmanager
def unfinished(folder: Path) -> Iterator[Path]:
    """An empty file of a name that nobody knows, mode 0600, gone at the end unless it was moved into its place.

    What a process that was killed has left of such files is removed first. Raises OSError.
    """
    for left in folder.glob(f"{_UNFINISHED}*"):
        if not left.name.endswith(SIDE_FILES):
            _remove_left_behind(left)
    handle, name = tempfile.mkstemp(prefix=_UNFINISHED, dir=folder)
    file = Path(name)
    try:
        # The lock says that somebody is at it, and ends with the process.
        flock(handle, LOCK_EX)
        yield file
    finally:
        _remove(file)
        os.close(handle)


def move_into_place(file: Path, target: Path) -> None:
    """Give a finished file its name by one rename, once all of it is on the disk. Raises OSError."""
    sync(file)
    file.replace(target)
    sync(target.parent)


def sync(path: Path) -> None:
    """Have a file's content, or a folder's names, on the disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_left_behind(file: Path) -> None:
    with suppress(OSError):
        handle = os.open(file, os.O_RDONLY)
        try:
            flock(handle, LOCK_EX | LOCK_NB)
            _remove(file)
        finally:
            os.close(handle)


def _remove(file: Path) -> None:
    for suffix in ("", *SIDE_FILES):
        file.with_name(file.name + suffix).unlink(missing_ok=True)


@contextmanager
def opened(file: Path) -> Iterator[sqlite3.Connection]:
    """A database, open to be read and written without its transactions. Raises DatabaseUnavailable."""
    if not file.is_file():
        raise DatabaseUnavailable(f"{file}: there is no such file")
    uri = f"file:{quote(str(file.absolute()))}?mode=rw"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT)) as connection:
        yield connection
