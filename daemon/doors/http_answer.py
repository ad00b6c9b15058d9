"""A verification becomes what a switch reads: JSON, one line of text, or a form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from unicodedata import category
from urllib.parse import quote

import msgspec
from msgspec import UNSET, UnsetType

from daemon.doors.problem import Problem
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


def as_line(verification: Verification) -> bytes:
    """The answer of `/v1/verify.txt`: one line, without a line end."""
    decision = verification.decision
    if decision.reason is Reason.LOCKED:
        return f"{REJECTED}|{decision.reason}|{decision.retry_after}".encode()
    if decision.reason is not None or decision.conference is None:
        return f"{REJECTED}|{decision.reason}".encode()
    who = decision.participant
    told = (who.first_name, who.last_name, who.company, decision.level or "") if who else ("", "", "", "")
    # A `|` within a name must not shift the fields behind it.
    fields = (field.replace("|", "/") for field in (*told, decision.conference.id))
    return _on_one_line("|".join((ACCEPTED, *fields))).encode()


def problem_as_line(problem: Problem) -> bytes:
    """The first word tells an error too: some dialplans cannot see a status."""
    return f"error|{problem.title}".encode()


def as_form(verification: Verification) -> bytes:
    """The answer of `/v1/verify.txt` as `key=value&key=value`, percent-encoded: the keys that have a value."""
    verification_id, decision = verification
    conference = decision.conference
    if decision.reason is not None or conference is None:
        return _form(
            (
                ("result", REJECTED),
                ("reason", decision.reason or Reason.UNKNOWN_PASSCODE),
                ("retry_after", decision.retry_after),
                ("attempts_left", decision.attempts_left),
                ("verification_id", verification_id),
            )
        )
    who = decision.participant
    # What people have typed comes last. Asterisk's HASH() parts what it has decoded at commas, and a parenthesis,
    # bracket or quote that is left open hides those behind it (main/app.c, __ast_app_separate_args).
    return _form(
        (
            ("result", ACCEPTED),
            ("verification_id", verification_id),
            ("level", decision.level),
            ("conference_id", conference.id),
            ("first_name", who.first_name if who else None),
            ("last_name", who.last_name if who else None),
            ("company", who.company if who else None),
        )
    )


def problem_as_form(problem: Problem) -> bytes:
    """As an answer that is neither accepted nor rejected."""
    return _form((("result", "error"), ("title", problem.title)))


def _form(fields: Iterable[tuple[str, str | int | None]]) -> bytes:
    # A space as %20: who decodes a `+` to a space is a matter of opinion, and Asterisk does so only on demand.
    told = (f"{key}={quote(_on_one_line(str(value)), safe='')}" for key, value in fields if value not in (None, ""))
    return "&".join(told).encode("ascii")


def _on_one_line(text: str) -> str:
    """The same without control characters: no text may end a line, or begin a header."""
    return text if text.isprintable() else "".join(" " if category(one) == "Cc" else one for one in text)


def conference_as_json(conference: Conference) -> bytes:
    """The answer of `/v1/conferences/{passcode}`."""
    return _encode(_Found(conference.id, conference.title, conference.organizer, conference.pin_entry))
