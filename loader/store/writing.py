"""What is written to the database, inside one transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import ColumnElement, Select, Table, and_, bindparam, delete, func, insert, not_, select, union, update
from sqlalchemy.ext.asyncio import AsyncConnection

from loader.errors import AlreadyExists, NotFound, OverlapError
from loader.model import (
    AuditEntry,
    Change,
    DaemonState,
    Kind,
    ListRevision,
    Owner,
    Position,
    Revision,
    Switch,
    SwitchToken,
)
from loader.store import tables as t
from loader.store.clock import is_old

KEPT_REVISIONS: Final = 20
"""How many revisions of a list are kept, the one in force included."""

DAEMON_SILENT_AFTER: Final = 60.0
"""Seconds without a word from a daemon after which nobody waits for it."""
_DAEMON_FORGOTTEN_AFTER: Final = 7 * 86400.0
_BIND_LIMIT: Final = 500
"""How many values one query is given; SQLite's smallest limit is 999."""


class Writing:
    """One transaction. What changed is put into the feed at its end, so that writers queue for a moment only."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._changed: dict[tuple[Kind, str], None] = {}
        self.changes: list[Change] = []
        """What this transaction put into the feed, once it is finished."""

    async def current_revision(self, owner: Owner) -> Revision | None:
        """The revision in force of an owner's list, which nobody else can change until the transaction ends.

        Raises NotFound if there is no such owner.
        """
        key = t.OWNER_KEYS[owner.level]
        # The owner's row is locked, as the list may not have one yet.
        locked = select(key).where(key == owner.id).with_for_update(key_share=True)
        if (await self._connection.execute(locked)).first() is None:
            raise NotFound(f"there is no {owner}")
        query = select(t.pin_list.c.revision).where(_of(t.pin_list, owner))
        revision = (await self._connection.execute(query)).scalar()
        return None if revision is None else Revision(revision)

    async def key_in_use(self) -> str | None:
        """The ID of the key that revisions are to be encrypted under, until the transaction ends; None before any."""
        query = select(t.key_in_use.c.key_id).with_for_update(read=True)
        key_id: str | None = (await self._connection.execute(query)).scalar()
        return key_id

    async def use_key(self, key_id: str) -> None:
        """Have new revisions encrypted under this key."""
        updated = await self._connection.execute(update(t.key_in_use).values(key_id=key_id))
        if updated.rowcount == 0:
            await self._connection.execute(insert(t.key_in_use).values(id=1, key_id=key_id))

    async def key_ids(self) -> set[str]:
        """The IDs of the key in use and of all keys that anything is sealed under."""
        rows = await self._connection.execute(key_ids())
        return set(rows.scalars())

    async def journals_taken(self) -> dict[str, tuple[int, int]]:
        """How far each daemon's journal is taken, segment and offset, by the journal's identity."""
        rows = await self._connection.execute(select(t.journal))
        return {row.id: (row.segment, row.offset) for row in rows}

    async def seal_secrets_again(self, key_id: str, seal: Callable[[str, bytes, str], bytes]) -> None:
        """Put what users sign in with under another key: `seal` gets purpose, secret and key, and gives the new secret.

        Uploads under way are forgotten: whoever was about to confirm one uploads it again.
        """
        known = t.credential.c
        query = select(known.user_id, known.totp_secret, known.totp_key_id).where(known.totp_key_id != key_id)
        for user_id, secret, under in (await self._connection.execute(query)).all():
            sealed = seal(f"totp|{user_id}", secret, under)
            await self._connection.execute(
                update(t.credential).where(known.user_id == user_id).values(totp_secret=sealed, totp_key_id=key_id)
            )
        await self._connection.execute(delete(t.staged_upload).where(t.staged_upload.c.key_id != key_id))

    async def put_list(self, listed: ListRevision, parts: Iterable[bytes]) -> None:
        """Make this the revision in force of its owner's list, and forget revisions beyond those that are kept."""
        owner = {"level": listed.owner.level.value, "owner_id": listed.owner.id}
        where = _of(t.pin_list, listed.owner)
        updated = await self._connection.execute(update(t.pin_list).where(where).values(revision=listed.revision))
        if updated.rowcount == 0:
            await self._connection.execute(insert(t.pin_list).values(**owner, revision=listed.revision))
        await self._connection.execute(
            insert(t.list_revision).values(
                **owner,
                revision=listed.revision,
                created_at=listed.created_at,
                created_by=listed.created_by,
                source=listed.source,
                entries=listed.entries,
                active=listed.active,
                size=listed.size,
                parts=listed.parts,
                key_id=listed.key_id,
            )
        )
        # One statement a part, so that a large list is in memory once.
        for part, ciphertext in enumerate(parts):
            await self._connection.execute(
                insert(t.list_part).values(**owner, revision=listed.revision, part=part, ciphertext=ciphertext)
            )
        for forgotten in (t.list_part, t.list_revision):
            await self._connection.execute(
                delete(forgotten).where(
                    _of(forgotten, listed.owner), forgotten.c.revision <= listed.revision - KEPT_REVISIONS
                )
            )
        self.changed(Kind.LIST, listed.owner.key)

    async def seal_again(self, listed: ListRevision, key_id: str, seal: Callable[[int, bytes], bytes]) -> None:
        """Put a kept revision under another key: `seal` gets each part's number and ciphertext, and gives the new one.

        Its content stays, so the feed does not tell of it. Nothing is done if it is no longer kept under its old key.
        """
        revision = and_(
            _of(t.list_revision, listed.owner),
            t.list_revision.c.revision == listed.revision,
            t.list_revision.c.key_id == listed.key_id,
        )
        updated = await self._connection.execute(update(t.list_revision).where(revision).values(key_id=key_id))
        if updated.rowcount == 0:
            return
        for part in range(listed.parts):
            where = and_(
                _of(t.list_part, listed.owner),
                t.list_part.c.revision == listed.revision,
                t.list_part.c.part == part,
            )
            ciphertext = (await self._connection.execute(select(t.list_part.c.ciphertext).where(where))).scalar()
            sealed = seal(part, ciphertext or b"")
            await self._connection.execute(update(t.list_part).where(where).values(ciphertext=sealed))

    async def record(self, *entries: AuditEntry) -> None:
        """Append to the audit trail."""
        rows = [msgspec.structs.asdict(entry) for entry in entries]
        for row in rows:
            del row["id"]
        await self._connection.execute(insert(t.audit), rows)

    async def add_switch(self, switch: Switch) -> None:
        """Raises AlreadyExists."""
        query = select(t.switch.c.id).where(t.switch.c.id == switch.id)
        if (await self._connection.execute(query)).first() is not None:
            raise AlreadyExists(f"there is already a switch {switch.id}")
        values = {"created_at": switch.created_at, "networks": " ".join(switch.networks), "rate": switch.rate}
        await self._connection.execute(insert(t.switch).values(id=switch.id, **values))
        for token in switch.tokens:
            await self._add_token(switch.id, token)
        self.changed(Kind.SWITCH, switch.id)

    async def remove_switch(self, switch_id: str) -> None:
        """Raises NotFound."""
        await self._connection.execute(delete(t.switch_token).where(t.switch_token.c.switch_id == switch_id))
        removed = await self._connection.execute(delete(t.switch).where(t.switch.c.id == switch_id))
        if removed.rowcount == 0:
            raise _no_switch(switch_id)
        self.changed(Kind.SWITCH, switch_id)

    async def change_switch(
        self, switch_id: str, *, networks: Iterable[str] | UnsetType = UNSET, rate: int | UnsetType | None = UNSET
    ) -> None:
        """Have a switch ask from other networks, or at another rate: see :class:`Switch`. Raises NotFound."""
        values: dict[str, Any] = {} if networks is UNSET else {"networks": " ".join(networks)}
        if rate is not UNSET:
            values["rate"] = rate
        await self._require_switch(switch_id)
        if values:
            await self._connection.execute(update(t.switch).where(t.switch.c.id == switch_id).values(**values))
            self.changed(Kind.SWITCH, switch_id)

    async def rotate_token(self, switch_id: str, token_hash: bytes, now: float, overlap: float) -> None:
        """Give a switch a new token. The one before is good for `overlap` seconds more.

        Without an overlap all older tokens end now. With one, at most two are good at a time: raises OverlapError while
        an older one still is. Raises NotFound.
        """
        await self._require_switch(switch_id)
        token = t.switch_token.c
        of_switch = token.switch_id == switch_id
        if overlap <= 0:
            await self._connection.execute(delete(t.switch_token).where(of_switch))
        else:
            await self._connection.execute(delete(t.switch_token).where(of_switch, token.expires_at <= now))
            query = select(token.expires_at).where(of_switch, token.expires_at.is_not(None))
            until = (await self._connection.execute(query)).scalar()
            if until is not None:
                raise OverlapError(switch_id, until)
            await self._connection.execute(update(t.switch_token).where(of_switch).values(expires_at=now + overlap))
        await self._add_token(switch_id, SwitchToken(token_hash, now))
        self.changed(Kind.SWITCH, switch_id)

    async def replace_token(self, switch_id: str, token_hash: bytes, now: float) -> None:
        """Give a switch a new token in place of its newest, which ends now; an older one keeps its end. Raises NotFound."""
        await self._require_switch(switch_id)
        token = t.switch_token.c
        await self._connection.execute(
            delete(t.switch_token).where(token.switch_id == switch_id, token.expires_at.is_(None))
        )
        await self._add_token(switch_id, SwitchToken(token_hash, now))
        self.changed(Kind.SWITCH, switch_id)

    async def end_old_tokens(self, switch_id: str) -> None:
        """Have no token of a switch be good but its newest. Raises NotFound."""
        await self._require_switch(switch_id)
        token = t.switch_token.c
        await self._connection.execute(
            delete(t.switch_token).where(token.switch_id == switch_id, token.expires_at.is_not(None))
        )
        self.changed(Kind.SWITCH, switch_id)

    async def _require_switch(self, switch_id: str) -> None:
        # Locked, as what is done to its tokens depends on them.
        query = select(t.switch.c.id).where(t.switch.c.id == switch_id).with_for_update()
        if (await self._connection.execute(query)).first() is None:
            raise _no_switch(switch_id)

    async def _add_token(self, switch_id: str, token: SwitchToken) -> None:
        await self._connection.execute(
            insert(t.switch_token).values(
                hash=token.hash, switch_id=switch_id, created_at=token.created_at, expires_at=token.expires_at
            )
        )

    async def set_pin_entry(self, conference_id: str, *, on: bool) -> None:
        """Raises NotFound."""
        where = t.conference.c.id == conference_id
        updated = await self._connection.execute(update(t.conference).where(where).values(pin_entry=on))
        if updated.rowcount == 0:
            raise NotFound(f"there is no conference {conference_id}")
        self.changed(Kind.CONFERENCE, conference_id)

    async def unlock(self, ids: Sequence[str], *, by: str, at: float) -> list[str]:
        """Have all daemons forget why these are locked; those that still were, as far as they are known."""
        known = t.lockout.c
        unlocked: list[str] = []
        for begin in range(0, len(ids), _BIND_LIMIT):
            some = known.id.in_(ids[begin : begin + _BIND_LIMIT])
            updated = await self._connection.execute(
                update(t.lockout)
                .where(some, known.until > at, known.unlocked_at.is_(None))
                .values(unlocked_at=at, unlocked_by=by[:64])
                .returning(known.id)
            )
            unlocked += updated.scalars()
        for lockout_id in unlocked:
            self.changed(Kind.UNLOCK, lockout_id)
        return unlocked

    async def record_daemon(self, state: DaemonState) -> None:
        """Keep what a daemon tells of itself, and forget daemons that have been silent for a week."""
        values = {
            "version": state.version,
            "started_at": state.started_at,
            "position": state.position,
            "applied_at": state.applied_at,
            "seen_at": state.seen_at,
        }
        known = t.daemon_state.c
        updated = await self._connection.execute(update(t.daemon_state).where(known.id == state.id).values(**values))
        if updated.rowcount == 0:
            await self._connection.execute(insert(t.daemon_state).values(id=state.id, **values))
            await self._connection.execute(
                delete(t.daemon_state).where(known.seen_at < state.seen_at - _DAEMON_FORGOTTEN_AFTER)
            )

        await self._note_what_is_in_force(state)

    async def _note_what_is_in_force(self, state: DaemonState) -> None:
        """The last daemon to apply a change is the one that brings it in force everywhere."""
        others = await self._connection.execute(
            select(func.min(t.daemon_state.c.position)).where(
                not_(is_old(t.daemon_state.c.seen_at, state.seen_at, DAEMON_SILENT_AFTER))
            )
        )
        position = others.scalar()
        if position is not None:
            change = t.change.c
            where = and_(change.in_force_at.is_(None), change.position <= position)
            await self._connection.execute(update(t.change).where(where).values(in_force_at=state.applied_at))

    async def forget_daemon(self, daemon_id: str) -> None:
        """A daemon has ended on purpose: nothing is in force there any more."""
        await self._connection.execute(delete(t.daemon_state).where(t.daemon_state.c.id == daemon_id))

    async def rows(self, kind: str, field: str, values: Iterable[str]) -> list[dict[str, Any]]:
        """What the directory holds of a kind (see :data:`loader.store.tables.DIRECTORY`) with one of these values."""
        table = t.DIRECTORY[kind]
        wanted = list(values)
        found: list[dict[str, Any]] = []
        for at in range(0, len(wanted), _BIND_LIMIT):
            query = select(table).where(table.c[field].in_(wanted[at : at + _BIND_LIMIT]))
            found += [dict(row) for row in (await self._connection.execute(query)).mappings()]
        return found

    async def insert_rows(self, kind: str, rows: Sequence[dict[str, Any]]) -> None:
        """Add to the directory: rows with all fields of the kind's table."""
        if rows:
            await self._connection.execute(insert(t.DIRECTORY[kind]), rows)

    async def update_rows(self, kind: str, rows: Sequence[dict[str, Any]]) -> None:
        """Change what is in the directory: rows with all fields of the kind's table, found by their key."""
        if not rows:
            return
        table = t.DIRECTORY[kind]
        (key,) = table.primary_key
        changes: dict[str, Any] = {
            column.name: bindparam(f"new_{column.name}") for column in table.c if column is not key
        }
        statement = update(table).where(key == bindparam(f"new_{key.name}")).values(changes)
        await self._connection.execute(statement, [{f"new_{name}": row[name] for name in row} for row in rows])

    def changed(self, kind: Kind, changed_id: str) -> None:
        """Put this into the feed when the transaction ends."""
        self._changed[kind, changed_id] = None

    async def finish(self) -> None:
        """Write the feed: the last thing that a transaction does."""
        if not self._changed:
            return
        count = len(self._changed)
        advanced = await self._connection.execute(
            update(t.feed).values(position=t.feed.c.position + count).returning(t.feed.c.position)
        )
        first = advanced.scalar_one() - count + 1
        now = time.time()
        self.changes = [
            Change(kind, changed_id, Position(position), now)
            for position, (kind, changed_id) in enumerate(self._changed, first)
        ]
        told = [{"told_kind": change.kind.value, "told_id": change.id} for change in self.changes]
        where = and_(t.change.c.kind == bindparam("told_kind"), t.change.c.id == bindparam("told_id"))
        await self._connection.execute(delete(t.change).where(where), told)
        await self._connection.execute(
            insert(t.change),
            [
                {"kind": c.kind.value, "id": c.id, "position": c.position, "committed_at": c.committed_at}
                for c in self.changes
            ],
        )


def key_ids() -> Select[Any]:
    """Asks for the IDs of the key in use and of all keys that anything is sealed under."""
    named = (
        t.list_revision.c.key_id,
        t.key_in_use.c.key_id,
        t.credential.c.totp_key_id,
        t.staged_upload.c.key_id,
        t.call.c.key_id,
        t.company_choice.c.webhook_key_id,
        t.webhook_delivery.c.key_id,
        t.invitation.c.key_id,
        t.lockout.c.key_id,
    )
    known = union(*(select(key_id.label("key_id")) for key_id in named)).subquery()
    return select(known.c.key_id).where(known.c.key_id.is_not(None))


def _no_switch(switch_id: str) -> NotFound:
    return NotFound(f"there is no switch {switch_id}")


def _of(table: Table, owner: Owner) -> ColumnElement[bool]:
    return and_(table.c.level == owner.level.value, table.c.owner_id == owner.id)
