"""The TwiML door: Twilio's webhooks for voice, and those of clouds that speak as it does.

Twilio's documentation of TwiML for voice: `<Gather>`, `<Say>`, `<Play>`, `<Redirect>`, `<Dial>`, `<Conference>`,
`<Hangup>`; what it sends stands under "TwiML for Programmable Voice", and under `<Conference>`, `statusCallback`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import parse_qsl
from xml.etree import ElementTree as ET

from aiohttp import web

from daemon.doors.cloud_address import CloudAddress
from daemon.doors.dialogue import MAX_KEYED, Admit, Ask, Prompt
from daemon.doors.http_reply import NO_CONTENT, Headers, Post, Reply, head, problem_reply
from daemon.doors.http_server import HttpServer
from daemon.doors.problem import Problem
from daemon.doors.secret_file import read_secret
from daemon.doors.signatures import TwilioSignature, not_signed
from daemon.doors.spoken import LOCALES, is_recording, said
from daemon.doors.surroundings import Surroundings
from daemon.doors.webhook_dialogues import DIGIT_TIMEOUT, Rendered, Told, WebhookDialogues
from daemon.verify import Verification
from loader.door_sections import SpokenPrompts, Twiml
from loader.service import listening

DOOR: Final = "twiml"
"""The door's name in metrics and settings."""
MAX_BODY: Final = 64 * 1024
"""Bytes of a request's body: SIP headers come along as parameters."""

_MAX_PARAMETERS: Final = 1000
_ENDED: Final = frozenset(("completed", "busy", "failed", "no-answer", "canceled"))
_READ: Final = frozenset(
    (
        "CallSid",
        "From",
        "CallFrom",
        "Digits",
        "DigitsPressed",
        "CallStatus",
        "StatusCallbackEvent",
        "SequenceNumber",
    )
)
_HEAD: Final = head(200, "text/xml; charset=utf-8")
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 (section 2.2, Char) cannot hold, not even escaped."""
_NOT_LABEL: Final = re.compile(r"/|%2F|\s+", re.IGNORECASE)
_MAX_NAME: Final = 48
"""Characters of a name in a label: with the ID behind it a label stays within Twilio's 128, however they are counted."""


class TwimlDoor:
    """Reads what is signed, and answers with what the cloud is to do next."""

    def __init__(
        self, address: CloudAddress, secret: bytes, prompts: SpokenPrompts, dialogues: WebhookDialogues
    ) -> None:
        status = address.status()
        self._prompts = prompts
        self._dialogues = dialogues
        self._status_url = status.url
        self._signature = TwilioSignature(address, secret)
        self._status_signature = TwilioSignature(status, secret)
        self.posts: Final[Mapping[str, Post]] = {
            address.path: Post(self._call, problem_reply),
            status.path: Post(self._status, problem_reply),
        }

    def _call(self, target: str, headers: Headers, body: bytes) -> Reply:
        fields = _fields(self._signature, target, headers, body)
        told = _told(fields)
        if fields.get("CallStatus") in _ENDED:
            # Nobody listens any more: nothing is verified for a call that is over.
            return self._dialogues.left(told.call_id, _occasion(fields))
        return self._dialogues.answer(target, told, self._render)

    def _status(self, target: str, headers: Headers, body: bytes) -> Reply:
        fields = _fields(self._status_signature, target, headers, body)
        event = fields.get("StatusCallbackEvent")
        if event == "participant-join":
            return self._dialogues.joined(_told(fields).call_id, _occasion(fields))
        if event == "participant-leave" or fields.get("CallStatus") in _ENDED:
            return self._dialogues.left(_told(fields).call_id, _occasion(fields))
        return NO_CONTENT

    def _render(self, rendered: Rendered) -> Reply:
        step, language, following = rendered
        document = ET.Element("Response")
        if isinstance(step, Ask):
            gather = ET.SubElement(
                document,
                "Gather",
                input="dtmf",
                finishOnKey="#",
                numDigits=str(MAX_KEYED + 1),
                timeout=str(DIGIT_TIMEOUT),
                action=following,
                method="POST",
            )
            self._speak(gather, step.say, language)
            # Without digits the cloud goes on here: silence is asked about too.
            ET.SubElement(document, "Redirect", method="POST").text = following
        elif isinstance(step, Admit):
            self._admit(document, step.verification)
        else:
            self._speak(document, step.say, language)
            ET.SubElement(document, "Hangup")
        return Reply(_HEAD, ET.tostring(document, encoding="UTF-8", xml_declaration=True))

    def _speak(self, within: ET.Element, prompts: Iterable[Prompt], language: str) -> None:
        for prompt in prompts:
            text = _in_xml(said(prompt, language, self._prompts))
            if is_recording(text):
                ET.SubElement(within, "Play").text = text
            else:
                ET.SubElement(within, "Say", language=LOCALES[language]).text = text

    def _admit(self, document: ET.Element, verification: Verification) -> None:
        decision = verification.decision
        if not decision.accepted or decision.conference is None:
            raise ValueError("nobody is let in without a decision")
        conference = ET.SubElement(
            ET.SubElement(document, "Dial"),
            "Conference",
            statusCallback=self._status_url,
            statusCallbackEvent="join leave",
            statusCallbackMethod="POST",
        )
        conference.text = _in_xml(decision.conference.id)
        who = decision.participant
        if who is not None:
            # Two people of one name may be in one conference, and Twilio turns away a label that is in use: error 16025.
            conference.set("participantLabel", f"{label(f'{who.first_name} {who.last_name}')} {verification.id}")


