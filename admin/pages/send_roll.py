"""A roll is sent to the organizer by mail."""

from __future__ import annotations

import time

from aiohttp import web

from admin import keys
from admin.access import Action, require, require_roll
from admin.security import form
from admin.visitor import visitor_of
from loader.store import Desk
from loader.store.roll_mail import RollMail

routes = web.RouteTableDef()


@routes.post("/rolls/{id:\\d{1,9}}/send")
async def send(request: web.Request) -> web.Response:
    """Have it sent in the background; the roll's page tells what came of it."""
    visitor = visitor_of(request)
    require(visitor.user, Action.SEND_ROLLS)
    await form(request)
    occurrence = await require_roll(
        request.app[keys.ROLL_BOOK], visitor.user, int(request.match_info["id"]), now=time.time()
    )
    async with request.app[keys.STORE].together() as store:
        asked = await RollMail(store).ask(occurrence.id, time.time())
        if asked:
            await Desk(store).record(visitor.did("roll_sent", str(occurrence.id), occurrence.conference_id))
    if asked:
        request.app[keys.ROLL_SENDER].wake()
        visitor.notice(visitor._("The roll is on its way to the organizer."))
    else:
        visitor.notice(visitor._("The roll is on its way to the organizer already."))
    raise web.HTTPSeeOther(f"/rolls/{occurrence.id}")
