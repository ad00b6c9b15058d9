"""Rolls in the database: occurrences of conferences, and the calls of each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, and_, delete, func, select, update

from loader.keyring import Keyring
from loader.model import Participant
from loader.store import tables as t
from loader.store.sealed import opened, seal_again
from loader.store.store import Store

_AT_ONCE: Final = 50
"""Calls that are erased in one transaction: each touches pages of six indexes, and others wait for it."""
_OCCURRENCES_AT_ONCE: Final = 50


class Ended(StrEnum):
    """How a call ended."""

    LEFT = "left"
    """The switch said so."""
    MOVED = "moved"
    """The same call was admitted elsewhere, or as somebody else."""
    SILENT = "silent"
    """Nothing was heard of it for so long that it was taken to be over."""


class Progress(NamedTuple):
    """How far a journal has come: a segment's number, and bytes of it."""

    segment: int
    offset: int


BEGINNING: Final = Progress(0, 0)
"""Before all segments."""


class Caller(msgspec.Struct, frozen=True, array_like=True):
    """What is sealed of a call: who it was, and the calling number."""

    participant: Participant | None
    caller: str | None


class Occurrence(msgspec.Struct, frozen=True):
    """One holding of a conference. Times are seconds since 1970 UTC; it is on while ``ended_at`` is None.

    ``present`` are calls that have not ended, ``admitted`` all of them, ``rejected`` verifications that were refused.
    ``version`` grows with every change. ``sent_at`` is when the roll was last mailed to its organizer, ``sent_to`` where
    to. From ``send_asked_at`` on it is to be mailed; ``send_failed`` says why it was not (see :mod:`loader.store.roll_mail`).
    """

    id: int
    conference_id: str
    company_id: str
    organizer_id: str
    title: str
    started_at: float
    last_at: float
    ended_at: float | None
    present: int
    admitted: int
    rejected: int
    version: int
    sent_at: float | None = None
    sent_to: str | None = None
    send_asked_at: float | None = None
    send_failed: str | None = None


class Call(msgspec.Struct, frozen=True):
    """One call of an occurrence, with who called. ``ended`` is None while the caller is in."""

    id: int
    door: str
    admitted_at: float
    joined_at: float | None
    left_at: float | None
    ended: Ended | None
    person: bytes | None
    person_key_id: str | None
    participant: Participant | None
    caller: str | None


