"""What stands around every page, and what a session is good for: by the requirements of `docs/security.md`."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
import logging
import re
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
import structlog
from aiohttp import BodyPartReader, FormData
from aiohttp.test_utils import TestClient, TestServer
from structlog.testing import capture_logs

from admin import keys
from admin.app import make_app
from admin.pages.signin import is_local
from admin.security import text_of
from admin.signing import Signing
from admin.turns import Busy
from loader.keyring import Keyring
from loader.logs import configure_logs
from loader.sections import Admin
from loader.settings import Settings
from loader.store import Desk, People, Store
from loader.tokens import word_hash
from tests.unit.admin.conftest import PASSWORD, Browser, NewBrowser, fast_signing, list_file
from tests.unit.admin.test_signin import enrolled, mails, next_code

BASE = "/lists/organizer/olive"
URL = "https://rollcall.example.com"


@pytest.fixture
async def public(store: Store, keyring: Keyring, settings: Settings) -> AsyncIterator[TestServer]:
    """The site as browsers reach it from outside, by https."""
    admin = msgspec.structs.replace(settings.admin, url=URL)
    app = make_app(msgspec.structs.replace(settings, admin=admin), store, keyring, signing=fast_signing(store, keyring))
    server = TestServer(app)
    await server.start_server()
    yield server
    await server.close()


def word_of(opened: Browser) -> str:
    return opened.client.session.cookie_jar.filter_cookies(opened.client.make_url("/"))["rollcall"].value


def grow_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sign-in is a while ago, for what asks how long ago it was."""
    monkeypatch.setattr("admin.visitor._FRESH_FOR", -1.0)


# Headers


@pytest.mark.parametrize("path", ["/", "/signin", "/nothing", BASE, f"{BASE}/list.csv", f"{BASE}/in-force", "/signout"])
async def test_every_answer_keeps_browsers_from_what_it_is_not_meant_for(browser: NewBrowser, path: str) -> None:
    """Pages, redirects, files, errors: nothing is loaded, framed, guessed at, told to others, or kept."""
    for opened in (await browser(), await browser("org")):
        headers = (await opened.get(path)).headers
        rules = dict(rule.strip().partition(" ")[::2] for rule in headers["Content-Security-Policy"].split(";"))
        assert [rules[name] for name in ("default-src", "object-src", "base-uri", "frame-ancestors")] == ["'none'"] * 4
        assert {rules[name] for name in ("script-src", "style-src", "connect-src", "form-action")} == {"'self'"}
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Opener-Policy"] == headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Referrer-Policy"] == "same-origin"
        assert "camera=()" in headers["Permissions-Policy"]
        assert headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in headers
        if headers["Content-Type"].startswith("text/"):
            assert "charset=utf-8" in headers["Content-Type"].lower()


async def test_what_is_the_same_for_everybody_may_be_kept(browser: NewBrowser) -> None:
    opened = await browser()
    (address,) = re.findall(r'href="(/static/[^"]+\.css)"', await (await opened.get("/signin")).text())
    assert (await opened.get(address)).headers["Cache-Control"] == "public, max-age=31536000, immutable"


async def test_by_https_a_browser_comes_by_nothing_else_and_no_other_host_sets_a_cookie(public: TestServer) -> None:
    client: TestClient[Any, Any]
    async with TestClient(public) as client:
        opened = Browser(client)
        response = await opened.get("/signin")
        assert response.headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"
        cookies = dict(response.cookies)
        word = cookies["__Host-rollcall"].value
        sent = {"Cookie": f"__Host-rollcall={word}", "Origin": URL}
        response = await opened.post("/language", {"language": "de", "back": "/"}, headers=sent)
        (told,) = [one for one in response.headers.getall("Set-Cookie") if "language" in one]
        assert told.startswith("__Host-rollcall-language=de;")
        for attribute in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"):
            assert attribute in told
        assert "Domain" not in told
        page = await (await opened.get("/signin", headers={"Cookie": "__Host-rollcall-language=de"})).text()
        assert '<html lang="de">' in page


