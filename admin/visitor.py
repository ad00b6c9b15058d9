"""Who asks for a page: the user if one is signed in, and in which language and from where he asks."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from aiohttp import hdrs, web
from aiohttp_session import Session, get_session
from babel.core import negotiate_locale
from babel.support import NullTranslations

from admin import keys
from admin.rendering import CATALOGUES, DOMAIN
from loader.catalogues import catalogue
from loader.errors import NotFound
from loader.model import LANGUAGES, AuditEntry, User
from loader.sections import Admin

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

USER: Final = "user"
"""The session's name for who is signed in."""
SIGNED_IN_AT: Final = "signed_in_at"
_WITHOUT_SECOND_FACTOR: Final = ("/account/second-factor", "/signin/again", "/signout", "/language", "/static/")
_FRESH_FOR: Final = 600.0
"""Seconds after signing in in which one need not do it again for what is sensitive."""


class Visitor:
    """One request's user and language."""

    def __init__(self, request: web.Request, session: Session, user: User | None) -> None:
        self.session = session
        self.signed_in = user
        self.address = address_of(request)
        self.agent = _sent(request, hdrs.USER_AGENT)[:200]
        chosen = request.cookies.get(language_cookie(request.app[keys.SETTINGS].admin)) or (user and user.language)
        self.language = chosen if chosen in LANGUAGES else _wished(request)
        self.translations: NullTranslations = catalogue(CATALOGUES, self.language, DOMAIN)

    @property
    def user(self) -> User:
        """Who is signed in. Raises NotFound if nobody is: pages for everybody ask `signed_in`."""
        if self.signed_in is None:
            raise NotFound("nobody is signed in")
        return self.signed_in

    def _(self, text: str, **values: Any) -> str:
        """A text in the visitor's language."""
        return self.translations.gettext(text) % values if values else self.translations.gettext(text)

    def notice(self, text: str, kind: str = "done") -> None:
        """Show a text, in the visitor's language already, on the next page."""
        self.session["notices"] = [*self.session.get("notices", []), [kind, text]]

    def did(self, action: str, target: str, detail: str = "") -> AuditEntry:
        """What the audit trail is told."""
        return AuditEntry(time.time(), self.user.id, self.user.company_id, self.address, action, target, detail[:2000])


VISITOR: Final = web.RequestKey("visitor", Visitor)


def require_fresh(visitor: Visitor, back: str) -> None:
    """For what whoever finds an open browser must not do: it has to be a while ago at most that the visitor signed in.

    Raises a redirect to do it again, which leads on to `back`; NotFound if nobody is signed in.
    """
    if visitor.user and time.time() - visitor.session.get(SIGNED_IN_AT, 0.0) > _FRESH_FOR:
        raise web.HTTPSeeOther(f"/signin/again?next={quote(back, safe='/')}")


def address_of(request: web.Request) -> str:
    """Where a request comes from: the other side of the connection, or what a trusted proxy says."""
    if request.app[keys.SETTINGS].admin.behind_proxy:
        forwarded = _sent(request, "X-Forwarded-For").rpartition(",")[2].strip()
        if forwarded:
            return forwarded[:64]
    return (request.remote or "")[:64]


def _sent(request: web.Request, header: str) -> str:
    """A header as text that can be kept: aiohttp hands on bytes that are not UTF-8 as halves of surrogates."""
    return request.headers.get(header, "").encode("utf-8", "replace").decode()


def visitor_of(request: web.Request) -> Visitor:
    """The visitor whose request this is."""
    return request[VISITOR]


@web.middleware
async def visitors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Find out who asks. A session that is over, or whose user is gone, is nobody's."""
    session = await get_session(request)
    user = None
    user_id = session.get(USER)
    if user_id is not None:
        limit = request.app[keys.SETTINGS].admin.session_timeout
        # As old as it is ahead, where the clock was set back since.
        if abs(time.time() - session.get(SIGNED_IN_AT, 0.0)) < limit:
            user = await request.app[keys.PEOPLE].user(user_id)
        if user is None:
            session.invalidate()
    request[VISITOR] = Visitor(request, session, user)
    if session.get("must_enroll") and not request.path.startswith(_WITHOUT_SECOND_FACTOR):
        raise web.HTTPSeeOther("/account/second-factor")
    return await handler(request)


def language_cookie(admin: Admin) -> str:
    """The name of the cookie that remembers a language. With https it is one that no other host can set."""
    return "__Host-rollcall-language" if admin.is_secure else "rollcall-language"


def _wished(request: web.Request) -> str:
    """The first language of the browser that there is."""
    wished = [one.partition(";")[0].strip() for one in _sent(request, hdrs.ACCEPT_LANGUAGE).split(",")[:20]]
    known = negotiate_locale([wish.replace("-", "_") for wish in wished if wish], LANGUAGES)
    return known or "en"
