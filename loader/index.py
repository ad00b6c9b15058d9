"""A passcode and a PIN become a decision: section 3 of the design, over blocks in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

import msgspec

from loader.compiled import Block, pin_key
from loader.model import Conference, Level, Owner, Participant, Revision


class Reason(StrEnum):
    """Why a verification was rejected, in the words that a switch reads."""

    LOCKED = "locked"
    UNKNOWN_PASSCODE = "unknown_passcode"
    PIN_REQUIRED = "pin_required"
    INACTIVE_PIN = "inactive_pin"
    UNKNOWN_PIN = "unknown_pin"


MAX_KEYED: Final = 32
"""Characters that a caller may key; a passcode has no more."""
MAX_TOLD: Final = 128
"""Characters of what a switch tells of a call."""

_AT_HAND: Final = 1024
"""How many conferences are kept decoded: some 2 MB."""


class Question(msgspec.Struct, frozen=True, gc=False):
    """What a switch asks: strings as the caller keyed them, at most 32 characters each."""

    passcode: str
    pin: str
    call_id: str | None = None
    caller: str | None = None


class Decision(msgspec.Struct, frozen=True, gc=False):
    """The answer to a question.

    Accepted when ``reason`` is None. ``participant``, ``level`` and ``revision`` are set when an entry answered:
    a conference with PIN entry off accepts without. ``retry_after`` (seconds) is set when locked, ``attempts_left``
    when tries are counted.
    """

    reason: Reason | None
    conference: Conference | None = None
    participant: Participant | None = None
    level: Level | None = None
    revision: Revision | None = None
    retry_after: int | None = None
    attempts_left: int | None = None

    @property
    def accepted(self) -> bool:
        return self.reason is None


class Guard(Protocol):
    """Who stands before the lists: section 7. Both answer seconds to wait, or None to go on."""

    def caller_locked_for(self) -> int | None:
        """Whether the call or the caller must wait."""

    def conference_locked_for(self, conference: Conference) -> int | None:
        """Whether all must wait who are not known to have a PIN of this conference."""


class Unguarded:
    """Nobody waits."""

    def caller_locked_for(self) -> int | None:
        return None

    def conference_locked_for(self, conference: Conference) -> int | None:  # noqa: ARG002
        return None


UNGUARDED: Final = Unguarded()


class Called(NamedTuple):
    """What a passcode leads to: the conference, and the lists to ask, in order, those that there are."""

    conference: Conference
    lists: tuple[tuple[Level, Block], ...]


class Index:
    """All conferences by passcode, and all lists by owner. Never edited: another one is put in its place.

    Those who are asked for are kept at hand, as what there is of them does not change.
    """

    __slots__ = ("_at_hand", "conferences", "lists")

    def __init__(self, conferences: Mapping[str, Conference], lists: Mapping[Owner, Block]) -> None:
        self.conferences = conferences
        self.lists = lists
        self._at_hand: dict[str, Called] = {}

    def called(self, passcode: str) -> Called | None:
        """What this passcode leads to; None if no conference has it."""
        at_hand = self._at_hand.get(passcode)
        return self._look_up(passcode) if at_hand is None else at_hand

    def _look_up(self, passcode: str) -> Called | None:
        conference = self.conferences.get(passcode)
        if conference is None:
            return None
        lists = ((owner.level, self.lists.get(owner)) for owner in conference.owners)
        found = Called(conference, tuple((level, block) for level, block in lists if block is not None))
        if len(self._at_hand) >= _AT_HAND:
            self._at_hand.clear()
        self._at_hand[passcode] = found
        return found

    def changed(
        self,
        *,
        conferences: Iterable[Conference] = (),
        gone: Iterable[str] = (),
        lists: Mapping[Owner, Block | None] | None = None,
    ) -> Index:
        """A small index as it is after a change, in a process's own memory; large ones are :mod:`loader.shared_index`'s.

        ``gone`` are the IDs of conferences that are no more; a list that is no more is None.
        """
        arrived = list(conferences)
        replaced = {*gone, *(conference.id for conference in arrived)}
        by_passcode: dict[str, Conference] = {
            passcode: conference for passcode, conference in self.conferences.items() if conference.id not in replaced
        }
        by_passcode.update((conference.passcode, conference) for conference in arrived)
        blocks = {**self.lists, **(lists or {})}
        return Index(by_passcode, {owner: block for owner, block in blocks.items() if block is not None})


EMPTY: Final = Index({}, {})


def decide(index: Index, question: Question, guard: Guard = UNGUARDED) -> Decision:
    """Whether the PIN is valid for the conference, and who it names. Pure but for what the guard knows."""
    if (wait := guard.caller_locked_for()) is not None:
        return Decision(Reason.LOCKED, retry_after=wait)
    called = index.called(question.passcode)
    if called is None:
        return Decision(Reason.UNKNOWN_PASSCODE)
    conference = called.conference
    if not conference.pin_entry:
        return Decision(None, conference)
    if not question.pin:
        return Decision(Reason.PIN_REQUIRED, conference)
    if (wait := guard.conference_locked_for(conference)) is not None:
        return Decision(Reason.LOCKED, conference, retry_after=wait)
    key = pin_key(question.pin)
    if key is None:
        return Decision(Reason.UNKNOWN_PIN, conference)
    reason = Reason.UNKNOWN_PIN
    for level, block in called.lists:
        at = block.find(key)
        if at is None:
            continue
        if block.is_active(at):
            return Decision(None, conference, block.participant(at), level, block.revision)
        reason = Reason.INACTIVE_PIN
    return Decision(reason, conference)


class Outcome(StrEnum):
    """What one list says to a PIN."""

    NO_LIST = "no list"
    NOT_IN_LIST = "not in the list"
    INACTIVE = "there, but inactive"
    ACTIVE = "there, and active"


class Step(msgspec.Struct, frozen=True):
    """What one list says to a PIN; ``entries`` and ``revision`` are 0 where there is no list."""

    owner: Owner
    outcome: Outcome
    revision: int = 0
    entries: int = 0


def explain(index: Index, conference: Conference, pin: str) -> list[Step]:
    """How a decision comes about, list by list in the order of asking. All lists are told, also after an answer."""
    steps = []
    key = pin_key(pin)
    for owner in conference.owners:
        block = index.lists.get(owner)
        if block is None:
            steps.append(Step(owner, Outcome.NO_LIST))
            continue
        at = None if key is None else block.find(key)
        if at is None:
            outcome = Outcome.NOT_IN_LIST
        else:
            outcome = Outcome.ACTIVE if block.is_active(at) else Outcome.INACTIVE
        steps.append(Step(owner, outcome, block.revision, block.count))
    return steps
