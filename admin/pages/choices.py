"""What a company chooses: numbers to dial in, how short PINs may be, how long rolls are kept, and where their events go."""

from __future__ import annotations

import time
from typing import Any, Final

from aiohttp import web

from admin import keys
from admin.access import Action, company_for
from admin.rendering import render
from admin.security import form, form_lists
from admin.visitor import Visitor, require_fresh, visitor_of
from loader.errors import InvalidValue, NotFound
from loader.listfile import SHORT_DIGITS
from loader.store import Desk, Store
from loader.store.choices import (
    MOST_DAYS,
    MOST_DIAL_IN,
    Choices,
    CompanyChoice,
    DialIn,
    parse_dial_in,
    parse_keep_days,
    parse_minimum_pin_digits,
)
from loader.store.deliveries import Deliveries
from loader.store.keeping import DAY
from loader.webhooks import TargetError, host_of, new_secret, parse_target, secret_text

routes = web.RouteTableDef()

_SPARE: Final = 2
"""Empty lines for more numbers."""


async def _company(request: web.Request, visitor: Visitor) -> dict[str, Any]:
    company_id = company_for(visitor.user, Action.SETTINGS, request.match_info["company"])
    company = await request.app[keys.DESK].company(company_id)
    if company is None:
        raise NotFound("there is no such company")
    return company


