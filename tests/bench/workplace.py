"""A folder with a database of its own, and the real programs run in it as processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import Final, NamedTuple

_PROGRAMS: Final = Path(sys.executable).parent
_PATIENCE: Final = 120.0
_PASSCODE: Final = "7784321"
_TICKS: Final = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Workplace:
    """One company, one organizer with one conference, and a switch."""

    passcode = _PASSCODE

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # An installed program has its bytecode beside it, whatever the shell that measures it is set to.
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self.environment: Mapping[str, str] = {
            **kept,
            "ROLLCALL_DATABASE__URL": f"sqlite:///{self.database}",
            "ROLLCALL_KEY__FILE": str(folder / "rollcall.key"),
            "ROLLCALL_ROLL__JOURNAL": str(folder / "journal"),
            "ROLLCALL_THROTTLE__FILE": str(folder / "throttle"),
        }
        conference = {"id": "C-1", "title": "Bench", "passcode": _PASSCODE, "pin_entry": True}
        organizer = {"id": "ann", "name": "Ann", "email": "ann@example.com", "authorization_code": "1"}
        company = {
            "id": "bench",
            "name": "Bench",
            "authorization_code": [{"code": "1", "label": "ONE"}],
            "organizer": [{**organizer, "conference": [conference]}],
        }
        directory = folder / "directory.json"
        directory.write_text(json.dumps({"company": [company]}))
        self.rollcall("init")
        self.rollcall("directory", "apply", str(directory))
        self.token = self.rollcall("switch", "add", "bench").split()[-1]

    def add_user(self, role: str = "organizer") -> None:
        """The organizer may sign in on the web."""
        user = {"id": "ann", "name": "Ann", "email": "ann@example.com", "role": role, "organizer": "ann"}
        directory = self.folder / "user.json"
        directory.write_text(json.dumps({"company": [{"id": "bench", "name": "Bench", "user": [user]}]}))
        self.rollcall("directory", "apply", str(directory))

    def rollcall(self, *arguments: str) -> str:
        """Run the tool; its standard output."""
        return subprocess.run(
            [_PROGRAMS / "rollcall", *arguments], env=self.environment, check=True, capture_output=True, text=True
        ).stdout

    @property
    def database(self) -> Path:
        """The database's file."""
        return self.folder / "rollcall.db"

    def timed(self, *arguments: str) -> float:
        """Seconds that the tool takes as a whole process, from start to end."""
        begun = time.perf_counter()
        self.rollcall(*arguments)
        return time.perf_counter() - begun

    def cost(self, *arguments: str) -> tuple[float, float]:
        """As :meth:`timed`, and the seconds of a processor that the tool has had: what it takes where nothing else runs."""
        before = getrusage(RUSAGE_CHILDREN)
        took = self.timed(*arguments)
        after = getrusage(RUSAGE_CHILDREN)
        return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    @contextmanager
    def daemon(self, **settings: str) -> Iterator[Daemon]:
        """The real daemon, ready; ended with SIGTERM. `settings` are more of its environment."""
        ports = free_port(), free_port()
        environment = {
            **self.environment,
            "ROLLCALL_DAEMON__PORT": str(ports[0]),
            "ROLLCALL_DAEMON__OPS_PORT": str(ports[1]),
            "ROLLCALL_LOGS__FORMAT": "json",
            **settings,
        }
        begun = time.perf_counter()
        with (self.folder / "daemon.log").open("a") as log:
            process = subprocess.Popen([_PROGRAMS / "rollcall-daemon"], env=environment, stdout=log, stderr=log)
        try:
            while not _is_ready(ports[1]):
                if process.poll() is not None or time.perf_counter() - begun > _PATIENCE:
                    raise RuntimeError((self.folder / "daemon.log").read_text())
                time.sleep(0.01)
            yield Daemon(process.pid, ports[0], ports[1], time.perf_counter() - begun)
        finally:
            process.terminate()
            process.wait(30)


class Daemon:
    """A running daemon: its process, its ports, and the seconds from its start until it was ready."""

    def __init__(self, pid: int, port: int, ops_port: int, seconds_to_ready: float) -> None:
        self.pid, self.port, self.ops_port, self.seconds_to_ready = pid, port, ops_port, seconds_to_ready

    @property
    def memory(self) -> int:
        """Bytes of resident memory."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("the daemon is gone")

    def metric(self, name: str) -> float:
        """The value of a metric, its labels included in the name."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ops_port}/metrics", timeout=10) as answer:
            for line in answer.read().decode().splitlines():
                told, _, value = line.rpartition(" ")
                if told == name:
                    return float(value)
        raise RuntimeError(f"there is no metric {name}")

    def wait_for(self, seconds: float) -> None:
        """Let it run."""
        time.sleep(seconds)

    def wait_until(self, what: Callable[[], bool]) -> None:
        """Look every few milliseconds, until it is so."""
        deadline = time.perf_counter() + _PATIENCE
        while not what():
            if time.perf_counter() > deadline:
                raise RuntimeError("it did not come")
            time.sleep(0.02)


class Bare(NamedTuple):
    """A server that is measured beside the daemon."""

    port: int
    pid: int


@contextmanager
def bare_handler() -> Iterator[int]:
    """The bare handler of HTTP as a process; its port."""
    with bare_server("tests.bench.bare") as bare:
        yield bare.port


@contextmanager
def bare_server(module: str, *arguments: str) -> Iterator[Bare]:
    """A program that is called with a port and these arguments, as a process that listens there."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", module, str(port), *arguments])
    try:
        deadline = time.perf_counter() + _PATIENCE
        while not accepts(port):
            if process.poll() is not None or time.perf_counter() > deadline:
                raise RuntimeError(f"{module} does not start")
            time.sleep(0.01)
        yield Bare(port, process.pid)
    finally:
        process.terminate()
        process.wait(30)


def processor_time(pid: int) -> float:
    """Seconds that a process has had so far, and all that it has started that still run."""
    told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = [
        child for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
    return (int(told[11]) + int(told[12])) / _TICKS + sum(processor_time(int(child)) for child in children)


def accepts(port: int) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
