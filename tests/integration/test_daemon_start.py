"""The daemon as a process: how it starts, what keeps it from starting, and how it ends."""

import json
import signal
import socket
import sqlite3
from contextlib import closing

import pytest

from tests.integration.conftest import Start
from tests.integration.processes import Installation, free_port, wait_until
from tests.unit.daemon.faults import execute

MANY = """WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 150000)
    INSERT INTO conference SELECT 'N-' || n, 'alicia', 'New', '9' || n, 0 FROM number"""


def test_while_much_is_loaded_it_answers_503_and_can_be_stopped(
    installation: Installation, token: str, start: Start
) -> None:
    """It listens at once, says that it loads, and that the database answers. Stopped then, it ends in order."""
    execute(installation.database, MANY)
    daemon = start()
    wait_until(lambda: daemon.listens)
    wait_until(lambda: daemon.readiness.json["database"] == "up")
    readiness = daemon.readiness
    assert (readiness.status, readiness.json["ready"], readiness.json["index"]) == (503, False, "loading")
    assert "problem" not in readiness.json
    for answer in (daemon.ask(token, "1234"), daemon.ask("rc_no-token-of-a-switch", "1234")):
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert daemon.request("GET", "/v1/conferences/7784321").status == 503
    assert daemon.request("GET", "/healthz", ops=True).status == 200
    assert daemon.metric("rollcall_index_conferences") == 0
    assert not daemon.has_logged("index_loaded")
    assert daemon.stop() == 0
    events = [line["event"] for line in daemon.events]
    # The load may have come to its end before the signal came.
    assert [event for event in events if event != "index_loaded"] == ["listening", "draining", "stopped"]

    daemon = start().wait_until_ready()
    assert daemon.accepts(token, "1234")
    assert daemon.metric("rollcall_index_conferences") == 150_002


def test_a_database_that_nobody_else_may_read_is_waited_for(
    installation: Installation, token: str, start: Start
) -> None:
    """When the lock is gone it loads by itself. Stopped while it waits, it ends in order."""
    with closing(sqlite3.connect(installation.database, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("UPDATE feed SET position = position")
        daemon = start()
        other = start(ROLLCALL_DAEMON__PORT=str(free_port()), ROLLCALL_DAEMON__OPS_PORT=str(free_port()))
        wait_until(lambda: daemon.listens and other.listens)
        other.signal(signal.SIGTERM)
        other.line("draining")
        assert (daemon.readiness.status, daemon.readiness.json["database"]) == (503, "down")
        assert daemon.ask(token, "1234").status == 503
        connection.execute("COMMIT")
    daemon.wait_until_ready()
    assert daemon.accepts(token, "1234")
    assert other.process.wait(10) == 0


def test_a_database_that_fails_half_way_is_waited_for(installation: Installation, token: str, start: Start) -> None:
    """Nothing of it is in force until all of it is. However often it is tried, it is told once."""
    with closing(sqlite3.connect(installation.database)) as connection:
        ((made,),) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'list_part'").fetchall()
        rows = connection.execute("SELECT * FROM list_part").fetchall()
    execute(installation.database, "PRAGMA foreign_keys = OFF", "DROP TABLE list_part")
    daemon = start()
    told = daemon.line("database_unavailable")
    assert "no such table" in told["problem"]
    assert daemon.ask(token, "1234").status == 503
    wait_until(lambda: "problem" in daemon.readiness.json)
    with closing(sqlite3.connect(installation.database)) as connection, connection:
        connection.execute(made)
        connection.executemany("INSERT INTO list_part VALUES (?, ?, ?, ?, ?)", rows)
    daemon.wait_until_ready()
    assert daemon.accepts(token, "1234")
    assert daemon.line("database_unavailable") == told


def test_a_fault_of_its_own_ends_it_by_way_of_the_log(installation: Installation, start: Start) -> None:
    """One line of JSON with the traceback, and exit status 1."""
    execute(installation.database, "DELETE FROM feed")
    daemon = start()
    assert daemon.process.wait(10) == 1
    line = daemon.line("cannot_run")
    assert line["problem"] == "ValueError"
    assert "Traceback" in line["exception"]
    assert len(daemon.log.splitlines()) == len(daemon.events)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"ROLLCALL_DATABASE__URL": "rollcall.db"}, "database.url is not a URL such as sqlite:///var/rollcall.db"),
        ({"ROLLCALL_DAEMON__OPS_HOST": "192.0.2.1"}, "daemon.ops_port: port "),
    ],
)
def test_a_setting_that_cannot_be_used_ends_it_plainly(
    installation: Installation, start: Start, settings: dict[str, str], said: str
) -> None:
    """Exit status 1, and one line that says why."""
    daemon = start(**settings)
    assert daemon.process.wait(10) == 1
    assert said in daemon.line("cannot_run")["problem"]
    assert "Traceback" not in daemon.log


def test_what_does_not_end_within_its_time_is_left(installation: Installation, token: str, start: Start) -> None:
    """A question that is never sent to its end holds the daemon up no longer than `daemon.drain_timeout`."""
    daemon = start(ROLLCALL_DAEMON__DRAIN_TIMEOUT="0.3").wait_until_ready()
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=10) as connection:
        connection.sendall(b"POST /v1/verify HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert daemon.accepts(token, "1234")
        daemon.signal(signal.SIGTERM)
        wait_until(lambda: daemon.process.poll() is not None, within=5)
    assert daemon.process.returncode == 0
    assert daemon.events[-1]["event"] == "stopped"


def test_a_second_signal_to_stop_changes_nothing(installation: Installation, token: str, start: Start) -> None:
    """Nor does one to read the settings again: what was begun is answered, and readiness says that it stops."""
    daemon = start().wait_until_ready()
    body = json.dumps({"passcode": "7784321", "pin": "004127"}).encode()
    head = (
        f"POST /v1/verify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=10) as connection:
        connection.sendall(head)
        assert daemon.accepts(token, "004127")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            daemon.signal(number)
        daemon.line("settings_read")
        readiness = daemon.readiness
        assert (readiness.status, readiness.json["draining"], readiness.json["index"]) == (503, True, "loaded")
        connection.sendall(body)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert daemon.process.wait(10) == 0
    assert [line["event"] for line in daemon.events].count("draining") == 1
