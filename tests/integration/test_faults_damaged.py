"""The database's file is damaged or replaced by hand: answers go on, no damaged list comes in force, a good file is found."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.conftest import Start
from tests.integration.processes import Daemon, Installation, wait_until
from tests.integration.site import Site, Visitor
from tests.unit.daemon.faults import backup, put_in_place, remove_log

Befall = Callable[[Installation], None]


def the_header_overwritten(installation: Installation) -> None:
    with installation.database.open("r+b") as file:
        file.write(b"\0" * 100)


def the_middle_overwritten(installation: Installation) -> None:
    size = installation.database.stat().st_size
    with installation.database.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))


def cut_to_half(installation: Installation) -> None:
    size = installation.database.stat().st_size
    with installation.database.open("r+b") as file:
        file.truncate(size // 2)


def emptied(installation: Installation) -> None:
    with installation.database.open("r+b") as file:
        file.truncate(0)


def problems(daemon: Daemon) -> list[str]:
    """What is wrong: it cannot be read, or rolls do not get there."""
    readiness = daemon.readiness.json
    return [readiness[name] for name in ("problem", "rolls_problem") if name in readiness]


def checkpointed(installation: Installation) -> None:
    """All that is committed stands in the database's own file."""
    with closing(sqlite3.connect(installation.database)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@pytest.mark.parametrize("befall", [the_header_overwritten, the_middle_overwritten, cut_to_half, emptied])
@pytest.mark.usefixtures("user")
def test_a_damaged_database_silences_nobody_and_a_good_one_is_found(
    installation: Installation, token: str, start: Start, admin: Callable[..., Site], befall: Befall
) -> None:
    """Nothing is started again, and what was let in meanwhile is on the roll of the good one."""
    daemon, site = start().wait_until_ready(), admin().start().wait_until_ready()
    visitor = Visitor(site.port).sign_in()
    good = installation.folder / "good.db"
    checkpointed(installation)
    backup(installation.database, good)
    befall(installation)

    # Somebody writes, so that nobody is content with what he has read before.
    installation.rollcall("switch", "add", "pbx-2", status=1)
    assert str(installation.database) in installation.said[-1]
    assert daemon.admits(token, "1.1", "004127")
    wait_until(lambda: bool(problems(daemon)))
    assert all(str(installation.database) in problem for problem in problems(daemon))
    assert daemon.metric("rollcall_lists_not_applied") == 0
    refused = visitor.post("/conferences/C-1002/pin-entry", pin_entry="1")
    assert (refused.status, b"database cannot be used" in refused.body) == (503, True)

    put_in_place(good, installation.database)
    wait_until(lambda: daemon.is_ready and daemon.readiness.json["database"] == "up")
    installation.put("5550100")
    wait_until(lambda: daemon.accepts(token, "5550100"))
    wait_until(lambda: "1.1" in call_ids(installation))
    wait_until(lambda: bool(site.ready()["ready"]))
    assert "Traceback" not in daemon.log + site.log


def test_a_log_that_was_cut_loses_its_end_and_nothing_else(
    installation: Installation, token: str, start: Start
) -> None:
    """As a machine that lost its power may leave it: what was committed before is there, whole."""
    with closing(sqlite3.connect(installation.database)) as database:
        # As long as somebody has it open, the log stays.
        database.execute("SELECT count(*) FROM feed").fetchall()
        installation.put("5550100")
        installation.put("5550101")
        log = installation.database.with_name("rollcall.db-wal")
        size, torn = log.stat().st_size, installation.folder / "torn.db"
        shutil.copy(installation.database, torn)
        shutil.copy(log, torn.with_name("torn.db-wal"))
    with torn.with_name("torn.db-wal").open("r+b") as file:
        file.truncate(size - 1000)
    installation.environment["ROLLCALL_DATABASE__URL"] = f"sqlite:///{torn}"
    daemon = start().wait_until_ready()
    assert [daemon.accepts(token, pin) for pin in ("5550100", "5550101")] == [True, False]
    assert daemon.metric("rollcall_lists_not_applied") == 0


@pytest.mark.parametrize("how", ["mv", "cp", "log removed"])
def test_a_copy_that_is_put_in_place_by_hand_silences_nobody(
    installation: Installation, token: str, start: Start, how: str
) -> None:
    """Only `mv` is right, and found at once. A log that is gone is brought into the file, by the last who has it open.

    After `cp` a restart finds what is there.
    """
    copy = installation.folder / "copy.db"
    checkpointed(installation)
    backup(installation.database, copy)
    daemon = start().wait_until_ready()
    installation.put("5550100")
    wait_until(lambda: daemon.accepts(token, "5550100"))
    if how == "mv":
        put_in_place(copy, installation.database)
        wait_until(lambda: daemon.accepts(token, "004127"))
    elif how == "cp":
        shutil.copyfile(copy, installation.database)
    else:
        installation.database.with_name("rollcall.db-wal").unlink()
        wait_until(lambda: is_published(installation))
        wait_until(lambda: daemon.accepts(token, "5550102"))
        installation.put("5550100")
        wait_until(lambda: daemon.accepts(token, "5550100"))
    answers_by_one_of_its_lists(daemon, token)
    daemon.stop()
    remove_log(installation.database)
    again = start().wait_until_ready()
    answers_by_one_of_its_lists(again, token)
    installation.put("5550101")
    wait_until(lambda: again.accepts(token, "5550101"))


def is_published(installation: Installation) -> bool:
    """Whether a list could be published; where it was not, the tool says why."""
    try:
        installation.put("5550102")
    except AssertionError:
        assert f"{installation.database}: its -wal file was deleted while it was in use" in installation.said[-1]
        return False
    return True


def answers_by_one_of_its_lists(daemon: Daemon, token: str) -> None:
    """By the old one or the new, whole."""
    assert [daemon.accepts(token, pin) for pin in ("004127", "1234", "5550100")] in (
        [True, True, False],
        [False, False, True],
    )


def call_ids(installation: Installation) -> list[str]:
    with closing(sqlite3.connect(installation.database)) as database:
        return [row[0] for row in database.execute("SELECT call_id FROM call")]


def test_a_list_that_would_lose_most_of_its_people_is_told_loudly(installation: Installation, tmp_path: Path) -> None:
    """A file that was cut off at the end of a line is in order, as far as anybody can see: how many go is told first."""
    installation.put(*(f"{pin:06}" for pin in range(100)))
    whole = (installation.folder / "list.csv").read_text()
    file = tmp_path / "cut.csv"
    for text in ("", whole[: whole.index("\n") + 1], whole[:2000]):
        file.write_text(text)
        installation.rollcall("import", str(file), "--organizer", "alicia", status=1)
        assert "nothing was changed" in installation.said[-1]
    file.write_text("".join(whole.splitlines(keepends=True)[:31]))
    dry = installation.rollcall("import", str(file), "--organizer", "alicia", "--dry-run")
    assert "remove 70, leave 30" in dry
    assert "loses 70 of its 100 people" in installation.said[-1]
    installation.rollcall("import", str(file), "--organizer", "alicia")
    assert "loses 70 of its 100 people" in installation.said[-1]
