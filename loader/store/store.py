"""One open database: what is read from it, and the transactions that write to it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from itertools import chain, groupby
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Select, and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from loader.errors import DatabaseVersionError, NotFound
from loader.model import (
    Change,
    Conference,
    DaemonState,
    Kind,
    Level,
    ListRevision,
    Owner,
    Passcode,
    Position,
    Switch,
    SwitchToken,
)
from loader.store import engine as engines
from loader.store import schema
from loader.store import tables as t
from loader.store.writing import Writing, key_ids

_FETCHED_AT_ONCE: Final = 200
_SMALL: Final = 32 * 1024
"""Bytes of a block up to which blocks are fetched by the hundred; larger ones are fetched part by part."""
_BIND_LIMIT: Final = 500
"""How many values one query is given; SQLite's smallest limit is 999."""


class Store:
    """One database, open. Every method raises DatabaseUnavailable if the database cannot be used now.

    Who leaves one of the iterators before its end closes it (`contextlib.aclosing`): it holds a connection.
    """

    def __init__(self, engine: AsyncEngine, writer: AsyncEngine, name: str) -> None:
        self._engine = engine
        # Connections of their own: who reads is not to wait for those who wait for a lock.
        self._writer = engines.writing(writer)
        self.name = name

    @asynccontextmanager
    async def _reading(self) -> AsyncGenerator[AsyncConnection]:
        with engines.errors_translated(self.name):
            async with self._engine.connect() as connection:
                yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncGenerator[Writing]:
        """One transaction that writes: committed as a whole at the end, or not at all if anything is raised."""
        with engines.errors_translated(self.name):
            async with self._writer.begin() as connection:
                writing = Writing(connection)
                yield writing
                await writing.finish()

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[AsyncConnection]:
        """As :meth:`writing`, for what the feed does not tell of. For the modules of this package."""
        with engines.errors_translated(self.name):
            async with self._writer.begin() as connection:
                yield connection

    @asynccontextmanager
    async def together(self) -> AsyncGenerator[Store]:
        """The same database, where all that is read and written is one transaction: committed at the end, or not at all.

        Others who write wait for it: nothing in it takes long.
        """
        async with self.transaction() as connection:
            yield _Together(self._engine, self._writer, self.name, connection)

    async def all(self, query: Select[Any]) -> Sequence[Row[Any]]:
        """The rows of a query. For the modules of this package."""
        async with self._reading() as connection:
            rows: Sequence[Row[Any]] = (await connection.execute(query)).all()
            return rows

    async def check_version(self) -> None:
        """Raises DatabaseVersionError unless the schema is the one that this program was written for."""
        async with self._reading() as connection:
            await schema.check_version(connection, self.name)

    # The feed

    async def position(self) -> Position:
        """Where the feed of changes is now."""
        (row,) = await self.all(select(t.feed.c.position))
        return Position(row.position)

    async def changes_since(self, position: Position) -> list[Change]:
        """Each thing that has changed after this position, once, in the order of its latest change."""
        query = select(t.change).where(t.change.c.position > position).order_by(t.change.c.position)
        async with self._reading() as connection:
            return [
                Change(Kind(row.kind), row.id, Position(row.position), row.committed_at)
                async for rows in _stream(connection, query)
                for row in rows
            ]

    async def unlocks(self) -> list[Change]:
        """All that the feed still tells of having been unlocked."""
        query = select(t.change).where(t.change.c.kind == Kind.UNLOCK.value).order_by(t.change.c.position)
        return [Change(Kind.UNLOCK, row.id, Position(row.position), row.committed_at) for row in await self.all(query)]

    # Conferences and switches

    async def conferences(
        self, *, ids: Collection[str] | None = None, organizers: Collection[str] | None = None
    ) -> AsyncGenerator[Conference]:
        """The conferences with these IDs or of these organizers; all of them if neither is given."""
        known = t.conference.c
        query: Select[Any] = select(
            known.id,
            known.organizer_id,
            known.title,
            known.passcode,
            known.pin_entry,
            t.organizer.c.authorization_code,
            t.organizer.c.company_id,
        ).join_from(t.conference, t.organizer)
        if ids is None and organizers is None:
            queries = iter((query,))
        else:
            # Made one by one: each takes a moment.
            queries = chain(
                (query.where(t.conference.c.id.in_(some)) for some in _slices(ids or ())),
                (query.where(t.organizer.c.id.in_(some)) for some in _slices(organizers or ())),
            )
        async with self._reading() as connection:
            for one in queries:
                async for rows in _stream(connection, one):
                    for conference_id, organizer, title, passcode, pin_entry, code, company in rows:
                        owners = (
                            Owner(Level.ORGANIZER, organizer),
                            Owner(Level.AUTHORIZATION_CODE, code),
                            Owner(Level.COMPANY, company),
                        )
                        yield Conference(conference_id, title, Passcode(passcode), organizer, pin_entry, owners)

    async def conference(self, passcode: str) -> Conference | None:
        """The conference that has this passcode."""
        rows = await self.all(select(t.conference.c.id).where(t.conference.c.passcode == passcode))
        found = [conference async for conference in self.conferences(ids=[row.id for row in rows])]
        return found[0] if found else None

    async def key_in_use(self) -> str | None:
        """The ID of the key that new revisions are encrypted under; None before any."""
        rows = await self.all(select(t.key_in_use.c.key_id))
        return str(rows[0].key_id) if rows else None

    async def key_ids(self) -> set[str]:
        """The IDs of the key in use and of all keys that anything is sealed under."""
        return {str(row.key_id) for row in await self.all(key_ids())}

    async def switch(self, switch_id: str) -> Switch:
        """Raises NotFound."""
        for switch in await self.switches():
            if switch.id == switch_id:
                return switch
        raise NotFound(f"there is no switch {switch_id}")

    async def switches(self) -> list[Switch]:
        token = t.switch_token.c
        query = (
            select(t.switch, token.hash, token.created_at.label("made_at"), token.expires_at)
            .outerjoin(t.switch_token)
            # The one without an end is the newest, also where two were made in the same moment.
            .order_by(t.switch.c.id, token.created_at, token.expires_at.is_(None))
        )
        switches = []
        for _, group in groupby(await self.all(query), lambda row: row.id):
            rows = list(group)
            tokens = tuple(SwitchToken(row.hash, row.made_at, row.expires_at) for row in rows if row.hash is not None)
            of, networks = rows[0], tuple(rows[0].networks.split())
            switches.append(Switch(of.id, of.created_at, tokens, networks, of.rate))
        return switches

    async def daemons(self) -> list[DaemonState]:
        rows = await self.all(select(t.daemon_state).order_by(t.daemon_state.c.id))
        return [
            DaemonState(row.id, row.version, row.started_at, Position(row.position), row.applied_at, row.seen_at)
            for row in rows
        ]

    async def owner_exists(self, owner: Owner) -> bool:
        """Whether there is such an organizer, authorization code or company."""
        key = t.OWNER_KEYS[owner.level]
        return bool(await self.all(select(key).where(key == owner.id)))

    # Lists

    async def lists(self) -> AsyncGenerator[ListRevision]:
        """The revision in force of every list."""
        async with self._reading() as connection:
            async for rows in _stream(connection, _in_force().order_by(*_OWNER)):
                for row in rows:
                    yield _list_revision(row)

    async def list_head(self, owner: Owner, revision: int | None = None) -> ListRevision | None:
        """The revision in force of an owner's list, or a kept one; None if there is none."""
        query = _in_force() if revision is None else select(_revisions).where(_revisions.c.revision == revision)
        rows = await self.all(query.where(_is_owner(owner)))
        return _list_revision(rows[0]) if rows else None

    async def revisions(self, owner: Owner) -> list[ListRevision]:
        """The kept revisions of a list, the newest first."""
        query = select(_revisions).where(_is_owner(owner)).order_by(_revisions.c.revision.desc())
        return [_list_revision(row) for row in await self.all(query)]

    async def revisions_under_other_keys(self, key_id: str) -> list[ListRevision]:
        """What is still encrypted under another key."""
        query = select(_revisions).where(_revisions.c.key_id != key_id).order_by(*_OWNER, _revisions.c.revision)
        return [_list_revision(row) for row in await self.all(query)]

    async def parts(self, listed: ListRevision) -> AsyncGenerator[bytes]:
        """The encrypted parts of a kept revision in order, fetched one by one.

        There are none if the revision is no longer kept, or was put under another key in the meantime.
        """
        query = (
            select(_parts.c.ciphertext)
            .join(_revisions, _is_part)
            .where(
                _is_owner(listed.owner),
                _revisions.c.revision == listed.revision,
                _revisions.c.key_id == listed.key_id,
            )
            .order_by(_parts.c.part)
        )
        async with self._reading() as connection:
            async for ((ciphertext,),) in _stream(connection, query, at_once=1):
                yield ciphertext

    async def lists_with_parts(self) -> AsyncGenerator[tuple[ListRevision, bytes]]:
        """Every part of every list in force, in order, list after list. For the first load.

        Small lists come first. A list that has lost all its parts comes once, with an empty one. Who read the feed's
        position before misses nothing.
        """
        query = _in_force().add_columns(_parts.c.ciphertext).outerjoin(_parts, _is_part)
        small = query.where(_revisions.c.size <= _SMALL)
        large = query.where(_revisions.c.size > _SMALL).order_by(*_OWNER, _parts.c.part)
        async with self._reading() as connection:
            for one, at_once in ((small, _FETCHED_AT_ONCE), (large, 1)):
                async for rows in _stream(connection, one, at_once=at_once):
                    for row in rows:
                        yield _list_revision(row), row[-1] or b""

    async def counts(self) -> dict[str, int]:
        """How many there are of each: company, authorization_code, organizer, conference, user, switch."""
        async with self._reading() as connection:
            return {
                kind: (await connection.execute(select(func.count()).select_from(table))).scalar_one()
                for kind, table in (*t.DIRECTORY.items(), ("switch", t.switch))
            }

    # What is written by itself

    async def add_switch(self, switch: Switch) -> None:
        """Raises AlreadyExists."""
        async with self.writing() as writing:
            await writing.add_switch(switch)

    async def remove_switch(self, switch_id: str) -> None:
        """Raises NotFound."""
        async with self.writing() as writing:
            await writing.remove_switch(switch_id)

    async def record_daemon(self, state: DaemonState) -> None:
        """Keep what a daemon tells of itself; the feed does not tell of it."""
        async with self.writing() as writing:
            await writing.record_daemon(state)

    async def forget_daemon(self, daemon_id: str) -> None:
        """A daemon has ended on purpose: `daemons` no longer tells of it."""
        async with self.writing() as writing:
            await writing.forget_daemon(daemon_id)


