"""The one decision that every door calls: it is made, named, counted and timed here."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from itertools import count
from time import perf_counter
from typing import Final, NamedTuple, TypeAlias

from daemon.live import Live
from daemon.roll import NO_ROLL, Roll
from daemon.throttle import NO_THROTTLE, Throttle
from loader.index import Decision, Question, Reason, decide

ACCEPTED: Final = "accepted"
REJECTED: Final = "rejected"

_COUNTED: Final = frozenset((Reason.UNKNOWN_PASSCODE, Reason.INACTIVE_PIN, Reason.UNKNOWN_PIN))
"""What is a guess that was wrong."""

Tally: TypeAlias = Callable[[str, float], None]
"""Counts one verification: its result (`accepted`, or the reason against it), and the seconds it took."""


class Verification(NamedTuple):
    """One question's answer. The ID is unique, also across restarts and machines."""

    id: str
    decision: Decision


class Verifier:
    """What one door asks."""

    def __init__(
        self, live: Live, tally: Tally, throttle: Throttle = NO_THROTTLE, roll: Roll = NO_ROLL, door: str = ""
    ) -> None:
        self._live = live
        self._tally = tally
        self._throttle = throttle
        self._roll = roll
        self._door = door
        self._prefix = secrets.token_hex(8)
        self._numbers = count(1)

    def verify(self, question: Question, begun: float, switch: str | None = None) -> Verification | None:
        """Decide, from memory; None while there is no index to decide from.

        `begun` is when the door began with this question, as `time.perf_counter` tells it. `switch` is who asks, where
        the door knows it. Who is told that a caller is accepted has the roll keep it first.
        """
        index = self._live.index
        if index is None:
            return None
        switch = switch or self._door
        attempt = self._throttle.attempt(question, switch)
        decision = decide(index, question, attempt)
        if decision.level is not None:
            attempt.accepted()
        elif decision.reason in _COUNTED:
            decision = attempt.rejected(decision)
        self._tally(decision.reason or ACCEPTED, perf_counter() - begun)
        verification = Verification(f"{self._prefix}-{next(self._numbers):x}", decision)
        if decision.reason is None:
            self._roll.admitted(self._door, switch, question, verification.id, decision)
        elif decision.conference is not None:
            self._roll.refused(decision.conference.id, decision.reason)
        return verification

    def unknown_passcode(self, switch: str) -> None:
        """A switch asked for a conference that is not there: passcodes are guessed too."""
        self._throttle.unknown_passcode(switch)
