"""What the web site keeps beside lists and people: the directory as pages show it, uploads under way, consent, audit."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from sqlalchemy import and_, delete, func, insert, not_, select, update

from loader.errors import AlreadyExists, NotFound
from loader.model import AuditEntry, Kind, Level, Owner, StagedUpload
from loader.store import tables as t
from loader.store.clock import is_old
from loader.store.store import Store


class Applied(msgspec.Struct, frozen=True):
    """Whether a list's newest revision is in force at every daemon: since when, or how many are behind.

    Times are in seconds since 1970 UTC. Without a daemon nothing is in force anywhere.
    """

    committed_at: float
    in_force_at: float | None
    daemons: int
    behind: int


class Desk:
    """Every method raises DatabaseUnavailable if the database cannot be used now."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # The directory

    async def companies(self) -> list[dict[str, Any]]:
        return await self._rows(select(t.company).order_by(t.company.c.name))

    async def company(self, company_id: str) -> dict[str, Any] | None:
        rows = await self._rows(select(t.company).where(t.company.c.id == company_id))
        return rows[0] if rows else None

    async def codes(self, company_id: str) -> list[dict[str, Any]]:
        code = t.authorization_code
        return await self._rows(select(code).where(code.c.company_id == company_id).order_by(code.c.label))

    async def organizers(self, company_id: str) -> list[dict[str, Any]]:
        organizer = t.organizer
        query = select(organizer).where(organizer.c.company_id == company_id)
        return await self._rows(query.order_by(organizer.c.name))

    async def conferences(self, *, company_id: str, organizer_id: str | None = None) -> list[dict[str, Any]]:
        """Conferences with their organizer's name: of a company, or of one of its organizers."""
        query = select(t.conference, t.organizer.c.name.label("organizer_name")).join(t.organizer)
        query = query.where(t.organizer.c.company_id == company_id)
        if organizer_id is not None:
            query = query.where(t.organizer.c.id == organizer_id)
        return await self._rows(query.order_by(t.organizer.c.name, t.conference.c.id))

    async def company_of(self, owner: Owner) -> str | None:
        """The company that an owner belongs to; None if there is no such owner."""
        key = t.OWNER_KEYS[owner.level]
        table = key.table
        column = table.c.id if owner.level is Level.COMPANY else table.c.company_id
        rows = await self._rows(select(column.label("company_id")).where(key == owner.id))
        return rows[0]["company_id"] if rows else None

    async def name_of(self, owner: Owner) -> str:
        """What an owner is called on pages. Raises NotFound."""
        key = t.OWNER_KEYS[owner.level]
        named = key.table.c.label if owner.level is Level.AUTHORIZATION_CODE else key.table.c.name
        rows = await self._rows(select(named.label("name")).where(key == owner.id))
        if not rows:
            raise NotFound(f"there is no {owner}")
        return str(rows[0]["name"])

    async def code_of(self, owner: Owner) -> str | None:
        """The authorization code of an organizer, or the code itself; None for a company."""
        if owner.level is Level.COMPANY:
            return None
        if owner.level is Level.AUTHORIZATION_CODE:
            return owner.id
        rows = await self._rows(select(t.organizer.c.authorization_code).where(t.organizer.c.id == owner.id))
        return rows[0]["authorization_code"] if rows else None

    async def put(self, kind: str, row: dict[str, Any], *, new: bool) -> None:
        """Add a row to the directory, or change the one with its key. Raises AlreadyExists, NotFound."""
        async with self._store.writing() as writing:
            (key,) = t.DIRECTORY[kind].primary_key
            known = await writing.rows(kind, key.name, [row[key.name]])
            if new and known:
                raise AlreadyExists(row[key.name])
            if not new and not known:
                raise NotFound(row[key.name])
            if kind == "conference":
                taken = [
                    other
                    for other in await writing.rows(kind, "passcode", [row["passcode"]])
                    if other["id"] != row["id"]
                ]
                if taken:
                    raise AlreadyExists(row["passcode"])
            await (writing.insert_rows if new else writing.update_rows)(kind, [row])
            if kind == "conference":
                writing.changed(Kind.CONFERENCE, row["id"])
            if kind == "organizer":
                writing.changed(Kind.ORGANIZER, row["id"])

    async def row(self, kind: str, row_id: str) -> dict[str, Any] | None:
        table = t.DIRECTORY[kind]
        (key,) = table.primary_key
        rows = await self._rows(select(table).where(key == row_id))
        return rows[0] if rows else None

    async def set_pin_entry(self, conference_id: str, *, on: bool) -> None:
        async with self._store.writing() as writing:
            await writing.set_pin_entry(conference_id, on=on)

    async def remove_user(self, user_id: str) -> None:
        """Forget a user, with all that he signs in with."""
        async with self._store.transaction() as connection:
            for table in (t.credential, t.web_session, t.one_time_link, t.staged_upload):
                await connection.execute(delete(table).where(table.c.user_id == user_id))
            await connection.execute(delete(t.app_user).where(t.app_user.c.id == user_id))

    # What is in force

    async def applied(self, owner: Owner, *, now: float, silent_after: float = 60.0) -> Applied | None:
        """Where the daemons are with an owner's list; None if it never changed."""
        change = t.change.c
        rows = await self._rows(
            select(change.position, change.committed_at, change.in_force_at).where(
                change.kind == Kind.LIST.value, change.id == owner.key
            )
        )
        if not rows:
            return None
        daemons = await self._rows(
            select(t.daemon_state.c.position).where(not_(is_old(t.daemon_state.c.seen_at, now, silent_after)))
        )
        behind = sum(daemon["position"] < rows[0]["position"] for daemon in daemons)
        in_force_at = rows[0]["in_force_at"] if daemons and not behind else None
        return Applied(rows[0]["committed_at"], in_force_at, len(daemons), behind)

    # Uploads under way

    async def stage(self, upload: StagedUpload) -> None:
        values = msgspec.structs.asdict(upload) | {"owners": json.dumps(upload.owners)}
        async with self._store.transaction() as connection:
            await connection.execute(insert(t.staged_upload).values(**values))

    async def staged(self, upload_id: str, user_id: str) -> StagedUpload | None:
        """A user's own upload."""
        staged = t.staged_upload.c
        rows = await self._rows(select(t.staged_upload).where(staged.id == upload_id, staged.user_id == user_id))
        return StagedUpload(**(rows[0] | {"owners": tuple(json.loads(rows[0]["owners"]))})) if rows else None

    async def restore_zeros(self, upload_id: str, *, on: bool) -> None:
        async with self._store.transaction() as connection:
            where = t.staged_upload.c.id == upload_id
            await connection.execute(update(t.staged_upload).where(where).values(restore_zeros=on))

    async def unstage(self, upload_id: str, *, created_before: float | None = None) -> None:
        """Forget an upload, and all that are older than a time."""
        staged = t.staged_upload.c
        where = staged.id == upload_id
        if created_before is not None:
            where = where | (staged.created_at < created_before)
        async with self._store.transaction() as connection:
            await connection.execute(delete(t.staged_upload).where(where))

    # Consent and audit

    async def agree(self, user_id: str, policy: str, at: float) -> None:
        async with self._store.transaction() as connection:
            await connection.execute(insert(t.consent).values(user_id=user_id, policy=policy, at=at))

    async def record(self, *entries: AuditEntry) -> None:
        """Append to the audit trail. What tells of a change belongs into its transaction: see `Store.together`."""
        async with self._store.writing() as writing:
            await writing.record(*entries)

    async def audit(
        self,
        *,
        company_id: str | None = None,
        user_id: str = "",
        action: str = "",
        target: str = "",
        since: float | None = None,
        until: float | None = None,
        limit: int = 50,
        offset: int = 0,
    ) -> tuple[int, list[AuditEntry]]:
        """How many entries there are, and some of them, the newest first. Only those of a company if one is given."""
        column = t.audit.c
        conditions = []
        if company_id is not None:
            conditions.append(column.company_id == company_id)
        for value, compared in ((user_id, column.user_id), (action, column.action)):
            if value:
                conditions.append(compared == value)
        if target:
            conditions.append(column.target.contains(target, autoescape=True))
        if since is not None:
            conditions.append(column.at >= since)
        if until is not None:
            conditions.append(column.at < until)
        where = and_(True, *conditions)
        (counted,) = await self._rows(select(func.count().label("count")).select_from(t.audit).where(where))
        query = select(t.audit).where(where).order_by(column.id.desc()).limit(limit).offset(offset)
        return counted["count"], [AuditEntry(**row) for row in await self._rows(query)]

    async def _rows(self, query: Any) -> list[dict[str, Any]]:
        return [dict(row._mapping) for row in await self._store.all(query)]  # noqa: SLF001 - SQLAlchemy's own way
