"""What the throttle has locked, for people: who must wait, since when and until when, and being unlocked.

The throttle knows by itself what is locked; this is what it has told. A row stands until some time after its lock is
over. Of each company the rows are few, whatever comes: who guesses from a million numbers fills no database.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Select, and_, bindparam, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from loader.errors import BlockError, KeyFileError
from loader.keyring import Keyring
from loader.model import Kind
from loader.roll import Locked
from loader.store import tables as t
from loader.store.deliveries import Outbox
from loader.store.sealed import AT_ONCE, opened, seal_again
from loader.store.store import Store
from loader.webhooks import AboutLock, EventType

KEPT: Final = 500
"""Locks of a company that are kept, and as many that belong to no company: those that last longest."""
KEPT_AFTER: Final = 3600.0
"""Seconds for which a row is kept after its lock is over: what is told late of a lock before does not bring it back."""
UNLOCKS_KEPT_FOR: Final = 30 * 86400.0
"""Seconds for which the feed tells what was unlocked: a daemon that was away for longer counts as it did."""
UNLOCKS_KEPT: Final = 10_000
"""How much the feed tells of having been unlocked at most."""
TOLD_EVERY: Final = 3600.0
"""Seconds in which a company is told once that a conference is locked, and once that callers of it are."""

CALLER: Final = "caller"
CONFERENCE: Final = "conference"
SWITCH: Final = "switch"

_lockout: Final = t.lockout.c
_TOLD_AS: Final = {CALLER: EventType.CALLER_LOCKED, CONFERENCE: EventType.CONFERENCE_LOCKED}
_FIRST: Final = (_lockout.unlocked_at.is_not(None), _lockout.kind == CALLER, _lockout.until.desc(), _lockout.at.desc())
"""Conferences and switches before callers, and then what lasts longest."""


class Lockout(msgspec.Struct, frozen=True):
    """What must wait. Times are seconds since 1970 UTC; `until` is infinite where only a person unlocks.

    `company_id` and `organizer_id` are the conference's; they are None, and `conference_id` is empty, for a switch and for
    who guessed passcodes. `title` is None if the conference is no longer there. `caller` is None if the number was
    withheld, or if it `is_damaged` and cannot be read.
    """

    id: str
    kind: str
    company_id: str | None
    organizer_id: str | None
    conference_id: str
    title: str | None
    switch: str
    at: float
    until: float
    failures: int
    caller: str | None
    is_damaged: bool = False

    @property
    def about(self) -> str:
        """What the audit trail is told that it is about."""
        return self.conference_id or (self.switch if self.kind == SWITCH else "passcodes")

    @property
    def detail(self) -> str:
        """What the audit trail is told beside that; never a number, as nobody could take it out again."""
        return f"{self.kind} {self.id}"


class Lockouts:
    """Every method raises DatabaseUnavailable if the database cannot be used now."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def locked(
        self,
        keyring: Keyring,
        now: float,
        *,
        company_id: str | None = None,
        organizer_id: str | None = None,
        limit: int | None = None,
    ) -> list[Lockout]:
        """What is locked now, conferences and switches first, then what lasts longest. What is not given is not asked."""
        query = _described().where(_is_locked(now), *_whose(company_id, organizer_id)).order_by(*_FIRST, _lockout.id)
        return _opened(keyring, await self._store.all(query.limit(limit)))

    async def count(self, now: float, *, company_id: str | None = None, organizer_id: str | None = None) -> int:
        """How much is locked now."""
        query = select(func.count().label("counted")).select_from(t.lockout)
        (row,) = await self._store.all(query.where(_is_locked(now), *_whose(company_id, organizer_id)))
        return int(row.counted)

    async def is_full(self, now: float, *, company_id: str | None = None) -> bool:
        """Whether more may be locked than is kept: of a company, or of any if none is given."""
        counted = select(func.count().label("counted")).select_from(t.lockout)
        query = counted.where(_is_locked(now), *_whose(company_id, None)).group_by(_lockout.company_id)
        return any(row.counted >= KEPT for row in await self._store.all(query))

    async def lockout(self, keyring: Keyring, lockout_id: str) -> Lockout | None:
        """One of those that are kept, be it over or not."""
        found = _opened(keyring, await self._store.all(_described().where(_lockout.id == lockout_id)))
        return found[0] if found else None

    async def of_conferences(self, now: float, company_id: str) -> dict[str, dict[str, int]]:
        """How many of each kind are locked now at the conferences of a company, by the conference's ID."""
        query = (
            select(_lockout.conference_id, _lockout.kind, func.count().label("counted"))
            .where(_is_locked(now), _lockout.company_id == company_id)
            .group_by(_lockout.conference_id, _lockout.kind)
        )
        counts: dict[str, dict[str, int]] = {}
        for row in await self._store.all(query):
            counts.setdefault(row.conference_id, {})[row.kind] = row.counted
        return counts

    async def unlock(self, ids: Sequence[str], *, by: str, at: float) -> list[str]:
        """Have all daemons forget why these are locked; those that still were."""
        async with self._store.writing() as writing:
            return await writing.unlock(ids, by=by, at=at)

    async def erase_some(self, now: float) -> int:
        """Erase some hundred of the rows that have been over for some time, or of what the feed need no longer tell."""
        long_ago = now - KEPT_AFTER
        is_over = or_(_lockout.until < long_ago, _lockout.unlocked_at < long_ago)
        change = t.change.c
        is_unlock = change.kind == Kind.UNLOCK.value
        newest = select(change.position).where(is_unlock).order_by(change.position.desc())
        beyond = newest.offset(UNLOCKS_KEPT).limit(1).scalar_subquery()
        is_old = and_(is_unlock, or_(change.committed_at < now - UNLOCKS_KEPT_FOR, change.position <= beyond))
        over = [row.id for row in await self._store.all(select(_lockout.id).where(is_over).limit(AT_ONCE))]
        old = [row.position for row in await self._store.all(select(change.position).where(is_old).limit(AT_ONCE))]
        if over or old:
            async with self._store.transaction() as connection:
                # What was locked again meanwhile stays; what was unlocked again has another position.
                await connection.execute(delete(t.lockout).where(_lockout.id.in_(over), is_over))
                await connection.execute(delete(t.change).where(change.position.in_(old)))
        return len(over) + len(old)

    async def seal_again(self, keyring: Keyring, key_id: str) -> None:
        """Put who called under another key. Raises KeyFileError, BlockError."""
        await seal_again(self._store, keyring, t.lockout, lambda row: purpose(row.id), key_id)


