"""Events become occurrences of conferences and their calls, each event once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec
from sqlalchemy import and_, bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from loader.errors import BlockError, KeyFileError, StaleRevision
from loader.keyring import Keyring
from loader.model import Owner, Participant
from loader.roll import Admitted, Event, Joined, Left, Locked, Refused
from loader.store import tables as t
from loader.store.clock import is_old
from loader.store.deliveries import Outbox
from loader.store.lockouts import take_locked
from loader.store.rolls import BEGINNING, Caller, Ended, Progress, opened_caller, purpose
from loader.store.sealed import key_in_use
from loader.store.store import Store
from loader.webhooks import AboutCall, AboutOccurrence, EventType

_BIND_LIMIT: Final = 500
"""How many values one query is given; SQLite's smallest limit is 999."""


class _OpenOccurrence(msgspec.Struct):
    """An occurrence that is on, as it changes."""

    id: int
    conference_id: str
    company_id: str
    title: str
    started_at: float
    last_at: float
    present: int
    ended_at: float | None = None
    admitted: int = 0
    rejected: int = 0

    @property
    def told(self) -> AboutOccurrence:
        """As its company is told of it."""
        return AboutOccurrence(self.id, self.conference_id, self.title, self.started_at, self.ended_at)


class _KnownCall(msgspec.Struct):
    """A call as it changes; ``id`` is None until it is in the database. ``who`` opens who called."""

    id: int | None
    occurrence_id: int
    verification_id: str
    who: Callable[[], Participant | None]
    person: bytes | None
    admitted_at: float
    joined_at: float | None
    left_at: float | None
    ended: str | None

    @property
    def told(self) -> AboutCall:
        """As its company is told of it."""
        return AboutCall(self.verification_id, self.admitted_at, self.joined_at, self.left_at, self.ended, self.who())


class RollTaker:
    """Takes the events of journals. Every method raises DatabaseUnavailable if the database cannot be used now.

    `quiet` is how many seconds must pass after the last has left until an occurrence is over.
    """

    def __init__(self, store: Store, *, quiet: float) -> None:
        self._store = store
        self._quiet = quiet

    async def progress(self, journal_id: str) -> Progress:
        """How far this journal has come."""
        journal = t.journal.c
        rows = await self._store.all(select(journal.segment, journal.offset).where(journal.id == journal_id))
        return Progress(rows[0].segment, rows[0].offset) if rows else BEGINNING

    async def apply(
        self, keyring: Keyring, events: Sequence[Event], journal_id: str, since: Progress, now_at: Progress
    ) -> None:
        """Put a journal's events from one place to another into the rolls: all of it or nothing.

        Raises StaleRevision if the journal has come further meanwhile: another keeper has taken them.
        """
        await self.apply_all(keyring, events, {journal_id: (since, now_at)})

    async def apply_all(
        self, keyring: Keyring, events: Sequence[Event], taken: Mapping[str, tuple[Progress, Progress]]
    ) -> None:
        """The same of several journals, whose events are given in their order; `taken` is by the journal's ID."""
        async with self._store.transaction() as connection:
            for journal_id, (since, now_at) in taken.items():
                await _move_on(connection, journal_id, since, now_at)
            await _Applying(connection, await key_in_use(connection, keyring), self._quiet).apply(events)

    async def sweep(self, now: float, call_timeout: float, keyring: Keyring | None = None) -> list[int]:
        """End the calls of which nothing was heard for so many seconds, and the occurrences that all have left.

        The IDs of the occurrences that have ended. With a keyring, companies are told. Raises KeyFileError.
        """
        call, occurrence = t.call.c, t.occurrence.c
        silent = and_(call.ended.is_(None), is_old(call.admitted_at, now, call_timeout))
        over = and_(
            occurrence.ended_at.is_(None), occurrence.present <= 0, is_old(occurrence.last_at, now, self._quiet)
        )
        if not await self._store.all(select(call.id).where(silent).limit(1)) and not await self._store.all(
            select(occurrence.id).where(over).limit(1)
        ):
            return []
        async with self._store.transaction() as connection:
            if keyring is not None:
                await _tell_silent(connection, keyring, silent, now)
            counted = await connection.execute(
                select(call.occurrence_id, func.count().label("count")).where(silent).group_by(call.occurrence_id)
            )
            for occurrence_id, count in counted.all():
                await connection.execute(
                    update(t.occurrence)
                    .where(occurrence.id == occurrence_id)
                    .values(present=occurrence.present - count, last_at=now, version=occurrence.version + 1)
                )
            await connection.execute(update(t.call).where(silent).values(ended=Ended.SILENT.value))
            ended = await connection.execute(
                update(t.occurrence)
                .where(over)
                .values(ended_at=occurrence.last_at, version=occurrence.version + 1)
                .returning(*(occurrence[name] for name in _TOLD_OF_OCCURRENCE))
            )
            rows = ended.all()
            if keyring is not None:
                await _tell_ended(connection, keyring, rows, now)
            return [row.id for row in rows]


