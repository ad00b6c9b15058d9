"""The HTTP door: section 5 of the design. Parse, ask, render."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Final, TypeAlias

import structlog
from aiohttp import hdrs, web

from daemon.doors.http_answer import as_json, as_text, conference_as_json
from daemon.doors.http_question import READERS
from daemon.doors.http_server import Refused, Reply, head, read_body, unexpected
from daemon.doors.problem import Problem
from daemon.live import Live
from daemon.verify import Verification, Verifier

log = structlog.get_logger(__name__)

DOOR: Final = "http"
"""The door's name in metrics."""

_VERIFY: Final = "/v1/verify"
_VERIFY_TEXT: Final = "/v1/verify.txt"
_CONFERENCES: Final = "/v1/conferences/"
_OPENAPI: Final = "/openapi.json"

_JSON: Final = "application/json"
_JSON_HEAD: Final = head(200, _JSON)
_TEXT: Final = "text/plain; charset=utf-8"
_TEXT_HEAD: Final = head(200, _TEXT)

_ALLOWED: Final = {hdrs.METH_GET: "GET, HEAD", hdrs.METH_POST: "POST"}

_Handler: TypeAlias = Callable[[web.BaseRequest], Awaitable[Reply]]


class HttpDoor:
    """Answers the requests of switches: call it with each. `description` is what `/openapi.json` answers."""

    def __init__(self, live: Live, verifier: Verifier, refused: Refused, description: bytes) -> None:
        self._live = live
        self._verify = verifier.verify
        self._refused = refused
        self._description = Reply(_JSON_HEAD, description)
        self._routes: Mapping[str, tuple[str, _Handler]] = {
            _VERIFY: (hdrs.METH_POST, self._verify_json),
            _VERIFY_TEXT: (hdrs.METH_POST, self._verify_text),
            _OPENAPI: (hdrs.METH_GET, self._openapi),
        }

    async def __call__(self, request: web.BaseRequest) -> Reply:
        """Raises Problem, ConnectionError."""
        path = request.path
        method, handler = self._routes.get(path) or self._conferences(path)
        if request.method != method and not (method == hdrs.METH_GET and request.method == hdrs.METH_HEAD):
            refused = Problem(405, f"This address is for {method}.", headers={hdrs.ALLOW: _ALLOWED[method]})
            if path == _VERIFY_TEXT:
                return self._error_text(refused)
            raise refused
        return await handler(request)

    def _conferences(self, path: str) -> tuple[str, _Handler]:
        passcode = path.removeprefix(_CONFERENCES)
        if passcode in ("", path) or "/" in passcode:
            raise Problem(404, "There is no such address.")
        return hdrs.METH_GET, self._conference

    async def _verify_json(self, request: web.BaseRequest) -> Reply:
        return Reply(_JSON_HEAD, as_json(await self._verified(request)))

    async def _verify_text(self, request: web.BaseRequest) -> Reply:
        # Errors too are told in the first word: some dialplans cannot see a status.
        try:
            return Reply(_TEXT_HEAD, as_text(await self._verified(request)))
        except Problem as problem:
            return self._error_text(problem)
        except ConnectionError:
            raise
        except Exception:
            log.exception("request_failed")
            return self._error_text(unexpected())

    def _error_text(self, problem: Problem) -> Reply:
        self._refused(problem.status)
        return Reply(head(problem.status, _TEXT, problem.headers), f"error|{problem.title}".encode(), problem.close)

    async def _verified(self, request: web.BaseRequest) -> Verification:
        begun = perf_counter()
        self._authorize(request)
        headers = request.headers
        media_type = headers.get(hdrs.CONTENT_TYPE, "")
        read = READERS.get(media_type) or READERS.get(media_type.partition(";")[0].strip().lower())
        if read is None:
            raise Problem(415, f"The body must be one of: {', '.join(READERS)}.")
        if hdrs.CONTENT_ENCODING in headers and headers[hdrs.CONTENT_ENCODING].lower() != "identity":
            raise Problem(415, "The body must not be compressed.", headers={hdrs.ACCEPT_ENCODING: "identity"})
        verification = self._verify(read(await read_body(request)), begun)
        if verification is None:
            raise _not_loaded()
        return verification

    async def _conference(self, request: web.BaseRequest) -> Reply:
        self._authorize(request)
        index = self._live.index
        if index is None:
            raise _not_loaded()
        conference = index.conferences.get(request.path.removeprefix(_CONFERENCES))
        if conference is None:
            raise Problem(404, "There is no conference with this passcode.")
        return Reply(_JSON_HEAD, conference_as_json(conference))

    async def _openapi(self, _request: web.BaseRequest) -> Reply:
        return self._description

    def _authorize(self, request: web.BaseRequest) -> None:
        switches = self._live.switches
        if switches is None:
            raise _not_loaded()
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        # A token is random and long: looking up its hash tells nobody how near a guess was.
        hashed = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).digest()
        if scheme.lower() != "bearer" or hashed not in switches:
            raise Problem(
                401, "The token is missing or not one of a switch.", headers={hdrs.WWW_AUTHENTICATE: "Bearer"}
            )


def _not_loaded() -> Problem:
    return Problem(503, "The lists are not loaded yet.", headers={"Retry-After": "1"})
