"""The demo, run in a folder of its own."""

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
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

_CONFIGS = Path(__file__).parents[2] / "configs"
_PROMPT_WITHIN = 60.0
IN_FORCE_WITHIN = 1.0


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
    """Free ports, and nothing else that is set from outside."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ROLLCALL_")}
    with ExitStack() as stack:
        servers = [stack.enter_context(closing(socket.create_server(("127.0.0.1", 0)))) for _ in range(4)]
        ports = [str(server.getsockname()[1]) for server in servers]
    names = ("DAEMON__PORT", "DAEMON__OPS_PORT", "ADMIN__PORT", "ADMIN__OPS_PORT")
    return clean | {f"ROLLCALL_{name}": port for name, port in zip(names, ports, strict=True)}


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
