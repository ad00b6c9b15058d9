"""A decision becomes the attributes of an Access-Accept or an Access-Reject.

Cisco's gateways read `h323-return-code` (vendor 9, attribute 103) as a string that repeats the attribute's name, such as
`h323-return-code=0`, and free pairs of an IVR script as `h323-ivr-in=NAME:VALUE` in Cisco-AVPair: "CDR Accounting for
Cisco IOS Voice Gateways", chapters "VSA Definitions" and "Debit Card Application" (return codes).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from daemon.doors.radius_packet import (
    CISCO_AVPAIR,
    CLASS,
    H323_RETURN_CODE,
    MAX_VALUE,
    REPLY_MESSAGE,
    Request,
    attribute,
    cisco,
)
from daemon.verify import Verification
from loader.index import Decision, Reason

OK: Final = 0
UNKNOWN_ACCOUNT: Final = 1
WRONG_PIN: Final = 2
DENIED: Final = 7
RETRIES_EXCEEDED: Final = 10

# To a caller, an inactive PIN and an unknown one should sound the same.
_NOT_VALID: Final = "This PIN is not valid."
_REJECTED: Final[Mapping[Reason, tuple[int, str]]] = {
    Reason.LOCKED: (RETRIES_EXCEEDED, "There were too many wrong tries."),
    Reason.UNKNOWN_PASSCODE: (UNKNOWN_ACCOUNT, "There is no conference with this passcode."),
    Reason.PIN_REQUIRED: (WRONG_PIN, "A PIN is needed."),
    Reason.INACTIVE_PIN: (DENIED, _NOT_VALID),
    Reason.UNKNOWN_PIN: (WRONG_PIN, _NOT_VALID),
}
_CLASS: Final = b"rollcall:"
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def accepted(verification: Verification, call_id: str | None) -> list[bytes]:
    """The attributes of an Access-Accept, the most important ones first."""
    decision = verification.decision
    attributes = [_OK, _class(verification.id, call_id), *_conference(decision)]
    if decision.participant is not None:
        who = decision.participant
        attributes += (
            _pair("first-name", who.first_name),
            _pair("last-name", who.last_name),
            _pair("company", who.company),
        )
    return attributes


def rejected(decision: Decision) -> list[bytes]:
    """The attributes of an Access-Reject."""
    reason = decision.reason or Reason.UNKNOWN_PASSCODE
    attributes = [_REFUSALS[reason]]
    if decision.attempts_left is not None:
        attributes.append(_pair("attempts-left", str(decision.attempts_left)))
    if decision.retry_after is not None:
        attributes.append(_pair("retry-after", str(decision.retry_after)))
    return attributes


def told_in_class(request: Request) -> str | None:
    """The call that an accounting request tells of, if it brings back the Class of an Access-Accept of ours."""
    for value in request.values(CLASS):
        if value.startswith(_CLASS):
            call_id = value[len(_CLASS) :].partition(b":")[2]
            return call_id.decode("utf-8", "replace") or None
    return None


def return_code(number: int) -> bytes:
    """`h323-return-code` as Cisco's gateways read it."""
    return cisco(H323_RETURN_CODE, b"h323-return-code=%d" % number)


def message(text: str) -> bytes:
    """What can be shown or logged."""
    return attribute(REPLY_MESSAGE, text.encode())


def _class(verification_id: str, call_id: str | None) -> bytes:
    """Names the verification and its call: a gateway sends it back with all accounting (RFC 2865, section 5.25)."""
    value = b"%b%b:%b" % (_CLASS, verification_id.encode(), (call_id or "").encode("utf-8", "replace"))
    # Half a call's ID would be another's.
    return attribute(CLASS, value if len(value) <= MAX_VALUE else _CLASS + verification_id.encode() + b":")


@lru_cache(4096)
def _pair(name: str, value: str) -> bytes:
    """A pair for the gateway's script; the same names and companies come again and again. Control characters, which lists cannot hold, become spaces."""
    if not value.isprintable():
        value = _CONTROL.sub(" ", value)
    return cisco(CISCO_AVPAIR, f"h323-ivr-in={name}:{value}".encode())


@lru_cache(1024)
def _conference_pairs(conference_id: str, level: str | None) -> tuple[bytes, ...]:
    pairs = [_pair("conference-id", conference_id)]
    if level is not None:
        pairs.append(_pair("level", level))
    return (*pairs, message("No PIN is needed." if level is None else "This PIN is valid."))


def _conference(decision: Decision) -> tuple[bytes, ...]:
    return () if decision.conference is None else _conference_pairs(decision.conference.id, decision.level)


_OK: Final = return_code(OK)
_REFUSALS: Final[Mapping[Reason, bytes]] = {
    reason: return_code(code) + message(text) + _pair("reason", reason.value)
    for reason, (code, text) in _REJECTED.items()
}
