"""The one writer of lists: what a new list would change, and putting it in force."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from loader.compiled import EMPTY, Block, compile_list
from loader.errors import BlockError, NotFound, PinTooShort, StaleRevision
from loader.keyring import Keyring, part_count
from loader.model import AuditEntry, Entry, ListRevision, Owner, Pin, Position, Revision
from loader.reader import read_block, read_list
from loader.store import Store, Writing
from loader.store.choices import Choices

__all__ = ["Difference", "Published", "diff", "publish", "publish_to_all", "put_back", "read_list"]


class Difference(msgspec.Struct, frozen=True):
    """What a new list would change. Changed entries are given as they would be."""

    added: tuple[Entry, ...]
    changed: tuple[Entry, ...]
    removed: tuple[Entry, ...]
    unchanged: int

    def __bool__(self) -> bool:
        """Whether anything would change."""
        return bool(self.added or self.changed or self.removed)


class Published(msgspec.Struct, frozen=True):
    """A list as it is in force, and how many of its entries were added, changed, removed, and left as they were.

    ``committed_at`` is in seconds since 1970 UTC. Where nothing changed, revision and time are those of before.
    """

    revision: Revision
    position: Position
    added: int
    changed: int
    removed: int
    unchanged: int
    committed_at: float


def diff(old: Iterable[Entry], new: Iterable[Entry]) -> Difference:
    """What is different in `new`: entries are the same person's if they have the same PIN.

    `old` may be an iterator: of it only what is no longer there is held.
    """
    added: dict[Pin, Entry] = {entry.pin: entry for entry in new}
    changed: list[Entry] = []
    removed: list[Entry] = []
    unchanged = 0
    for entry in old:
        becomes = added.pop(entry.pin, None)
        if becomes is None:
            removed.append(entry)
        elif becomes == entry:
            unchanged += 1
        else:
            changed.append(becomes)
    return Difference(tuple(added.values()), tuple(changed), tuple(removed), unchanged)


async def publish(
    store: Store,
    keyring: Keyring,
    owner: Owner,
    entries: Sequence[Entry],
    *,
    by: str,
    source: str,
    expected_revision: Revision | None = None,
    record: AuditEntry | None = None,
) -> Published:
    """Put a list in force in place of its owner's last one. What changes nothing makes no new revision.

    `by` and `source` are told in the list's history; see :class:`loader.model.ListRevision`. `expected_revision` is
    the one that the change was made from (0 where there was no list). A list that was damaged is replaced as if it had
    been empty. `record` goes into the audit trail in the same transaction.

    Raises NotFound (no such owner), StaleRevision, InvalidValue (a PIN stands twice), PinTooShort (a PIN that was not
    in the list is shorter than its company lets PINs be; those that are in the list may stay), KeyFileError,
    DatabaseUnavailable; the list is then as it was.
    """
    data = compile_list(entries)
    while True:
        position = await store.position()
        before = await store.list_head(owner)
        revision = before.revision if before else Revision(0)
        if expected_revision is not None and revision != expected_revision:
            raise StaleRevision(f"the list of {owner} is at revision {revision}, no longer at {expected_revision}")
        old: Block | None = EMPTY
        if before is not None:
            try:
                old = await read_block(store, keyring, before)
            except BlockError:
                old = None
            else:
                if old is None:
                    continue  # put under another key while it was read
        difference = diff(old.entries() if old else (), entries)
        if old and not difference:
            if record is not None:
                async with store.writing() as writing:
                    await writing.record(record)
            committed_at = before.created_at if before else 0.0
            return _published(revision, position, difference, committed_at)
        await _require_width(store, owner, difference)
        async with store.writing() as writing:
            if await writing.current_revision(owner) != (before.revision if before else None):
                continue  # somebody was faster: what would change now?
            next_revision = Revision(revision + 1)
            await _put(writing, keyring, owner, next_revision, entries, data, by=by, source=source)
            if record is not None:
                await writing.record(record)
        (change,) = writing.changes
        return _published(next_revision, change.position, difference, change.committed_at)


async def publish_to_all(
    store: Store,
    keyring: Keyring,
    owners: Mapping[Owner, Revision],
    entries: Sequence[Entry],
    *,
    by: str,
    source: str,
    record: Callable[[Owner, Difference], AuditEntry] | None = None,
) -> dict[Owner, Difference]:
    """Put the same list in force for several owners: for all of them, or for none.

    `owners` gives for each the revision that the change was made from (0 where there was no list). What is different
    for each comes back. What `record` makes of it goes into the audit trail in the same transaction. Raises as
    :func:`publish` does.
    """
    data = compile_list(entries)
    differences: dict[Owner, Difference] = {}
    for owner in owners:
        try:
            old = await read_list(store, keyring, owner)
        except BlockError:
            differences[owner] = Difference(tuple(entries), (), (), 0)
        else:
            differences[owner] = diff((old or EMPTY).entries(), entries)
        await _require_width(store, owner, differences[owner])
    async with store.writing() as writing:
        for owner, revision in owners.items():
            current = await writing.current_revision(owner) or Revision(0)
            if current != revision:
                raise StaleRevision(f"the list of {owner} is at revision {current}, no longer at {revision}")
            if differences[owner] or not revision:
                await _put(writing, keyring, owner, Revision(revision + 1), entries, data, by=by, source=source)
        if record is not None:
            await writing.record(*(record(owner, difference) for owner, difference in differences.items()))
    return differences


async def _require_width(store: Store, owner: Owner, difference: Difference) -> None:
    """Raises PinTooShort."""
    minimum = await Choices(store).minimum_pin_digits(owner)
    short = sum(len(entry.pin) < minimum for entry in difference.added)
    if short:
        raise PinTooShort(short, minimum)


async def _put(
    writing: Writing,
    keyring: Keyring,
    owner: Owner,
    revision: Revision,
    entries: Sequence[Entry],
    data: bytes,
    *,
    by: str,
    source: str,
) -> None:
    key_id = await _key_in_use(writing, keyring)
    listed = ListRevision(
        owner=owner,
        revision=revision,
        created_at=time.time(),
        created_by=by,
        source=source,
        entries=len(entries),
        active=sum(entry.active for entry in entries),
        size=len(data),
        parts=part_count(len(data)),
        key_id=key_id,
    )
    await writing.put_list(listed, keyring.holding(key_id).seal(owner, revision, data, key_id=key_id))


async def put_back(
    store: Store, keyring: Keyring, owner: Owner, revision: Revision, *, by: str, record: AuditEntry | None = None
) -> Published:
    """Put a kept revision in force again, as a new one. `record` goes into the audit trail in the same transaction.

    Raises NotFound if that revision is not kept, BlockError if it was tampered with, and as :func:`publish` does.
    """
    block = await read_list(store, keyring, owner, revision)
    if block is None:
        raise NotFound(f"revision {revision} of the list of {owner} is not kept")
    return await publish(store, keyring, owner, list(block.entries()), by=by, source="restore", record=record)


async def _key_in_use(writing: Writing, keyring: Keyring) -> str:
    key_id = await writing.key_in_use()
    if key_id is None:
        key_id = keyring.current
        await writing.use_key(key_id)
    return key_id


def _published(revision: Revision, position: Position, difference: Difference, committed_at: float) -> Published:
    return Published(
        revision=revision,
        position=position,
        added=len(difference.added),
        changed=len(difference.changed),
        removed=len(difference.removed),
        unchanged=difference.unchanged,
        committed_at=committed_at,
    )
