"""Every address of the site, asked in every way by every role: a plain answer, and nothing that broke.

FUZZ_REQUESTS is how many requests there are for each role. What is asked is the same in each run.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import random
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final
from urllib.parse import quote, urlencode

import pytest
import structlog
from aiohttp import ClientError, ClientTimeout, hdrs
from aiohttp.test_utils import TestServer
from aiohttp.web_runner import BaseRunner
from yarl import URL

from admin import keys
from admin.app import _runner, make_app
from loader.keyring import Keyring
from loader.settings import Settings
from loader.store import Store
from tests.unit.admin.calls import Calls
from tests.unit.admin.conftest import USERS, Browser, NewBrowser, fast_signing, list_file

REQUESTS: Final = int(os.environ.get("FUZZ_REQUESTS") or 150)
METHODS: Final = ("GET", "GET", "POST", "POST", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "X")
KNOWN: Final = {
    "level": ["organizer", "authorization_code", "company"],
    "owner": ["olive", "11", "one", "tina"],
    "company": ["one", "two"],
    "id": ["A-1", "B-1", "1", "org"],
    "kind": ["user", "organizer", "conference", "authorization_code"],
    "revision": ["1"],
    "at": ["0", "2"],
    "file": ["list.csv", "list.xlsx", "roll.csv", "roll.xlsx"],
    "word": ["x" * 43],
}  # fmt: skip
ODD: Final = [
    "", " ", "0", "1", "-1", "00", "1" * 9, "9" * 400, "1e9", "NaN", "9999-12-31", "0001-01-01", "2026-02-30", "24:00",
    "\0", "\r\n", "\n", "x" * 300, "é", "株式会社", "😀", "\u2028", "\\ud800", "\u0663", "²", "\ufeff", "\x7f", "../../etc", "'\"><b>x",
    "{{7*7}}", "%(name)s", "%s", "organizer:olive", "organizer:tina", "nobody:x", ":", "again:1", "again:x", "delete:0",
    "Europe/Paris", "../UTC", "on", "sup@example.com", "a@b\r\nBcc: c@d", "https://[::1", "https://example.com/", "//x",
    "javascript:x", "fr", "xx", "pin", "descending",
]  # fmt: skip
HEADERS: Final[list[dict[str, str]]] = [
    {},
    {},
    {},
    {hdrs.ORIGIN: "http://["},
    {hdrs.ORIGIN: "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {hdrs.HOST: "["},
    {hdrs.HOST: "x" * 2000},
    {hdrs.ACCEPT_LANGUAGE: "de;q=x, _, -, " + "x-" * 500},
    {hdrs.COOKIE: 'rollcall="; rollcall-language=\\; a'},
    {hdrs.COOKIE: "rollcall=" + "x" * 3000},
    {hdrs.IF_MODIFIED_SINCE: "yesterday", hdrs.IF_NONE_MATCH: "*", hdrs.RANGE: "bytes=9-1"},
    {hdrs.CONTENT_ENCODING: "gzip"},
    {hdrs.CONTENT_ENCODING: "x"},
    {hdrs.USER_AGENT: "\xff" * 300},
    {"X-Forwarded-For": "[, ]"},
    {hdrs.UPGRADE: "websocket", hdrs.CONNECTION: "upgrade"},
]
MEDIA_TYPES: Final = [
    "application/x-www-form-urlencoded",
    *(
        f"application/x-www-form-urlencoded; charset={name}"
        for name in ("x", "utf-16", "unicode_escape", "hex", "idna")
    ),
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=" + "b" * 100,
    "multipart/mixed; boundary=b",
    "application/json",
    "text/plain",
    "/",
    "",
]
PARTS: Final = [
    "",
    "",
    "",
    "Content-Type: text/plain; charset=raw_unicode_escape\r\n",
    "Content-Transfer-Encoding: base64\r\n",
]
NEVER: Final = re.compile(r"Traceback|File \"|\.py\b|site-packages|sqlalchemy")


class _Served(TestServer):
    """The site as it is served."""

    async def _make_runner(self, **_kwargs: Any) -> BaseRunner:
        return _runner(self.app, 100)


@pytest.fixture
async def server(store: Store, keyring: Keyring, settings: Settings) -> AsyncIterator[TestServer]:
    served = _Served(make_app(settings, store, keyring, signing=fast_signing(store, keyring)))
    await served.start_server()
    yield served
    await served.close()


class Asking:
    """One role's browser, and chance."""

    def __init__(self, browser: Browser, chance: random.Random, paths: list[str], fields: list[str]) -> None:
        self._browser, self._chance, self._paths, self._fields = browser, chance, paths, fields

    def _path(self) -> str:
        """An address of the site with what may or may not be there in its places."""

        def place(match: re.Match[str]) -> str:
            known = KNOWN.get(match[1], ["x"])
            return quote(self._chance.choice(known if self._chance.random() < 0.8 else ODD), safe="")

        path = re.sub(r"\{(\w+)\}", place, self._chance.choice(self._paths))
        if self._chance.random() < 0.4:
            path += "?" + urlencode(self._pairs(), errors="surrogatepass")
        return path

    def _pairs(self) -> list[tuple[str, str]]:
        chosen = self._chance.sample(self._fields, self._chance.randint(0, min(12, len(self._fields))))
        return [(name, self._chance.choice(ODD)) for name in chosen]

    def _body(self, media_type: str) -> bytes:
        pairs = [*self._pairs(), ("csrf", self._browser.csrf if self._chance.random() < 0.9 else "x")]
        self._chance.shuffle(pairs)
        if media_type.startswith("multipart/form-data; boundary=b"):
            mark = media_type.rpartition("=")[2]
            pairs.sort(key=lambda pair: pair[0] != "csrf")
            parts = [
                f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n{part}\r\n{value}\r\n'
                for name, value in pairs
                for part in [self._chance.choice(PARTS)]
            ]
            name = self._chance.choice(["list.csv", "", "x" * 500, "list.xlsx", '\\"/../x.csv', "\udcff.csv"])
            parts.append(
                f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
                + self._chance.choice([list_file("1234").decode(), "", "PK\x03\x04", "\0" * 50])
                + "\r\n"
            )
            whole = "".join([*parts, f"--{mark}--\r\n"]).encode("utf-8", "surrogateescape")
            return whole if self._chance.random() < 0.8 else whole[: self._chance.randint(0, len(whole))]
        form = urlencode(pairs).encode()
        return self._chance.choice(
            [form, form, form, form, gzip.compress(form), b"\xff\xfe%zz=%&&=;" + form, b"{}", b""]
        )

    async def once(self) -> str:
        """Ask once; what was asked, after it was seen to be answered plainly."""
        method, path = self._chance.choice(METHODS), self._path()
        headers = dict(self._chance.choice(HEADERS))
        body = b""
        if method not in ("GET", "HEAD", "TRACE"):
            headers[hdrs.CONTENT_TYPE] = self._chance.choice(MEDIA_TYPES[: 1 if self._chance.random() < 0.5 else None])
            body = self._body(headers[hdrs.CONTENT_TYPE])
        asked = f"{method} {path} {headers} {body[:300]!r}"
        try:
            async with self._browser.client.session.request(
                method,
                URL(str(self._browser.client.make_url("/")).rstrip("/") + path, encoded=True),
                headers=headers,
                data=body or None,
                allow_redirects=False,
                timeout=ClientTimeout(20),
                skip_auto_headers=[hdrs.CONTENT_TYPE],
            ) as answer:
                assert answer.status < 500, asked
                # A stream is not waited for to its end.
                shown = "" if answer.content_type == "text/event-stream" else (await answer.read()).decode("latin-1")
        except ConnectionError:
            pytest.fail(f"not answered: {asked}")
        except (ClientError, ValueError):
            # The client would not ask it, or not read it: asked by hand below.
            return asked
        if not answer.content_disposition:
            assert NEVER.search(shown) is None, asked
        return asked


