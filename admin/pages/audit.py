"""The audit trail: filtered, and downloaded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from aiohttp import web

from admin import keys
from admin.access import Action, Scope, require
from admin.rendering import attachment, render
from admin.security import number_of
from admin.visitor import visitor_of
from loader.csvfile import csv_file

routes = web.RouteTableDef()

_PAGE: Final = 50
_DOWNLOADED: Final = 100_000
_FILTERS: Final = ("user_id", "action", "target", "since", "until")


@routes.get("/audit")
async def show(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    asked = {name: request.query.get(name, "").strip()[:160] for name in _FILTERS}
    page = number_of(request.query.get("page", "")) or 1
    count, entries = await request.app[keys.DESK].audit(
        **_conditions(request, asked), limit=_PAGE, offset=(page - 1) * _PAGE
    )
    return render(
        request,
        visitor,
        "audit.html",
        entries=entries,
        count=count,
        page=page,
        pages=max(1, -(-count // _PAGE)),
        asked=asked,
    )


@routes.get("/audit.csv")
async def download(request: web.Request) -> web.Response:
    asked = {name: request.query.get(name, "").strip()[:160] for name in _FILTERS}
    _, entries = await request.app[keys.DESK].audit(**_conditions(request, asked), limit=_DOWNLOADED)
    rows = [["at", "user", "company", "address", "action", "target", "detail"]]
    for entry in entries:
        at = datetime.fromtimestamp(entry.at, UTC).isoformat(timespec="seconds")
        company = entry.company_id or ""
        rows.append([at, entry.user_id, company, entry.address, entry.action, entry.target, entry.detail])
    return attachment(csv_file(rows), "audit.csv", "text/csv")


def _conditions(request: web.Request, asked: dict[str, str]) -> dict[str, Any]:
    user = visitor_of(request).user
    reach = require(user, Action.AUDIT)
    return {
        "company_id": None if reach is Scope.ALL else user.company_id,
        "user_id": asked["user_id"],
        "action": asked["action"],
        "target": asked["target"],
        "since": _day(asked["since"]),
        "until": _day(asked["until"], after=True),
    }


def _day(text: str, *, after: bool = False) -> float | None:
    """The beginning of a day, or of the one after it; None for what is no date."""
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
        return (day + timedelta(days=1) if after else day).timestamp()
    except (ValueError, OverflowError):
        return None
