"""The doors of clouds in the real daemon: a call goes on where it was, whichever process is asked."""

import signal
import socket
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.conftest import Start
from tests.integration.processes import Daemon, free_port, wait_until
from tests.unit.daemon.doors.clouds import CLOUDS, Cloud, Heard, secret_file
from tests.unit.daemon.doors.conftest import Answer

PASSCODE, PIN, WRONG = "7784321", "004127", "9041755312"


@pytest.fixture(params=CLOUDS, ids=lambda cloud: cloud.name)
def cloud(request: pytest.FixtureRequest) -> Cloud:
    chosen: Cloud = request.param
    return chosen


def enabled(cloud: Cloud, folder: Path, port: int) -> dict[str, str]:
    """The environment that opens the door."""
    prefix = f"ROLLCALL_DOORS__{cloud.name.upper()}__"
    secret = "AUTH_TOKEN_FILE" if cloud.name == "twiml" else "SECRET_FILE"
    return {
        f"{prefix}ENABLED": "true",
        f"{prefix}PORT": str(port),
        f"{prefix}URL": cloud.url,
        f"{prefix}LANGUAGE": "fr",
        f"{prefix}{secret}": str(secret_file(folder)),
    }


class Caller:
    """One caller's way through a cloud."""

    def __init__(self, cloud: Cloud, port: int) -> None:
        self._cloud, self._port = cloud, port

    def calls(self) -> Heard:
        return self._cloud.heard(self._told(self._cloud.url, self._cloud.first()))

    def keys(self, digits: str, after: Heard) -> Heard:
        return self._cloud.heard(self._told(after.following, self._cloud.keyed(digits)))

    def hangs_up(self) -> int:
        return self._told(f"{self._cloud.url}/status", self._cloud.status("over")).status

    def _told(self, url: str, fields: Mapping[str, str]) -> Answer:
        with closing(socket.create_connection(("127.0.0.1", self._port), timeout=10)) as connection:
            connection.sendall(self._cloud.request(url, fields, headers="Connection: close\r\n"))
            received = b""
            while some := connection.recv(65536):
                received += some
        head, _, body = received.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return Answer(int(first.split()[1]), headers, body, received)


def test_a_call_outlives_the_daemon_that_it_began_with(start: Start, cloud: Cloud, tmp_path: Path) -> None:
    """Killed in the middle, and started anew: the caller goes on where he was, with the tries that he has left."""
    port = free_port()
    settings = enabled(cloud, tmp_path, port)
    caller = Caller(cloud, port)
    before = start(**settings).wait_until_ready()
    asked = caller.keys(PASSCODE, caller.calls())
    again = caller.keys(WRONG, asked)
    before.signal(signal.SIGKILL)
    before.process.wait(30)

    after = start(**settings).wait_until_ready()
    third = caller.keys(WRONG, again)
    assert third.said == again.said
    assert caller.keys(PIN, third).conference == "C-1001"
    assert caller.hangs_up() == 204
    assert after.metric(f'rollcall_verifications_total{{door="{cloud.name}",result="accepted"}}') == 1
    assert after.metric(f'rollcall_verifications_total{{door="{cloud.name}",result="unknown_pin"}}') == 1
    assert after.metric(f'rollcall_call_events_total{{door="{cloud.name}",event="left"}}') == 1
    for daemon in (before, after):
        assert_nothing_leaked(daemon)


def assert_nothing_leaked(daemon: Daemon) -> None:
    for secret in (PASSCODE, PIN, WRONG, "only-a-test"):
        assert secret not in daemon.log


def test_without_a_secret_of_its_own_the_daemon_does_not_run(start: Start, cloud: Cloud, tmp_path: Path) -> None:
    """And says which setting it is: a door that is asked for and cannot be guarded is not left out in silence."""
    settings = enabled(cloud, tmp_path, free_port())
    (tmp_path / "secret").chmod(0o644)
    daemon = start(**settings)
    wait_until(lambda: daemon.process.poll() is not None)
    assert daemon.process.returncode == 2
    name = "auth_token_file" if cloud.name == "twiml" else "secret_file"
    assert f"doors.{cloud.name}.{name}: " in daemon.line("cannot_run")["problem"]
    assert "can be read by others" in daemon.line("cannot_run")["problem"]
