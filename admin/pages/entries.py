"""Single entries: insert, edit, switch on and off, delete."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from aiohttp import web

from admin import keys
from admin.access import assigned_owner
from admin.lists import COLUMNS, read_entry, suggest_pin
from admin.pages.lists import address_of, minimum_digits, owner_of, saw_pins
from admin.rendering import render
from admin.security import form, form_lists, number_of
from admin.visitor import Visitor, visitor_of
from loader.compiled import EMPTY, Block
from loader.errors import NotFound, StaleRevision
from loader.listfile import SHORT_DIGITS, Code, Problem, columns
from loader.model import Entry, Owner, Pin, Revision
from loader.publish import publish

routes = web.RouteTableDef()

_TITLES = dict(zip(columns.TITLES, COLUMNS, strict=True))


@routes.get("/lists/{level}/{owner}/new")
async def show_new(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    owner = await owner_of(request, visitor)
    return await _form_page(request, visitor, owner, dict.fromkeys(COLUMNS, ""), is_new=True)


@routes.post("/lists/{level}/{owner}/new")
async def insert(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    owner = await owner_of(request, visitor)
    fields = await form(request)
    typed = {column: fields.get(column, "") for column in COLUMNS}
    if "suggest" in fields:
        block = await request.app[keys.LISTS].opened(owner) or EMPTY
        typed["pin"] = (
            suggest_pin(
                [block.pin(at) for at in range(block.count)],
                minimum_digits=await minimum_digits(request, owner),
                guessable_share=request.app[keys.SETTINGS].lists.guessable_share,
            )
            or ""
        )
        return await _form_page(request, visitor, owner, typed, is_new=True)
    entry, problems = read_entry(typed, minimum_digits=await minimum_digits(request, owner))
    if entry is not None:

        def add(entries: list[Entry]) -> list[Entry] | None:
            return None if any(one.pin == entry.pin for one in entries) else [*entries, entry]

        if await _change(request, visitor, owner, add, "entry_inserted"):
            visitor.notice(visitor._("%(name)s was added.", name=f"{entry.first_name} {entry.last_name}"))
            raise web.HTTPSeeOther(address_of(owner))
        problems = [Problem(Code.PIN_DUPLICATE, None, columns.PIN, {"why": "in_list", "found": entry.pin})]
    return await _form_page(request, visitor, owner, typed, problems, is_new=True, status=422)


@routes.get("/lists/{level}/{owner}/entries/{revision:\\d{1,9}}/{at:\\d{1,9}}")
async def show_entry(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    owner = await owner_of(request, visitor)
    entry = (await _block(request, owner)).entry(int(request.match_info["at"]))
    typed = {column: str(getattr(entry, column)) for column in COLUMNS}
    if owner != assigned_owner(visitor.user):
        await saw_pins(request, visitor, owner, "entry_seen")
    return await _form_page(request, visitor, owner, typed, active=entry.active)


@routes.post("/lists/{level}/{owner}/entries/{revision:\\d{1,9}}/{at:\\d{1,9}}")
async def edit(request: web.Request) -> web.Response:
    """The entry is known by its PIN and by how it was: if somebody else changed it meanwhile, nothing is lost."""
    visitor = visitor_of(request)
    owner = await owner_of(request, visitor)
    fields = await form(request)
    before = (await _block(request, owner)).entry(int(request.match_info["at"]))
    typed = {column: fields.get(column, "") for column in COLUMNS} | {"pin": before.pin}
    active = "active" in fields
    entry, problems = read_entry(typed, active=active)
    if entry is None:
        return await _form_page(request, visitor, owner, typed, problems, active=active, status=422)
    theirs: list[Entry] = []

    def put(entries: list[Entry]) -> list[Entry] | None:
        for place, one in enumerate(entries):
            if one.pin == before.pin:
                if one not in (before, entry):
                    theirs[:] = [one]
                    return None
                return [*entries[:place], entry, *entries[place + 1 :]]
        return None

    if await _change(request, visitor, owner, put, "entry_edited"):
        visitor.notice(visitor._("%(name)s was changed.", name=f"{entry.first_name} {entry.last_name}"))
        raise web.HTTPSeeOther(address_of(owner))
    return await _form_page(
        request, visitor, owner, typed, active=active, status=409, theirs=theirs[0] if theirs else None, stale=True
    )


@routes.post("/lists/{level}/{owner}/entries")
async def act_on_several(request: web.Request) -> web.Response:
    """Switch on, switch off, or delete what was ticked on a page."""
    visitor = visitor_of(request)
    owner = await owner_of(request, visitor)
    fields = await form_lists(request)
    action = fields.get("action", [""])[0]
    single, _, at = action.partition(":")
    chosen = [at] if at else fields.get("at", [])
    block = await _revision(request, owner, fields.get("revision", ["0"])[0])
    places = [place for one in chosen if (place := number_of(one)) is not None]
    pins = {block.pin(place) for place in places if place < block.count}
    if not pins:
        visitor.notice(visitor._("Tick at least one person first."), "error")
        raise web.HTTPSeeOther(address_of(owner))
    if single == "delete" and "sure" not in fields:
        rows = [entry for entry in block.entries() if entry.pin in pins]
        return render(
            request,
            visitor,
            "delete.html",
            owner=owner,
            owner_name=await request.app[keys.DESK].name_of(owner),
            rows=rows,
            chosen=chosen,
            revision=block.revision,
        )
    changes: dict[str, tuple[str, Callable[[list[Entry]], list[Entry] | None]]] = {
        "activate": ("entries_activated", lambda entries: _switched(entries, pins, on=True)),
        "deactivate": ("entries_deactivated", lambda entries: _switched(entries, pins, on=False)),
        "delete": ("entries_deleted", lambda entries: [one for one in entries if one.pin not in pins]),
    }
    if single not in changes:
        raise NotFound("there is no such action")
    told, change = changes[single]
    await _change(request, visitor, owner, change, told, detail=str(len(pins)))
    notices = {
        "activate": visitor.translations.ngettext(
            "%(n)s person was switched on.", "%(n)s people were switched on.", len(pins)
        ),
        "deactivate": visitor.translations.ngettext(
            "%(n)s person was switched off.", "%(n)s people were switched off.", len(pins)
        ),
        "delete": visitor.translations.ngettext("%(n)s person was deleted.", "%(n)s people were deleted.", len(pins)),
    }
    visitor.notice(notices[single] % {"n": len(pins)})
    back = fields.get("back", [""])[0]
    raise web.HTTPSeeOther(
        address_of(owner) + (f"?{back}" if back.replace("=", "").replace("&", "").replace("_", "").isalnum() else "")
    )


def _switched(entries: list[Entry], pins: set[Pin], *, on: bool) -> list[Entry]:
    return [msgspec.structs.replace(one, active=on) if one.pin in pins else one for one in entries]


async def _change(
    request: web.Request,
    visitor: Visitor,
    owner: Owner,
    change: Callable[[list[Entry]], list[Entry] | None],
    action: str,
    *,
    detail: str = "",
) -> bool:
    """Make the next revision out of the last; False if the change cannot be made to it. Tried anew if it is stale."""
    lists, store, keyring = request.app[keys.LISTS], request.app[keys.STORE], request.app[keys.KEYRING]
    while True:
        block = await lists.opened(owner) or EMPTY
        entries = change(list(block.entries()))
        if entries is None:
            return False
        try:
            await publish(
                store,
                keyring,
                owner,
                entries,
                by=visitor.user.id,
                source="edit",
                expected_revision=Revision(block.revision),
                record=visitor.did(action, owner.key, detail),
            )
        except StaleRevision:
            continue
        return True


async def _block(request: web.Request, owner: Owner) -> Block:
    """The revision that the address names, if it has the entry. Raises NotFound."""
    block = await _revision(request, owner, request.match_info["revision"])
    if int(request.match_info["at"]) >= block.count:
        raise NotFound("there is no such entry")
    return block


async def _revision(request: web.Request, owner: Owner, revision: str) -> Block:
    number = number_of(revision)
    block = None if number is None else await request.app[keys.LISTS].opened(owner, number)
    if block is None:
        raise NotFound("there is no such revision")
    return block


async def _form_page(
    request: web.Request,
    visitor: Visitor,
    owner: Owner,
    typed: dict[str, str],
    problems: list[Problem] | None = None,
    *,
    is_new: bool = False,
    active: bool = True,
    status: int = 200,
    theirs: Entry | None = None,
    stale: bool = False,
) -> web.Response:
    by_column: dict[str, list[Problem]] = {}
    for problem in problems or []:
        by_column.setdefault(_TITLES.get(problem.column or "", "pin"), []).append(problem)
    return render(
        request,
        visitor,
        "entry.html",
        status,
        owner=owner,
        owner_name=await request.app[keys.DESK].name_of(owner),
        typed=typed,
        problems=by_column,
        is_new=is_new,
        active=active,
        theirs=theirs,
        stale=stale,
        columns=COLUMNS,
        minimum=await minimum_digits(request, owner),
        short=SHORT_DIGITS,
        required=[_TITLES[title] for title in columns.TITLES if title in columns.REQUIRED],
    )
