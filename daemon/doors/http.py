"""The HTTP door: section 5 of the design. Parse, ask, render."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from time import perf_counter
from typing import Final
from urllib.parse import parse_qsl, unquote

from aiohttp import hdrs

from daemon.doors.authorization import Authorization, not_loaded
from daemon.doors.http_answer import (
    as_form,
    as_json,
    as_line,
    conference_as_json,
    problem_as_form,
    problem_as_line,
)
from daemon.doors.http_question import READERS
from daemon.doors.http_reply import NO_CONTENT, Answer, Get, Headers, LatePost, Peer, Post, Reply, head, problem_reply
from daemon.doors.problem import Problem
from daemon.live import Live
from daemon.roll import NO_ROLL, Roll
from daemon.verify import Verification, Verifier
from loader.errors import DatabaseError
from loader.index import MAX_TOLD, Question

DOOR: Final = "http"
"""The door's name in metrics."""

_CONFERENCES: Final = "/v1/conferences/"
_OPENAPI: Final = "/openapi.json"

_JSON: Final = "application/json"
_JSON_HEAD: Final = head(200, _JSON)
_CALL: Final = re.compile(r"/v1/calls/(?P<call_id>[^/?#]+)/(?P<event>joined|left)(?:\?.*)?")
_TEXT: Final = "text/plain; charset=utf-8"
_FORM: Final = "application/x-www-form-urlencoded"


class HttpDoor:
    """Answers the requests of switches. `description` is what `/openapi.json` answers."""

    def __init__(
        self,
        live: Live,
        verifier: Verifier,
        description: bytes,
        roll: Roll = NO_ROLL,
        count: Callable[[str], None] = lambda _: None,
        refused: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._live = live
        self._authorization = Authorization(live, refused)
        self._roll = roll
        self._count = count
        self._verify = verifier.verify
        self._unknown_passcode = verifier.unknown_passcode
        self._description = Reply(_JSON_HEAD, description)
        line = self._verifying(_TEXT, as_line, partial(_told, _TEXT, problem_as_line))
        self._styles: Final[Mapping[str, Post]] = {
            "line": line,
            "form": self._verifying(_FORM, as_form, partial(_told, _FORM, problem_as_form)),
        }
        self._unknown_style = line._replace(answer=self._refuse_style, prepared=None)
        self.posts: Final[Mapping[str, Post]] = {
            "/v1/verify": self._verifying(_JSON, as_json, problem_reply),
            "/v1/verify.txt": line._replace(styled=self._styled),
        }

    def gets(self, path: str) -> Get | None:
        """What looks up something that has this path."""
        if path == _OPENAPI:
            return self._openapi
        passcode = path.removeprefix(_CONFERENCES)
        return None if passcode in ("", path) or "/" in passcode else partial(self._conference, passcode)

    def _verifying(
        self, media_type: str, render: Callable[[Verification], bytes], refusal: Callable[[Problem], Reply]
    ) -> Post:
        first_lines = head(200, media_type)

        def prepared(headers: Headers) -> Answer:
            token_hash, read = self._authorization.token_hash(headers), _reader(headers)

            def answer(body: bytes, peer: Peer) -> Reply:
                begun = perf_counter()
                switch = self._authorization.whose(token_hash, peer)
                verification = self._verify(read(body), begun, switch)
                if verification is None:
                    raise not_loaded()
                return Reply(first_lines, render(verification))

            return answer

        def answer(_target: str, headers: Headers, body: bytes, peer: Peer) -> Reply:
            return prepared(headers)(body, peer)

        return Post(answer, refusal, prepared=prepared)

    def _styled(self, target: str, headers: Headers) -> Post:
        """The query's `style` counts, and without one the media type that is named first in `Accept`."""
        query = target.partition("?")[2]
        fields = parse_qsl(query, keep_blank_values=True) if query else ()
        styles = [value for name, value in fields if name == "style"]
        if styles:
            return self._styles.get(styles[0], self._unknown_style) if len(styles) == 1 else self._unknown_style
        accepted = headers.get(hdrs.ACCEPT, "").lower()
        is_first = accepted.startswith(_FORM) and accepted.partition(",")[0].partition(";")[0].rstrip() == _FORM
        return self._styles["form" if is_first else "line"]

    def _refuse_style(self, _target: str, headers: Headers, _body: bytes, peer: Peer) -> Reply:
        self._authorization.switch_of(headers, peer)
        raise Problem(400, f"The style must be one of: {', '.join(self._styles)}.")

    def late_posts(self, target: str) -> LatePost | None:
        """What hears that a call was joined or left."""
        match = _CALL.fullmatch(target)
        if match is None:
            return None
        return LatePost(partial(self._call_told, unquote(match["call_id"]), match["event"]), problem_reply)

    async def _call_told(
        self, call_id: str, event: str, _target: str, headers: Headers, _body: bytes, peer: Peer
    ) -> Reply:
        switch = self._authorization.switch_of(headers, peer)
        if len(call_id) > MAX_TOLD:
            raise _unknown_call()
        try:
            known = await self._roll.knows(switch, call_id)
        except DatabaseError:
            raise Problem(503, "Whether this call is known cannot be told now.", headers={"Retry-After": "1"}) from None
        if not known:
            raise _unknown_call()
        self._count(event)
        (self._roll.joined if event == "joined" else self._roll.left)(switch, call_id)
        return NO_CONTENT

    def _openapi(self, _target: str, _headers: Headers, _peer: Peer) -> Reply:
        return self._description

    def _conference(self, passcode: str, _target: str, headers: Headers, peer: Peer) -> Reply:
        switch = self._authorization.switch_of(headers, peer)
        index = self._live.index
        if index is None:
            raise not_loaded()
        conference = index.conferences.get(passcode)
        if conference is None:
            self._unknown_passcode(switch)
            raise Problem(404, "There is no conference with this passcode.")
        return Reply(_JSON_HEAD, conference_as_json(conference))


def _reader(headers: Headers) -> Callable[[bytes], Question]:
    """What reads a body with these headers, if only to refuse it."""
    media_type = headers.get(hdrs.CONTENT_TYPE, "")
    read = READERS.get(media_type) or READERS.get(media_type.partition(";")[0].strip().lower())
    if read is None:
        return _refuse_media_type
    if headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        return _refuse_encoding
    return read


def _refuse_media_type(_body: bytes) -> Question:
    raise Problem(415, f"The body must be one of: {', '.join(READERS)}.")


def _refuse_encoding(_body: bytes) -> Question:
    raise Problem(415, "The body must not be compressed.", headers={hdrs.ACCEPT_ENCODING: "identity"})


def _unknown_call() -> Problem:
    return Problem(404, "No caller was accepted on a call with this ID.")


def _told(media_type: str, render: Callable[[Problem], bytes], problem: Problem) -> Reply:
    return Reply(head(problem.status, media_type, problem.headers), render(problem), problem.close)
