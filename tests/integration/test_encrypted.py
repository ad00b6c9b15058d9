"""TLS with the real programs, and with clients of others."""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.integration.conftest import Start
from tests.integration.processes import PROGRAMS, Installation, free_port, wait_until
from tests.integration.programs import program
from tests.unit.loader.certificates import Authority, put

BODY = json.dumps({"passcode": "7784321", "pin": "004127"})


class Certificates:
    """The files of a port, and of a client."""

    def __init__(self, folder: Path) -> None:
        self.authority, self.clients = Authority(), Authority("Clients")
        self.certificate, self.key = self.authority.signs().write(folder, "server")
        self.client = [str(path) for path in self.clients.signs("pbx-1").write(folder, "client")]
        self.stranger = [str(path) for path in Authority("Clients").signs("pbx-1").write(folder, "stranger")]
        self.ca, self.client_ca = folder / "ca.pem", folder / "clients.pem"
        put(self.ca, self.authority.certificate)
        put(self.client_ca, self.clients.certificate)

    def settings(self, section: str, *, mutual: bool = False) -> dict[str, str]:
        prefix = f"ROLLCALL_{section}__TLS__"
        files = {"CERTIFICATE": str(self.certificate), "KEY": str(self.key)}
        if mutual:
            files["CLIENT_CA"] = str(self.client_ca)
        return {prefix + name: value for name, value in files.items()}


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


def test_curl_is_answered_with_its_certificate_alone(
    installation: Installation, token: str, start: Start, certificates: Certificates
) -> None:
    """Mutual TLS, over both versions; without a certificate, or with a stranger's, curl gets nothing."""
    daemon = start(**certificates.settings("DAEMON", mutual=True)).wait_until_ready()

    def curl(*options: str) -> subprocess.CompletedProcess[str]:
        asked = ["--header", f"Authorization: Bearer {token}", "--json", BODY, "--max-time", "20"]
        address = f"https://localhost:{daemon.port}/v1/verify"
        command = [program("curl"), "--silent", "--cacert", str(certificates.ca), *options, *asked, address]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)

    certificate, key = certificates.client
    for version in ("--tlsv1.2", "--tlsv1.3"):
        done = curl(version, "--tls-max", version[-3:], "--cert", certificate, "--key", key)
        assert json.loads(done.stdout)["result"] == "accepted"
    stranger, key = certificates.stranger
    for options in ((), ("--cert", stranger, "--key", key)):
        done = curl(*options)
        assert done.returncode != 0
        assert done.stdout == ""
    refused = 'rollcall_handshakes_refused_total{port="daemon",why="%s"}'
    wait_until(lambda: daemon.metric(refused % "no_certificate") == 1)
    wait_until(lambda: daemon.metric(refused % "certificate") == 1)
    expires = daemon.metric('rollcall_certificate_expires_timestamp_seconds{port="daemon"}')
    assert expires is not None


@pytest.mark.parametrize(("version", "is_taken"), [("tls1_1", False), ("tls1_2", True), ("tls1_3", True)])
def test_openssl_finds_no_old_version(
    installation: Installation, token: str, start: Start, certificates: Certificates, version: str, is_taken: bool
) -> None:
    daemon = start(**certificates.settings("DAEMON"))
    wait_until(lambda: daemon.has_logged("listening"))
    command = [program("openssl"), "s_client", "-connect", f"127.0.0.1:{daemon.port}", f"-{version}"]
    command += ["-CAfile", str(certificates.ca), "-cipher", "ALL:@SECLEVEL=0", "-alpn", "h2,http/1.1"]
    done = subprocess.run(command, check=False, input="", capture_output=True, text=True, timeout=60)
    assert ("Verify return code: 0 (ok)" in done.stdout and "ALPN protocol: http/1.1" in done.stdout) is is_taken
    assert ("Cipher is (NONE)" in done.stdout) is not is_taken


def test_a_renewed_certificate_is_read_on_sighup_and_a_wrong_one_is_not(
    installation: Installation, token: str, start: Start, certificates: Certificates
) -> None:
    daemon = start(**certificates.settings("DAEMON")).wait_until_ready()

    def shown() -> str:
        return ssl.get_server_certificate(("127.0.0.1", daemon.port))

    first = shown()
    new = certificates.authority.signs()
    put(certificates.certificate, new.certificate)
    daemon.signal(signal.SIGHUP)
    assert "is not the key of" in daemon.line("certificate_refused")["problem"]
    assert shown() == first
    put(certificates.key, new.key)
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: shown() != first)
    assert daemon.has_logged("certificate_read")


def test_wrong_files_at_the_start_are_told_plainly(
    installation: Installation, token: str, start: Start, certificates: Certificates
) -> None:
    """Exit status 2, one line, and no port that speaks plain HTTP instead."""
    other = certificates.authority.signs()
    put(certificates.key, other.key)
    daemon = start(**certificates.settings("DAEMON"))
    assert daemon.process.wait(30) == 2
    assert daemon.line("cannot_run")["problem"] == (
        f"daemon.tls.key: {certificates.key} is not the key of {certificates.certificate}"
    )
    assert "Traceback" not in daemon.log


def test_a_door_has_a_certificate_of_its_own(
    installation: Installation, token: str, start: Start, certificates: Certificates
) -> None:
    port = free_port()
    opened = {"ROLLCALL_DOORS__VOICEXML__ENABLED": "true", "ROLLCALL_DOORS__VOICEXML__PORT": str(port)}
    daemon = start(**opened, **certificates.settings("DOORS__VOICEXML")).wait_until_ready()
    assert daemon.accepts(token, "004127")
    address = f"https://x:{token}@localhost:{port}/dialogue.vxml"
    command = [program("curl"), "--silent", "--cacert", str(certificates.ca), "--max-time", "20", address]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert "<vxml" in done.stdout


# The web site


@pytest.fixture
def site(installation: Installation) -> Iterator[Any]:
    processes: list[subprocess.Popen[str]] = []

    def start(**settings: str) -> tuple[subprocess.Popen[str], int]:
        port = free_port()
        environment = installation.environment | settings
        environment |= {"ROLLCALL_ADMIN__PORT": str(port), "ROLLCALL_ADMIN__OPS_PORT": str(free_port())}
        processes.append(
            subprocess.Popen([PROGRAMS / "rollcall-admin"], env=environment, stderr=subprocess.PIPE, text=True)
        )
        return processes[-1], port

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("url", ["", "https://rollcall.example.com"])
def test_the_site_with_a_certificate_keeps_browsers_to_https(site: Any, certificates: Certificates, url: str) -> None:
    """As it does behind a proxy: cookies for this host and over https alone, and HSTS; whether or not it has a url."""
    process, port = site(ROLLCALL_ADMIN__URL=url, **certificates.settings("ADMIN"))
    assert json.loads(process.stderr.readline())["event"] == "listening"
    context = ssl.create_default_context(cafile=str(certificates.ca))
    with urlopen(f"https://localhost:{port}/signin", timeout=20, context=context) as answer:
        assert answer.status == 200
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"
        (cookie,) = [one for one in answer.headers.get_all("Set-Cookie") if "rollcall=" in one]
    assert cookie.startswith("__Host-rollcall=")
    assert "; Secure" in cookie
    process.terminate()
    assert process.wait(30) == 0


def test_a_site_with_a_certificate_whose_url_says_otherwise_does_not_start(
    site: Any, certificates: Certificates
) -> None:
    process, _ = site(ROLLCALL_ADMIN__URL="http://rollcall.example.com", **certificates.settings("ADMIN"))
    assert process.wait(30) == 2
    assert "admin.url: must begin with https" in process.stderr.read()
