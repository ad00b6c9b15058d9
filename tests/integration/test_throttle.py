"""Guessing, at real daemons: what one has counted holds at another, after a kill, and until somebody unlocks."""

from __future__ import annotations

import json
import signal

from tests.integration.conftest import Start
from tests.integration.processes import Daemon, Installation, free_port, wait_until

RIGHT, WRONG = "004127", "9999"


def told(daemon: Daemon, token: str, pin: str, caller: str = "+15550100") -> str:
    """The result or, of a rejection, its reason."""
    body = json.dumps({"passcode": "7784321", "pin": pin, "caller": caller})
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    answer = daemon.request("POST", "/v1/verify", body, headers).json
    return str(answer.get("reason", answer["result"]))


def test_who_is_locked_stays_so_over_a_kill_and_at_another_daemon_until_he_is_unlocked(
    installation: Installation, token: str, start: Start
) -> None:
    """Both daemons hear of it within a second; the keeper has told the tool who waits."""
    first = start().wait_until_ready()
    assert [told(first, token, WRONG) for _ in range(6)] == ["unknown_pin"] * 5 + ["locked"]
    assert first.metric('rollcall_throttle_locked_total{kind="caller"}') == 1
    assert first.metric('rollcall_throttle_refused_total{kind="caller"}') == 1
    wait_until(lambda: "+15550100" in installation.rollcall("locked"))
    second = start(
        ROLLCALL_DAEMON__PORT=str(free_port()), ROLLCALL_DAEMON__OPS_PORT=str(free_port())
    ).wait_until_ready()
    assert told(second, token, RIGHT) == "locked"
    assert told(second, token, RIGHT, "+15550101") == "accepted"
    first.signal(signal.SIGKILL)
    first.process.wait(10)
    first = start().wait_until_ready()
    assert told(first, token, RIGHT) == "locked"
    installation.rollcall("unlock", "--caller", "+15550100")
    for daemon in (first, second):
        wait_until(lambda: told(daemon, token, RIGHT) == "accepted")  # noqa: B023
    assert "+15550100" not in installation.rollcall("locked")
    assert "+15550100" not in first.log + second.log


def test_a_daemon_that_was_down_is_told_when_it_starts_that_somebody_was_unlocked(
    installation: Installation, token: str, start: Start
) -> None:
    daemon = start().wait_until_ready()
    for _ in range(5):
        told(daemon, token, WRONG)
    wait_until(lambda: "+15550100" in installation.rollcall("locked"))
    assert daemon.stop() == 0
    installation.rollcall("unlock", "--all")
    daemon = start().wait_until_ready()
    wait_until(lambda: told(daemon, token, RIGHT) == "accepted")


def test_where_the_file_cannot_be_had_a_daemon_counts_alone_and_says_so(
    installation: Installation, token: str, start: Start
) -> None:
    (installation.folder / "taken").write_text("a file, where a folder is wanted")
    daemon = start(ROLLCALL_THROTTLE__FILE=str(installation.folder / "taken" / "throttle")).wait_until_ready()
    assert daemon.line("throttle_not_kept")["level"] == "error"
    assert [told(daemon, token, WRONG) for _ in range(6)] == ["unknown_pin"] * 5 + ["locked"]


def test_new_limits_are_read_on_sighup(installation: Installation, token: str, start: Start) -> None:
    settings = installation.folder / "rollcall.toml"
    settings.write_text("[throttle]\ncaller_limit = 5\n")
    daemon = start("--config", str(settings)).wait_until_ready()
    assert told(daemon, token, WRONG) == "unknown_pin"
    settings.write_text("[throttle]\ncaller_limit = 2\n")
    daemon.signal(signal.SIGHUP)
    assert daemon.line("settings_read")["need_restart"] == []
    assert [told(daemon, token, WRONG), told(daemon, token, WRONG)] == ["unknown_pin", "locked"]
