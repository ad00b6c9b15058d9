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


Event: TypeAlias = Admitted | Joined | Left | Refused
"""One event."""
