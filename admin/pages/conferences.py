"""Conferences: their passcodes, and PIN entry on and off."""

from __future__ import annotations

from aiohttp import web

from admin import keys
from admin.access import Action, Scope, require
from admin.rendering import render
from admin.security import form
from admin.visitor import visitor_of
from loader.errors import NotFound

routes = web.RouteTableDef()


@routes.get("/conferences")
async def show(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    user = visitor.user
    reach = require(user, Action.CONFERENCES)
    only = None if reach is Scope.COMPANY else user.organizer_id or ""
    conferences = await request.app[keys.DESK].conferences(company_id=user.company_id or "", organizer_id=only)
    return render(request, visitor, "conferences.html", conferences=conferences, everybody=reach is Scope.COMPANY)


@routes.post("/conferences/{id}/pin-entry")
async def set_pin_entry(request: web.Request) -> web.Response:
    visitor, desk = visitor_of(request), request.app[keys.DESK]
    user = visitor.user
    reach = require(user, Action.CONFERENCES)
    fields = await form(request)
    only = None if reach is Scope.COMPANY else user.organizer_id or ""
    conference_id = request.match_info["id"]
    known = await desk.conferences(company_id=user.company_id or "", organizer_id=only)
    if conference_id not in {conference["id"] for conference in known}:
        raise NotFound("there is no such conference")
    on = fields.get("pin_entry") == "1"
    await desk.set_pin_entry(conference_id, on=on)
    await desk.record(visitor.did("pin_entry_on" if on else "pin_entry_off", conference_id))
    visitor.notice(
        visitor._("Callers of %(id)s are asked for a PIN from now on.", id=conference_id)
        if on
        else visitor._("Callers of %(id)s are no longer asked for a PIN.", id=conference_id)
    )
    raise web.HTTPSeeOther("/conferences")
