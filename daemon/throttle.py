"""Where guessing is held up, whoever counts: section 7 of the design."""

from __future__ import annotations

from typing import Final, Protocol

from loader.index import Decision, Guard, Question, Unguarded


class Attempt(Guard, Protocol):
    """How one question stands: before it is decided, and after."""

    def accepted(self) -> None:
        """An entry answered: whoever calls has shown that he knows a PIN."""

    def rejected(self, decision: Decision) -> Decision:
        """Nothing answered: it is counted. What the caller is told: the same with the tries left, or that it is locked.

        Where others have used up the tries since this question was begun, nothing is said about its PIN.
        """


class Throttle(Protocol):
    """What counts the wrong ones."""

    def attempt(self, question: Question, switch: str) -> Attempt:
        """The attempt that a switch, or a door that knows no more, asks about."""

    def unknown_passcode(self, switch: str) -> None:
        """A switch asked for a conference that is not there, without a word of who calls."""


class Uncounted(Unguarded):
    """An attempt that nobody counts."""

    def accepted(self) -> None:
        """Forget it."""

    def rejected(self, decision: Decision) -> Decision:
        return decision


_UNCOUNTED: Final = Uncounted()


class NoThrottle:
    """Nothing is ever locked."""

    def attempt(self, question: Question, switch: str) -> Attempt:  # noqa: ARG002
        return _UNCOUNTED

    def unknown_passcode(self, switch: str) -> None:
        """Forget it."""


NO_THROTTLE: Final = NoThrottle()
