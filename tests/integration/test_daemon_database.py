"""The daemon as a process, while its database comes to harm, is mended, or is another one."""

import json
import sqlite3
import time
from contextlib import closing

from tests.integration.conftest import Start
from tests.integration.processes import Installation, wait_until
from tests.unit.daemon.faults import backup, deleted, restore


def state(installation: Installation) -> str:
    """What `rollcall status` says of the only daemon."""
    (daemon,) = json.loads(installation.rollcall("status", "--format", "json"))["daemons"]
    return str(daemon["state"])


def test_a_database_that_is_deleted_is_told_of_and_its_copy_is_found(
    installation: Installation, token: str, start: Start
) -> None:
    """At once in a metric and in the body of /readyz, later in its status; meanwhile nothing changes for switches."""
    daemon = start(ROLLCALL_DAEMON__STALE_AFTER="0.8").wait_until_ready()
    mend = deleted(installation.database)
    wait_until(lambda: daemon.metric("rollcall_database_up") == 0, within=2)
    readiness = daemon.readiness.json
    assert readiness["database"] == "down"
    assert str(installation.database) in readiness["problem"]
    wait_until(lambda: daemon.readiness.status == 503, within=3)
    readiness = daemon.readiness.json
    assert (readiness["ready"], readiness["index"], readiness["position"]) == (False, "loaded", 4)
    assert readiness["seconds_since_look"] >= 0.8
    assert daemon.accepts(token, "004127")
    assert daemon.ask("rc_no-token-of-a-switch", "004127").status == 401
    assert daemon.line("database_unavailable")["problem"] == readiness["problem"]
    failures = daemon.metric("rollcall_reload_failures_total")
    assert failures is not None
    assert failures >= 2

    mend()
    assert wait_until(lambda: daemon.is_ready, within=5) < 2
    assert daemon.metric("rollcall_database_up") == 1
    daemon.line("database_back")
    installation.put("5550100")
    assert wait_until(lambda: daemon.accepts(token, "5550100")) < 1


def test_an_exclusive_lock_holds_up_changes_and_nothing_else(
    installation: Installation, token: str, start: Start
) -> None:
    """In WAL mode readers go on beside it: the daemon stays ready and fresh, and a change is in force when it came."""
    daemon = start(ROLLCALL_DAEMON__STALE_AFTER="0.5").wait_until_ready()
    with closing(sqlite3.connect(installation.database, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            assert (daemon.readiness.status, daemon.metric("rollcall_database_up")) == (200, 1)
            assert daemon.accepts(token, "004127")
        connection.execute("COMMIT")
    installation.put("5550100")
    assert wait_until(lambda: daemon.accepts(token, "5550100")) < 1


def test_an_empty_database_silences_nobody_until_the_daemon_is_restarted(
    installation: Installation, token: str, start: Start
) -> None:
    """Somebody made a new one in its place. The daemon says what it holds against it."""
    daemon = start().wait_until_ready()
    deleted(installation.database)
    installation.rollcall("init")
    wait_until(lambda: "holds no conference" in daemon.readiness.json.get("problem", ""))
    assert daemon.accepts(token, "004127")
    assert daemon.stop() == 0
    daemon = start().wait_until_ready()
    assert daemon.ask(token, "004127").status == 401
    assert daemon.metric("rollcall_index_conferences") == 0


def test_a_copy_that_is_put_back_is_in_force(installation: Installation, token: str, start: Start) -> None:
    """Written over what is there, as SQLite's own tool does; nothing is left of what came after the copy."""
    daemon = start().wait_until_ready()
    copy = installation.folder / "copy.db"
    backup(installation.database, copy)
    installation.put("5550100")
    wait_until(lambda: daemon.accepts(token, "5550100"))
    restore(copy, installation.database)
    wait_until(lambda: daemon.accepts(token, "004127"), within=2)
    assert daemon.ask(token, "5550100").json["reason"] == "unknown_pin"
    assert daemon.metric("rollcall_loads_total") == 2
    installation.put("5550101")
    assert wait_until(lambda: daemon.accepts(token, "5550101")) < 1


def test_a_list_that_cannot_be_opened_is_mended_by_importing_it_again(
    installation: Installation, token: str, start: Start
) -> None:
    """Until then its last good state is in force, and `rollcall status` does not call the daemon up to date."""
    daemon = start().wait_until_ready()
    with closing(sqlite3.connect(installation.database, isolation_level=None)) as connection:
        # Tampered with in the moment of its commit.
        connection.execute(
            """CREATE TRIGGER tamper AFTER INSERT ON list_part WHEN NEW.owner_id = 'alicia' BEGIN
            UPDATE list_part SET ciphertext = zeroblob(length(ciphertext)) WHERE rowid = NEW.rowid; END"""
        )
        installation.put("5550100")
        connection.execute("DROP TRIGGER tamper")
    line = daemon.line("list_not_opened")
    assert (line["owner"], line["revision"]) == ("organizer:alicia", 2)
    assert daemon.accepts(token, "004127")
    assert daemon.metric("rollcall_lists_not_applied") == 1
    assert (daemon.readiness.status, daemon.readiness.json["lists_not_applied"]) == (200, 1)
    wait_until(lambda: state(installation) == "behind by 1")

    installation.put("5550100", "5550101")
    assert wait_until(lambda: daemon.accepts(token, "5550100")) < 1
    assert daemon.metric("rollcall_lists_not_applied") == 0
    wait_until(lambda: state(installation) == "up to date")


def test_a_key_that_is_rotated_while_it_runs_is_noticed(installation: Installation, token: str, start: Start) -> None:
    """Nothing has to be said to the daemon, and nothing is read again that has not changed."""
    daemon = start().wait_until_ready()
    installation.rollcall("key", "rotate")
    installation.put("5550100")
    assert wait_until(lambda: daemon.accepts(token, "5550100")) < 1
    assert daemon.metric("rollcall_loads_total") == 1
    assert not daemon.has_logged("list_not_opened")
