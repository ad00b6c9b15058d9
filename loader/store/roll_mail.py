"""Which rolls are to be mailed to their organizers, and who is at it.

A roll is asked for: by somebody on the site, or because its organizer has chosen so and the occurrence is over. A
process claims it before it sends it, so that no two send it. One that stops in between leaves a claim that is
taken over when it is stale: a roll may then be sent twice, and is never forgotten.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import ColumnElement, and_, case, func, insert, or_, select, update

from loader.store import tables as t
from loader.store.clock import is_old, is_over
from loader.store.store import Store

_BIND_LIMIT = 100
"""Rolls in one transaction."""


class Asked(msgspec.Struct, frozen=True):
    """A roll that was claimed: whose it is, and how often it was tried before."""

    id: int
    attempts: int
    asked_at: float


class Recipient(msgspec.Struct, frozen=True):
    """The organizer that a roll goes to; `language` is her user's, if there is one who has chosen one."""

    name: str
    email: str
    language: str | None


class RollMail:
    """Every method raises DatabaseUnavailable if the database cannot be used now."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # What organizers choose

    async def choice(self, organizer_id: str) -> bool:
        """Whether the organizer is sent each roll when the occurrence is over."""
        choice = t.organizer_choice.c
        rows = await self._store.all(select(choice.send_roll).where(choice.organizer_id == organizer_id))
        return bool(rows and rows[0].send_roll)

    async def choose(self, organizer_id: str, at: float, *, send: bool) -> bool:
        """Choose it from now on; whether that is a change. Occurrences that ended before are not touched."""
        choice = t.organizer_choice.c
        known = choice.organizer_id == organizer_id
        values = {"send_roll": send, "chosen_at": at}
        async with self._store.transaction() as connection:
            before = (await connection.execute(select(choice.send_roll).where(known))).scalar()
            if bool(before) == send:
                return False
            if before is None:
                await connection.execute(insert(t.organizer_choice).values(organizer_id=organizer_id, **values))
            else:
                await connection.execute(update(t.organizer_choice).where(known).values(**values))
            return True

    # What is to be sent

    async def ask(self, occurrence_id: int, at: float) -> bool:
        """Have a roll mailed; False if it is on its way already."""
        known = t.occurrence.c
        async with self._store.transaction() as connection:
            asked = await connection.execute(
                update(t.occurrence)
                .where(known.id == occurrence_id, known.send_asked_at.is_(None))
                .values(
                    send_asked_at=at,
                    send_claimed_at=None,
                    send_next_at=None,
                    send_attempts=0,
                    send_failed=None,
                    version=known.version + 1,
                )
            )
            return bool(asked.rowcount)

    async def ask_for_chosen(self, ended_since: float, at: float) -> int:
        """Ask for what organizers have chosen: each occurrence that ended since a time and since the choice; how many.

        What was sent, asked for or failed before is left alone.
        """
        known, choice = t.occurrence.c, t.organizer_choice.c
        due = and_(
            known.ended_at >= ended_since,
            known.sent_at.is_(None),
            known.send_asked_at.is_(None),
            known.send_failed.is_(None),
            choice.send_roll.is_(True),
            known.ended_at >= choice.chosen_at,
        )
        query = select(known.id).join(t.organizer_choice, choice.organizer_id == known.organizer_id).where(due)
        rows = await self._store.all(query.limit(_BIND_LIMIT))
        return sum([await self.ask(row.id, at) for row in rows])

    async def claim(self, now: float, stale: float) -> Asked | None:
        """Take one on that is due, if there is one. Claims from before `stale` count for nothing."""
        known = t.occurrence.c
        due = and_(
            known.send_asked_at.is_not(None),
            or_(known.send_claimed_at.is_(None), is_old(known.send_claimed_at, now, now - stale)),
            or_(known.send_next_at.is_(None), is_over(known.send_next_at, now)),
        )
        query = select(known.id, known.send_attempts, known.send_asked_at).where(due).order_by(known.send_asked_at)
        for row in await self._store.all(query.limit(_BIND_LIMIT)):
            async with self._store.transaction() as connection:
                claimed = await connection.execute(
                    update(t.occurrence).where(known.id == row.id, due).values(send_claimed_at=now)
                )
                if claimed.rowcount:
                    return Asked(row.id, row.send_attempts or 0, row.send_asked_at)
        return None

    async def later(self, occurrence_id: int, next_at: float) -> None:
        """It could not be sent now."""
        known = t.occurrence.c
        values = {"send_claimed_at": None, "send_next_at": next_at}
        attempts = func.coalesce(known.send_attempts, 0) + 1
        async with self._store.transaction() as connection:
            await connection.execute(
                update(t.occurrence).where(known.id == occurrence_id).values(**values, send_attempts=attempts)
            )

    async def failed(self, occurrence_id: int, why: str) -> None:
        """It was not sent, and is not tried again until somebody asks for it."""
        known = t.occurrence.c
        values = {"send_asked_at": None, "send_claimed_at": None, "send_failed": why[:200]}
        async with self._store.transaction() as connection:
            await connection.execute(
                update(t.occurrence).where(known.id == occurrence_id).values(**values, version=known.version + 1)
            )

    async def recipient(self, organizer_id: str) -> Recipient | None:
        """Where her rolls go; None if there is no such organizer any more."""
        organizer, user = t.organizer.c, t.app_user.c
        rows = await self._store.all(select(organizer.name, organizer.email).where(organizer.id == organizer_id))
        if not rows:
            return None
        # A super-administrator may be an organizer too: her own user comes first.
        own: ColumnElement[int] = case((user.role == "organizer", 0), else_=1)
        languages = await self._store.all(
            select(user.language)
            .where(user.organizer_id == organizer_id, user.language.is_not(None))
            .order_by(own, user.id)
            .limit(1)
        )
        return Recipient(rows[0].name, rows[0].email, languages[0].language if languages else None)
