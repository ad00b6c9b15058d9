"""Who may ask over RADIUS, and with which secret."""

from pathlib import Path

import pytest
import structlog

from daemon.doors.radius_clients import Clients
from daemon.doors.radius_packet import parse
from loader.errors import SettingsError
from tests.unit.daemon.doors.radius_gateway import access, clients_file

LONG = "a-secret-with-32-characters-or-so"


def reads(folder: Path, text: str) -> Clients:
    return Clients.read(str(clients_file(folder, text)))


def refusal(folder: Path, text: str) -> tuple[str, ...]:
    """What is said against a file with this text."""
    with pytest.raises(SettingsError) as raised:
        reads(folder, text)
    return raised.value.problems


def knows(clients: Clients, host: str, secret: str) -> bool:
    """Whether this host shares this secret."""
    found = clients.secret_of(host)
    return found is not None and parse(access(secret=secret.encode()).RequestPacket()).has_signature_of(found)


def test_the_most_specific_network_has_the_secret(tmp_path: Path) -> None:
    clients = reads(
        tmp_path,
        f"192.0.2.0/24 {LONG}-24\n192.0.2.7 {LONG}-32\n192.0.2.0/30 {LONG}-30\n0.0.0.0/0 {LONG}-0\n"
        f"2001:db8::/32 {LONG}-6\n2001:db8::7 {LONG}-7\n",
    )
    for host, which in (
        ("192.0.2.7", 32),
        ("192.0.2.3", 30),
        ("192.0.2.4", 24),
        ("198.51.100.1", 0),
        ("::ffff:192.0.2.7", 32),
        ("2001:db8::7", 7),
        ("2001:db8::8", 6),
    ):
        assert knows(clients, host, f"{LONG}-{which}"), host
    for host in ("2001:db9::7", "::1", "fe80::1%lo"):
        assert clients.secret_of(host) is None


def test_an_address_of_one_family_is_none_of_the_other(tmp_path: Path) -> None:
    clients = reads(tmp_path, f"::/0 {LONG}\n")
    assert clients.secret_of("0.0.0.0") is None
    assert knows(clients, "::1", LONG)


def test_a_secret_is_all_that_follows_the_address(tmp_path: Path) -> None:
    text = f"# 192.0.2.1 {LONG}\n\n  \n192.0.2.2\t {LONG} # und ümläute \r\n"
    clients = reads(tmp_path, text)
    assert clients.secret_of("192.0.2.1") is None
    assert knows(clients, "192.0.2.2", f"{LONG} # und ümläute")


def test_every_wrong_line_is_told_with_its_number_and_no_secret(tmp_path: Path) -> None:
    text = f"gateway {LONG}\n192.0.2.1 {LONG}\n192.0.2.1\n\n192.0.2.1/24 {LONG}\n192.0.2.1/32 {LONG}\n"
    problems = refusal(tmp_path, text)
    start = f"doors.radius.clients_file: {tmp_path}/radius-clients, line "
    hint = "does not begin with an address or a network, such as 192.0.2.7 or 192.0.2.0/24"
    assert problems == (
        f"{start}1: {hint}",
        f"{start}3: 192.0.2.1/32 has no secret",
        f"{start}5: {hint}",
        f"{start}6: 192.0.2.1/32 stands twice",
    )


@pytest.mark.parametrize("text", ["", "\n# 192.0.2.1 commented-out\n"])
def test_a_file_without_clients_is_refused(tmp_path: Path, text: str) -> None:
    assert refusal(tmp_path, text) == (f"doors.radius.clients_file: {tmp_path}/radius-clients: names no client",)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o601])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    file = clients_file(tmp_path)
    file.chmod(mode)
    with pytest.raises(SettingsError, match=r"can be read by others; make it yours alone with `chmod 600`$"):
        Clients.read(str(file))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^doors\.radius\.clients_file: must name the file with the clients$"):
        Clients.read("")
    with pytest.raises(SettingsError, match=r"/none: cannot be read: No such file or directory$"):
        Clients.read(str(tmp_path / "none"))
    file = clients_file(tmp_path)
    file.write_bytes(b"192.0.2.1 \xff\n")
    with pytest.raises(SettingsError, match=r"radius-clients: is not UTF-8 text$"):
        Clients.read(str(file))


def test_a_secret_that_can_be_guessed_is_warned_of(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logged:
        reads(tmp_path, f"192.0.2.1 testing123\n192.0.2.2 {LONG}\n192.0.2.3 {'x' * 16}\n")
    assert logged == [
        {"event": "radius_client_guessable", "log_level": "warning", "network": "192.0.2.1/32", "at_least": 16}
    ]


@pytest.mark.parametrize("line", ["fe80::1%eth0 {}", "fe80::1%{}", "fe80::%{}/64", "fe80::1%eth0\0{}"])
def test_an_address_has_no_zone_that_could_hold_a_secret(tmp_path: Path, line: str) -> None:
    """Python takes whatever follows a `%` for the name of an interface."""
    (problem,) = refusal(tmp_path, line.format(LONG) + "\n")
    assert "does not begin with an address or a network" in problem
    assert LONG not in problem
