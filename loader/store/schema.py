"""Whether a database is of this program's version, and making it so."""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import Connection, column, inspect, select, table
from sqlalchemy.ext.asyncio import AsyncConnection

from loader.errors import DatabaseUnavailable, DatabaseVersionError
from loader.store import engine as engines
from loader.store.tables import SCHEMA_VERSION


async def migrate(url: str) -> str | None:
    """Make the database, or bring it up to date, in one transaction; the version that it had, None if it is new.

    Raises DatabaseUnavailable, or DatabaseVersionError if it is newer than this program.
    """
    from loader.store.upgrade import upgrade  # noqa: PLC0415 - Alembic is slow to import, and needed only here

    file = engines.sqlite_file(url)
    if file is not None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseUnavailable(f"{file}: its folder cannot be made: {error.strerror}") from None
        if not file.exists():
            # SQLite would let everybody on the machine read it. Where this fails, it says why.
            with suppress(OSError):
                file.touch(mode=0o600)
    name = engines.name_of(url)
    engine = engines.connect(url, create=True)
    try:
        with engines.errors_translated(name):
            async with engines.writing(engine).begin() as connection:
                return await connection.run_sync(upgrade, name)
    finally:
        await engine.dispose()


async def check_version(connection: AsyncConnection, name: str) -> None:
    """Raises DatabaseVersionError unless the schema is the one that this program was written for."""
    version = await connection.run_sync(_version)
    if version is None:
        raise DatabaseVersionError(f"{name} holds no Rollcall database; run `rollcall init`")
    if version < SCHEMA_VERSION:
        raise DatabaseVersionError(f"{name} was made by an older Rollcall (schema {version}); run `rollcall init`")
    if version > SCHEMA_VERSION:
        raise DatabaseVersionError(
            f"{name} was made by a newer Rollcall (schema {version}; this program knows {SCHEMA_VERSION})"
        )


def _version(connection: Connection) -> str | None:
    versions = table("alembic_version", column("version_num"))
    if not inspect(connection).has_table(versions.name):
        return None
    version: str | None = connection.execute(select(versions.c.version_num)).scalar()
    return version
