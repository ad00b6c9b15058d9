"""Who must wait now, as too many wrong tries were made, and letting him try again."""

from __future__ import annotations

import time
from typing import Any, Final

from aiohttp import web

from admin import keys
from admin.access import Action, Scope, require, require_lockout, scope
from admin.rendering import render
from admin.security import form
from admin.visitor import visitor_of
from loader.model import User
from loader.store import Desk
from loader.store.lockouts import CONFERENCE, KEPT, SWITCH, Lockouts

routes = web.RouteTableDef()

_SHOWN: Final = KEPT
"""Locks on the page: all of a company, and the most important of all companies."""


@routes.get("/locked")
async def show(request: web.Request) -> web.Response:
    visitor, lockouts = visitor_of(request), request.app[keys.LOCKOUTS]
    user = visitor.user
    reach = require(user, Action.LOCKS)
    now, whose = time.time(), _whose(user, reach)
    count = await lockouts.count(now, **whose)
    return render(
        request,
        visitor,
        "locked.html",
        locked=await lockouts.locked(request.app[keys.KEYRING], now, **whose, limit=_SHOWN),
        count=count,
        is_full=await lockouts.is_full(now, company_id=whose.get("company_id")),
        kept=KEPT,
        everybody=reach is not Scope.OWN,
        everything=reach is Scope.ALL,
        may_unlock=scope(user, Action.UNLOCK) is not Scope.NOTHING,
    )


@routes.post("/locked/{id:[0-9a-f]{16}}/unlock")
async def unlock(request: web.Request) -> web.Response:
    visitor, lockouts = visitor_of(request), request.app[keys.LOCKOUTS]
    lockout = await require_lockout(lockouts, request.app[keys.KEYRING], visitor.user, request.match_info["id"])
    await form(request)
    async with request.app[keys.STORE].together() as store:
        unlocked = await Lockouts(store).unlock([lockout.id], by=visitor.user.id, at=time.time())
        if unlocked:
            await Desk(store).record(visitor.did("unlocked", lockout.about, lockout.detail))
    if not unlocked:
        visitor.notice(visitor._("That was not locked any more."))
        raise web.HTTPSeeOther("/locked")
    visitor.notice(
        visitor._("%(switch)s is unlocked: its callers may try again.", switch=lockout.switch)
        if lockout.kind == SWITCH
        else visitor._("%(id)s is unlocked: callers may try again.", id=lockout.conference_id)
        if lockout.kind == CONFERENCE
        else visitor._("%(caller)s may try again.", caller=lockout.caller)
        if lockout.caller
        else visitor._("Callers who withhold their number may try again.")
    )
    raise web.HTTPSeeOther("/locked")


def _whose(user: User, reach: Scope) -> dict[str, Any]:
    """What a user sees: everything, her company's, or her own."""
    if reach is Scope.ALL:
        return {}
    whose = {"company_id": user.company_id or ""}
    return whose if reach is Scope.COMPANY else whose | {"organizer_id": user.organizer_id or ""}
