"""The database copied and put back while daemon, callers and imports are at work; and either of it killed halfway."""

import asyncio
import json
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from loader.backup import back_up
from loader.keyring import Keyring
from loader.model import Entry, Level, Owner, Pin
from loader.publish import publish
from loader.reader import read_list
from loader.store import open_store, sqlite_url
from loader.store.restoring import DECIDED
from tests.integration.conftest import Start
from tests.integration.processes import DIRECTORY, UNCOUNTED, Daemon, Installation, wait_until
from tests.integration.site import Site

ALICIA = Owner(Level.ORGANIZER, "alicia")
KILLS = 8


def rows(file: Path, tables: Any) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(file)) as connection:
        return {
            table.name: sorted(connection.execute(f"SELECT * FROM {table.name}").fetchall(), key=repr)
            for table in tables
        }


def call_ids(installation: Installation) -> Counter[str]:
    """How often each call stands on a roll."""
    with closing(sqlite3.connect(installation.database)) as database:
        return Counter(row[0] for row in database.execute("SELECT call_id FROM call"))


class Load:
    """Callers that are let in or not, one after the other."""

    def __init__(self, daemon: Daemon, token: str) -> None:
        self._daemon, self._token = daemon, token
        self.admitted: list[str] = []
        self.answers = 0

    def call(self, pin: str, over: threading.Event) -> None:
        while not over.is_set():
            call_id = f"{pin}.{self.answers}"
            if self._daemon.admits(self._token, call_id, pin):
                self.admitted.append(call_id)
            self.answers += 1