class _Together(Store):
    """A store within a transaction of another."""

    def __init__(self, engine: AsyncEngine, writer: AsyncEngine, name: str, connection: AsyncConnection) -> None:
        super().__init__(engine, writer, name)
        self._connection = connection

    @asynccontextmanager
    async def _reading(self) -> AsyncGenerator[AsyncConnection]:
        yield self._connection

    @asynccontextmanager
    async def writing(self) -> AsyncGenerator[Writing]:
        writing = Writing(self._connection)
        yield writing
        await writing.finish()

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[AsyncConnection]:
        yield self._connection


@asynccontextmanager
async def open_store(url: str, *, writable: bool = True, as_it_lies: bool = False) -> AsyncGenerator[Store]:
    """A database that is known to be there and of this program's version.

    `as_it_lies` is for an SQLite file that nobody has open, on a disk where SQLite can make no file beside it. Raises DatabaseUnavailable, DatabaseVersionError, or DatabaseError if the URL makes no sense.
    """
    file = engines.sqlite_file(url)
    if file is not None and not file.exists():
        raise DatabaseVersionError(f"there is no database {file}; run `rollcall init`")
    if as_it_lies:
        writable = False
    watch = engines.Watch()
    engine = engines.connect(url, writable=writable, as_it_lies=as_it_lies, watch=watch)
    writer = engines.connect(url, writable=writable, watch=watch)
    try:
        store = Store(engine, writer, engines.name_of(url))
        await store.check_version()
        yield store
    finally:
        await engine.dispose()
        await writer.dispose()


