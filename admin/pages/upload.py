"""Uploading a list: choose, look at what would change, confirm, and see when it is in force."""

from __future__ import annotations

import csv
import io
import json
import secrets
import time
from typing import Final

import msgspec
from aiohttp import BodyPartReader, web

from admin import keys
from admin.access import Action, Scope, assigned_owner, require, require_list
from admin.lists import Guessable
from admin.pages.lists import address_of, minimum_digits, owner_of, saw_pins
from admin.rendering import attachment, render
from admin.security import NO_FORM, Forged, form, reading, require_token, text_of
from admin.visitor import Visitor, visitor_of
from loader.compiled import EMPTY
from loader.csvfile import harmless
from loader.errors import NotFound, PinTooShort, StaleRevision
from loader.listfile import SHORT_DIGITS, WEB_LIMITS, Check, Code, Problem, check, columns, message, short_pins
from loader.listfile.decode import split_lines
from loader.model import Level, Owner, Revision, StagedUpload
from loader.publish import Difference, diff, publish_to_all
from loader.store import Desk
from loader.store.choices import Choices

routes = web.RouteTableDef()

_SHOWN: Final = 10
"""How many entries of each kind a preview shows."""
_MAX_FIELDS: Final = 512 * 1024
"""Bytes of the fields beside the file: thousands of lists can be chosen."""
_PART: Final = 100
"""What a field counts for beside its name and value."""
_MAX_REQUEST: Final = (WEB_LIMITS.max_bytes or 0) + _MAX_FIELDS


class Change(msgspec.Struct, frozen=True):
    """What a file would do to one list. `revision` is the one that it was compared with."""

    owner: Owner
    name: str
    revision: Revision
    before: int
    difference: Difference


@routes.get("/upload")
async def show(request: web.Request) -> web.Response:
    return await _form_page(request, visitor_of(request))


@routes.post("/upload")
async def upload(request: web.Request) -> web.Response:
    """The file is read as it comes, and no further than a list may be long."""
    visitor = visitor_of(request)
    require(visitor.user, Action.LISTS)
    if (request.content_length or 0) > _MAX_REQUEST:
        return await _form_page(request, visitor, problems=[_too_large(request.content_length or 0)], status=413)
    if not request.content_type.startswith("multipart/"):
        raise Forged
    try:
        async with reading():
            fields, filename, data = await _read(request)
    except NO_FORM:
        raise Forged from None
    desk = request.app[keys.DESK]
    chosen = [value for name, value in fields if name == "owner"]
    owners = [await require_list(desk, visitor.user, *one.partition(":")[::2]) for one in chosen]
    missing = [
        what
        for what, there in (("owner", owners), ("file", filename), ("policy", ("policy", "on") in fields))
        if not there
    ]
    if missing:
        return await _form_page(request, visitor, chosen=chosen, missing=missing, status=422)
    settings = request.app[keys.SETTINGS]
    await desk.agree(visitor.user.id, settings.admin.privacy_policy, time.time())
    if data is None:
        return await _form_page(
            request, visitor, chosen=chosen, problems=[_too_large(request.content_length or _MAX_REQUEST)], status=413
        )
    upload_id = secrets.token_urlsafe(16)
    key_id = await request.app[keys.SIGNING].key_in_use()
    sealed = request.app[keys.KEYRING].holding(key_id).seal_secret(f"upload|{upload_id}", data, key_id=key_id)
    await desk.stage(
        StagedUpload(
            id=upload_id,
            user_id=visitor.user.id,
            created_at=time.time(),
            filename=filename[:200],
            owners=tuple(dict.fromkeys(owner.key for owner in owners)),
            restore_zeros=False,
            key_id=key_id,
            sealed=sealed,
        )
    )
    raise web.HTTPSeeOther(f"/upload/{upload_id}")


