"""Signing in, and what keeps others out."""

import email
import re
import time
from email import policy
from pathlib import Path
from typing import Any

import msgspec
import pyotp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from admin import signing as module
from admin.app import make_app
from admin.pages.signin import is_local
from admin.signing import matching_step
from loader.keyring import Keyring
from loader.model import Role, User
from loader.sections import Admin
from loader.settings import Settings
from loader.store import People, Store
from tests.unit.admin.conftest import PASSWORD, Browser, NewBrowser, fast_signing

POLICY = "default-src 'none'"


async def test_the_right_name_and_password_sign_in(browser: NewBrowser) -> None:
    opened = await browser()
    response = await opened.sign_in("org")
    assert (response.status, response.headers["Location"]) == (303, "/")
    assert "Welcome, Olive Organizer" in await (await opened.get("/")).text()


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("org", "wrong password"),
        ("Org", PASSWORD),
        ("org", PASSWORD.upper()),
        ("nobody", PASSWORD),
        ("", ""),
        ("org", ""),
    ],
)
async def test_anything_else_does_not_and_does_not_say_which_was_wrong(
    browser: NewBrowser, name: str, password: str
) -> None:
    """Name and password are both case-sensitive."""
    opened = await browser()
    response = await opened.sign_in(name, password)
    assert response.status == 403
    assert "The name or the password is not right." in await response.text()
    assert (await opened.get("/account")).status == 303


async def test_guessing_at_an_account_is_slowed(browser: NewBrowser) -> None:
    """After some failures even the right password has to wait; another account does not."""
    opened = await browser()
    for _ in range(4):
        await opened.sign_in("org", "wrong password")
    response = await opened.sign_in("org")
    assert response.status == 429
    assert "Too many tries." in await response.text()
    assert (await opened.sign_in("adm")).status == 303


async def test_guessing_from_an_address_is_slowed_whoever_is_guessed_at(browser: NewBrowser) -> None:
    opened = await browser()
    for number in range(16):
        await opened.sign_in(f"somebody-{number}", "wrong password")
    assert (await opened.sign_in("org")).status == 429


async def test_a_session_begins_anew_when_somebody_signs_in(browser: NewBrowser, server: TestServer) -> None:
    """A word that an enemy has planted before is good for nothing after."""
    opened = await browser()
    await opened.get("/signin")
    jar = opened.client.session.cookie_jar.filter_cookies(server.make_url("/"))
    before = jar["rollcall"].value
    await opened.sign_in("org")
    after = opened.client.session.cookie_jar.filter_cookies(server.make_url("/"))["rollcall"].value
    assert before != after
    async with TestClient(server) as planted:
        response = await planted.get("/account", cookies={"rollcall": before}, allow_redirects=False)
        assert response.status == 303


async def test_signing_out_ends_the_session_on_the_server(browser: NewBrowser, server: TestServer) -> None:
    opened = await browser("org")
    word = opened.client.session.cookie_jar.filter_cookies(server.make_url("/"))["rollcall"].value
    assert (await opened.post("/signout")).status == 303
    async with TestClient(server) as thief:
        assert (await thief.get("/account", cookies={"rollcall": word}, allow_redirects=False)).status == 303


async def test_signing_out_everywhere_ends_every_session(browser: NewBrowser) -> None:
    one, other = await browser("org"), await browser("org")
    assert (await one.post("/account/sign-out-everywhere")).status == 303
    assert (await other.get("/account")).status == 303


