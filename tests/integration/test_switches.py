"""Switches' tokens with the real programs: rotated while questions flow, bound to addresses, and held to a rate."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from contextlib import closing

from tests.integration.conftest import Start
from tests.integration.processes import Daemon, Installation, wait_until

PIN = "004127"


def ask_from(daemon: Daemon, token: str, address: str) -> int:
    """The status of a question that comes from this address of the loopback."""
    body = json.dumps({"passcode": "7784321", "pin": PIN})
    request = (
        f"POST /v1/verify HTTP/1.1\r\nHost: rollcall\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    )
    with closing(socket.create_connection(("127.0.0.1", daemon.port), 10, source_address=(address, 0))) as asking:
        asking.sendall(request.encode())
        return int(asking.makefile("rb").readline().split()[1])


class Switch(threading.Thread):
    """Asks all the while, with the token that it has been given, on one connection after the other."""

    def __init__(self, daemon: Daemon, token: str) -> None:
        super().__init__()
        self.token = token
        self.statuses: Counter[int] = Counter()
        self._daemon = daemon
        self._enough = threading.Event()

    def run(self) -> None:
        while not self._enough.is_set():
            self.statuses[self._daemon.ask(self.token, PIN).status] += 1

    def asks(self, count: int) -> None:
        """Wait until it has asked so often once more."""
        goal = self.statuses.total() + count
        wait_until(lambda: self.statuses.total() >= goal)

    def end(self) -> None:
        self._enough.set()
        self.join()


def test_a_rotation_with_an_overlap_loses_no_question(installation: Installation, token: str, start: Start) -> None:
    """The old token, then the new one, then the end of the old: whenever it comes, each question is answered."""
    daemon = start().wait_until_ready()
    switch = Switch(daemon, token)
    switch.start()
    try:
        switch.asks(20)
        new = installation.rollcall("switch", "rotate", "pbx-1").strip()
        wait_until(lambda: daemon.accepts(new, PIN), within=1)
        switch.asks(20)
        switch.token = new
        switch.asks(20)
        installation.rollcall("switch", "end-old", "pbx-1")
        wait_until(lambda: daemon.ask(token, PIN).status == 401, within=1)
        switch.asks(20)
    finally:
        switch.end()
    assert set(switch.statuses) == {200}
    assert daemon.line("old_token_used")["switch"] == "pbx-1"
    assert not any(secret in daemon.log for secret in (token, new))


def test_an_overlap_ends_also_while_the_database_is_gone(installation: Installation, token: str, start: Start) -> None:
    daemon = start().wait_until_ready()
    ends = time.time() + 3
    new = installation.rollcall("switch", "rotate", "pbx-1", "--overlap", "3").strip()
    wait_until(lambda: daemon.accepts(new, PIN), within=1)
    installation.database.rename(installation.database.with_suffix(".gone"))
    wait_until(lambda: daemon.readiness.json["database"] == "down")
    wait_until(lambda: daemon.ask(token, PIN).status == 401)
    assert time.time() > ends
    assert daemon.accepts(new, PIN)
    assert daemon.metric('rollcall_tokens_refused_total{door="http",why="expired"}') == 1
    assert daemon.line("token_refused_expired")["switch"] == "pbx-1"


def test_a_bound_token_is_refused_from_another_address(installation: Installation, token: str, start: Start) -> None:
    """As a wrong one is; counted and logged apart, and in force within a second."""
    daemon = start().wait_until_ready()
    assert [ask_from(daemon, token, address) for address in ("127.0.0.1", "127.0.0.2")] == [200, 200]
    installation.rollcall("switch", "set", "pbx-1", "--from", "127.0.0.2", "192.0.2.0/24")
    wait_until(lambda: ask_from(daemon, token, "127.0.0.1") == 401, within=1)
    assert ask_from(daemon, token, "127.0.0.2") == 200
    line = daemon.line("token_refused_address")
    assert (line["switch"], line["address"]) == ("pbx-1", "127.0.0.1")
    assert daemon.metric('rollcall_tokens_refused_total{door="http",why="address"}') == 1
    installation.rollcall("switch", "set", "pbx-1", "--from-anywhere")
    wait_until(lambda: ask_from(daemon, token, "127.0.0.1") == 200, within=1)
    assert token not in daemon.log


def test_a_rate_lets_so_many_through_at_once_and_then_again(
    installation: Installation, token: str, start: Start
) -> None:
    """A rate of the settings, until the switch has one of its own."""
    daemon = start(ROLLCALL_DAEMON__SWITCH_RATE="1").wait_until_ready()
    answers = [daemon.ask(token, PIN) for _ in range(3)]
    assert answers[0].status == 200
    refused = [answer for answer in answers if answer.status == 429]
    assert refused, "three questions do not take as long as a second"
    assert (refused[0].headers["retry-after"], refused[0].json["title"]) == ("1", "Too Many Requests")
    wait_until(lambda: daemon.ask(token, PIN).status == 200, within=3)
    installation.rollcall("switch", "set", "pbx-1", "--no-rate")
    wait_until(lambda: [daemon.ask(token, PIN).status for _ in range(10)] == [200] * 10, within=3)
