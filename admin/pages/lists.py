"""The welcome page, and a list: looked at, searched, sorted, downloaded; and when it is in force."""

from __future__ import annotations

import time

import msgspec
from aiohttp import hdrs, web

from admin import keys
from admin.access import Action, Scope, assigned_owner, require_list, scope
from admin.lists import COLUMNS, View, guessable
from admin.rendering import attachment, render
from admin.security import form, number_of
from admin.visitor import Visitor, visitor_of
from loader.compiled import EMPTY
from loader.listfile import export_csv, export_xlsx, template
from loader.model import Level, Owner
from loader.store import Applied
from loader.store.choices import Choices

routes = web.RouteTableDef()


class Offered(msgspec.Struct, frozen=True):
    """A list on the welcome page."""

    owner: Owner
    name: str
    entries: int | None


@routes.get("/")
async def welcome(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    user, desk = visitor.user, request.app[keys.DESK]
    own = assigned_owner(user)
    owners: list[tuple[Owner, str]] = []
    if own is not None and scope(user, Action.LISTS) is not Scope.NOTHING:
        owners.append((own, await desk.name_of(own)))
    others: list[tuple[Owner, str]] = []
    if scope(user, Action.LISTS) is Scope.COMPANY and user.company_id is not None:
        company = Owner(Level.COMPANY, user.company_id)
        owners.append((company, await desk.name_of(company)))
        others = [
            (Owner(Level.AUTHORIZATION_CODE, one["code"]), one["label"]) for one in await desk.codes(user.company_id)
        ]
        others += [(Owner(Level.ORGANIZER, one["id"]), one["name"]) for one in await desk.organizers(user.company_id)]
    return render(
        request,
        visitor,
        "welcome.html",
        lists=[await _offered(request, *one) for one in owners],
        codes=[await _offered(request, *one) for one in others if one[0].level is Level.AUTHORIZATION_CODE],
        organizers=[await _offered(request, *one) for one in others if one[0].level is Level.ORGANIZER],
    )


async def _offered(request: web.Request, owner: Owner, name: str) -> Offered:
    head = await request.app[keys.LISTS].head(owner)
    return Offered(owner, name, None if head is None else head.entries)


@routes.get("/template.csv")
async def download_template(request: web.Request) -> web.Response:
    visitor_of(request).user  # noqa: B018 - raises if nobody is signed in
    return attachment(template(), "template.csv", "text/csv")


@routes.get("/lists/{level}/{owner}")
async def show(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    owner = await owner_of(request, visitor)
    view = _view(request, visitor, owner)
    block, page = await request.app[keys.LISTS].page(owner, view)
    desk, head = request.app[keys.DESK], await request.app[keys.LISTS].head(owner)
    applied = await desk.applied(owner, now=time.time())
    if owner != assigned_owner(visitor.user):
        await saw_pins(request, visitor, owner, "list_seen")
    return render(
        request,
        visitor,
        "list.html",
        owner=owner,
        owner_name=await desk.name_of(owner),
        code=await desk.code_of(owner),
        head=head,
        revision=block.revision,
        view=view,
        page=page,
        applied=applied,
        columns=COLUMNS,
        guessable=guessable(block, await minimum_digits(request, owner)),
    )


@routes.post("/lists/{level}/{owner}/search")
async def search(request: web.Request) -> web.Response:
    """What is searched for is kept in the session: a PIN does not belong in an address."""
    visitor = visitor_of(request)
    owner = await owner_of(request, visitor)
    fields = await form(request)
    column = fields.get("column", "")
    searches = dict(visitor.session.get("searches", {}))
    searches.pop(owner.key, None)
    query = fields.get("query", "").strip()[:200]
    if query and "reset" not in fields:
        searches[owner.key] = [query, column if column in COLUMNS else ""]
    visitor.session["searches"] = searches
    raise web.HTTPSeeOther(address_of(owner))


@routes.get("/lists/{level}/{owner}/in-force")
async def in_force(request: web.Request) -> web.Response:
    """For the page's script: since when the list is in force at every daemon."""
    visitor = visitor_of(request)
    owner = await owner_of(request, visitor)
    applied = await request.app[keys.DESK].applied(owner, now=time.time())
    text = render(request, visitor, "in_force.html", applied=applied).text or ""
    done = applied is not None and applied.in_force_at is not None
    return web.json_response({"in_force": done, "html": text}, headers={hdrs.CACHE_CONTROL: "no-store"})


@routes.get("/lists/{level}/{owner}/{file:list\\.(csv|xlsx)}")
async def download(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    owner = await owner_of(request, visitor)
    block = await request.app[keys.LISTS].opened(owner) or EMPTY
    heavy = request.app[keys.HEAVY]
    await saw_pins(request, visitor, owner, "list_downloaded")
    name = f"{owner.level.value}-{owner.id}"
    if request.match_info["file"].endswith(".xlsx"):
        media_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
        return attachment(await heavy.work(lambda: export_xlsx(block.entries())), f"{name}.xlsx", media_type)
    return attachment(await heavy.work(lambda: export_csv(block.entries())), f"{name}.csv", "text/csv")


async def owner_of(request: web.Request, visitor: Visitor) -> Owner:
    """Whose list the address names. Raises NotFound if there is none, or it is not for this visitor."""
    level, owner_id = request.match_info["level"], request.match_info["owner"]
    return await require_list(request.app[keys.DESK], visitor.user, level, owner_id)


async def minimum_digits(request: web.Request, owner: Owner) -> int:
    """The fewest digits that a new PIN in this list may have."""
    return await Choices(request.app[keys.STORE]).minimum_pin_digits(owner)


def address_of(owner: Owner) -> str:
    """Where a list's page is."""
    return f"/lists/{owner.level.value}/{owner.id}"


async def saw_pins(request: web.Request, visitor: Visitor, owner: Owner, action: str) -> None:
    """Tell the audit trail that somebody has seen PINs."""
    await request.app[keys.DESK].record(visitor.did(action, owner.key))


def applied_now(applied: Applied | None) -> bool:
    """Whether a list is in force at every daemon."""
    return applied is not None and applied.in_force_at is not None


def _view(request: web.Request, visitor: Visitor, owner: Owner) -> View:
    query, column = visitor.session.get("searches", {}).get(owner.key, ("", ""))
    sort = request.query.get("sort", "pin")
    return View(
        query=query,
        column=column,
        sort=sort if sort in (*COLUMNS, "active") else "pin",
        descending=request.query.get("order") == "descending",
        page=number_of(request.query.get("page", "")) or 1,
    )
