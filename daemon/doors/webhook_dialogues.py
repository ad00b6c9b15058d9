"""The dialogues of a door that a cloud asks by webhook, one request a step. The door reads, checks and renders."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

from daemon.doors.cloud_address import CloudAddress
from daemon.doors.dialogue import Ask, Step, begin, heard
from daemon.doors.http_question import MAX_TOLD
from daemon.doors.http_reply import NO_CONTENT, Reply
from daemon.doors.problem import Problem
from daemon.doors.spoken import LOCALES
from daemon.doors.surroundings import Surroundings
from daemon.doors.webhooks import Recent, SealedStates
from daemon.verify import Verification
from loader.door_sections import Language
from loader.index import Question

FIRST_DIGIT_TIMEOUT: Final = 10
"""Seconds that a caller has to begin."""
DIGIT_TIMEOUT: Final = 5
"""Seconds that a caller has for the next digit, and after which he has keyed all if there was no `#`."""

_STATE: Final = "state"
_LANGUAGE: Final = "language"


class Told(NamedTuple):
    """What a request tells of its call."""

    call_id: str
    caller: str | None
    digits: str

    @classmethod
    def of(cls, name: str, call_id: str | None, caller: str | None, digits: str | None) -> Told:
        """`name` is what the cloud calls the call's ID. Raises Problem if that is missing or too long."""
        if not call_id:
            raise Problem(400, "The request tells of no call.", errors={name: "is missing"})
        if len(call_id) > MAX_TOLD:
            raise Problem(400, "The request tells of no call.", errors={name: f"has more than {MAX_TOLD} characters"})
        return cls(call_id, (caller or "")[:MAX_TOLD] or None, digits or "")


class Rendered(NamedTuple):
    """What a door has to render: `following` is the address of the next request, empty if there is to be none."""

    step: Step
    language: str
    following: str


class WebhookDialogues:
    """Each answer names the address of the next request, with the state of the dialogue in it, sealed for its call.

    `?language=` in the first address is kept to the end. A state that was not sealed here for this call is none: the
    dialogue begins anew.
    """

    def __init__(self, door: str, address: CloudAddress, language: Language, surroundings: Surroundings) -> None:
        self._address = address
        self._language = language
        self._verifier = surroundings.verifier(door)
        self._roll = surroundings.roll(door)
        self._states = SealedStates(door, surroundings.keyring)
        self._answers: Recent[Reply] = Recent()
        self._events: Recent[Reply] = Recent()

    def answer(self, target: str, told: Told, render: Callable[[Rendered], Reply]) -> Reply:
        """The answer to a request. Each state is given out once, so call, state and digits tell a retry from a new try."""
        begun = perf_counter()
        query = dict(parse_qsl(target.partition("?")[2]))
        sealed = query.get(_STATE, "")
        language = query.get(_LANGUAGE, "")
        kept = {_LANGUAGE: language} if language in LOCALES else {}

        def verify(passcode: str, pin: str) -> Verification | None:
            return self._verifier.verify(Question(passcode, pin, told.call_id, told.caller), begun)

        def given() -> Reply:
            state = self._states.open(told.call_id, sealed) if sealed else None
            step = begin() if state is None else heard(state, told.digits, verify)
            following = ""
            if isinstance(step, Ask):
                following = self._address.following(**kept, state=self._states.seal(told.call_id, step.state))
            return render(Rendered(step, kept.get(_LANGUAGE, self._language), following))

        return self._answers.once((told.call_id, sealed, told.digits, *kept.values()), given)

    def joined(self, call_id: str, occasion: str) -> Reply:
        """The caller has been put through. What is told twice of one occasion counts once."""
        return self._events.once(("joined", call_id, occasion), lambda: _done(self._roll.joined, call_id))

    def left(self, call_id: str, occasion: str) -> Reply:
        """The caller has left, or the call is over."""
        return self._events.once(("left", call_id, occasion), lambda: _done(self._roll.left, call_id))


def _done(tell: Callable[[str], None], call_id: str) -> Reply:
    tell(call_id)
    return NO_CONTENT