async def _move_on(connection: AsyncConnection, journal_id: str, since: Progress, now_at: Progress) -> None:
    """Raises StaleRevision if the journal stands elsewhere."""
    values = {"segment": now_at.segment, "offset": now_at.offset}
    journal = t.journal.c
    where = and_(journal.id == journal_id, journal.segment == since.segment, journal.offset == since.offset)
    if (await connection.execute(update(t.journal).where(where).values(**values))).rowcount == 0:
        known = (await connection.execute(select(journal.id).where(journal.id == journal_id))).first()
        if since != BEGINNING or known is not None:
            raise StaleRevision("the journal has come further")
        await connection.execute(insert(t.journal).values(id=journal_id, **values))


class _Applying:
    """One batch of events on its way into the database: looked up together, written together."""

    def __init__(self, connection: AsyncConnection, keyring: Keyring, quiet: float) -> None:
        self._connection = connection
        self._keyring = keyring
        self._quiet = quiet
        self._outbox = Outbox(connection, keyring)
        self._on: dict[str, _OpenOccurrence] = {}
        self._touched: dict[int, _OpenOccurrence] = {}
        self._conferences: dict[str, Any] = {}
        self._calls: dict[tuple[str, str], _KnownCall] = {}
        self._changed: dict[int, _KnownCall] = {}
        self._new: list[tuple[_KnownCall, dict[str, Any]]] = []
        self._known: set[str] = set()

    async def apply(self, events: Sequence[Event]) -> None:
        await self._look_up(events)
        companies = {occurrence.company_id for occurrence in self._touched.values()}
        await self._outbox.ask(companies | {row.company_id for row in self._conferences.values()})
        for event in events:
            match event:
                case Admitted():
                    await self._admitted(event)
                case Joined():
                    self._joined(event)
                case Left():
                    self._left(event)
                case Refused():
                    self._refused(event)
        locked = [event for event in events if isinstance(event, Locked)]
        await take_locked(self._connection, self._keyring, locked, self._conferences, self._outbox)
        await self._write()
        await self._outbox.write()

    def _tell(self, occurrence: _OpenOccurrence, event: EventType, at: float, call: _KnownCall | None = None) -> None:
        if self._outbox.wants(occurrence.company_id):
            self._outbox.add(occurrence.company_id, event, at, occurrence.told, call.told if call else None)

    async def _look_up(self, events: Sequence[Event]) -> None:
        held = {event.conference_id for event in events if isinstance(event, Admitted | Refused)}
        conferences = held | {event.conference_id for event in events if isinstance(event, Locked)}
        call_ids = {
            event.call_id
            for event in events
            if isinstance(event, Admitted | Joined | Left) and event.call_id is not None
        }
        occurrence, call, conference = t.occurrence.c, t.call.c, t.conference.c
        is_on = and_(occurrence.conference_id.in_(bindparam("some", expanding=True)), occurrence.ended_at.is_(None))
        for row in await self._in_slices(select(t.occurrence).where(is_on), held):
            on = _open(row.id, row)
            self._on[on.conference_id] = on
            self._touched[on.id] = on
        known = (
            select(conference.id, conference.title, conference.organizer_id, t.organizer.c.company_id)
            .join_from(t.conference, t.organizer)
            .where(conference.id.in_(bindparam("some", expanding=True)))
        )
        self._conferences = {row.id: row for row in await self._in_slices(known, conferences)}
        # The last call of each ID: a switch that counts its calls from 1 again has many under one.
        last = (
            select(func.max(call.id))
            .where(call.call_id.in_(bindparam("some", expanding=True)))
            .group_by(call.call_id, call.source)
        )
        calls = (
            select(t.call, *(occurrence[name] for name in _OF_OCCURRENCE))
            .join_from(t.call, t.occurrence)
            .where(call.id.in_(last))
        )
        for row in await self._in_slices(calls, call_ids):
            self._calls[row.source, row.call_id] = _KnownCall(
                row.id,
                row.occurrence_id,
                row.verification_id,
                partial(_participant, self._keyring, row),
                row.person,
                row.admitted_at,
                row.joined_at,
                row.left_at,
                row.ended,
            )
            if row.occurrence_id not in self._touched:
                self._touched[row.occurrence_id] = _open(row.occurrence_id, row)
        admitted = {event.verification_id for event in events if isinstance(event, Admitted)}
        told = select(call.verification_id).where(call.verification_id.in_(bindparam("some", expanding=True)))
        self._known = {row.verification_id for row in await self._in_slices(told, admitted)}

    async def _in_slices(self, query: Any, values: Iterable[str]) -> list[Any]:
        ordered = list(values)
        rows: list[Any] = []
        for at in range(0, len(ordered), _BIND_LIMIT):
            rows += (await self._connection.execute(query, {"some": ordered[at : at + _BIND_LIMIT]})).all()
        return rows

    async def _admitted(self, event: Admitted) -> None:
        if event.verification_id in self._known:
            return
        self._known.add(event.verification_id)
        key = None if event.call_id is None else (event.source, event.call_id)
        before = None if key is None else self._calls.get(key)
        person = None
        if event.owner:
            person = self._keyring.fingerprint(Owner.from_key(event.owner), event.pin, key_id=self._keyring.current)
        occurrence = await self._on_at(event)
        if occurrence is None:
            return
        if before is not None and before.ended is None:
            if before.occurrence_id == occurrence.id and before.person == person:
                # The switch asked twice for the same call.
                occurrence.last_at = max(occurrence.last_at, event.at)
                return
            self._end(before, event.at, Ended.MOVED)
        call = _KnownCall(
            None,
            occurrence.id,
            event.verification_id,
            lambda: event.participant,
            person,
            event.at,
            None,
            None,
            None,
        )
        occurrence.present += 1
        occurrence.admitted += 1
        occurrence.last_at = max(occurrence.last_at, event.at)
        if key is not None:
            self._calls[key] = call
        key_id = self._keyring.current
        caller = msgspec.msgpack.encode(Caller(event.participant, event.caller))
        sealed = self._keyring.seal_secret(purpose(event.verification_id), caller, key_id=key_id)
        values = {
            "source": event.source,
            "call_id": event.call_id,
            "verification_id": event.verification_id,
            "door": event.door,
            "person_key_id": self._keyring.current if person else None,
            "key_id": key_id,
            "sealed": sealed,
        }
        self._new.append((call, values))
        self._tell(occurrence, EventType.ADMITTED, event.at, call)

    async def _on_at(self, event: Admitted) -> _OpenOccurrence | None:
        """The occurrence that a caller comes into; None if the conference is no longer known."""
        on = self._on.get(event.conference_id)
        if on is not None and on.present <= 0 and on.last_at + self._quiet < event.at:
            on.ended_at = on.last_at
            self._tell(on, EventType.ENDED, on.ended_at)
            on = None
        if on is not None:
            return on
        conference = self._conferences.get(event.conference_id)
        if conference is None:
            return None
        inserted = await self._connection.execute(
            insert(t.occurrence)
            .values(
                conference_id=event.conference_id,
                company_id=conference.company_id,
                organizer_id=conference.organizer_id,
                title=conference.title,
                started_at=event.at,
                last_at=event.at,
                present=0,
                admitted=0,
                rejected=0,
                version=1,
            )
            .returning(t.occurrence.c.id)
        )
        on = _OpenOccurrence(
            inserted.scalar_one(), conference.id, conference.company_id, conference.title, event.at, event.at, 0
        )
        self._on[event.conference_id] = self._touched[on.id] = on
        return on

    def _joined(self, event: Joined) -> None:
        call = self._calls.get((event.source, event.call_id))
        if call is None or call.joined_at is not None:
            return
        # A clock may have been set back: nobody joins before he is admitted.
        call.joined_at = max(call.admitted_at, event.at if call.left_at is None else min(event.at, call.left_at))
        self._change(call, event.at)
        self._tell(self._touched[call.occurrence_id], EventType.JOINED, call.joined_at, call)

    def _left(self, event: Left) -> None:
        call = self._calls.get((event.source, event.call_id))
        if call is not None and call.left_at is None:
            self._end(call, event.at, Ended.LEFT)

    def _end(self, call: _KnownCall, at: float, how: Ended) -> None:
        if call.ended is None:
            self._touched[call.occurrence_id].present -= 1
        at = max(at, call.admitted_at, call.joined_at or 0.0)
        call.left_at = at
        call.ended = how.value
        self._change(call, at)
        self._tell(self._touched[call.occurrence_id], EventType.LEFT, at, call)

    def _change(self, call: _KnownCall, at: float) -> None:
        occurrence = self._touched[call.occurrence_id]
        if occurrence.ended_at is None:
            occurrence.last_at = max(occurrence.last_at, at)
        if call.id is not None:
            self._changed[call.id] = call

    def _refused(self, event: Refused) -> None:
        on = self._on.get(event.conference_id)
        if on is not None:
            on.rejected += event.count

    async def _write(self) -> None:
        if self._new:
            await self._connection.execute(
                insert(t.call),
                [values | _times(call) | {"occurrence_id": call.occurrence_id} for call, values in self._new],
            )
        if self._changed:
            await self._connection.execute(
                update(t.call)
                .where(t.call.c.id == bindparam("known"))
                .values({name: bindparam(f"new_{name}") for name in ("joined_at", "left_at", "ended")}),
                [
                    {
                        "known": id_,
                        "new_joined_at": call.joined_at,
                        "new_left_at": call.left_at,
                        "new_ended": call.ended,
                    }
                    for id_, call in self._changed.items()
                ],
            )
        for occurrence in self._touched.values():
            known = t.occurrence.c
            await self._connection.execute(
                update(t.occurrence)
                .where(known.id == occurrence.id)
                .values(
                    last_at=occurrence.last_at,
                    ended_at=occurrence.ended_at,
                    present=occurrence.present,
                    admitted=known.admitted + occurrence.admitted,
                    rejected=known.rejected + occurrence.rejected,
                    version=known.version + 1,
                )
            )


