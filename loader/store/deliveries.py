"""What companies are to be told of: put there in the transaction that makes it so, and kept until it was told.

Each row is handed out to one teller at a time, for :data:`LEASE` seconds: a teller that was killed leaves its rows to
others after that. So an event is told at least once, and now and then twice.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import and_, delete, insert, not_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from loader.errors import BlockError
from loader.keyring import Keyring
from loader.store import tables as t
from loader.store.choices import opened_secret
from loader.store.clock import is_over
from loader.store.sealed import AT_ONCE, key_in_use, opened, seal_again
from loader.store.store import Store
from loader.webhooks import AboutCall, AboutLock, AboutOccurrence, EventType, event_body, new_event_id

LEASE: Final = 60.0
"""Seconds for which a row is one teller's alone: longer than it takes to try all that it is handed at once."""
GIVEN_UP_AFTER: Final = 86400.0
"""Seconds after which an event is told to nobody any more."""
SHOWN_FOR: Final = 7 * 86400.0
"""Seconds for which it is kept what became of an event."""
GONE: Final = "410"
"""The HTTP status by which a receiver says that it wants nothing any more."""
_DAMAGED: Final = "damaged"

_delivery: Final = t.webhook_delivery.c
_waits: Final = _delivery.next_at.is_not(None)
_OVER: Final[Mapping[str, Any]] = {"next_at": None, "leased_until": None, "key_id": None, "sealed": None}
"""A row that nobody waits for any more: what it said is forgotten."""


class Due(msgspec.Struct, frozen=True):
    """An event that is to be told now. `attempts` is how often that was tried before.

    Times are seconds since 1970 UTC.
    """

    id: int
    company_id: str
    event_id: str
    created_at: float
    leased_until: float
    attempts: int
    url: str
    body: bytes
    secret: bytes


class Outcome(msgspec.Struct, frozen=True):
    """What came of a try at a time: the receiver's `answer`, and when it is tried again, if it is to be."""

    due: Due
    at: float
    answer: str
    delivered: bool = False
    next_at: float | None = None


class Delivery(msgspec.Struct, frozen=True):
    """An event as a page shows it; it waits while it has a `next_at`. Times are seconds since 1970 UTC."""

    event: str
    created_at: float
    next_at: float | None
    attempts: int
    done_at: float | None
    delivered: bool
    answer: str | None


class Outbox:
    """Events that one transaction puts there for the companies that want them."""

    def __init__(self, connection: AsyncConnection, keyring: Keyring) -> None:
        self._connection = connection
        self._keyring = keyring
        self.told: set[str] = set()
        """The companies that want to be told, of those that were asked for."""
        self._rows: list[dict[str, Any]] = []

    async def ask(self, company_ids: Collection[str]) -> None:
        """Find out which of these companies want to be told."""
        choice, wanted = t.company_choice.c, list(company_ids)
        for at in range(0, len(wanted), AT_ONCE):
            query = select(choice.company_id).where(choice.company_id.in_(wanted[at : at + AT_ONCE]), _wants())
            self.told.update(row.company_id for row in (await self._connection.execute(query)).all())

    def wants(self, company_id: str) -> bool:
        """Whether a company that was asked for wants to be told."""
        return company_id in self.told

    def add(
        self,
        company_id: str,
        event: EventType,
        at: float,
        occurrence: AboutOccurrence | None = None,
        call: AboutCall | None = None,
        *,
        lock: AboutLock | None = None,
        about: str | None = None,
        now: float | None = None,
    ) -> None:
        """An event of a company that wants it. `about` is what it is found by; a call's ID if there is one."""
        now = time.time() if now is None else now
        event_id, key_id = new_event_id(), self._keyring.current
        body = event_body(event_id, event, at, occurrence, call, lock)
        if about is None:
            about = call.id if call is not None else event_id
        self._rows.append(
            {
                "company_id": company_id,
                "event_id": event_id,
                "event": event.value,
                "about": about,
                "created_at": now,
                "next_at": now,
                "attempts": 0,
                "delivered": False,
                "key_id": key_id,
                "sealed": self._keyring.seal_secret(_purpose(event_id), body, key_id=key_id),
            }
        )

    async def told_within(self, seconds: float, abouts: Collection[str]) -> set[str]:
        """About which of these something was put there in the last so many seconds."""
        since = time.time() - seconds
        found: set[str] = set()
        wanted = list(abouts)
        for at in range(0, len(wanted), AT_ONCE):
            some = _delivery.about.in_(wanted[at : at + AT_ONCE])
            query = select(_delivery.about).where(some, _delivery.created_at >= since)
            found.update((await self._connection.execute(query)).scalars())
        return found

    async def write(self) -> None:
        """Put them there."""
        if self._rows:
            await self._connection.execute(insert(t.webhook_delivery), self._rows)


