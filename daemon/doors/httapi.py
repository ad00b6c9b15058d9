"""The door for FreeSWITCH's mod_httapi, which is told in XML documents what to do with a call.

What FreeSWITCH makes of a document stands in its source, `src/mod/applications/mod_httapi/mod_httapi.c`, of which this
door relies on:

- `httapi_function`: a document is read if it comes with status 200 and a content type that has `text/xml` in it; after
  anything else the application has ended, and the dialplan goes on. So every answer is such a document, refusals too: it
  can say an excuse, tell FreeSWITCH's log why, and end the call, whatever stands in the dialplan.
- `parse_xml`: what stands in `<params>` comes back with every request until the call is over: the sealed state.
- `my_on_reporting`: a last request with `exiting=true` tells that the call is over; its answer is thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from time import perf_counter
from typing import Final
from urllib.parse import quote
from xml.etree.ElementTree import Element

import msgspec

from daemon.doors.dialogue import UNAVAILABLE, Admit, Ask, Dismiss, Prompt, State, Step, begin, heard
from daemon.doors.form import read_form
from daemon.doors.http_reply import Get, Headers, Peer, Post, Reply, head
from daemon.doors.http_serving import WebDoor
from daemon.doors.http_serving import serving as served
from daemon.doors.markup import document, element, legal
from daemon.doors.problem import Problem
from daemon.doors.surroundings import Surroundings
from daemon.doors.webhooks import Recent, Sealed
from daemon.verify import Verification
from loader.door_sections import Httapi
from loader.index import MAX_TOLD, Question

DOOR: Final = "httapi"
"""The door's name in metrics."""
PATH: Final = "/httapi"

_STATE: Final = "rollcall_state"
_DIGITS: Final = "rollcall_digits"
_CALL_ID: Final = "session_id"
_CALLER: Final = "Caller-Caller-ID-Number"
_EXITING: Final = "exiting"
FIELDS: Final = (_CALL_ID, _CALLER, _STATE, _DIGITS, _EXITING)
"""What FreeSWITCH has to post."""
_MAX_NAME: Final = 80
"""Characters of a participant's name: more than a telephone's display shows."""

_HEAD: Final = head(200, "text/xml")
_UNREAD: Final = 1023
"""Bytes of a document that mod_httapi does not read: with its final NUL it fills a fresh buffer, and `parse_xml` takes
a full buffer for one that holds nothing."""
_UNANSWERABLE: Final = "NORMAL_TEMPORARY_FAILURE"
"""Why a call is ended that nobody could decide over (Q.850, cause 41)."""

_ENDED_BY_HASH: Final = "=~^[0-9*]*#$"
"""Digits up to a `#`: taken at once, as the `=` says (`switch_ivr_dmachine_bind`)."""
_ENDED_BY_SILENCE: Final = "~^[0-9*]+#?$"
"""The same when no further digit comes. Without a second expression the first would be taken at its first digit."""


class _Call(msgspec.Struct, frozen=True, array_like=True):
    """How far a call has come: what it is asked, then the conference that it is let into, then whether it went in."""

    asked: State | None = None
    conference: str = ""
    joined: bool = False


