"""The FastAGI door of a daemon that runs as a process, opened by its settings."""

import asyncio
import signal
import socket

from tests.integration.conftest import Start
from tests.integration.processes import UNCOUNTED, free_port
from tests.unit.daemon.doors.asterisk import Channel, call, environment

CALLED = {"PASSCODE": "7784321", "PIN": "004127"}
BY_NAME = ("var:PASSCODE", "var:PIN")


def asked(port: int, script: str, *arguments: str, keys: str = "", pin: str = "004127") -> Channel:
    channel = Channel(keys, {**CALLED, "PIN": pin})
    return asyncio.run(call(port, environment(script, *arguments), channel))


def test_a_dialplan_is_answered_and_no_pin_is_told_to_anybody_else(start: Start) -> None:
    """Neither the log nor the metrics hold what was keyed, whatever came of it."""
    port = free_port()
    daemon = start(
        **UNCOUNTED,
        ROLLCALL_DOORS__FASTAGI__ENABLED="true",
        ROLLCALL_DOORS__FASTAGI__PORT=str(port),
        ROLLCALL_DOORS__FASTAGI__PROMPTS__PASSCODE="missing",
        ROLLCALL_LOGS__LEVEL="debug",
    ).wait_until_ready()
    assert daemon.line("door_opened")["port"] == port
    assert asked(port, "verify", *BY_NAME).is_admitted
    assert asked(port, "verify", *CALLED.values()).is_admitted
    assert asked(port, "verify", *BY_NAME, pin="9041700553").verdict == {"result": "rejected", "reason": "unknown_pin"}
    assert asked(port, "ivr", keys="9041700554#7784321#9041700555#004127#").is_admitted
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(environment("verify", "7784321\n", "004127"))
        assert connection.recv(4096) == b""
    metrics = daemon.request("GET", "/metrics", ops=True).body.decode()
    assert 'rollcall_verifications_total{door="fastagi",result="accepted"} 3.0' in metrics
    assert 'rollcall_questions_dropped_total{door="fastagi",why="garbage"} 1.0' in metrics
    assert daemon.line("sound_not_found")["setting"] == "doors.fastagi.prompts.passcode"
    for secret in ("7784321", "004127", "90417005"):
        assert secret not in daemon.log
        assert secret not in metrics
    assert daemon.stop() == 0


def test_a_dialogue_under_way_is_closed_when_the_daemon_stops(start: Start) -> None:
    port = free_port()
    daemon = start(
        ROLLCALL_DOORS__FASTAGI__ENABLED="true",
        ROLLCALL_DOORS__FASTAGI__PORT=str(port),
        ROLLCALL_DAEMON__DRAIN_TIMEOUT="0.2",
    ).wait_until_ready()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(environment("ivr"))
        assert b"unfinished" in connection.recv(4096)
        connection.sendall(b"200 result=1\n")
        assert connection.recv(4096).startswith(b"GET DATA")
        daemon.signal(signal.SIGTERM)
        assert connection.recv(4096) == b""
    assert daemon.process.wait(10) == 0


def test_wrong_settings_of_the_door_are_told(start: Start) -> None:
    daemon = start(ROLLCALL_DOORS__FASTAGI__ENABLED="true", ROLLCALL_DOORS__FASTAGI__ALLOW="10.0.0.0/33")
    assert daemon.process.wait(10) == 2
    (line,) = daemon.events[-1:]
    assert line["event"] == "cannot_run"
    assert line["problem"].startswith("doors.fastagi.allow: ")
