"""What a user sets for himself: password, second factor, signing out everywhere."""

from __future__ import annotations

import segno
from aiohttp import web

from admin import keys
from admin.pages.signin import begin_session
from admin.passwords import MIN_PASSWORD
from admin.rendering import render
from admin.security import form
from admin.signing import Slowed, matching_step, new_secret, otpauth
from admin.visitor import require_fresh, visitor_of
from loader.errors import NotFound
from loader.store import Desk, People

routes = web.RouteTableDef()


@routes.get("/account")
async def show(request: web.Request) -> web.Response:
    return await _page(request)


async def _page(request: web.Request, status: int = 200, problem: str | None = None) -> web.Response:
    visitor = visitor_of(request)
    return render(
        request,
        visitor,
        "account.html",
        status,
        problem=problem,
        minimum=MIN_PASSWORD,
        second_factor=await request.app[keys.SIGNING].has_second_factor(visitor.user),
        sessions=await request.app[keys.PEOPLE].sessions(visitor.user.id),
    )


@routes.post("/account/password")
async def change_password(request: web.Request) -> web.Response:
    visitor, signing = visitor_of(request), request.app[keys.SIGNING]
    fields = await form(request)
    user, password = visitor.user, fields.get("password", "")
    problem = await request.app[keys.PASSWORDS].problem(password, user)
    if problem is None and password != fields.get("again", ""):
        problem = "different"
    if problem is None:
        try:
            if await signing.by_password(user.id, fields.get("old", ""), visitor.address) is None:
                problem = "wrong"
        except Slowed:
            problem = "slowed"
    if problem is not None:
        return await _page(request, 422, problem)
    await signing.set_password(user, password, visitor.did("password_set", user.id))
    visitor.session.invalidate()
    raise web.HTTPSeeOther("/signin")


@routes.post("/account/sign-out-everywhere")
async def sign_out_everywhere(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    await form(request)
    async with request.app[keys.STORE].together() as store:
        await People(store).end_sessions_of(visitor.user.id)
        await Desk(store).record(visitor.did("signed_out_everywhere", visitor.user.id))
    visitor.session.invalidate()
    raise web.HTTPSeeOther("/signin")


@routes.post("/account/sessions/{id:[0-9a-f]{64}}/end")
async def end_session(request: web.Request) -> web.Response:
    """Sign out in one browser. A session is named by the hash of its word, which is good for nothing."""
    visitor = visitor_of(request)
    await form(request)
    require_fresh(visitor, "/account")
    id_hash = bytes.fromhex(request.match_info["id"])
    if id_hash not in {session.id_hash for session in await request.app[keys.PEOPLE].sessions(visitor.user.id)}:
        raise NotFound("there is no such session")
    async with request.app[keys.STORE].together() as store:
        await People(store).end_session(id_hash)
        await Desk(store).record(visitor.did("session_ended", visitor.user.id))
    raise web.HTTPSeeOther("/account")


@routes.get("/account/second-factor")
async def show_second_factor(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    require_fresh(visitor, "/account/second-factor")
    if "enrolling" not in visitor.session:
        visitor.session["enrolling"] = new_secret()
    return await _second_factor_page(request)


async def _second_factor_page(request: web.Request, status: int = 200, *, wrong: bool = False) -> web.Response:
    visitor = visitor_of(request)
    secret = str(visitor.session["enrolling"])
    return render(
        request,
        visitor,
        "second_factor.html",
        status,
        secret=" ".join(secret[at : at + 4] for at in range(0, len(secret), 4)),
        picture=segno.make(otpauth(visitor.user, secret), error="m").svg_data_uri(scale=4, border=2, light="#fff"),
        wrong=wrong,
        must=visitor.session.get("must_enroll", False),
        enrolled=await request.app[keys.SIGNING].has_second_factor(visitor.user),
    )


@routes.post("/account/second-factor")
async def set_second_factor(request: web.Request) -> web.Response:
    visitor, signing = visitor_of(request), request.app[keys.SIGNING]
    fields = await form(request)
    require_fresh(visitor, "/account/second-factor")
    user, secret = visitor.user, visitor.session.get("enrolling")
    if secret is None:
        raise web.HTTPSeeOther("/account/second-factor")
    step = matching_step(secret, fields.get("code", ""))
    if step is None:
        return await _second_factor_page(request, 422, wrong=True)
    await signing.set_second_factor(user, secret, step, visitor.did("second_factor_set", user.id))
    visitor.session = await begin_session(request, user)
    visitor.notice(visitor._("From now on you need a code of your authenticator to sign in."))
    raise web.HTTPSeeOther("/account")