@routes.get("/upload/{id}")
async def preview(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    return await _preview_page(request, visitor, await _staged(request, visitor))


@routes.post("/upload/{id}/zeros")
async def restore_zeros(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    fields = await form(request)
    staged = await _staged(request, visitor)
    await request.app[keys.DESK].restore_zeros(staged.id, on="restore" in fields)
    raise web.HTTPSeeOther(f"/upload/{staged.id}")


@routes.get("/upload/{id}/errors.csv")
async def faulty_lines(request: web.Request) -> web.Response:
    """The faulty lines, with what is wrong in front of each, to work on in a spreadsheet."""
    visitor = visitor_of(request)
    staged = await _staged(request, visitor)
    data, checked = await _checked(request, staged)
    out = io.StringIO()
    writer = csv.writer(out, delimiter=checked.delimiter or ",")
    writer.writerow([visitor._("Line"), visitor._("What is wrong"), *columns.TITLES])
    lines = split_lines(data.decode(checked.encoding or "utf-8", "replace"))
    for number, problems in _by_line(checked.errors).items():
        told = " ".join(message(problem, visitor.language) for problem in problems)
        line = lines[number - 1] if 0 < number <= len(lines) else ""
        writer.writerow([number, told, *map(harmless, line.split(checked.delimiter or ","))])
    return attachment(out.getvalue().encode("utf-8-sig"), "errors.csv", "text/csv")


@routes.post("/upload/{id}")
async def confirm(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    fields = await form(request)
    staged = await _staged(request, visitor)
    desk, uploads = request.app[keys.DESK], request.app[keys.METRICS].uploads
    if "cancel" in fields:
        await desk.unstage(staged.id)
        visitor.notice(visitor._("The upload was cancelled. Nothing was changed."))
        raise web.HTTPSeeOther("/")
    _, checked = await _checked(request, staged)
    changes = await _changes(request, visitor, staged, checked)
    if checked.error_count or (_shrinks(changes) and "shrink" not in fields):
        return await _preview_page(request, visitor, staged, status=422, ask_about_shrinking=True)
    if fields.get("compared") != _compared(changes):
        # Somebody changed a list after the preview: what would change now is something else.
        return await _preview_page(request, visitor, staged, status=409, stale=True)
    try:
        differences = await publish_to_all(
            request.app[keys.STORE],
            request.app[keys.KEYRING],
            {change.owner: change.revision for change in changes},
            checked.entries,
            by=visitor.user.id,
            source="upload",
            record=lambda owner, done: visitor.did(
                "list_uploaded",
                owner.key,
                f"{staged.filename}: +{len(done.added)} ~{len(done.changed)} -{len(done.removed)}",
            ),
        )
    except (StaleRevision, PinTooShort):
        return await _preview_page(request, visitor, staged, status=409, stale=True)
    await desk.unstage(staged.id)
    uploads.labels("confirmed").inc()
    visitor.session["uploaded"] = {
        "owners": [owner.key for owner in differences],
        "processed": checked.processed,
        "file": staged.filename,
    }
    raise web.HTTPSeeOther("/uploaded")


@routes.get("/uploaded")
async def uploaded(request: web.Request) -> web.Response:
    """The confirmation. When the lists are in force arrives by itself."""
    visitor = visitor_of(request)
    done = visitor.session.get("uploaded")
    if done is None:
        raise web.HTTPSeeOther("/")
    desk = request.app[keys.DESK]
    owners = [await require_list(desk, visitor.user, *key.partition(":")[::2]) for key in done["owners"]]
    lists = [
        (owner, await desk.name_of(owner), await desk.applied(owner, now=time.time()), address_of(owner))
        for owner in owners
    ]
    return render(request, visitor, "uploaded.html", lists=lists, processed=done["processed"], file=done["file"])


@routes.get("/lists/{level}/{owner}/upload")
async def show_for(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    owner = await owner_of(request, visitor)
    return await _form_page(request, visitor, chosen=[owner.key])


async def _read(request: web.Request) -> tuple[list[tuple[str, str]], str, bytes | None]:
    """The fields, the file's name, and its bytes; None for those if they are too many. Raises Forged."""
    fields: list[tuple[str, str]] = []
    filename = ""
    data: bytes | None = b""
    known = has_file = False
    room = _MAX_FIELDS
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader):
            raise Forged
        if not known and part.name != "csrf":
            # The token stands first in the form: nothing is read for a page that is not ours.
            raise Forged
        if part.name == "file" and not has_file:
            has_file = True
            filename = (part.filename or "").encode("utf-8", "replace").decode()
            received = bytearray()
            while chunk := await part.read_chunk():
                received += chunk
                if len(received) > (WEB_LIMITS.max_bytes or 0) + 1:
                    return fields, filename, None
            data = bytes(received)
            continue
        name, value = part.name or "", await text_of(part)
        room -= len(name) + len(value) + _PART
        if room < 0:
            raise web.HTTPRequestEntityTooLarge(_MAX_FIELDS, _MAX_FIELDS - room)
        if name == "csrf":
            require_token(request, value)
            known = True
        else:
            fields.append((name, value))
    if not known:
        raise Forged
    return fields, filename, data


async def _staged(request: web.Request, visitor: Visitor) -> StagedUpload:
    """The visitor's own upload. Raises NotFound, also if a list is no longer his."""
    desk: Desk = request.app[keys.DESK]
    staged = await desk.staged(request.match_info["id"], visitor.user.id)
    if staged is None:
        raise NotFound("there is no such upload")
    for key in staged.owners:
        await require_list(desk, visitor.user, *key.partition(":")[::2])
    return staged


async def _checked(request: web.Request, staged: StagedUpload) -> tuple[bytes, Check]:
    """The file, and what is to be said of it: the same as `rollcall check --limits web` says, with the company's own
    minimum of digits: all owners of one upload are of one company.
    """
    keyring = request.app[keys.KEYRING].holding(staged.key_id)
    data = keyring.open_secret(f"upload|{staged.id}", staged.sealed, key_id=staged.key_id)
    checked = await request.app[keys.HEAVY].work(
        check,
        data,
        filename=staged.filename,
        limits=WEB_LIMITS,
        guessable_share=request.app[keys.SETTINGS].lists.guessable_share,
        restore_zeros=staged.restore_zeros,
        minimum_digits=await minimum_digits(request, Owner.from_key(staged.owners[0])),
    )
    return data, checked


async def _changes(request: web.Request, visitor: Visitor, staged: StagedUpload, checked: Check) -> list[Change]:
    desk, changes = request.app[keys.DESK], []
    for key in staged.owners:
        owner = await require_list(desk, visitor.user, *key.partition(":")[::2])
        block = await request.app[keys.LISTS].opened(owner) or EMPTY
        difference = diff(block.entries(), checked.entries)
        changes.append(Change(owner, await desk.name_of(owner), block.revision, block.count, difference))
    return changes


def _compared(changes: list[Change]) -> str:
    """What a preview was made against; the page sends it back."""
    return json.dumps({change.owner.key: change.revision for change in changes})


def _shrinks(changes: list[Change]) -> bool:
    """Whether a list would shrink to less than half."""
    return any(
        (change.before - len(change.difference.removed) + len(change.difference.added)) * 2 < change.before
        for change in changes
    )


async def _preview_page(
    request: web.Request,
    visitor: Visitor,
    staged: StagedUpload,
    status: int = 200,
    *,
    stale: bool = False,
    ask_about_shrinking: bool = False,
) -> web.Response:
    _, checked = await _checked(request, staged)
    uploads = request.app[keys.METRICS].uploads
    zeros = [problem for problem in checked.warnings if problem.code is Code.PIN_ZEROS_LOST]
    if checked.error_count:
        uploads.labels("refused").inc()
        lines = _by_line(checked.errors)
        return render(request, visitor, "refused.html", 422, staged=staged, checked=checked, lines=lines, zeros=zeros)
    uploads.labels("staged").inc()
    changes = await _changes(request, visitor, staged, checked)
    for change in changes:
        if change.difference.removed and change.owner != assigned_owner(visitor.user):
            await saw_pins(request, visitor, change.owner, "list_seen")
    return render(
        request,
        visitor,
        "preview.html",
        status,
        staged=staged,
        checked=checked,
        changes=changes,
        zeros=zeros,
        warnings=[problem for problem in checked.warnings if not _is_told_apart(problem)],
        guessable=Guessable(short_pins(entry.pin for entry in checked.entries)),
        compared=_compared(changes),
        shrinks=_shrinks(changes),
        ask_about_shrinking=ask_about_shrinking,
        stale=stale,
        shown=_SHOWN,
    )


async def _form_page(
    request: web.Request,
    visitor: Visitor,
    *,
    chosen: list[str] | None = None,
    missing: list[str] | None = None,
    problems: list[Problem] | None = None,
    status: int = 200,
) -> web.Response:
    user, desk = visitor.user, request.app[keys.DESK]
    reach = require(user, Action.LISTS)
    own = assigned_owner(user)
    choices: list[tuple[Owner, str]] = []
    if reach is Scope.COMPANY and user.company_id is not None:
        company = Owner(Level.COMPANY, user.company_id)
        choices.append((company, await desk.name_of(company)))
        choices += [
            (Owner(Level.AUTHORIZATION_CODE, one["code"]), one["label"]) for one in await desk.codes(user.company_id)
        ]
        choices += [(Owner(Level.ORGANIZER, one["id"]), one["name"]) for one in await desk.organizers(user.company_id)]
    elif own is not None:
        choices.append((own, await desk.name_of(own)))
    if chosen is None:
        chosen = [choices[0][0].key] if len(choices) == 1 else []
    return render(
        request,
        visitor,
        "upload.html",
        status,
        choices=choices,
        chosen=chosen,
        missing=missing or [],
        problems=problems or [],
        limits=WEB_LIMITS,
        minimum=(await Choices(request.app[keys.STORE]).of(user.company_id or "")).minimum_pin_digits,
        policy=request.app[keys.SETTINGS].admin.privacy_policy,
    )


def _is_told_apart(problem: Problem) -> bool:
    """Whether the page has a place of its own for this warning: lost zeros, and short PINs."""
    if problem.code is Code.PIN_GUESSABLE:
        return int(problem.params["width"]) <= SHORT_DIGITS
    return problem.code is Code.PIN_ZEROS_LOST


def _by_line(problems: list[Problem]) -> dict[int, list[Problem]]:
    lines: dict[int, list[Problem]] = {}
    for problem in problems:
        lines.setdefault(problem.line or 0, []).append(problem)
    return lines


def _too_large(count: int) -> Problem:
    return Problem(Code.FILE_TOO_LARGE, None, None, {"count": count, "max": WEB_LIMITS.max_bytes or 0})
