"""What an operator runs: companies, and who is signed in."""

from __future__ import annotations

from aiohttp import web

from admin import keys
from admin.access import Action, require
from admin.rendering import render
from admin.security import form
from admin.visitor import visitor_of
from loader.errors import AlreadyExists, InvalidValue, NotFound
from loader.model import parse_identifier, parse_text
from loader.store import Desk, People

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
    visitor = visitor_of(request)
    require(visitor.user, Action.INSTALLATION)
    fields = await form(request)
    try:
        row = {"id": parse_identifier(fields.get("id", "").strip()), "name": parse_text(fields.get("name", ""))}
        async with request.app[keys.STORE].together() as store:
            await Desk(store).put("company", row, new=True)
            await Desk(store).record(visitor.did("company_added", row["id"]))
    except InvalidValue:
        return await _companies_page(request, 422, fields, "invalid")
    except AlreadyExists:
        return await _companies_page(request, 422, fields, "taken")
    visitor.notice(visitor._("Saved."))
    raise web.HTTPSeeOther(f"/companies/{row['id']}")


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
    async with request.app[keys.STORE].together() as store:
        await People(store).end_sessions_of(user.id)
        await Desk(store).record(visitor.did("signed_out_by_operator", user.id))
    visitor.notice(visitor._("%(name)s was signed out everywhere.", name=user.name))
    raise web.HTTPSeeOther("/sessions")
