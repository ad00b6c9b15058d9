"""The door for VoiceXML 2.1 platforms: they fetch what to say and to ask, and submit what was keyed.

A dialogue begins with a GET, of the whole dialogue or of the subdialog alone; each answer of a caller is a POST, which
is answered with the next document. How the subdialog ends is what it returns, and `result` is `error` from the start:
whatever breaks on the way, nothing but an accepted decision says `accepted`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from time import perf_counter
from typing import Final
from urllib.parse import parse_qs, quote

from daemon.doors.dialogue import UNAVAILABLE, Admit, Ask, State, Step, begin, heard
from daemon.doors.form import read_form
from daemon.doors.http_reply import Get, Headers, Peer, Post, Reply, head
from daemon.doors.http_serving import WebDoor
from daemon.doors.http_serving import serving as served
from daemon.doors.problem import Problem
from daemon.doors.spoken import LOCALES
from daemon.doors.surroundings import Surroundings
from daemon.doors.voicexml_documents import SUBMITTED, Documents
from daemon.doors.webhooks import Recent, SealedStates
from daemon.verify import ACCEPTED, REJECTED, Verification
from loader.door_sections import VoiceXml
from loader.index import MAX_TOLD, Question

DOOR: Final = "voicexml"
"""The door's name in metrics."""
DIALOGUE: Final = "/dialogue.vxml"
SUBDIALOG: Final = "/subdialog.vxml"
HEARD: Final = "/heard.vxml"

_ERROR: Final = "error"
"""The result when nobody could decide."""
_MEDIA_TYPE: Final = "application/voicexml+xml"
"""RFC 4267."""
_HEAD: Final = head(200, _MEDIA_TYPE)


class VoiceXmlDoor:
    """Asks for passcode and PIN in each of the languages, and returns who it is or transfers the call."""

    def __init__(self, settings: VoiceXml, surroundings: Surroundings) -> None:
        self._switch_of = surroundings.authorization(DOOR, basic=True).switch_of
        self._verifier = surroundings.verifier(DOOR)
        self._states = SealedStates(DOOR, surroundings.keyring)
        self._recent: Recent[Reply] = Recent()
        self._language = settings.language
        self._transfer_to = settings.transfer_to
        self._documents = {language: Documents(settings, language, _beside(HEARD, language)) for language in LOCALES}
        self._gets: Final[Mapping[str, Get]] = {DIALOGUE: self._dialogue, SUBDIALOG: self._subdialog}
        self.posts: Final[Mapping[str, Post]] = {HEARD: Post(self._heard, self.refusal)}

    def gets(self, path: str) -> Get | None:
        """The documents that a dialogue begins with."""
        return self._gets.get(path)

    def refusal(self, problem: Problem) -> Reply:
        """A document that says an excuse and ends the call. By its status a platform never comes to read it, but
        throws `error.badfetch` where it stands, which is caught there.
        """
        headers = head(problem.status, _MEDIA_TYPE, problem.headers)
        return Reply(headers, self._documents[self._language].excuse(), problem.close)

    def _dialogue(self, target: str, headers: Headers, peer: Peer) -> Reply:
        self._switch_of(headers, peer)
        language = self._spoken(target)
        subdialog = _beside(SUBDIALOG, language)
        return Reply(_HEAD, self._documents[language].dialogue(subdialog, transfers=bool(self._transfer_to)))

    def _subdialog(self, target: str, headers: Headers, peer: Peer) -> Reply:
        self._switch_of(headers, peer)
        begun = begin()
        return Reply(_HEAD, self._documents[self._spoken(target)].first(begun.say, secrets.token_urlsafe(16)))

    def _heard(self, target: str, headers: Headers, body: bytes, peer: Peer) -> Reply:
        begun = perf_counter()
        self._switch_of(headers, peer)
        documents = self._documents[self._spoken(target)]
        fields = read_form(body, SUBMITTED)
        call_id, caller = fields["call_id"][:MAX_TOLD], fields["caller"][:MAX_TOLD]
        if not call_id:
            raise Problem(400, "The form is malformed.", errors={"call_id": "is missing"})
        sealed = fields["state"]
        state = self._states.open(call_id, sealed) if sealed else State()
        if state is None:
            raise Problem(400, "The form is malformed.", errors={"state": "is not what this call was given"})
        # A platform may part the keys that its grammar has matched.
        digits = "".join(fields["digits"].split())

        def verify(passcode: str, pin: str) -> Verification | None:
            return self._verifier.verify(Question(passcode, pin, call_id, caller or None), begun)

        def answer() -> Reply:
            return Reply(_HEAD, self._next(documents, call_id, caller, heard(state, digits, verify)))

        return self._recent.once((target, call_id, sealed, digits), answer)

    def _next(self, documents: Documents, call_id: str, caller: str, step: Step) -> bytes:
        if isinstance(step, Ask):
            return documents.asking(step.say, call_id, caller, self._states.seal(call_id, step.state))
        if isinstance(step, Admit):
            return documents.ending((), {"call_id": call_id, **self._admitted(step)})
        result = _ERROR if step.reason == UNAVAILABLE else REJECTED
        wait = "" if step.retry_after is None else str(step.retry_after)
        told = {"call_id": call_id, "result": result, "reason": step.reason, "retry_after": wait}
        return documents.ending(step.say, told)

    def _admitted(self, step: Admit) -> dict[str, str]:
        decision = step.verification.decision
        if not decision.accepted or decision.conference is None:
            raise RuntimeError("accepted without a conference")
        conference_id = decision.conference.id
        told = {"result": ACCEPTED, "reason": "", "conference_id": conference_id}
        told["transfer_to"] = self._transfer_to.replace("{conference}", quote(conference_id, safe=""))
        who = decision.participant
        if who is not None:
            told |= {"first_name": who.first_name, "last_name": who.last_name, "company": who.company}
            told["level"] = decision.level or ""
        return told

    def _spoken(self, target: str) -> str:
        """The language of an address, or of the settings if it names none that is spoken."""
        (language, *_) = parse_qs(target.partition("?")[2]).get("language", [""])
        return language if language in self._documents else self._language


def _beside(path: str, language: str) -> str:
    """The address of a document from where another one is: a proxy may have put all of them below a path of its own."""
    return f"{path.removeprefix('/')}?language={language}"


def serving(settings: VoiceXml, surroundings: Surroundings) -> AbstractAsyncContextManager[int]:
    """The door, open; its port. Raises PortError."""
    door: Callable[[], WebDoor] = partial(VoiceXmlDoor, settings, surroundings)
    return served(DOOR, settings, door, surroundings)
