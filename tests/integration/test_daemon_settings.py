"""SIGHUP: what the daemon takes from settings and key file that were read again, and what it does not."""

import json
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Start
from tests.integration.processes import Daemon, Installation, wait_until
from tests.unit.daemon.faults import not_a_database, renamed

Write = Callable[[dict[str, Any]], Path]


@pytest.fixture
def write(installation: Installation) -> Write:
    """Call it with `section.key` and values: it writes the settings' file. What stands there is in no variable."""

    def write(settings: dict[str, Any]) -> Path:
        file = installation.folder / "rollcall.toml"
        lines = [f"{name} = {json.dumps(value)}\n" for name, value in settings.items()]
        for name in settings:
            installation.environment.pop(f"ROLLCALL_{name.upper().replace('.', '__')}", None)
        file.write_text("".join(lines))
        installation.environment["ROLLCALL_CONFIG"] = str(file)
        return file

    return write


def hang_up(daemon: Daemon) -> dict[str, Any]:
    """Have the settings read again; what the log says then."""
    before = len(daemon.events)
    daemon.signal(signal.SIGHUP)

    def read() -> list[dict[str, Any]]:
        return [line for line in daemon.events[before:] if line["event"].startswith("settings_")]

    wait_until(lambda: bool(read()))
    (line,) = read()
    return line


def test_what_can_change_while_it_runs_is_in_force(installation: Installation, start: Start, write: Write) -> None:
    """The log's level, how often it looks, when it is stale, and how long it drains."""
    slow = {
        "daemon.poll_interval": 0.5,
        "daemon.stale_after": 3600,
        "daemon.drain_timeout": 3600,
        "logs.level": "error",
    }
    write(slow)
    daemon = start().wait_until_ready()
    assert daemon.events == []
    wait_until(lambda: daemon.readiness.json["seconds_since_look"] > 0.3)

    write({"daemon.poll_interval": 0.02, "daemon.stale_after": 0.4, "daemon.drain_timeout": 0, "logs.level": "info"})
    assert hang_up(daemon)["need_restart"] == []
    # With the old interval it would be above 0.3 at some moment of each half second.
    wait_until(lambda: _stays_fresh(daemon, for_seconds=0.7))
    mend = renamed(installation.database)
    wait_until(lambda: daemon.readiness.status == 503, within=5)
    mend()
    daemon.wait_until_ready()
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=10) as connection:
        connection.sendall(b"POST /v1/verify HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        # Answered on another connection: the half has been read by then.
        assert daemon.listens
        assert daemon.stop() == 0


def _stays_fresh(daemon: Daemon, for_seconds: float) -> bool:
    until = time.monotonic() + for_seconds
    while time.monotonic() < until:
        if daemon.readiness.json["seconds_since_look"] > 0.3:
            return False
    return True


def test_what_needs_a_restart_is_named_until_it_is_set_back(
    installation: Installation, token: str, start: Start, write: Write
) -> None:
    """Also when nothing else has changed since it was last read; until then the old value is in force."""
    url = installation.environment["ROLLCALL_DATABASE__URL"]
    started = {"daemon.at_once": True, "database.url": url}
    write(started)
    daemon = start().wait_until_ready()
    write({"daemon.at_once": False, "database.url": "sqlite:////nowhere/rollcall.db", "lists.guessable_share": 0.5})
    for _ in range(2):
        line = hang_up(daemon)
        assert (line["event"], line["need_restart"]) == ("settings_read", ["daemon.at_once", "database.url"])
    installation.environment["ROLLCALL_DATABASE__URL"] = url
    installation.put("5550100", "1234")
    wait_until(lambda: daemon.accepts(token, "5550100"))
    write(started)
    assert hang_up(daemon)["need_restart"] == []


def test_what_is_wrong_leaves_all_as_it_was(installation: Installation, token: str, start: Start, write: Write) -> None:
    """Settings or key file: all of it is told and counted, and nothing of it is taken, not even what is right."""
    good = {"daemon.stale_after": 3600, "logs.level": "info", "key.file": str(installation.key)}
    write(good)
    daemon = start().wait_until_ready()
    file = write({"daemon.stale_after": 0.1, "logs.level": "loud", "daemon.prot": 1})
    line = hang_up(daemon)
    assert (line["event"], line["level"]) == ("settings_refused", "error")
    assert {problem.partition(": ")[0] for problem in line["problems"]} == {f"{file}, line 2", f"{file}, line 3"}

    other = installation.folder / "other.key"
    write({"daemon.stale_after": 0.1, "logs.level": "error", "key.file": str(other)})
    assert "there is no key file" in hang_up(daemon)["problems"][0]
    other.write_text("no key\n")
    other.chmod(0o600)
    assert "line 1 is not a key" in hang_up(daemon)["problems"][0]
    file.unlink()
    assert "cannot be read" in hang_up(daemon)["problems"][0]
    assert daemon.metric("rollcall_settings_failures_total") == 4

    mend = renamed(installation.database)
    wait_until(lambda: daemon.readiness.json["database"] == "down")
    wait_until(lambda: daemon.readiness.json["seconds_since_look"] > 0.2)
    assert daemon.readiness.status == 200
    mend()
    write(good)
    assert hang_up(daemon)["event"] == "settings_read"
    installation.put("5550100")
    assert wait_until(lambda: daemon.accepts(token, "5550100")) < 2


def test_a_key_file_in_another_place_opens_what_could_not_be_opened(
    installation: Installation, token: str, start: Start, write: Write
) -> None:
    """At once, and without a restart."""
    elsewhere = installation.folder / "elsewhere.key"
    write({"key.file": str(installation.key)})
    daemon = start().wait_until_ready()
    installation.rollcall("key", "rotate")
    installation.key.rename(elsewhere)
    write({"key.file": str(elsewhere)})
    installation.put("5550100")
    assert "there is no key file" in daemon.line("list_not_opened")["problem"]
    assert daemon.accepts(token, "004127")
    hang_up(daemon)
    assert wait_until(lambda: daemon.accepts(token, "5550100")) < 1
    assert daemon.metric("rollcall_lists_not_applied") == 0


def test_it_does_not_end_while_it_waits_for_its_database(
    installation: Installation, token: str, start: Start, write: Write
) -> None:
    """What was read then is in force once it is loaded."""
    mend = not_a_database(installation.database)
    write({"daemon.stale_after": 3600})
    daemon = start()
    daemon.line("database_unavailable")
    write({"daemon.stale_after": 0.3})
    assert hang_up(daemon)["event"] == "settings_read"
    mend()
    daemon.wait_until_ready()
    assert daemon.accepts(token, "1234")
    renamed(installation.database)
    wait_until(lambda: daemon.readiness.status == 503, within=5)