_revisions: Final = t.list_revision
_parts: Final = t.list_part
_OWNER: Final = (_revisions.c.level, _revisions.c.owner_id)
_is_part: Final = and_(
    _parts.c.level == _revisions.c.level,
    _parts.c.owner_id == _revisions.c.owner_id,
    _parts.c.revision == _revisions.c.revision,
)


async def _stream(
    connection: AsyncConnection, query: Select[Any], *, at_once: int = _FETCHED_AT_ONCE
) -> AsyncGenerator[Sequence[Any]]:
    """The rows of a query, so many at once: a turn of a generator costs more than most that is done with a row."""
    async with connection.stream(query, execution_options={"yield_per": at_once}) as rows:
        async for some in rows.partitions():
            yield some


def _in_force() -> Select[Any]:
    return select(_revisions).join(
        t.pin_list,
        and_(
            t.pin_list.c.level == _revisions.c.level,
            t.pin_list.c.owner_id == _revisions.c.owner_id,
            t.pin_list.c.revision == _revisions.c.revision,
        ),
    )


def _is_owner(owner: Owner) -> ColumnElement[bool]:
    return and_(_revisions.c.level == owner.level.value, _revisions.c.owner_id == owner.id)


def _list_revision(row: Row[Any]) -> ListRevision:
    """The first columns, which are those of the table in their order, as they are a revision's fields."""
    level, owner_id, *fields = row[: len(_revisions.c)]
    return ListRevision(Owner(Level(level), owner_id), *fields)


def _slices(values: Collection[str]) -> list[list[str]]:
    ordered = list(values)
    return [ordered[at : at + _BIND_LIMIT] for at in range(0, len(ordered), _BIND_LIMIT)]
