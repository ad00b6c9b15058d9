"""A real Kamailio with the configuration that is shipped, between a caller and a bridge made of sipp."""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.conftest import Start
from tests.integration.processes import HEADER, Daemon, Installation, wait_until
from tests.integration.programs import missing, program
from tests.integration.sip import Bridge, Phone, SipServer, call, free_udp_port

CONFIGURATION = Path(__file__).parents[2] / "configs" / "switches" / "kamailio" / "kamailio.cfg"
PASSCODE, OPEN = "7784321", "7784322"
PIN, INACTIVE = "004127", "5550199"
QUOTED = "5550177"
MANY = 300
REFUSED = "Passcode or PIN is not valid"


@pytest.fixture
def installation(made: tuple[Installation, str], installation: Installation) -> Installation:
    """With names that are awkward in a header."""
    file = installation.folder / "list.csv"
    people = (
        f"{PIN},Mike,Doe,XYZ,,,Uxbridge,UK,\n"
        f"{QUOTED},\"Ann \"\"Zoë\"\" \\ O'Neil\",$rU %0D%0A+ Doe;x=1 & <b>,XYZ,,,Uxbridge,UK,\n"
    )
    file.write_text(HEADER + people, encoding="utf-8")
    installation.rollcall("import", str(file), "--organizer", "alicia")
    return installation


Kamailio = Callable[..., SipServer]


@pytest.fixture
def kamailio(tmp_path: Path, token: str) -> Iterator[Kamailio]:
    """Starts Kamailio with these settings; what it logged must hold no PIN that the tests use."""
    servers: list[SipServer] = []

    def start(daemon_port: int, bridge_port: int, **more: str) -> SipServer:
        port = free_udp_port()
        settings = {
            "LISTEN": f"udp:127.0.0.1:{port}",
            "BRIDGE": f'"127.0.0.1:{bridge_port}"',
            "ROLLCALL": f'"http://127.0.0.1:{daemon_port}"',
            "ROLLCALL_TOKEN": f'"{token}"',
            **more,
        }
        defines = [part for name, value in settings.items() for part in ("-A", f"{name}={value}" if value else name)]
        command = [program("kamailio"), "-f", str(CONFIGURATION), "-DD", "-E", "-m", "32", "-Y", str(tmp_path)]
        servers.append(SipServer(tmp_path, port, [*command, *defines]))
        servers[-1].wait_until_it_answers()
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
        for pin in (PIN, INACTIVE, QUOTED, "9999"):
            assert pin not in server.log


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[Bridge]:
    bridge = Bridge(tmp_path, free_udp_port())
    yield bridge
    bridge.kill()


@pytest.fixture
def daemon(start: Start) -> Daemon:
    return start().wait_until_ready()


@pytest.fixture
def server(kamailio: Kamailio, daemon: Daemon, bridge: Bridge) -> SipServer:
    """All three, as they belong together."""
    return kamailio(daemon.port, bridge.port)


def test_who_is_accepted_reaches_the_bridge_with_his_name_and_without_his_pin(
    server: SipServer, bridge: Bridge, tmp_path: Path
) -> None:
    """To hang up goes through as well. The caller's own To header comes back to him as he sent it."""
    calls = call(tmp_path, server.port, f"{PASSCODE}*{PIN}")
    (invited,) = bridge.invited
    assert invited.first == f"INVITE sip:C-1001@127.0.0.1:{bridge.port} SIP/2.0"
    assert invited.header("X-Rollcall-Name") == '"Mike Doe"'
    assert invited.header("To") == f"<sip:C-1001@127.0.0.1:{bridge.port}>"
    assert not bridge.heard(PIN)
    assert not bridge.heard(PASSCODE)
    assert f"{PASSCODE}*{PIN}@" in str(calls.answer.header("To"))
    assert bridge.heard("BYE sip:")
