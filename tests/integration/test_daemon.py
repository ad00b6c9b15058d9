"""The daemon as a process, with the tool beside it."""

import json
import shutil
import signal
import socket
import sqlite3
import time
from pathlib import Path

import pytest

from tests.integration.conftest import Start
from tests.integration.processes import Daemon, Installation, free_port, wait_until

# From a list to an answer


def test_an_imported_list_is_in_force_within_a_second_of_its_commit(
    installation: Installation, token: str, start: Start
) -> None:
    """By another process; measured from the commit by a metric, and from the end of the import by asking."""
    daemon = start().wait_until_ready()
    assert daemon.accepts(token, "004127")
    for pin in ("5550100", "5550101", "5550102"):
        installation.put(pin)
        assert wait_until(lambda pin=pin: daemon.accepts(token, pin)) < 1.0  # type: ignore[misc]
        last = daemon.metric("rollcall_commit_to_force_last_seconds")
        assert last is not None
        assert last < 1.0
    assert daemon.ask(token, "004127").json["reason"] == "unknown_pin"
    assert daemon.metric('rollcall_commit_to_force_seconds_bucket{le="1.0"}') == 3
    assert daemon.metric("rollcall_index_entries") == 1
    assert daemon.metric('rollcall_verifications_total{door="http",result="unknown_pin"}') is not None


def test_a_token_works_within_a_second_and_is_refused_as_soon_when_it_is_removed(
    installation: Installation, token: str, start: Start
) -> None:
    daemon = start().wait_until_ready()
    new = installation.rollcall("switch", "add", "pbx-2").strip()
    assert wait_until(lambda: daemon.ask(new, "1234").status == 200) < 1.0
    installation.rollcall("switch", "remove", "pbx-2")
    assert wait_until(lambda: daemon.ask(new, "1234").status == 401) < 1.0
    assert daemon.ask(token, "1234").status == 200


def test_status_tells_of_a_daemon_that_runs_and_of_no_other(
    installation: Installation, token: str, start: Start
) -> None:
    daemon = start().wait_until_ready()

    def told() -> list[str]:
        return [one["state"] for one in json.loads(installation.rollcall("status", "--format", "json"))["daemons"]]

    wait_until(lambda: told() == ["up to date"])
    installation.put("99")
    wait_until(lambda: told() == ["up to date"])
    assert daemon.stop() == 0
    assert told() == []


# The start


def test_until_the_lists_are_loaded_it_answers_503(installation: Installation, token: str, start: Start) -> None:
    """It listens at once; a database that cannot be opened yet is waited for."""
    for part in installation.folder.glob("rollcall.db*"):
        part.chmod(0)
    if _is_readable(installation.database):
        # Root reads everything: the file is made into something that no database is.
        content = installation.database.read_bytes()
        installation.database.write_bytes(b"not yet " * 1000)
    else:
        content = None
    daemon = start()
    wait_until(lambda: _answers(daemon))
    answer = daemon.ask(token, "1234")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert answer.headers["content-type"] == "application/problem+json"
    readiness = daemon.readiness
    assert (readiness.status, readiness.json["index"]) == (503, "loading")
    assert daemon.request("GET", "/healthz", ops=True).status == 200
    wait_until(lambda: "problem" in daemon.readiness.json)
    if content is not None:
        installation.database.write_bytes(content)
    for part in installation.folder.glob("rollcall.db*"):
        part.chmod(0o644)
    daemon.wait_until_ready()
    assert daemon.accepts(token, "1234")


def _is_readable(file: Path) -> bool:
    try:
        file.read_bytes()
    except PermissionError:
        return False
    return True


def _answers(daemon: Daemon) -> bool:
    try:
        return daemon.request("GET", "/openapi.json").status == 200
    except OSError:
        return False