class RollBook:
    """Every method raises DatabaseUnavailable if the database cannot be used now."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def knows(self, source: str, call_id: str) -> bool:
        """Whether this call was ever admitted."""
        call = t.call.c
        query = select(call.id).where(call.call_id == call_id, call.source == source).limit(1)
        return bool(await self._store.all(query))

    # What pages read

    async def occurrence(self, occurrence_id: int) -> Occurrence | None:
        rows = await self._store.all(select(*_OCCURRENCE).where(t.occurrence.c.id == occurrence_id))
        return Occurrence(**rows[0]._mapping) if rows else None  # noqa: SLF001 - SQLAlchemy's own way

    async def occurrences(
        self,
        *,
        company_id: str,
        organizer_id: str | None = None,
        conference_id: str | None = None,
        since: float | None = None,
        until: float | None = None,
        ended_since: float | None = None,
        is_on: bool | None = None,
        limit: int = 50,
        offset: int = 0,
    ) -> tuple[int, list[Occurrence]]:
        """How many there are of a company, and some of them, the newest first. What is not given is not looked at.

        `since` and `until` (without it) are about the start. `is_on` asks for those that are not over, or that are;
        `ended_since` for those that ended then or later.
        """
        known = t.occurrence.c
        wanted: list[ColumnElement[bool]] = [known.company_id == company_id]
        if organizer_id is not None:
            wanted.append(known.organizer_id == organizer_id)
        if conference_id is not None:
            wanted.append(known.conference_id == conference_id)
        if since is not None:
            wanted.append(known.started_at >= since)
        if until is not None:
            wanted.append(known.started_at < until)
        if ended_since is not None:
            wanted.append(known.ended_at >= ended_since)
        if is_on is not None:
            wanted.append(known.ended_at.is_(None) if is_on else known.ended_at.is_not(None))
        where = and_(*wanted)
        (counted,) = await self._store.all(select(func.count().label("counted")).select_from(t.occurrence).where(where))
        query = select(*_OCCURRENCE).where(where).order_by(known.started_at.desc(), known.id.desc())
        rows = await self._store.all(query.limit(limit).offset(offset))
        return counted.counted, [Occurrence(**row._mapping) for row in rows]  # noqa: SLF001

    async def version(self, occurrence_id: int) -> int:
        """Grows whenever anything of this roll changes; 0 if there is none."""
        rows = await self._store.all(select(t.occurrence.c.version).where(t.occurrence.c.id == occurrence_id))
        return int(rows[0].version) if rows else 0

    async def calls(self, keyring: Keyring, occurrence_id: int) -> list[Call]:
        """The calls of an occurrence in the order of admission. Raises KeyFileError, BlockError."""
        query = (
            select(t.call).where(t.call.c.occurrence_id == occurrence_id).order_by(t.call.c.admitted_at, t.call.c.id)
        )
        rows = await self._store.all(query)
        # Thousands of calls take a moment, in which others are not to wait.
        return await asyncio.to_thread(_calls, keyring, rows)

    # What is done to all of them

    async def sent(self, occurrence_id: int, at: float, to: str = "") -> None:
        """The roll was mailed to its organizer."""
        known = t.occurrence.c
        values = {"sent_at": at, "sent_to": to, "send_asked_at": None, "send_claimed_at": None, "send_failed": None}
        async with self._store.transaction() as connection:
            await connection.execute(
                update(t.occurrence).where(known.id == occurrence_id).values(**values, version=known.version + 1)
            )

    async def erase_some(self, company_id: str, before: float) -> int:
        """Erase some of the oldest calls of occurrences that ended before a time; how many.

        An occurrence goes with its last call. Who calls this until it is 0, with a pause between, disturbs nobody.
        """
        known, call = t.occurrence.c, t.call.c
        old = and_(known.company_id == company_id, known.started_at < before, known.ended_at < before)
        # The oldest, as the index gives them: to sort all that are old would take long, with the database locked.
        oldest = select(known.id).where(old).order_by(known.started_at).limit(_OCCURRENCES_AT_ONCE)
        occurrences = [row.id for row in await self._store.all(oldest)]
        if not occurrences:
            return 0
        async with self._store.transaction() as connection:
            some = select(call.id).where(call.occurrence_id.in_(occurrences)).limit(_AT_ONCE)
            ids = [row.id for row in (await connection.execute(some)).all()]
            await connection.execute(delete(t.call).where(call.id.in_(ids)))
            left = select(call.id).where(call.occurrence_id == known.id).exists()
            gone = await connection.execute(delete(t.occurrence).where(known.id.in_(occurrences), ~left))
            return len(ids) + gone.rowcount

    async def seal_again(self, keyring: Keyring, key_id: str) -> None:
        """Put who called under another key, some hundred calls at a time. Raises KeyFileError, BlockError."""
        await seal_again(self._store, keyring, t.call, lambda row: purpose(row.verification_id), key_id)


_OCCURRENCE: Final = [t.occurrence.c[field] for field in Occurrence.__struct_fields__]


def purpose(verification_id: str) -> str:
    return f"call|{verification_id}"


def opened_caller(keyring: Keyring, row: Any) -> Caller:
    """Who called, of a row of `call`. Raises KeyFileError, BlockError."""
    return msgspec.msgpack.decode(opened(keyring, purpose(row.verification_id), row), type=Caller)


def _calls(keyring: Keyring, rows: Iterable[Any]) -> list[Call]:
    found = []
    for row in rows:
        # A key that has come since the file was read is read once for all calls under it.
        keyring = keyring.holding(row.key_id)
        found.append(_call(keyring, row))
    return found


def _call(keyring: Keyring, row: Any) -> Call:
    who = opened_caller(keyring, row)
    ended = None if row.ended is None else Ended(row.ended)
    return Call(
        row.id,
        row.door,
        row.admitted_at,
        row.joined_at,
        row.left_at,
        ended,
        row.person,
        row.person_key_id,
        who.participant,
        who.caller,
    )
