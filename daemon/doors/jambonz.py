"""The jambonz door: its webhooks, which it sends as JSON and answers of which are verbs as JSON.

jambonz's documentation of the verbs `gather`, `say`, `play`, `conference` and `hangup`, and its schema of callbacks
(`callbacks/gather`, `callbacks/call-status`, `callbacks/conference-status`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import msgspec
from aiohttp import web

from daemon.doors.cloud_address import CloudAddress
from daemon.doors.dialogue import MAX_KEYED, Admit, Ask, Prompt
from daemon.doors.http_reply import NO_CONTENT, Headers, Post, Reply, head, problem_reply
from daemon.doors.http_server import HttpServer
from daemon.doors.problem import Problem
from daemon.doors.secret_file import read_secret
from daemon.doors.signatures import JambonzSignature
from daemon.doors.spoken import is_recording, said
from daemon.doors.surroundings import Surroundings
from daemon.doors.webhook_dialogues import (
    DIGIT_TIMEOUT,
    FIRST_DIGIT_TIMEOUT,
    Rendered,
    Told,
    WebhookDialogues,
)
from daemon.verify import Verification
from loader.door_sections import Jambonz, SpokenPrompts
from loader.service import listening

DOOR: Final = "jambonz"
"""The door's name in metrics and settings."""
MAX_BODY: Final = 64 * 1024
"""Bytes of a request's body: the first one brings the whole SIP message along."""

_ENDED: Final = frozenset(("completed", "failed", "busy", "no-answer"))
_HEAD: Final = head(200, "application/json")
_HANGUP: Final = {"verb": "hangup"}

Verb: TypeAlias = dict[str, Any]


class _Sent(msgspec.Struct, gc=False):
    """What is read of a request."""

    call_sid: str | None = None
    caller: str | None = msgspec.field(name="from", default=None)
    digits: str | None = None
    call_status: str | None = None
    event: str | None = None
    time: str | None = None

    @property
    def told(self) -> Told:
        return Told.of("call_sid", self.call_sid, self.caller, self.digits)

    @property
    def occasion(self) -> str:
        """What tells one event of a call from another."""
        return "|".join(one or "" for one in (self.event, self.call_status, self.time))


_decode: Final = msgspec.json.Decoder(_Sent).decode
_encode: Final = msgspec.json.Encoder().encode


class JambonzDoor:
    """Reads what is signed, and answers with what jambonz is to do next."""

    def __init__(
        self,
        address: CloudAddress,
        signature: JambonzSignature,
        prompts: SpokenPrompts,
        dialogues: WebhookDialogues,
    ) -> None:
        status = address.status()
        self._prompts = prompts
        self._dialogues = dialogues
        self._status_url = status.url
        self._signature = signature
        self.posts: Final[Mapping[str, Post]] = {
            address.path: Post(self._call, problem_reply),
            status.path: Post(self._status, problem_reply),
        }

    def _call(self, target: str, headers: Headers, body: bytes) -> Reply:
        sent = self._read(headers, body)
        if sent.call_status in _ENDED:
            # Nobody listens any more: nothing is verified for a call that is over.
            return self._dialogues.left(sent.told.call_id, sent.occasion)
        return self._dialogues.answer(target, sent.told, self._render)

    def _status(self, _target: str, headers: Headers, body: bytes) -> Reply:
        sent = self._read(headers, body)
        if sent.event == "join":
            return self._dialogues.joined(sent.told.call_id, sent.occasion)
        if sent.event == "leave" or sent.call_status in _ENDED:
            return self._dialogues.left(sent.told.call_id, sent.occasion)
        return NO_CONTENT

    def _read(self, headers: Headers, body: bytes) -> _Sent:
        self._signature.require(headers, body)
        try:
            return _decode(body)
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise Problem(400, "The body is not what jambonz sends.") from None

    def _render(self, rendered: Rendered) -> Reply:
        step, language, following = rendered
        if isinstance(step, Ask):
            verbs = self._ask(step, language, following)
        elif isinstance(step, Admit):
            verbs = [self._conference(step.verification), _HANGUP]
        else:
            verbs = [*self._spoken(step.say, language), _HANGUP]
        return Reply(_HEAD, _encode(verbs))

    def _ask(self, step: Ask, language: str, following: str) -> list[Verb]:
        *before, prompt = self._spoken(step.say, language)
        gather = {
            "verb": "gather",
            "input": ["digits"],
            "finishOnKey": "#",
            # Without it jambonz neither looks at the time between digits, nor tells the digits that had no `#`.
            "minDigits": 1,
            "maxDigits": MAX_KEYED + 1,
            "timeout": FIRST_DIGIT_TIMEOUT,
            "interDigitTimeout": DIGIT_TIMEOUT,
            "actionHook": following,
            prompt.pop("verb"): prompt,
        }
        # jambonz comes to what stands behind only when it gets no other verbs: the next request has failed.
        return [*before, gather, *self._spoken((Prompt.UNAVAILABLE, Prompt.GOODBYE), language), _HANGUP]

    def _spoken(self, prompts: Iterable[Prompt], language: str) -> list[Verb]:
        """The voice is that of the application in jambonz, as it goes with the language and the vendor there."""
        texts = [said(prompt, language, self._prompts) for prompt in prompts]
        return [
            {"verb": "play", "url": text} if is_recording(text) else {"verb": "say", "text": text} for text in texts
        ]

    def _conference(self, verification: Verification) -> Verb:
        decision = verification.decision
        if not decision.accepted or decision.conference is None:
            raise ValueError("nobody is let in without a decision")
        # No name goes along: jambonz puts a member's tag into a command of FreeSWITCH as it is.
        return {
            "verb": "conference",
            "name": decision.conference.id,
            "statusHook": self._status_url,
            "statusEvents": ["join", "leave"],
        }


@asynccontextmanager
async def serving(settings: Jambonz, surroundings: Surroundings) -> AsyncGenerator[int]:
    """The door, open; its port. Raises SettingsError, PortError."""
    address = CloudAddress.of("doors.jambonz.url", settings.url)
    signature = JambonzSignature(read_secret("doors.jambonz.secret_file", settings.secret_file))
    dialogues = WebhookDialogues(DOOR, address, settings.language, surroundings)
    server = HttpServer(
        lambda _: None,
        surroundings.metrics.refusals(DOOR),
        posts=JambonzDoor(address, signature, settings.prompts, dialogues).posts,
        max_body=MAX_BODY,
        drain_timeout=surroundings.drain_timeout,
    )
    async with listening(
        web.ServerRunner(server), "doors.jambonz.port", settings.host, settings.port, backlog=1024
    ) as port:
        yield port
