"""RADIUS with a real client of it, radclient, and with FreeRADIUS as a proxy in front: with the files that are shipped."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.integration.conftest import Start
from tests.integration.processes import UNCOUNTED, Daemon, Installation, wait_until
from tests.integration.programs import program

SECRET: Final = "a-secret-of-the-tests-alone-4711"
GATEWAYS_SECRET: Final = "another-secret-of-the-tests-0815"
CONFIGS: Final = Path(__file__).parents[2] / "configs" / "switches" / "radius"
ASKED: Final = 'User-Name = "{}", User-Password = "{}", Calling-Station-Id = "+15550100", Message-Authenticator = 0x00'


@pytest.fixture(scope="module")
def radclient() -> str:
    return program("radclient")


class Heard(NamedTuple):
    """What radclient heard: its exit status, and all that it said."""

    status: int
    said: str

    @property
    def attributes(self) -> list[str]:
        """The attributes of the reply, as radclient shows them."""
        return [line.strip() for line in self.said.partition("\nReceived ")[2].splitlines()[1:] if line[:1] == "\t"]

    @property
    def reply(self) -> str:
        """What kind of reply it was."""
        return self.said.partition("\nReceived ")[2].partition(" ")[0]


Radclient = Callable[..., Heard]


@pytest.fixture
def ask(radclient: str) -> Radclient:
    """`ask(port, kind, request, ...)`: what radclient hears. It sends once, unless told more."""

    def ask(port: int, kind: str, request: str, *options: str, secret: str = SECRET) -> Heard:
        command = [radclient, "-x", *(options or ("-r", "1", "-t", "10")), f"127.0.0.1:{port}", kind, secret]
        done = subprocess.run(command, input=request, check=False, capture_output=True, text=True, timeout=60)
        return Heard(done.returncode, done.stdout + done.stderr)

    return ask


class Opened(NamedTuple):
    """A daemon with its RADIUS door open."""

    daemon: Daemon
    port: int
    accounting_port: int

    def verifications(self, result: str) -> float | None:
        return self.daemon.metric(f'rollcall_verifications_total{{door="radius",result="{result}"}}')

    def dropped(self, why: str) -> float | None:
        return self.daemon.metric(f'rollcall_questions_dropped_total{{door="radius",why="{why}"}}')

    def calls(self, event: str) -> float | None:
        return self.daemon.metric(f'rollcall_call_events_total{{door="radius",event="{event}"}}')


@pytest.fixture
def opened(installation: Installation, start: Start) -> Opened:
    clients = installation.folder / "radius-clients"
    clients.write_text(f"127.0.0.1 {SECRET}\n")
    clients.chmod(0o600)
    port, accounting_port = free_udp_ports()
    daemon = start(
        **UNCOUNTED,
        ROLLCALL_DOORS__RADIUS__ENABLED="true",
        ROLLCALL_DOORS__RADIUS__PORT=str(port),
        ROLLCALL_DOORS__RADIUS__ACCOUNTING_PORT=str(accounting_port),
        ROLLCALL_DOORS__RADIUS__CLIENTS_FILE=str(clients),
    )
    return Opened(daemon.wait_until_ready(), port, accounting_port)


def free_udp_ports() -> tuple[int, int]:
    """Two that follow each other, as those of RADIUS do."""
    while True:
        with ExitStack() as stack:
            first, second = (
                stack.enter_context(closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))) for _ in range(2)
            )
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port, port + 1


def test_radclient_is_told_who_a_pin_is_and_believes_it(opened: Opened, ask: Radclient) -> None:
    """It checks both authenticators of each reply."""
    heard = ask(opened.port, "auth", ASKED.format("7784321", "004127") + ', h323-conf-id = "h323-conf-id=1 2 3 4"')
    assert (heard.status, heard.reply) == (0, "Access-Accept")
    assert heard.attributes[0].startswith("Message-Authenticator = 0x")
    assert 'h323-return-code = "h323-return-code=0"' in heard.attributes
    assert 'Cisco-AVPair = "h323-ivr-in=first-name:Mike"' in heard.attributes
    assert opened.verifications("accepted") == 1
    assert opened.daemon.stop() == 0
    assert "004127" not in opened.daemon.log
    assert "7784321" not in opened.daemon.log


def test_radclient_is_told_why_not(opened: Opened, ask: Radclient) -> None:
    for passcode, pin, code in (("7784321", "4321", 2), ("1", "004127", 1), ("7784321", "", 2)):
        heard = ask(opened.port, "auth", ASKED.format(passcode, pin))
        assert (heard.status, heard.reply) == (1, "Access-Reject")
        assert f'h323-return-code = "h323-return-code={code}"' in heard.attributes


def test_radclient_hears_nothing_without_the_secret_or_a_signature(opened: Opened, ask: Radclient) -> None:
    once = ("-r", "1", "-t", "1")
    assert "No reply" in ask(opened.port, "auth", ASKED.format("7784321", "004127"), *once, secret="wrong").said
    assert opened.dropped("wrong_secret") == 1
    unsigned = 'User-Name = "7784321", User-Password = "004127"'
    # Newer ones sign by themselves, and are then answered.
    if "No reply" in ask(opened.port, "auth", unsigned, *once).said:
        assert opened.dropped("not_signed") == 1
    assert "No reply" in ask(opened.accounting_port, "acct", "Acct-Status-Type = Start", *once, secret="wrong").said
    assert opened.dropped("wrong_secret") == 2


def test_radclient_tells_who_joined_and_who_left(opened: Opened, ask: Radclient) -> None:
    for status, event in (("Start", "joined"), ("Interim-Update", None), ("Stop", "left"), ("Accounting-On", None)):
        heard = ask(opened.accounting_port, "acct", f'Acct-Status-Type = {status}, Acct-Session-Id = "17"')
        assert (heard.status, heard.reply) == (0, "Accounting-Response")
        if event is not None:
            assert opened.calls(event) == 1
    assert (opened.calls("joined"), opened.calls("left")) == (1, 1)


def test_radclient_finds_both_ports_alive(opened: Opened, ask: Radclient) -> None:
    for port, reply in ((opened.port, "Access-Accept"), (opened.accounting_port, "Accounting-Response")):
        heard = ask(port, "status", "Message-Authenticator = 0x00")
        assert (heard.status, heard.reply) == (0, reply)


def test_many_requests_at_once_are_all_answered_and_counted_once(
    opened: Opened, ask: Radclient, tmp_path: Path
) -> None:
    """Half of them are accepted; what is lost on the way is sent again, and counts once all the same."""
    request = ASKED.format("7784321", "004127") + "\n\n" + ASKED.format("7784321", "4321") + "\n\n"
    questions = tmp_path / "questions"
    questions.write_text(request * 1500)
    heard = ask(opened.port, "auth", "", "-q", "-s", "-p", "100", "-r", "4", "-t", "2", "-f", str(questions))
    assert {"Accepted", "Rejected", "Lost"} == set(
        re.findall(r"^\s+(Accepted|Rejected|Lost) ", heard.said, re.MULTILINE)
    )
    assert re.search(r"Accepted +: 1500\n\s+Rejected +: 1500\n\s+Lost +: 0\n", heard.said)
    assert (opened.verifications("accepted"), opened.verifications("unknown_pin")) == (1500, 1500)


# FreeRADIUS in front


_RADIUSD: Final = """
prefix = /usr
libdir = /usr/lib/freeradius
logdir = {folder}
run_dir = {folder}
pidfile = {folder}/pid
max_requests = 1024
security {{
	reject_delay = 0
	status_server = yes
}}
proxy_requests = yes
$INCLUDE proxy.conf
thread pool {{
	start_servers = 2
	max_servers = 4
	min_spare_servers = 1
	max_spare_servers = 3
}}
modules {{
	always ok {{
		rcode = ok
	}}
}}
$INCLUDE rollcall
"""


class Proxy(NamedTuple):
    """FreeRADIUS with the files that are shipped."""

    port: int
    accounting_port: int
    log: Path


@pytest.fixture
def proxy(opened: Opened, tmp_path: Path) -> Iterator[Proxy]:
    """The shipped files, with nothing changed but addresses and ports."""
    freeradius = program("freeradius")
    folder = tmp_path / "freeradius"
    folder.mkdir(mode=0o700)
    ports = free_udp_ports()
    changes = {
        "proxy.conf": [("port = 1812", f"port = {opened.port}")],
        "rollcall": [
            ("port = 1645", f"port = {ports[0]}"),
            ("port = 1646", f"port = {ports[1]}"),
            ("ipaddr = 192.0.2.10", "ipaddr = 127.0.0.1"),
        ],
    }
    for name, replacements in changes.items():
        text = (CONFIGS / "freeradius" / name).read_text()
        for old, new in replacements:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (folder / name).write_text(text)
    (folder / "radiusd.conf").write_text(_RADIUSD.format(folder=folder))
    log = folder / "output"
    environment = os.environ | {"ROLLCALL_RADIUS_SECRET": SECRET, "GATEWAY_RADIUS_SECRET": GATEWAYS_SECRET}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [freeradius, "-f", "-xx", "-l", "stdout", "-d", str(folder)], env=environment, stdout=output, stderr=output
        )
    try:
        wait_until(lambda: "Ready to process requests" in log.read_text() or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        yield Proxy(*ports, log)
    finally:
        process.terminate()
        process.wait(30)


def test_freeradius_with_the_shipped_files_hands_on_questions_and_answers(
    opened: Opened, proxy: Proxy, ask: Radclient
) -> None:
    accepted = ask(proxy.port, "auth", ASKED.format("7784321", "004127"), secret=GATEWAYS_SECRET)
    assert (accepted.status, accepted.reply) == (0, "Access-Accept"), proxy.log.read_text()
    assert 'Cisco-AVPair = "h323-ivr-in=first-name:Mike"' in accepted.attributes
    rejected = ask(proxy.port, "auth", ASKED.format("7784321", "4321"), secret=GATEWAYS_SECRET)
    assert (rejected.status, rejected.reply) == (1, "Access-Reject")
    assert 'h323-return-code = "h323-return-code=2"' in rejected.attributes
    start = 'Acct-Status-Type = Start, Acct-Session-Id = "17"'
    assert ask(proxy.accounting_port, "acct", start, secret=GATEWAYS_SECRET).status == 0
    assert opened.calls("joined") == 1


def test_freeradius_with_the_shipped_files_lets_nobody_in_while_the_daemon_is_silent(
    opened: Opened, proxy: Proxy, ask: Radclient
) -> None:
    assert opened.daemon.stop() == 0
    heard = ask(proxy.port, "auth", ASKED.format("7784321", "004127"), secret=GATEWAYS_SECRET)
    assert (heard.status, heard.reply) == (1, "Access-Reject"), proxy.log.read_text()
    assert 'h323-return-code = "h323-return-code=8"' in heard.attributes
