"""Inviting people to a conference: looked at first, then sent in the background; and what became of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from aiohttp import hdrs, web

from admin import keys
from admin.access import Action, Scope, assigned_owner, require
from admin.invitations import guest_of, letter
from admin.pages.conferences import conference_of
from admin.post import is_mailable
from admin.rendering import render
from admin.security import form, number_of
from admin.visitor import Visitor, visitor_of
from admin.words import Words
from loader.compiled import EMPTY
from loader.errors import NotFound
from loader.model import LANGUAGES, Entry, Owner
from loader.store import Desk
from loader.store.invitations import Guest, Held, Invitations, State

routes = web.RouteTableDef()

_PAGE: Final = 50
_SHOWN: Final = 100
"""People without an address that are named."""


class People(msgspec.Struct, frozen=True):
    """The active people of a list: who can be invited, and who has no address that a mail can be sent to."""

    guests: Sequence[Guest]
    unreachable: Sequence[Entry]
    states: Mapping[str, State]

    @property
    def new(self) -> Sequence[Guest]:
        """Those that no invitation was sent to, and none is waiting for."""
        return [guest for guest in self.guests if self.states.get(guest.pin) not in (State.SENT, State.WAITING)]


@routes.get("/conferences/{id}/invite")
async def show(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    held = await _held(request, visitor)
    owner = _owner(visitor, held, request.query.get("list", ""))
    people = await _people(request, held, owner)
    language = _language(visitor, request.query.get("language", ""))
    shown = people.new or people.guests
    example = letter(held, shown[0], Words(language), time.time()) if shown else None
    if shown and owner != assigned_owner(visitor.user):
        await request.app[keys.DESK].record(visitor.did("invitation_seen", held.id, owner.key))
    desk = request.app[keys.DESK]
    return render(
        request,
        visitor,
        "invite.html",
        held=held,
        owner=owner,
        owners=[(one, await desk.name_of(one)) for one in _owners(visitor, held)],
        people=people,
        shown_unreachable=_SHOWN,
        example=example,
        example_to=shown[0] if shown else None,
        chosen_language=language,
        counts=await request.app[keys.INVITATIONS].counts(held.id),
        has_server=request.app[keys.POST].has_server,
        minutes=-(-len(people.new or people.guests) // request.app[keys.SETTINGS].mail.per_minute),
        sender=request.app[keys.SETTINGS].mail.sender,
    )


@routes.post("/conferences/{id}/invite")
async def invite(request: web.Request) -> web.Response:
    """Queue: everybody (`everybody`), or those who were sent none (`new`)."""
    visitor = visitor_of(request)
    held = await _held(request, visitor)
    fields = await form(request)
    owner = _owner(visitor, held, fields.get("list", ""))
    people = await _people(request, held, owner)
    again = fields.get("who") == "everybody"
    language = _language(visitor, fields.get("language", ""))
    await _queue(request, visitor, held, owner, people.guests if again else people.new, fields, language, again=again)
    raise web.HTTPSeeOther(f"/conferences/{held.id}/invitations")


@routes.get("/conferences/{id}/invitations")
async def show_invitations(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    conference = await conference_of(request, visitor)
    invitations = request.app[keys.INVITATIONS]
    counts = await invitations.counts(conference["id"])
    pages = max(1, -(-(counts.waiting + counts.sent + counts.failed) // _PAGE))
    page = min(number_of(request.query.get("page", "")) or 1, pages)
    return render(
        request,
        visitor,
        "invitations.html",
        conference=conference,
        counts=counts,
        rows=await invitations.invitations(
            request.app[keys.KEYRING], conference["id"], limit=_PAGE, offset=(page - 1) * _PAGE
        ),
        page=page,
        pages=pages,
        has_server=request.app[keys.POST].has_server,
        per_minute=request.app[keys.SETTINGS].mail.per_minute,
    )


@routes.get("/conferences/{id}/invitations/progress")
async def progress(request: web.Request) -> web.Response:
    """For the page's script: how far it has come."""
    visitor = visitor_of(request)
    conference = await conference_of(request, visitor)
    counts = await request.app[keys.INVITATIONS].counts(conference["id"])
    per_minute = request.app[keys.SETTINGS].mail.per_minute
    text = render(request, visitor, "invitations_progress.html", counts=counts, per_minute=per_minute).text or ""
    return web.json_response({"done": not counts.waiting, "html": text}, headers={hdrs.CACHE_CONTROL: "no-store"})


