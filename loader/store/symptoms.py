"""What the database tells of how an installation is doing."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Table, and_, func, select

from loader.store import tables as t
from loader.store.store import Store


class Symptoms:
    """Every method raises DatabaseUnavailable if the database cannot be used now. Times are seconds since 1970 UTC."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def feed(self) -> tuple[int, int, float]:
        """Where the feed stands, the last position that it tells of, and when its newest change was committed."""
        change = t.change.c
        (row,) = await self._store.all(
            select(func.max(change.position).label("last"), func.max(change.committed_at).label("at"))
        )
        return int(await self._store.position()), row.last or 0, row.at or 0.0

    async def journals(self) -> dict[str, tuple[int, int]]:
        """How far each journal has come: segment and offset."""
        return {row.id: (row.segment, row.offset) for row in await self._store.all(select(t.journal))}

    async def webhooks_stopped(self) -> list[str]:
        """The companies whose receivers are told nothing any more, though they have an address."""
        choice = t.company_choice.c
        stopped = and_(choice.webhook_stopped_at.is_not(None), choice.webhook_url != "")
        rows = await self._store.all(select(choice.company_id).where(stopped).order_by(choice.company_id))
        return [row.company_id for row in rows]

    async def webhooks_waiting(self, since: float) -> int:
        """How many events have waited since before a time."""
        delivery = t.webhook_delivery.c
        return await self._count(t.webhook_delivery, and_(delivery.next_at.is_not(None), delivery.created_at < since))

    async def mail(self, failed_since: float, waiting_since: float) -> tuple[int, int]:
        """How many rolls and invitations have failed since a time, and how many wait since before another."""
        roll, invitation = t.occurrence.c, t.invitation.c
        is_waiting = and_(invitation.sent_at.is_(None), invitation.failed.is_(None))
        failed = await self._count(
            t.occurrence, and_(roll.send_failed.is_not(None), roll.started_at > failed_since)
        ) + await self._count(t.invitation, and_(invitation.failed.is_not(None), invitation.queued_at > failed_since))
        waiting = await self._count(t.occurrence, roll.send_asked_at < waiting_since) + await self._count(
            t.invitation, and_(is_waiting, invitation.queued_at < waiting_since)
        )
        return failed, waiting

    async def _count(self, table: Table, where: ColumnElement[bool]) -> int:
        (row,) = await self._store.all(select(func.count().label("counted")).select_from(table).where(where))
        return int(row.counted)