async def test_pages_hold_no_script_and_no_style_of_their_own(browser: NewBrowser) -> None:
    opened = await browser("sup")
    for path in ("/", BASE, "/upload", "/companies/one/settings", "/account", "/audit"):
        page = await (await opened.get(path)).text()
        assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=|javascript:", page), path


@pytest.mark.parametrize("method", ["TRACE", "OPTIONS", "PUT", "DELETE", "PATCH"])
async def test_what_no_page_is_asked_by_changes_nothing_and_repeats_nothing(browser: NewBrowser, method: str) -> None:
    opened = await browser("org")
    for path in (BASE, "/signin", "/account/password"):
        response = await opened.client.request(method, path, headers={"X-Secret": "hush"}, allow_redirects=False)
        assert response.status == 405
        assert "hush" not in await response.text()


# Forms


def filled(pattern: str, upload: str) -> str:
    """An address of a page whose pattern is this, for what is there."""
    known = {"company": "one", "level": "organizer", "owner": "olive", "revision": "1", "at": "0", "user": "org"}
    known |= {"kind": "user", "word": "x"}
    if pattern.startswith("/upload/"):
        known["id"] = upload
    elif pattern.startswith("/account/sessions"):
        known["id"] = "0" * 64
    elif pattern.startswith("/companies/"):
        known["id"] = "org"
    elif pattern.startswith("/rolls/"):
        known["id"] = "1"
    else:
        known["id"] = "A-1"
    return re.sub(r"\{(\w+)(?::(?:[^{}]|\{\d+(?:,\d+)?\})+)?\}", lambda found: known[found[1]], pattern)


async def test_no_form_is_taken_without_the_token_of_its_session(browser: NewBrowser, server: TestServer) -> None:
    """Every address that changes something, tried by those who may change it."""
    sup, ope = await browser("sup"), await browser("ope")
    upload = (await sup.staged(list_file("123456"))).rpartition("/")[2]
    patterns = {
        route.resource.canonical for route in server.app.router.routes() if route.method == "POST" and route.resource
    }
    refused = set()
    for pattern in patterns:
        for opened in (sup, ope):
            opened.csrf = "x" * 32
            data: Any = None
            if pattern == "/upload":
                data = FormData(default_to_multipart=True)
                data.add_field("csrf", opened.csrf)
            path = filled(pattern, upload)
            response = (
                await opened.post(path)
                if data is None
                else await opened.client.post(path, data=data, allow_redirects=False)
            )
            assert response.status in (403, 404), path
            if response.status == 403:
                refused.add(pattern)
    assert len(patterns) > 30
    # Of the one that is missing nothing is locked here: tests/unit/admin/test_locked.py tries it.
    assert patterns - refused == {"/locked/{id}/unlock"}


@pytest.mark.parametrize(
    ("origin", "taken"),
    [(URL, True), ("https://evil.example", False), ("null", False), ("http://rollcall.example.com", False), ("http://[", False)],
)  # fmt: skip
async def test_where_the_sites_address_is_set_a_form_comes_from_there_alone(
    public: TestServer, origin: str, taken: bool
) -> None:
    """Whatever the Host that the request names: a page of another name may have been led here (DNS rebinding)."""
    client: TestClient[Any, Any]
    async with TestClient(public) as client:
        opened = Browser(client)
        response = await opened.get("/signin")
        word = response.cookies["__Host-rollcall"].value
        sent = {"Cookie": f"__Host-rollcall={word}", "Origin": origin, "Host": "evil.example"}
        response = await opened.post("/signin", {"name": "org", "password": PASSWORD}, headers=sent)
        assert response.status == (303 if taken else 403)


