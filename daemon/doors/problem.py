"""What is answered instead of an answer: problem details (RFC 9457) of the type `about:blank`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

TITLES: Final = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    417: "Expectation Failed",
    429: "Too Many Requests",
    503: "Service Unavailable",
}
"""The title of each status that a door refuses with: the phrase of RFC 9110, and of RFC 6585 for 429."""

MEDIA_TYPE: Final = "application/problem+json"


class Problem(Exception):
    """A request is refused. `errors` says by field what is wrong; no text repeats what was sent.

    `close` is set where the rest of the request cannot be read, so that the connection is of no more use.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.title = TITLES[status]
        self.detail = detail
        self.errors = errors
        self.headers = headers or {}
        self.close = close

    def body(self) -> bytes:
        """The problem as JSON."""
        told = {"type": "about:blank", "title": self.title, "status": self.status, "detail": self.detail}
        if self.errors:
            told["errors"] = self.errors
        return msgspec.json.encode(told)
