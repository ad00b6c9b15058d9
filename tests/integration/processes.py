"""The real programs, run as processes in a folder of their own."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

PROGRAMS: Final = Path(sys.executable).parent
PATIENCE: Final = 30.0
HEADER: Final = "PIN Entry Code,First Name,Last Name,Company,Phone,Email,City,State/Country,Other\n"
DIRECTORY: Final[dict[str, Any]] = {
    "company": [
        {
            "id": "globaltest",
            "name": "Global Test",
            "authorization_code": [{"code": "3625046", "label": "GLOBAL TEST-USA"}],
            "organizer": [
                {
                    "id": "alicia",
                    "name": "Alicia Customer",
                    "email": "alicia@example.com",
                    "authorization_code": "3625046",
                    "conference": [
                        {"id": "C-1001", "title": "Weekly call", "passcode": "7784321", "pin_entry": True},
                        {"id": "C-1002", "title": "Open house", "passcode": "7784322", "pin_entry": False},
                    ],
                }
            ],
        }
    ]
}


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


def wait_until(what: Callable[[], bool], within: float = PATIENCE) -> float:
    """Look until it is so; the seconds that it took."""
    begun = time.monotonic()
    while not what():
        assert time.monotonic() - begun < within, "it did not come"
        time.sleep(0.01)
    return time.monotonic() - begun


class Answered:
    """An HTTP answer."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


UNCOUNTED: Final = {
    f"ROLLCALL_THROTTLE__{name}_LIMIT": "0" for name in ("CALL", "CALLER", "WITHHELD", "CONFERENCE", "SWITCH")
}
"""The settings of a daemon that lets everybody guess."""


