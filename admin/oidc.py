"""Sign-in by OpenID Connect: the authorization code flow with PKCE, by way of Authlib."""

from __future__ import annotations

import secrets
import time
from typing import Any, Final

import httpx2
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from admin.post import read_secret
from loader.errors import RollcallError
from loader.sections import Oidc

_LEEWAY: Final = 60
"""Seconds that the provider's clock may be wrong."""


class OidcError(RollcallError):
    """The provider did not say who somebody is."""


class OpenIdConnect:
    """One provider. `redirect` is where it sends browsers back to."""

    def __init__(self, settings: Oidc, redirect: str) -> None:
        self.enabled = bool(settings.issuer)
        self.label = settings.label
        self._settings = settings
        self._redirect = redirect
        self._secret = read_secret(settings.client_secret_file)
        self._metadata: dict[str, Any] | None = None

    async def begin(self, *, again: bool = False) -> tuple[str, dict[str, str]]:
        """Where to send the browser, and what its session has to remember. Raises OidcError.

        `again` has the provider ask, though somebody may be signed in there, and say when it did (OpenID Connect Core
        section 3.1.2.1).
        """
        metadata = await self._discover()
        remembered = {
            "state": secrets.token_urlsafe(24),
            "nonce": secrets.token_urlsafe(24),
            "verifier": secrets.token_urlsafe(48),
        }
        asked_anew = {}
        if again:
            remembered["since"] = str(time.time())
            asked_anew = {"prompt": "login", "max_age": "0"}
        async with self._client() as client:
            address, _ = client.create_authorization_url(
                metadata["authorization_endpoint"],
                state=remembered["state"],
                nonce=remembered["nonce"],
                code_verifier=remembered["verifier"],
                **asked_anew,
            )
        return address, remembered

    async def finish(self, address: str, remembered: dict[str, str]) -> str:
        """The name of who has signed in, from the address that the browser came back with. Raises OidcError."""
        metadata = await self._discover()
        try:
            async with self._client(state=remembered["state"]) as client:
                token = await client.fetch_token(
                    metadata["token_endpoint"],
                    authorization_response=address,
                    code_verifier=remembered["verifier"],
                )
            async with httpx2.AsyncClient(timeout=5.0) as plain:
                keys = KeySet.import_key_set((await plain.get(metadata["jwks_uri"])).raise_for_status().json())
            claims = jwt.decode(token["id_token"], keys, algorithms=["RS256", "ES256", "PS256", "EdDSA"]).claims
            jwt.JWTClaimsRegistry(
                leeway=_LEEWAY,
                iss={"essential": True, "value": self._settings.issuer},
                aud={"essential": True, "value": self._settings.client_id},
                exp={"essential": True},
                nonce={"essential": True, "value": remembered["nonce"]},
            ).validate(claims)
            if claims.get("auth_time", 0) < float(remembered.get("since", 0)) - _LEEWAY:
                raise ValueError("auth_time")
            name = claims[self._settings.claim]
            if not isinstance(name, str):
                raise TypeError(self._settings.claim)
        except (OAuthError, JoseError, httpx2.HTTPError, KeyError, TypeError, ValueError) as error:
            raise OidcError(f"signing in by {self._settings.issuer} failed: {type(error).__name__}") from None
        return name

    async def _discover(self) -> dict[str, Any]:
        if self._metadata is None:
            address = self._settings.issuer.rstrip("/") + "/.well-known/openid-configuration"
            try:
                async with httpx2.AsyncClient(timeout=5.0) as client:
                    metadata: dict[str, Any] = (await client.get(address)).raise_for_status().json()
            except (httpx2.HTTPError, ValueError) as error:
                raise OidcError(f"{address}: {type(error).__name__}") from None
            if metadata.get("issuer") != self._settings.issuer:
                raise OidcError(f"{address} speaks for another issuer")
            self._metadata = metadata
        return self._metadata

    def _client(self, state: str | None = None) -> AsyncOAuth2Client:
        return AsyncOAuth2Client(
            self._settings.client_id,
            self._secret,
            scope="openid profile email",
            redirect_uri=self._redirect,
            code_challenge_method="S256",
            state=state,
            timeout=5.0,
        )