@routes.get("/companies/{company}/settings")
async def show(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    return await _page(request, visitor, await _company(request, visitor))


async def _page(
    request: web.Request,
    visitor: Visitor,
    company: dict[str, Any],
    status: int = 200,
    *,
    numbers: list[tuple[str, str]] | None = None,
    digits: str | None = None,
    days: str | None = None,
    url: str | None = None,
    secret: str = "",
    problems: dict[str, str] | None = None,
) -> web.Response:
    """The page, with what was typed in place of what is chosen where something was wrong with it."""
    store, settings = request.app[keys.STORE], request.app[keys.SETTINGS]
    chosen = await Choices(store).of(company["id"])
    lines = [(one.number, one.label) for one in chosen.dial_in] if numbers is None else numbers
    spare = min(max(_SPARE, 3 - len(lines)), MOST_DIAL_IN - len(lines)) if numbers is None else 0
    return render(
        request,
        visitor,
        "settings.html",
        status,
        company=company,
        chosen=chosen,
        numbers=lines + [("", "")] * spare,
        days=str(chosen.keep_days or "") if days is None else days,
        digits=str(chosen.minimum_pin_digits) if digits is None else digits,
        short_digits=SHORT_DIGITS,
        default_days=settings.roll.keep_days,
        most_days=MOST_DAYS,
        url=chosen.webhook_url if url is None else url,
        private=settings.roll.webhook_private,
        secret=secret,
        deliveries=await Deliveries(store).newest(company["id"]),
        problems=problems or {},
    )


@routes.post("/companies/{company}/settings/dial-in")
async def set_dial_in(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    company = await _company(request, visitor)
    fields = await form_lists(request)
    typed = list(zip(fields.get("number", []), fields.get("label", []), strict=False))[:MOST_DIAL_IN]
    numbers: list[DialIn] = []
    problems: dict[str, str] = {}
    for at, (number, label) in enumerate(typed):
        if not number.strip() and not label.strip():
            continue
        try:
            numbers.append(parse_dial_in(number, label))
        except InvalidValue:
            problems[f"number-{at}"] = "number"
    if problems:
        return await _page(request, visitor, company, 422, numbers=typed, problems=problems)
    async with request.app[keys.STORE].together() as store:
        await Choices(store).set_dial_in(company["id"], tuple(numbers))
        await Desk(store).record(visitor.did("dial_in_changed", company["id"], f"numbers {len(numbers)}"))
    raise _saved(visitor, company)


@routes.post("/companies/{company}/settings/pins")
async def set_minimum_pin_digits(request: web.Request) -> web.Response:
    """PINs that are shorter already stay: lists are not touched."""
    visitor = visitor_of(request)
    company = await _company(request, visitor)
    typed = (await form(request)).get("digits", "")
    choices = Choices(request.app[keys.STORE])
    try:
        digits = parse_minimum_pin_digits(typed)
    except InvalidValue:
        return await _page(request, visitor, company, 422, digits=typed, problems={"digits": "digits"})
    before = (await choices.of(company["id"])).minimum_pin_digits
    change = f"{before} to {digits}"
    async with request.app[keys.STORE].together() as store:
        await Choices(store).set_minimum_pin_digits(company["id"], digits)
        await Desk(store).record(visitor.did("minimum_pin_digits_changed", company["id"], change))
    raise _saved(visitor, company)


@routes.post("/companies/{company}/settings/keeping")
async def set_keeping(request: web.Request) -> web.Response:
    """Where rolls would go by it, it is asked once more, and told how many."""
    visitor = visitor_of(request)
    company = await _company(request, visitor)
    fields = await form(request)
    choices, default = Choices(request.app[keys.STORE]), request.app[keys.SETTINGS].roll.keep_days
    try:
        days = parse_keep_days(fields.get("days", ""))
    except InvalidValue:
        typed = fields.get("days", "")
        return await _page(request, visitor, company, 422, days=typed, problems={"days": "days"})
    before = await choices.of(company["id"])
    shorter = days or default
    cut = time.time() - shorter * DAY
    if shorter < (before.keep_days or default) and fields.get("sure") != "1":
        gone = await choices.rolls_before(company["id"], cut)
        if gone:
            return render(
                request, visitor, "keep_days.html", company=company, days=days, shorter=shorter, before=cut, gone=gone
            )
    change = f"{before.keep_days or 'default'} to {days or 'default'}"
    async with request.app[keys.STORE].together() as store:
        await Choices(store).set_keep_days(company["id"], days)
        await Desk(store).record(visitor.did("keep_days_changed", company["id"], change))
    raise _saved(visitor, company)


@routes.post("/companies/{company}/settings/webhook")
async def set_webhook(request: web.Request) -> web.Response:
    """With the first address a secret is made. It is on the answer to this one request, and nowhere else."""
    visitor = visitor_of(request)
    company = await _company(request, visitor)
    url = (await form(request)).get("url", "").strip()
    require_fresh(visitor, f"/companies/{company['id']}/settings")
    choices = Choices(request.app[keys.STORE])
    before = await choices.of(company["id"])
    if url:
        try:
            url = parse_target(url, private=request.app[keys.SETTINGS].roll.webhook_private)
        except TargetError as error:
            return await _page(request, visitor, company, 422, url=url, problems={"url": error.code})
    action = "webhook_changed" if url else "webhook_removed"
    async with request.app[keys.STORE].together() as store:
        secret = await _make_secret(request, store, company) if url and not before.has_secret else ""
        await Choices(store).set_webhook(company["id"], url)
        # Not all of it: what follows the host may be a secret of its own.
        await Desk(store).record(visitor.did(action, company["id"], host_of(url)))
    if secret:
        return await _page(request, visitor, company, 201, secret=secret)
    raise _saved(visitor, company)


@routes.post("/companies/{company}/settings/webhook/secret")
async def renew_secret(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    company = await _company(request, visitor)
    await form(request)
    require_fresh(visitor, f"/companies/{company['id']}/settings")
    await _require_webhook(request, company)
    async with request.app[keys.STORE].together() as store:
        secret = await _make_secret(request, store, company)
        await Desk(store).record(visitor.did("webhook_secret_renewed", company["id"]))
    return await _page(request, visitor, company, 201, secret=secret)


@routes.post("/companies/{company}/settings/webhook/test")
async def send_test(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    company = await _company(request, visitor)
    await form(request)
    await _require_webhook(request, company)
    async with request.app[keys.STORE].together() as store:
        await Deliveries(store).add_test(request.app[keys.KEYRING], company["id"])
        await Desk(store).record(visitor.did("webhook_test", company["id"]))
    visitor.notice(visitor._("The test is on its way. What came of it stands below, a moment from now."))
    raise web.HTTPSeeOther(f"/companies/{company['id']}/settings")


async def _require_webhook(request: web.Request, company: dict[str, Any]) -> CompanyChoice:
    """What the company has chosen. Raises NotFound if its events go nowhere."""
    chosen = await Choices(request.app[keys.STORE]).of(company["id"])
    if not chosen.webhook_url:
        raise NotFound("there is no webhook")
    return chosen


async def _make_secret(request: web.Request, store: Store, company: dict[str, Any]) -> str:
    secret = new_secret()
    await Choices(store).set_webhook_secret(request.app[keys.KEYRING], company["id"], secret)
    return secret_text(secret)


def _saved(visitor: Visitor, company: dict[str, Any]) -> web.HTTPSeeOther:
    visitor.notice(visitor._("Saved."))
    return web.HTTPSeeOther(f"/companies/{company['id']}/settings")
