"""One person's data: `forget`."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from loader.cli.exits import DONE, REFUSED, WrongCallError
from loader.cli.terminal import at_work, complain, moment, say, system_user, table
from loader.errors import InvalidValue, NotFound
from loader.forget import Forgetting, ListTrace, Person, parse_person
from loader.keyring import Keyring
from loader.model import Level, Owner
from loader.settings import Settings
from loader.store import People, Store, open_store
from loader.store.traces import CallTrace, InvitationTrace, LockTrace


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run the command; its exit status."""
    try:
        person = parse_person(args.email, args.phone, args.name)
    except InvalidValue as error:
        raise WrongCallError(str(error)) from None
    return asyncio.run(_forget(settings, person, args.company, erase=args.erase))


async def _forget(settings: Settings, person: Person, company_id: str | None, *, erase: bool) -> int:
    async with open_store(settings.database.url, writable=erase) as store:
        if company_id is not None and not await store.owner_exists(Owner(Level.COMPANY, company_id)):
            raise NotFound(f"there is no company {company_id}")
        keyring = Keyring.load(Path(settings.key.file))
        forgetting = Forgetting(store, keyring, person, company_id=company_id)
        await (_erase(forgetting) if erase else _tell(forgetting))
        for problem in forgetting.problems:
            complain(f"{problem}: it could not be looked into")
        for user_id in await _accounts(store, person):
            complain(f"user {user_id} signs in with this address or name: accounts are changed on the web site")
    return REFUSED if forgetting.problems else DONE


async def _tell(forgetting: Forgetting) -> None:
    with at_work("looking through lists and rolls"):
        found = [trace async for trace in forgetting.find()]
    calls = [
        (one.company_id, one.occurrence_id, one.conference_id, one.title, moment(one.started_at),
         moment(one.admitted_at))
        for one in found if isinstance(one, CallTrace)
    ]  # fmt: skip
    invitations = [
        (one.company_id, one.conference_id, moment(one.queued_at)) for one in found if isinstance(one, InvitationTrace)
    ]
    locks = [(one.company_id, one.conference_id, moment(one.at)) for one in found if isinstance(one, LockTrace)]
    lists = [
        (one.company_id, one.owner.level.value, one.owner.id, int(one.revision),
         "in force" if one.in_force else "kept", one.entries)
        for one in found if isinstance(one, ListTrace)
    ]  # fmt: skip
    for kind, titles, rows in (
        ("call", ("company", "roll", "conference", "title", "began at", "admitted at"), calls),
        ("invitation", ("company", "conference", "queued at"), invitations),
        ("lock", ("company", "conference", "locked at"), locks),
        ("list", ("company", "level", "owner", "revision", "state", "entries"), lists),
    ):
        if rows:
            table(kind, titles, rows)
    counts = f"calls {len(calls)}, invitations {len(invitations)}, locks {len(locks)}, list revisions {len(lists)}"
    complain(f"{counts}; nothing was changed")


async def _erase(forgetting: Forgetting) -> None:
    with at_work("erasing one person"):
        erased = await forgetting.erase(by=system_user())
    for company_id, counts in sorted(erased.items()):
        say(f"{f'company {company_id}' if company_id else 'of no company'}: erased {counts}")
    if not erased:
        say("there was nothing to erase")


async def _accounts(store: Store, person: Person) -> list[str]:
    return [
        user.id
        for user in await People(store).everybody()
        if person.is_meant(first_name=user.name, last_name="", email=user.email, phone="")
    ]
