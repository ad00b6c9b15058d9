"""Connections: what is set up for each kind of database, and how its errors become ours.

Only this module differs between SQLite and PostgreSQL. SQLite is in WAL mode with full synchronisation: a commit is on
the disk when it returns. Its transactions begin explicitly, those that write with BEGIN IMMEDIATE: one that began as
a reader and then wrote would be refused at once instead of waiting for its turn.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import quote

import aiosqlite
from sqlalchemy import URL, Connection, Engine, QueuePool, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from loader.errors import DatabaseError, DatabaseUnavailable

BUSY_TIMEOUT: Final = 5.0
"""Seconds that a transaction waits for another process's, and for a connection where all are in use."""

_DRIVERS: Final = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
_WRITES: Final = "rollcall_writes"
_SAID_BY_SQLITE: Final = {
    "file is not a database": "is not an SQLite database",
    "unable to open database file": "cannot be opened: the file must be there, and its folder be readable and writable",
    "attempt to write a readonly database": "is read-only",
    "database is locked": f"stayed locked by another process for {BUSY_TIMEOUT:g} s",
}
_LOG_DELETED: Final = (
    "its -wal file was deleted while it was in use. All programs let go of it, and go on; if they do not, "
    "end those that use the database, and delete its -shm file"
)


class Watch:
    """Notices that other files stand in an SQLite database's place, for all engines that share it."""

    def __init__(self) -> None:
        self._identity: tuple[_Identity, ...] = ()
        self._seen = 0
        self._pools: list[QueuePool] = []
        self.is_letting_go = False

    def seen(self, file: Path) -> int:
        """Another number whenever the file or its log is another one, or the one of before has come back.

        As long as a connection is open, its log stays where it is: who finds another one writes to a log that
        nobody else reads.
        """
        identity = (_identity(file), _identity(_log_of(file)))
        if identity != self._identity:
            self._identity = identity
            self._seen += 1
        return self._seen

    def share(self, engine: Engine) -> None:
        """Let go of this engine's connections too."""
        if isinstance(engine.pool, QueuePool):
            self._pools.append(engine.pool)

    def let_go(self) -> None:
        """Close what is open and not in use: the last one that SQLite closes brings its log into the file."""
        if self.is_letting_go:
            return
        self.is_letting_go = True
        try:
            for pool in self._pools:
                # Each is taken out in its turn, and found to be an old one.
                for _ in range(pool.checkedin()):
                    with suppress(sqlite3.Error, SQLAlchemyError):
                        pool.connect().close()
        finally:
            self.is_letting_go = False


def connect(
    url: str,
    *,
    writable: bool = True,
    create: bool = False,
    as_it_lies: bool = False,
    watch: Watch | None = None,
) -> AsyncEngine:
    """An engine for a database URL such as `sqlite:///var/rollcall.db`. Nothing is opened yet.

    `create` allows SQLite to make the file. With `as_it_lies` SQLite reads a file that nobody writes to, and neither
    makes nor reads any other beside it. Engines for the same database share a `watch`. Raises DatabaseError if the URL
    makes no sense.
    """
    parsed = _parse(url)
    try:
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(
                Path(str(parsed.database)),
                writable=writable,
                create=create,
                as_it_lies=as_it_lies,
                watch=watch or Watch(),
            )
        settings = {} if writable else {"default_transaction_read_only": "on"}
        return create_async_engine(
            parsed, pool_pre_ping=True, pool_timeout=BUSY_TIMEOUT, connect_args={"server_settings": settings}
        )
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise DatabaseError(f"database.url: {error}") from None


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite database; None for another kind of database. Raises DatabaseError."""
    parsed = _parse(url)
    return Path(str(parsed.database)) if parsed.get_backend_name() == "sqlite" else None


def sqlite_url(file: Path) -> str:
    """The URL of an SQLite database in this file."""
    return f"sqlite:///{file.absolute()}"


def name_of(url: str) -> str:
    """What a database is called in messages: its file, or its URL without the password."""
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        return str(parsed.database)
    return parsed.set(drivername=parsed.get_backend_name()).render_as_string(hide_password=True)


def writing(engine: AsyncEngine) -> AsyncEngine:
    """The same engine for transactions that write."""
    return engine.execution_options(**{_WRITES: True})


@contextmanager
def errors_translated(name: str) -> Iterator[None]:
    """What the database's driver raises becomes DatabaseUnavailable; `name` tells which database."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        # Only the driver's own words: the statement's values stay out.
        said = str(error.orig if isinstance(error, DBAPIError) else error)
        raise DatabaseUnavailable(f"{name}: {_SAID_BY_SQLITE.get(said, said)}") from None
    except PoolTimeout:
        raise DatabaseUnavailable(f"{name}: all connections are in use") from None
    except OSError as error:
        raise DatabaseUnavailable(f"{name}: {error.strerror or error}") from None


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, ValueError):
        raise DatabaseError("database.url is not a URL such as sqlite:///var/rollcall.db") from None
    if backend not in _DRIVERS:
        raise DatabaseError(f"database.url: {backend} is not supported; there are {', '.join(_DRIVERS)}")
    if backend == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise DatabaseError("database.url: a database in memory cannot be shared; name a file")
        if parsed.query or parsed.host:
            raise DatabaseError("database.url: SQLite takes a file's path and nothing else, as in sqlite:////srv/r.db")
        parsed = parsed.set(database=str(Path(parsed.database).expanduser()))
    return parsed.set(drivername=_DRIVERS[backend])