def _paths(server: TestServer) -> Iterator[str]:
    for resource in server.app.router.resources():
        yield resource.canonical


@pytest.mark.parametrize("role", [None, *USERS])
async def test_whatever_is_asked_is_answered_plainly(
    browser: NewBrowser, server: TestServer, store: Store, keyring: Keyring, role: str | None
) -> None:
    calls = Calls(store, keyring)
    await calls.tell(calls.admitted("1", "1000"), calls.joined("1", 1))
    await calls.end()
    opened = await browser(role)
    paths = sorted({path for path in _paths(server) if not path.startswith("/static")} - {"/signout"})
    fields = await _fields(opened, paths)
    asking = Asking(opened, random.Random(f"{role}"), paths, fields)
    with structlog.testing.capture_logs() as logged:
        for _ in range(REQUESTS):
            asked = await asking.once()
            broken = [line for line in logged if line["log_level"] in ("error", "critical")]
            assert not broken, asked
    await server.app[keys.MAILER].drained()


async def _fields(opened: Browser, paths: list[str]) -> list[str]:
    """The names of all fields that the pages of this role have."""
    names: set[str] = {"next", "q", "page", "sort", "column", "since", "until", "style"}
    for path in paths:
        filled = re.sub(r"\{(\w+)\}", lambda match: KNOWN.get(match[1], ["x"])[0], path)
        if filled.endswith("/events"):
            continue
        async with opened.client.session.get(opened.client.make_url(filled), allow_redirects=False) as answer:
            if answer.content_type == "text/html":
                text = await answer.text()
                names.update(re.findall(r'\bname="([^"]+)"', text))
                if found := re.search(r'name="csrf" value="([^"]+)"', text):
                    opened.csrf = found[1]
    return sorted(names - {"csrf"})


