"""What is said when a database cannot be used."""

import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from loader.errors import DatabaseError, DatabaseUnavailable
from loader.model import Switch
from loader.store import Store, migrate, open_store
from loader.store import engine as engines

SWITCH = Switch.new("pbx-1", bytes(32), 0.0)
NOBODY = 65534


@pytest.fixture
def plain_user(made: Path) -> Iterator[Path]:
    """A folder with a database, and a process that is not root's: root may write anything."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "rollcall.db").write_bytes(made.read_bytes())
        (folder / "rollcall.db").chmod(0o644)
        was = os.geteuid()
        if was == 0:
            os.chown(folder, NOBODY, -1)
            os.chown(folder / "rollcall.db", NOBODY, -1)
            os.seteuid(NOBODY)
        try:
            yield folder
        finally:
            folder.chmod(0o755)
            os.seteuid(was)


async def opened(url: str) -> None:
    async with open_store(url) as store:
        await store.add_switch(SWITCH)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "is not a URL"),
        ("var/rollcall.db", "is not a URL"),
        ("sqlite://", "a database in memory cannot be shared; name a file"),
        ("sqlite:///:memory:", "a database in memory cannot be shared; name a file"),
        ("sqlite://var/rollcall.db", "a file's path and nothing else"),
        ("sqlite:///x.db?mode=ro", "a file's path and nothing else"),
        ("mysql://host/db", "mysql is not supported; there are sqlite, postgresql"),
    ],
)
async def test_a_url_that_makes_no_sense_is_refused(url: str, said: str) -> None:
    """The error names the setting; so it does where a database would be made."""
    for use in (opened, migrate):
        with pytest.raises(DatabaseError, match=r"^database\.url") as caught:
            await use(url)
        assert said in str(caught.value)


async def test_a_password_stands_in_no_error() -> None:
    """A database that cannot be reached is named by its URL without the password."""
    assert engines.name_of("postgresql://roll:secret@db.example.com/rollcall") == (
        "postgresql://roll:***@db.example.com/rollcall"
    )


async def test_what_is_not_a_database_is_named(url: str, tmp_path: Path) -> None:
    """A text file is not opened, and not overwritten."""
    file = tmp_path / "rollcall.db"
    file.write_text("a list of people\n" * 100)
    for use in (opened, migrate):
        with pytest.raises(DatabaseUnavailable, match=r"rollcall\.db: is not an SQLite database") as caught:
            await use(url)
        assert str(caught.value).startswith(str(file))
    assert file.read_text().startswith("a list of people")


async def test_a_folder_in_the_database_s_place_is_named(url: str, tmp_path: Path) -> None:
    """It cannot be opened."""
    (tmp_path / "rollcall.db").mkdir()
    with pytest.raises(DatabaseUnavailable, match=r"rollcall\.db: cannot be opened"):
        await opened(url)


async def test_no_thread_outlives_an_opening_that_failed(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would report to a loop that may be closed by then, and print a traceback."""

    class Slow:
        def debug(self, *_: object) -> None:
            if threading.current_thread() is not threading.main_thread():
                time.sleep(0.02)

    monkeypatch.setattr("aiosqlite.core.LOG", Slow())
    (tmp_path / "rollcall.db").mkdir()
    with pytest.raises(DatabaseUnavailable):
        await opened(url)
    assert not [thread for thread in threading.enumerate() if "_connection_worker" in thread.name]


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file stands where the folder should."""
    (tmp_path / "var").write_text("")
    with pytest.raises(DatabaseUnavailable, match=r"var/x\.db: its folder cannot be made: File exists"):
        await migrate(f"sqlite:///{tmp_path}/var/x.db")


async def test_a_folder_that_cannot_be_written_is_named(plain_user: Path) -> None:
    """Neither a new database nor one that is there can be used: SQLite keeps files beside it."""
    plain_user.chmod(0o555)
    with pytest.raises(DatabaseUnavailable, match=r"new\.db: cannot be opened: .* its folder be readable and writable"):
        await migrate(f"sqlite:///{plain_user}/new.db")
    with pytest.raises(DatabaseUnavailable, match=r"new/x\.db: its folder cannot be made: Permission denied"):
        await migrate(f"sqlite:///{plain_user}/new/x.db")
    with pytest.raises(DatabaseUnavailable, match=r"rollcall\.db: "):
        await opened(f"sqlite:///{plain_user}/rollcall.db")


async def test_a_file_that_cannot_be_written_is_named(plain_user: Path) -> None:
    """What is there can be read, and a change says that it cannot be written."""
    (plain_user / "rollcall.db").chmod(0o444)
    async with open_store(f"sqlite:///{plain_user}/rollcall.db") as store:
        assert (await store.counts())["company"] == 2
        with pytest.raises(DatabaseUnavailable, match=r"rollcall\.db: is read-only"):
            await store.add_switch(SWITCH)


async def test_a_file_that_cannot_be_read_is_named(plain_user: Path) -> None:
    """It cannot be opened."""
    (plain_user / "rollcall.db").chmod(0)
    with pytest.raises(DatabaseUnavailable, match=r"rollcall\.db: cannot be opened"):
        await opened(f"sqlite:///{plain_user}/rollcall.db")


def _held(file: Path, seconds: float) -> threading.Thread:
    """Another writer, which has begun and ends after a while."""
    begun = threading.Event()

    def hold() -> None:
        connection = sqlite3.connect(file, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        begun.set()
        time.sleep(seconds)
        connection.execute("COMMIT")
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait()
    return thread


async def test_a_writer_waits_for_another(store: Store, tmp_path: Path) -> None:
    """A transaction of another process holds a writer up, and no reader."""
    thread = _held(tmp_path / "rollcall.db", 0.5)
    begun = time.perf_counter()
    assert await store.switches() == []
    assert time.perf_counter() - begun < 0.4
    await store.add_switch(SWITCH)
    assert time.perf_counter() - begun > 0.4
    thread.join()
    assert await store.switches() == [SWITCH]


async def test_a_writer_does_not_wait_for_ever(
    url: str, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past its patience it says so, nothing has changed, and the next try may succeed."""
    monkeypatch.setattr(engines, "BUSY_TIMEOUT", 0.1)
    (tmp_path / "rollcall.db").write_bytes(made.read_bytes())
    async with open_store(url) as store:
        thread = _held(tmp_path / "rollcall.db", 0.6)
        with pytest.raises(DatabaseUnavailable, match=r"rollcall\.db: stayed locked by another process"):
            await store.add_switch(SWITCH)
        assert await store.switches() == []
        thread.join()
        await store.add_switch(SWITCH)


async def test_a_full_disk_leaves_what_was(store: Store, tmp_path: Path) -> None:
    """A transaction that finds no room has not happened; later ones can."""
    position = await store.position()

    async def too_much() -> None:
        async with store.writing() as writing:
            await writing.insert_rows("company", [{"id": f"c{n}", "name": "x" * 200} for n in range(2000)])

    async with store._writer.connect() as connection:
        pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar_one()
        await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 20}")
    with pytest.raises(DatabaseUnavailable, match=r"rollcall\.db: database or disk is full"):
        await too_much()
    assert (await store.counts())["company"] == 2
    await store.add_switch(SWITCH)
    assert await store.position() == position + 1
