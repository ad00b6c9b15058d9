"""Invitations: when a conference is held, who is to be invited to it, and what became of that.

An invitation waits, is claimed by the one process that sends it, and is then sent or failed. It is sent at most once:
if that process ends in between, nobody knows whether the mail has left, and the invitation fails as interrupted.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, and_, case, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from loader.errors import NotFound
from loader.keyring import Keyring
from loader.model import Level, Owner
from loader.store import tables as t
from loader.store.choices import Choices, DialIn
from loader.store.clock import LONGEST_WAIT, is_old
from loader.store.sealed import AT_ONCE, key_in_use, opened
from loader.store.store import Store

IDLE: Final = 5.0
"""Seconds until the next look where nothing waits: another process may have queued something, and stopped."""
INTERRUPTED: Final = "interrupted"
"""Why an invitation failed whose sender stopped in between."""


class State(StrEnum):
    """What has become of an invitation."""

    WAITING = "waiting"
    SENT = "sent"
    FAILED = "failed"


class Guest(msgspec.Struct, frozen=True, array_like=True):
    """Who is invited: what is sealed of an invitation."""

    pin: str
    first_name: str
    last_name: str
    email: str


class Date(msgspec.Struct, frozen=True):
    """When a conference is held. ``starts_at`` and ``changed_at`` are seconds since 1970 UTC."""

    starts_at: float
    minutes: int
    time_zone: str
    changed_at: float


class Held(msgspec.Struct, frozen=True):
    """All that an invitation says of a conference, as it is in force."""

    id: str
    title: str
    passcode: str
    pin_entry: bool
    organizer_id: str
    organizer_name: str
    organizer_email: str
    company_id: str
    authorization_code: str
    dial_in: tuple[DialIn, ...]
    date: Date | None

    @property
    def owners(self) -> tuple[Owner, ...]:
        """Whose lists are asked, in that order."""
        return (
            Owner(Level.ORGANIZER, self.organizer_id),
            Owner(Level.AUTHORIZATION_CODE, self.authorization_code),
            Owner(Level.COMPANY, self.company_id),
        )


class Invitation(msgspec.Struct, frozen=True):
    """One invitation. Times are seconds since 1970 UTC; ``failed`` is a word, and what the mail server said."""

    id: int
    conference_id: str
    owner: Owner
    guest: Guest
    language: str
    queued_at: float
    next_at: float
    attempts: int
    claimed_at: float | None
    sent_at: float | None
    failed: str | None

    @property
    def state(self) -> State:
        return _state(self.sent_at, self.failed)


class Counts(msgspec.Struct, frozen=True):
    """How many invitations of a conference there are of each kind; ``last_id`` is the newest's, 0 without one."""

    waiting: int
    sent: int
    failed: int
    last_id: int


