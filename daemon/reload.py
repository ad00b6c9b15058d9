"""Following the database: what changed is read, and swapped in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import structlog

from daemon.health import Health
from daemon.live import Live
from daemon.loading import Loaded, load_all
from daemon.metrics import Metrics
from daemon.pace import Pace, give_back, give_back_index
from loader.compiled import Block
from loader.errors import BlockError, DatabaseError, KeyFileError
from loader.feed import Feed, FeedRestarted
from loader.index import EMPTY, Index
from loader.keyring import Keyring
from loader.model import Change, Conference, Kind, Owner, Position
from loader.reader import read_block
from loader.store import Store

log = structlog.get_logger(__name__)

_MAX_BACK_OFF: Final = 1.0
_TRY_AGAIN: Final = (1.0, 30.0)
_SWAPPED_EVERY: Final = 0.05
_CONFERENCES_AT_ONCE: Final = 1000


class _Unopened:
    """A list whose newest revision cannot be opened: why, and when to try again (`time.monotonic`)."""

    def __init__(self, why: str) -> None:
        self.why = why
        self._wait = _TRY_AGAIN[0]
        self.again_at = time.monotonic() + self._wait

    def failed_again(self) -> None:
        self._wait = min(self._wait * 2, _TRY_AGAIN[1])
        self.again_at = time.monotonic() + self._wait


class Follower:
    """Keeps what is in force as the database says. `interval` is in seconds, and may be changed at any time."""

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
    ) -> None:
        self.interval = interval
        self.keyring = keyring
        self.applied = asyncio.Event()
        """Set whenever something came in force."""
        self.applied_at = time.time()
        self._store = store
        self._live = live
        self._health = health
        self._metrics = metrics
        self._file = database_file
        self._identity = self._identity_now()
        self._feed = Feed(store, Position(0))
        self._pending: dict[tuple[Kind, str], Change] = {}
        self._unopened: dict[Owner, _Unopened] = {}
        self._back_off = 0.0

    async def load(self) -> None:
        """The first load. Raises DatabaseError, and KeyFileError if the key file is not this database's."""
        loaded = await load_all(self._store, self.keyring)
        for _, problem in loaded.unopened.values():
            if isinstance(problem, KeyFileError):
                raise problem
        await self._put_in_force(loaded)
        self._health.loaded = True
        index = loaded.index
        log.info("index_loaded", position=loaded.position, lists=len(index.lists), conferences=len(index.conferences))

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
        try:
            changes = await self._feed.poll()
        except FeedRestarted as restarted:
            log.warning("feed_restarted", problem=str(restarted))
            await self._load_again()
            changes = []
        else:
            if self._identity != self._identity_now():
                log.warning("database_replaced", database=self._store.name)
                await self._load_again()
                changes = []
        for change in changes:
            self._pending[change.kind, change.id] = change
        await self._apply()

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

    def _identity_now(self) -> tuple[int, int] | None:
        """Which file the database is: another may have been put in its place."""
        try:
            status = self._file.stat() if self._file else None
        except OSError:
            return self._identity
        return (status.st_dev, status.st_ino) if status else None

    # All of it

    async def _load_again(self) -> None:
        identity = self._identity_now()
        loaded = await load_all(self._store, self.keyring)
        old = self._index
        if old.conferences and not loaded.index.conferences:
            # As when an empty database was put in place of the real one: it must not silence all switches.
            raise DatabaseError(f"{self._store.name} holds no conference; what was loaded before stays in force")
        for owner in loaded.unopened.keys() & old.lists.keys():
            loaded.index.lists[owner] = old.lists.pop(owner)
        await self._put_in_force(loaded)
        self._identity = identity
        await give_back_index(old)

    async def _put_in_force(self, loaded: Loaded) -> None:
        pace = Pace()
        entries = size = 0
        for block in loaded.index.lists.values():
            entries += block.count
            size += block.size
            await pace()
        self._live.swap(loaded.index)
        self._live.swap_switches(loaded.switches)
        self._feed.position = loaded.position
        self._pending.clear()
        self._unopened.clear()
        for owner, (listed, problem) in loaded.unopened.items():
            self._pending[Kind.LIST, owner.key] = Change(Kind.LIST, owner.key, loaded.position, listed.created_at)
            self._not_opened(owner, problem)
        self._metrics.index_entries.set(entries)
        self._metrics.index_bytes.set(size)
        self._came_in_force(())
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
        due = [change for change in self._pending.values() if self._is_due(change)]
        if not due and self._health.position == self._feed.position:
            return
        switches = [change for change in due if change.kind is Kind.SWITCH]
        if switches:
            self._live.swap_switches(await self._store.switches())
            self._came_in_force(switches)
        directory = [change for change in due if change.kind in (Kind.CONFERENCE, Kind.ORGANIZER)]
        if directory:
            await self._apply_directory(directory)
        await self._apply_lists([change for change in due if change.kind is Kind.LIST])

    def _is_due(self, change: Change) -> bool:
        if change.kind is not Kind.LIST:
            return True
        unopened = self._unopened.get(Owner.from_key(change.id))
        return unopened is None or time.monotonic() >= unopened.again_at

    async def _apply_directory(self, changes: list[Change]) -> None:
        ids = {change.id for change in changes if change.kind is Kind.CONFERENCE}
        organizers = {change.id for change in changes if change.kind is Kind.ORGANIZER}
        pace = Pace()
        index = self._index
        gone = ids.copy()
        for known in index.conferences.values() if organizers else ():
            if known.organizer in organizers:
                gone.add(known.id)
            await pace()
        arrived: dict[str, Conference] = {}
        async for conference in self._store.conferences(ids=ids, organizers=organizers):
            arrived[conference.id] = conference
            await pace()
        index = index.changed(gone=gone - arrived.keys())
        conferences = list(arrived.values())
        for start in range(0, len(conferences), _CONFERENCES_AT_ONCE):
            index = index.changed(conferences=conferences[start : start + _CONFERENCES_AT_ONCE])
            await asyncio.sleep(0)
        self._live.swap(index)
        self._came_in_force(changes)

    async def _apply_lists(self, changes: list[Change]) -> None:
        read: dict[Owner, Block | None] = {}
        done: list[Change] = []
        swapped_at = time.monotonic()
        for change in changes:
            owner = Owner.from_key(change.id)
            try:
                read[owner] = await self._read(owner)
            except (BlockError, KeyFileError) as problem:
                self._not_opened(owner, problem)
            else:
                self._unopened.pop(owner, None)
                done.append(change)
            if time.monotonic() - swapped_at > _SWAPPED_EVERY:
                await self._swap_lists(read, done)
                read, done, swapped_at = {}, [], time.monotonic()
        await self._swap_lists(read, done)

    async def _read(self, owner: Owner) -> Block | None:
        while True:
            listed = await self._store.list_head(owner)
            if listed is None:
                return None
            self.keyring = self.keyring.holding(listed.key_id)
            block = await read_block(self._store, self.keyring, listed)
            if block is not None:
                return block

    async def _swap_lists(self, read: dict[Owner, Block | None], done: Iterable[Change]) -> None:
        old = self._index
        retired = [block for owner in read if (block := old.lists.get(owner)) is not None]
        if read:
            self._live.swap(old.changed(lists=read))
            arrived = [block for block in read.values() if block is not None]
            self._metrics.index_entries.inc(sum(b.count for b in arrived) - sum(b.count for b in retired))
            self._metrics.index_bytes.inc(sum(b.size for b in arrived) - sum(b.size for b in retired))
        self._came_in_force(done)
        del old
        for block in retired:
            await give_back(block)

    def _not_opened(self, owner: Owner, problem: BlockError | KeyFileError) -> None:
        self._metrics.reload_failures.inc()
        known = self._unopened.get(owner)
        if known is not None and known.why == str(problem):
            known.failed_again()
            return
        # The problem names the revision.
        log.error("list_not_opened", owner=owner.key, problem=str(problem))
        self._unopened[owner] = _Unopened(str(problem))

    def _came_in_force(self, changes: Iterable[Change]) -> None:
        now = time.time()
        commits = set()
        for change in changes:
            if self._pending.get((change.kind, change.id)) is change:
                del self._pending[change.kind, change.id]
            commits.add(change.committed_at)
        for committed_at in commits:
            self._metrics.in_force(max(0.0, now - committed_at))
        index = self._index
        self._health.lists_not_applied = len(self._unopened)
        self._metrics.lists_not_applied.set(len(self._unopened))
        self._metrics.index_lists.set(len(index.lists))
        self._metrics.index_conferences.set(len(index.conferences))
        if len(self._pending) == len(self._unopened):
            self._health.position = self._feed.position
            self._metrics.position_applied.set(self._feed.position)
            self.applied_at = now
            self.applied.set()
