"""`make run` as a new user meets it: paste the curl, edit a PIN, paste it again."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

_CONFIGS = Path(__file__).parents[2] / "configs"
_PROMPT_WITHIN = 60.0
_IN_FORCE_WITHIN = 1.0


class Demo:
    """One run of the demo in a folder, with a process group of its own."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self.log = folder / "output"
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "configs.demo.run"],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    @property
    def output(self) -> str:
        """All that the demo and its services have said so far."""
        return self.log.read_text()

    def wait_until_prompt(self) -> None:
        """Wait until it says that it runs."""
        deadline = time.monotonic() + _PROMPT_WITHIN
        while "Ctrl-C stops it" not in self.output:
            assert self._process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)

    def paste(self, start: str) -> str:
        """What comes of the line that begins so, pasted into a shell in the demo's folder."""
        (line,) = re.findall(rf"^ +({re.escape(start)}.*)$", self.output, re.MULTILINE)
        done = subprocess.run(
            line,
            shell=True,
            check=True,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=30,
        )
        return done.stdout

    def ask(self) -> dict[str, Any]:
        """The answer to the printed question."""
        answer: dict[str, Any] = json.loads(self.paste("curl "))
        return answer

    def end(self, number: signal.Signals) -> int:
        """Send it a signal; its exit status."""
        self._process.send_signal(number)
        return self._process.wait(30)

    def kill(self) -> None:
        """Let nothing of it be left, whatever the test has come to."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(30)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a copy of the configurations, as in a clone."""
    shutil.copytree(_CONFIGS, tmp_path / "configs")
    return tmp_path


@pytest.fixture
def environment() -> dict[str, str]:
    """Two free ports, and nothing else that is set from outside."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ROLLCALL_")}
    with closing(socket.create_server(("127.0.0.1", 0))) as one, closing(socket.create_server(("127.0.0.1", 0))) as two:
        ports = [str(server.getsockname()[1]) for server in (one, two)]
    return clean | {"ROLLCALL_DAEMON__PORT": ports[0], "ROLLCALL_DAEMON__OPS_PORT": ports[1]}


@pytest.fixture
def start(folder: Path, environment: dict[str, str]) -> Iterator[Callable[[], Demo]]:
    """`start()`: the demo, up and running."""
    demos: list[Demo] = []

    def run() -> Demo:
        demo = Demo(folder, environment)
        demos.append(demo)
        demo.wait_until_prompt()
        return demo

    yield run
    for demo in demos:
        demo.kill()


def processes_in(folder: Path) -> list[str]:
    """The command lines of the processes that work in this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder:
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:  # it ended meanwhile, or is somebody else's
            continue
    return found


def test_the_demo_as_a_new_user_meets_it(folder: Path, start: Callable[[], Demo]) -> None:
    """The pasted curl is answered; an edited PIN is in force at once, and still so after a second run."""
    demo = start()
    answer = demo.ask()
    assert answer["result"] == "accepted"
    assert (answer["participant"]["first_name"], answer["participant"]["last_name"]) == ("Mike", "Doe")
    assert answer["list"] == {"level": "organizer", "revision": 1}
    token_file = folder / "var" / "demo-token"
    assert token_file.stat().st_mode & 0o777 == 0o600
    token = token_file.read_text()

    file = folder / "configs" / "demo" / "lists" / "organizer-alicia.csv"
    original = file.read_text()
    file.write_text(original.replace("004127", "004128"))
    edited = demo.paste(_rollcall(demo))
    done = time.monotonic()
    assert "added 1, changed 0, removed 1, unchanged 3, revision 2" in edited
    while (answer := demo.ask())["result"] == "accepted":
        assert time.monotonic() < done + _IN_FORCE_WITHIN
    assert answer["reason"] == "unknown_pin"

    assert len(processes_in(folder)) == 2
    assert demo.end(signal.SIGINT) == 0
    assert processes_in(folder) == []
    assert "Traceback" not in demo.output

    file.write_text(original)
    demo = start()
    assert demo.ask()["reason"] == "unknown_pin"
    assert token_file.read_text() == token
    assert demo.end(signal.SIGTERM) == 0
    assert processes_in(folder) == []
    assert "Traceback" not in demo.output


def _rollcall(demo: Demo) -> str:
    """How the printed line that calls the tool begins."""
    (start,) = re.findall(r"^ +(\S*rollcall) --config", demo.output, re.MULTILINE)
    return str(start)


def test_a_port_in_use_is_told_plainly(folder: Path, environment: dict[str, str]) -> None:
    """One line names the port and the variable that chooses another; nothing is made, nothing is left running."""
    port = int(environment["ROLLCALL_DAEMON__OPS_PORT"])
    with closing(socket.create_server(("127.0.0.1", port))):
        done = subprocess.run(
            [sys.executable, "-m", "configs.demo.run"],
            check=False, cwd=folder, env=environment, capture_output=True, text=True, timeout=30,
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"demo: port {port} on 127.0.0.1 is in use; choose another with ROLLCALL_DAEMON__OPS_PORT=...\n"
    )
    assert not (folder / "var").exists()


def test_the_web_site_is_not_there_yet() -> None:
    """`rollcall-admin` says so, and what to use instead, in one line with status 1."""
    command = [str(Path(sys.executable).with_name("rollcall-admin"))]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "rollcall import" in done.stderr
