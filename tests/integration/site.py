"""The web site as a process, and somebody in front of it."""

from __future__ import annotations

import asyncio
import html
import http.client
import json
import re
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from admin.signing import Signing
from loader.directory import apply_directory, parse_directory
from loader.keyring import Keyring
from loader.store import People, open_store
from tests.integration.processes import DIRECTORY, PATIENCE, PROGRAMS, Answered, Installation, free_port, wait_until

PASSWORD: Final = "a long enough password"
USER: Final = "alicia"
"""The organizer of the installation's conferences."""


class Site:
    """A web site as a process. Its log goes to a file of its own."""

    def __init__(self, installation: Installation, *arguments: str) -> None:
        self.port, self.ops_port = free_port(), free_port()
        self.environment = installation.environment | {
            "ROLLCALL_ADMIN__PORT": str(self.port),
            "ROLLCALL_ADMIN__OPS_PORT": str(self.ops_port),
            "ROLLCALL_MAIL__OUTBOX": str(installation.folder / "outbox"),
        }
        self._log = installation.folder / "admin.log"
        self._installation = installation
        self._arguments = arguments
        self.process: subprocess.Popen[bytes]

    def start(self, **settings: str) -> Site:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self._installation.under, PROGRAMS / "rollcall-admin", *self._arguments],
                env=self.environment | settings,
                stdout=log,
                stderr=log,
            )
        return self

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

    def wait_until_ready(self) -> Site:
        def is_ready() -> bool:
            assert self.process.poll() is None, self.log
            return bool(self.ready()["ready"])

        wait_until(is_ready)
        return self

    def kill(self) -> None:
        """Let nothing of it be left."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)


class Visitor:
    """A browser in front of a site: a cookie, and the word that the site's forms carry."""

    def __init__(self, port: int, *, timeout: float = 30.0) -> None:
        self._port, self._timeout = port, timeout
        self._cookie = self._csrf = ""

    def get(self, path: str) -> Answered:
        """Raises OSError, HTTPException where the site is gone."""
        answer = self._ask("GET", path, b"", {})
        found = re.search(rb'name="csrf" value="([^"]+)"', answer.body)
        if found is not None:
            self._csrf = html.unescape(found[1].decode())
        return answer

    def take_over(self, other: Visitor) -> None:
        """Be signed in as another window of the same browser is."""
        self._cookie, self._csrf = other._cookie, other._csrf

    def post(self, path: str, **fields: str) -> Answered:
        """Raises OSError, HTTPException where the site is gone."""
        body = urlencode({"csrf": self._csrf, **fields}).encode()
        return self._ask("POST", path, body, {"Content-Type": "application/x-www-form-urlencoded"})

    def sign_in(self) -> Visitor:
        self.get("/signin")
        assert self.post("/signin", name=USER, password=PASSWORD).status == 303
        self.get("/account")
        return self

    def upload(self, data: bytes, owner: str) -> Answered:
        """Upload a list; the answer leads to its preview."""
        fields = [("csrf", "", self._csrf.encode()), ("owner", "", owner.encode()), ("policy", "", b"on")]
        fields.append(("file", '; filename="list.csv"', data))
        body = b"".join(
            f'--part\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"
            for name, more, value in fields
        )
        return self._ask(
            "POST", "/upload", body + b"--part--\r\n", {"Content-Type": "multipart/form-data; boundary=part"}
        )

    def pour(self, size: int, *, chunked: bool) -> Answered:
        """Upload a list of so many bytes, all of them sent before the answer is read, as a browser does; none is kept."""
        begun = (
            f'--part\r\nContent-Disposition: form-data; name="csrf"\r\n\r\n{self._csrf}\r\n'
            '--part\r\nContent-Disposition: form-data; name="owner"\r\n\r\norganizer:alicia\r\n'
            '--part\r\nContent-Disposition: form-data; name="policy"\r\n\r\non\r\n'
            '--part\r\nContent-Disposition: form-data; name="file"; filename="list.csv"\r\n\r\n'
        ).encode()
        some = b"1234,Mike,Doe,XYZ,,,Uxbridge,UK,\n" * 30_000
        some = some[: 1 << 20].ljust(1 << 20)
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=self._timeout)) as connection:
            connection.putrequest("POST", "/upload")
            connection.putheader("Cookie", self._cookie)
            connection.putheader("Content-Type", "multipart/form-data; boundary=part")
            if chunked:
                connection.putheader("Transfer-Encoding", "chunked")
            else:
                connection.putheader("Content-Length", str(len(begun) + size))
            connection.endheaders()
            for chunk in (begun, *[some] * (size // len(some))):
                connection.send(b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)
            if chunked:
                connection.send(b"0\r\n\r\n")
            answer = connection.getresponse()
            return Answered(answer.status, dict(answer.getheaders()), answer.read())

    def confirm(self, preview: str, **fields: str) -> Answered:
        """Confirm what a preview shows."""
        found = re.search(rb'name="compared" value="([^"]+)"', self.get(preview).body)
        assert found is not None
        return self.post(preview, compared=html.unescape(found[1].decode()), **fields)

    def _ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answered:
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=self._timeout)) as connection:
            connection.request(method, path, body, headers | ({"Cookie": self._cookie} if self._cookie else {}))
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            if "set-cookie" in told:
                self._cookie = told["set-cookie"].partition(";")[0]
            return Answered(answer.status, told, answer.read())


def add_user(installation: Installation) -> None:
    """Add the organizer as a user of the site, with a password."""
    user = {"id": USER, "name": "Alicia Customer", "email": "alicia@example.com", "role": "organizer"}
    directory = {"company": [{**DIRECTORY["company"][0], "user": [user | {"organizer": "alicia"}]}]}

    async def add() -> None:
        async with open_store(f"sqlite:///{installation.database}") as store:
            await apply_directory(store, parse_directory(json.dumps(directory).encode(), format="json"))
            people = People(store)
            known = await people.user(USER)
            assert known is not None
            await Signing(store, people, Keyring.load(Path(installation.key))).set_password(known, PASSWORD)

    asyncio.run(add())
