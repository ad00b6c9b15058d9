"""What stands around every page: headers, and proof that a change was asked for from a page of ours."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import BodyPartReader, hdrs, web
from aiohttp.http_exceptions import BadHttpMessage

from admin import keys
from admin.visitor import Handler, visitor_of

MAX_FORM: Final = 512 * 1024
"""Bytes of a form without a file."""
BODY_TIMEOUT: Final = 300.0
"""Seconds in which a form must have come: enough for the largest list over the slowest line."""

_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "X-Frame-Options": "DENY",
}


_CHARSET: Final = "utf-8"
"""That of all pages, and so of all forms."""
NO_FORM: Final = (ValueError, LookupError, RuntimeError, BadHttpMessage, web.RequestPayloadError)
"""What is raised where a body is read that no browser would send."""


@asynccontextmanager
async def reading() -> AsyncGenerator[None]:
    """Whoever sends a form byte by byte is let go: raises HTTPRequestTimeout."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            yield
    except TimeoutError:
        raise web.HTTPRequestTimeout from None


class Forged(Exception):
    """A change was not asked for from a page of ours, or from one of a session that is over."""


@web.middleware
async def headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Headers that go with every answer."""
    try:
        response = await handler(request)
    except web.HTTPException as raised:
        add_headers(request, raised)
        raise
    add_headers(request, response)
    return response


def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add them; for an answer that begins before its page is done."""
    response.headers.update(_HEADERS)
    response.headers[hdrs.SERVER] = "Rollcall"
    # Redirects and bare texts too: what is to be kept says so itself.
    response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
    if request.app[keys.SETTINGS].admin.is_secure:
        response.headers["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"


@web.middleware
async def own_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse a change that another site's page asks for: raises Forged. The token is checked where the form is read.

    No browser packs what it sends, so that nothing is ever unpacked: a small body could become a large one.
    """
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower() != "identity":
        raise web.HTTPUnsupportedMediaType
    if request.method not in (hdrs.METH_GET, hdrs.METH_HEAD):
        origin = request.headers.get(hdrs.ORIGIN)
        site = request.headers.get("Sec-Fetch-Site", "same-origin")
        if site not in ("same-origin", "none") or (origin is not None and not _is_ours(request, origin)):
            raise Forged
    return await handler(request)


def _is_ours(request: web.Request, origin: str) -> bool:
    """Where the site's address is set, that alone: the Host that a request names may be anybody's (DNS rebinding)."""
    admin = request.app[keys.SETTINGS].admin
    try:
        ours, asked = urlsplit(admin.address), urlsplit(origin)
    except ValueError:
        return False
    return (asked.scheme, asked.netloc) == (ours.scheme, ours.netloc) or (
        not admin.url and asked.netloc == request.host
    )


async def form(request: web.Request) -> dict[str, str]:
    """The fields of a form, the last of each name. Raises Forged without the session's token, or if it is no form."""
    if request.content_type != "application/x-www-form-urlencoded":
        raise Forged
    try:
        if (request.charset or _CHARSET).lower() != _CHARSET:
            raise Forged
        async with reading():
            posted = await request.post()
        for name, value in posted.items():
            # The parts of a form may have charsets of their own, in which half a surrogate is a character.
            f"{name}{value if isinstance(value, str) else ''}".encode(_CHARSET)
    except NO_FORM:
        raise Forged from None
    fields = {name: value for name, value in posted.items() if isinstance(value, str)}
    require_token(request, fields.get("csrf", ""))
    return fields


async def form_lists(request: web.Request) -> dict[str, list[str]]:
    """As :func:`form`, with all values of each name."""
    await form(request)
    posted: Any = await request.post()
    return {name: [value for value in posted.getall(name) if isinstance(value, str)] for name in posted}


def number_of(text: str) -> int | None:
    """A number of at most nine digits, as forms and addresses carry them; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def require_token(request: web.Request, token: str) -> None:
    """Raises Forged unless this is the token of the visitor's session."""
    known = visitor_of(request).session.get("csrf", "")
    if not known or not hmac.compare_digest(known.encode(), token.encode()):
        raise Forged


async def text_of(part: BodyPartReader, limit: int = 4096) -> str:
    """The text of a small part of a multipart form. Raises web.HTTPRequestEntityTooLarge."""
    received = bytearray()
    while chunk := await part.read_chunk(limit):
        received += chunk
        if len(received) > limit:
            raise web.HTTPRequestEntityTooLarge(limit, len(received))
    return received.decode("utf-8", "replace")
