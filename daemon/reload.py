"""Following the database: what changed is read, and swapped in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

import structlog

from daemon.health import Health
from daemon.live import Live
from daemon.loading import Loaded, load_all
from daemon.metrics import Metrics
from daemon.pace import Pace
from loader.compiled import Block
from loader.errors import BlockError, DatabaseError, DatabaseUnavailable, KeyFileError
from loader.feed import Feed, FeedRestarted
from loader.index import EMPTY, Index
from loader.keyring import Keyring
from loader.model import Change, Kind, Owner, Position, Revision
from loader.reader import give_back, read_block
from loader.shared_index import Draft, SharedIndex
from loader.store import Store

log = structlog.get_logger(__name__)

Unlock: TypeAlias = Callable[[str, float], None]
"""Forgets what was counted under a key up to a time; it may be told of the same again. What it raises is tried again."""

_MAX_BACK_OFF: Final = 1.0
_TRY_AGAIN: Final = (1.0, 30.0)
_SWAPPED_EVERY: Final = 0.05


class _Unopened:
    """A list whose newest revision cannot be opened: the change that told of it, why, and when to try again."""

    def __init__(self, change: Change, why: tuple[Revision, str]) -> None:
        self.why = why
        self._change = change
        self._wait = _TRY_AGAIN[0]
        self._again_at = time.monotonic() + self._wait

    def failed_again(self, change: Change) -> None:
        self._change = change
        self._wait = min(self._wait * 2, _TRY_AGAIN[1])
        self._again_at = time.monotonic() + self._wait

    def try_now(self) -> None:
        self._again_at = 0.0

    def is_due(self, change: Change) -> bool:
        """Whether it is worth trying: the list has changed once more, or some time has passed."""
        return change is not self._change or time.monotonic() >= self._again_at


async def _here() -> None:
    """What is in force in this process is in force in all."""


class Follower:
    """Keeps what is in force as the database says. `interval` is in seconds, and may be changed at any time.

    Raises nothing once it is loaded, whatever happens: what is in force stays in force. `everywhere` is waited for
    before it is told that something is in force.
    """

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        live: Live,
        health: Health,
        metrics: Metrics,
        *,
        interval: float,
        database_file: Path | None = None,
        unlock: Unlock = lambda _key, _as_of: None,
        shared: SharedIndex | None = None,
        everywhere: Callable[[], Awaitable[None]] = _here,
    ) -> None:
        self.interval = interval
        self.applied = asyncio.Event()
        """Set whenever something came in force."""
        self.applied_at = time.time()
        self._store = store
        self._keyring = keyring
        self._live = live
        self._shared = shared or SharedIndex()
        self._everywhere = everywhere
        self._health = health
        self._metrics = metrics
        self._unlock = unlock
        self._file = database_file
        self._identity = self._identity_now()
        """Which file all was read from."""
        self._feed = Feed(store, Position(0))
        self._pending: dict[tuple[Kind, str], Change] = {}
        self._unopened: dict[Owner, _Unopened] = {}
        self._unlocks: dict[str, float] = {}
        """What is still to be unlocked, and up to when."""
        self._back_off = 0.0

    async def load(self, if_still: Callable[[], bool] = lambda: True) -> None:
        """The first load. Raises DatabaseError, and KeyFileError if the key file is not this database's.

        `if_still` is asked whether what was read may be put in force.
        """
        with self._shared.draft(anew=True) as draft:
            loaded = await load_all(self._store, self._keyring, draft, self._answered)
            if not if_still():
                raise DatabaseUnavailable(f"{self._store.name} was written to while it was read")
            for _, problem in loaded.unopened.values():
                if isinstance(problem, KeyFileError):
                    raise problem
            await self._put_in_force(draft, loaded)
        self._health.loaded = True
        index = self._index
        log.info("index_loaded", position=loaded.position, lists=len(index.lists), conferences=len(index.conferences))

    def take(self, keyring: Keyring) -> None:
        """Use these keys from now on, also for the lists that could not be opened."""
        self._keyring = keyring
        for unopened in self._unopened.values():
            unopened.try_now()

    async def follow(self) -> None:
        """Look at the feed for ever."""
        while True:
            await self.look()
            await asyncio.sleep(max(self.interval, self._back_off))

    async def look(self) -> None:
        """Look at the feed once. Whatever goes wrong, the index in force stays in force."""
        try:
            await self._look()
        except DatabaseError as error:
            self._is_down(str(error))
        except Exception as error:
            self._is_down(type(error).__name__)
            log.exception("reload_failed")
        else:
            self._is_up()

    async def _look(self) -> None:
        if self._health.problem is not None:
            await self._store.check_version()
        if self._is_replaced():
            await self._load_again()
            log.warning("database_replaced", database=self._store.name)
        changes = []
        try:
            changes = await self._feed.poll()
        except FeedRestarted as restarted:
            await self._load_again()
            log.warning("feed_restarted", problem=str(restarted))
        self._answered()
        pace = Pace()
        for change in changes:
            self._pending[change.kind, change.id] = change
            await pace()
        await self._apply()
        await self._tidy()

    def _answered(self) -> None:
        self._health.answered(time.monotonic())

    def _is_up(self) -> None:
        if self._health.problem is not None:
            log.info("database_back", database=self._store.name)
        self._back_off = 0.0
        self._health.looked(time.monotonic())

    def _is_down(self, problem: str) -> None:
        self._metrics.reload_failures.inc()
        if self._health.problem != problem:
            log.error("database_unavailable", problem=problem)
        self._health.problem = problem
        self._back_off = min(max(self._back_off * 2, self.interval), _MAX_BACK_OFF)

    def _is_replaced(self) -> bool:
        """Whether another file stands in the database's place, or may: it was gone for a while."""
        now = self._identity_now()
        if self._file is not None and now is None:
            # The number of a file that is gone may be given to the next one.
            self._identity = None
            return False
        return now != self._identity

    def _identity_now(self) -> tuple[int, int] | None:
        try:
            status = self._file.stat() if self._file else None
        except OSError:
            return None
        return (status.st_dev, status.st_ino) if status else None

    # All of it

    async def _load_again(self) -> None:
        await self._store.check_version()
        identity = self._identity_now()
        old = self._index
        # As when an empty database was put in place of the real one: it must not silence all switches.
        may_be_empty = not old.conferences
        with self._shared.draft(anew=True) as draft:
            loaded = await load_all(self._store, self._keyring, draft, self._answered, may_be_empty=may_be_empty)
            kept = {owner: old.lists[owner] for owner in loaded.unopened if owner in old.lists}
            await self._put_in_force(draft, loaded, kept)
        self._identity = identity
        del old, kept
        await self._tidy()

    async def _put_in_force(
        self, draft: Draft, loaded: Loaded, kept: Mapping[Owner, Block] = MappingProxyType({})
    ) -> None:
        """What was read, and besides the lists that are `kept` from before."""
        for owner, block in kept.items():
            await Pace().through(draft.put_list(owner, block))
        await self._publish(draft)
        self._live.swap_switches(loaded.switches)
        # While this daemon was away; with the next look, as nobody waits for it now.
        self._unlocks.update((change.id, change.committed_at) for change in loaded.unlocks)
        self._feed.position = loaded.position
        self._pending.clear()
        self._unopened.clear()
        for owner, (listed, problem) in loaded.unopened.items():
            change = Change(Kind.LIST, owner.key, loaded.position, listed.created_at)
            self._pending[change.kind, change.id] = change
            self._not_opened(change, listed.revision, problem)
        self._metrics.index_entries.set(loaded.entries + sum(block.count for block in kept.values()))
        self._metrics.index_bytes.set(loaded.size + sum(block.size for block in kept.values()))
        await self._came_in_force(())
        self._metrics.loads.inc()

    # What changed

    @property
    def position(self) -> Position:
        """Up to where in the feed all is in force."""
        return Position(self._health.position)

    @property
    def _index(self) -> Index:
        return self._live.index or EMPTY

    async def _apply(self) -> None:
        due: dict[Kind, list[Change]] = {kind: [] for kind in Kind}
        pace = Pace()
        for change in self._pending.values():
            if self._is_due(change):
                due[change.kind].append(change)
            await pace()
        if due[Kind.SWITCH]:
            self._live.swap_switches(await self._store.switches())
            await self._came_in_force(due[Kind.SWITCH])
        if due[Kind.CONFERENCE] or due[Kind.ORGANIZER]:
            await self._apply_directory(due[Kind.CONFERENCE], due[Kind.ORGANIZER])
        if due[Kind.LIST]:
            await self._apply_lists(due[Kind.LIST])
        await self._apply_unlocks(due[Kind.UNLOCK])
        if not self._pending and self._health.position < self._feed.position:
            # What stood there is forgotten by now.
            await self._came_in_force(())

    async def _apply_unlocks(self, changes: Sequence[Change]) -> None:
        """After all else, which what goes wrong here is not to hold up."""
        self._unlocks.update((change.id, change.committed_at) for change in changes)
        pace = Pace()
        for key, as_of in list(self._unlocks.items()):
            self._unlock(key, as_of)
            del self._unlocks[key]
            await pace()
        if changes:
            await self._came_in_force(changes)

    def _is_due(self, change: Change) -> bool:
        if change.kind is not Kind.LIST:
            return True
        unopened = self._unopened.get(Owner.from_key(change.id))
        return unopened is None or unopened.is_due(change)

    async def _apply_directory(self, conferences: Sequence[Change], organizers: Sequence[Change]) -> None:
        ids = [change.id for change in conferences]
        organizer_ids = {change.id for change in organizers}
        pace = Pace()
        index = self._index
        gone: set[str] = set()
        for conference_id in ids:
            gone.add(conference_id)
            await pace()
        for known in index.conferences.values() if organizers else ():
            if known.organizer in organizer_ids:
                gone.add(known.id)
            await pace()
        # All at once: two conferences that swap their passcodes have both of them, before and after.
        with self._shared.draft() as draft:
            async with aclosing(self._store.conferences(ids=ids, organizers=organizer_ids)) as stream:
                async for conference in stream:
                    gone.discard(conference.id)
                    draft.put_conference(conference)
                    self._answered()
                    await pace()
            for conference_id in gone:
                draft.remove_conference(conference_id)
                await pace()
            await self._publish(draft)
        await self._came_in_force((*conferences, *organizers))

    async def _apply_lists(self, changes: Iterable[Change]) -> None:
        read: dict[Owner, Block | None] = {}
        done: list[Change] = []
        swapped_at = time.monotonic()
        for change in changes:
            owner = Owner.from_key(change.id)
            revision, block = await self._read(owner)
            self._answered()
            if isinstance(block, BlockError | KeyFileError):
                self._not_opened(change, revision, block)
            else:
                read[owner] = block
                self._unopened.pop(owner, None)
                done.append(change)
            if time.monotonic() - swapped_at > _SWAPPED_EVERY:
                await self._swap_lists(read, done)
                read, done, swapped_at = {}, [], time.monotonic()
        await self._swap_lists(read, done)

    async def _read(self, owner: Owner) -> tuple[Revision, Block | BlockError | KeyFileError | None]:
        """An owner's list as it is now, or why that revision cannot be opened; None if there is no list."""
        while (listed := await self._store.list_head(owner)) is not None:
            try:
                self._keyring = self._keyring.holding(listed.key_id)
                block = await read_block(self._store, self._keyring, listed)
            except (BlockError, KeyFileError) as problem:
                return listed.revision, problem
            if block is not None:
                return listed.revision, block
        return Revision(0), None

    async def _swap_lists(self, read: dict[Owner, Block | None], done: Iterable[Change]) -> None:
        if read:
            pace = Pace()
            entries = size = 0
            with self._shared.draft() as draft:
                for owner, block in read.items():
                    if (old := self._index.lists.get(owner)) is not None:
                        entries -= old.count
                        size -= old.size
                    if block is None:
                        draft.remove_list(owner)
                    else:
                        await pace.through(draft.put_list(owner, block))
                        entries += block.count
                        size += block.size
                await self._publish(draft)
            self._metrics.index_entries.inc(entries)
            self._metrics.index_bytes.inc(size)
            for block in read.values():
                if block is not None:
                    await pace.through(give_back(block))
        await self._came_in_force(done)
        await self._tidy()

    async def _publish(self, draft: Draft) -> None:
        await Pace().through(draft.pack())
        # One turn for both: a question is answered from the last or the next.
        self._live.swap(self._shared.publish(draft))

    async def _tidy(self) -> None:
        """Give back the memory of what was replaced, and move out of a segment that has become sparse."""
        pace = Pace()
        await pace.through(self._shared.reclaim())
        # One at a time: a reader that is slow to tell what it has put in force is not to double all there is.
        if (segment := self._shared.sparse()) is not None:
            with self._shared.draft() as draft:
                await pace.through(draft.move_out_of(segment))
                await self._publish(draft)
            await pace.through(self._shared.reclaim())

    def _not_opened(self, change: Change, revision: Revision, problem: BlockError | KeyFileError) -> None:
        self._metrics.reload_failures.inc()
        owner = Owner.from_key(change.id)
        known = self._unopened.get(owner)
        why = (revision, str(problem))
        if known is not None and known.why == why:
            known.failed_again(change)
            return
        log.error("list_not_opened", owner=owner.key, revision=revision, problem=str(problem))
        self._unopened[owner] = _Unopened(change, why)

    async def _came_in_force(self, changes: Iterable[Change]) -> None:
        await self._everywhere()
        now = time.time()
        commits = set()
        pace = Pace()
        for change in changes:
            if self._pending.get((change.kind, change.id)) is change:
                del self._pending[change.kind, change.id]
            commits.add(change.committed_at)
            await pace()
        for committed_at in commits:
            self._metrics.in_force(max(0.0, now - committed_at))
        index = self._index
        self._health.lists_not_applied = len(self._unopened)
        self._metrics.lists_not_applied.set(len(self._unopened))
        self._metrics.index_lists.set(len(index.lists))
        self._metrics.index_conferences.set(len(index.conferences))
        if len(self._pending) == len(self._unopened):
            # What a list that cannot be opened holds is not in force, whatever came after it.
            waiting = (change.position - 1 for change in self._pending.values())
            position = min((self._feed.position, *waiting))
            self._health.position = position
            self._metrics.position_applied.set(position)
            self.applied_at = now
            self.applied.set()
