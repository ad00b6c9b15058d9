"""Where one person stands in what is kept of calls and of lists, and taking him out of there."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from functools import partial
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Select, bindparam, delete, select, update

from loader.errors import BlockError
from loader.keyring import Keyring
from loader.model import Level, Owner
from loader.store import tables as t
from loader.store.invitations import Guest, opened_guest
from loader.store.lockouts import CALLER, opened_number
from loader.store.lockouts import purpose as purpose_of_lock
from loader.store.rolls import Caller, opened_caller, purpose
from loader.store.sealed import AT_ONCE, key_in_use
from loader.store.store import Store

_NOBODY: Final = msgspec.msgpack.encode(Caller(None, None))


class CallTrace(msgspec.Struct, frozen=True):
    """A call of somebody. Times are seconds since 1970 UTC."""

    id: int
    company_id: str
    occurrence_id: int
    conference_id: str
    title: str
    started_at: float
    admitted_at: float
    verification_id: str


class InvitationTrace(msgspec.Struct, frozen=True):
    """An invitation of somebody."""

    id: int
    company_id: str
    conference_id: str
    queued_at: float


class LockTrace(msgspec.Struct, frozen=True):
    """A lock of somebody's number. `company_id` is empty where passcodes were guessed."""

    id: str
    company_id: str
    conference_id: str
    at: float