def label(name: str) -> str:
    """A name as it may stand in a participant's label: no slash, written out or not (Twilio's error 16023)."""
    return " ".join(_NOT_LABEL.sub(" ", _in_xml(name)).split())[:_MAX_NAME]


@asynccontextmanager
async def serving(settings: Twiml, surroundings: Surroundings) -> AsyncGenerator[int]:
    """The door, open; its port. Raises SettingsError, PortError."""
    address = CloudAddress.of("doors.twiml.url", settings.url)
    secret = read_secret("doors.twiml.auth_token_file", settings.auth_token_file)
    dialogues = WebhookDialogues(DOOR, address, settings.language, surroundings)
    server = HttpServer(
        lambda _: None,
        surroundings.metrics.refusals(DOOR),
        posts=TwimlDoor(address, secret, settings.prompts, dialogues).posts,
        max_body=MAX_BODY,
        drain_timeout=surroundings.drain_timeout,
    )
    async with listening(
        web.ServerRunner(server), "doors.twiml.port", settings.host, settings.port, backlog=1024
    ) as port:
        yield port


def _fields(signature: TwilioSignature, target: str, headers: Headers, body: bytes) -> dict[str, str]:
    """The parameters of a request that is signed. Raises Problem."""
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        # What cannot be read cannot be signed either.
        raise not_signed() from None
    signature.require(target, headers, pairs)
    fields: dict[str, str] = {}
    for name, value in pairs:
        if name in _READ and name in fields:
            raise Problem(400, "The request is malformed.", errors={name: "stands more than once"})
        fields[name] = value
    return fields


def _told(fields: Mapping[str, str]) -> Told:
    """Exotel names the caller and what he keyed in its own way."""
    return Told.of(
        "CallSid",
        fields.get("CallSid"),
        fields.get("From") or fields.get("CallFrom"),
        fields.get("Digits") or fields.get("DigitsPressed"),
    )


def _occasion(fields: Mapping[str, str]) -> str:
    """What tells one event of a call from another: Twilio counts them."""
    return "|".join(fields.get(name, "") for name in ("StatusCallbackEvent", "CallStatus", "SequenceNumber"))


def _in_xml(text: str) -> str:
    return _NOT_XML.sub("", text)
