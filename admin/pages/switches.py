"""The switches of an installation: their tokens, where they may ask from, and how often. And the daemons they ask."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from admin import keys
from admin.access import Action, require
from admin.rendering import render
from admin.security import form, number_of
from admin.visitor import Visitor, require_fresh, visitor_of
from loader.errors import AlreadyExists, InvalidValue, OverlapError
from loader.model import MAX_SWITCH_RATE, AuditEntry, Switch, parse_identifier
from loader.networks import parse_networks
from loader.store import Desk
from loader.store.writing import Writing
from loader.tokens import new_token, token_hash

routes = web.RouteTableDef()

OVERLAPS: Final = (0, 3600, 86400, 7 * 86400)
"""Seconds that an old token may stay good, as they are offered."""
USUAL_OVERLAP: Final = 86400


def _operator(request: web.Request) -> Visitor:
    visitor = visitor_of(request)
    require(visitor.user, Action.INSTALLATION)
    return visitor


def _changing(request: web.Request) -> Visitor:
    """As :func:`_operator`, of whom it must not be long ago that he signed in: a token opens every conference."""
    visitor = _operator(request)
    switch_id = request.match_info.get("id")
    require_fresh(visitor, "/switches" if switch_id is None else f"/switches/{switch_id}")
    return visitor


@routes.get("/switches")
async def switches(request: web.Request) -> web.Response:
    return await _list_page(request)


async def _list_page(
    request: web.Request, status: int = 200, *, name: str = "", token: str = "", problem: str | None = None
) -> web.Response:
    visitor, store = _operator(request), request.app[keys.STORE]
    return render(
        request,
        visitor,
        "switches.html",
        status,
        switches=await store.switches(),
        default_rate=request.app[keys.SETTINGS].daemon.switch_rate,
        daemons=await store.daemons(),
        position=await store.position(),
        now=time.time(),
        name=name,
        token=token,
        problem=problem,
    )


@routes.post("/switches")
async def add(request: web.Request) -> web.Response:
    """The token is on the answer to this one request, and nowhere else."""
    visitor = _changing(request)
    name = (await form(request)).get("name", "").strip()
    token = new_token()
    try:
        switch = Switch.new(parse_identifier(name), token_hash(token), time.time())
        async with request.app[keys.STORE].together() as store:
            await store.add_switch(switch)
            await Desk(store).record(visitor.did("switch_added", name))
    except InvalidValue:
        return await _list_page(request, 422, name=name, problem="invalid")
    except AlreadyExists:
        return await _list_page(request, 422, name=name, problem="taken")
    return await _list_page(request, 201, name=name, token=token)


@routes.get("/switches/{id}")
async def show(request: web.Request) -> web.Response:
    return await _page(request)


async def _page(
    request: web.Request,
    status: int = 200,
    *,
    token: str = "",
    networks: str | None = None,
    rate: str | None = None,
    problems: dict[str, str] | None = None,
) -> web.Response:
    """One switch, with what was typed in place of what is set where something was wrong with it."""
    visitor = _operator(request)
    switch, now = await request.app[keys.STORE].switch(request.match_info["id"]), time.time()
    return render(
        request,
        visitor,
        "switch.html",
        status,
        switch=switch,
        tokens=[one for one in switch.tokens if one.is_good(now)],
        token=token,
        overlaps=OVERLAPS,
        usual_overlap=USUAL_OVERLAP,
        networks="\n".join(switch.networks) if networks is None else networks,
        rate=("" if switch.rate is None else str(switch.rate)) if rate is None else rate,
        default_rate=request.app[keys.SETTINGS].daemon.switch_rate,
        most=MAX_SWITCH_RATE,
        problems=problems or {},
    )


@routes.post("/switches/{id}/rotate")
async def rotate(request: web.Request) -> web.Response:
    """The new token is on the answer to this one request, and nowhere else: to repeat it makes no third token."""
    visitor, switch_id = _changing(request), request.match_info["id"]
    overlap = number_of((await form(request)).get("overlap", ""))
    if overlap not in OVERLAPS:
        return await _page(request, 422, problems={"overlap": "invalid"})
    token = new_token()
    try:
        async with _recorded(
            request, visitor.did("switch_token_rotated", switch_id, f"overlap {overlap} s")
        ) as writing:
            await writing.rotate_token(switch_id, token_hash(token), time.time(), overlap)
    except OverlapError:
        return await _page(request, 409, problems={"overlap": "two"})
    return await _page(request, 201, token=token)


@routes.post("/switches/{id}/again")
async def make_again(request: web.Request) -> web.Response:
    """As :func:`rotate`, in place of a new token that was lost."""
    visitor, switch_id = _changing(request), request.match_info["id"]
    await form(request)
    token = new_token()
    async with _recorded(request, visitor.did("switch_token_replaced", switch_id)) as writing:
        await writing.replace_token(switch_id, token_hash(token), time.time())
    return await _page(request, 201, token=token)


@routes.post("/switches/{id}/end-old")
async def end_old(request: web.Request) -> web.Response:
    visitor, switch_id = _changing(request), request.match_info["id"]
    await form(request)
    async with _recorded(request, visitor.did("switch_old_token_ended", switch_id)) as writing:
        await writing.end_old_tokens(switch_id)
    visitor.notice(visitor._("The old token of %(name)s is refused from now on.", name=switch_id))
    raise web.HTTPSeeOther(f"/switches/{switch_id}")


@routes.post("/switches/{id}/limits")
async def set_limits(request: web.Request) -> web.Response:
    """Where the switch may ask from, and how often."""
    visitor, switch_id = _changing(request), request.match_info["id"]
    fields = await form(request)
    typed, often = fields.get("networks", ""), fields.get("rate", "").strip()
    problems = {}
    networks: tuple[str, ...] = ()
    try:
        networks = parse_networks(typed.split())
    except InvalidValue:
        problems["networks"] = "invalid"
    rate = number_of(often)
    if (often and rate is None) or (rate or 0) > MAX_SWITCH_RATE:
        problems["rate"] = "invalid"
    if problems:
        return await _page(request, 422, networks=typed, rate=often, problems=problems)
    told = f"from {' '.join(networks) or 'anywhere'}; rate {'default' if rate is None else rate}"
    async with _recorded(request, visitor.did("switch_changed", switch_id, told)) as writing:
        await writing.change_switch(switch_id, networks=networks, rate=rate)
    visitor.notice(visitor._("Saved."))
    raise web.HTTPSeeOther(f"/switches/{switch_id}")


@routes.post("/switches/{id}/remove")
async def remove(request: web.Request) -> web.Response:
    visitor, switch_id = _changing(request), request.match_info["id"]
    await form(request)
    async with request.app[keys.STORE].together() as store:
        await store.remove_switch(switch_id)
        await Desk(store).record(visitor.did("switch_removed", switch_id))
    visitor.notice(visitor._("The tokens of %(name)s are refused from now on.", name=switch_id))
    raise web.HTTPSeeOther("/switches")


@asynccontextmanager
async def _recorded(request: web.Request, done: AuditEntry) -> AsyncGenerator[Writing]:
    """What is written, and that it was, in one transaction."""
    async with request.app[keys.STORE].together() as store:
        async with store.writing() as writing:
            yield writing
        await Desk(store).record(done)
