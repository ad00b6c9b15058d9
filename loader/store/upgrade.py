"""The schema's history, run by Alembic. Imported only where a database is made: Alembic takes long to import."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from loader.errors import DatabaseVersionError

_MIGRATIONS: Final = Path(__file__).parent / "migrations"


def upgrade(connection: Connection, name: str) -> str | None:
    """Bring the schema up to the newest, inside the connection's transaction; the version it had, None if new.

    Raises DatabaseVersionError if the database (called `name`) is newer than this program.
    """
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    version = MigrationContext.configure(connection).get_current_revision()
    known = {step.revision for step in ScriptDirectory.from_config(config).walk_revisions()}
    if version is not None and version not in known:
        raise DatabaseVersionError(f"{name} was made by a newer Rollcall (schema {version})")
    command.upgrade(config, "head")
    return version