class Installation:
    """A folder with an installation: its settings are in the environment."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.database = folder / "rollcall.db"
        self.key = folder / "rollcall.key"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("ROLLCALL_")}
        self.environment = clean | {
            "ROLLCALL_DATABASE__URL": f"sqlite:///{self.database}",
            "ROLLCALL_KEY__FILE": str(self.key),
            "ROLLCALL_DAEMON__PORT": str(free_port()),
            "ROLLCALL_DAEMON__OPS_PORT": str(free_port()),
            "ROLLCALL_ROLL__JOURNAL": str(folder / "journal"),
            "ROLLCALL_THROTTLE__FILE": str(folder / "throttle"),
            # Tests look again and again whether a PIN is in force, by no number: that is guessing.
            "ROLLCALL_THROTTLE__WITHHELD_LIMIT": "0",
            "ROLLCALL_THROTTLE__CONFERENCE_LIMIT": "0",
            "ROLLCALL_LOGS__FORMAT": "json",
            **settings,
        }
        self.under: tuple[str, ...] = ()
        """What services are started by, such as `prlimit`, which gives them fewer files."""
        self.said: list[str] = []
        """All that the tool has said, on both streams."""

    def rollcall(self, *arguments: str, status: int = 0, stdin: str = "") -> str:
        """Run the tool; its standard output."""
        done = subprocess.run(
            [PROGRAMS / "rollcall", *arguments],
            check=False,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.said += [done.stdout, done.stderr]
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    def set_up(self) -> str:
        """Make the database, the key file, the directory and a switch; its token."""
        self.rollcall("init")
        (self.folder / "directory.json").write_text(json.dumps(DIRECTORY))
        self.rollcall("directory", "apply", str(self.folder / "directory.json"))
        token = self.rollcall("switch", "add", "pbx-1").strip()
        self.said.pop(-2)
        return token

    def put(self, *pins: str, owner: tuple[str, str] = ("--organizer", "alicia")) -> None:
        """Import a list of these PINs."""
        file = self.folder / "list.csv"
        file.write_text(HEADER + "".join(f"{pin},Mike,Doe,XYZ,,,Uxbridge,UK,\n" for pin in pins))
        self.rollcall("import", str(file), *owner)

    def daemon(self, *arguments: str, **settings: str) -> Daemon:
        """Start the daemon; do not wait for it."""
        return Daemon(self, arguments, self.environment | settings)


class Daemon:
    """A daemon as a process. Its log goes to a file of its own."""

    def __init__(self, installation: Installation, arguments: tuple[str, ...], environment: dict[str, str]) -> None:
        self.port = int(environment["ROLLCALL_DAEMON__PORT"])
        self.ops_port = int(environment["ROLLCALL_DAEMON__OPS_PORT"])
        self._log = installation.folder / f"daemon-{time.monotonic_ns()}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*installation.under, PROGRAMS / "rollcall-daemon", *arguments],
                env=environment,
                stdout=log,
                stderr=log,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The lines of the log."""
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]

    def has_logged(self, event: str) -> bool:
        return any(line["event"] == event for line in self.events)

    def request(
        self,
        method: str,
        path: str,
        body: str | bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        ops: bool = False,
    ) -> Answered:
        """One request on a connection of its own. Raises OSError while nobody listens."""
        with closing(
            http.client.HTTPConnection("127.0.0.1", self.ops_port if ops else self.port, timeout=10)
        ) as connection:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return Answered(answer.status, {n.lower(): v for n, v in answer.getheaders()}, answer.read())

    def ask(self, token: str, pin: str, passcode: str = "7784321") -> Answered:
        """What a switch asks."""
        body = json.dumps({"passcode": passcode, "pin": pin})
        return self.request(
            "POST", "/v1/verify", body, {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        )

    def accepts(self, token: str, pin: str) -> bool:
        return bool(self.ask(token, pin).json.get("result") == "accepted")

    def admits(self, token: str, call_id: str, pin: str, passcode: str = "7784321", caller: str = "+15550100") -> bool:
        """Whether a caller is let in, as a switch asks that has an ID for each call."""
        body = json.dumps({"passcode": passcode, "pin": pin, "call_id": call_id, "caller": caller})
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        return bool(self.request("POST", "/v1/verify", body, headers).json.get("result") == "accepted")

    def tell(self, token: str, call_id: str, event: str) -> int:
        """Tell that the caller has `joined` or `left`; the status of the answer."""
        return self.request("POST", f"/v1/calls/{call_id}/{event}", b"", {"Authorization": f"Bearer {token}"}).status

    def send(self, request: bytes, *, ops: bool = False) -> bytes:
        """All that is answered to these bytes, until the connection is closed."""
        with socket.create_connection(("127.0.0.1", self.ops_port if ops else self.port), timeout=10) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            with suppress(ConnectionError):
                while some := connection.recv(65536):
                    answer += some
            return answer

    @property
    def keepers(self) -> list[int]:
        """The process IDs of the daemon's children; none once it has ended."""
        pid = self.process.pid
        try:
            return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except FileNotFoundError:
            return []

    def line(self, event: str) -> dict[str, Any]:
        """The only line of the log with this event, once it is there."""
        wait_until(lambda: self.has_logged(event))
        (line,) = [line for line in self.events if line["event"] == event]
        return line

    @property
    def listens(self) -> bool:
        """Whether switches are answered, be it with 503."""
        try:
            return self.request("GET", "/openapi.json").status == 200
        except OSError:
            return False

    @property
    def readiness(self) -> Answered:
        return self.request("GET", "/readyz", ops=True)

    def metric(self, name: str) -> float | None:
        """The value of a metric, its labels included in the name."""
        for line in self.request("GET", "/metrics", ops=True).body.decode().splitlines():
            told, _, value = line.rpartition(" ")
            if told == name:
                return float(value)
        return None

    @property
    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log
        try:
            return self.readiness.status == 200
        except OSError:
            return False

    def wait_until_ready(self) -> Daemon:
        wait_until(lambda: self.is_ready)
        return self

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> int:
        """End it in order; its exit status."""
        self.process.terminate()
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """Let nothing of it be left."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
