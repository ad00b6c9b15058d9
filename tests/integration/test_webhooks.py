"""A company is told by the real daemon's keeper what happens on its calls, whatever is killed and whoever hangs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from loader.keyring import Keyring
from loader.roll import Admitted, Left
from loader.store import open_store
from loader.store.choices import Choices
from loader.store.rolls import BEGINNING, Progress
from loader.store.taking import RollTaker
from tests.integration.conftest import Start
from tests.integration.processes import Daemon, Installation, free_port, wait_until

DAY = 86400.0


class Receiver:
    """What a company runs, in threads."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.status = 204
        self.released = threading.Event()
        self.released.set()
        self.arrived = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.arrived.set()
                receiver.released.wait(30)
                receiver.heard.append(json.loads(body))
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/rolls"

    def types(self) -> list[str]:
        return [event["type"] for event in self.heard]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.released.set()
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def told(installation: Installation, receiver: Receiver) -> Receiver:
    """The receiver of the company's events."""

    async def choose() -> None:
        async with open_store(f"sqlite:///{installation.database}") as store:
            await Choices(store).set_webhook_secret(Keyring.load(installation.key), "globaltest", b"s" * 32)
            await Choices(store).set_webhook("globaltest", receiver.url)

    asyncio.run(choose())
    return receiver


Begin = Callable[..., Daemon]


@pytest.fixture
def begin(start: Start) -> Begin:
    """Starts a daemon that may tell receivers on this machine."""

    def begin(**settings: str) -> Daemon:
        return start(ROLLCALL_ROLL__WEBHOOK_PRIVATE="true", **settings).wait_until_ready()

    return begin


def verify(daemon: Daemon, token: str, call_id: str) -> None:
    body = json.dumps({"passcode": "7784321", "pin": "004127", "call_id": call_id, "caller": "+15550100"})
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    assert daemon.request("POST", "/v1/verify", body, headers).json["result"] == "accepted"


def tell(daemon: Daemon, token: str, call_id: str, event: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    assert daemon.request("POST", f"/v1/calls/{call_id}/{event}", b"", headers).status == 204


def keeper(daemon: Daemon) -> int:
    pid = daemon.process.pid
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def calls_in(installation: Installation) -> int:
    with closing(sqlite3.connect(installation.database)) as database:
        return int(database.execute("select count(*) from call").fetchone()[0])


def test_a_call_is_told_while_it_is_on(begin: Begin, token: str, told: Receiver) -> None:
    daemon = begin(ROLLCALL_ROLL__QUIET="0.2")
    verify(daemon, token, "1")
    wait_until(lambda: told.types() == ["call.admitted"])
    for event in ("joined", "left"):
        tell(daemon, token, "1", event)
    wait_until(lambda: len(told.heard) == 4)
    assert told.types()[:3] == ["call.admitted", "call.joined", "call.left"]
    assert told.types()[3] == "occurrence.ended"
    assert told.heard[0]["data"]["participant"] == {"first_name": "Mike", "last_name": "Doe"}
    wait_until(lambda: daemon.metric('rollcall_webhooks_total{result="delivered"}') == 4.0)
    assert "555" not in json.dumps(told.heard)
    assert "004127" not in json.dumps(told.heard)
    assert told.url not in daemon.log


def test_what_a_killed_keeper_did_not_tell_the_next_one_does(
    begin: Begin, token: str, told: Receiver, installation: Installation
) -> None:
    told.status = 500
    daemon = begin()
    verify(daemon, token, "1")
    wait_until(lambda: bool(told.heard))
    wait_until(lambda: daemon.metric('rollcall_webhooks_total{result="failed"}') == 1.0)
    os.kill(keeper(daemon), signal.SIGKILL)
    told.status = 204
    wait_until(lambda: daemon.metric('rollcall_webhooks_total{result="delivered"}') == 1.0)
    assert told.types() == ["call.admitted"] * 2
    assert len({event["id"] for event in told.heard}) == 1


def test_a_receiver_that_hangs_delays_no_call_on_its_way_into_the_rolls(
    begin: Begin, token: str, told: Receiver, installation: Installation
) -> None:
    told.released.clear()
    daemon = begin()
    for number in range(20):
        verify(daemon, token, str(number))
    assert told.arrived.wait(30)
    wait_until(lambda: calls_in(installation) == 20)
    verify(daemon, token, "late")
    assert wait_until(lambda: calls_in(installation) == 21) < 2
    assert told.heard == []


def test_two_daemons_tell_each_event_once(begin: Begin, token: str, told: Receiver) -> None:
    first = begin()
    second = begin(ROLLCALL_DAEMON__PORT=str(free_port()), ROLLCALL_DAEMON__OPS_PORT=str(free_port()))
    for number in range(60):
        verify((first, second)[number % 2], token, str(number))
    wait_until(lambda: len(told.heard) >= 60)
    for daemon in (first, second):
        assert daemon.stop() == 0
    assert set(Counter(event["id"] for event in told.heard).values()) == {1}
    assert len(told.heard) == 60


def test_old_rolls_are_gone_soon_after_the_start(begin: Begin, installation: Installation) -> None:
    async def held() -> None:
        async with open_store(f"sqlite:///{installation.database}") as store:
            taker, keyring, now = RollTaker(store, quiet=60.0), Keyring.load(installation.key), time.time()
            events: list[Admitted | Left] = []
            for days in (50, 40, 20):
                at = now - days * DAY
                events += [Admitted(at, f"v{days}", "http", "x", str(days), None, "C-1001"), Left(at, "x", str(days))]
            await taker.apply(keyring, events, "journal", BEGINNING, Progress(1, 1))
            await taker.sweep(now, 1e9)

    asyncio.run(held())
    assert calls_in(installation) == 3
    daemon = begin(ROLLCALL_ROLL__KEEP_DAYS="30")
    wait_until(lambda: calls_in(installation) == 1)
    wait_until(lambda: daemon.has_logged("rolls_erased"))


def test_who_is_forgotten_is_refused_within_a_second(
    begin: Begin, token: str, told: Receiver, installation: Installation
) -> None:
    """While the daemon runs; what was not told yet is never told."""
    told.released.clear()
    daemon = begin()
    verify(daemon, token, "1")
    wait_until(lambda: calls_in(installation) == 1)
    out = installation.rollcall("forget", "--name", "Mike Doe", "--erase")
    assert "calls 1" in out
    assert wait_until(lambda: daemon.metric("rollcall_index_entries") == 0) < 1
    assert not daemon.accepts(token, "004127")
    assert installation.rollcall("forget", "--name", "Mike Doe") == ""
