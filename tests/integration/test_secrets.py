"""Nothing leaks: PINs keyed in every place where they do not belong, and faults inside, with all that can be logged.

Each place has a PIN of its own, so that a leak names where it came from.
"""

from __future__ import annotations

import base64
import json
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from loader.compiled import compile_list
from loader.keyring import Keyring
from loader.model import Entry, Level, Owner, Pin
from tests.integration.conftest import Start
from tests.integration.processes import HEADER, Daemon, Installation, wait_until
from tests.unit.daemon.faults import execute, renamed

PASSCODE = "7784321"
NAME = "Zwackelmann"
PASSWORD = "hush-8e1f-quite"
WRONG_TOKEN = "rc_unmistakable-but-of-no-switch"
COMPANY = Owner(Level.COMPANY, "globaltest")


class Secrets:
    """Makes PINs up, each for one place, and finds them again."""

    def __init__(self) -> None:
        self.places: dict[str, str] = {}

    def pin(self, place: str) -> str:
        """Ten digits that look like no port, time or count."""
        assert place not in self.places
        self.places[place] = f"90417{len(self.places):02}553"
        return self.places[place]

    def found_in(self, text: bytes) -> list[str]:
        return [place for place, pin in self.places.items() if pin.encode() in text]


@pytest.fixture
def secrets() -> Secrets:
    return Secrets()


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    """One that is made in the test, so that all it says is heard."""
    return Installation(tmp_path, ROLLCALL_LOGS__LEVEL="debug")


def line(pin: str) -> str:
    return f"{pin},Mike,{NAME},XYZ,+1 555 0100,mike@example.com,Uxbridge,UK,\n"


def list_file(installation: Installation, *lines: str) -> str:
    file = installation.folder / f"list-{len(list(installation.folder.iterdir()))}.csv"
    file.write_text(HEADER + "".join(lines))
    return str(file)


def use_the_tool(installation: Installation, secrets: Secrets) -> None:
    """What has to do with PINs and goes well, or fails for a reason that has nothing to do with the list."""
    good = list_file(installation, line(secrets.pin("listed")), line(secrets.pin("listed too")))
    installation.rollcall("import", good, "--organizer", "alicia", "--dry-run")
    for owner in (("--organizer", "alicia"), ("--company", "globaltest")):
        installation.rollcall("import", good, *owner)
    installation.rollcall("import", good, "--organizer", "nobody", status=1)
    for keyed in (secrets.places["listed"], secrets.pin("looked up in vain")):
        installation.rollcall("lookup", PASSCODE, "-", stdin=f"{keyed}\n")
    installation.rollcall("status")


def refuse_a_list(installation: Installation, secrets: Secrets) -> str:
    """A list with errors, which are told to whoever imports it; its standard output."""
    pin = secrets.pin("refused")
    bad = list_file(installation, line(pin), line(pin), "12345,Mike\n")
    out = installation.rollcall("import", bad, "--organizer", "alicia", status=1)
    # What is told to the one who brought the list is no leak; all else that is said, is.
    installation.said.remove(out)
    return out


def post(body: bytes, *headers: str, token: str, path: str = "/v1/verify") -> bytes:
    told = [f"POST {path} HTTP/1.1", "Host: x", "Connection: close", f"Authorization: Bearer {token}", *headers]
    if not any(header.lower().startswith(("content-length", "transfer-encoding")) for header in headers):
        told.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*told, "", ""]).encode() + body


def well_formed(secrets: Secrets, token: str) -> list[bytes]:
    """Accepted and rejected questions in every form."""
    requests = []
    listed, pin = secrets.places["listed"], secrets.pin("unknown")
    for keyed in (listed, pin):
        body = json.dumps({"passcode": PASSCODE, "pin": keyed, "call_id": "1.17", "caller": "+15550100"}).encode()
        for path in ("/v1/verify", "/v1/verify.txt"):
            requests += [
                post(body, "Content-Type: application/json", token=token, path=path),
                post(body, "Content-Type: application/json", token=WRONG_TOKEN, path=path),
                post(
                    f"passcode={PASSCODE}&pin={keyed}".encode(),
                    "Content-Type: application/x-www-form-urlencoded",
                    token=token,
                    path=path,
                ),
            ]
    passcode = secrets.pin("unknown passcode")
    body = json.dumps({"passcode": passcode, "pin": listed}).encode()
    requests.append(post(body, "Content-Type: application/json", token=token))
    for known in (PASSCODE, passcode):
        requests.append(
            f"GET /v1/conferences/{known} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"Authorization: Bearer {token}\r\n\r\n".encode()
        )
    return requests