async def test_a_session_that_is_idle_or_old_is_over(
    browser: NewBrowser, store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = await browser("org")
    people = People(store)
    (session,) = await people.sessions("org")
    await people.put_session(msgspec.structs.replace(session, seen_at=time.time() - settings.admin.idle_timeout - 1))
    assert (await opened.get("/account")).status == 303
    await opened.sign_in("org")
    (session,) = await people.sessions("org")
    later = time.time() + settings.admin.session_timeout + 1
    await people.put_session(msgspec.structs.replace(session, seen_at=later - 1))
    with monkeypatch.context() as patched:
        patched.setattr("admin.visitor.time.time", lambda: later)
        assert (await opened.get("/account")).status == 303


async def test_a_session_whose_key_is_gone_is_over(browser: NewBrowser, store: Store, keyring: Keyring) -> None:
    opened = await browser("org")
    people = People(store)
    (session,) = await people.sessions("org")
    await people.put_session(msgspec.structs.replace(session, data="000000000000 eA=="))
    assert (await opened.get("/account")).status == 303


@pytest.mark.parametrize("secure", [True, False])
async def test_cookies_are_kept_from_scripts_and_other_sites(
    store: Store, keyring: Keyring, settings: Settings, secure: bool
) -> None:
    """With https they are sent over nothing else, and their name says so."""
    admin = msgspec.structs.replace(settings.admin, url="https://rollcall.example.com" if secure else "")
    app = make_app(msgspec.structs.replace(settings, admin=admin), store, keyring, signing=fast_signing(store, keyring))
    client: TestClient[Any, Any]
    async with TestServer(app) as server, TestClient(server) as client:
        response = await client.get("/signin")
        (cookie,) = response.headers.getall("Set-Cookie")
        assert cookie.startswith("__Host-rollcall=" if secure else "rollcall=")
        assert ("Secure" in cookie) == secure
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        assert "Domain" not in cookie
        assert ("Strict-Transport-Security" in response.headers) == secure


async def test_who_only_knocks_gets_no_session(browser: NewBrowser, store: Store) -> None:
    opened = await browser()
    response = await opened.get("/upload")
    assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize("path", ["/", "/signin", "/nothing", "/static/x", "/signin/oidc"])
async def test_every_answer_has_the_headers_that_protect_it(browser: NewBrowser, path: str) -> None:
    headers = (await (await browser()).get(path)).headers
    assert headers["Content-Security-Policy"].startswith(POLICY)
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Server"] == "Rollcall"


async def test_a_form_of_another_site_changes_nothing(browser: NewBrowser) -> None:
    """Neither without the token, nor with another origin, nor with another session's token."""
    opened, other = await browser("org"), await browser("adm")
    good = opened.csrf
    assert (
        await opened.post("/lists/organizer/olive/search", {"query": "x"}, headers={"Origin": "https://evil.example"})
    ).status == 403
    assert (await opened.post("/signout", headers={"Sec-Fetch-Site": "cross-site"})).status == 403
    for token in ("", "x", other.csrf):
        opened.csrf = token
        response = await opened.post("/conferences/A-1/pin-entry", {"pin_entry": "0"})
        assert response.status == 403
        assert "Nothing was" in await response.text()
    opened.csrf = good
    assert (await opened.post("/conferences/A-1/pin-entry", {"pin_entry": "0"})).status == 303


def mails(settings: Settings) -> list[email.message.EmailMessage]:
    files = sorted(Path(settings.mail.outbox).glob("*.eml"))
    parsed = [email.message_from_bytes(file.read_bytes(), policy=policy.default) for file in files]
    return [mail for mail in parsed if isinstance(mail, email.message.EmailMessage)]


async def test_a_forgotten_password_is_set_anew_by_a_link_that_works_once(
    browser: NewBrowser, server: TestServer, settings: Settings
) -> None:
    opened = await browser()
    await opened.get("/password/forgot")
    known = await (await opened.post("/password/forgot", {"name": "ORG@example.com"})).text()
    unknown = await (await opened.post("/password/forgot", {"name": "nobody@example.com"})).text()
    assert known == unknown
    from admin import keys

    await server.app[keys.MAILER].drained()
    (mail,) = mails(settings)
    assert mail["To"] == "org@example.com"
    await opened.post("/password/forgot", {"name": "org"})
    await server.app[keys.MAILER].drained()
    assert len(mails(settings)) == 1, "a second link within a minute"
    (link,) = re.findall(r"http://[^/]+(/password/new/\S+)", mail.get_content())
    assert "Olive" not in link
    await opened.get(link)
    new = "four words of mine"
    assert (await opened.post(link, {"password": "short", "again": "short"})).status == 422
    assert (await opened.post(link, {"password": new, "again": new + "x"})).status == 422
    assert (await opened.post(link, {"password": new, "again": new})).status == 303
    assert (await opened.get(link)).status == 410
    assert (await opened.post(link, {"password": new, "again": new})).status == 410
    assert (await opened.sign_in("org", PASSWORD)).status == 403
    assert (await opened.sign_in("org", new)).status == 303


async def test_a_new_password_signs_out_everywhere(browser: NewBrowser) -> None:
    one, other = await browser("org"), await browser("org")
    fields = {"old": PASSWORD, "password": "four words of mine", "again": "four words of mine"}
    assert (await one.post("/account/password", fields | {"old": "wrong"})).status == 422
    assert (await one.post("/account/password", fields)).status == 303
    assert (await other.get("/account")).status == 303


async def enrolled(opened: Browser) -> str:
    """Set a second factor up; its secret."""
    page = await (await opened.get("/account/second-factor")).text()
    secret = re.findall(r"<code>([A-Z2-7 ]+)</code>", page)[0].replace(" ", "")
    assert (await opened.post("/account/second-factor", {"code": "000000"})).status == 422
    assert (await opened.post("/account/second-factor", {"code": pyotp.TOTP(secret).now()})).status == 303
    return str(secret)


def next_code(secret: str) -> str:
    """A code that is good already and was not used by :func:`enrolled`: that of the next time step."""
    return str(pyotp.TOTP(secret).at(int(time.time()) + 30))


async def test_with_a_second_factor_the_password_alone_is_not_enough(browser: NewBrowser) -> None:
    """And no code works twice."""
    secret = await enrolled(await browser("sup"))
    opened = await browser()
    response = await opened.sign_in("sup")
    assert response.headers["Location"] == "/signin/code"
    assert (await opened.get("/audit")).status == 303
    await opened.get("/signin/code")
    assert (await opened.post("/signin/code", {"code": "123"})).status == 403
    code = next_code(secret)
    assert (await opened.post("/signin/code", {"code": code})).status == 303
    assert (await opened.get("/audit")).status == 200
    again = await browser()
    await again.sign_in("sup")
    await again.get("/signin/code")
    assert (await again.post("/signin/code", {"code": code})).status == 403


async def test_the_code_that_set_a_second_factor_up_signs_nobody_in(browser: NewBrowser) -> None:
    """Whoever read it over a shoulder, and knows the password, has half a minute."""
    opened = await browser("sup")
    page = await (await opened.get("/account/second-factor")).text()
    secret = re.findall(r"<code>([A-Z2-7 ]+)</code>", page)[0].replace(" ", "")
    code = pyotp.TOTP(secret).now()
    assert (await opened.post("/account/second-factor", {"code": code})).status == 303
    other = await browser()
    await other.sign_in("sup")
    await other.get("/signin/code")
    assert (await other.post("/signin/code", {"code": code})).status == 403
    assert (await other.post("/signin/code", {"code": next_code(secret)})).status == 303


async def test_the_secret_of_a_second_factor_is_encrypted(browser: NewBrowser, tmp_path: Path) -> None:
    secret = await enrolled(await browser("sup"))
    database = b"".join(part.read_bytes() for part in tmp_path.glob("rollcall.db*"))
    assert secret.encode() not in database


@pytest.mark.parametrize(("user", "needs"), [("sup", True), ("ope", True), ("org", False)])
async def test_the_powerful_must_have_a_second_factor(
    store: Store, keyring: Keyring, settings: Settings, user: str, needs: bool
) -> None:
    strict = msgspec.structs.replace(settings, admin=Admin())
    app = make_app(strict, store, keyring, signing=fast_signing(store, keyring))
    client: TestClient[Any, Any]
    async with TestServer(app) as server, TestClient(server) as client:
        opened = Browser(client)
        response = await opened.sign_in(user)
        assert response.headers["Location"] == ("/account/second-factor" if needs else "/")
        assert (await opened.get("/")).status == (303 if needs else 200)
        if needs:
            await enrolled(opened)
            assert (await opened.get("/")).status == 200


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("/", True),
        ("/lists/x?y=1", True),
        ("//evil.example", False),
        ("/\\evil.example", False),
        ("https://evil.example", False),
        ("", False),
    ],
)
async def test_signing_in_leads_nowhere_else(browser: NewBrowser, address: str, local: bool) -> None:
    assert is_local(address) == local
    opened = await browser()
    await opened.get("/signin")
    response = await opened.post("/signin", {"name": "org", "password": PASSWORD, "next": address})
    assert response.headers["Location"] == (address if local else "/")


