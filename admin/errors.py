"""What goes wrong becomes a page in plain words; nothing of the inside gets out."""

from __future__ import annotations

import time
from urllib.parse import quote

import structlog
from aiohttp import hdrs, web

from admin import keys
from admin.rendering import render
from admin.security import Forged
from admin.turns import Busy
from admin.visitor import Handler, visitor_of
from loader.errors import BlockError, DatabaseError, KeyFileError, NotFound

log = structlog.get_logger(__name__)


@web.middleware
async def measured(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Time every page, by its pattern and status. Whatever gets here becomes an answer."""
    begun = time.perf_counter()
    response: web.StreamResponse
    try:
        response = await handler(request)
    except web.HTTPException as raised:
        _measure(request, raised.status, begun)
        raise
    except ConnectionError:
        raise
    except DatabaseError as error:
        log.error("database_unavailable", problem=str(error))
        response = web.Response(status=503, text="503: the database cannot be used now", headers={"Retry-After": "5"})
    except Exception:
        # Not even the page that says so could be made.
        log.exception("page_failed", page=_pattern(request))
        response = web.Response(status=500, text="500: something broke; it is in the log")
    if isinstance(response, web.Response):
        # A stream lasts as long as somebody watches.
        _measure(request, response.status, begun)
    return response


def _measure(request: web.Request, status: int, begun: float) -> None:
    request.app[keys.METRICS].pages.labels(_pattern(request), str(status)).observe(time.perf_counter() - begun)


def _pattern(request: web.Request) -> str:
    resource = request.match_info.route.resource
    if resource is None:
        return "other"
    return "/static" if resource.canonical.startswith("/static/") else resource.canonical


@web.middleware
async def told_plainly(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors as pages of the site, in the visitor's language."""
    try:
        return await handler(request)
    except NotFound:
        _log(request, "access_refused")
        return _page(request, "not_found", 404)
    except Forged:
        _log(request, "form_refused")
        return _page(request, "forged", 403)
    except Busy:
        _log(request, "too_busy")
        return _page(request, "busy", 503)
    except (DatabaseError, BlockError, KeyFileError) as error:
        log.error("database_unavailable", problem=str(error))
        return _page(request, "unavailable", 503)
    except web.HTTPRequestEntityTooLarge:
        return _page(request, "too_large", 413)
    except web.HTTPException as raised:
        if raised.status in (404, 405):
            return _page(request, "not_found", raised.status)
        raise
    except ConnectionError:
        # The browser has gone: there is nobody to tell.
        raise
    except Exception:
        log.exception("page_failed", page=_pattern(request))
        return _page(request, "broken", 500)


def _log(request: web.Request, event: str) -> None:
    """Who was refused what: the page by its pattern, as its address may name what is nobody's business."""
    visitor = visitor_of(request)
    user = None if visitor.signed_in is None else visitor.signed_in.id
    if user is not None or event != "access_refused":
        # Who is not signed in is sent to sign in, which is no refusal.
        log.warning(event, page=_pattern(request), method=request.method, user=user, address=visitor.address)


def _page(request: web.Request, what: str, status: int) -> web.Response:
    visitor = visitor_of(request)
    if visitor.signed_in is None and what == "not_found" and request.method in (hdrs.METH_GET, hdrs.METH_HEAD):
        # Who is not signed in is not told what is there and what is not.
        wanted = "" if request.path in ("/", "/signin/code") else f"?next={quote(request.path_qs, safe='/')}"
        raise web.HTTPSeeOther(f"/signin{wanted}")
    response = render(request, visitor, "error.html", status=status, what=what)
    if status == 503:
        response.headers[hdrs.RETRY_AFTER] = "5"
    return response