class HttapiDoor:
    """Asks for passcode and PIN, and puts who is accepted into the conference under the name that his entry has."""

    def __init__(self, settings: Httapi, surroundings: Surroundings) -> None:
        self._switch_of = surroundings.authorization(DOOR, basic=True).switch_of
        self._verifier = surroundings.verifier(DOOR)
        self._roll = surroundings.roll(DOOR)
        self._sealed = Sealed(DOOR, surroundings.keyring, _Call)
        self._recent: Recent[Reply] = Recent()
        self._prompts = settings.prompts
        self._listening = {
            "name": _DIGITS,
            "input-timeout": _milliseconds(settings.input_timeout),
            "digit-timeout": _milliseconds(settings.digit_timeout),
        }
        self._silence = _milliseconds(settings.input_timeout)
        self.posts: Final[Mapping[str, Post]] = {PATH: Post(self._answer, self.refusal)}

    def gets(self, path: str) -> Get | None:  # noqa: ARG002 - whatever it is
        """Nothing: a PIN must not stand in an address."""
        return None

    def refusal(self, problem: Problem) -> Reply:
        """A document that logs the problem, says an excuse, and ends the call."""
        log = element("log", {"level": "ERR"}, f"Rollcall: {problem.title}. {_told(problem)}\n")
        return _reply([log, *self._goodbye((Prompt.UNAVAILABLE, Prompt.GOODBYE), _UNANSWERABLE)], close=problem.close)

    def _answer(self, _target: str, headers: Headers, body: bytes, peer: Peer) -> Reply:
        begun = perf_counter()
        self._switch_of(headers, peer)
        fields = read_form(body, FIELDS)
        call_id, state, digits = fields[_CALL_ID][:MAX_TOLD], fields[_STATE], fields[_DIGITS]
        if not call_id:
            raise Problem(400, f"{_CALL_ID} is missing.")
        call = self._sealed.open(call_id, state) if state else None
        if call is None and (state or digits):
            # Who lost the state would be given new tries without end.
            raise Problem(400, f"{_STATE} is not what Rollcall gave: mod_httapi needs the permission set-params.")
        if fields[_EXITING]:
            return self._recent.once((call_id, state, _EXITING), partial(self._over, call_id, call))
        caller = fields[_CALLER][:MAX_TOLD] or None

        def verify(passcode: str, pin: str) -> Verification | None:
            return self._verifier.verify(Question(passcode, pin, call_id, caller), begun)

        if call is None:
            return self._step(call_id, begin())
        if call.asked is not None:
            asked = call.asked
            return self._recent.once(
                (call_id, state, digits), lambda: self._step(call_id, heard(asked, digits, verify))
            )
        return self._recent.once((call_id, state), partial(self._admitted, call_id, call))

    def _step(self, call_id: str, step: Step) -> Reply:
        if isinstance(step, Ask):
            return self._reply(call_id, _Call(step.state), self._asking(step.say))
        if isinstance(step, Dismiss):
            return _reply(self._goodbye(step.say, _UNANSWERABLE if step.reason == UNAVAILABLE else ""))
        return self._accepted(call_id, step)

    def _accepted(self, call_id: str, step: Admit) -> Reply:
        decision = step.verification.decision
        if decision.conference is None:
            raise RuntimeError("accepted without a conference")
        name = _name(
            f"{decision.participant.first_name} {decision.participant.last_name}" if decision.participant else ""
        )
        work = []
        if name:
            # A conference lists callers by the name in their profile, and no variable changes that.
            data = f"caller_id_name={name}"
            work.append(element("execute", {"application": "set_profile_var", "data": data}))
        # FreeSWITCH asks once more before the conference: only so is it known that it has heard, and the caller waited.
        work.append(element("continue"))
        return self._reply(call_id, _Call(None, decision.conference.id), work)

    def _admitted(self, call_id: str, call: _Call) -> Reply:
        if call.joined:
            # He is back from the conference.
            self._roll.left(call_id)
            return self._reply(call_id, _Call(), self._goodbye((Prompt.GOODBYE,)))
        if not call.conference:
            return _reply([element("hangup")])
        self._roll.joined(call_id)
        joined = _Call(None, call.conference, joined=True)
        return self._reply(call_id, joined, [element("conference", None, _conference(call.conference))])

    def _over(self, call_id: str, call: _Call | None) -> Reply:
        if call is not None and call.joined:
            self._roll.left(call_id)
        return _reply([element("break")])

    def _reply(self, call_id: str, call: _Call, work: list[Element]) -> Reply:
        return _reply(work, element("params", None, element(_STATE, None, self._sealed.seal(call_id, call))))

    def _asking(self, say: tuple[Prompt, ...]) -> list[Element]:
        bindings = [element("bind", {"strip": "#"}, digits) for digits in (_ENDED_BY_HASH, _ENDED_BY_SILENCE)]
        file = self._file(say[-1])
        if file:
            asking = element("playback", {"file": file, **self._listening}, *bindings)
        else:
            asking = element("pause", {"milliseconds": self._silence, **self._listening}, *bindings)
        return [*self._played(say[:-1]), asking]

    def _played(self, say: tuple[Prompt, ...]) -> list[Element]:
        return [element("playback", {"file": file}) for prompt in say if (file := self._file(prompt))]

    def _goodbye(self, say: tuple[Prompt, ...], cause: str = "") -> list[Element]:
        return [*self._played(say), element("hangup", {"cause": cause} if cause else None)]

    def _file(self, prompt: Prompt) -> str:
        file: str = getattr(self._prompts, prompt.value)
        return file


def serving(settings: Httapi, surroundings: Surroundings) -> AbstractAsyncContextManager[int]:
    """The door, open; its port. Raises PortError."""
    door: Callable[[], WebDoor] = partial(HttapiDoor, settings, surroundings)
    return served(DOOR, settings, door, surroundings)


def _reply(work: list[Element], params: Element | None = None, *, close: bool = False) -> Reply:
    parts = [element("work", None, *work)] if params is None else [params, element("work", None, *work)]
    body = document(element("document", {"type": "xml/freeswitch-httapi"}, *parts))
    if len(body) == _UNREAD:
        body += b"\n"
    return Reply(_HEAD, body, close)


def _told(problem: Problem) -> str:
    return " ".join((problem.detail, *(f"{field} {wrong}." for field, wrong in (problem.errors or {}).items())))


def _name(name: str) -> str:
    # FreeSWITCH replaces `${...}` in what an application is given, functions and all, and reads `\` as an escape.
    return " ".join(legal(name.translate({ord("$"): None, ord("\\"): None})).split())[:_MAX_NAME]


def _conference(conference_id: str) -> str:
    # In a conference's name `@`, `+`, `:` and `$` would say a profile, a PIN, a bridge, a variable.
    return quote(conference_id, safe="")


def _milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))