async def test_no_link_is_made_of_the_host_that_a_request_names(public: TestServer, settings: Settings) -> None:
    client: TestClient[Any, Any]
    async with TestClient(public) as client:
        opened = Browser(client)
        word = (await opened.get("/password/forgot")).cookies["__Host-rollcall"].value
        sent = {"Cookie": f"__Host-rollcall={word}", "Host": "evil.example", "X-Forwarded-Host": "evil.example"}
        await opened.post("/password/forgot", {"name": "org"}, headers=sent)
        await public.app[keys.MAILER].drained()
        (mail,) = mails(settings)
        assert f"{URL}/password/new/" in mail.get_content()
        assert "evil" not in mail.as_string()


@pytest.mark.parametrize(
    "address",
    ["//evil.example", "/\\evil.example", "/\t/evil.example", "/\n//evil.example", "https:evil.example", "evil"],
)
async def test_nothing_leads_to_another_site(browser: NewBrowser, address: str) -> None:
    """Neither signing in, nor signing in again, nor the choice of a language."""
    assert not is_local(address)
    opened = await browser("org")
    for path, fields in (
        ("/signin/again", {"password": PASSWORD, "next": address}),
        ("/language", {"language": "fr", "back": address}),
    ):
        await opened.get("/account")
        assert (await opened.post(path, fields)).headers["Location"] == "/"


@pytest.mark.parametrize("packed", ["gzip", "deflate", "br", "GZIP", "gzip, gzip"])
async def test_nothing_that_was_sent_packed_is_unpacked(browser: NewBrowser, packed: str) -> None:
    opened = await browser("org")
    bomb = gzip.compress(b"a" * 10_000_000) if "gzip" in packed.lower() else zlib.compress(b"a" * 10_000_000)
    for path, media_type in (
        ("/upload", "multipart/form-data; boundary=x"),
        ("/signin", "application/x-www-form-urlencoded"),
    ):
        headers = {"Content-Encoding": packed, "Content-Type": media_type}
        response = await opened.client.post(path, data=bomb, headers=headers, allow_redirects=False)
        assert response.status == 415


async def test_a_part_of_an_upload_is_taken_as_it_came(browser: NewBrowser) -> None:
    """What is packed under a name that ends in .csv is told for what it is."""
    opened = await browser("org")
    for data, told in (
        (gzip.compress(b"a" * 10_000_000), "not a text file"),
        (b"PK\x03\x04" + b"\0" * 2000, "a spreadsheet that"),
    ):
        location = (await opened.upload(data, "organizer:olive")).headers["Location"]
        response = await opened.get(location)
        assert (response.status, told in await response.text()) == (422, True)


async def test_a_form_of_endless_fields_is_refused(browser: NewBrowser) -> None:
    opened = await browser("org")
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    for body in ("a&" * 200_000, "a=" + "b" * 600_000):
        response = await opened.client.post("/signin", data=body, headers=headers, allow_redirects=False)
        assert response.status == 413


async def endless(opened: Browser, part: str) -> AsyncIterator[bytes]:
    """An upload whose parts never end."""
    yield f'--x\r\nContent-Disposition: form-data; name="csrf"\r\n\r\n{opened.csrf}\r\n'.encode()
    while True:
        yield part.replace("{csrf}", opened.csrf).encode() * 100


