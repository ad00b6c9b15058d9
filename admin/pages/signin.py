"""Signing in and out, forgotten passwords, and the choice of a language."""

from __future__ import annotations

import hmac
import secrets
import time
from functools import partial
from typing import Final

import aiohttp_session
import structlog
from aiohttp import web

from admin import keys
from admin.oidc import OidcError
from admin.passwords import MIN_PASSWORD
from admin.rendering import render
from admin.security import form
from admin.signing import LINK_GOOD_FOR, Slowed
from admin.visitor import SIGNED_IN_AT, USER, Visitor, language_cookie, visitor_of
from loader.errors import NotFound
from loader.model import LANGUAGES, AuditEntry, Role, User

log = structlog.get_logger(__name__)
routes = web.RouteTableDef()

_CODE_WITHIN: Final = 300.0
"""Seconds between the password and the code."""
_LINKS_EVERY: Final = 60.0
"""Seconds between two links that are mailed to one user: whoever asks for more only fills his mailbox."""
_NEED_SECOND_FACTOR: Final = (Role.SUPER_ADMINISTRATOR, Role.OPERATOR)


@routes.get("/signin")
async def show(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    if visitor.signed_in is not None:
        raise web.HTTPSeeOther("/")
    return await _sign_in_page(request, visitor)


@routes.post("/signin")
async def sign_in(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    fields = await form(request)
    name, password = fields.get("name", "").strip(), fields.get("password", "")
    signing, sign_ins = request.app[keys.SIGNING], request.app[keys.METRICS].sign_ins
    try:
        user = await signing.by_password(name, password, visitor.address)
    except Slowed as slowed:
        sign_ins.labels("slowed").inc()
        await _tell(request, name[:64], None, "sign_in_slowed", visitor.address)
        return await _sign_in_page(request, visitor, status=429, name=name, slowed=slowed.seconds)
    if user is None:
        sign_ins.labels("refused").inc()
        await _tell(request, name[:64], None, "sign_in_refused", visitor.address)
        return await _sign_in_page(request, visitor, status=403, name=name, refused=True)
    visitor.session["next"] = fields.get("next", "/")
    if await signing.has_second_factor(user):
        visitor.session["pending"] = [user.id, time.time()]
        raise web.HTTPSeeOther("/signin/code")
    await signing.succeeded(user)
    raise await _signed_in(request, visitor, user)


@routes.get("/signin/code")
async def show_code(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    await _pending(request, visitor)
    return render(request, visitor, "code.html", wrong=False, slowed=0)


@routes.post("/signin/code")
async def enter_code(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    fields = await form(request)
    user = await _pending(request, visitor)
    signing = request.app[keys.SIGNING]
    try:
        good = await signing.by_code(user, fields.get("code", ""), visitor.address)
    except Slowed as slowed:
        request.app[keys.METRICS].sign_ins.labels("slowed").inc()
        await _tell(request, user.id, user.company_id, "sign_in_slowed", visitor.address)
        return render(request, visitor, "code.html", status=429, wrong=False, slowed=slowed.seconds)
    if not good:
        request.app[keys.METRICS].sign_ins.labels("refused").inc()
        await _tell(request, user.id, user.company_id, "code_refused", visitor.address)
        return render(request, visitor, "code.html", status=403, wrong=True, slowed=0)
    await signing.succeeded(user)
    raise await _signed_in(request, visitor, user)


@routes.get("/signin/again")
async def show_again(request: web.Request) -> web.Response:
    return await _again_page(request, request.query.get("next", ""))


async def _again_page(
    request: web.Request, wanted: str, status: int = 200, *, refused: bool = False, slowed: int = 0
) -> web.Response:
    visitor = visitor_of(request)
    return render(
        request,
        visitor,
        "again.html",
        status,
        wanted=wanted,
        refused=refused,
        slowed=slowed,
        second_factor=await request.app[keys.SIGNING].has_second_factor(visitor.user),
        oidc=request.app[keys.OIDC],
    )


@routes.post("/signin/again")
async def sign_in_again(request: web.Request) -> web.Response:
    """With all that is needed to sign in; it begins a session of its own, as signing in does."""
    visitor, signing = visitor_of(request), request.app[keys.SIGNING]
    fields = await form(request)
    user, wanted = visitor.user, fields.get("next", "")
    try:
        good = await signing.by_password(user.id, fields.get("password", ""), visitor.address) is not None
        if good and await signing.has_second_factor(user):
            good = await signing.by_code(user, fields.get("code", ""), visitor.address)
    except Slowed as slowed:
        await _tell(request, user.id, user.company_id, "sign_in_slowed", visitor.address)
        return await _again_page(request, wanted, 429, slowed=slowed.seconds)
    if not good:
        await _tell(request, user.id, user.company_id, "sign_in_refused", visitor.address)
        return await _again_page(request, wanted, 403, refused=True)
    await signing.succeeded(user)
    visitor.session["next"] = wanted
    raise await _signed_in(request, visitor, user)


@routes.post("/signin/again/oidc")
async def begin_oidc_again(request: web.Request) -> web.Response:
    """The provider is to ask as well: that somebody is signed in there is not enough."""
    visitor = visitor_of(request)
    fields = await form(request)
    visitor.user  # noqa: B018 - raises if nobody is signed in
    visitor.session["next"] = fields.get("next", "")
    return await _begin_oidc(request, again=True)


@routes.get("/signin/oidc")
async def begin_oidc(request: web.Request) -> web.Response:
    return await _begin_oidc(request)


async def _begin_oidc(request: web.Request, *, again: bool = False) -> web.Response:
    oidc = request.app[keys.OIDC]
    if not oidc.enabled:
        raise NotFound("there is no such page")
    try:
        address, remembered = await oidc.begin(again=again)
    except OidcError as error:
        log.warning("oidc_failed", problem=str(error))
        return await _sign_in_page(request, visitor_of(request), status=502, provider_failed=True)
    visitor_of(request).session["oidc"] = remembered
    raise web.HTTPSeeOther(address)


@routes.get("/signin/oidc/done")
async def finish_oidc(request: web.Request) -> web.Response:
    visitor, oidc = visitor_of(request), request.app[keys.OIDC]
    remembered = visitor.session.pop("oidc", None)
    if not oidc.enabled or remembered is None:
        raise NotFound("there is no such page")
    state = request.query.get("state", "")
    if not hmac.compare_digest(remembered["state"].encode(), state.encode("utf-8", "replace")):
        raise NotFound("there is no such page")
    try:
        user = await request.app[keys.PEOPLE].user(await oidc.finish(str(request.url), remembered))
    except OidcError as error:
        log.warning("oidc_failed", problem=str(error))
        return await _sign_in_page(request, visitor, status=502, provider_failed=True)
    if user is None:
        return await _sign_in_page(request, visitor, status=403, unknown_there=True)
    raise await _signed_in(request, visitor, user, by_provider=True)


@routes.post("/signout")
async def sign_out(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    await form(request)
    if visitor.signed_in is not None:
        await request.app[keys.DESK].record(visitor.did("signed_out", visitor.user.id))
    visitor.session.invalidate()
    # Going back is to show nothing any more, not even from the browser's memory. Its choice of a language stays.
    raise web.HTTPSeeOther("/signin", headers={"Clear-Site-Data": '"cache"'})


@routes.get("/password/forgot")
async def show_forgot(request: web.Request) -> web.Response:
    return render(request, visitor_of(request), "forgot.html", sent=False, slowed=0)


@routes.post("/password/forgot")
async def forgot(request: web.Request) -> web.Response:
    """Whether there is such a user is not told, nor can it be told by how long the answer takes: that is found out after
    it.
    """
    visitor = visitor_of(request)
    asked = (await form(request)).get("name", "").strip()[:200]
    try:
        await request.app[keys.SIGNING].asks_for_link(visitor.address)
    except Slowed as slowed:
        return render(request, visitor, "forgot.html", 429, sent=False, slowed=slowed.seconds)
    request.app[keys.MAILER].later(partial(_send_links, request, visitor, asked))
    return render(request, visitor, "forgot.html", sent=True, slowed=0)


async def _send_links(request: web.Request, visitor: Visitor, asked: str) -> None:
    """Mail a link to every user who has this name or address."""
    people = request.app[keys.PEOPLE]
    users = await people.users_with_email(asked) if "@" in asked else []
    by_name = await people.user(asked) if asked else None
    now = time.time()
    for user in [*users, *([by_name] if by_name and by_name not in users else [])]:
        _, last_at = await people.failures("link", user.id)
        if now - last_at > _LINKS_EVERY:
            await people.failed("link", user.id, now)
            await send_link(request, visitor, user)
            await _tell(request, user.id, user.company_id, "link_asked_for", visitor.address)


async def send_link(request: web.Request, visitor: Visitor, user: User) -> None:
    """Mail a user a one-time link that sets his password."""
    word = await request.app[keys.SIGNING].new_link(user)
    address = f"{request.app[keys.SETTINGS].admin.address}/password/new/{word}"
    text = visitor._(
        "Hello %(name)s,\n\nwith this link you set a new password for Rollcall. Your user name is %(user)s. It works "
        "once, within %(minutes)s minutes:\n\n%(address)s\n\nIf you did not ask for it, you need not do anything.\n",
        name=user.name,
        user=user.id,
        minutes=int(LINK_GOOD_FOR // 60),
        address=address,
    )
    request.app[keys.MAILER].send(user.email, visitor._("Rollcall: your new password"), text)


@routes.get("/password/new/{word}")
async def show_new_password(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    user = await request.app[keys.SIGNING].link_user(request.match_info["word"])
    return render(
        request, visitor, "new_password.html", 200 if user else 410, owner=user, problem=None, minimum=MIN_PASSWORD
    )


@routes.post("/password/new/{word}")
async def set_new_password(request: web.Request) -> web.Response:
    visitor, signing = visitor_of(request), request.app[keys.SIGNING]
    fields = await form(request)
    word, password = request.match_info["word"], fields.get("password", "")
    user = await signing.link_user(word)
    problem = None if user is None else await request.app[keys.PASSWORDS].problem(password, user)
    if problem is None and password != fields.get("again", ""):
        problem = "different"
    if user is None or problem is not None:
        return render(
            request,
            visitor,
            "new_password.html",
            422 if user else 410,
            owner=user,
            problem=problem,
            minimum=MIN_PASSWORD,
        )
    if await signing.set_password(
        user, password, _told(user.id, user.company_id, "password_set", visitor.address), link=word
    ):
        visitor.notice(visitor._("Your new password is set. Sign in with it."))
    raise web.HTTPSeeOther("/signin")


@routes.post("/language")
async def choose_language(request: web.Request) -> web.Response:
    fields = await form(request)
    back = fields.get("back", "/")
    response = web.HTTPSeeOther(back if is_local(back) else "/")
    if fields.get("language") in LANGUAGES:
        admin = request.app[keys.SETTINGS].admin
        response.set_cookie(
            language_cookie(admin),
            fields["language"],
            max_age=365 * 86400,
            secure=admin.is_secure,
            httponly=True,
            samesite="Lax",
        )
    raise response


def is_local(address: str) -> bool:
    """Whether an address leads to a page of this site, and nowhere else."""
    return address.startswith("/") and not address.startswith("//") and "\\" not in address and address.isprintable()


async def _sign_in_page(
    request: web.Request,
    visitor: Visitor,
    status: int = 200,
    *,
    name: str = "",
    refused: bool = False,
    slowed: int = 0,
    provider_failed: bool = False,
    unknown_there: bool = False,
) -> web.Response:
    return render(
        request,
        visitor,
        "signin.html",
        status,
        name=name,
        refused=refused,
        slowed=slowed,
        provider_failed=provider_failed,
        unknown_there=unknown_there,
        oidc=request.app[keys.OIDC],
        wanted=(await request.post()).get("next", "") if request.method == "POST" else request.query.get("next", ""),
    )


async def _pending(request: web.Request, visitor: Visitor) -> User:
    """Who has given a password and not yet a code. Raises NotFound."""
    user_id, at = visitor.session.get("pending", (None, 0.0))
    user = await request.app[keys.PEOPLE].user(user_id) if user_id and time.time() - at < _CODE_WITHIN else None
    if user is None:
        raise NotFound("nobody is signing in")
    return user


async def begin_session(request: web.Request, user: User) -> aiohttp_session.Session:
    """A session of its own, with a new word: the one before is over, whoever knew its word."""
    session = await aiohttp_session.new_session(request)
    session["csrf"] = secrets.token_urlsafe(24)
    session[USER] = user.id
    session[SIGNED_IN_AT] = time.time()
    return session


async def _signed_in(
    request: web.Request, visitor: Visitor, user: User, *, by_provider: bool = False
) -> web.HTTPException:
    """Begin a session of its own, and go where the user wanted to."""
    request.app[keys.METRICS].sign_ins.labels("accepted").inc()
    wanted = str(visitor.session.get("next", "/"))
    session = await begin_session(request, user)
    if (
        _needs_second_factor(request, user)
        and not by_provider
        and not await request.app[keys.SIGNING].has_second_factor(user)
    ):
        session["must_enroll"] = True
        wanted = "/account/second-factor"
    visitor.session = session
    await _tell(request, user.id, user.company_id, "signed_in", visitor.address)
    return web.HTTPSeeOther(wanted if is_local(wanted) else "/")


def _needs_second_factor(request: web.Request, user: User) -> bool:
    admin = request.app[keys.SETTINGS].admin
    return admin.second_factor_for_all or (admin.second_factor and user.role in _NEED_SECOND_FACTOR)


async def _tell(request: web.Request, user_id: str, company_id: str | None, action: str, address: str) -> None:
    await request.app[keys.DESK].record(_told(user_id, company_id, action, address))


def _told(user_id: str, company_id: str | None, action: str, address: str) -> AuditEntry:
    return AuditEntry(time.time(), user_id, company_id, address, action, user_id)