@contextmanager
def at_work(*work: Callable[[threading.Event], None]) -> Iterator[None]:
    """All of this goes on beside the test, and none of it fails."""
    over = threading.Event()
    failed: list[BaseException] = []

    def run(one: Callable[[threading.Event], None]) -> None:
        try:
            one(over)
        except BaseException as error:  # noqa: BLE001 - told below, in the test's own thread
            failed.append(error)

    threads = [threading.Thread(target=run, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not failed


def test_a_copy_is_made_and_put_back_while_all_else_runs(
    installation: Installation, token: str, start: Start, tmp_path: Path
) -> None:
    """What was decided is byte for byte that of the copy within a second; each call stays on its roll, once."""
    # Many ask for a PIN that is away for a while: they would be locked.
    daemon = start(**UNCOUNTED).wait_until_ready()
    copies = tmp_path / "copies"
    copies.mkdir()
    load = Load(daemon, token)

    def imports(over: threading.Event) -> None:
        file = tmp_path / "company.csv"
        number = 0
        while not over.is_set():
            number += 1
            file.write_text(
                "PIN Entry Code,First Name,Last Name,Company,Phone,Email,City,State/Country,Other\n"
                f"5550{number % 100:02},Ann,Other,XYZ,,,Uxbridge,UK,\n"
            )
            installation.rollcall("import", str(file), "--authorization-code", "3625046")

    with at_work(lambda over: load.call("004127", over), imports):
        wait_until(lambda: len(load.admitted) > 10)
        told = json.loads(installation.rollcall("backup", str(copies), "--format", "json"))
        copy = Path(told["file"])
        assert told["bytes"] == copy.stat().st_size
        before = len(load.admitted)
        wait_until(lambda: len(load.admitted) > before + 10)
    installation.put("5550199")
    wait_until(lambda: daemon.accepts(token, "5550199"))
    assert not daemon.accepts(token, "004127")
    installation.rollcall("switch", "add", "pbx-2")

    with at_work(lambda over: load.call("004127", over)):
        installation.rollcall("restore", str(copy))
        assert wait_until(lambda: daemon.accepts(token, "004127")) < 1
    assert not daemon.accepts(token, "5550199")
    assert rows(installation.database, DECIDED) == rows(copy, DECIDED)
    assert daemon.metric("rollcall_loads_total") == 1
    wait_until(lambda: set(load.admitted) <= set(call_ids(installation)))
    assert call_ids(installation).keys() - {None} == set(load.admitted)
    assert {count for call_id, count in call_ids(installation).items() if call_id} == {1}
    (state,) = json.loads(installation.rollcall("status", "--format", "json"))["daemons"]
    assert state["id"].endswith(str(daemon.port))
    wait_until(
        lambda: json.loads(installation.rollcall("status", "--format", "json"))["daemons"][0]["state"] == "up to date"
    )
    installation.put("5550101")
    assert wait_until(lambda: daemon.accepts(token, "5550101")) < 1


def test_events_that_only_the_journal_has_are_taken_after_the_whole_copy_was_put_back(
    installation: Installation, token: str, start: Start, tmp_path: Path
) -> None:
    """The rolls of the copy are as they were; what came since and still stands in the journal comes once more, once."""
    daemon = start().wait_until_ready()
    assert daemon.admits(token, "1.0", "004127")
    wait_until(lambda: call_ids(installation) == {"1.0": 1})
    installation.rollcall("backup", str(tmp_path / "copy.db"))
    assert daemon.admits(token, "1.1", "004127")
    assert daemon.admits(token, "1.2", "1234")
    wait_until(lambda: call_ids(installation) == {"1.0": 1, "1.1": 1, "1.2": 1})
    installation.rollcall("restore", str(tmp_path / "copy.db"), "--whole", status=1)
    assert "is in use" in installation.said[-1]
    assert daemon.stop() == 0
    installation.rollcall("restore", str(tmp_path / "copy.db"), "--whole")
    assert call_ids(installation) == {"1.0": 1}
    daemon = start().wait_until_ready()
    wait_until(lambda: len(call_ids(installation)) == 3)
    assert daemon.tell(token, "1.2", "left") == 204
    assert daemon.admits(token, "1.3", "004127")
    wait_until(lambda: call_ids(installation) == {"1.0": 1, "1.1": 1, "1.2": 1, "1.3": 1})


def test_a_daemon_takes_over_a_copy_put_where_its_database_was_deleted(
    installation: Installation, token: str, start: Start, tmp_path: Path
) -> None:
    # What is asked until it is there would be locked.
    daemon = start(**UNCOUNTED).wait_until_ready()
    installation.rollcall("backup", str(tmp_path / "copy.db"))
    installation.put("5550199")
    wait_until(lambda: daemon.accepts(token, "5550199"))
    for suffix in ("", "-wal", "-shm"):
        installation.database.with_name(installation.database.name + suffix).unlink(missing_ok=True)
    wait_until(lambda: daemon.metric("rollcall_database_up") == 0)
    assert daemon.accepts(token, "5550199")
    installation.rollcall("restore", str(tmp_path / "copy.db"))
    wait_until(lambda: daemon.accepts(token, "004127"), within=5)
    assert not daemon.accepts(token, "5550199")
    assert daemon.admits(token, "1.0", "004127")
    wait_until(lambda: call_ids(installation)["1.0"] == 1)


def test_the_web_site_goes_on_with_the_copy_and_signs_nobody_in_by_an_old_link(
    installation: Installation, admin: Callable[..., Site], tmp_path: Path
) -> None:
    user = {"id": "alicia", "name": "Alicia", "email": "alicia@example.com", "role": "organizer", "organizer": "alicia"}
    companies = {"company": [DIRECTORY["company"][0] | {"user": [user]}]}
    installation.rollcall("directory", "apply", "-", stdin=json.dumps(companies))
    site = admin()
    site.start()
    wait_until(lambda: site.ready()["ready"])

    def link() -> str:
        return installation.rollcall("user", "link", "alicia").strip().partition("8471")[2]

    old = link()
    assert site.get(old)[0] == 200
    installation.rollcall("backup", str(tmp_path / "copy.db"))
    installation.rollcall("restore", str(tmp_path / "copy.db"))
    assert site.ready()["ready"]
    assert site.get(old)[0] != 200
    assert site.get(link())[0] == 200


# Killed

WORK = """
import sys
from pathlib import Path
from loader.backup import back_up
from loader.restore import restore
import loader.store.upgrade

what, database, copy, key = sys.argv[1], *map(Path, sys.argv[2:5])
print("begun", flush=True)
if what == "backup":
    back_up(database, copy, key)
else:
    restore(copy, database, key, by="killed", whole=what == "whole")
print("done", flush=True)
"""


def killed_after(seconds: float | None, *arguments: object) -> float:
    """Let the work go on for so long, or to its end; how long it took."""
    with subprocess.Popen([sys.executable, "-c", WORK, *map(str, arguments)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        begun = time.perf_counter()
        if seconds is not None:
            time.sleep(seconds)
            process.kill()
        said = process.stdout.read()
        took = time.perf_counter() - begun
        if seconds is None:
            assert said == b"done\n"
    return took


class Big:
    """A database with a list that takes a moment to copy, a copy with another one, and how to tell them apart."""

    def __init__(self, installation: Installation, copy: Path) -> None:
        self.database, self.copy, self.key = installation.database, copy, installation.key
        self.keyring = Keyring.load(self.key)
        self.publish("copied")
        back_up(self.database, copy, self.key)
        self.publish("present")

    def publish(self, name: str) -> None:
        people = [
            Entry(Pin(f"{n:06}"), name, "Doe", "XYZ", "", f"m{n}@example.com", "Uxbridge", "UK", "")
            for n in range(60_000)
        ]

        async def put() -> None:
            async with open_store(sqlite_url(self.database)) as store:
                await publish(store, self.keyring, ALICIA, people, by="test", source="import")

        asyncio.run(put())

    def state(self, database: Path) -> str:
        """What everybody on the list is called, after a look at all of the file."""
        with closing(sqlite3.connect(database)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]

        async def read() -> str:
            async with open_store(sqlite_url(database)) as store:
                block = await read_list(store, self.keyring, ALICIA)
                assert block is not None
                (name,) = {entry.first_name for entry in block.entries()}
                return name

        return asyncio.run(read())


@pytest.fixture
def big(installation: Installation, tmp_path: Path) -> Big:
    return Big(installation, tmp_path / "copy.db")


def test_a_killed_backup_leaves_the_last_copy_or_the_new_one(big: Big, tmp_path: Path) -> None:
    """Eight times, at moments spread over all of it; and what it leaves behind goes with the next one."""
    folder = tmp_path / "copies"
    folder.mkdir()
    copy = folder / "nightly.db"
    copy.write_bytes(big.copy.read_bytes())
    takes = killed_after(None, "backup", big.database, folder / "first.db", big.key)
    moments, found = random.Random(2025), set()
    for kill in range(KILLS):
        killed_after((kill + moments.random()) / KILLS * takes * 1.3, "backup", big.database, copy, big.key)
        found.add(big.state(copy))
        if big.state(copy) == "present":
            copy.write_bytes(big.copy.read_bytes())
    assert "copied" in found
    killed_after(None, "backup", big.database, copy, big.key)
    assert big.state(copy) == "present"
    assert sorted(file.name for file in folder.iterdir()) == ["first.db", "nightly.db"]
    assert big.state(big.database) == "present"


@pytest.mark.parametrize("what", ["restore", "whole"])
def test_a_killed_restore_leaves_what_was_there_or_the_copy(big: Big, what: str) -> None:
    takes = killed_after(None, what, big.database, big.copy, big.key)
    big.publish("present")
    moments, found = random.Random(2026), set()
    for kill in range(KILLS):
        killed_after((kill + moments.random()) / KILLS * takes * 1.3, what, big.database, big.copy, big.key)
        state = big.state(big.database)
        found.add(state)
        if state == "copied":
            big.publish("present")
    assert "present" in found
    killed_after(None, what, big.database, big.copy, big.key)
    assert big.state(big.database) == "copied"
    assert not list(big.database.parent.glob(".rollcall-copy*"))
