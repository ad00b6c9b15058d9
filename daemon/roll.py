"""Who has been let in, who has joined and who has left: what is told of calls, whoever keeps it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from loader.index import Decision, Question
from loader.roll import Locked

WhenKept: TypeAlias = Callable[[Callable[[], None]], None]
"""Calls back, at once or soon, when all that was told so far will not be forgotten."""


class Roll(Protocol):
    """What is told of calls. `source` is who gives calls their IDs: a switch, or a door that knows no more."""

    def admitted(self, door: str, source: str, question: Question, verification_id: str, decision: Decision) -> None:
        """A verification was accepted."""

    def refused(self, conference_id: str, reason: str) -> None:
        """A verification for this conference was rejected."""

    def locked(self, event: Locked) -> None:
        """Somebody must wait, or wait longer."""

    def joined(self, source: str, call_id: str) -> None:
        """The caller has been put through. Of a call that nobody was admitted on it changes nothing."""

    def left(self, source: str, call_id: str) -> None:
        """The call is over. Of a call that nobody was admitted on it changes nothing."""

    async def knows(self, source: str, call_id: str) -> bool:
        """Whether somebody was admitted on this call. Raises DatabaseUnavailable if that cannot be told now."""

    def when_kept(self, then: Callable[[], None]) -> None:
        """Call back, at once or soon, when all that was told so far will not be forgotten."""

    async def kept(self) -> None:
        """The same, to be waited for."""


class NoRoll:
    """Nothing is kept, and no call is known."""

    def admitted(self, door: str, source: str, question: Question, verification_id: str, decision: Decision) -> None:
        """Forget it."""

    def refused(self, conference_id: str, reason: str) -> None:
        """Forget it."""

    def locked(self, event: Locked) -> None:
        """Forget it."""

    def joined(self, source: str, call_id: str) -> None:
        """Forget it."""

    def left(self, source: str, call_id: str) -> None:
        """Forget it."""

    async def knows(self, source: str, call_id: str) -> bool:  # noqa: ARG002
        return False

    def when_kept(self, then: Callable[[], None]) -> None:
        then()

    async def kept(self) -> None:
        """There is nothing to wait for."""


NO_ROLL: Final = NoRoll()
