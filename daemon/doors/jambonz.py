"""The jambonz door: its webhooks, which it sends as JSON, and the answers to which are verbs, as JSON too.

jambonz's documentation of the verbs `gather`, `say`, `play`, `conference` and `hangup`, its schema of what it sends
(`callbacks/gather`, `callbacks/call-status`, `callbacks/conference-status`), and where these say nothing, the sources of
its feature server.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Literal, TypeAlias

import msgspec

from daemon.doors.cloud_address import CloudAddress
from daemon.doors.cloud_door import CloudDoor, admitted
from daemon.doors.dialogue import Admit, Ask, Prompt
from daemon.doors.http_reply import Headers, Reply, head
from daemon.doors.http_serving import serving as served
from daemon.doors.problem import Problem
from daemon.doors.secret_file import read_secret
from daemon.doors.signatures import JambonzSignature
from daemon.doors.spoken import is_recording, said
from daemon.doors.surroundings import Surroundings
from daemon.doors.webhook_dialogues import Rendering, Told, WebhookDialogues
from daemon.verify import Verification
from loader.door_sections import Jambonz
from loader.index import MAX_KEYED, MAX_TOLD

DOOR: Final = "jambonz"
"""The door's name in metrics and settings."""

_ENDED: Final = frozenset(("completed", "failed", "busy", "no-answer"))
_EVENTS: Final[Mapping[str, Literal["joined", "left"]]] = {"join": "joined", "leave": "left"}
_HEAD: Final = head(200, "application/json")
_HANGUP: Final = {"verb": "hangup"}

Verb: TypeAlias = dict[str, Any]


class _Sent(msgspec.Struct, gc=False):
    """What is looked at of what jambonz sends."""

    call_sid: str | None = None
    caller: str | None = msgspec.field(name="from", default=None)
    digits: str | None = None
    call_status: str | None = None
    event: str | None = None
    time: str | None = None


_decode: Final = msgspec.json.Decoder(_Sent).decode
_encode: Final = msgspec.json.Encoder().encode


class JambonzDoor(CloudDoor):
    """Reads JSON, and answers with verbs."""

    call_id_name = "call_sid"

    def __init__(self, settings: Jambonz, surroundings: Surroundings) -> None:
        """Raises SettingsError."""
        address = CloudAddress.of("doors.jambonz.url", settings.url)
        super().__init__(address, settings.prompts, WebhookDialogues(DOOR, address, settings.language, surroundings))
        self._signature = JambonzSignature(read_secret("doors.jambonz.secret_file", settings.secret_file))
        self._listening: Verb = {
            "verb": "gather",
            "input": ["digits"],
            "finishOnKey": "#",
            # Without it jambonz neither looks at the time between digits, nor tells the digits that had no `#`.
            "minDigits": 1,
            "maxDigits": MAX_KEYED + 1,
            "timeout": settings.input_timeout,
            "interDigitTimeout": settings.digit_timeout,
        }

    def read(self, address: CloudAddress, target: str, headers: Headers, body: bytes) -> Told:  # noqa: ARG002 - not signed
        """What the JSON tells. Only the body is signed, not the address."""
        self._signature.require(headers, body)
        try:
            sent = _decode(body)
        except (ValueError, RecursionError):
            raise Problem(400, "The body is not what jambonz sends.") from None
        return Told(
            sent.call_sid or "",
            (sent.caller or "")[:MAX_TOLD] or None,
            sent.digits or "",
            "left" if sent.call_status in _ENDED else _EVENTS.get(sent.event or ""),
            f"{sent.event}|{sent.call_status}|{sent.time}",
        )

    def render(self, rendering: Rendering) -> Reply:
        """The verbs for a step."""
        step, language, following = rendering
        if isinstance(step, Ask):
            verbs = self._asking(step.say, language, following)
        elif isinstance(step, Admit):
            verbs = [self._conference(step.verification)]
        else:
            verbs = self._verbs(step.say, language)
        return Reply(_HEAD, _encode([*verbs, _HANGUP]))

    def _asking(self, say: Iterable[Prompt], language: str, following: str) -> list[Verb]:
        *before, last = say
        verb, content = self._spoken(last, language)
        gather = {**self._listening, "actionHook": following, verb: content}
        # jambonz comes to what stands behind only when it gets no other verbs: when the next request has failed.
        excuse = self._verbs((Prompt.UNAVAILABLE, Prompt.GOODBYE), language)
        return [*self._verbs(before, language), gather, *excuse]

    def _verbs(self, prompts: Iterable[Prompt], language: str) -> list[Verb]:
        spoken = [self._spoken(prompt, language) for prompt in prompts]
        return [{"verb": verb, **content} for verb, content in spoken]

    def _spoken(self, prompt: Prompt, language: str) -> tuple[str, Verb]:
        """In the voice of the application in jambonz, which goes with its language and vendor."""
        text = said(prompt, language, self._prompts)
        return ("play", {"url": text}) if is_recording(text) else ("say", {"text": text})

    def _conference(self, verification: Verification) -> Verb:
        # No name goes along: jambonz puts a member's tag into a command of FreeSWITCH as it is.
        return {
            "verb": "conference",
            "name": admitted(verification).id,
            "statusHook": self._status.url,
            "statusEvents": ["join", "leave"],
        }


def serving(settings: Jambonz, surroundings: Surroundings) -> AbstractAsyncContextManager[int]:
    """The door, open; its port. Raises SettingsError, PortError."""
    return served(DOOR, settings, lambda: JambonzDoor(settings, surroundings), surroundings)