@pytest.mark.parametrize(
    "part",
    [
        '--x\r\nContent-Disposition: form-data; name="owner"\r\n\r\norganizer:olive\r\n',
        '--x\r\nContent-Disposition: form-data; name=""\r\n\r\n\r\n',
        '--x\r\nContent-Disposition: form-data; name="file"; filename="list.csv"\r\n\r\n' + "1" * 5000 + "\r\n",
        '--x\r\nContent-Disposition: form-data; name="file"; filename=""\r\n\r\n1\r\n',
        '--x\r\nContent-Disposition: form-data; name="csrf"\r\n\r\n{csrf}\r\n',
        "1" * 5000,
    ],
)
async def test_an_upload_of_endless_parts_is_ended(
    browser: NewBrowser, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """However small they are, and whether they are fields or files, or one file that never ends; and of small ones some
    thousands are looked at, though a file has room for many more.
    """
    looked_at = 0

    async def counted(field: BodyPartReader) -> str:
        nonlocal looked_at
        looked_at += 1
        return await text_of(field)

    monkeypatch.setattr("admin.pages.upload.text_of", counted)
    opened = await browser("org")
    await opened.get("/upload")
    body = endless(opened, part)
    if not part.startswith("--x"):
        first = b'--x\r\nContent-Disposition: form-data; name="file"; filename="list.csv"\r\n\r\n'

        async def one_file() -> AsyncIterator[bytes]:
            yield await anext(body)
            yield first
            async for chunk in body:
                yield chunk

        sent: Any = one_file()
    else:
        sent = body
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    async with asyncio.timeout(30):
        response = await opened.client.post("/upload", data=sent, headers=headers, allow_redirects=False)
    assert response.status in (413, 422)
    assert looked_at < 6000


async def test_the_name_of_a_file_is_text_and_nothing_else(browser: NewBrowser, store: Store) -> None:
    """It is no path, no header and no markup; it is shown, and told to the audit trail, shortened."""
    opened = await browser("org")
    await opened.get("/upload")
    fields = {"csrf": opened.csrf, "owner": "organizer:olive", "policy": "on"}
    head = 'Content-Disposition: form-data; name="file"; filename="../../<b>&\\"quoted\\".csv"'
    parts = [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}' for name, value in fields.items()]
    parts.append(f"{head}\r\n\r\n{list_file('123456').decode()}")
    body = "".join(f"--x\r\n{part}\r\n" for part in parts) + "--x--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    response = await opened.client.post("/upload", data=body, headers=headers, allow_redirects=False)
    location = response.headers["Location"]
    page = await (await opened.get(location)).text()
    assert "<b>" not in page
    assert "&lt;b&gt;" in page
    assert (await opened.get(f"{location}/errors.csv")).headers[
        "Content-Disposition"
    ] == 'attachment; filename="errors.csv"'


async def test_a_download_is_a_file_of_a_plain_name(browser: NewBrowser) -> None:
    opened = await browser("sup")
    for path, name, media_type in (
        (f"{BASE}/list.csv", "organizer-olive.csv", "text/csv"),
        (f"{BASE}/list.xlsx", "organizer-olive.xlsx", "application/vnd.openxmlformats"),
        ("/audit.csv", "audit.csv", "text/csv"),
        ("/template.csv", "template.csv", "text/csv"),
    ):
        headers = (await opened.get(path)).headers
        assert headers["Content-Disposition"] == f'attachment; filename="{name}"'
        assert headers["Content-Type"].startswith(media_type)


async def test_who_asks_for_too_much_at_once_is_told_to_wait(
    browser: NewBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = await browser("org")

    async def busy(*_: object) -> None:
        raise Busy("too many are waiting")

    monkeypatch.setattr("admin.turns.Turns.work", busy)
    with capture_logs() as logged:
        response = await opened.get(f"{BASE}/list.xlsx")
    assert (response.status, response.headers["Retry-After"]) == (503, "5")
    assert "Try again in a few seconds." in await response.text()
    assert [one["event"] for one in logged] == ["too_busy"]


# Signing in


async def test_guesses_that_come_all_at_once_are_slowed_too(
    browser: NewBrowser, server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many are hashed at a time, and who comes later sees the failures of those before."""
    hashed = []
    real = Signing._matches

    async def counted(self: Signing, known: str, password: str) -> bool:
        hashed.append(password)
        return await real(self, known, password)

    monkeypatch.setattr(Signing, "_matches", counted)
    opened = await browser()
    await opened.get("/signin")
    guesses = [opened.post("/signin", {"name": "org", "password": f"guess {number}"}) for number in range(40)]
    statuses = [response.status for response in await asyncio.gather(*guesses)]
    assert len(hashed) == statuses.count(403) <= 3 + 4
    assert statuses.count(429) == 40 - len(hashed)


@pytest.mark.parametrize("name", ["org", "coo", "nobody", "", "x" * 500])
async def test_whoever_is_guessed_at_the_same_is_done(
    store: Store, keyring: Keyring, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look for the user, one for his password, one hash, one failure for the name and one for the address: whether
    he is there, has a password, or is not there at all.
    """
    done = []
    for method in ("user", "credential", "failures", "failed"):
        real = getattr(People, method)

        async def told(self: People, *args: Any, method: str = method, real: Any = real) -> Any:
            done.append(method)
            return await real(self, *args)

        monkeypatch.setattr(People, method, told)
    signing = fast_signing(store, keyring)
    credential = await People(store).credential("coo")
    await People(store).put_credential(msgspec.structs.replace(credential, password_hash=None))
    verify = signing._hasher.verify
    signing._hasher = _Counting(verify, done)  # type: ignore[assignment]
    done.clear()
    assert await signing.by_password(name, "wrong password", "198.51.100.1") is None
    assert done == ["failures", "failures", "user", "credential", "hash", "failed", "failed"]


class _Counting:
    def __init__(self, verify: Any, done: list[str]) -> None:
        self._verify, self._done = verify, done

    def verify(self, hashed: str, password: str) -> bool:
        self._done.append("hash")
        return bool(self._verify(hashed, password))


async def test_a_password_is_checked_as_it_was_typed(browser: NewBrowser, store: Store, keyring: Keyring) -> None:
    """Nothing is cut off, at 200 characters or elsewhere, and blanks count."""
    user = await People(store).user("org")
    assert user is not None
    longest = "four words of mine, " * 10
    await fast_signing(store, keyring).set_password(user, longest)
    opened = await browser()
    for wrong in (longest + "x", longest[:-1], longest.strip()):
        assert (await opened.sign_in("org", wrong)).status == 403
    await People(store).succeeded("account", "org")
    assert (await opened.sign_in("org", longest)).status == 303


async def test_passwords_are_hashed_as_is_recommended_today() -> None:
    """Argon2id with what RFC 9106 section 4 recommends where memory is short."""
    from argon2 import PasswordHasher, Type

    hasher = PasswordHasher()
    assert hasher.type is Type.ID
    assert (hasher.time_cost, hasher.memory_cost, hasher.parallelism) == (3, 64 * 1024, 4)
    assert (hasher.hash_len, hasher.salt_len) == (32, 16)


async def test_a_forgotten_password_is_looked_up_after_the_answer(
    browser: NewBrowser, server: TestServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the time that the answer takes tells nothing either."""
    waiting: list[Any] = []
    monkeypatch.setattr(server.app[keys.MAILER], "later", waiting.append)
    opened = await browser()
    await opened.get("/password/forgot")
    with monkeypatch.context() as patched:
        for method in ("users_with_email", "put_link"):
            patched.delattr(People, method)
        pages = [await opened.post("/password/forgot", {"name": name}) for name in ("org", "nobody", "x@example.com")]
    assert len({await page.text() for page in pages}) == 1
    assert [page.status for page in pages] == [200, 200, 200]
    for job in waiting:
        await job()
    await server.app[keys.MAILER].drained()
    assert [mail["To"] for mail in mails(settings)] == ["org@example.com"]


async def test_who_asks_for_links_again_and_again_has_to_wait(browser: NewBrowser) -> None:
    opened = await browser()
    await opened.get("/password/forgot")
    statuses = [(await opened.post("/password/forgot", {"name": f"nobody-{n}"})).status for n in range(12)]
    assert statuses == [200] * 10 + [429] * 2


async def test_everybody_must_have_a_second_factor_where_that_is_wished(
    store: Store, keyring: Keyring, settings: Settings
) -> None:
    strict = msgspec.structs.replace(settings, admin=Admin(second_factor_for_all=True))
    app = make_app(strict, store, keyring, signing=fast_signing(store, keyring))
    client: TestClient[Any, Any]
    async with TestServer(app) as server, TestClient(server) as client:
        opened = Browser(client)
        for user in ("org", "adm", "coo"):
            assert (await opened.sign_in(user)).headers["Location"] == "/account/second-factor"
            assert (await opened.get("/upload")).headers["Location"] == "/account/second-factor"
            client.session.cookie_jar.clear()


# Signing in again


SENSITIVE = [
    ("sup", "/account/second-factor", {"code": "123456"}),
    ("sup", f"/account/sessions/{'0' * 64}/end", {}),
    ("sup", "/companies/one/user/org", {"name": "X", "email": "x@example.com", "role": "organizer"}),
    ("sup", "/companies/one/user/org", {"link": "1"}),
    ("sup", "/companies/one/user/org", {"delete": "1"}),
    ("sup", "/companies/one/user", {"id": "new", "name": "X", "email": "x@example.com", "role": "coordinator"}),
    ("sup", "/companies/one/settings/webhook", {"url": "https://example.com/"}),
    ("sup", "/companies/one/settings/webhook/secret", {}),
    ("ope", "/switches", {"name": "pbx-1"}),
    ("ope", "/switches/pbx-1/remove", {}),
]


@pytest.mark.parametrize(("user", "path", "fields"), SENSITIVE)
async def test_what_is_sensitive_asks_who_it_is_once_more(
    browser: NewBrowser, store: Store, monkeypatch: pytest.MonkeyPatch, user: str, path: str, fields: dict[str, str]
) -> None:
    """An open browser is not enough to keep others in, or out."""
    opened = await browser(user)
    grow_old(monkeypatch)
    before = await Desk(store).audit()
    response = await opened.post(path, fields)
    assert response.status == 303
    assert response.headers["Location"].startswith("/signin/again?next=/")
    assert await Desk(store).audit() == before
    page = await (await opened.get(response.headers["Location"])).text()
    assert "Is it you?" in page


async def test_who_shows_it_goes_on_in_a_session_of_its_own(
    browser: NewBrowser, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = await browser("org")
    before = word_of(opened)
    with monkeypatch.context() as patched:
        grow_old(patched)
        there = (await opened.get("/account/second-factor")).headers["Location"]
    assert there == "/signin/again?next=/account/second-factor"
    await opened.get(there)
    fields = {"next": "/account/second-factor"}
    wrong = await opened.post("/signin/again", fields | {"password": "wrong password"})
    assert (wrong.status, "The password is not right." in await wrong.text()) == (403, True)
    response = await opened.post("/signin/again", fields | {"password": PASSWORD})
    assert (response.status, response.headers["Location"]) == (303, "/account/second-factor")
    assert word_of(opened) != before
    assert (await opened.get("/account/second-factor")).status == 200
    thief = await browser()
    response = await thief.client.get("/account", cookies={"rollcall": before}, allow_redirects=False)
    assert response.status == 303


async def test_with_a_second_factor_both_are_shown_again(
    browser: NewBrowser, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = await browser("sup")
    secret = await enrolled(opened)
    page = await (await opened.get("/signin/again?next=/")).text()
    assert 'name="code"' in page
    fields = {"password": PASSWORD, "next": "/upload"}
    assert (await opened.post("/signin/again", fields | {"code": "000000"})).status == 403
    response = await opened.post("/signin/again", fields | {"code": next_code(secret)})
    assert response.headers["Location"] == "/upload"


async def test_guessing_there_is_slowed_as_well(browser: NewBrowser, store: Store) -> None:
    opened = await browser("org")
    await opened.get("/signin/again")
    statuses = [(await opened.post("/signin/again", {"password": f"guess {n}"})).status for n in range(5)]
    assert statuses == [403, 403, 403, 429, 429]
    _, trail = await Desk(store).audit(user_id="org")
    assert [one.action for one in trail][:5] == ["sign_in_slowed"] * 2 + ["sign_in_refused"] * 3


async def test_a_new_second_factor_begins_a_session_of_its_own_and_ends_the_others(
    browser: NewBrowser, server: TestServer
) -> None:
    opened, other = await browser("org"), await browser("org")
    before = word_of(opened)
    await enrolled(opened)
    assert word_of(opened) != before
    assert "From now on you need a code" in await (await opened.get("/account")).text()
    assert (await other.get("/account")).status == 303


async def test_one_session_is_ended_and_the_others_go_on(browser: NewBrowser, store: Store) -> None:
    """Only one's own."""
    one, other, stranger = await browser("org"), await browser("org"), await browser("adm")
    (his,) = await People(store).sessions("adm")
    ended = {session.id_hash.hex() for session in await People(store).sessions("org")}
    page = await (await one.get("/account")).text()
    assert set(re.findall(r"/account/sessions/([0-9a-f]{64})/end", page)) == ended
    assert (await one.post(f"/account/sessions/{his.id_hash.hex()}/end")).status == 404
    assert (await one.post(f"/account/sessions/{word_hash(word_of(other)).hex()}/end")).status == 303
    assert (await other.get("/account")).status == 303
    assert (await one.get("/account")).status == 200
    assert (await stranger.get("/account")).status == 200


async def test_signing_out_takes_with_it_what_the_browser_keeps(browser: NewBrowser) -> None:
    opened = await browser("org")
    response = await opened.post("/signout")
    assert response.headers["Clear-Site-Data"] == '"cache"'
    assert response.headers["Cache-Control"] == "no-store"


# What is told afterwards


async def test_every_attempt_to_sign_in_is_in_the_audit_trail(browser: NewBrowser, store: Store) -> None:
    """With the password, with the code, slowed, and asked for by mail; never with what was typed."""
    await enrolled(await browser("sup"))
    opened = await browser()
    await opened.sign_in("sup", "wrong password")
    await opened.sign_in("sup")
    await opened.get("/signin/code")
    await opened.post("/signin/code", {"code": "271828"})
    for _ in range(4):
        await opened.sign_in("sup", "wrong password")
    await opened.get("/password/forgot")
    await opened.post("/password/forgot", {"name": "sup"})
    await opened.client.server.app[keys.MAILER].drained()  # type: ignore[attr-defined]
    _, trail = await Desk(store).audit(user_id="sup")
    assert {one.action for one in trail} >= {
        "signed_in", "second_factor_set", "sign_in_refused", "code_refused", "sign_in_slowed", "link_asked_for"
    }  # fmt: skip
    assert not any("271828" in one.detail + one.target or "wrong" in one.detail for one in trail)


async def test_what_is_refused_is_in_the_log_without_what_was_asked_for(browser: NewBrowser) -> None:
    """Who, from where, and which kind of page: its address may name what is nobody's business."""
    opened = await browser("org")
    with capture_logs() as logged:
        await opened.get("/lists/organizer/tina")
        opened.csrf = "x"
        await opened.post(f"{BASE}/search", {"query": "314159"})
    assert [(one["event"], one["page"], one["user"], one["method"]) for one in logged] == [
        ("access_refused", "/lists/{level}/{owner}", "org", "GET"),
        ("form_refused", "/lists/{level}/{owner}/search", "org", "POST"),
    ]
    assert all(one["address"] for one in logged)
    assert "tina" not in str(logged)
    assert "314159" not in str(logged)


async def test_who_is_not_signed_in_fills_no_log(browser: NewBrowser) -> None:
    opened = await browser()
    with capture_logs() as logged:
        for path in ("/", BASE, "/nothing"):
            await opened.get(path)
    assert logged == []


async def test_what_somebody_calls_himself_makes_no_line_of_a_log(
    browser: NewBrowser, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor of the audit trail's file: names and headers with line breaks stay in their field."""
    name = 'org\n{"event": "signed_in"}\r\n=1+1'
    opened = await browser()
    with structlog_as_json():
        await opened.sign_in(name, "wrong password")
        opened.csrf = "x"
        await opened.post("/signout", headers={"User-Agent": name.replace("\n", " ").replace("\r", " ")})
    lines = capsys.readouterr().err.splitlines()
    told = [json.loads(line)["event"] for line in lines]
    # asyncio's own, where this machine is slow, among them.
    assert [event for event in told if not event.startswith("Executing")] == ["form_refused"]
    _, trail = await Desk(store).audit(action="sign_in_refused")
    assert trail[0].user_id == name.strip()[:64]
    text = (await (await (await browser("ope")).get("/audit.csv")).read()).decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert sum("signed_in" in str(row.values()) for row in rows) >= 1
    assert not any(str(value).startswith("=") for row in rows for value in row.values())


@contextmanager
def structlog_as_json() -> Iterator[None]:
    """Log lines as they are in production."""
    before = structlog.get_config()
    configure_logs("json", "info")
    try:
        yield
    finally:
        structlog.configure(**before)
        logging.getLogger().handlers.clear()


# What else there is not


async def test_nothing_is_served_but_pages(browser: NewBrowser) -> None:
    """No file of the program, no listing of a folder, nothing of a repository, nothing to find mistakes with."""
    opened = await browser("sup")
    for path in (
        "/.git/config",
        "/.env",
        "/static/",
        "/static/../app.py",
        "/admin/app.py",
        "/metrics",
        "/debug",
        "/docs",
    ):
        response = await opened.get(path)
        assert response.status == 404, path
        assert "import" not in await response.text()


async def test_a_field_that_a_form_does_not_have_changes_nothing(browser: NewBrowser, store: Store) -> None:
    """Of a name that stands twice the last one counts, and what stands in the address is no field."""
    opened = await browser("sup")
    await opened.get("/companies/one/user/org")
    fields = [
        ("name", "First"), ("name", "Olive"), ("email", "org@example.com"), ("role", "organizer"), ("organizer_id", "olive"),
        ("company_id", "two"), ("id", "ope"), ("password_hash", "x"),
    ]  # fmt: skip
    assert (await opened.post("/companies/one/user/org?name=Third&role=operator", fields)).status == 303
    user = await People(store).user("org")
    assert user is not None
    assert (user.name, user.company_id, user.role) == ("Olive", "one", "organizer")
    operator = await People(store).user("ope")
    assert operator is not None
    assert operator.name == "Olga Operator"


@pytest.mark.parametrize(
    ("behind_proxy", "told", "address"),
    [(False, "203.0.113.9", "127.0.0.1"), (True, "203.0.113.9, 198.51.100.7", "198.51.100.7"), (True, "", "127.0.0.1")],
)
async def test_an_address_that_a_browser_made_up_is_not_believed(
    store: Store, keyring: Keyring, settings: Settings, behind_proxy: bool, told: str, address: str
) -> None:
    """Of what a proxy tells the last counts, which it has added itself; without a proxy nothing does."""
    admin = msgspec.structs.replace(settings.admin, behind_proxy=behind_proxy)
    app = make_app(msgspec.structs.replace(settings, admin=admin), store, keyring, signing=fast_signing(store, keyring))
    client: TestClient[Any, Any]
    async with TestServer(app) as server, TestClient(server) as client:
        opened = Browser(client)
        await opened.get("/signin")
        headers = {"X-Forwarded-For": told, "X-Real-IP": "203.0.113.9", "Forwarded": "for=203.0.113.9"}
        await opened.post("/signin", {"name": "org", "password": "wrong password"}, headers=headers)
        _, trail = await Desk(store).audit(action="sign_in_refused")
        assert trail[0].address == address


async def test_an_operator_signs_somebody_out(browser: NewBrowser) -> None:
    opened, operator = await browser("org"), await browser("ope")
    await operator.get("/sessions")
    assert (await operator.post("/sessions/org/end")).status == 303
    assert (await opened.get("/account")).status == 303


async def test_every_state_of_a_switch_is_changed_by_who_has_just_signed_in(
    browser: NewBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token opens every conference: each form of a switch asks once more who it is."""
    opened = await browser("ope")
    assert (await opened.post("/switches", {"name": "pbx-1"})).status == 201
    grow_old(monkeypatch)
    for what in ("rotate", "again", "end-old", "limits", "remove"):
        response = await opened.post(f"/switches/pbx-1/{what}", {"overlap": "0"})
        assert response.headers["Location"] == "/signin/again?next=/switches/pbx-1", what
