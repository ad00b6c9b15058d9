"""The schema: made by migrations, checked at every opening."""

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

import loader.store
from loader.errors import DatabaseVersionError
from loader.store import SCHEMA_VERSION, Store, migrate, open_store
from loader.store.engine import connect
from loader.store.tables import metadata


async def differences(url: str) -> list[object]:
    """What the tables of a database have that `tables.py` has not, and the other way round."""

    def compare(connection: Connection) -> list[object]:
        options = {"compare_type": True, "compare_server_default": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    engine = connect(url)
    async with engine.connect() as connection:
        found = await connection.run_sync(compare)
    await engine.dispose()
    return found


async def test_the_migrations_make_the_tables_that_the_program_uses(url: str, tmp_path: Path) -> None:
    """Nothing is missing, nothing is left over; a table or an index taken out would be told."""
    await migrate(url)
    assert await differences(url) == []
    connection = sqlite3.connect(tmp_path / "rollcall.db")
    connection.execute("DROP TABLE key_in_use")
    connection.execute("DROP INDEX ix_conference_organizer_id")
    connection.close()
    assert len(await differences(url)) == 2


def test_the_newest_migration_is_the_version_that_the_program_asks_for() -> None:
    """Whoever adds a migration raises SCHEMA_VERSION with it."""
    migrations = Path(loader.store.__file__).parent / "migrations"
    assert ScriptDirectory(str(migrations)).get_heads() == [SCHEMA_VERSION]


async def test_migrating_again_changes_nothing(store: Store, url: str) -> None:
    """A new database had no version; one that is up to date keeps what it holds."""
    await store.check_version()
    assert await migrate(url) == SCHEMA_VERSION
    assert (await store.counts())["company"] == 2


async def test_two_may_make_a_database_at_once(url: str) -> None:
    """One makes it, the other finds it made."""
    assert sorted(await asyncio.gather(migrate(url), migrate(url)), key=str) == [SCHEMA_VERSION, None]


async def test_folders_with_odd_names_are_no_matter(tmp_path: Path) -> None:
    """Blanks, signs that mean something in a URL, and folders that are not there yet."""
    file = tmp_path / "a b" / "50% é" / "roll#call.db"
    await migrate(f"sqlite:///{file}")
    assert file.exists()
    async with open_store(f"sqlite:///{file}") as store:
        assert await store.position() == 0


async def test_a_relative_path_and_a_home_folder_are_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sqlite:///var/x.db` is below the working folder, `~` is the user's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    await migrate("sqlite:///var/x.db")
    await migrate("sqlite:///~/y.db")
    assert (tmp_path / "var/x.db").exists()
    assert (tmp_path / "home/y.db").exists()


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("0000", "was made by an older Rollcall .schema 0000.; run `rollcall init`"),
        ("9999", "was made by a newer Rollcall .schema 9999"),
        (None, "holds no Rollcall database; run `rollcall init`"),
    ],
)
async def test_another_version_is_refused(url: str, made: Path, tmp_path: Path, version: str | None, said: str) -> None:
    """The error names the database and tells what to do."""
    file = tmp_path / "rollcall.db"
    file.write_bytes(made.read_bytes())
    connection = sqlite3.connect(file)
    with connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,)) if version else None
        connection.execute("DELETE FROM alembic_version") if not version else None
    connection.close()
    with pytest.raises(DatabaseVersionError, match=said) as caught:
        async with open_store(url):
            raise AssertionError("it was opened")
    assert str(caught.value).startswith(str(file))


async def test_a_newer_database_is_not_migrated(url: str, made: Path, tmp_path: Path) -> None:
    """`rollcall init` refuses it too, and leaves it as it is."""
    file = tmp_path / "rollcall.db"
    file.write_bytes(made.read_bytes())
    connection = sqlite3.connect(file)
    with connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    before = file.read_bytes()
    with pytest.raises(DatabaseVersionError, match="was made by a newer Rollcall"):
        await migrate(url)
    assert file.read_bytes() == before


@pytest.mark.parametrize("content", [None, b""])
async def test_where_there_is_no_database_none_is_made_by_opening(
    url: str, tmp_path: Path, content: bytes | None
) -> None:
    """Only `rollcall init` makes one."""
    file = tmp_path / "rollcall.db"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DatabaseVersionError, match="run `rollcall init`"):
        async with open_store(url):
            raise AssertionError("it was opened")
    assert file.exists() == (content is not None)


def test_opening_a_store_does_not_import_alembic() -> None:
    """The tool starts quickly: what only `rollcall init` needs is left alone."""
    code = "import sys, loader.publish, loader.directory, loader.feed; sys.exit('alembic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
