"""Sign-in by OpenID Connect, with a provider that is served here."""

import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from joserfc import jwt
from joserfc.jwk import RSAKey

from admin.app import make_app
from loader.keyring import Keyring
from loader.sections import Admin, Oidc
from loader.settings import Settings
from loader.store import Store
from tests.unit.admin.conftest import Browser, fast_signing


class Provider:
    """Says of everybody that he is `name`."""

    def __init__(self) -> None:
        self.key = RSAKey.generate_key(2048, parameters={"kid": "one"})
        self.signer = self.key
        self.name = "org"
        self.changes: dict[str, Any] = {}
        self.address = ""
        self.nonce = ""
        self.asked: dict[str, str] = {}

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/.well-known/openid-configuration", self.metadata),
                web.post("/token", self.token),
                web.get("/keys", self.keys),
            ]
        )
        return app

    async def metadata(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "issuer": self.address,
                "authorization_endpoint": f"{self.address}/authorize",
                "token_endpoint": f"{self.address}/token",
                "jwks_uri": f"{self.address}/keys",
            }
        )

    async def token(self, request: web.Request) -> web.Response:
        self.asked = {name: str(value) for name, value in (await request.post()).items()}
        claims = {
            "iss": self.address,
            "aud": "rollcall",
            "exp": int(time.time()) + 300,
            "nonce": self.nonce,
            "preferred_username": self.name,
        } | self.changes
        signed = jwt.encode({"alg": "RS256", "kid": "one"}, claims, self.signer)
        return web.json_response({"access_token": "x", "token_type": "Bearer", "id_token": signed})

    async def keys(self, _request: web.Request) -> web.Response:
        return web.json_response({"keys": [self.key.as_dict(private=False)]})


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = Provider()
    async with TestServer(provider.app()) as server:
        provider.address = str(server.make_url("")).rstrip("/")
        yield provider


@pytest.fixture
async def opened(provider: Provider, store: Store, keyring: Keyring, settings: Settings) -> AsyncIterator[Browser]:
    oidc = Oidc(issuer=provider.address, client_id="rollcall", label="Example SSO")
    strict = msgspec.structs.replace(settings, oidc=oidc, admin=Admin())
    app = make_app(strict, store, keyring, signing=fast_signing(store, keyring))
    client: TestClient[Any, Any]
    async with TestServer(app) as server, TestClient(server) as client:
        yield Browser(client)


async def come_back(opened: Browser, provider: Provider, state: str | None = None) -> Any:
    """Go to the provider and come back from it."""
    page = await (await opened.get("/signin")).text()
    assert "Sign in with Example SSO" in page
    response = await opened.get("/signin/oidc")
    assert response.status == 303
    asked = {name: values[0] for name, values in parse_qs(urlsplit(response.headers["Location"]).query).items()}
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"].endswith("/signin/oidc/done")
    provider.nonce = asked["nonce"]
    return await opened.get(f"/signin/oidc/done?code=abc&state={state or asked['state']}")


async def test_who_is_known_there_and_here_is_signed_in(opened: Browser, provider: Provider) -> None:
    response = await come_back(opened, provider)
    assert (response.status, response.headers["Location"]) == (303, "/")
    assert provider.asked["code"] == "abc"
    assert provider.asked["code_verifier"]
    assert (await opened.get("/account")).status == 200


async def test_who_is_not_known_here_is_told_so(opened: Browser, provider: Provider) -> None:
    provider.name = "stranger"
    response = await come_back(opened, provider)
    assert (response.status, "You are known there, but not to Rollcall." in await response.text()) == (403, True)


@pytest.mark.parametrize(
    "changes",
    [{"aud": "another"}, {"iss": "https://evil.example"}, {"nonce": "old"}, {"exp": 1}, {"preferred_username": None}],
)
async def test_what_the_provider_did_not_say_to_us_now_signs_nobody_in(
    opened: Browser, provider: Provider, changes: dict[str, Any]
) -> None:
    provider.changes = changes
    with structlog.testing.capture_logs():
        response = await come_back(opened, provider)
    assert response.status in (403, 502)
    assert (await opened.get("/account")).status == 303


async def test_a_token_that_somebody_else_signed_is_refused(opened: Browser, provider: Provider) -> None:
    provider.signer = RSAKey.generate_key(2048, parameters={"kid": "one"})
    with structlog.testing.capture_logs():
        response = await come_back(opened, provider)
    assert response.status == 502
    assert (await opened.get("/account")).status == 303


@pytest.mark.parametrize("state", ["planted", "%C3%A9", "%FF", "%ED%A0%80"])
async def test_another_state_is_not_ours(opened: Browser, provider: Provider, state: str) -> None:
    """Whatever stands in its place."""
    assert (await come_back(opened, provider, state=state)).status == 303
    assert (await opened.get("/account")).status == 303


async def test_a_provider_that_is_down_is_told_plainly(opened: Browser, provider: Provider) -> None:
    provider_address = provider.address
    provider.address = "http://other.example"
    with structlog.testing.capture_logs() as logged:
        response = await opened.get("/signin/oidc")
    provider.address = provider_address
    assert (response.status, "Signing in there did not work." in await response.text()) == (502, True)
    assert logged[0]["event"] == "oidc_failed"


@pytest.mark.parametrize(("asked_at", "status"), [(0.0, 303), (-3600.0, 502), (None, 502)])
async def test_what_is_sensitive_has_the_provider_ask_anew(
    opened: Browser, provider: Provider, monkeypatch: pytest.MonkeyPatch, asked_at: float | None, status: int
) -> None:
    """That somebody is signed in there from before is not enough, nor that it does not say."""
    await come_back(opened, provider)
    await opened.get("/account")
    monkeypatch.setattr("admin.visitor._FRESH_FOR", -1.0)
    there = (await opened.get("/account/second-factor")).headers["Location"]
    assert "Sign in with Example SSO" in await (await opened.get(there)).text()
    response = await opened.post("/signin/again/oidc", {"next": "/account/second-factor"})
    asked = {name: values[0] for name, values in parse_qs(urlsplit(response.headers["Location"]).query).items()}
    assert (asked["prompt"], asked["max_age"]) == ("login", "0")
    provider.nonce = asked["nonce"]
    provider.changes = {} if asked_at is None else {"auth_time": int(time.time() + asked_at)}
    with structlog.testing.capture_logs():
        response = await opened.get(f"/signin/oidc/done?code=abc&state={asked['state']}")
    assert response.status == status
    if status == 303:
        assert response.headers["Location"] == "/account/second-factor"