def malformed(secrets: Secrets, token: str) -> list[bytes]:
    """PINs in every part of a request."""
    json_type = "Content-Type: application/json"
    form_type = "Content-Type: application/x-www-form-urlencoded"
    bodies = {
        "a number": '{"passcode": "1", "pin": %s}',
        "a number as passcode": '{"passcode": %s, "pin": "1"}',
        "a list": '{"passcode": "1", "pin": ["%s"]}',
        "too long": '{"passcode": "1", "pin": "%s0000000000000000000000000"}',
        "a key": '{"%s": "1"}',
        "an unknown field": '{"passcode": "1", "pin": "1", "note": "%s"}',
        "broken off": '{"passcode": "1", "pin": "%s',
        "followed by something": '{"passcode": "1", "pin": "%s"} x',
        "an escape that is none": '{"passcode": "1", "pin": "%s\\q"}',
        "a string": '"%s"',
        "half a surrogate": '{"passcode": "1", "pin": "%s\\ud800"}',
    }
    forms = {
        "a form's key": "%s=1",
        "a form's field twice": "passcode=1&pin=%s&pin=%s",
        "a form that is not UTF-8": "passcode=1&pin=%%ff%s",
    }
    requests = []
    for path in ("/v1/verify", "/v1/verify.txt"):
        requests += [
            post(body.replace("%s", secrets.pin(f"{place}, {path}")).encode(), json_type, token=token, path=path)
            for place, body in bodies.items()
        ]
        requests += [
            post(form.replace("%s", secrets.pin(f"{place}, {path}")).encode(), form_type, token=token, path=path)
            for place, form in forms.items()
        ]
    requests.append(post(b'{"pin": "\xff' + secrets.pin("not UTF-8").encode() + b'"}', json_type, token=token))
    requests.append(post(secrets.pin("too large").encode() * 1000, json_type, token=token))
    headers = {
        "media type": "Content-Type: text/%s",
        "charset": "Content-Type: application/json; charset=%s",
        "encoding": "Content-Encoding: %s",
        "expectation": "Expect: %s",
        "length": "Content-Length: %s",
        "length that is none": "Content-Length: %sx",
        "transfer encoding": "Transfer-Encoding: %s",
        "header": "X-PIN: %s",
        "header's name": "%s: 1",
        "no header": "%s",
        "cookie": "Cookie: pin=%s",
        "control character": "X-PIN: \x00%s",
        "long header": "X-PIN: " + "%s" * 900,
        "upgrade": "Connection: Upgrade\r\nUpgrade: %s",
    }
    requests += [
        post(b"{}", header.replace("%s", secrets.pin(place)), json_type, token=token)
        for place, header in headers.items()
    ]
    requests.append(post(b"{}", json_type, token=secrets.pin("token")))
    chunked = {
        "chunk's size": "%s\r\n{}\r\n0\r\n\r\n",
        "chunk's extension": "2;pin=%s\r\n{}\r\n0\r\n\r\n",
        "no chunk": "x%s\r\n{}\r\n0\r\n\r\n",
        "trailer": "2\r\n{}\r\n0\r\nX-PIN: %s\r\n\r\n",
    }
    requests += [
        post(body.replace("%s", secrets.pin(place)).encode(), json_type, "Transfer-Encoding: chunked", token=token)
        for place, body in chunked.items()
    ]
    first_lines = {
        "path": "GET /v1/verify/%s HTTP/1.1",
        "path of conferences": "GET /v1/conferences/%s/%s HTTP/1.1",
        "path that is not UTF-8": "GET /v1/conferences/%%ff%s HTTP/1.1",
        "query": "GET /v1/verify?pin=%s HTTP/1.1",
        "query of a question": "POST /v1/verify?pin=%s HTTP/1.1",
        "fragment": "GET /v1/verify#%s HTTP/1.1",
        "user of an address": "GET http://%s@127.0.0.1/v1/verify HTTP/1.1",
        "port of an address": "GET http://127.0.0.1:%s/ HTTP/1.1",
        "method": "PIN%s /v1/verify HTTP/1.1",
        "digits as method": "%s /v1/verify HTTP/1.1",
        "version": "GET /v1/verify HTTP/%s",
        "tunnel": "CONNECT %s:443 HTTP/1.1",
        "no request": "%s",
        "something else": "\x16\x03\x01%s",
    }
    requests += [
        f"{first.replace('%s', secrets.pin(place))}\r\nHost: x\r\nConnection: close\r\n\r\n".encode("latin-1")
        for place, first in first_lines.items()
    ]
    return requests


def damage_from_within(installation: Installation, pin: str) -> None:
    """Put a list in force that opens, as its seal is right, and turns out to be damaged when it is looked up in."""
    entry = Entry(Pin(pin), "Mike", NAME, "XYZ", "", "", "Uxbridge", "UK", "")
    block = compile_list([entry]).replace(b"\x1f", b"\x1e")
    with closing(sqlite3.connect(installation.database)) as connection:
        query = "SELECT revision, key_id FROM list_revision WHERE level = 'company'"
        ((revision, key_id),) = connection.execute(query).fetchall()
    (part,) = Keyring.load(installation.key).seal(COMPANY, revision, block, key_id=key_id)
    execute(
        installation.database,
        f"UPDATE list_part SET ciphertext = x'{part.hex()}' WHERE level = 'company'",
        f"UPDATE list_revision SET size = {len(block)} WHERE level = 'company'",
        "UPDATE feed SET position = position + 1",
        f"UPDATE change SET position = (SELECT position FROM feed) WHERE id = '{COMPANY.key}'",
    )