class Deliveries:
    """Every method raises DatabaseUnavailable if the database cannot be used now."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add_test(self, keyring: Keyring, company_id: str) -> None:
        """Have the receiver told of nothing, to see whether it hears. A receiver that was gone is asked again."""
        async with self._store.transaction() as connection:
            mine = t.company_choice.c.company_id == company_id
            await connection.execute(update(t.company_choice).where(mine).values(webhook_stopped_at=None))
            outbox = Outbox(connection, await key_in_use(connection, keyring))
            outbox.add(company_id, EventType.TEST, time.time())
            await outbox.write()

    async def due(self, now: float) -> list[str]:
        """The companies that are to be told something now."""
        choice = t.company_choice.c
        some = select(_delivery.id).where(_delivery.company_id == choice.company_id, _is_due(now)).exists()
        rows = await self._store.all(select(choice.company_id).where(_wants(), some))
        return [row.company_id for row in rows]

    async def exchange(
        self, keyring: Keyring, outcomes: Iterable[Outcome], companies: Mapping[str, int], now: float
    ) -> list[Due]:
        """Note what came of tries, and hand out what is to be told: of each company at most so many events.

        Events of one call are handed out in their order until each was tried once. Raises KeyFileError.
        """
        async with self._store.transaction() as connection:
            for outcome in outcomes:
                await _note(connection, outcome)
            handed: list[Due] = []
            for company_id, most in companies.items():
                handed += await _hand_out(connection, keyring, company_id, most, now)
            return handed

    async def give_up_old(self, now: float) -> int:
        """Give up what nobody came round to for too long; how many."""
        old = and_(_waits, _delivery.created_at < now - GIVEN_UP_AFTER, _is_free(now))
        if not await self._store.all(select(_delivery.id).where(old).limit(1)):
            return 0
        async with self._store.transaction() as connection:
            some = select(_delivery.id).where(old).limit(AT_ONCE)
            given_up = update(t.webhook_delivery).where(_delivery.id.in_(some)).values(done_at=now, **_OVER)
            return (await connection.execute(given_up)).rowcount

    async def newest(self, company_id: str, limit: int = 20) -> list[Delivery]:
        """The last events of a company, the newest first."""
        columns = [_delivery[name] for name in Delivery.__struct_fields__]
        query = select(*columns).where(_delivery.company_id == company_id).order_by(_delivery.id.desc())
        return [Delivery(**row._mapping) for row in await self._store.all(query.limit(limit))]  # noqa: SLF001

    async def erase_some(self, company_id: str, before: float) -> int:
        """Erase some hundred of the oldest rows of a company that were put there before a time; how many."""
        old = and_(_delivery.company_id == company_id, _delivery.created_at < before)
        some = select(_delivery.id).where(old).order_by(_delivery.id).limit(AT_ONCE)
        ids = [row.id for row in await self._store.all(some)]
        if ids:
            async with self._store.transaction() as connection:
                await connection.execute(delete(t.webhook_delivery).where(_delivery.id.in_(ids)))
        return len(ids)

    async def seal_again(self, keyring: Keyring, key_id: str) -> None:
        """Put what waits under another key. Raises KeyFileError, BlockError."""
        await seal_again(self._store, keyring, t.webhook_delivery, lambda row: _purpose(row.event_id), key_id)


async def _note(connection: AsyncConnection, outcome: Outcome) -> None:
    due = outcome.due
    values: dict[str, Any] = {"attempts": due.attempts + 1, "answer": outcome.answer}
    if outcome.next_at is None:
        values |= {"done_at": outcome.at, "delivered": outcome.delivered, **_OVER}
    else:
        values |= {"next_at": outcome.next_at, "leased_until": None}
    # What somebody else has told meanwhile, after a lease that was over, stays told.
    where = and_(_delivery.id == due.id, _waits)
    await connection.execute(update(t.webhook_delivery).where(where).values(**values))
    if outcome.answer == GONE and not outcome.delivered:
        choice = t.company_choice.c
        mine = and_(choice.company_id == due.company_id, choice.webhook_url == due.url)
        stopped = await connection.execute(update(t.company_choice).where(mine).values(webhook_stopped_at=outcome.at))
        if stopped.rowcount:
            await connection.execute(
                update(t.webhook_delivery)
                .where(_delivery.company_id == due.company_id, _waits)
                .values(done_at=outcome.at, answer=GONE, **_OVER)
            )


async def _hand_out(connection: AsyncConnection, keyring: Keyring, company_id: str, most: int, now: float) -> list[Due]:
    choice = t.company_choice
    wants = select(choice).where(choice.c.company_id == company_id, _wants())
    receiver = (await connection.execute(wants)).first()
    if receiver is None or receiver.webhook_secret is None:
        return []
    try:
        secret = opened_secret(keyring, receiver)
    except BlockError:
        return []  # nobody can sign for this one: the others are told all the same
    earlier = t.webhook_delivery.alias("earlier").c
    is_held = (
        select(earlier.id)
        .where(
            earlier.about == _delivery.about,
            earlier.id < _delivery.id,
            earlier.next_at.is_not(None),
            or_(earlier.attempts == 0, not_(is_over(earlier.leased_until, now))),
        )
        .exists()
    )
    query = select(t.webhook_delivery).where(_delivery.company_id == company_id, _is_due(now), ~is_held)
    rows = (await connection.execute(query.order_by(_delivery.next_at, _delivery.id).limit(most))).all()
    if not rows:
        return []
    taken = await connection.execute(
        update(t.webhook_delivery)
        .where(_delivery.id.in_([row.id for row in rows]), _is_due(now))
        .values(leased_until=now + LEASE)
        .returning(_delivery.id)
    )
    mine = {row.id for row in taken.all()}
    handed: list[Due] = []
    for row in rows:
        if row.id not in mine:
            continue
        try:
            body = opened(keyring, _purpose(row.event_id), row)
        except BlockError:
            over = update(t.webhook_delivery).where(_delivery.id == row.id)
            await connection.execute(over.values(done_at=now, answer=_DAMAGED, **_OVER))
            continue
        handed.append(
            Due(
                row.id,
                company_id,
                row.event_id,
                row.created_at,
                now + LEASE,
                row.attempts,
                receiver.webhook_url,
                body,
                secret,
            )
        )
    return handed


def _wants() -> Any:
    choice = t.company_choice.c
    return and_(choice.webhook_url != "", choice.webhook_stopped_at.is_(None))


def _is_free(now: float) -> Any:
    return or_(_delivery.leased_until.is_(None), is_over(_delivery.leased_until, now))


def _is_due(now: float) -> Any:
    return and_(is_over(_delivery.next_at, now), _is_free(now))


def _purpose(event_id: str) -> str:
    return f"webhook|{event_id}"
