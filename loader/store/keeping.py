"""How long what was kept of calls is kept: each company's rolls, and what belongs to them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import delete, select

from loader.store import tables as t
from loader.store.choices import Choices
from loader.store.deliveries import SHOWN_FOR, Deliveries
from loader.store.lockouts import Lockouts
from loader.store.rolls import RollBook
from loader.store.sealed import AT_ONCE
from loader.store.store import Store

DAY: Final = 86400.0


class Keeping:
    """Erases what is too old, some of it at a time. `days` is how long it is kept where a company has not chosen.

    Several may do so at once: what is gone is gone. Every method raises DatabaseUnavailable if the database cannot be
    used now.
    """

    def __init__(self, store: Store, days: int) -> None:
        self._store = store
        self._days = days
        self._book = RollBook(store)
        self._deliveries = Deliveries(store)
        self._lockouts = Lockouts(store)

    async def too_old(self, now: float) -> dict[str, float]:
        """For each company the time before which what ended is too old, in seconds since 1970 UTC."""
        chosen = await Choices(self._store).keep_days()
        companies = await self._store.all(select(t.company.c.id).order_by(t.company.c.id))
        return {row.id: now - chosen.get(row.id, self._days) * DAY for row in companies}

    async def erase_some(self, company_id: str, before: float, now: float) -> int:
        """Erase some of what a company has of before a time: calls, invitations, events; how many."""
        return (
            await self._book.erase_some(company_id, before)
            or await self._erase_invitations(company_id, before)
            or await self._deliveries.erase_some(company_id, max(before, now - SHOWN_FOR))
        )

    async def erase_locks(self, now: float) -> int:
        """Erase some of the locks that are over, and of what was unlocked long ago; how many."""
        return await self._lockouts.erase_some(now)

    async def _erase_invitations(self, company_id: str, before: float) -> int:
        known = t.invitation.c
        some = (
            select(known.id)
            .join_from(t.invitation, t.conference, known.conference_id == t.conference.c.id)
            .join(t.organizer)
            .where(t.organizer.c.company_id == company_id, known.queued_at < before)
            .limit(AT_ONCE)
        )
        ids = [row.id for row in await self._store.all(some)]
        if ids:
            async with self._store.transaction() as connection:
                await connection.execute(delete(t.invitation).where(known.id.in_(ids)))
        return len(ids)
