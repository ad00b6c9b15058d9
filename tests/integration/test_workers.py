"""Several processes answer on one port, and nobody can tell: what is in force, counted, kept and known is one daemon's."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Any, Final

import pytest

from tests.integration.conftest import Start
from tests.integration.processes import Daemon, Installation, free_port, wait_until
from tests.integration.test_encrypted import Certificates
from tests.integration.test_rolls import Rolls

WORKERS: Final = 3
MANY: Final = 60
"""Connections among which each worker has some: that one has none happens once in 10^10 times."""
PIN: Final = "004127"


@pytest.fixture
def daemon(start: Start) -> Daemon:
    return start("--workers", str(WORKERS)).wait_until_ready()


@pytest.fixture
def rolls(installation: Installation) -> Rolls:
    return Rolls(installation)


def children(pid: int) -> list[int]:
    with suppress(FileNotFoundError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def workers(daemon: Daemon) -> list[int]:
    """The process IDs of those that were forked."""
    return [worker for child in children(daemon.process.pid) for worker in children(child)]


def shares(daemon: Daemon) -> list[float]:
    """How many verifications each process has counted."""
    told = [daemon.metric(f'rollcall_worker_verifications_total{{worker="{number}"}}') for number in range(WORKERS)]
    return [count or 0 for count in told]


def counted(daemon: Daemon, result: str) -> float | None:
    return daemon.metric(f'rollcall_verifications_total{{door="http",result="{result}"}}')


class Switch:
    """Keeps some connections open, among all workers, and asks on them in turn."""

    def __init__(self, port: int, token: str, connections: int, stack: ExitStack, tls: ssl.SSLContext | None = None):
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self.connections: list[http.client.HTTPConnection] = []
        for _ in range(connections):
            one = (
                http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                if tls is None
                else http.client.HTTPSConnection("localhost", port, timeout=20, context=tls)
            )
            stack.enter_context(closing(one))
            one.connect()
            self.connections.append(one)

    def ask(self, at: int, pin: str, caller: str = "", call_id: str | None = None) -> dict[str, Any]:
        """What connection `at` is answered."""
        connection = self.connections[at]
        question = {"passcode": "7784321", "pin": pin, "caller": caller, "call_id": call_id}
        connection.request("POST", "/v1/verify", json.dumps(question), self._headers)
        with connection.getresponse() as answer:
            return {"status": answer.status, **json.loads(answer.read())}

    def tell(self, at: int, call_id: str, event: str) -> int:
        connection = self.connections[at]
        connection.request("POST", f"/v1/calls/{call_id}/{event}", b"", self._headers)
        with connection.getresponse() as answer:
            answer.read()
            return answer.status


@pytest.fixture
def switch(daemon: Daemon, token: str) -> Iterator[Switch]:
    with ExitStack() as stack:
        yield Switch(daemon.port, token, MANY, stack)


def everywhere(switch: Switch, pin: str) -> Counter[str]:
    """What is answered about a PIN on each connection."""
    answers = [switch.ask(at, pin) for at in range(len(switch.connections))]
    return Counter(answer.get("reason", answer["result"]) for answer in answers)


def test_all_answer_and_all_are_counted(daemon: Daemon, switch: Switch) -> None:
    with ThreadPoolExecutor(10) as callers:
        list(callers.map(lambda at: [switch.ask(at, PIN) for _ in range(20)], range(MANY)))
    assert counted(daemon, "accepted") == sum(shares(daemon)) == 20 * MANY
    assert all(shares(daemon))
    assert daemon.metric('rollcall_verification_seconds_count{door="http"}') == 20 * MANY
    for _ in range(30):
        daemon.request("POST", "/v1/verify", "{}", {"Content-Type": "application/json"})
    assert daemon.metric('rollcall_http_requests_refused_total{door="http",status="401"}') == 30
    assert daemon.metric("rollcall_workers") == WORKERS


def test_a_guesser_on_many_connections_is_heard_as_often_as_on_one(daemon: Daemon, switch: Switch) -> None:
    with ThreadPoolExecutor(MANY) as callers:
        answers = list(callers.map(lambda at: switch.ask(at, "9999", "+15550100"), range(MANY)))
    reasons = Counter(answer["reason"] for answer in answers)
    # One that cannot be counted at once is told to wait a second, and learns nothing.
    assert reasons == {"unknown_pin": 5, "locked": MANY - 5}
    assert sorted(answer["attempts_left"] for answer in answers if "attempts_left" in answer) == [0, 1, 2, 3, 4]
    refused = [daemon.metric(f'rollcall_throttle_refused_total{{kind="{kind}"}}') or 0 for kind in ("caller", "busy")]
    assert sum(refused) == MANY - 5
    assert daemon.metric('rollcall_throttle_locked_total{kind="caller"}') == 1


def test_where_the_file_of_counts_cannot_be_had_the_workers_count_together_all_the_same(
    installation: Installation, start: Start, token: str
) -> None:
    (installation.folder / "no folder").touch()
    daemon = start(
        ROLLCALL_DAEMON__WORKERS=str(WORKERS), ROLLCALL_THROTTLE__FILE=str(installation.folder / "no folder" / "counts")
    ).wait_until_ready()
    with ExitStack() as stack:
        test_a_guesser_on_many_connections_is_heard_as_often_as_on_one(daemon, Switch(daemon.port, token, MANY, stack))


def test_a_switch_may_ask_as_often_as_it_may_whoever_answers(installation: Installation, start: Start) -> None:
    rate = 20
    slow = installation.rollcall("switch", "add", "slow", "--rate", str(rate)).strip()
    daemon = start(ROLLCALL_DAEMON__WORKERS=str(WORKERS)).wait_until_ready()
    with ExitStack() as stack:
        switch = Switch(daemon.port, slow, MANY, stack)
        begun = time.monotonic()
        with ThreadPoolExecutor(MANY) as callers:
            told = callers.map(lambda at: [switch.ask(at, PIN)["status"] for _ in range(3)], range(MANY))
            statuses = Counter(status for some in told for status in some)
        took = time.monotonic() - begun
    assert rate <= statuses[200] <= rate * (1 + took) + 1
    assert statuses[200] + statuses[429] == 3 * MANY
    assert daemon.metric('rollcall_http_requests_refused_total{door="http",status="429"}') == statuses[429]


def test_what_is_told_to_be_in_force_is_in_force_at_all(
    installation: Installation, daemon: Daemon, switch: Switch, token: str
) -> None:
    before = daemon.metric("rollcall_position_applied") or 0
    for number in range(5):
        installation.put(f"5555{number}")
        wait_until(lambda: (daemon.metric("rollcall_position_applied") or 0) > before)  # noqa: B023
        assert everywhere(switch, f"5555{number}") == {"accepted": MANY}
        before = daemon.metric("rollcall_position_applied") or 0
    last = daemon.metric("rollcall_commit_to_force_last_seconds")
    assert last is not None
    assert last < 1
    installation.rollcall("switch", "remove", "pbx-1")
    wait_until(lambda: (daemon.metric("rollcall_position_applied") or 0) > before)
    assert {switch.ask(at, "55554")["status"] for at in range(MANY)} == {401}


def test_a_call_that_one_has_let_in_is_known_to_all_at_once(daemon: Daemon, switch: Switch, rolls: Rolls) -> None:
    (keeper,) = [child for child in daemon.keepers if not children(child)]
    os.kill(keeper, signal.SIGSTOP)
    for at in range(MANY):
        assert switch.ask(at, PIN, call_id=f"1.{at}")["result"] == "accepted"
        # By a neighbour, who is another worker in two of three times.
        assert switch.tell((at + 1) % MANY, f"1.{at}", "joined") == 204
    assert switch.tell(0, "1.unknown", "joined") == 404
    for at in range(0, MANY, 2):
        assert switch.tell((at + 2) % MANY, f"1.{at}", "left") == 204
    assert daemon.metric('rollcall_call_events_total{door="http",event="joined"}') == MANY
    os.kill(keeper, signal.SIGCONT)
    # In the order in which it happened, though it stands in three journals.
    wait_until(lambda: len(rolls.call_ids()) == MANY and rolls.read()[0][0].present == MANY // 2)
    ((_, calls),) = rolls.read()
    assert all(call.joined_at is not None for call in calls)
    assert sum(call.left_at is not None for call in calls) == MANY // 2


def test_a_worker_that_is_killed_is_replaced_and_nothing_it_has_counted_is_lost(
    daemon: Daemon, switch: Switch, token: str
) -> None:
    for at in range(MANY):
        switch.ask(at, PIN, call_id=f"1.{at}")
    before = shares(daemon)
    victim = workers(daemon)[0]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(workers(daemon)) == WORKERS - 1 and victim not in workers(daemon))
    assert shares(daemon) == before
    with ExitStack() as stack:
        again = Switch(daemon.port, token, MANY, stack)
        for at in range(MANY):
            assert again.ask(at, PIN)["result"] == "accepted"
            # Also of the calls that the one before it has let in.
            assert again.tell(at, f"1.{at}", "joined") == 204
    assert all(now > then for now, then in zip(shares(daemon), before, strict=True))
    assert daemon.metric("rollcall_workers_restarted_total") == 1
    assert daemon.line("worker_ended")["status"] == -signal.SIGKILL
    assert daemon.is_ready


def test_who_connects_while_a_worker_is_replaced_is_answered(daemon: Daemon, token: str) -> None:
    """Its socket stays open meanwhile, so that only who had been accepted by it has to connect again."""
    over, failed, answered = Event(), [], []

    def call() -> None:
        while not over.is_set():
            try:
                answered.append(daemon.accepts(token, PIN))
            except OSError as error:
                failed.append(error)

    with ThreadPoolExecutor(8) as callers:
        calling = [callers.submit(call) for _ in range(8)]
        for _ in range(5):
            victims = workers(daemon)
            os.kill(victims[0], signal.SIGKILL)
            wait_until(lambda: victims[0] not in workers(daemon) and len(workers(daemon)) == 2)  # noqa: B023
            time.sleep(1.1)
        over.set()
        for one in calling:
            one.result()
    assert all(answered)
    # A connection of each caller may have been in the worker's hands, each time.
    assert len(failed) <= 5 * 8
    assert len(answered) > 20 * len(failed)
    assert not any(isinstance(error, ConnectionRefusedError | TimeoutError) for error in failed)


def test_while_a_worker_cannot_come_back_the_others_answer_everybody(
    daemon: Daemon, installation: Installation, token: str
) -> None:
    """It reads the key file; the others have its keys in memory."""
    elsewhere = installation.key.rename(installation.folder / "elsewhere")
    victim = workers(daemon)[0]
    os.kill(victim, signal.SIGKILL)
    daemon.line("worker_missed")
    assert daemon.metric("rollcall_workers") == WORKERS - 1
    with ExitStack() as stack:
        assert everywhere(Switch(daemon.port, token, MANY, stack), PIN) == {"accepted": MANY}
    elsewhere.rename(installation.key)
    before = shares(daemon)
    wait_until(lambda: len([line for line in daemon.events if line["event"] == "worker_begun"]) == WORKERS)
    with ExitStack() as stack:
        assert everywhere(Switch(daemon.port, token, MANY, stack), PIN) == {"accepted": MANY}
    assert all(now > then for now, then in zip(shares(daemon), before, strict=True))


def test_a_daemon_that_can_replace_nobody_ends_in_order_to_be_started_again(daemon: Daemon, token: str) -> None:
    (nursery,) = [child for child in children(daemon.process.pid) if children(child)]
    forked = workers(daemon)
    os.kill(nursery, signal.SIGKILL)
    assert daemon.process.wait(30) == 1
    assert daemon.has_logged("stopped")
    assert "can no longer be replaced" in daemon.line("cannot_run")["problem"]
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in forked))


def test_a_worker_that_hangs_is_replaced(daemon: Daemon) -> None:
    victim = workers(daemon)[0]
    os.kill(victim, signal.SIGSTOP)
    wait_until(lambda: victim not in workers(daemon) and len(workers(daemon)) == 2, within=40)
    assert daemon.line("worker_killed")["problem"] == "it does not answer"
    assert daemon.is_ready


def test_no_accepted_call_is_lost_whoever_is_killed(start: Start, token: str, rolls: Rolls) -> None:
    """Workers, the main process and the keeper die at any moment while calls come on all connections."""
    moments = random.Random(20261125)
    daemon = start(ROLLCALL_DAEMON__WORKERS=str(WORKERS)).wait_until_ready()
    accepted: list[str] = []
    over = Event()

    def call(caller: int) -> None:
        number = 0
        while not over.is_set():
            number += 1
            with suppress(OSError, http.client.HTTPException, ValueError):
                if daemon.admits(token, f"{caller}-{number}", PIN):
                    accepted.append(f"{caller}-{number}")

    with ThreadPoolExecutor(6) as callers:
        calling = [callers.submit(call, caller) for caller in range(6)]
        for round_ in range(8):
            time.sleep(moments.uniform(0.1, 0.6))
            if round_ == 5:
                daemon.signal(signal.SIGKILL)
                daemon.process.wait(10)
                daemon = start(ROLLCALL_DAEMON__WORKERS=str(WORKERS)).wait_until_ready()
            elif victims := workers(daemon):
                os.kill(moments.choice(victims), signal.SIGKILL)
        over.set()
        for one in calling:
            one.result()
    assert len(accepted) > 200
    wait_until(lambda: rolls.call_ids().keys() >= set(accepted))
    assert set(rolls.call_ids().values()) == {1}


def test_journals_of_workers_that_are_no_more_are_taken(start: Start, token: str, rolls: Rolls) -> None:
    daemon = start(ROLLCALL_DAEMON__WORKERS=str(WORKERS)).wait_until_ready()
    (keeper,) = [child for child in daemon.keepers if not children(child)]
    os.kill(keeper, signal.SIGSTOP)
    with ExitStack() as stack:
        switch = Switch(daemon.port, token, MANY, stack)
        for at in range(MANY):
            assert switch.ask(at, PIN, call_id=f"1.{at}")["result"] == "accepted"
    forked = workers(daemon)
    os.kill(keeper, signal.SIGKILL)
    daemon.signal(signal.SIGKILL)
    daemon.process.wait(10)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in forked))
    assert len(rolls.call_ids()) == 0
    alone = start().wait_until_ready()
    assert all(alone.tell(token, f"1.{at}", "joined") == 204 for at in range(MANY))
    wait_until(lambda: len(rolls.call_ids()) == MANY)


def test_who_was_asking_when_it_was_told_to_stop_is_answered(daemon: Daemon, token: str) -> None:
    question = json.dumps({"passcode": "7784321", "pin": PIN}).encode()
    head = (
        f"POST /v1/verify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(question)}\r\n\r\n"
    ).encode()
    with ExitStack() as stack:
        asking = [
            stack.enter_context(closing(socket.create_connection(("127.0.0.1", daemon.port), 10))) for _ in range(MANY)
        ]
        for connection in asking:
            connection.sendall(head + question[:5])
        # All have begun with them.
        time.sleep(0.3)
        forked = workers(daemon)
        daemon.signal(signal.SIGTERM)
        daemon.line("draining")
        time.sleep(0.3)
        for connection in asking:
            connection.sendall(question[5:])
        answers = [connection.recv(65536) for connection in asking]
    assert all(answer.startswith(b"HTTP/1.1 200 ") and b"accepted" in answer for answer in answers)
    assert daemon.process.wait(20) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in forked)
    assert not daemon.has_logged("worker_gone")


def test_a_stop_under_load_breaks_no_connection(daemon: Daemon, token: str) -> None:
    """Who had connected is answered, though nobody had accepted him yet; who comes later is refused, and tries elsewhere."""
    answered: list[bool] = []
    broken: list[Exception] = []

    def call() -> None:
        while True:
            try:
                answered.append(daemon.accepts(token, PIN))
            except ConnectionRefusedError:
                return
            except (OSError, http.client.HTTPException) as error:
                broken.append(error)

    with ThreadPoolExecutor(16) as callers:
        calling = [callers.submit(call) for _ in range(16)]
        time.sleep(1)
        daemon.signal(signal.SIGTERM)
        for one in calling:
            one.result(20)
    assert daemon.process.wait(20) == 0
    assert len(answered) > 100
    assert all(answered)
    # Between the last look at a socket and its end one may still come.
    assert len(broken) <= 1, broken


def test_a_daemon_that_is_killed_leaves_no_worker_behind(daemon: Daemon) -> None:
    forked = [*workers(daemon), *children(daemon.process.pid)]
    daemon.signal(signal.SIGKILL)
    daemon.process.wait(10)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in forked), within=5)


@contextmanager
def settings_file(folder: Path, text: str) -> Iterator[Path]:
    file = folder / "rollcall.toml"
    file.write_text(text)
    yield file


def test_settings_that_are_read_again_hold_at_all(installation: Installation, start: Start, token: str) -> None:
    with settings_file(installation.folder, "[throttle]\ncaller_limit = 5\n") as file:
        daemon = start("--config", str(file), ROLLCALL_DAEMON__WORKERS=str(WORKERS)).wait_until_ready()
        file.write_text("[throttle]\ncaller_limit = 0\n")
        daemon.signal(signal.SIGHUP)
        daemon.line("settings_read")
        time.sleep(0.2)
        # Also at one that begins later.
        os.kill(workers(daemon)[0], signal.SIGKILL)
        wait_until(lambda: len([line for line in daemon.events if line["event"] == "worker_begun"]) == WORKERS)
        with ExitStack() as stack:
            switch = Switch(daemon.port, token, MANY, stack)
            reasons = Counter(switch.ask(at, "9999", "+15550100")["reason"] for at in range(MANY))
    assert reasons == {"unknown_pin": MANY}


def test_a_port_that_is_in_use_is_told(daemon: Daemon, start: Start) -> None:
    """Though several sockets may be bound to it: those of one daemon."""
    second = start(ROLLCALL_DAEMON__WORKERS="2", ROLLCALL_DAEMON__OPS_PORT=str(free_port()))
    assert second.process.wait(20) == 1
    assert "is in use" in second.line("cannot_run")["problem"]


def test_each_worker_speaks_tls_under_the_certificate_in_force(
    installation: Installation, start: Start, token: str
) -> None:
    certificates = Certificates(installation.folder)
    daemon = start(ROLLCALL_DAEMON__WORKERS=str(WORKERS), **certificates.settings("DAEMON")).wait_until_ready()
    trusting = ssl.create_default_context(cafile=str(certificates.ca))
    with ExitStack() as stack:
        switch = Switch(daemon.port, token, MANY, stack, trusting)
        assert everywhere(switch, PIN) == {"accepted": MANY}
    assert all(shares(daemon))
    with ExitStack() as stack:
        stack.enter_context(pytest.raises(ssl.SSLError))
        Switch(daemon.port, token, 1, stack, ssl.create_default_context())
    wait_until(
        lambda: (
            sum(
                daemon.metric(f'rollcall_handshakes_refused_total{{port="daemon",why="{why}"}}') or 0
                for why in ("refused_by_client", "hung_up")
            )
            == 1
        )
    )