def _sqlite(file: Path, *, writable: bool, create: bool, as_it_lies: bool, watch: Watch) -> AsyncEngine:
    # Without a mode SQLite would put an empty database where none is.
    query = {"uri": "true", "mode": "rwc" if create else "rw"}
    if as_it_lies:
        query |= {"mode": "ro", "immutable": "1"}
    url = URL.create(_DRIVERS["sqlite"], database=f"file:{quote(str(file.absolute()))}", query=query)

    class Opened(sqlite3.Connection):
        """A connection that is set up, and has the log open that others have."""

        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **settings)
            self.isolation_level = None  # transactions begin where `begin` says so
            try:
                # With nothing in between: if the log is deleted now, this makes a second one.
                before = _sides(file)
                if _is_log_deleted(before):
                    raise sqlite3.OperationalError(_LOG_DELETED)
                try:
                    self.execute("PRAGMA journal_mode = WAL" if writable else "PRAGMA query_only = ON")
                    # It reads, so that the log is open from here on.
                    self.execute("PRAGMA synchronous = FULL")
                finally:
                    _check_log_kept(file, before)
                self.execute("PRAGMA foreign_keys = ON")
            except BaseException:
                self.close()
                raise

    waiting = {"timeout": BUSY_TIMEOUT, "async_creator_fn": _opened, "factory": Opened}
    engine = create_async_engine(url, pool_timeout=BUSY_TIMEOUT, connect_args=waiting)
    watch.share(engine.sync_engine)
    _listen(engine.sync_engine, file, watch)
    return engine


async def _opened(*args: Any, **settings: Any) -> aiosqlite.Connection:
    """A new connection. Where that fails or is cancelled, its thread has ended: it must not outlive the loop."""
    connection = aiosqlite.connect(*args, **settings)
    connection._thread.daemon = True  # noqa: SLF001 - as SQLAlchemy does it for its own
    opening = asyncio.ensure_future(connection)
    try:
        return await asyncio.shield(opening)
    except (asyncio.CancelledError, aiosqlite.Error):
        with suppress(aiosqlite.Error):
            await (await opening).close()
        await asyncio.to_thread(connection._thread.join)  # noqa: SLF001
        raise


def _listen(engine: Engine, file: Path, watch: Watch) -> None:
    def opened(_connection: Any, record: Any) -> None:
        record.info["file"] = None if _is_log_deleted(_sides(file)) else watch.seen(file)

    def check_out(_connection: Any, record: Any, _proxy: Any) -> None:
        # A file that was put in place of another, as from a backup, is not what the connection has open.
        if record.info["file"] == watch.seen(file):
            return
        if watch.is_letting_go:
            raise sqlite3.OperationalError(_LOG_DELETED)
        watch.let_go()
        raise DisconnectionError

    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    def give_up(connection: Any, _record: Any, _error: BaseException | None) -> None:
        # As when a task is cancelled in a transaction. Closed alone, the connection would keep its locks for as long as
        # anything refers to one of its cursors, and lock everybody out. To be cancelled once more must not keep it open.
        with suppress(connection.dbapi.Error, asyncio.CancelledError):
            connection.rollback()

    event.listen(engine, "connect", opened)
    event.listen(engine, "checkout", check_out)
    event.listen(engine, "invalidate", give_up)
    event.listen(engine, "begin", begin)


_Identity: TypeAlias = tuple[int, int] | None


def _log_of(file: Path) -> Path:
    return file.with_name(file.name + "-wal")


def _sides(file: Path) -> tuple[_Identity, _Identity]:
    """A database's log, and the index of what is in it. Neither is there while nobody has the database open."""
    index = file.with_name(file.name + "-shm")
    while True:
        # SQLite makes the log before the index, and removes it afterwards.
        before, log, after = _identity(index), _identity(_log_of(file)), _identity(index)
        if before == after:
            return log, after


def _is_log_deleted(sides: tuple[_Identity, _Identity]) -> bool:
    """Whether who opened the database now would start a second log: two with one index destroy the database."""
    log, index = sides
    return log is None and index is not None


def _check_log_kept(file: Path, before: tuple[_Identity, _Identity]) -> None:
    """Raises sqlite3.OperationalError if the log was deleted while it was opened, and there is a second one now."""
    log, index = _sides(file)
    if index is not None and index == before[1] and log != before[0]:
        # Nobody is to take it for the one that the index tells of.
        _log_of(file).unlink(missing_ok=True)
        raise sqlite3.OperationalError(_LOG_DELETED)


def _identity(file: Path) -> _Identity:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
