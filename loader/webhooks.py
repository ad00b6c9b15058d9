"""What a company is told of its rolls over HTTP: what stands in an event, how it is signed, and where it may go.

Headers and signature are those of Standard Webhooks 1.0.0, "Signature scheme" and "Webhook headers"
(https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
"""

from __future__ import annotations

import base64
import hmac
import ipaddress
import math
import re
import secrets
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import msgspec

from loader.errors import InvalidValue
from loader.model import Participant

SECRET_SIZE: Final = 32
"""Bytes; the standard asks for 24 to 64."""
MAX_URL: Final = 1000
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_UNICAST: Final = ipaddress.ip_network("2000::/3")
"""The IPv6 addresses that are given out for the internet. What lies elsewhere leads to nobody's machine or inside: local
NAT64 (RFC 8215), site-local addresses, IPv4 addresses in other clothes.
"""
_HOST: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?\.?", re.ASCII)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class EventType(StrEnum):
    """What a company is told of."""

    ADMITTED = "call.admitted"
    JOINED = "call.joined"
    LEFT = "call.left"
    ENDED = "occurrence.ended"
    CALLER_LOCKED = "caller.locked"
    CONFERENCE_LOCKED = "conference.locked"
    TEST = "webhook.test"


class TargetError(InvalidValue):
    """A URL is none that may be called. `code`: url, https, private, long."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class AboutCall(msgspec.Struct, frozen=True):
    """One call as an event tells it. Times are seconds since 1970 UTC; `ended` is how it ended, if it has."""

    id: str
    admitted_at: float
    joined_at: float | None
    left_at: float | None
    ended: str | None
    participant: Participant | None


class AboutOccurrence(msgspec.Struct, frozen=True):
    """The occurrence that an event belongs to."""

    id: int
    conference_id: str
    title: str
    started_at: float
    ended_at: float | None = None


class AboutLock(msgspec.Struct, frozen=True):
    """A conference that is locked, or a caller of it. `until` is infinite where only a person unlocks."""

    conference_id: str
    title: str
    since: float
    until: float
    failures: int


def new_event_id() -> str:
    """An ID that nobody has had before: letters, digits and `_` only, as it is part of what is signed."""
    return f"evt_{secrets.token_hex(16)}"


def event_body(
    event_id: str,
    event: EventType,
    at: float,
    occurrence: AboutOccurrence | None = None,
    call: AboutCall | None = None,
    lock: AboutLock | None = None,
) -> bytes:
    """The JSON of an event: never a PIN, a passcode or a calling number."""
    data: dict[str, Any] = {}
    if occurrence is not None:
        data["conference"] = {"id": occurrence.conference_id, "title": occurrence.title}
        data["occurrence"] = {
            "id": str(occurrence.id),
            "started_at": _moment(occurrence.started_at),
            "ended_at": _moment(occurrence.ended_at),
        }
    if call is not None:
        who = call.participant
        data["call"] = {
            "id": call.id,
            "admitted_at": _moment(call.admitted_at),
            "joined_at": _moment(call.joined_at),
            "left_at": _moment(call.left_at),
            "ended": call.ended,
        }
        data["participant"] = who and {"first_name": who.first_name, "last_name": who.last_name}
    if lock is not None:
        data["conference"] = {"id": lock.conference_id, "title": lock.title}
        data["lock"] = {
            "since": _moment(lock.since),
            "until": None if math.isinf(lock.until) else _moment(lock.until),
            "failures": lock.failures,
        }
    return msgspec.json.encode({"id": event_id, "type": event, "timestamp": _moment(at), "data": data})


def new_secret() -> bytes:
    """What a company's events are signed with."""
    return secrets.token_bytes(SECRET_SIZE)


def secret_text(secret: bytes) -> str:
    """A secret as its receiver is shown it."""
    return f"whsec_{base64.b64encode(secret).decode()}"


def signed_headers(secret: bytes, event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """What goes with a body: `timestamp` is when this try is made, in seconds since 1970 UTC."""
    digest = hmac.digest(secret, f"{event_id}.{timestamp}.".encode() + body, "sha256")
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def parse_target(text: str, *, private: bool) -> str:
    """Text becomes a URL that may be called: https, or http to this machine itself. Raises TargetError.

    `private` allows addresses of private networks and of this machine. What a name stands for is asked when it is
    called (:func:`may_be_called`): it may change.
    """
    text = text.strip()
    if len(text) > MAX_URL:
        raise TargetError("long", f"a URL has at most {MAX_URL} characters")
    url = _split(text)
    host = (url.hostname or "").lower()
    address = _address(host)
    if address is None and (_HOST.fullmatch(host) is None or host.rstrip(".").rpartition(".")[2].isdigit()):
        # 127.1 and 2130706433 are addresses to some programs.
        raise TargetError("url", "the host is no name and no address")
    is_own = host == "localhost" or (address is not None and address.is_loopback)
    if url.scheme != "https" and not is_own:
        raise TargetError("https", "only https is called")
    if not private and (is_own or (address is not None and not may_be_called(address, private=False))):
        raise TargetError("private", "addresses of private networks are not called")
    return text


def host_of(url: str) -> str:
    """The host of a URL: what may be told where the rest of it may be a secret."""
    return urlsplit(url).hostname or ""


def may_be_called(address: Address, *, private: bool) -> bool:
    """Whether events may go to this address: to any that is reached over the internet, and to no other.

    `private` allows private networks and this machine, but not what is no address of one machine.
    """
    inner = _embedded(address)
    if inner is not None:
        return may_be_called(inner, private=private)
    if address.is_multicast or address.is_unspecified or address == ipaddress.IPv4Address("255.255.255.255"):
        return False
    is_reached = address.is_global and (address.version == 4 or address in _UNICAST)
    if private:
        return is_reached or address.is_private or address.is_loopback
    return is_reached


def _embedded(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to, if it is one that does."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)


def _split(text: str) -> SplitResult:
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        raise TargetError("url", "is no URL") from None
    if url.scheme not in ("https", "http") or not url.hostname or not text.isascii() or not text.isprintable():
        raise TargetError("url", "is no URL such as https://example.com/rolls")
    if " " in text or "\\" in text or url.username is not None or url.password is not None or url.fragment:
        raise TargetError("url", "a URL has no user, password, space or fragment here")
    return url


def _address(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _moment(at: float | None) -> str | None:
    """A time in ISO 8601, to the millisecond."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
