"""Every kept revision of a list: who, when, how, what is different from any other, and putting it back."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from admin import keys
from admin.access import assigned_owner
from admin.lists import guessable
from admin.pages.lists import address_of, minimum_digits, owner_of, saw_pins
from admin.rendering import render
from admin.security import form, number_of
from admin.visitor import visitor_of
from loader.compiled import EMPTY, Block
from loader.errors import NotFound, PinTooShort
from loader.model import Owner, Revision
from loader.publish import diff, put_back

routes = web.RouteTableDef()

_SHOWN: Final = 200
"""How many entries of each kind a difference shows."""


@routes.get("/lists/{level}/{owner}/history")
async def show(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    owner = await owner_of(request, visitor)
    revisions = await request.app[keys.STORE].revisions(owner)
    name = await request.app[keys.DESK].name_of(owner)
    return render(request, visitor, "history.html", owner=owner, owner_name=name, revisions=revisions)


@routes.get("/lists/{level}/{owner}/history/{revision:\\d{1,9}}")
async def compare(request: web.Request) -> web.Response:
    """What a revision has that another has not; beside the one before it unless another is asked for."""
    visitor = visitor_of(request)
    owner = await owner_of(request, visitor)
    revision = int(request.match_info["revision"])
    revisions = await request.app[keys.STORE].revisions(owner)
    # Not the number before: that one may be kept no longer.
    before_it = max((one.revision for one in revisions if one.revision < revision), default=0)
    asked = request.query.get("with", str(before_it))
    other = number_of(asked) or 0
    new = await _opened(request, owner, revision)
    old = EMPTY if other == 0 else await _opened(request, owner, other, missing_ok=True)
    difference = diff(old.entries(), list(new.entries()))
    before = {entry.pin: entry for entry in old.entries()}
    if owner != assigned_owner(visitor.user):
        await saw_pins(request, visitor, owner, "history_seen")
    return render(
        request,
        visitor,
        "difference.html",
        owner=owner,
        owner_name=await request.app[keys.DESK].name_of(owner),
        revision=revision,
        other=int(old.revision),
        revisions=revisions,
        in_force=revisions[0].revision if revisions else 0,
        difference=difference,
        before=before,
        shown=_SHOWN,
        guessable=guessable(new, await minimum_digits(request, owner)),
    )


@routes.post("/lists/{level}/{owner}/history/{revision:\\d{1,9}}")
async def restore(request: web.Request) -> web.Response:
    """Refused where it would bring back PINs that are shorter than the company lets new ones be."""
    visitor = visitor_of(request)
    owner = await owner_of(request, visitor)
    await form(request)
    revision = Revision(int(request.match_info["revision"]))
    record = visitor.did("list_put_back", owner.key, f"revision {revision}")
    store, keyring = request.app[keys.STORE], request.app[keys.KEYRING]
    try:
        done = await put_back(store, keyring, owner, revision, by=visitor.user.id, record=record)
    except PinTooShort as short:
        told = visitor.translations.ngettext(
            "Revision %(revision)s was not put back: %(n)s PIN of it has fewer than the %(minimum)s digits that your "
            "company asks for. Add the person anew with a longer one, or ask for fewer digits in the settings first.",
            "Revision %(revision)s was not put back: %(n)s PINs of it have fewer than the %(minimum)s digits that your "
            "company asks for. Add the people anew with longer ones, or ask for fewer digits in the settings first.",
            short.count,
        )
        visitor.notice(told % {"revision": revision, "n": short.count, "minimum": short.minimum}, "error")
        raise web.HTTPSeeOther(f"{address_of(owner)}/history/{revision}") from None
    visitor.notice(visitor._("Revision %(old)s was put back, as revision %(new)s.", old=revision, new=done.revision))
    raise web.HTTPSeeOther(address_of(owner))


async def _opened(request: web.Request, owner: Owner, revision: int, *, missing_ok: bool = False) -> Block:
    block = await request.app[keys.LISTS].opened(owner, revision)
    if block is None:
        if missing_ok:
            return EMPTY
        raise NotFound("that revision is not kept")
    return block
