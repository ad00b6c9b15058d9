"""With systemd: the units that are shipped, what the services tell, and restarts that drop nobody."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.conftest import Start
from tests.integration.manager import Manager
from tests.integration.processes import PROGRAMS, Installation, wait_until
from tests.integration.programs import program

UNITS = Path(__file__).parents[2] / "systemd"
SERVICES = ("rollcall-daemon.service", "rollcall-admin.service")

# The units


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with programs that are there."""
    folder = tmp_path / "units"
    shutil.copytree(UNITS, folder)
    for unit in folder.glob("*.service"):
        unit.write_text(unit.read_text().replace("/opt/rollcall/bin", str(PROGRAMS)))
    return folder


@pytest.mark.parametrize(
    "unit", sorted(path.name for path in UNITS.glob("*.*") if path.suffix in (".service", ".socket", ".timer"))
)
def test_every_unit_is_understood(units: Path, unit: str) -> None:
    done = subprocess.run(
        [program("systemd-analyze"), "verify", units / unit], check=False, capture_output=True, text=True, timeout=60
    )
    # Units of other programs may have faults of their own.
    assert [line for line in done.stderr.splitlines() if "rollcall" in line] == []
    assert done.returncode == 0


@pytest.mark.parametrize("unit", SERVICES)
def test_a_service_can_do_little_harm(units: Path, unit: str) -> None:
    """An exposure of at most 2.0, as systemd reckons it."""
    command = [program("systemd-analyze"), "security", "--offline=true", "--threshold=20", "--no-pager"]
    done = subprocess.run([*command, units / unit], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


# What is told


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path, watchdog=1.0)
    yield manager
    manager.close()


def test_the_daemon_tells_how_it_is(installation: Installation, token: str, start: Start, manager: Manager) -> None:
    """That it loads, is ready, reads its settings again, and stops; what stands in the settings makes no difference."""
    daemon = start(**manager.environment)
    first = manager.until("STATUS")
    assert first["STATUS"].startswith("Answers 503")
    assert first["EXTEND_TIMEOUT_USEC"] == "1500000"
    assert manager.until("READY") == {"READY": "1", "STATUS": "Answers switches."}
    assert daemon.accepts(token, "004127")
    daemon.signal(signal.SIGHUP)
    assert int(manager.until("RELOADING")["MONOTONIC_USEC"]) > 0
    assert manager.until("READY") == {"READY": "1"}
    daemon.signal(signal.SIGTERM)
    assert manager.until("STOPPING") == {"STOPPING": "1", "STATUS": "Finishes what it has begun."}
    assert daemon.process.wait(30) == 0


def test_a_daemon_that_waits_for_its_database_asks_for_time_and_says_why(
    installation: Installation, token: str, start: Start, manager: Manager
) -> None:
    installation.database.write_bytes(b"no database " * 1000)
    start(**manager.environment)
    while True:
        word = manager.until("EXTEND_TIMEOUT_USEC")
        assert "READY" not in word
        if "rollcall.db" in word.get("STATUS", ""):
            break


def test_the_watchdog_hears_from_the_loop_alone(
    installation: Installation, token: str, start: Start, manager: Manager
) -> None:
    """Nothing comes from a daemon whose loop does not run."""
    daemon = start(**manager.environment)
    manager.until("READY")
    manager.until("WATCHDOG")
    daemon.signal(signal.SIGSTOP)
    with pytest.raises(TimeoutError):
        manager.listen(between=1.5)
    daemon.signal(signal.SIGCONT)
    assert manager.until("WATCHDOG")


def test_the_site_tells_how_it_is(installation: Installation, token: str, manager: Manager) -> None:
    environment = installation.environment | manager.environment
    environment |= {"ROLLCALL_ADMIN__PORT": "0", "ROLLCALL_ADMIN__OPS_PORT": "0"}
    with subprocess.Popen([PROGRAMS / "rollcall-admin"], env=environment, stderr=subprocess.DEVNULL) as site:
        try:
            assert manager.until("READY") == {"READY": "1"}
            site.send_signal(signal.SIGHUP)
            manager.until("RELOADING")
            assert manager.until("READY") == {"READY": "1"}
            site.terminate()
            assert manager.until("STOPPING") == {"STOPPING": "1", "STATUS": "Stops."}
            assert site.wait(30) == 0
        finally:
            site.kill()


# Sockets that are handed over

_HANDED = """
import os, sys
names, fds, program = sys.argv[1], [int(fd) for fd in sys.argv[2].split(",")], sys.argv[3]
# Out of the way first: they may have each other's places.
spare = [os.dup2(fd, 100 + place) for place, fd in enumerate(fds)]
for place, fd in enumerate(spare):
    os.dup2(fd, 3 + place)
    os.close(fd)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)), LISTEN_FDNAMES=names)
os.execv(program, [program])
"""


