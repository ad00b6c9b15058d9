"""The tokens of switches, as HTTP carries them."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final

from aiohttp import hdrs

from daemon.doors.http_reply import Headers
from daemon.doors.problem import Problem
from daemon.live import Live

_CHALLENGES: Final = {"bearer": "Bearer", "basic": 'Basic realm="Rollcall", charset="UTF-8"'}


def authorize(live: Live, headers: Headers, *, basic: bool = False) -> str:
    """The ID of the switch whose token is sent: as Bearer or, where `basic` is allowed, as Basic's password.

    Raises Problem if there is none.
    """
    switches = live.switches
    if switches is None:
        raise not_loaded()
    scheme, _, token = headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    scheme, sent = scheme.lower(), token.strip().encode("utf-8", "surrogateescape")
    if basic and scheme == "basic":
        sent = _password(sent)
    elif scheme != "bearer":
        sent = b""
    # A token is random and long: looking up its hash tells nobody how near a guess was.
    switch = switches.get(hashlib.sha256(sent).digest())
    if switch is None:
        challenge = _CHALLENGES["basic" if basic else "bearer"]
        raise Problem(401, "The token is missing or not one of a switch.", headers={hdrs.WWW_AUTHENTICATE: challenge})
    return switch


def not_loaded() -> Problem:
    """What is answered while there is nothing to answer from."""
    return Problem(503, "The lists are not loaded yet.", headers={"Retry-After": "1"})


def _password(credentials: bytes) -> bytes:
    try:
        return base64.b64decode(credentials, validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return b""