class Traces:
    """Looks at some hundred rows at a time. Every method raises DatabaseUnavailable if the database cannot be used now.

    `company_id` is the one company that is looked at, or None for all.
    """

    def __init__(self, store: Store, company_id: str | None = None) -> None:
        self._store = store
        self._company_id = company_id
        self.damaged = 0
        """Calls, invitations and locks that cannot be opened, and so belong to nobody that could be told."""

    async def calls(self, keyring: Keyring, is_meant: Callable[[Caller], bool]) -> AsyncGenerator[Sequence[CallTrace]]:
        """The calls whose caller is meant. Raises KeyFileError."""

        def look_into(row: Any) -> bool:
            return is_meant(opened_caller(keyring, row))

        call, occurrence = t.call.c, t.occurrence.c
        query = (
            select(t.call, occurrence.company_id, occurrence.conference_id, occurrence.title, occurrence.started_at)
            .join_from(t.call, t.occurrence)
            .order_by(call.id)
            .limit(AT_ONCE)
        )
        query = self._of_company(query, occurrence.company_id)
        last = 0
        while rows := await self._store.all(query.where(call.id > last)):
            last = rows[-1].id
            found = [
                CallTrace(*(getattr(row, name) for name in CallTrace.__struct_fields__))
                for row in rows
                if self._is_meant(partial(look_into, row))
            ]
            if found:
                yield found

    async def empty_calls(self, keyring: Keyring, calls: Sequence[CallTrace]) -> int:
        """Calls become nobody's, and what waits to be told of them is told to nobody; how many events that were.

        The calls themselves stay, so that a roll's counts hold. Raises KeyFileError.
        """
        call, delivery = t.call.c, t.webhook_delivery.c
        async with self._store.transaction() as connection:
            ring = await key_in_use(connection, keyring)
            sealed = [
                {
                    "known": one.id,
                    "new_sealed": ring.seal_secret(purpose(one.verification_id), _NOBODY, key_id=ring.current),
                }
                for one in calls
            ]
            await connection.execute(
                update(t.call)
                .where(call.id == bindparam("known"))
                .values(person=None, person_key_id=None, key_id=ring.current, sealed=bindparam("new_sealed")),
                sealed,
            )
            known = t.occurrence.c
            await connection.execute(
                update(t.occurrence)
                .where(known.id.in_({one.occurrence_id for one in calls}))
                .values(version=known.version + 1)
            )
            about = delivery.about.in_([one.verification_id for one in calls])
            gone = await connection.execute(delete(t.webhook_delivery).where(about, delivery.next_at.is_not(None)))
            return gone.rowcount

    async def invitations(
        self, keyring: Keyring, is_meant: Callable[[Owner, Guest], bool]
    ) -> AsyncGenerator[Sequence[InvitationTrace]]:
        """The invitations whose guest is meant. Raises KeyFileError."""

        def look_into(row: Any) -> bool:
            return is_meant(Owner(Level(row.level), row.owner_id), opened_guest(keyring, row))

        invitation = t.invitation.c
        query = (
            select(t.invitation, t.organizer.c.company_id)
            .join_from(t.invitation, t.conference, invitation.conference_id == t.conference.c.id)
            .join(t.organizer)
            .order_by(invitation.id)
            .limit(AT_ONCE)
        )
        query = self._of_company(query, t.organizer.c.company_id)
        last = 0
        while rows := await self._store.all(query.where(invitation.id > last)):
            last = rows[-1].id
            found = [
                InvitationTrace(row.id, row.company_id, row.conference_id, row.queued_at)
                for row in rows
                if self._is_meant(partial(look_into, row))
            ]
            if found:
                yield found

    async def erase_invitations(self, invitations: Sequence[InvitationTrace]) -> None:
        async with self._store.transaction() as connection:
            ids = [one.id for one in invitations]
            await connection.execute(delete(t.invitation).where(t.invitation.c.id.in_(ids)))

    async def locks(self, keyring: Keyring, is_number: Callable[[str | None], bool]) -> list[LockTrace]:
        """The locks, be they over or not, of callers whose number is meant. Raises KeyFileError."""
        lockout = t.lockout.c
        query = select(t.lockout).where(lockout.kind == CALLER).order_by(lockout.id).limit(AT_ONCE)
        query = self._of_company(query, lockout.company_id)
        found: list[LockTrace] = []
        last = ""
        while rows := await self._store.all(query.where(lockout.id > last)):
            last = rows[-1].id
            found += [
                LockTrace(row.id, row.company_id or "", row.conference_id, row.at)
                for row in rows
                if self._is_meant(lambda row=row: is_number(opened_number(keyring, row)))  # type: ignore[misc]
            ]
        return found

    async def empty_locks(self, keyring: Keyring, locks: Sequence[LockTrace]) -> None:
        """The locks stay, as those of a number that was withheld. Raises KeyFileError."""
        if not locks:
            return
        lockout = t.lockout.c
        async with self._store.transaction() as connection:
            ring = await key_in_use(connection, keyring)
            nobody = msgspec.msgpack.encode(None)
            await connection.execute(
                update(t.lockout)
                .where(lockout.id == bindparam("known"))
                .values(key_id=ring.current, sealed=bindparam("new_sealed")),
                [
                    {
                        "known": one.id,
                        "new_sealed": ring.seal_secret(purpose_of_lock(one.id), nobody, key_id=ring.current),
                    }
                    for one in locks
                ],
            )

    async def owners(self) -> list[tuple[str, Owner]]:
        """Whose lists there are, each with the company."""
        found: list[tuple[str, Owner]] = []
        for level, key in t.OWNER_KEYS.items():
            company = t.company.c.id if level is Level.COMPANY else key.table.c.company_id
            listed = t.pin_list.c
            query: Select[Any] = select(company.label("company_id"), listed.owner_id)
            query = query.where(listed.level == level.value, listed.owner_id == key).order_by(listed.owner_id)
            query = self._of_company(query, company)
            found += [(row.company_id, Owner(level, row.owner_id)) for row in await self._store.all(query)]
        return found

    async def drop_revisions(self, owner: Owner, revisions: Collection[int]) -> int:
        """Keep these revisions of a list no longer; how many were kept. The one in force stays, whatever is asked."""
        async with self._store.transaction() as connection:
            listed = t.pin_list.c
            in_force = select(listed.revision).where(listed.level == owner.level.value, listed.owner_id == owner.id)
            now = (await connection.execute(in_force.with_for_update(read=True))).scalar()
            gone = [revision for revision in revisions if revision != now]
            dropped = 0
            for table in (t.list_part, t.list_revision):
                where = (table.c.level == owner.level.value, table.c.owner_id == owner.id, table.c.revision.in_(gone))
                dropped = (await connection.execute(delete(table).where(*where))).rowcount
            return dropped

    def _is_meant(self, look: Callable[[], bool]) -> bool:
        try:
            return look()
        except BlockError:
            self.damaged += 1
            return False

    def _of_company(self, query: Select[Any], column: ColumnElement[str]) -> Select[Any]:
        return query if self._company_id is None else query.where(column == self._company_id)
