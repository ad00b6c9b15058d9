"""The dialogues of a door that a cloud asks by webhook, one request a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, NamedTuple
from urllib.parse import parse_qsl

from daemon.doors.cloud_address import CloudAddress
from daemon.doors.dialogue import Ask, Step, begin, heard
from daemon.doors.http_reply import NO_CONTENT, Reply
from daemon.doors.spoken import LOCALES
from daemon.doors.surroundings import Surroundings
from daemon.doors.webhooks import Recent, SealedStates
from daemon.verify import Verification
from loader.door_sections import Language
from loader.index import Question

_STATE: Final = "state"
_LANGUAGE: Final = "language"


class Told(NamedTuple):
    """What a request tells of its call: what the caller has keyed, or what has become of him."""

    call_id: str
    caller: str | None
    digits: str
    event: Literal["joined", "left"] | None
    """Whether he has been put through, or has left or hung up; None if neither."""
    occasion: str
    """What tells this event of the call from another of its kind."""


class Rendering(NamedTuple):
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

    def answer(self, target: str, told: Told, begun: float, render: Callable[[Rendering], Reply]) -> Reply:
        """The answer to what the caller has keyed; `begun` is as for :meth:`daemon.verify.Verifier.verify`.

        Each state is given out once, so that call, state and digits tell a retry from a new try of the same digits;
        the mark that some clouds set on a retry tells no more.
        """
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
            return render(Rendering(step, kept.get(_LANGUAGE, self._language), following))

        return self._answers.once((told.call_id, sealed, told.digits, *kept.values()), given)

    def note(self, told: Told) -> Reply:
        """What has become of a caller; what is told twice of one occasion counts once."""

        def noted() -> Reply:
            if told.event == "joined":
                self._roll.joined(told.call_id)
            elif told.event == "left":
                self._roll.left(told.call_id)
            return NO_CONTENT

        return self._events.once((told.call_id, told.event or "", told.occasion), noted)