@routes.post("/conferences/{id}/invitations")
async def act(request: web.Request) -> web.Response:
    """Stop what waits, or invite one person again (`again:<ID of an invitation>`)."""
    visitor = visitor_of(request)
    conference_id = (await conference_of(request, visitor))["id"]
    fields = await form(request)
    action, _, number = fields.get("action", "").partition(":")
    if action == "stop":
        async with request.app[keys.STORE].together() as store:
            stopped = await Invitations(store).stop(conference_id)
            await Desk(store).record(visitor.did("invitations_stopped", conference_id, str(stopped)))
        visitor.notice(
            visitor.translations.ngettext(
                "%(n)s invitation will not be sent.", "%(n)s invitations will not be sent.", stopped
            )
            % {"n": stopped}
        )
    elif action == "again":
        await _again(request, visitor, number_of(number) or 0, fields)
    else:
        raise NotFound("there is no such action")
    raise web.HTTPSeeOther(f"/conferences/{conference_id}/invitations")


async def _again(request: web.Request, visitor: Visitor, invitation_id: int, fields: Mapping[str, str]) -> None:
    """Invite one person again, as he stands in the list now. Raises NotFound."""
    held = await _held(request, visitor)
    keyring, invitations = request.app[keys.KEYRING], request.app[keys.INVITATIONS]
    before = await invitations.invitation(keyring, held.id, invitation_id)
    if before is None:
        raise NotFound("there is no such invitation")
    owner = _owner(visitor, held, before.owner.key)
    guests = [guest for guest in (await _people(request, held, owner)).guests if guest.pin == before.guest.pin]
    if not guests:
        visitor.notice(
            visitor._(
                "%(name)s was not invited again: the list has nobody with this PIN who is active and has an email "
                "address.",
                name=f"{before.guest.first_name} {before.guest.last_name}",
            ),
            "error",
        )
        return
    await _queue(request, visitor, held, owner, guests, fields, before.language, again=True)


async def _queue(
    request: web.Request,
    visitor: Visitor,
    held: Held,
    owner: Owner,
    guests: Sequence[Guest],
    fields: Mapping[str, str],
    language: str,
    *,
    again: bool,
) -> None:
    async with request.app[keys.STORE].together() as store:
        queued = await Invitations(store).queue(
            request.app[keys.KEYRING],
            held.id,
            owner,
            guests,
            by=visitor.user.id,
            language=language,
            at=time.time(),
            again=again,
            seen=number_of(fields.get("seen", "")) or 0,
        )
        if queued:
            await Desk(store).record(visitor.did("invitations_queued", held.id, f"{queued} {owner.key}"))
    if not queued:
        visitor.notice(visitor._("Nobody was left to invite: those invitations are sent or on their way."))
        return
    request.app[keys.INVITER].wake()
    visitor.notice(
        visitor.translations.ngettext("%(n)s invitation is on its way.", "%(n)s invitations are on their way.", queued)
        % {"n": queued}
    )


async def _held(request: web.Request, visitor: Visitor) -> Held:
    """The conference that the address names. Raises NotFound if there is none, or it is not for this visitor."""
    conference = await conference_of(request, visitor)
    held = await request.app[keys.INVITATIONS].held(conference["id"])
    if held is None:
        raise NotFound("there is no such conference")
    return held


def _owners(visitor: Visitor, held: Held) -> Sequence[Owner]:
    """Whose people a visitor may invite: of the lists that the conference asks, those that he keeps."""
    if require(visitor.user, Action.LISTS) is Scope.COMPANY:
        return held.owners
    own = assigned_owner(visitor.user)
    return [owner for owner in held.owners if owner == own]


def _owner(visitor: Visitor, held: Held, key: str) -> Owner:
    """The list that was asked for, or the conference's own. Raises NotFound."""
    for owner in _owners(visitor, held):
        if key in ("", owner.key):
            return owner
    raise NotFound("there is no such list")


async def _people(request: web.Request, held: Held, owner: Owner) -> People:
    block = await request.app[keys.LISTS].opened(owner) or EMPTY
    active = [entry for entry in block.entries() if entry.active]
    guests = [guest_of(entry) for entry in active if is_mailable(entry.email)]
    states = await request.app[keys.INVITATIONS].states(
        request.app[keys.KEYRING], held.id, owner, [guest.pin for guest in guests]
    )
    return People(guests, [entry for entry in active if not is_mailable(entry.email)], states)


def _language(visitor: Visitor, asked: str) -> str:
    return asked if asked in LANGUAGES else visitor.language
