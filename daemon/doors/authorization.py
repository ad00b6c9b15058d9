"""The tokens of switches, as HTTP carries them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
from collections.abc import Callable
from typing import Final

import structlog
from aiohttp import hdrs

from daemon.doors.http_reply import Headers, Peer
from daemon.doors.problem import Problem
from daemon.live import KnownToken, Live

log = structlog.get_logger(__name__)

_CHALLENGES: Final = {"bearer": "Bearer", "basic": 'Basic realm="Rollcall", charset="UTF-8"'}
_TOLD_EVERY: Final = 600.0
"""Seconds between two lines of the log about the same token: it may be asked with a thousand times a second."""
_SECOND: Final = 1_000_000_000


class Authorization:
    """Who may ask at one door: as Bearer or, where `basic` is allowed, as Basic's password too.

    `refused` counts tokens of switches that are not taken, by why: `expired`, `address`. Whoever sends one is answered
    as if it were of no switch: he must not learn that it was of any use elsewhere. `clock` is in seconds since 1970,
    `ticks` in nanoseconds of a clock that only goes forward.
    """

    def __init__(
        self,
        live: Live,
        refused: Callable[[str], None] = lambda _: None,
        *,
        basic: bool = False,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._live = live
        self._refused = refused
        self._basic = basic
        self._clock = clock
        self._ticks = ticks

    def switch_of(self, headers: Headers, peer: Peer) -> str:
        """The ID of the switch whose token is sent. Raises Problem if there is none, or it may not be used now."""
        return self.whose(self.token_hash(headers), peer)

    def token_hash(self, headers: Headers) -> bytes:
        """The SHA-256 of the token that is sent, or of none."""
        scheme, _, token = headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        scheme, sent = scheme.lower(), token.strip().encode("utf-8", "surrogateescape")
        if self._basic and scheme == "basic":
            sent = _password(sent)
        elif scheme != "bearer":
            sent = b""
        return hashlib.sha256(sent).digest()

    def whose(self, token_hash: bytes, peer: Peer) -> str:
        """The ID of the switch that has this token. Raises Problem if none has, or it may not be used now."""
        tokens = self._live.tokens
        if tokens is None:
            raise not_loaded()
        # A token is random and long: looking up its hash tells nobody how near a guess was.
        known = tokens.get(token_hash)
        if known is None:
            raise self._unauthorized()
        if not known.suffices:
            self._require_rest(known, peer)
        return known.switch

    def _require_rest(self, known: KnownToken, peer: Peer) -> None:
        if known.expires_at is not None:
            left = known.expires_at - self._clock()
            if left <= 0:
                raise self._not_taken("expired", known, peer)
            # The switch has yet to be given its new token: the last chance to notice.
            _tell("old_token_used", known, seconds_left=round(left))
        if known.networks is not None and peer.address not in known.networks:
            raise self._not_taken("address", known, peer)
        if known.limit is not None:
            wait = known.limit.wait(self._ticks())
            if wait:
                raise Problem(
                    429, "The switch asks more often than it may.", headers={"Retry-After": str(-(-wait // _SECOND))}
                )

    def _not_taken(self, why: str, known: KnownToken, peer: Peer) -> Problem:
        self._refused(why)
        _tell(f"token_refused_{why}", known, address=peer.address)
        return self._unauthorized()

    def _unauthorized(self) -> Problem:
        challenge = _CHALLENGES["basic" if self._basic else "bearer"]
        return Problem(401, "The token is missing or not one of a switch.", headers={hdrs.WWW_AUTHENTICATE: challenge})


def not_loaded() -> Problem:
    """What is answered while there is nothing to answer from."""
    return Problem(503, "The lists are not loaded yet.", headers={"Retry-After": "1"})


def _tell(event: str, known: KnownToken, **told: object) -> None:
    now = time.monotonic()
    if now - known.told.get(event, -_TOLD_EVERY) >= _TOLD_EVERY:
        known.told[event] = now
        log.warning(event, switch=known.switch, token=known.fingerprint, **told)


def _password(credentials: bytes) -> bytes:
    try:
        return base64.b64decode(credentials, validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return b""