RAW: Final = [
    b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /signin?next=\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /signin HTTP/1.1\r\nHost: x\r\nCookie: rollcall=\xff\xfe\r\n\r\n",
    b"GET /signin HTTP/1.1\r\nHost: x\r\nAccept-Language: \xff\r\nUser-Agent: \xff\r\n\r\n",
    b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET //[/signin HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /signin HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 9000 + b"\r\n\r\n",
    b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /signin HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /signin HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /signin HTTP/1.1\r\nHost: x\r\nOrigin: http://\xff[\r\nContent-Length: 0\r\n\r\n",
    b"POST /signin HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    b"GET /signin HTTP/9.9\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b"\r\n\r\nnonsense\r\n\r\n",
]


@pytest.mark.parametrize("sent", RAW, ids=range(len(RAW)))
async def test_what_no_browser_would_send_is_answered_too(
    server: TestServer, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """With a status, not with silence; with nothing of the inside, and without a word in the log."""
    with structlog.testing.capture_logs() as logged:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(sent)
        async with asyncio.timeout(10):
            answer = await reader.read(65536)
        writer.close()
        await writer.wait_closed()
    first, _, rest = answer.partition(b"\r\n")
    assert re.match(rb"HTTP/1\.[01] [234][0-9][0-9] ", first), answer[:200]
    assert NEVER.search(rest.decode("latin-1")) is None, rest
    assert b"Server: Rollcall\r\n" in rest
    assert not [line for line in logged if line["log_level"] in ("error", "critical")]
    assert not [record for record in caplog.records if record.name.startswith("aiohttp")]


@pytest.mark.parametrize("charset", ["unicode_escape", "utf-16", "idna", "hex", "x"])
async def test_a_form_is_utf_8(browser: NewBrowser, charset: str) -> None:
    """As every browser sends it to a page that is; no other charset is even tried."""
    opened = await browser("org")
    body = urlencode({"csrf": opened.csrf, "language": "\\ud800"}).encode()
    media_type = f"application/x-www-form-urlencoded; charset={charset}"
    answer = await opened.client.post("/language", data=body, headers={hdrs.CONTENT_TYPE: media_type})
    assert answer.status == 403


async def test_half_a_surrogate_is_no_character_of_a_form(browser: NewBrowser) -> None:
    opened = await browser("org")
    part = "--b\r\nContent-Disposition: form-data; name="
    escaped = "\r\nContent-Type: text/plain; charset=raw_unicode_escape\r\n\r\n\\ud800\r\n"
    body = f'{part}"csrf"\r\n\r\n{opened.csrf}\r\n{part}"language"{escaped}--b--\r\n'
    media_type = "multipart/form-data; boundary=b"
    answer = await opened.client.post("/language", data=body.encode(), headers={hdrs.CONTENT_TYPE: media_type})
    assert answer.status == 403


async def test_a_file_may_have_any_name(browser: NewBrowser) -> None:
    """Also one that is not UTF-8."""
    opened = await browser("org")
    await opened.get("/upload")
    part = b"--b\r\nContent-Disposition: form-data; name="
    fields = [("csrf", opened.csrf), ("owner", "organizer:olive"), ("policy", "on")]
    body = b"".join(b'%b"%b"\r\n\r\n%b\r\n' % (part, name.encode(), value.encode()) for name, value in fields)
    body += part + b'"file"; filename="\xff.csv"\r\n\r\n' + list_file("1234") + b"\r\n--b--\r\n"
    headers = {hdrs.CONTENT_TYPE: "multipart/form-data; boundary=b"}
    answer = await opened.client.post("/upload", data=body, headers=headers, allow_redirects=False)
    assert answer.status == 303
    assert (await opened.get(answer.headers["Location"])).status == 200
