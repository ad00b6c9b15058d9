"""How clouds sign what they send. Whatever is not signed as it has to be is refused, and not told why."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterable
from time import time
from typing import Final

from daemon.doors.cloud_address import CloudAddress
from daemon.doors.http_reply import Headers
from daemon.doors.problem import Problem

_TWILIO_HEADERS: Final = ("X-Twilio-Signature", "X-SignalWire-Signature")
_TWILIO_SETTINGS: Final = "X-Twilio-Webhooks-Signature-Settings"
_JAMBONZ_HEADER: Final = "Jambonz-Signature"
_TOLERANCE: Final = 300
"""Seconds that the clock of jambonz may differ from ours, and that a request may be old: those of its own SDK."""


def not_signed() -> Problem:
    """What is answered to whoever cannot sign."""
    return Problem(403, "The signature is missing or wrong.")


class TwilioSignature:
    """The signature over an address and a form.

    Twilio's documentation, "Secure webhooks": HMAC-SHA1, in base64, over the whole URL as Twilio was told it, query and
    all, and then each parameter's name and value, sorted by name. A request that a Webhooks Rule covers names
    HMAC-SHA256 in a header of its own. SignalWire signs cXML in the same way ("Webhook Security"), under another header.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def require(
        self, address: CloudAddress, target: str, headers: Headers, parameters: Iterable[tuple[str, str]]
    ) -> None:
        """Raises Problem unless the address, with the target's query, and these parameters are signed."""
        sent = next((headers[name] for name in _TWILIO_HEADERS if name in headers), None)
        if sent is None:
            raise not_signed()
        digest = hashlib.sha256 if "algorithm=HMAC_SHA256" in headers.get(_TWILIO_SETTINGS, "") else hashlib.sha1
        _, mark, query = target.partition("?")
        # A parameter that stands twice with the same value is signed once, as Twilio's own validators have it.
        rest = mark + query + "".join(name + value for name, value in sorted(set(parameters)))
        given = sent.encode("utf-8", "surrogateescape")
        for spelling in address.spellings:
            signed = (spelling + rest).encode("utf-8", "surrogateescape")
            if hmac.compare_digest(base64.b64encode(hmac.digest(self._secret, signed, digest)), given):
                return
        raise not_signed()


class JambonzSignature:
    """The signature over a time and a body: `Jambonz-Signature: t=<seconds>,v1=<hex>`, of which there may be several v1.

    jambonz's sources, `lib/utils/base-requestor.js` of the feature server: HMAC-SHA256 over `t`, a full stop, and the
    body. It does not cover the address.
    """

    def __init__(self, secret: bytes, clock: Callable[[], float] = time) -> None:
        self._secret = secret
        self._clock = clock

    def require(self, headers: Headers, body: bytes) -> None:
        """Raises Problem unless the body is signed, and was so within five minutes."""
        parts = [part.strip().partition("=") for part in headers.get(_JAMBONZ_HEADER, "").split(",")]
        times = [value for name, _, value in parts if name == "t"]
        if len(times) != 1 or not (times[0].isascii() and times[0].isdigit() and len(times[0]) <= 12):
            raise not_signed()
        signed = b"%b.%b" % (times[0].encode("ascii"), body)
        right = hmac.digest(self._secret, signed, hashlib.sha256).hex().encode("ascii")
        matches = [
            hmac.compare_digest(right, value.encode("utf-8", "surrogateescape"))
            for name, _, value in parts
            if name == "v1"
        ]
        if not any(matches) or abs(self._clock() - int(times[0])) > _TOLERANCE:
            raise not_signed()
