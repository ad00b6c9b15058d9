"""The HTTP door: section 5 of the design. Parse, ask, render."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from time import perf_counter
from typing import Final

from aiohttp import hdrs

from daemon.doors.authorization import authorize, not_loaded
from daemon.doors.http_answer import as_json, as_text, conference_as_json
from daemon.doors.http_question import READERS
from daemon.doors.http_reply import Get, Headers, Post, Reply, head, problem_reply
from daemon.doors.problem import Problem
from daemon.live import Live
from daemon.verify import Verification, Verifier

DOOR: Final = "http"
"""The door's name in metrics."""

_CONFERENCES: Final = "/v1/conferences/"
_OPENAPI: Final = "/openapi.json"

_JSON: Final = "application/json"
_JSON_HEAD: Final = head(200, _JSON)
_TEXT: Final = "text/plain; charset=utf-8"
_TEXT_HEAD: Final = head(200, _TEXT)


class HttpDoor:
    """Answers the requests of switches. `description` is what `/openapi.json` answers."""

    def __init__(self, live: Live, verifier: Verifier, description: bytes) -> None:
        self._live = live
        self._verify = verifier.verify
        self._description = Reply(_JSON_HEAD, description)
        self.posts: Final[Mapping[str, Post]] = {
            "/v1/verify": Post(self._verify_json, problem_reply),
            "/v1/verify.txt": Post(self._verify_text, _problem_as_text),
        }

    def gets(self, path: str) -> Get | None:
        """What looks up something that has this path."""
        if path == _OPENAPI:
            return self._openapi
        passcode = path.removeprefix(_CONFERENCES)
        return None if passcode in ("", path) or "/" in passcode else partial(self._conference, passcode)

    def _verify_json(self, _target: str, headers: Headers, body: bytes) -> Reply:
        return Reply(_JSON_HEAD, as_json(self._verified(headers, body)))

    def _verify_text(self, _target: str, headers: Headers, body: bytes) -> Reply:
        return Reply(_TEXT_HEAD, as_text(self._verified(headers, body)))

    def _verified(self, headers: Headers, body: bytes) -> Verification:
        begun = perf_counter()
        authorize(self._live, headers)
        media_type = headers.get(hdrs.CONTENT_TYPE, "")
        read = READERS.get(media_type) or READERS.get(media_type.partition(";")[0].strip().lower())
        if read is None:
            raise Problem(415, f"The body must be one of: {', '.join(READERS)}.")
        if hdrs.CONTENT_ENCODING in headers and headers[hdrs.CONTENT_ENCODING].lower() != "identity":
            raise Problem(415, "The body must not be compressed.", headers={hdrs.ACCEPT_ENCODING: "identity"})
        verification = self._verify(read(body), begun)
        if verification is None:
            raise not_loaded()
        return verification

    def _openapi(self, _target: str, _headers: Headers) -> Reply:
        return self._description

    def _conference(self, passcode: str, _target: str, headers: Headers) -> Reply:
        authorize(self._live, headers)
        index = self._live.index
        if index is None:
            raise not_loaded()
        conference = index.conferences.get(passcode)
        if conference is None:
            raise Problem(404, "There is no conference with this passcode.")
        return Reply(_JSON_HEAD, conference_as_json(conference))


def _problem_as_text(problem: Problem) -> Reply:
    # The first word tells an error too: some dialplans cannot see a status.
    return Reply(head(problem.status, _TEXT, problem.headers), f"error|{problem.title}".encode(), problem.close)
