"""Conferences: their passcodes, PIN entry on and off, their dates, and whether rolls come by mail."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo, available_timezones

from aiohttp import web

from admin import keys
from admin.access import Action, Scope, require
from admin.rendering import render
from admin.security import form, number_of
from admin.visitor import Visitor, visitor_of
from admin.words import Words
from loader.errors import NotFound
from loader.store import Desk
from loader.store.invitations import Date, Invitations
from loader.store.roll_mail import RollMail

routes = web.RouteTableDef()

MAX_MINUTES: Final = 24 * 60
_ZONES: Final = sorted(available_timezones() - {"Factory", "localtime"})
"""All but those that are no place: one stands for no time at all, one for whatever the machine is set to."""


@routes.get("/conferences")
async def show(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    user = visitor.user
    conferences = await _conferences(request, visitor)
    dates = await request.app[keys.INVITATIONS].dates([one["id"] for one in conferences])
    own, words = user.organizer_id, Words(visitor.language)
    return render(
        request,
        visitor,
        "conferences.html",
        conferences=conferences,
        locked=await request.app[keys.LOCKOUTS].of_conferences(time.time(), user.company_id or ""),
        dates={one: words.span(date) for one, date in dates.items()},
        everybody=require(user, Action.CONFERENCES) is Scope.COMPANY,
        gets_rolls=None if own is None else await request.app[keys.ROLL_MAIL].choice(own),
        email=None if own is None else (await request.app[keys.DESK].row("organizer", own) or {}).get("email"),
    )


@routes.post("/conferences/{id}/pin-entry")
async def set_pin_entry(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    conference_id = (await conference_of(request, visitor))["id"]
    on = (await form(request)).get("pin_entry") == "1"
    async with request.app[keys.STORE].together() as store:
        await Desk(store).set_pin_entry(conference_id, on=on)
        await Desk(store).record(visitor.did("pin_entry_on" if on else "pin_entry_off", conference_id))
    visitor.notice(
        visitor._("Callers of %(id)s are asked for a PIN from now on.", id=conference_id)
        if on
        else visitor._("Callers of %(id)s are no longer asked for a PIN.", id=conference_id)
    )
    raise web.HTTPSeeOther("/conferences")


@routes.post("/conferences/rolls-by-mail")
async def set_rolls_by_mail(request: web.Request) -> web.Response:
    """An organizer chooses for herself."""
    visitor = visitor_of(request)
    require(visitor.user, Action.CONFERENCES)
    fields = await form(request)
    organizer_id = visitor.user.organizer_id
    if organizer_id is None:
        raise NotFound("there is no organizer whose rolls these are")
    on = fields.get("send") == "1"
    await choose_rolls_by_mail(request, visitor, organizer_id, on=on)
    visitor.notice(
        visitor._("From now on you get the roll of each conference by mail when it is over.")
        if on
        else visitor._("You no longer get rolls by mail.")
    )
    raise web.HTTPSeeOther("/conferences")


async def choose_rolls_by_mail(request: web.Request, visitor: Visitor, organizer_id: str, *, on: bool) -> None:
    """Have an organizer sent each roll, or not."""
    async with request.app[keys.STORE].together() as store:
        if await RollMail(store).choose(organizer_id, time.time(), send=on):
            action = "rolls_by_mail_on" if on else "rolls_by_mail_off"
            await Desk(store).record(visitor.did(action, organizer_id))


@routes.get("/conferences/{id}/date")
async def show_date(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    conference = await conference_of(request, visitor)
    date = (await request.app[keys.INVITATIONS].dates([conference["id"]])).get(conference["id"])
    if date is None:
        typed = {"date": "", "time": "", "minutes": "60", "time_zone": request.app[keys.SETTINGS].admin.time_zone}
    else:
        begins = datetime.fromtimestamp(date.starts_at, ZoneInfo(date.time_zone))
        typed = {
            "date": f"{begins:%Y-%m-%d}",
            "time": f"{begins:%H:%M}",
            "minutes": str(date.minutes),
            "time_zone": date.time_zone,
        }
    return _date_page(request, visitor, conference, typed, has_date=date is not None)


@routes.post("/conferences/{id}/date")
async def set_date(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    conference = await conference_of(request, visitor)
    typed = await form(request)
    invitations = request.app[keys.INVITATIONS]
    if "remove" in typed:
        async with request.app[keys.STORE].together() as store:
            await Invitations(store).put_date(conference["id"], None)
            await Desk(store).record(visitor.did("date_removed", conference["id"]))
        visitor.notice(visitor._("%(title)s has no date any more.", title=conference["title"]))
        raise web.HTTPSeeOther("/conferences")
    now = time.time()
    date, problems = read_date(typed, now)
    if date is None:
        known = await invitations.dates([conference["id"]])
        return _date_page(request, visitor, conference, typed, problems, has_date=bool(known), status=422)
    starts = datetime.fromtimestamp(date.starts_at, UTC).isoformat()
    async with request.app[keys.STORE].together() as store:
        await Invitations(store).put_date(conference["id"], date)
        await Desk(store).record(visitor.did("date_set", conference["id"], starts))
    counts = await invitations.counts(conference["id"])
    visitor.notice(
        visitor._("The date is saved. Who was invited before does not know it yet: invite everybody again.")
        if counts.sent
        else visitor._("The date is saved.")
    )
    raise web.HTTPSeeOther("/conferences")


def read_date(typed: dict[str, str], now: float) -> tuple[Date | None, dict[str, str]]:
    """What was typed becomes a date, or what is wrong with each field: `invalid`, `past`, or `skipped` by the clocks."""
    problems = {}
    zone = typed.get("time_zone", "").strip()
    if zone not in _ZONES:
        problems["time_zone"] = "invalid"
    minutes = number_of(typed.get("minutes", "").strip())
    if minutes is None or not 1 <= minutes <= MAX_MINUTES:
        problems["minutes"] = "invalid"
    for name, written in (("date", "%Y-%m-%d"), ("time", "%H:%M")):
        try:
            datetime.strptime(typed.get(name, "").strip(), written)  # noqa: DTZ007 - one part of a local time
        except ValueError:
            problems[name] = "invalid"
    if problems or minutes is None:
        return None, problems
    wall = datetime.strptime(f"{typed['date'].strip()} {typed['time'].strip()}", "%Y-%m-%d %H:%M")  # noqa: DTZ007
    if not 2000 <= wall.year <= 2100:
        return None, {"date": "invalid"}
    begins = wall.replace(tzinfo=ZoneInfo(zone))
    # A time that the clocks leave out comes back as another one.
    if begins.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) != wall:
        return None, {"time": "skipped"}
    if begins.timestamp() + minutes * 60 < now:
        return None, {"date": "past"}
    return Date(begins.timestamp(), minutes, zone, now), {}


def _date_page(
    request: web.Request,
    visitor: Visitor,
    conference: dict[str, Any],
    typed: dict[str, str],
    problems: dict[str, str] | None = None,
    *,
    has_date: bool,
    status: int = 200,
) -> web.Response:
    return render(
        request,
        visitor,
        "conference_date.html",
        status,
        conference=conference,
        typed=typed,
        problems=problems or {},
        has_date=has_date,
        zones=_ZONES,
        max_minutes=MAX_MINUTES,
    )


async def conference_of(request: web.Request, visitor: Visitor) -> dict[str, Any]:
    """The conference that the address names. Raises NotFound if there is none, or it is not for this visitor."""
    conference_id = request.match_info["id"]
    for conference in await _conferences(request, visitor):
        if conference["id"] == conference_id:
            return conference
    raise NotFound("there is no such conference")


async def _conferences(request: web.Request, visitor: Visitor) -> list[dict[str, Any]]:
    user = visitor.user
    only = None if require(user, Action.CONFERENCES) is Scope.COMPANY else user.organizer_id or ""
    return await request.app[keys.DESK].conferences(company_id=user.company_id or "", organizer_id=only)
