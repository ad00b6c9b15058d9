"""The one decision that every door calls: it is made, named, counted and timed here."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from itertools import count
from time import perf_counter
from typing import Final, NamedTuple, TypeAlias

from daemon.live import Live
from loader.index import NO_THROTTLE, Decision, Question, Throttle, decide

ACCEPTED: Final = "accepted"
REJECTED: Final = "rejected"

Tally: TypeAlias = Callable[[str, float], None]
"""Counts one verification: its result (`accepted`, or the reason against it), and the seconds it took."""


class Verification(NamedTuple):
    """One question's answer. The ID is unique, also across restarts and machines."""

    id: str
    decision: Decision


class Verifier:
    """What one door asks."""

    def __init__(self, live: Live, tally: Tally, throttle: Throttle = NO_THROTTLE) -> None:
        self._live = live
        self._tally = tally
        self._throttle = throttle
        self._prefix = secrets.token_hex(8)
        self._numbers = count(1)

    def verify(self, question: Question, begun: float) -> Verification | None:
        """Decide, from memory; None while there is no index to decide from.

        `begun` is when the door began with this question, as `time.perf_counter` tells it.
        """
        index = self._live.index
        if index is None:
            return None
        decision = decide(index, question, self._throttle)
        self._tally(decision.reason or ACCEPTED, perf_counter() - begun)
        return Verification(f"{self._prefix}-{next(self._numbers):x}", decision)
