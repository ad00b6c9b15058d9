"""Whether the daemon is up, loaded and fresh: what `/readyz` tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

_UP_FOR: Final = 1.0
"""Seconds after an answer of the database during which it counts as up."""


class Readiness(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `/readyz` says. `seconds_since_look` is how old the last successful look at the feed is."""

    ready: bool
    index: str
    database: str
    position: int
    lists_not_applied: int
    seconds_since_look: float | None = None
    draining: bool = False
    problem: str | None = None
    rolls_problem: str | None = None


class Health:
    """What is known of the daemon's state. Times are those of `time.monotonic`."""

    def __init__(self, stale_after: float) -> None:
        self.stale_after = stale_after
        """Seconds without a successful look at the feed after which the index is no longer fresh."""
        self.loaded = False
        self.draining = False
        self.position = 0
        self.lists_not_applied = 0
        self.problem: str | None = None
        """Why the database cannot be used; None while it can."""
        self.rolls_problem: Callable[[], str | None] = lambda: None
        """Tells why events do not reach the database, if they do not."""
        self._looked_at: float | None = None
        self._answered_at: float | None = None

    def answered(self, now: float) -> None:
        """The database answered, as it does all the while that much is read from it."""
        self._answered_at = now

    def looked(self, now: float) -> None:
        """A look at the feed has ended well: all that it told is in force."""
        self._looked_at = self._answered_at = now
        self.problem = None

    def database_up(self, now: float) -> bool:
        """Whether the database answered just now. One that leaves a question hanging is not up either."""
        return self.problem is None and self._answered_at is not None and now - self._answered_at < _UP_FOR

    def readiness(self, now: float) -> Readiness:
        """Ready is: loaded, fresh, and not about to stop."""
        age = None if self._looked_at is None else now - self._looked_at
        fresh = age is not None and age < self.stale_after
        return Readiness(
            ready=self.loaded and fresh and not self.draining,
            index="loaded" if self.loaded else "loading",
            database="up" if self.database_up(now) else "down",
            position=self.position,
            lists_not_applied=self.lists_not_applied,
            seconds_since_look=None if age is None else round(age, 3),
            draining=self.draining,
            problem=self.problem,
            rolls_problem=self.rolls_problem(),
        )
