"""A verification becomes what a switch reads: JSON, or one line of text."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from daemon.verify import ACCEPTED, REJECTED, Verification
from loader.index import Reason
from loader.model import Conference, Level, Participant, Revision


class _List(msgspec.Struct, gc=False):
    level: Level
    revision: Revision


class _Conference(msgspec.Struct, gc=False):
    id: str
    title: str
    organizer: str


class _Accepted(msgspec.Struct, gc=False):
    result: str
    pin_entry: bool
    verification_id: str
    participant: Participant
    list: _List
    conference: _Conference


class _AcceptedWithoutPin(msgspec.Struct, gc=False):
    result: str
    pin_entry: bool
    verification_id: str
    conference: _Conference


class _Rejected(msgspec.Struct, gc=False):
    result: str
    reason: Reason
    attempts_left: int | UnsetType
    retry_after: int | UnsetType
    verification_id: str


class _Found(msgspec.Struct, gc=False):
    id: str
    title: str
    organizer: str
    pin_entry: bool


_encode: Final = msgspec.json.Encoder().encode


def as_json(verification: Verification) -> bytes:
    """The answer of `/v1/verify`."""
    verification_id, decision = verification
    conference = decision.conference
    if decision.reason is not None or conference is None:
        return _encode(
            _Rejected(
                REJECTED,
                decision.reason or Reason.UNKNOWN_PASSCODE,
                UNSET if decision.attempts_left is None else decision.attempts_left,
                UNSET if decision.retry_after is None else decision.retry_after,
                verification_id,
            )
        )
    told = _Conference(conference.id, conference.title, conference.organizer)
    if decision.participant is None or decision.level is None or decision.revision is None:
        return _encode(_AcceptedWithoutPin(ACCEPTED, False, verification_id, told))
    listed = _List(decision.level, decision.revision)
    return _encode(_Accepted(ACCEPTED, True, verification_id, decision.participant, listed, told))


def as_text(verification: Verification) -> bytes:
    """The answer of `/v1/verify.txt`: one line, without a line end."""
    decision = verification.decision
    if decision.reason is Reason.LOCKED:
        return f"{REJECTED}|{decision.reason}|{decision.retry_after}".encode()
    if decision.reason is not None or decision.conference is None:
        return f"{REJECTED}|{decision.reason}".encode()
    who = decision.participant
    told = (who.first_name, who.last_name, who.company, decision.level or "") if who else ("", "", "", "")
    # A `|` within a name must not shift the fields behind it.
    return "|".join((ACCEPTED, *(field.replace("|", "/") for field in (*told, decision.conference.id)))).encode()


def conference_as_json(conference: Conference) -> bytes:
    """The answer of `/v1/conferences/{passcode}`."""
    return _encode(_Found(conference.id, conference.title, conference.organizer, conference.pin_entry))
