"""Rolls: which conferences are on and were, the roll of one as it changes, and what is left of it afterwards."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
import structlog
from aiohttp import hdrs, web

from admin import eventstream, keys
from admin.access import LIVE_FOR, Action, Scope, require, require_roll, scope
from admin.rendering import attachment, render, render_part
from admin.rolls import Roll, View, look
from admin.security import add_headers, number_of
from admin.sessions import still_signed_in
from admin.visitor import Visitor, visitor_of
from admin.watching import TooManyWatch, Watch
from loader.errors import RollcallError
from loader.rollfile import roll_csv, roll_xlsx
from loader.store.rolls import Occurrence, RollBook

log = structlog.get_logger(__name__)
routes = web.RouteTableDef()

_PAGE: Final = 50
_ON_SHOWN: Final = 200
"""Conferences that are on, on one page."""
_SHARED: Final = 50
"""Views of one roll that are kept as long as it does not change."""
_LOOK_UP: Final = 2.0
"""Seconds after which a stream looks whether its visitor is still signed in."""
_HEARTBEAT: Final = 15.0
"""Seconds of silence after which a stream shows that it is there."""
_AGAIN: Final = b"retry: 3000\n\n"
"""Tells the browser to connect again three seconds after the connection is lost."""


class Asked(msgspec.Struct, frozen=True):
    """What the past occurrences are filtered by, as it was typed."""

    since: str = ""
    until: str = ""
    organizer: str = ""
    conference: str = ""


@routes.get("/rolls")
async def overview(request: web.Request) -> web.Response:
    visitor, book, desk = visitor_of(request), request.app[keys.ROLL_BOOK], request.app[keys.DESK]
    user = visitor.user
    reach = require(user, Action.LIVE_ROLLS)
    company = user.company_id or ""
    whose = None if reach is Scope.COMPANY else user.organizer_id or ""
    zone = ZoneInfo(request.app[keys.SETTINGS].admin.time_zone)
    asked = _filter(request) if scope(user, Action.ROLLS) is Scope.COMPANY else Asked()
    conditions: dict[str, Any] = {
        "organizer_id": asked.organizer or whose,
        "conference_id": asked.conference or None,
    }
    problems = {
        name for name in ("since", "until") if getattr(asked, name) and _day(getattr(asked, name), zone) is None
    }
    if not problems:
        conditions |= {"since": _day(asked.since, zone), "until": _day(asked.until, zone, after=True)}
    if scope(user, Action.ROLLS) is Scope.NOTHING:
        conditions["ended_since"] = time.time() - LIVE_FOR
    asked_page = number_of(request.query.get("page", "")) or 1
    on_count, on = await book.occurrences(company_id=company, organizer_id=whose, is_on=True, limit=_ON_SHOWN)
    page, pages, past, count = await _past(book, asked_page, company_id=company, is_on=False, **conditions)
    organizers = [] if whose is not None else await desk.organizers(company)
    return render(
        request,
        visitor,
        "rolls.html",
        on=on,
        on_count=on_count,
        past=past,
        count=count,
        page=page,
        pages=pages,
        asked=asked,
        is_filtered=asked != Asked(),
        problems=problems,
        everybody=reach is Scope.COMPANY,
        sees_past=scope(user, Action.ROLLS) is not Scope.NOTHING,
        may_filter=scope(user, Action.ROLLS) is Scope.COMPANY,
        organizers=organizers,
        names={one["id"]: one["name"] for one in organizers},
        conferences=await desk.conferences(company_id=company) if scope(user, Action.ROLLS) is Scope.COMPANY else [],
    )


async def _past(book: RollBook, asked: int, **conditions: Any) -> tuple[int, int, list[Occurrence], int]:
    """A page of occurrences, the last one if there are not so many: its number, how many pages, the rows, their count."""
    page = asked
    while True:
        count, rows = await book.occurrences(limit=_PAGE, offset=(page - 1) * _PAGE, **conditions)
        pages = max(1, -(-count // _PAGE))
        if page <= pages:
            return page, pages, rows, count
        page = pages


@routes.get("/rolls/{id:\\d{1,9}}")
async def show(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    occurrence = await _occurrence(request, visitor)
    roll = await request.app[keys.ROLLS].at(occurrence.id, occurrence.version)
    await _saw(request, visitor, occurrence, "roll_seen")
    view = _view(request)
    return render(
        request,
        visitor,
        "roll.html",
        may_download=scope(visitor.user, Action.ROLLS) is not Scope.NOTHING,
        **_shown(request, roll, view),
    )


@routes.get("/rolls/{id:\\d{1,9}}/events", allow_head=False)
async def events(request: web.Request) -> web.StreamResponse:
    """The part of the page that changes, sent anew with each change: server-sent events (HTML standard, 9.2)."""
    visitor = visitor_of(request)
    occurrence = await _occurrence(request, visitor)
    watching = request.app[keys.WATCHING]
    try:
        with watching.watch(visitor.user.id, occurrence.id, lambda: _has_gone(request)) as watch:
            headers = {
                hdrs.CONTENT_TYPE: "text/event-stream",
                hdrs.CACHE_CONTROL: "no-store",
                "X-Accel-Buffering": "no",
            }
            response = web.StreamResponse(headers=headers)
            add_headers(request, response)
            await response.prepare(request)
            await _send(response, _told(request, visitor, occurrence, watch))
            return response
    except TooManyWatch:
        return web.Response(status=429, headers={hdrs.RETRY_AFTER: "30"})


async def _send(response: web.StreamResponse, events: AsyncGenerator[bytes]) -> None:
    """Send what is told. The answer has begun: what goes wrong ends it, and the browser connects again."""
    try:
        async with aclosing(events):
            await response.write(_AGAIN)
            async for told in events:
                await response.write(told)
    except ConnectionError:
        return
    except RollcallError as error:
        log.warning("stream_ended", problem=str(error))
    except Exception as error:
        log.exception("stream_ended", problem=type(error).__name__)


async def _told(request: web.Request, visitor: Visitor, occurrence: Occurrence, watch: Watch) -> AsyncGenerator[bytes]:
    """What a stream says, until the occurrence, the session or the site is over, or the browser has gone."""
    version, sent, sent_at = occurrence.version, "", time.monotonic()
    view = msgspec.structs.replace(_view(request), whole=False)
    while not watch.is_over:
        if not await still_signed_in(request):
            yield eventstream.event("signed-out")
            return
        roll = await request.app[keys.ROLLS].at(occurrence.id, version)
        part = _part(request, visitor, roll, view, watch)
        if part != sent:
            yield eventstream.event("roll", part)
            sent, sent_at = part, time.monotonic()
        elif time.monotonic() - sent_at >= _HEARTBEAT:
            yield eventstream.HEARTBEAT
            sent_at = time.monotonic()
        if roll.occurrence.ended_at is not None:
            yield eventstream.event("over")
            return
        version = await watch.news(version, within=_LOOK_UP)


def _part(request: web.Request, visitor: Visitor, roll: Roll, view: View, watch: Watch) -> str:
    """The part of the page that changes; made once for all who look at the same."""
    if watch.shared.get("roll") is not roll:
        watch.shared.clear()
        watch.shared["roll"] = roll
    key = visitor.language, view
    if key not in watch.shared:
        if len(watch.shared) > _SHARED:
            # Who asks for one view after the other fills no memory with them.
            watch.shared.clear()
            watch.shared["roll"] = roll
        watch.shared[key] = render_part(request, visitor, "roll_part.html", **_shown(request, roll, view))
    part: str = watch.shared[key]
    return part


@routes.get("/rolls/{id:\\d{1,9}}/{file:roll\\.(csv|xlsx)}")
async def download(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    require(visitor.user, Action.ROLLS)
    occurrence = await _occurrence(request, visitor)
    calls = await request.app[keys.ROLL_BOOK].calls(request.app[keys.KEYRING], occurrence.id)
    zone = request.app[keys.SETTINGS].admin.time_zone
    await _saw(request, visitor, occurrence, "roll_downloaded", always=True)
    if request.match_info["file"].endswith(".xlsx"):
        media_type, make = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", roll_xlsx
    else:
        media_type, make = "text/csv", roll_csv
    # Thousands of calls take a second, in which others are not to wait.
    data = await request.app[keys.HEAVY].work(make, calls, zone)
    day = datetime.fromtimestamp(occurrence.started_at, ZoneInfo(zone)).strftime("%Y-%m-%d")
    suffix = request.match_info["file"].rpartition(".")[2]
    return attachment(data, f"roll-{occurrence.conference_id}-{day}.{suffix}", media_type)


async def _occurrence(request: web.Request, visitor: Visitor) -> Occurrence:
    """The occurrence that the address names. Raises NotFound if there is none, or it is not for this visitor."""
    book, number = request.app[keys.ROLL_BOOK], int(request.match_info["id"])
    return await require_roll(book, visitor.user, number, now=time.time())


async def _saw(
    request: web.Request, visitor: Visitor, occurrence: Occurrence, action: str, *, always: bool = False
) -> None:
    """Tell the audit trail that somebody has seen who was on a call, if it was not his own."""
    if always or occurrence.organizer_id != visitor.user.organizer_id:
        target = f"{occurrence.conference_id}#{occurrence.id}"
        await request.app[keys.DESK].record(visitor.did(action, target))


def _shown(request: web.Request, roll: Roll, view: View) -> dict[str, Any]:
    """What the templates of a roll are given."""
    return {
        "roll": roll,
        "occurrence": roll.occurrence,
        "view": view,
        "parts": look(roll, view),
        "call_timeout": request.app[keys.SETTINGS].roll.call_timeout,
        "base": f"/rolls/{roll.occurrence.id}",
    }


def _view(request: web.Request) -> View:
    asked = request.query
    return View(
        query=asked.get("q", "").strip()[:200],
        page=number_of(asked.get("page", "")) or 1,
        gone=number_of(asked.get("gone", "")) or 1,
        missing=number_of(asked.get("missing", "")) or 1,
        whole=asked.get("all") == "1",
    )


def _has_gone(request: web.Request) -> bool:
    transport = request.transport
    return transport is None or transport.is_closing()


def _filter(request: web.Request) -> Asked:
    return Asked(**{name: request.query.get(name, "").strip()[:64] for name in Asked.__struct_fields__})


def _day(text: str, zone: ZoneInfo, *, after: bool = False) -> float | None:
    """The beginning of a day in the site's time zone, or of the one after it; None for what is no date."""
    try:
        day = datetime.strptime(text, "%Y-%m-%d")  # noqa: DTZ007 - the zone comes with the day that is meant
        return (day + timedelta(days=1) if after else day).replace(tzinfo=zone).timestamp()
    except (ValueError, OverflowError):
        return None