async def take_locked(
    connection: AsyncConnection,
    keyring: Keyring,
    events: Collection[Locked],
    conferences: Mapping[str, Any],
    outbox: Outbox,
) -> None:
    """Note what was locked, in the transaction that takes the events; `conferences` are those that they name.

    The newest event of each key counts, in whatever order they come; what was unlocked since stays so.
    """
    newest: dict[str, Locked] = {}
    for event in sorted(events, key=lambda event: event.at):
        newest[event.key] = event
    known = await _last_told(connection, newest)
    fresh = [event for event in newest.values() if event.at > known.get(event.key, 0.0)]
    if not fresh:
        return
    rows = [_row(keyring, event, conferences.get(event.conference_id)) for event in fresh]
    new = [row for row in rows if row["id"] not in known]
    changed = [row for row in rows if row["id"] in known]
    if new:
        await connection.execute(insert(t.lockout), new)
    if changed:
        await connection.execute(_CHANGE, [{f"new_{name}": value for name, value in row.items()} for row in changed])
    for company_id in {row["company_id"] for row in new}:
        await _forget_most(connection, company_id)
    await _tell(fresh, conferences, outbox)


async def _last_told(connection: AsyncConnection, keys: Collection[str]) -> dict[str, float]:
    """Of what is known of these: when it was locked last, or unlocked if that was later."""
    known: dict[str, float] = {}
    wanted = list(keys)
    for begin in range(0, len(wanted), AT_ONCE):
        some = _lockout.id.in_(wanted[begin : begin + AT_ONCE])
        for row in await connection.execute(select(_lockout.id, _lockout.at, _lockout.unlocked_at).where(some)):
            known[row.id] = max(row.at, row.unlocked_at or 0.0)
    return known


