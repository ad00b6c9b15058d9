"""The TwiML door: Twilio's webhooks for voice, and those of clouds that speak as it does.

Twilio's documentation of TwiML for voice: `<Gather>`, `<Say>`, `<Play>`, `<Redirect>`, `<Dial>`, `<Conference>`,
`<Hangup>`; what it sends stands under "TwiML for Programmable Voice", and under `<Conference>`, `statusCallback`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final, Literal
from urllib.parse import parse_qsl
from xml.etree.ElementTree import Element

from daemon.doors.cloud_address import CloudAddress
from daemon.doors.cloud_door import CloudDoor, admitted
from daemon.doors.dialogue import Admit, Ask, Prompt
from daemon.doors.form import fields_of
from daemon.doors.http_reply import Headers, Reply, head
from daemon.doors.http_serving import serving as served
from daemon.doors.markup import document, element, legal
from daemon.doors.secret_file import read_secret
from daemon.doors.signatures import TwilioSignature, not_signed
from daemon.doors.spoken import LOCALES, is_recording, said
from daemon.doors.surroundings import Surroundings
from daemon.doors.webhook_dialogues import Rendering, Told, WebhookDialogues
from daemon.verify import Verification
from loader.door_sections import Twiml
from loader.index import MAX_KEYED, MAX_TOLD

DOOR: Final = "twiml"
"""The door's name in metrics and settings."""

_MAX_PARAMETERS: Final = 1000
_PARAMETERS: Final = (
    "CallSid",
    "From",
    "CallFrom",
    "Digits",
    "DigitsPressed",
    "CallStatus",
    "StatusCallbackEvent",
    "SequenceNumber",
)
_ENDED: Final = frozenset(("completed", "busy", "failed", "no-answer", "canceled"))
_EVENTS: Final[Mapping[str, Literal["joined", "left"]]] = {"participant-join": "joined", "participant-leave": "left"}
_HEAD: Final = head(200, "text/xml; charset=utf-8")
_NOT_IN_LABEL: Final = re.compile(r"/|%2F", re.IGNORECASE)
_MAX_NAME: Final = 48
"""Characters of a name in a label: with the ID behind it a label stays within Twilio's 128, however they are counted."""


class TwimlDoor(CloudDoor):
    """Reads a form, and answers with a document."""

    call_id_name = "CallSid"

    def __init__(self, settings: Twiml, surroundings: Surroundings) -> None:
        """Raises SettingsError."""
        address = CloudAddress.of("doors.twiml.url", settings.url)
        super().__init__(address, settings.prompts, WebhookDialogues(DOOR, address, settings.language, surroundings))
        self._signature = TwilioSignature(read_secret("doors.twiml.auth_token_file", settings.auth_token_file))
        self._digit_timeout = str(settings.digit_timeout)

    def read(self, address: CloudAddress, target: str, headers: Headers, body: bytes) -> Told:
        """What the form tells. Exotel names the caller, and what he keyed, in its own way."""
        try:
            form = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS)
        except ValueError:
            # What cannot be read cannot be signed either.
            raise not_signed() from None
        self._signature.require(address, target, headers, form)
        fields = fields_of(form, _PARAMETERS)
        event, status = fields["StatusCallbackEvent"], fields["CallStatus"]
        return Told(
            fields["CallSid"],
            (fields["From"] or fields["CallFrom"])[:MAX_TOLD] or None,
            fields["Digits"] or fields["DigitsPressed"],
            "left" if status in _ENDED else _EVENTS.get(event),
            # Twilio counts what it tells of a conference.
            f"{event}|{status}|{fields['SequenceNumber']}",
        )

    def render(self, rendering: Rendering) -> Reply:
        """The verbs for a step, in `<Response>`."""
        step, language, following = rendering
        if isinstance(step, Ask):
            verbs = self._asking(self._spoken(step.say, language), following)
        elif isinstance(step, Admit):
            verbs = [self._dial(step.verification)]
        else:
            verbs = [*self._spoken(step.say, language), element("Hangup")]
        return Reply(_HEAD, document(element("Response", None, *verbs)))

    def _asking(self, spoken: Iterable[Element], following: str) -> list[Element]:
        gathering = {
            "input": "dtmf",
            "finishOnKey": "#",
            "numDigits": str(MAX_KEYED + 1),
            "timeout": self._digit_timeout,
            "action": following,
            "method": "POST",
        }
        # Without digits the cloud goes on behind it: silence is asked about too.
        return [element("Gather", gathering, *spoken), element("Redirect", {"method": "POST"}, following)]

    def _spoken(self, prompts: Iterable[Prompt], language: str) -> list[Element]:
        texts = [said(prompt, language, self._prompts) for prompt in prompts]
        return [
            element("Play", None, text) if is_recording(text) else element("Say", {"language": LOCALES[language]}, text)
            for text in texts
        ]

    def _dial(self, verification: Verification) -> Element:
        conference = admitted(verification)
        attributes = {
            "statusCallback": self._status.url,
            "statusCallbackEvent": "join leave",
            "statusCallbackMethod": "POST",
        }
        who = verification.decision.participant
        if who is not None:
            # Two people of one name may be in one conference, and Twilio turns away a label that is in use: error 16025.
            attributes["participantLabel"] = f"{name_in_label(who.first_name, who.last_name)} {verification.id}"
        return element("Dial", None, element("Conference", attributes, conference.id))


def name_in_label(*names: str) -> str:
    """A name as it may stand in a participant's label: no slash, written out or not (Twilio's error 16023)."""
    return " ".join(_NOT_IN_LABEL.sub(" ", legal(" ".join(names))).split())[:_MAX_NAME]


def serving(settings: Twiml, surroundings: Surroundings) -> AbstractAsyncContextManager[int]:
    """The door, open; its port. Raises SettingsError, PortError."""
    return served(DOOR, settings, lambda: TwimlDoor(settings, surroundings), surroundings)
