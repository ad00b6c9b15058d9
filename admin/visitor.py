"""Who asks for a page: the user if one is signed in, and in which language and from where he asks."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from aiohttp import hdrs, web
from aiohttp_session import Session, get_session
from babel.core import negotiate_locale
from babel.support import NullTranslations

from admin import keys
from admin.rendering import CATALOGUES, DOMAIN
from loader.catalogues import catalogue
from loader.errors import NotFound
from loader.model import LANGUAGES, AuditEntry, User

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

LANGUAGE_COOKIE: Final = "rollcall-language"
USER: Final = "user"
"""The session's name for who is signed in."""
SIGNED_IN_AT: Final = "signed_in_at"
_WITHOUT_SECOND_FACTOR: Final = ("/account/second-factor", "/signout", "/language", "/static/")


class Visitor:
    """One request's user and language."""

    def __init__(self, request: web.Request, session: Session, user: User | None) -> None:
        self.session = session
        self.signed_in = user
        self.address = address_of(request)
        self.agent = _sent(request, hdrs.USER_AGENT)[:200]
        self.language = _language(request, user)
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


def _language(request: web.Request, user: User | None) -> str:
    chosen = request.cookies.get(LANGUAGE_COOKIE) or (user.language if user else None)
    if chosen in LANGUAGES:
        return str(chosen)
    wished = [one.partition(";")[0].strip() for one in _sent(request, hdrs.ACCEPT_LANGUAGE).split(",")[:20]]
    known = negotiate_locale([wish.replace("-", "_") for wish in wished if wish], LANGUAGES)
    return known or "en"
