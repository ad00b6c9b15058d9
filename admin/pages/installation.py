"""What an operator runs: companies, switches and their tokens, and who is signed in."""

from __future__ import annotations

import time

from aiohttp import web

from admin import keys
from admin.access import Action, require
from admin.rendering import render
from admin.security import form
from admin.visitor import visitor_of
from loader.errors import AlreadyExists, InvalidValue, NotFound
from loader.model import Switch, parse_identifier, parse_text
from loader.tokens import new_token, token_hash

routes = web.RouteTableDef()


@routes.get("/companies")
async def companies(request: web.Request) -> web.Response:
    return await _companies_page(request)


async def _companies_page(
    request: web.Request, status: int = 200, typed: dict[str, str] | None = None, problem: str | None = None
) -> web.Response:
    visitor = visitor_of(request)
    require(visitor.user, Action.INSTALLATION)
    found = await request.app[keys.DESK].companies()
    return render(request, visitor, "companies.html", status, companies=found, typed=typed or {}, problem=problem)


@routes.post("/companies")
async def add_company(request: web.Request) -> web.Response:
    visitor, desk = visitor_of(request), request.app[keys.DESK]
    require(visitor.user, Action.INSTALLATION)
    fields = await form(request)
    try:
        row = {"id": parse_identifier(fields.get("id", "").strip()), "name": parse_text(fields.get("name", ""))}
        await desk.put("company", row, new=True)
    except InvalidValue:
        return await _companies_page(request, 422, fields, "invalid")
    except AlreadyExists:
        return await _companies_page(request, 422, fields, "taken")
    await desk.record(visitor.did("company_added", row["id"]))
    visitor.notice(visitor._("Saved."))
    raise web.HTTPSeeOther(f"/companies/{row['id']}")


@routes.get("/switches")
async def switches(request: web.Request) -> web.Response:
    return await _switches_page(request)


async def _switches_page(
    request: web.Request, status: int = 200, *, name: str = "", token: str = "", problem: str | None = None
) -> web.Response:
    visitor, store = visitor_of(request), request.app[keys.STORE]
    require(visitor.user, Action.INSTALLATION)
    return render(
        request,
        visitor,
        "switches.html",
        status,
        switches=await store.switches(),
        daemons=await store.daemons(),
        position=await store.position(),
        now=time.time(),
        name=name,
        token=token,
        problem=problem,
    )


@routes.post("/switches")
async def add_switch(request: web.Request) -> web.Response:
    """The token is on the answer to this one request, and nowhere else."""
    visitor = visitor_of(request)
    require(visitor.user, Action.INSTALLATION)
    name = (await form(request)).get("name", "").strip()
    token = new_token()
    try:
        await request.app[keys.STORE].add_switch(Switch.new(parse_identifier(name), token_hash(token), time.time()))
    except InvalidValue:
        return await _switches_page(request, 422, name=name, problem="invalid")
    except AlreadyExists:
        return await _switches_page(request, 422, name=name, problem="taken")
    await request.app[keys.DESK].record(visitor.did("switch_added", name))
    return await _switches_page(request, 201, name=name, token=token)


@routes.post("/switches/{id}/remove")
async def remove_switch(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    require(visitor.user, Action.INSTALLATION)
    await form(request)
    switch_id = request.match_info["id"]
    await request.app[keys.STORE].remove_switch(switch_id)
    await request.app[keys.DESK].record(visitor.did("switch_removed", switch_id))
    visitor.notice(visitor._("The token of %(name)s is refused from now on.", name=switch_id))
    raise web.HTTPSeeOther("/switches")


@routes.get("/sessions")
async def sessions(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    require(visitor.user, Action.INSTALLATION)
    return render(request, visitor, "sessions.html", sessions=await request.app[keys.PEOPLE].sessions())


@routes.post("/sessions/{user}/end")
async def end_sessions(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    require(visitor.user, Action.INSTALLATION)
    await form(request)
    user = await request.app[keys.PEOPLE].user(request.match_info["user"])
    if user is None:
        raise NotFound("there is no such user")
    await request.app[keys.PEOPLE].end_sessions_of(user.id)
    await request.app[keys.DESK].record(visitor.did("signed_out_by_operator", user.id))
    visitor.notice(visitor._("%(name)s was signed out everywhere.", name=user.name))
    raise web.HTTPSeeOther("/sessions")