def test_wrong_settings_are_told_with_their_line(installation: Installation, start: Start) -> None:
    """All of them, before anything is opened; exit status 2."""
    config = installation.folder / "rollcall.toml"
    config.write_text('[daemon]\npoll_interval = 7\n\n[databse]\nurl = "x"\n')
    daemon = start("--config", str(config))
    assert daemon.process.wait(10) == 2
    first, second = daemon.log.splitlines()
    assert f"{config}, line 2: daemon.poll_interval" in first
    assert f"{config}, line 4: databse: there is no such setting" in second


@pytest.mark.parametrize("setting", ["PORT", "OPS_PORT"])
def test_a_port_in_use_is_told_plainly(installation: Installation, token: str, start: Start, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        daemon = start(**{f"ROLLCALL_DAEMON__{setting}": str(port)})
        assert daemon.process.wait(10) == 1
    (line,) = daemon.events
    assert line["event"] == "cannot_run"
    assert line["problem"] == f"daemon.{setting.lower()}: port {port} on 127.0.0.1 is in use"


def no_database(installation: Installation) -> str:
    installation.database.unlink()
    return "run `rollcall init`"


def newer_database(installation: Installation) -> str:
    with sqlite3.connect(installation.database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    return "made by a newer Rollcall"


def no_key(installation: Installation) -> str:
    installation.key.unlink()
    return "there is no key file"


def open_key(installation: Installation) -> str:
    installation.key.chmod(0o644)
    return "chmod 600"


def other_key(installation: Installation) -> str:
    other = Installation(installation.folder / "other")
    other.folder.mkdir()
    other.rollcall("init")
    shutil.copy(other.key, installation.key)
    return "put that file back"


@pytest.mark.parametrize("break_", [no_database, newer_database, no_key, open_key, other_key])
def test_what_waiting_cannot_mend_ends_it_and_says_what_to_do(
    installation: Installation, token: str, start: Start, break_: object
) -> None:
    """Exit status 1, one line, no traceback."""
    assert callable(break_)
    said = break_(installation)
    daemon = start()
    assert daemon.process.wait(10) == 1
    assert said in daemon.events[-1]["problem"]
    assert daemon.events[-1]["event"] == "cannot_run"
    assert "Traceback" not in daemon.log


# While it runs


def test_without_the_database_it_answers_from_memory_and_says_so(
    installation: Installation, token: str, start: Start
) -> None:
    """At once in the body of /readyz and in a metric; its status follows when the index is stale. It mends itself."""
    daemon = start(ROLLCALL_DAEMON__STALE_AFTER="1").wait_until_ready()
    assert daemon.metric("rollcall_database_up") == 1
    away = installation.folder / "away"
    away.mkdir()
    for part in installation.folder.glob("rollcall.db*"):
        part.rename(away / part.name)
    wait_until(lambda: daemon.readiness.json["database"] == "down", within=2)
    assert "rollcall.db" in daemon.readiness.json["problem"]
    assert daemon.metric("rollcall_database_up") == 0
    wait_until(lambda: daemon.readiness.status == 503, within=3)
    assert daemon.request("GET", "/healthz", ops=True).status == 200
    assert daemon.accepts(token, "004127")
    for part in away.iterdir():
        part.rename(installation.folder / part.name)
    daemon.wait_until_ready()
    assert daemon.metric("rollcall_database_up") == 1
    installation.put("5550100")
    wait_until(lambda: daemon.accepts(token, "5550100"), within=2)
    assert (daemon.has_logged("database_unavailable"), daemon.has_logged("database_back")) == (True, True)


def test_a_database_that_is_locked_for_long_holds_nobody_up(
    installation: Installation, token: str, start: Start
) -> None:
    daemon = start().wait_until_ready()
    connection = sqlite3.connect(installation.database, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    until = time.monotonic() + 2
    while time.monotonic() < until:
        begun = time.monotonic()
        assert daemon.accepts(token, "004127")
        assert time.monotonic() - begun < 1
    connection.execute("COMMIT")
    connection.close()
    assert daemon.is_ready


def test_a_block_that_was_tampered_with_is_not_put_in_force(
    installation: Installation, token: str, start: Start
) -> None:
    daemon = start().wait_until_ready()
    with sqlite3.connect(installation.database) as connection:
        connection.execute("UPDATE list_part SET ciphertext = zeroblob(length(ciphertext))")
        connection.execute("UPDATE feed SET position = position + 1")
        connection.execute("UPDATE change SET position = (SELECT position FROM feed) WHERE kind = 'list'")
    connection.close()
    wait_until(lambda: daemon.metric("rollcall_lists_not_applied") == 1)
    assert daemon.accepts(token, "004127")
    (line,) = [line for line in daemon.events if line["event"] == "list_not_opened"]
    assert line["owner"] == "organizer:alicia"
    assert "damaged or tampered with" in line["problem"]


def test_settings_are_read_again_on_sighup(installation: Installation, token: str, start: Start) -> None:
    """What can change changes, what needs a restart is named, and what is wrong leaves all as it was."""
    config = installation.folder / "rollcall.toml"
    config.write_text("[daemon]\nstale_after = 5.0\n")
    daemon = start("--config", str(config)).wait_until_ready()
    config.write_text(f"[daemon]\nstale_after = 7.0\nport = {free_port()}\nhost = 7\n")
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: daemon.has_logged("settings_refused"))
    (refused,) = [line for line in daemon.events if line["event"] == "settings_refused"]
    assert "line 4: daemon.host" in refused["problems"][0]
    assert daemon.metric("rollcall_settings_failures_total") == 1
    config.write_text('[daemon]\nstale_after = 7.0\nat_once = false\n\n[logs]\nlevel = "warning"\n')
    del daemon
    daemon = start(
        "--config", str(config), ROLLCALL_DAEMON__PORT=str(free_port()), ROLLCALL_DAEMON__OPS_PORT=str(free_port())
    )
    daemon.wait_until_ready()
    config.write_text('[daemon]\nstale_after = 7.0\nat_once = true\n\n[logs]\nlevel = "info"\n')
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: daemon.has_logged("settings_read"))
    (read,) = [line for line in daemon.events if line["event"] == "settings_read"]
    assert read["need_restart"] == ["daemon.at_once"]
    assert daemon.accepts(token, "004127")


# The end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_answers_what_it_has_begun_and_stops_in_order(
    installation: Installation, token: str, start: Start, number: signal.Signals
) -> None:
    daemon = start().wait_until_ready()
    body = json.dumps({"passcode": "7784321", "pin": "004127"}).encode()
    head = (
        f"POST /v1/verify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=10) as connection:
        connection.sendall(head + body[:7])
        # Answered on another connection: the half that was sent before has been read by then.
        assert daemon.accepts(token, "004127")
        daemon.signal(number)
        wait_until(lambda: daemon.has_logged("draining"))
        wait_until(lambda: not _listens(daemon.port))
        connection.sendall(body[7:])
        answer = b""
        while some := connection.recv(65536):
            answer += some
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"result":"accepted"' in answer
    assert daemon.process.wait(10) == 0
    assert daemon.events[-1]["event"] == "stopped"


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def test_it_stops_in_order_while_it_still_waits_for_its_database(
    installation: Installation, token: str, start: Start
) -> None:
    installation.database.write_bytes(b"no database " * 1000)
    daemon = start()
    wait_until(lambda: daemon.has_logged("database_unavailable"))
    assert daemon.stop() == 0


def test_after_a_kill_all_is_as_it_was(installation: Installation, token: str, start: Start) -> None:
    daemon = start().wait_until_ready()
    installation.put("5550100")
    wait_until(lambda: daemon.accepts(token, "5550100"))
    daemon.signal(signal.SIGKILL)
    daemon.process.wait(10)
    daemon = start().wait_until_ready()
    assert daemon.accepts(token, "5550100")
