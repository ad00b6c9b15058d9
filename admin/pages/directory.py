"""A company's users, authorization codes, organizers and conferences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from admin import keys
from admin.access import Action, company_for
from admin.pages.conferences import choose_rolls_by_mail
from admin.pages.signin import send_link
from admin.rendering import render
from admin.security import form
from admin.visitor import Visitor, require_fresh, visitor_of
from loader.directory_file import parse_email
from loader.errors import AlreadyExists, InvalidValue, NotFound
from loader.model import Role, parse_authorization_code, parse_identifier, parse_passcode, parse_text
from loader.store import Desk

routes = web.RouteTableDef()

_FIELDS: Final[dict[str, dict[str, Callable[[str], Any]]]] = {
    "user": {"id": parse_identifier, "name": parse_text, "email": parse_email},
    "authorization_code": {"code": parse_authorization_code, "label": parse_text},
    "organizer": {"id": parse_identifier, "name": parse_text, "email": parse_email},
    "conference": {"id": parse_identifier, "title": parse_text, "passcode": parse_passcode},
}
"""What is typed for each kind, and how it is read. The first is the key, which stays as it is."""
_COMPANY_ROLES: Final = (Role.ORGANIZER, Role.ADMINISTRATOR, Role.SUPER_ADMINISTRATOR, Role.COORDINATOR)


def _company(request: web.Request, visitor: Visitor) -> str:
    return company_for(visitor.user, Action.DIRECTORY, request.match_info.get("company"))


@routes.get("/companies/{company}")
async def show(request: web.Request) -> web.Response:
    visitor, desk = visitor_of(request), request.app[keys.DESK]
    company_id = _company(request, visitor)
    company = await desk.company(company_id)
    if company is None:
        raise NotFound("there is no such company")
    return render(
        request,
        visitor,
        "company.html",
        company=company,
        users=await request.app[keys.PEOPLE].users(company_id),
        codes=await desk.codes(company_id),
        organizers=await desk.organizers(company_id),
        conferences=await desk.conferences(company_id=company_id),
    )


@routes.get("/companies/{company}/{kind:user|authorization_code|organizer|conference}")
async def show_new(request: web.Request) -> web.Response:
    return await _form_page(request, {}, is_new=True)


@routes.get("/companies/{company}/{kind:user|authorization_code|organizer|conference}/{id}")
async def show_one(request: web.Request) -> web.Response:
    known = await _known(request)
    if request.match_info["kind"] == "organizer":
        known["send_roll"] = await request.app[keys.ROLL_MAIL].choice(known["id"])
    return await _form_page(request, known, is_new=False)


@routes.post("/companies/{company}/{kind:user|authorization_code|organizer|conference}")
async def add(request: web.Request) -> web.Response:
    return await _put(request, is_new=True)


@routes.post("/companies/{company}/{kind:user|authorization_code|organizer|conference}/{id}")
async def change(request: web.Request) -> web.Response:
    return await _put(request, is_new=False)


async def _put(request: web.Request, *, is_new: bool) -> web.Response:
    visitor, desk = visitor_of(request), request.app[keys.DESK]
    company_id, kind = _company(request, visitor), request.match_info["kind"]
    known = {} if is_new else await _known(request)
    typed = await form(request)
    if kind == "user":
        require_fresh(visitor, request.path)
    key = next(iter(_FIELDS[kind]))
    if not is_new:
        typed[key] = known[key]
        if "delete" in typed and kind == "user":
            return await _remove_user(request, visitor, known)
        if "link" in typed and kind == "user":
            user = await request.app[keys.PEOPLE].user(known["id"])
            if user is not None:
                await send_link(request, visitor, user)
                await desk.record(visitor.did("link_sent", user.id))
                visitor.notice(visitor._("A link to set a password was sent to %(email)s.", email=user.email))
            raise web.HTTPSeeOther(f"/companies/{company_id}")
    row, problems = _read(kind, typed)
    problems |= await _complete(request, company_id, kind, typed, row, known)
    if not problems:
        try:
            async with request.app[keys.STORE].together() as store:
                await Desk(store).put(kind, row, new=is_new)
                await Desk(store).record(visitor.did(f"{kind}_{'added' if is_new else 'changed'}", row[key]))
        except AlreadyExists as error:
            problems["passcode" if kind == "conference" and str(error) == row.get("passcode") else key] = "taken"
    if problems:
        return await _form_page(request, typed, is_new=is_new, problems=problems, status=422)
    if kind == "organizer":
        await choose_rolls_by_mail(request, visitor, row[key], on="send_roll" in typed)
    if kind == "user" and is_new:
        user = await request.app[keys.PEOPLE].user(row["id"])
        if user is not None:
            await send_link(request, visitor, user)
        visitor.notice(visitor._("A link to set a password was sent to %(email)s.", email=row["email"]))
    else:
        visitor.notice(visitor._("Saved."))
    raise web.HTTPSeeOther(f"/companies/{company_id}")


async def _remove_user(request: web.Request, visitor: Visitor, known: dict[str, Any]) -> web.Response:
    if known["id"] == visitor.user.id:
        raise NotFound("nobody removes himself")
    async with request.app[keys.STORE].together() as store:
        await Desk(store).remove_user(known["id"])
        await Desk(store).record(visitor.did("user_removed", known["id"]))
    visitor.notice(visitor._("%(name)s was removed.", name=known["name"]))
    raise web.HTTPSeeOther(f"/companies/{request.match_info['company']}")


def _read(kind: str, typed: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    row: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, parse in _FIELDS[kind].items():
        try:
            row[name] = parse(typed.get(name, "").strip())
        except InvalidValue:
            problems[name] = "invalid"
    return row, problems


async def _complete(
    request: web.Request,
    company_id: str,
    kind: str,
    typed: dict[str, str],
    row: dict[str, Any],
    known: dict[str, Any],
) -> dict[str, str]:
    """Add what belongs to the company or is chosen from it; what is wrong with that."""
    desk = request.app[keys.DESK]
    organizers = {one["id"] for one in await desk.organizers(company_id)}
    codes = {one["code"] for one in await desk.codes(company_id)}
    problems: dict[str, str] = {}
    organizer, code = typed.get("organizer_id") or None, typed.get("authorization_code") or None
    if kind == "conference":
        row |= {"organizer_id": organizer, "pin_entry": typed.get("pin_entry") == "1"}
        if organizer not in organizers:
            problems["organizer_id"] = "missing"
        return problems
    row["company_id"] = company_id
    if kind == "organizer":
        row["authorization_code"] = code
        if code not in codes:
            problems["authorization_code"] = "missing"
    if kind == "user":
        role = typed.get("role", "")
        if role not in _COMPANY_ROLES:
            return {"role": "missing"}
        row["role"] = role
        row["language"] = known.get("language")
        row["organizer_id"] = organizer if role in (Role.ORGANIZER, Role.SUPER_ADMINISTRATOR) else None
        row["authorization_code"] = code if role == Role.ADMINISTRATOR else None
        if (role == Role.ORGANIZER or row["organizer_id"]) and organizer not in organizers:
            problems["organizer_id"] = "missing"
        if row["authorization_code"] and code not in codes:
            problems["authorization_code"] = "missing"
    return problems


async def _known(request: web.Request) -> dict[str, Any]:
    """The row that the address names, if it is the company's. Raises NotFound."""
    visitor, desk = visitor_of(request), request.app[keys.DESK]
    company_id, kind, row_id = _company(request, visitor), request.match_info["kind"], request.match_info["id"]
    row = await desk.row(kind, row_id)
    if kind == "conference":
        ours = row is not None and row_id in {one["id"] for one in await desk.conferences(company_id=company_id)}
    else:
        ours = row is not None and row["company_id"] == company_id
    if row is None or not ours:
        raise NotFound("there is nothing like that")
    return row


async def _form_page(
    request: web.Request,
    typed: dict[str, Any],
    *,
    is_new: bool,
    problems: dict[str, str] | None = None,
    status: int = 200,
) -> web.Response:
    visitor, desk = visitor_of(request), request.app[keys.DESK]
    company_id, kind = _company(request, visitor), request.match_info["kind"]
    company = await desk.company(company_id)
    if company is None:
        raise NotFound("there is no such company")
    if kind == "user":
        # Before something is typed that would be lost.
        require_fresh(visitor, request.path)
    return render(
        request,
        visitor,
        "directory_form.html",
        status,
        company=company,
        kind=kind,
        names=list(_FIELDS[kind]),
        typed=typed,
        is_new=is_new,
        problems=problems or {},
        roles=_COMPANY_ROLES,
        organizers=await desk.organizers(company_id),
        codes=await desk.codes(company_id),
    )