def bring_to_harm(installation: Installation, daemon: Daemon, secrets: Secrets, token: str) -> list[bytes]:
    """A fault while answering, one while following, a list that cannot be opened, settings that are wrong."""
    position = daemon.readiness.json["position"]
    pin = secrets.pin("of a damaged list")
    damage_from_within(installation, pin)
    wait_until(lambda: daemon.readiness.json["position"] > position)
    answers = [daemon.ask(token, pin).body]
    assert b"503" in answers[0]
    daemon.line("request_failed")

    with closing(sqlite3.connect(installation.database)) as connection:
        ((feed, position),) = connection.execute("SELECT id, position FROM feed").fetchall()
    execute(installation.database, "DELETE FROM feed")
    assert "Traceback" in daemon.line("reload_failed")["exception"]
    answers += look_around(daemon)
    execute(
        installation.database,
        "UPDATE list_part SET ciphertext = zeroblob(length(ciphertext)) WHERE owner_id = 'alicia'",
        f"UPDATE change SET position = {position + 1} WHERE id = 'organizer:alicia'",
        f"INSERT INTO feed VALUES ({feed}, {position + 1})",
    )
    daemon.line("list_not_opened")

    mend = renamed(installation.database)
    wait_until(lambda: [line["event"] for line in daemon.events].count("database_unavailable") >= 2)
    answers += look_around(daemon)
    mend()

    config = Path(installation.environment["ROLLCALL_CONFIG"])
    config.write_text(f'[daemon]\nstale_after = "{PASSWORD}"\n\n[database]\npassword = "{PASSWORD}"\n')
    daemon.signal(signal.SIGHUP)
    assert len(daemon.line("settings_refused")["problems"]) == 2
    return answers


def look_around(daemon: Daemon) -> list[bytes]:
    return [daemon.request("GET", path, ops=True).body for path in ("/metrics", "/readyz", "/healthz")]


def test_no_secret_is_told_whatever_is_keyed_and_whatever_fails(
    installation: Installation, secrets: Secrets, start: Start
) -> None:
    token = installation.set_up()
    (installation.folder / "rollcall.toml").write_text("")
    installation.environment["ROLLCALL_CONFIG"] = str(installation.folder / "rollcall.toml")
    use_the_tool(installation, secrets)
    refused = refuse_a_list(installation, secrets)
    assert "nothing was changed" in installation.said[-1]

    # In development mode Python says most.
    daemon = start(PYTHONDEVMODE="1").wait_until_ready()
    good = [daemon.send(request) for request in well_formed(secrets, token)]
    assert any(b'"result":"accepted"' in answer for answer in good)
    assert any(answer.endswith(b"rejected|unknown_pin") for answer in good)
    requests = malformed(secrets, token)
    wrong = [daemon.send(request) for request in requests]
    assert not any(b"accepted" in answer for answer in wrong)
    operations = [daemon.send(request, ops=True) for request in requests]
    operations += look_around(daemon)
    answers = [*good, *wrong, *operations, *bring_to_harm(installation, daemon, secrets, token)]
    assert daemon.ask(token, secrets.places["listed"]).json["participant"]["last_name"] == NAME
    assert daemon.stop() == 0

    said = "".join(installation.said).encode()
    log = daemon.log.encode()
    told = b"".join(answers)
    lists = {Path(file) for file in installation.folder.glob("*.csv")}
    files = {file for file in installation.folder.rglob("*") if file.is_file()}
    kept = b"".join(file.read_bytes() for file in files - lists - {installation.key})
    keys = [base64.b64decode(one.split()[1]) for one in installation.key.read_text().splitlines()]
    assert len(secrets.places) > 60
    for where, text in {"what the tool said": said, "the log": log, "the answers": told, "what is kept": kept}.items():
        assert text, where
        assert secrets.found_in(text) == [], where
        for key in keys:
            for form in (key, base64.b64encode(key), key.hex().encode()):
                assert form not in text, where
        for secret in (token, WRONG_TOKEN):
            assert secret.encode() not in text, where
    # Who is in a list is told by answers and by `rollcall lookup`.
    for where, text in {"the log": log, "what is kept": kept}.items():
        assert NAME.encode() not in text, where
    for where, text in {"what the tool said": said, "the log": log, "the answers": told}.items():
        assert PASSCODE.encode() not in text, where
        assert PASSWORD.encode() not in text, where
    assert "line 3" in refused
    # Nothing that should not happen has been told of either.
    assert not [one for one in daemon.log.splitlines() if "Warning" in one or "never retrieved" in one]