class Invitations:
    """Every method raises DatabaseUnavailable if the database cannot be used now."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # The conference

    async def held(self, conference_id: str) -> Held | None:
        """What an invitation says of a conference."""
        conference, organizer, date = t.conference.c, t.organizer.c, t.conference_date.c
        query = (
            select(
                conference.id,
                conference.title,
                conference.passcode,
                conference.pin_entry,
                conference.organizer_id,
                organizer.name.label("organizer_name"),
                organizer.email.label("organizer_email"),
                organizer.company_id,
                organizer.authorization_code,
                date.starts_at,
                date.minutes,
                date.time_zone,
                date.changed_at,
            )
            .join_from(t.conference, t.organizer)
            .outerjoin(t.conference_date, date.conference_id == conference.id)
            .where(conference.id == conference_id)
        )
        for row in await self._store.all(query):
            values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's own way
            when = [values.pop(name) for name in Date.__struct_fields__]
            choice = await Choices(self._store).of(row.company_id)
            return Held(**values, dial_in=choice.dial_in, date=None if when[0] is None else Date(*when))
        return None

    async def dates(self, conference_ids: Collection[str]) -> dict[str, Date]:
        """When these conferences are held, as far as they have a date."""
        date = t.conference_date.c
        found = {}
        wanted = list(conference_ids)
        for at in range(0, len(wanted), AT_ONCE):
            query = select(t.conference_date).where(date.conference_id.in_(wanted[at : at + AT_ONCE]))
            for row in await self._store.all(query):
                found[row.conference_id] = Date(row.starts_at, row.minutes, row.time_zone, row.changed_at)
        return found

    async def put_date(self, conference_id: str, date: Date | None) -> None:
        """Set when a conference is held, or take its date away."""
        known = t.conference_date.c.conference_id == conference_id
        async with self._store.transaction() as connection:
            await connection.execute(delete(t.conference_date).where(known))
            if date is not None:
                values = msgspec.structs.asdict(date)
                await connection.execute(insert(t.conference_date).values(conference_id=conference_id, **values))

    # What pages ask for and show

    async def queue(
        self,
        keyring: Keyring,
        conference_id: str,
        owner: Owner,
        guests: Sequence[Guest],
        *,
        by: str,
        language: str,
        at: float,
        again: bool,
        seen: int,
    ) -> int:
        """Have people of a list invited; how many are now waiting that were not.

        Left out is who waits already, who was queued after the invitation `seen` (the last that the page knew of, so
        that a form sent twice invites once), and, but for `again`, who was sent one. An earlier one that failed goes.
        Raises NotFound if there is no such conference, KeyFileError.
        """
        invitation = t.invitation.c
        ours = _of(conference_id, owner)
        async with self._store.transaction() as connection:
            await _lock(connection, conference_id)
            ring = await key_in_use(connection, keyring)
            known = await self._known(connection, ring, ours)
            new = []
            for guest in guests:
                person = ring.fingerprint(owner, guest.pin, key_id=ring.current)
                rows = known.get(person, [])
                if any(
                    row.id > seen or (row.sent_at is None and row.failed is None) or (row.sent_at and not again)
                    for row in rows
                ):
                    continue
                new.append((guest, person))
                failed = [row.id for row in rows if row.failed is not None]
                if failed:
                    await connection.execute(delete(t.invitation).where(invitation.id.in_(failed)))
            values = [
                {
                    "conference_id": conference_id,
                    "level": owner.level.value,
                    "owner_id": owner.id,
                    "person": person,
                    "queued_by": by,
                    "queued_at": at,
                    "language": language,
                    "next_at": at,
                    "attempts": 0,
                    "key_id": ring.current,
                    "sealed": _seal(ring, conference_id, owner, guest),
                }
                for guest, person in new
            ]
            if values:
                await connection.execute(insert(t.invitation), values)
            return len(values)

    async def states(
        self, keyring: Keyring, conference_id: str, owner: Owner, pins: Collection[str]
    ) -> dict[str, State]:
        """What became of the last invitation of each PIN of a list that was ever invited."""
        ours = _of(conference_id, owner)
        async with self._store.transaction() as connection:
            ring = await key_in_use(connection, keyring)
            known = await self._known(connection, ring, ours)
        states = {}
        for pin in pins:
            rows = known.get(ring.fingerprint(owner, pin, key_id=ring.current))
            if rows:
                last = max(rows, key=lambda row: row.id)
                states[pin] = _state(last.sent_at, last.failed)
        return states

    async def counts(self, conference_id: str) -> Counts:
        invitation = t.invitation.c
        sent = func.count(invitation.sent_at)
        failed = func.count(invitation.failed)
        query = select(
            func.count().label("of_all"),
            sent.label("sent"),
            failed.label("failed"),
            func.coalesce(func.max(invitation.id), 0).label("last_id"),
        ).where(invitation.conference_id == conference_id)
        (row,) = await self._store.all(query)
        return Counts(row.of_all - row.sent - row.failed, row.sent, row.failed, row.last_id)

    async def invitations(
        self, keyring: Keyring, conference_id: str, *, limit: int = 50, offset: int = 0
    ) -> list[Invitation]:
        """Some invitations of a conference: those that failed first, then those that wait, then the newest."""
        invitation = t.invitation.c
        order: ColumnElement[int] = case(
            (invitation.failed.is_not(None), 0), (invitation.sent_at.is_(None), 1), else_=2
        )
        query = select(t.invitation).where(invitation.conference_id == conference_id)
        rows = await self._store.all(query.order_by(order, invitation.id.desc()).limit(limit).offset(offset))
        return [_invitation(keyring, row) for row in rows]

    async def invitation(self, keyring: Keyring, conference_id: str, invitation_id: int) -> Invitation | None:
        invitation = t.invitation.c
        query = select(t.invitation).where(invitation.id == invitation_id, invitation.conference_id == conference_id)
        rows = await self._store.all(query)
        return _invitation(keyring, rows[0]) if rows else None

    async def stop(self, conference_id: str) -> int:
        """Forget those that wait and nobody is sending; how many."""
        invitation = t.invitation.c
        async with self._store.transaction() as connection:
            stopped = await connection.execute(
                delete(t.invitation).where(
                    invitation.conference_id == conference_id, _WAITING, invitation.claimed_at.is_(None)
                )
            )
            return int(stopped.rowcount)

    # What the sender does

    async def claim(self, keyring: Keyring, now: float, *, interval: float, stale: float) -> Invitation | float:
        """Take one on that is due, or how many seconds there are until one may be.

        Between two claims of whatever process there are at least `interval` seconds. Those that were claimed before
        `stale` and never came to an end fail as interrupted. Raises KeyFileError, BlockError.
        """
        invitation = t.invitation.c
        (row,) = await self._store.all(select(func.min(invitation.next_at).label("next_at")).where(_WAITING))
        if row.next_at is None:
            return IDLE
        async with self._store.transaction() as connection:
            await connection.execute(
                update(t.invitation)
                .where(_WAITING, is_old(invitation.claimed_at, now, now - stale))
                .values(failed=INTERRUPTED)
            )
            last = (await connection.execute(select(func.max(invitation.claimed_at)))).scalar()
            if last is not None and 0 <= now - last < interval:
                return float(last + interval - now)
            free = and_(_WAITING, invitation.claimed_at.is_(None))
            due = (
                await connection.execute(
                    select(t.invitation).where(free).order_by(invitation.next_at, invitation.id).limit(1)
                )
            ).first()
            if due is None:
                return IDLE
            if now < due.next_at <= now + LONGEST_WAIT:
                return min(IDLE, float(due.next_at - now))
            claimed = await connection.execute(
                update(t.invitation).where(invitation.id == due.id, free).values(claimed_at=now)
            )
            if not claimed.rowcount:
                return 0.0
        return _invitation(keyring, due)

    async def sent(self, invitation_id: int, at: float) -> None:
        await self._set(invitation_id, sent_at=at, failed=None)

    async def failed(self, invitation_id: int, why: str) -> None:
        """It was not sent, and is not tried again until somebody asks for it."""
        await self._set(invitation_id, failed=why[:200])

    async def later(self, invitation_id: int, next_at: float) -> None:
        """It could not be sent now."""
        await self._set(invitation_id, next_at=next_at, claimed_at=None, attempts=t.invitation.c.attempts + 1)

    # What is done to all of them

    async def forget(self, before: float) -> None:
        """Forget invitations that were queued before a time."""
        async with self._store.transaction() as connection:
            await connection.execute(delete(t.invitation).where(t.invitation.c.queued_at < before, ~_WAITING))

    async def seal_again(self, keyring: Keyring, key_id: str) -> None:
        """Put who was invited under another key, some hundred at a time. Raises KeyFileError, BlockError."""
        invitation = t.invitation.c
        while True:
            async with self._store.transaction() as connection:
                query = select(t.invitation).where(invitation.key_id != key_id).limit(AT_ONCE)
                rows = (await connection.execute(query)).all()
                if not rows:
                    return
                for row in rows:
                    owner, guest = _owner(row), opened_guest(keyring, row)
                    values = {
                        "key_id": key_id,
                        "sealed": _seal(keyring, row.conference_id, owner, guest, key_id),
                        "person": keyring.fingerprint(owner, guest.pin, key_id=key_id),
                    }
                    await connection.execute(update(t.invitation).where(invitation.id == row.id).values(**values))

    async def _set(self, invitation_id: int, **values: Any) -> None:
        async with self._store.transaction() as connection:
            await connection.execute(update(t.invitation).where(t.invitation.c.id == invitation_id).values(**values))

    async def _known(
        self, connection: AsyncConnection, ring: Keyring, ours: ColumnElement[bool]
    ) -> dict[bytes, list[_Known]]:
        """The invitations of a list to a conference, by person: as the key in use tells persons."""
        invitation = t.invitation.c
        known: dict[bytes, list[_Known]] = {}
        for row in (await connection.execute(select(t.invitation).where(ours).order_by(invitation.id))).all():
            person = row.person
            if row.key_id != ring.current:
                # A rotation of the key has not come so far.
                person = ring.fingerprint(_owner(row), opened_guest(ring, row).pin, key_id=ring.current)
            known.setdefault(person, []).append(_Known(row.id, row.sent_at, row.failed))
        return known


class _Known(msgspec.Struct, frozen=True):
    id: int
    sent_at: float | None
    failed: str | None


_WAITING: Final = and_(t.invitation.c.sent_at.is_(None), t.invitation.c.failed.is_(None))


def _state(sent_at: float | None, failed: str | None) -> State:
    if sent_at is not None:
        return State.SENT
    return State.WAITING if failed is None else State.FAILED


async def _lock(connection: AsyncConnection, conference_id: str) -> None:
    """Nobody else queues for this conference until the transaction ends. Raises NotFound."""
    query = select(t.conference.c.id).where(t.conference.c.id == conference_id).with_for_update()
    if (await connection.execute(query)).first() is None:
        raise NotFound("there is no such conference")


def _of(conference_id: str, owner: Owner) -> ColumnElement[bool]:
    invitation = t.invitation.c
    return and_(
        invitation.conference_id == conference_id,
        invitation.level == owner.level.value,
        invitation.owner_id == owner.id,
    )


def _owner(row: Any) -> Owner:
    return Owner(Level(row.level), row.owner_id)


def _purpose(conference_id: str, owner: Owner) -> str:
    return f"invitation|{conference_id}|{owner.key}"


def _seal(ring: Keyring, conference_id: str, owner: Owner, guest: Guest, key_id: str = "") -> bytes:
    return ring.seal_secret(
        _purpose(conference_id, owner), msgspec.msgpack.encode(guest), key_id=key_id or ring.current
    )


def opened_guest(keyring: Keyring, row: Any) -> Guest:
    """Who is invited, of a row of `invitation`. Raises KeyFileError, BlockError."""
    return msgspec.msgpack.decode(opened(keyring, _purpose(row.conference_id, _owner(row)), row), type=Guest)


def _invitation(keyring: Keyring, row: Any) -> Invitation:
    return Invitation(
        row.id,
        row.conference_id,
        _owner(row),
        opened_guest(keyring, row),
        row.language,
        row.queued_at,
        row.next_at,
        row.attempts,
        row.claimed_at,
        row.sent_at,
        row.failed,
    )