_OF_OCCURRENCE: Final = ("conference_id", "company_id", "title", "started_at", "last_at", "present", "ended_at")
_TOLD_OF_OCCURRENCE: Final = ("id", "conference_id", "company_id", "title", "started_at", "ended_at")


def _open(occurrence_id: int, row: Any) -> _OpenOccurrence:
    return _OpenOccurrence(occurrence_id, *(getattr(row, name) for name in _OF_OCCURRENCE))


def _participant(keyring: Keyring, row: Any) -> Participant | None:
    """Who called; nobody if that can no longer be opened: no event waits for it."""
    try:
        return opened_caller(keyring, row).participant
    except (BlockError, KeyFileError):
        return None


async def _tell_silent(connection: AsyncConnection, keyring: Keyring, silent: Any, now: float) -> None:
    """Tell companies of the calls that are about to end, as nothing was heard of them."""
    occurrence = t.occurrence.c
    told = (occurrence[name] for name in _TOLD_OF_OCCURRENCE if name != "id")
    companies = select(occurrence.company_id).join_from(t.call, t.occurrence).where(silent).distinct()
    outbox = Outbox(connection, await key_in_use(connection, keyring))
    await outbox.ask([row.company_id for row in (await connection.execute(companies)).all()])
    if not outbox.told:
        return
    query = select(t.call, *told).join_from(t.call, t.occurrence).where(silent)
    rows = await connection.execute(query.where(occurrence.company_id.in_(outbox.told)).order_by(t.call.c.id))
    for row in rows.all():
        about = AboutOccurrence(row.occurrence_id, row.conference_id, row.title, row.started_at, row.ended_at)
        who = _participant(keyring, row)
        call = AboutCall(row.verification_id, row.admitted_at, row.joined_at, None, Ended.SILENT.value, who)
        outbox.add(row.company_id, EventType.LEFT, now, about, call)
    await outbox.write()


async def _tell_ended(connection: AsyncConnection, keyring: Keyring, rows: Sequence[Any], now: float) -> None:
    """Tell companies of occurrences that have just ended."""
    outbox = Outbox(connection, await key_in_use(connection, keyring))
    await outbox.ask({row.company_id for row in rows})
    for row in rows:
        if outbox.wants(row.company_id):
            about = AboutOccurrence(row.id, row.conference_id, row.title, row.started_at, row.ended_at)
            outbox.add(row.company_id, EventType.ENDED, row.ended_at or now, about)
    await outbox.write()


def _times(call: _KnownCall) -> dict[str, Any]:
    return {
        "person": call.person,
        "admitted_at": call.admitted_at,
        "joined_at": call.joined_at,
        "left_at": call.left_at,
        "ended": call.ended,
    }