def test_a_code_is_good_for_its_time_step_and_the_ones_beside_it() -> None:
    """The test vectors of RFC 6238 are those of pyotp; here it is which step a code belongs to."""
    secret = pyotp.random_base32()
    now = 1_700_000_010.0
    step = int(now // 30)
    for away in (-1, 0, 1):
        assert matching_step(secret, pyotp.TOTP(secret).generate_otp(step + away), now) == step + away
    assert matching_step(secret, pyotp.TOTP(secret).generate_otp(step + 2), now) is None
    assert matching_step(secret, "", now) is None
    assert matching_step(secret, "é", now) is None


async def test_who_is_not_there_takes_as_long_as_a_wrong_password(store: Store, keyring: Keyring) -> None:
    """Both are hashed once."""
    signing = fast_signing(store, keyring)
    hashed: list[str] = []
    real = signing._matches

    async def counted(known: str, password: str) -> bool:
        hashed.append(known)
        return await real(known, password)

    signing._matches = counted  # type: ignore[method-assign, assignment]
    for name in ("org", "nobody"):
        assert await signing.by_password(name, "wrong password", "198.51.100.1") is None
    assert len(hashed) == 2
    user = User("x", None, Role.OPERATOR, "X", "x@example.com", None, None, None)
    secret = module.new_secret()
    assert module.otpauth(user, secret).startswith(f"otpauth://totp/Rollcall:x?secret={secret}")