class Holder:
    """Holds sockets as systemd does, and starts daemons with them."""

    def __init__(self, installation: Installation, service: str = "daemon") -> None:
        self._installation = installation
        self._program = str(PROGRAMS / f"rollcall-{service}")
        self._daemons: list[subprocess.Popen[bytes]] = []
        self.sockets = {
            name: socket.create_server(("127.0.0.1", 0)) for name in (f"{service}.port", f"{service}.ops_port")
        }
        self.log = installation.folder / "held.log"

    def port(self, name: str) -> int:
        return int(self.sockets[name].getsockname()[1])

    def start(self, **settings: str) -> subprocess.Popen[bytes]:
        fds = [one.fileno() for one in self.sockets.values()]
        told = [":".join(self.sockets), ",".join(map(str, fds)), self._program]
        with self.log.open("ab") as log:
            daemon = subprocess.Popen(
                [sys.executable, "-c", _HANDED, *told],
                env=self._installation.environment | settings,
                stderr=log,
                pass_fds=fds,
            )
        self._daemons.append(daemon)
        return daemon

    def close(self) -> None:
        for daemon in self._daemons:
            daemon.kill()
            daemon.wait(30)
        for one in self.sockets.values():
            one.close()


@pytest.fixture
def holder(installation: Installation) -> Iterator[Holder]:
    holder = Holder(installation)
    yield holder
    holder.close()


class Switches:
    """Ask without a pause, each on a connection of its own, or on one that is kept as long as it may be."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._over = threading.Event()
        self.answers: dict[str, int] = {}
        self.lost: list[BaseException] = []
        self._threads = [threading.Thread(target=self._ask, args=(kept,)) for kept in (True, True, False, False)]
        for thread in self._threads:
            thread.start()

    def _ask(self, is_kept: bool) -> None:
        body = json.dumps({"passcode": "7784321", "pin": "004127"})
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while not self._over.is_set():
            try:
                connection.request("POST", "/v1/verify", body, self._headers)
                answer = json.loads(connection.getresponse().read())
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(error)
                connection.close()
                continue
            result = answer.get("result") or str(answer["status"])
            self.answers[result] = self.answers.get(result, 0) + 1
            if not is_kept:
                connection.close()
        connection.close()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)


@pytest.mark.parametrize("workers", ["1", "3"])
def test_a_restart_under_load_drops_no_connection(
    installation: Installation, token: str, holder: Holder, workers: str
) -> None:
    """Who asks while the daemon is down waits, and is let in; so is who asks at the moment it stops."""
    daemon = holder.start(ROLLCALL_DAEMON__WORKERS=workers)
    switches = Switches(holder.port("daemon.port"), token)
    try:
        for _ in range(3):
            before = switches.answers.get("accepted", 0)
            wait_until(lambda before=before: switches.answers.get("accepted", 0) > before + 200)  # type: ignore[misc]
            daemon.terminate()
            assert daemon.wait(30) == 0
            daemon = holder.start(ROLLCALL_DAEMON__WORKERS=workers)
        before = switches.answers.get("accepted", 0)
        wait_until(lambda: switches.answers.get("accepted", 0) > before + 200)
    finally:
        switches.stop()
    assert switches.lost == []
    assert set(switches.answers) == {"accepted"}


def test_a_restart_of_the_site_drops_no_connection(installation: Installation, token: str) -> None:
    """Each page is asked for on a connection of its own: when one that was kept ends, browsers ask again."""
    holder = Holder(installation, "admin")
    pages: list[int] = []
    lost: list[BaseException] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            with closing(http.client.HTTPConnection("127.0.0.1", holder.port("admin.port"), timeout=30)) as browser:
                try:
                    browser.request("GET", "/signin")
                    pages.append(browser.getresponse().status)
                except (OSError, http.client.HTTPException) as error:
                    lost.append(error)

    browsers = [threading.Thread(target=look) for _ in range(3)]
    try:
        site = holder.start()
        for browser in browsers:
            browser.start()
        for _ in range(2):
            before = len(pages)
            wait_until(lambda before=before: len(pages) > before + 20)  # type: ignore[misc]
            site.terminate()
            assert site.wait(30) == 0
            site = holder.start()
        before = len(pages)
        wait_until(lambda: len(pages) > before + 20)
    finally:
        over.set()
        for browser in browsers:
            browser.join(60)
        holder.close()
    assert lost == []
    assert set(pages) == {200}


def test_a_daemon_that_is_killed_leaves_its_sockets_to_the_next(
    installation: Installation, token: str, holder: Holder
) -> None:
    daemon = holder.start()
    with closing(http.client.HTTPConnection("127.0.0.1", holder.port("daemon.ops_port"), timeout=30)) as connection:
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
    daemon.kill()
    daemon.wait(30)
    waiting = http.client.HTTPConnection("127.0.0.1", holder.port("daemon.ops_port"), timeout=30)
    waiting.request("GET", "/healthz")
    holder.start()
    assert waiting.getresponse().status == 200
    waiting.close()
