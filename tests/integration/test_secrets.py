"""Nothing leaks: after a full run, PINs, passcodes, tokens and keys stand nowhere but where they are meant to be."""

import base64
import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.integration.conftest import Start
from tests.integration.processes import HEADER, Daemon, Installation, wait_until

# Unmistakable: no port, time or count looks like one of these.
LISTED = "8806417735"
OTHERS = ["8806417736", "8806417737", "8806417738", "8806417739"]
KEYED_WRONG = "9917350042"
WRONG_PASSCODE = "6613907755"
GOOD_PASSCODE = "7784321"
WRONG_TOKEN = "rc_not-a-token-of-any-switch"


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    """One that is made in the test, so that all it says is heard."""
    return Installation(tmp_path, ROLLCALL_LOGS__LEVEL="debug")


def list_file(installation: Installation, name: str, *lines: str) -> str:
    file = installation.folder / name
    file.write_text(HEADER + "".join(f"{line}\n" for line in lines))
    return str(file)


def entry(pin: str) -> str:
    return f"{pin},Mike,Doe,XYZ,+1 555 0100,mike@example.com,Uxbridge,UK,"


def use_the_tool(installation: Installation) -> None:
    """Every command that has to do with PINs, going well and not."""
    owner = ("--organizer", "alicia")
    good = list_file(installation, "good.csv", *map(entry, [LISTED, *OTHERS]))
    installation.rollcall("import", good, *owner, "--dry-run")
    installation.rollcall("import", good, *owner)
    changed = list_file(installation, "changed.csv", *map(entry, [LISTED, OTHERS[0]]))
    installation.rollcall("import", changed, *owner, "--dry-run")
    installation.rollcall("import", changed, *owner)
    installation.rollcall("import", good, "--organizer", "nobody", status=1)
    installation.rollcall("lookup", GOOD_PASSCODE, "-", stdin=f"{LISTED}\n")
    installation.rollcall("lookup", GOOD_PASSCODE, "-", stdin=f"{KEYED_WRONG}\n")
    installation.rollcall("lookup", WRONG_PASSCODE, "-", stdin=f"{KEYED_WRONG}\n")
    for arguments in (("status",), ("status", "--format", "json"), ("switch", "list"), ("key", "rotate")):
        installation.rollcall(*arguments)


def questions(token: str) -> Iterator[bytes]:
    """Good ones, wrong ones, and PINs in every place where they do not belong."""

    def post(
        body: bytes,
        media_type: str = "application/json",
        path: str = "/v1/verify",
        *,
        token: str = token,
        more: str = "",
    ) -> bytes:
        return (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: {media_type}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
        ).encode() + body

    for pin in (LISTED, OTHERS[0], KEYED_WRONG, OTHERS[3]):
        for passcode in (GOOD_PASSCODE, WRONG_PASSCODE):
            body = json.dumps({"passcode": passcode, "pin": pin, "call_id": "1.17", "caller": "+15550100"}).encode()
            yield post(body)
            yield post(body, path="/v1/verify.txt")
            yield post(body, token=WRONG_TOKEN)
            yield post(f"passcode={passcode}&pin={pin}".encode(), "application/x-www-form-urlencoded")
    wrong = KEYED_WRONG.encode()
    yield post(b'{"passcode": ' + wrong + b', "pin": ' + wrong + b"}")
    yield post(b'{"pin": "' + wrong)
    yield post(b'{"' + wrong + b'": 1}')
    yield post(b'{"passcode": "1", "pin": "\xff' + wrong + b'"}')
    yield post(b"pin=%ff" + wrong, "application/x-www-form-urlencoded")
    yield post(wrong, f"text/{KEYED_WRONG}")
    yield post(wrong, more=f"Content-Encoding: {KEYED_WRONG}\r\n")
    yield post(wrong, more=f"Expect: {KEYED_WRONG}\r\n")
    yield post(wrong, more=f"Content-Length: {KEYED_WRONG}\r\n")
    yield post(wrong, more=f"{KEYED_WRONG}\r\n")
    yield post(wrong, path=f"/v1/verify/{KEYED_WRONG}?pin={KEYED_WRONG}")
    yield post(wrong * 500)
    yield f"{KEYED_WRONG} /v1/verify HTTP/1.1\r\n\r\n".encode()
    yield f"GET /v1/verify?pin={KEYED_WRONG} HTTP/{KEYED_WRONG}\r\n\r\n".encode()
    yield f"PIN{KEYED_WRONG} / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    for path in (
        f"/v1/conferences/{WRONG_PASSCODE}",
        f"/{KEYED_WRONG}",
        f"/v1/conferences/{quote(KEYED_WRONG + '/é')}",
    ):
        yield f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


def ask(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while some := connection.recv(65536):
                answer += some
        except ConnectionError:
            pass
        return answer


def use_the_daemon(installation: Installation, daemon: Daemon, token: str) -> list[bytes]:
    """All that it answers, on both ports; meanwhile its database breaks, and its settings do."""
    answers = [ask(daemon.port, request) for request in questions(token)]
    assert any(b'"result":"accepted"' in answer for answer in answers)
    assert any(b'"reason":"unknown_pin"' in answer for answer in answers)
    answers += [ask(daemon.ops_port, request) for request in questions(token)]
    installation.key.rename(installation.folder / "away.key")
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: daemon.has_logged("settings_refused"))
    (installation.folder / "away.key").rename(installation.key)
    moved = installation.database.rename(installation.folder / "away.db")
    wait_until(lambda: daemon.has_logged("database_unavailable"))
    answers += [ask(daemon.ops_port, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
                for path in ("/metrics", "/readyz", "/healthz")]  # fmt: skip
    moved.rename(installation.database)
    wait_until(lambda: daemon.has_logged("database_back"))
    return answers


def test_no_secret_stands_anywhere_after_a_full_run(installation: Installation, start: Start) -> None:
    token = installation.set_up()
    use_the_tool(installation)
    daemon = start().wait_until_ready()
    answers = use_the_daemon(installation, daemon, token)
    assert daemon.stop() == 0

    keys = [line.split()[1] for line in installation.key.read_text().splitlines()]
    pins = [LISTED, *OTHERS, KEYED_WRONG]
    told = {
        "what the tool said": "".join(installation.said).encode(),
        "the log": daemon.log.encode(),
        "the answers": b"".join(answers),
        "the database": b"".join(part.read_bytes() for part in installation.folder.glob("rollcall.db*")),
    }
    assert all(told.values())
    for where, text in told.items():
        for secret in (*pins, WRONG_PASSCODE, token, WRONG_TOKEN, *keys):
            assert secret.encode() not in text, f"{secret} stands in {where}"
        for key in keys:
            assert base64.b64decode(key) not in text, f"a key stands in {where}"
    # The conferences' passcodes are the database's to keep, and nobody else's.
    for where in ("what the tool said", "the log", "the answers"):
        assert GOOD_PASSCODE.encode() not in told[where], where
    assert "Traceback" not in daemon.log


def test_a_refused_file_is_told_to_its_owner_alone(installation: Installation) -> None:
    """`import` quotes what is wrong for who runs it; the names that it changes are told without PINs."""
    installation.set_up()
    file = list_file(installation, "bad.csv", entry(LISTED), entry(LISTED), entry("12"))
    out = installation.rollcall("import", file, "--organizer", "alicia", status=1)
    assert "line 3" in out
    assert "nothing was changed" in installation.said[-1]
