"""The site on its port: aiohttp's server, but for what is answered to requests that never come to a page."""

from __future__ import annotations

from typing import Final

import structlog
from aiohttp import hdrs, web

from loader.connections import Guarded

log = structlog.get_logger(__name__)

_HEADERS: Final = {hdrs.SERVER: "Rollcall", "X-Content-Type-Options": "nosniff", hdrs.CACHE_CONTROL: "no-store"}


class Connection(Guarded):
    """A browser's."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it repeats what was sent, and tells whose server this is
    ) -> web.StreamResponse:
        """What is not HTTP is answered in few words, and nothing of it is logged: it may hold a password or a cookie."""
        if isinstance(exc, ConnectionError):
            # The browser has gone away, which is no error of ours.
            raise exc
        if status == 500:
            log.error("request_failed", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun: there cannot be another")
        text = (
            "500: something broke; it is in the log" if status == 500 else f"{status}: this is no request of HTTP/1.1"
        )
        response = web.Response(status=status, text=text, headers=_HEADERS)
        response.force_close()
        return response
