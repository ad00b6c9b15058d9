"""What systemd and a service tell each other."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from loader.systemd import ServiceManager, take_sockets


class Listener:
    """Hears what systemd would."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.settimeout(10)

    def word(self) -> str:
        return self._socket.recv(4096).decode()

    async def next_word(self) -> str:
        return await asyncio.to_thread(self.word)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def listener(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Listener]:
    listener = Listener(str(tmp_path / "notify") if request.param == "path" else f"@rollcall-test-{os.getpid()}")
    yield listener
    listener.close()


def test_without_systemd_nothing_is_told() -> None:
    manager = ServiceManager({})
    manager.ready()
    manager.reloading()
    manager.stopping()


async def test_how_the_service_is_is_told_in_order(listener: Listener) -> None:
    environment = {"NOTIFY_SOCKET": listener.address}
    manager = ServiceManager(environment)
    assert environment == {}
    manager.reloading()
    manager.reloaded()
    manager.ready()
    before = time.monotonic_ns() // 1000
    manager.reloading()
    manager.reloaded()
    manager.stopping()
    assert listener.word() == "READY=1"
    reloading, told, at = listener.word().replace("\n", "=").partition("=MONOTONIC_USEC=")
    assert (reloading, told) == ("RELOADING=1", "=MONOTONIC_USEC=")
    assert before <= int(at) <= time.monotonic_ns() // 1000
    assert [listener.word() for _ in range(2)] == ["READY=1", "STOPPING=1"]


async def test_all_is_read_again_whenever_that_is_told_and_goes_on_after_a_fault(listener: Listener) -> None:
    """What is told while it is being read has it read once more."""
    manager = ServiceManager({"NOTIFY_SOCKET": listener.address})
    manager.ready()
    told, reads = asyncio.Event(), 0

    async def read() -> None:
        nonlocal reads
        reads += 1
        if reads == 1:
            told.set()
            raise RuntimeError("a fault")

    task = asyncio.create_task(manager.reload_whenever(told, read))
    told.set()
    with structlog.testing.capture_logs() as logs:
        words = [(await listener.next_word()).partition("\n")[0] for _ in range(5)]
    assert words == ["READY=1", "RELOADING=1", "READY=1", "RELOADING=1", "READY=1"]
    assert [line["event"] for line in logs] == ["reload_failed"]
    task.cancel()


async def test_the_loop_tells_that_it_runs_twice_in_the_time_of_the_watchdog(listener: Listener) -> None:
    """Before it is ready, and when it stops, it asks for more time too; its status is told when it changes."""
    manager = ServiceManager(
        {"NOTIFY_SOCKET": listener.address, "WATCHDOG_USEC": "60000", "WATCHDOG_PID": str(os.getpid())}
    )
    status = "Reads\nthe database."
    async with manager.watched(lambda: status):
        assert await listener.next_word() == "WATCHDOG=1\nEXTEND_TIMEOUT_USEC=90000\nSTATUS=Reads the database."
        assert await listener.next_word() == "WATCHDOG=1\nEXTEND_TIMEOUT_USEC=90000"
        manager.ready()
        words = [await listener.next_word()]
        while words[-1] != "WATCHDOG=1":
            words.append(await listener.next_word())
        assert "READY=1" in words
        status = "Answers switches."
        while words[-1] != "WATCHDOG=1\nSTATUS=Answers switches.":
            words.append(await listener.next_word())
        manager.stopping()
        while words[-1] != "WATCHDOG=1\nEXTEND_TIMEOUT_USEC=90000":
            words.append(await listener.next_word())
        assert "STOPPING=1" in words


async def test_a_watchdog_that_watches_another_process_is_not_fed(listener: Listener) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": listener.address, "WATCHDOG_USEC": "60000", "WATCHDOG_PID": "1"})
    async with manager.watched(lambda: "Serves pages."):
        assert await listener.next_word() == "EXTEND_TIMEOUT_USEC=30000000\nSTATUS=Serves pages."


async def test_a_manager_that_is_gone_disturbs_nobody(tmp_path: Path) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "nowhere"), "WATCHDOG_USEC": "1000"})
    async with manager.watched(lambda: "Serves pages."):
        manager.ready()


_TAKES = """
import os, sys
from loader.systemd import take_sockets
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="3", LISTEN_FDNAMES="daemon.port:daemon.ops_port:daemon.port")
taken = take_sockets()
print({name: [one.getsockname()[1] for one in sockets] for name, sockets in taken.items()})
print(any(os.get_inheritable(one.fileno()) for sockets in taken.values() for one in sockets))
print(take_sockets(), [name for name in os.environ if name.startswith("LISTEN_")])
"""


def test_sockets_are_taken_once_and_by_name() -> None:
    """In a process of its own: they have the descriptors from 3 on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [one.getsockname()[1] for one in sockets]
    held = [os.dup(one.fileno()) for one in sockets]

    def put_in_place() -> None:
        spare = [os.dup2(fd, 100 + place) for place, fd in enumerate(held)]
        for place, fd in enumerate(spare):
            os.dup2(fd, 3 + place)

    done = subprocess.run(
        [sys.executable, "-c", _TAKES],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=put_in_place,
        close_fds=False,
    )
    for fd in held:
        os.close(fd)
    for one in sockets:
        one.close()
    told = {"daemon.port": [ports[0], ports[2]], "daemon.ops_port": [ports[1]]}
    assert done.stdout.splitlines() == [str(told), "False", "{} []"]


@pytest.mark.parametrize(
    "environment",
    [{}, {"LISTEN_PID": "1", "LISTEN_FDS": "1"}, {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"}],
)
def test_what_was_handed_to_somebody_else_is_left_alone(environment: dict[str, str]) -> None:
    assert take_sockets(environment) == {}
    assert environment == {}
