"""The web site as a process."""

import http.client
import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.integration.processes import PROGRAMS, Installation, free_port, wait_until


class Admin:
    """A web site as a process. Its log goes to a file of its own."""

    def __init__(self, installation: Installation, *arguments: str) -> None:
        self.port, self.ops_port = free_port(), free_port()
        self.environment = installation.environment | {
            "ROLLCALL_ADMIN__PORT": str(self.port),
            "ROLLCALL_ADMIN__OPS_PORT": str(self.ops_port),
        }
        self._log = installation.folder / "admin.log"
        self._arguments = arguments
        self.process: subprocess.Popen[bytes]

    def start(self, **settings: str) -> None:
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [PROGRAMS / "rollcall-admin", *self._arguments], env=self.environment | settings, stdout=log, stderr=log
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def get(self, path: str, *, ops: bool = False) -> tuple[int, bytes]:
        with closing(
            http.client.HTTPConnection("127.0.0.1", self.ops_port if ops else self.port, timeout=10)
        ) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def ready(self) -> Any:
        try:
            return json.loads(self.get("/readyz", ops=True)[1])
        except OSError:
            return {"ready": False}


@pytest.fixture
def admin(installation: Installation) -> Iterator[Callable[..., Admin]]:
    made: list[Admin] = []

    def make(*arguments: str) -> Admin:
        made.append(Admin(installation, *arguments))
        return made[-1]

    yield make
    for one in made:
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait(10)


def test_the_site_tells_how_it_is_and_stops_in_order(admin: Callable[..., Admin]) -> None:
    site = admin()
    site.start()
    wait_until(lambda: site.ready()["ready"])
    assert site.get("/healthz", ops=True) == (200, b'{"up": true}')
    assert site.get("/signin")[0] == 200
    metrics = site.get("/metrics", ops=True)[1].decode()
    assert 'rollcall_admin_page_seconds_count{page="/signin",status="200"} 1.0' in metrics
    assert "rollcall_admin_database_up 1.0" in metrics
    site.process.terminate()
    assert site.process.wait(10) == 0
    assert "Traceback" not in site.log


def test_without_its_database_it_says_so_plainly_and_comes_back_by_itself(
    admin: Callable[..., Admin], installation: Installation
) -> None:
    site = admin()
    site.start()
    wait_until(lambda: site.ready()["ready"])
    away = installation.folder / "away"
    away.mkdir()
    for part in installation.folder.glob("rollcall.db*"):
        part.rename(away / part.name)
    assert site.get("/readyz", ops=True)[0] == 503
    assert site.ready()["database"] == "down"
    status, page = site.get("/signin")
    assert status == 503
    assert b"database" in page
    for part in away.iterdir():
        part.rename(installation.folder / part.name)
    assert site.ready()["ready"]
    assert site.get("/signin")[0] == 200


@pytest.mark.parametrize("setting", ["PORT", "OPS_PORT"])
def test_a_port_in_use_is_told_plainly(admin: Callable[..., Admin], setting: str) -> None:
    site = admin()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        site.start(**{f"ROLLCALL_ADMIN__{setting}": str(port)})
        assert site.process.wait(10) == 1
    assert f"admin.{setting.lower()}: port {port} on 127.0.0.1 is in use" in site.log
    assert "Traceback" not in site.log


def test_wrong_settings_are_told_with_their_line(admin: Callable[..., Admin], tmp_path: Path) -> None:
    config = tmp_path / "rollcall.toml"
    config.write_text("[admin]\nidle_timeout = 1\n")
    site = admin("--config", str(config))
    site.start()
    assert site.process.wait(10) == 2
    assert f"{config}, line 2: admin.idle_timeout" in site.log
