"""What happens on calls, as values: rolls are made of these events, in their order."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from loader.model import Participant


class Admitted(msgspec.Struct, frozen=True, gc=False, tag="admitted"):
    """A verification was accepted. ``at`` is in seconds since 1970 UTC.

    ``source`` is who says of a call what its ID is: call IDs are unique within it. ``owner`` is the key of whose list
    answered, and ``pin`` what was keyed; both are empty where no PIN was wanted. A roll holds neither of them, but a
    fingerprint.
    """

    at: float
    verification_id: str
    door: str
    source: str
    call_id: str | None
    caller: str | None
    conference_id: str
    owner: str = ""
    pin: str = ""
    participant: Participant | None = None


class Joined(msgspec.Struct, frozen=True, gc=False, tag="joined"):
    """The caller has been put through to the conference."""

    at: float
    source: str
    call_id: str


class Left(msgspec.Struct, frozen=True, gc=False, tag="left"):
    """The call is over."""

    at: float
    source: str
    call_id: str


class Refused(msgspec.Struct, frozen=True, gc=False, tag="refused"):
    """So many verifications for a conference were rejected, for this reason."""

    at: float
    conference_id: str
    reason: str
    count: int


class Locked(msgspec.Struct, frozen=True, gc=False, tag="locked"):
    """Somebody must wait, or wait longer: each doubling is one more event of the same ``key``.

    Times are in seconds since 1970 UTC; ``until`` is infinite where only a person unlocks. ``key`` is the throttle's own
    name of what it counts: 16 hexadecimal digits of a keyed hash. ``kind`` is `caller`, `conference` or `switch`.
    ``failures`` are those in a row. ``conference_id`` is empty for a switch, and where passcodes were guessed;
    ``caller`` is None where the number was withheld.
    """

    at: float
    until: float
    key: str
    kind: str
    failures: int
    conference_id: str
    caller: str | None
    switch: str


Event: TypeAlias = Admitted | Joined | Left | Refused | Locked
"""One event."""
