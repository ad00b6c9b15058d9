"""Many connections, idle ones, half-sent heads, clients that read nothing, and no files left: who asks is answered."""

from __future__ import annotations

import json
import os
import resource
import selectors
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import pytest

from tests.integration.conftest import Start
from tests.integration.processes import Daemon, Installation, wait_until
from tests.integration.programs import missing, program
from tests.integration.site import Site, Visitor

_MANY: Final = 10_000
_HALF: Final = 500
_ASKED: Final = 500
_TIMES: Final = 10
_PER_CONNECTION: Final = 16 * 1024
"""Bytes that the daemon may need for each connection."""


@pytest.fixture
def files() -> Iterator[None]:
    """As many open files as this system lets a process have. Skips the test where those are too few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < _MANY + 1000:
        missing("files", f"a process may have only {hard} files open here")
    most = max(soft, _MANY + 1000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Asker:
    """A switch with one connection, which it keeps."""

    def __init__(self, port: int, token: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        body = json.dumps({"passcode": "7784321", "pin": "004127"})
        self.question = (
            f"POST /v1/verify HTTP/1.1\r\nHost: rollcall\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    def took(self, times: int) -> list[float]:
        """How long so many questions took, in seconds, one after the other."""
        all_of_them = []
        for _ in range(times):
            begun = time.perf_counter()
            self._socket.sendall(self.question)
            assert b'"result":"accepted"' in self._socket.recv(65536)
            all_of_them.append(time.perf_counter() - begun)
        return all_of_them

    def close(self) -> None:
        self._socket.close()


def now_and_then(asker: Asker) -> list[float]:
    """How long questions took that were asked some at a time: in between the keeper does what it has to."""
    took = []
    for _ in range(_TIMES):
        time.sleep(0.15)
        took += asker.took(_ASKED // _TIMES)
    return took


def quickest(took: list[float]) -> float:
    """The lowest of the medians of all times: what else runs on the same cores makes answers take twice as long."""
    some = _ASKED // _TIMES
    return min(statistics.median(took[at : at + some]) for at in range(0, len(took), some))


def resident(pid: int) -> int:
    """Bytes of memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def cpu(pid: int) -> float:
    """Seconds that a process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def are_closed(connections: list[socket.socket]) -> int:
    """How many of these the other side has closed."""
    count = 0
    with selectors.DefaultSelector() as ready:
        for connection in connections:
            ready.register(connection, selectors.EVENT_READ)
        for key, _ in ready.select(0):
            with suppress(BlockingIOError):
                try:
                    count += not key.fileobj.recv(65536, socket.MSG_PEEK)  # type: ignore[union-attr]
                except ConnectionError:
                    count += 1
    return count


def test_beside_ten_thousand_idle_connections_a_question_is_answered_as_fast(
    token: str, start: Start, files: None
) -> None:
    """A half-sent head is given up in time, an idle connection is kept, and each costs little memory."""
    daemon = start(ROLLCALL_DAEMON__MAX_CONNECTIONS="10100", ROLLCALL_DAEMON__HEAD_TIMEOUT="3").wait_until_ready()
    with closing(Asker(daemon.port, token)) as asker:
        asker.took(_ASKED)
        before = now_and_then(asker)
        memory = resident(daemon.process.pid)
        connections = [socket.create_connection(("127.0.0.1", daemon.port)) for _ in range(_MANY)]
        try:
            half = connections[:_HALF]
            for connection in half:
                connection.sendall(asker.question[:40])
            beside = now_and_then(asker)
            wait_until(lambda: are_closed(half) == _HALF)
            assert are_closed(connections[_HALF:]) == 0
            beside += now_and_then(asker)
            memory = (resident(daemon.process.pid) - memory) // _MANY
        finally:
            for connection in connections:
                connection.close()
    medians = quickest(before), quickest(beside)
    print(f"alone {medians[0] * 1e3:.2f} ms, beside {medians[1] * 1e3:.2f} ms; {memory} bytes a connection")
    assert medians[1] < 2 * medians[0]
    assert sorted(beside)[-len(beside) // 100] < 0.05
    assert memory < _PER_CONNECTION
    wait_until(lambda: daemon.metric('rollcall_http_requests_refused_total{door="http",status="408"}') == _HALF)


def test_for_one_connection_too_many_the_one_goes_that_was_idle_for_longest(token: str, start: Start) -> None:
    daemon = start(ROLLCALL_DAEMON__MAX_CONNECTIONS="20").wait_until_ready()
    connections = [socket.create_connection(("127.0.0.1", daemon.port)) for _ in range(20)]
    try:
        first = Asker(daemon.port, token)
        for _ in range(3):
            first.took(1)
            connections.append(socket.create_connection(("127.0.0.1", daemon.port)))
        wait_until(lambda: are_closed(connections[:4]) == 4)
        assert are_closed(connections[4:]) == 0
        first.took(1)
        first.close()
    finally:
        for connection in connections:
            connection.close()


def test_an_idle_connection_is_closed_after_its_time(token: str, start: Start) -> None:
    """One that has been answered on, and one on which nothing was ever asked."""
    daemon = start(ROLLCALL_DAEMON__IDLE_TIMEOUT="1").wait_until_ready()
    silent = socket.create_connection(("127.0.0.1", daemon.port))
    asker = Asker(daemon.port, token)
    asker.took(1)
    wait_until(lambda: are_closed([silent, asker._socket]) == 2, within=10)
    silent.close()
    asker.close()


def test_who_reads_no_answer_costs_little_memory(token: str, start: Start) -> None:
    """Twenty clients ask all the time, one question behind the other, and never read."""
    daemon = start().wait_until_ready()
    memory = resident(daemon.process.pid)
    clients = []
    for _ in range(20):
        client = Asker(daemon.port, token)
        client._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client._socket.setblocking(False)
        clients.append(client)
    until = time.monotonic() + 3
    with closing(Asker(daemon.port, token)) as asker:
        longest = 0.0
        while time.monotonic() < until:
            for client in clients:
                with suppress(OSError):
                    client._socket.send(client.question * 20)
            longest = max(longest, *asker.took(2))
    assert longest < 0.5
    assert resident(daemon.process.pid) - memory < 20 * 1024 * 1024
    for client in clients:
        client.close()


def test_who_sends_a_byte_at_a_time_is_given_up(token: str, start: Start) -> None:
    """However steadily the head grows, and the body behind it."""
    daemon = start(ROLLCALL_DAEMON__HEAD_TIMEOUT="2").wait_until_ready()
    question = Asker(daemon.port, token)
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", daemon.port)) as slow:
        with suppress(OSError):
            for at in range(len(question.question)):
                slow.sendall(question.question[at : at + 1])
                if are_closed([slow]):
                    break
                time.sleep(0.2)
        assert time.monotonic() - begun < 6
    question.close()


@pytest.mark.parametrize("port", ["switches", "operations", "site"])
@pytest.mark.usefixtures("user")
def test_with_no_file_left_nothing_spins_and_all_is_well_once_there_are_some(
    installation: Installation, token: str, start: Start, admin: Callable[..., Site], port: str
) -> None:
    installation.under = (program("prlimit"), "--nofile=64")
    process: int
    if port == "site":
        site = admin().start().wait_until_ready()
        process, asked = site.process.pid, site.port
    else:
        daemon = start().wait_until_ready()
        process, asked = daemon.process.pid, daemon.port if port == "switches" else daemon.ops_port
    connections = []
    for _ in range(200):
        with suppress(OSError):
            connections.append(socket.create_connection(("127.0.0.1", asked), timeout=2))
    spent = cpu(process)
    time.sleep(2)
    assert cpu(process) - spent < 1
    for connection in connections:
        connection.close()
    if port == "site":
        wait_until(lambda: bool(site.ready()["ready"]))
        Visitor(site.port).sign_in()
    else:
        wait_until(lambda: daemon.is_ready)
        wait_until(lambda: _accepts(daemon, token))
        installation.under = ()
        installation.put("5550100")
        wait_until(lambda: daemon.accepts(token, "5550100"))


def _accepts(daemon: Daemon, token: str) -> bool:
    try:
        return daemon.accepts(token, "004127")
    except OSError:
        return False
