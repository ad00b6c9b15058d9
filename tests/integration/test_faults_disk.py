"""Disks that are full or read-only: callers are let in, who edits is told, and all goes on once there is room."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from tests.integration.conftest import Start
from tests.integration.disks import Disk, mounted
from tests.integration.manager import Manager
from tests.integration.processes import Daemon, Installation, wait_until
from tests.integration.site import Site, Visitor, add_user

_NOT_NOW: Final = b"The database cannot be used at the moment. Nothing was changed"


@pytest.fixture
def database_disk(tmp_path: Path) -> Iterator[Disk]:
    with mounted(tmp_path / "database") as disk:
        yield disk


@pytest.fixture
def journal_disk(tmp_path: Path) -> Iterator[Disk]:
    with mounted(tmp_path / "journal", files=500) as disk:
        yield disk


@pytest.fixture
def installation(
    made: tuple[Installation, str], tmp_path: Path, database_disk: Disk, journal_disk: Disk
) -> Installation:
    """An installation whose database and journal each have a small disk of their own."""
    shutil.copy(made[0].database, database_disk.folder)
    shutil.copy(made[0].key, tmp_path)
    installation = Installation(
        tmp_path,
        ROLLCALL_DATABASE__URL=f"sqlite:///{database_disk.folder / 'rollcall.db'}",
        ROLLCALL_ROLL__JOURNAL=str(journal_disk.folder / "journal"),
    )
    installation.database = database_disk.folder / "rollcall.db"
    add_user(installation)
    return installation


def call_ids(installation: Installation) -> list[str]:
    """The calls on rolls."""
    with closing(sqlite3.connect(f"file:{installation.database}?mode=ro", uri=True)) as database:
        return sorted(row[0] for row in database.execute("SELECT call_id FROM call"))


def admit(daemon: Daemon, token: str, first: int, count: int) -> list[str]:
    """Let callers in; their IDs."""
    ids = [f"1.{number:04}" for number in range(first, first + count)]
    assert all(daemon.admits(token, call_id, "004127") for call_id in ids)
    return ids


def is_sound(installation: Installation) -> bool:
    with closing(sqlite3.connect(installation.database)) as database:
        return bool(database.execute("PRAGMA integrity_check").fetchall() == [("ok",)])


@pytest.mark.parametrize("full", ["database", "journal", "both"])
def test_with_a_full_disk_callers_are_let_in_and_all_arrives_once_there_is_room(
    installation: Installation,
    token: str,
    start: Start,
    admin: Callable[..., Site],
    database_disk: Disk,
    journal_disk: Disk,
    full: str,
) -> None:
    disks = {"database": [database_disk], "journal": [journal_disk], "both": [database_disk, journal_disk]}[full]
    daemon, site = start().wait_until_ready(), admin().start().wait_until_ready()
    visitor = Visitor(site.port).sign_in()
    ids = admit(daemon, token, 0, 5)
    wait_until(lambda: call_ids(installation) == ids)
    assert daemon.metric("rollcall_rolls_kept") == 1
    for disk in disks:
        disk.fill()

    # More than fits into what is left of the last page of a file.
    ids += admit(daemon, token, 5, 100)
    wait_until(lambda: daemon.metric("rollcall_rolls_kept") == 0)
    said = daemon.readiness.json["rolls_problem"]
    assert "full" in said or "No space left" in said, said
    assert daemon.readiness.status == 200
    assert daemon.has_logged("rolls_not_kept" if full == "database" else "journal_not_written")
    assert b"004127" in visitor.get("/lists/organizer/alicia").body
    edited = visitor.post("/conferences/C-1002/pin-entry", pin_entry="1")
    if full == "journal":
        assert edited.status == 303
        assert (daemon.metric("rollcall_roll_events_waiting") or 0) > 0
    else:
        assert (edited.status, _NOT_NOW in edited.body) == (503, True)
        installation.rollcall("switch", "add", "pbx-2", status=1)
        assert "full" in installation.said[-1]
        told = daemon.request("GET", "/v1/conferences/7784322", headers={"Authorization": f"Bearer {token}"}).json
        assert told["pin_entry"] is False

    for disk in disks:
        disk.empty()
    wait_until(lambda: call_ids(installation) == ids)
    wait_until(lambda: daemon.metric("rollcall_rolls_kept") == 1)
    assert "rolls_problem" not in daemon.readiness.json
    assert daemon.metric("rollcall_roll_events_dropped_total") == 0
    assert visitor.post("/conferences/C-1002/pin-entry", pin_entry="0").status == 303
    assert is_sound(installation)
    assert "Traceback" not in site.log + daemon.log


def test_a_disk_without_room_for_one_more_file_stops_nobody(
    installation: Installation, token: str, start: Start, journal_disk: Disk
) -> None:
    daemon = start(ROLLCALL_ROLL__JOURNAL_LIMIT="1000000").wait_until_ready()
    ids = admit(daemon, token, 0, 1)
    wait_until(lambda: call_ids(installation) == ids)
    journal_disk.fill_with_files()
    # The journal's file is there already, and another may not be made.
    ids += admit(daemon, token, 1, 200)
    wait_until(lambda: call_ids(installation) == ids)
    assert daemon.stop() == 0
    again = start(ROLLCALL_ROLL__JOURNAL_LIMIT="1000000").wait_until_ready()
    ids += admit(again, token, 201, 10)
    wait_until(lambda: again.metric("rollcall_rolls_kept") == 0)
    journal_disk.empty()
    wait_until(lambda: call_ids(installation) == ids)


@pytest.mark.parametrize("full", ["database", "journal"])
def test_on_a_full_disk_a_daemon_can_be_started(
    installation: Installation, token: str, start: Start, database_disk: Disk, journal_disk: Disk, full: str
) -> None:
    daemon = start().wait_until_ready()
    ids = admit(daemon, token, 0, 1)
    wait_until(lambda: call_ids(installation) == ids)
    assert daemon.stop() == 0
    disk = database_disk if full == "database" else journal_disk
    disk.fill()
    again = start()
    wait_until(lambda: again.listens and again.readiness.json["index"] == "loaded")
    ids += admit(again, token, 1, 100)
    wait_until(lambda: again.metric("rollcall_rolls_kept") == 0)
    assert again.readiness.status == (503 if full == "database" else 200)
    disk.empty()
    again.wait_until_ready()
    wait_until(lambda: call_ids(installation) == ids)


def test_on_a_read_only_disk_a_daemon_can_be_started_and_all_arrives_once_it_can_be_written(
    installation: Installation,
    token: str,
    start: Start,
    admin: Callable[..., Site],
    database_disk: Disk,
    tmp_path: Path,
) -> None:
    """As a file system makes itself after an error; then the machine was started again."""
    database_disk.make_writable(writable=False)
    with closing(Manager(tmp_path, watchdog=1.0)) as manager:
        daemon = start(**manager.environment)
        assert manager.until("READY")["STATUS"].startswith("Answers from memory")
    wait_until(lambda: daemon.listens and daemon.readiness.json["index"] == "loaded")
    ids = admit(daemon, token, 0, 20)
    wait_until(lambda: daemon.metric("rollcall_rolls_kept") == 0)
    assert (daemon.readiness.status, daemon.metric("rollcall_database_up")) == (503, 0)
    site = admin().start()
    assert site.process.wait(30) == 1
    installation.rollcall("switch", "add", "pbx-2", status=1)
    for said in site.log, installation.said[-1], daemon.readiness.json["problem"], daemon.log:
        assert str(installation.database) in said
    database_disk.make_writable(writable=True)
    daemon.wait_until_ready()
    wait_until(lambda: call_ids(installation) == ids)
    site.start().wait_until_ready()
    assert "Traceback" not in site.log + daemon.log