def _row(keyring: Keyring, event: Locked, conference: Any) -> dict[str, Any]:
    key_id = keyring.current
    # Whose try was the last one before all had to wait is nobody's business.
    caller = msgspec.msgpack.encode(event.caller if event.kind == CALLER else None)
    return {
        "id": event.key,
        "kind": event.kind,
        "company_id": conference and conference.company_id,
        "organizer_id": conference and conference.organizer_id,
        "conference_id": event.conference_id,
        "switch": event.switch,
        "at": event.at,
        "until": event.until,
        "failures": event.failures,
        "unlocked_at": None,
        "unlocked_by": None,
        "key_id": key_id,
        "sealed": keyring.seal_secret(purpose(event.key), caller, key_id=key_id),
    }


_CHANGE: Final = (
    update(t.lockout)
    .where(
        _lockout.id == bindparam("new_id"),
        # It may be unlocked at this very moment.
        or_(_lockout.unlocked_at.is_(None), _lockout.unlocked_at < bindparam("new_at")),
    )
    .values({column.name: bindparam(f"new_{column.name}") for column in _lockout if column.name != "id"})
)


async def _forget_most(connection: AsyncConnection, company_id: str | None) -> None:
    """Keep of a company what lasts longest."""
    mine = _of_company(company_id)
    kept = select(_lockout.id).where(mine).order_by(*_FIRST).limit(KEPT)
    await connection.execute(delete(t.lockout).where(mine, _lockout.id.not_in(kept)))


async def _tell(events: Collection[Locked], conferences: Mapping[str, Any], outbox: Outbox) -> None:
    """Tell companies that want it: an attack on a conference is two events an hour, not one for each number."""
    first: dict[str, Locked] = {}
    for event in sorted(events, key=lambda event: event.at):
        conference = conferences.get(event.conference_id)
        if event.kind in _TOLD_AS and conference is not None and outbox.wants(conference.company_id):
            first.setdefault(f"{event.kind}|{event.conference_id}", event)
    told = await outbox.told_within(TOLD_EVERY, first)
    for about, event in first.items():
        if about in told:
            continue
        conference = conferences[event.conference_id]
        lock = AboutLock(conference.id, conference.title, event.at, event.until, event.failures)
        outbox.add(conference.company_id, _TOLD_AS[event.kind], event.at, lock=lock, about=about)


def purpose(lockout_id: str) -> str:
    return f"lockout|{lockout_id}"


def opened_number(keyring: Keyring, row: Any) -> str | None:
    """The calling number of a row of `lockout`. Raises KeyFileError, BlockError."""
    number: str | None = msgspec.msgpack.decode(opened(keyring, purpose(row.id), row), type=str | None)
    return number


def _described() -> Select[Any]:
    return select(t.lockout, t.conference.c.title).outerjoin(t.conference, t.conference.c.id == _lockout.conference_id)


def _is_locked(now: float) -> ColumnElement[bool]:
    return and_(_lockout.until > now, _lockout.unlocked_at.is_(None))


def _whose(company_id: str | None, organizer_id: str | None) -> list[ColumnElement[bool]]:
    wanted = []
    if company_id is not None:
        wanted.append(_lockout.company_id == company_id)
    if organizer_id is not None:
        wanted.append(_lockout.organizer_id == organizer_id)
    return wanted


def _of_company(company_id: str | None) -> ColumnElement[bool]:
    return _lockout.company_id.is_(None) if company_id is None else _lockout.company_id == company_id


def _opened(keyring: Keyring, rows: Sequence[Any]) -> list[Lockout]:
    fields = [name for name in Lockout.__struct_fields__ if name not in ("caller", "is_damaged")]
    found = []
    for row in rows:
        caller, is_damaged = None, False
        try:
            # A key that has come since the file was read is read once for all rows under it.
            keyring = keyring.holding(row.key_id)
            caller = opened_number(keyring, row)
        except (BlockError, KeyFileError):
            is_damaged = True
        found.append(Lockout(**{name: getattr(row, name) for name in fields}, caller=caller, is_damaged=is_damaged))
    return found
