"""Throttles that do as a test says."""

from __future__ import annotations

from collections.abc import Callable

from daemon.throttle import Attempt, NoThrottle, Uncounted
from loader.index import Question
from loader.model import Conference


class Locking(NoThrottle):
    """Makes callers and conferences wait for so many seconds, and remembers what it was asked."""

    def __init__(
        self,
        *,
        caller: Callable[[Question], int | None] = lambda _: None,
        conference: Callable[[Conference], int | None] = lambda _: None,
    ) -> None:
        self.questions: list[Question] = []
        self.caller = caller
        self.conference = conference

    def attempt(self, question: Question, switch: str) -> Attempt:
        self.questions.append(question)
        return _Attempt(self, question)


class _Attempt(Uncounted):
    def __init__(self, throttle: Locking, question: Question) -> None:
        self._throttle = throttle
        self._question = question

    def caller_locked_for(self) -> int | None:
        return self._throttle.caller(self._question)

    def conference_locked_for(self, conference: Conference) -> int | None:
        return self._throttle.conference(conference)


def locked(*, caller: bool) -> Locking:
    """One that has had enough: of every caller or, if not, of every conference."""
    return Locking(caller=lambda _: 60 if caller else None, conference=lambda _: 60)


def locking_some() -> Locking:
    """One that locks who calls from +15550100 for 60 seconds, and conference C-1001 for 120."""
    return Locking(
        caller=lambda question: 60 if question.caller == "+15550100" else None,
        conference=lambda conference: 120 if conference.id == "C-1001" else None,
    )


class Broken(NoThrottle):
    """One that breaks, and says a PIN."""

    def attempt(self, question: Question, switch: str) -> Attempt:
        raise ZeroDivisionError(question.pin)
