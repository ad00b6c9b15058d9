"""What was promised is on the disk first: events are appended to the journal, many of them with one write."""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Final, TypeAlias

import structlog

from loader.errors import RollcallError
from loader.journal_files import bytes_used, identity, keep_identity, record, segment_file, segments
from loader.keyring import Keyring
from loader.roll import Event
from loader.store.rolls import Progress

log = structlog.get_logger(__name__)

_SEGMENT_SIZE: Final = 8 * 1024 * 1024
"""Bytes after which a segment is followed by the next."""
_SEGMENTS: Final = 4
"""How many segments there are at least before the journal is full: the last one is never deleted."""
_TOGETHER: Final = 2000
"""Events that are written together at most."""
_MOST_DAEMONS: Final = 256
_AGAIN: Final = 1.0
"""Seconds between two tries to write what could not be written."""
_SOON: Final = 0.2
"""Seconds after which what nobody waits for is written."""
_SYNCED_WITHIN: Final = 0.05
"""Seconds after which what nobody waited for is on the disk too."""
_PATIENCE: Final = 2.0
"""Seconds after which nobody waits for a disk any more."""
MOST_WAITING: Final = 100_000
"""Events that are kept in memory while nothing can be written; those beyond are dropped."""

_Written: TypeAlias = Progress | OSError | RollcallError
"""Up to where all is written, or why it is not."""


class JournalError(RollcallError):
    """The journal cannot be used."""


class Journal:
    """One daemon's journal, for one event loop. Raises JournalError if its folder cannot be used.

    The folder of the settings has a numbered folder for each daemon of this machine: each takes the first that no other
    has, and with it what a daemon that was killed left there.
    `synced` says whether events are on the disk itself when they count as kept, or only with the operating system:
    then they outlive the process at once, and the machine a moment later. `limit` is how many bytes may wait for the database. `dropped`
    is told how many events were lost.
    """

    def __init__(
        self,
        folder: Path,
        keyring: Callable[[], Keyring],
        *,
        synced: bool = True,
        limit: int = 1 << 28,
        dropped: Callable[[int], None] = lambda _: None,
    ) -> None:
        try:
            self.folder, self._lock = _claimed(folder)
            numbers = segments(self.folder)
            journal_id = identity(self.folder, new=not numbers)
        except OSError as error:
            raise JournalError(f"{folder}: cannot be used as roll.journal: {error.strerror}") from None
        self._writer = _Writer(self.folder, journal_id, keyring, numbers[-1] + 1 if numbers else 1, limit)
        self._synced = synced
        self._dropped = dropped
        self.news: Callable[[], None] = lambda: None
        """Called when something was written."""
        self._group: list[Event] = []
        self._waiting: list[Callable[[], None]] = []
        self._leaving: list[Callable[[], None]] = []
        self._is_writing = False
        self.problem: str | None = None
        """Why events are in memory only; None while they are written."""
        self._loop = asyncio.get_running_loop()
        self._retry: asyncio.TimerHandle | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._sync: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Events that are only in memory."""
        return len(self._group)

    def append(self, event: Event) -> None:
        """Have an event written with the next group; see :meth:`when_kept`."""
        if len(self._group) < MOST_WAITING:
            self._group.append(event)
            if self._retry is None:
                # Somebody waits for it, as a rule; who has gone away meanwhile does not.
                self._try_later()
        else:
            self._dropped(1)

    def when_kept(self, then: Callable[[], None]) -> None:
        """Call back once all that was appended so far is kept, or cannot be: no caller waits for a full disk."""
        if self.problem is not None or not (self._is_writing or self._group):
            then()
            self._try_later()
            return
        self._waiting.append(then)
        if not self._is_writing:
            self._write()

    async def kept(self) -> None:
        """Wait until all that was appended so far is kept, or cannot be."""
        kept = self._loop.create_future()
        self.when_kept(lambda: None if kept.done() else kept.set_result(None))
        await kept

    async def close(self) -> None:
        """Write what is left, and end the thread."""
        if self._retry is not None:
            self._retry.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                left = MOST_WAITING + 1
                while self._is_writing or len(self._group) < left:
                    if not self._is_writing:
                        left = len(self._group)
                        if left:
                            self._write()
                    await asyncio.sleep(0.001)
        for timer in (self._retry, self._patience, self._sync):
            if timer is not None:
                timer.cancel()
        if self._group:
            self._dropped(len(self._group))
        self._writer.close()
        os.close(self._lock)

    def _write(self) -> None:
        group, self._group = self._group[:_TOGETHER], self._group[_TOGETHER:]
        if not self._group:
            self._leaving, self._waiting = self._waiting, []
        self._is_writing = True
        if not self._synced:
            self._written(group, self._writer.append(group, synced=False))
            if self._sync is None:
                self._sync = self._loop.call_later(_SYNCED_WITHIN, self._sync_later)
            return
        self._patience = self._loop.call_later(_PATIENCE, self._wait_no_longer)
        self._writer.write(group, lambda result: self._loop.call_soon_threadsafe(self._written, group, result))

    def _sync_later(self) -> None:
        self._sync = None
        self._writer.sync()

    def _written(self, group: list[Event], result: _Written) -> None:
        self._is_writing = False
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if isinstance(result, Progress):
            if self.problem is not None:
                log.info("journal_written_again", events=len(group))
                self.problem = None
            self.news()
        else:
            self._not_written(group, result)
        self._let_go(self._leaving)
        if self.problem is not None or not self._group:
            self._let_go(self._waiting)
        elif self._waiting and not self._is_writing:
            self._write()
        self._try_later()

    def _not_written(self, group: list[Event], error: OSError | RollcallError) -> None:
        self._tell(error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error))
        lost = max(0, len(group) + len(self._group) - MOST_WAITING)
        if lost:
            self._dropped(lost)
        self._group = (group + self._group)[:MOST_WAITING]

    def _wait_no_longer(self) -> None:
        """The disk does not answer: callers are let in, and the group goes on being written."""
        self._patience = None
        self._tell(f"the disk has not answered for {_PATIENCE:g} s")
        self._let_go(self._leaving)
        self._let_go(self._waiting)

    def _tell(self, problem: str) -> None:
        if problem != self.problem:
            log.error("journal_not_written", problem=problem)
            self.problem = problem

    def _let_go(self, waiting: list[Callable[[], None]]) -> None:
        leaving = waiting[:]
        waiting.clear()
        for then in leaving:
            then()

    def _try_later(self) -> None:
        if self._retry is None and self._group and not self._is_writing:
            self._retry = self._loop.call_later(_AGAIN if self.problem else _SOON, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        if self._group and not self._is_writing:
            self._write()


class _Writer:
    """The thread that writes, so that the event loop never waits for a disk."""

    def __init__(self, folder: Path, journal_id: str, keyring: Callable[[], Keyring], segment: int, limit: int) -> None:
        self._folder = folder
        self._id = journal_id
        self._keyring = keyring
        self._limit = limit
        self._place = Progress(segment - 1, 0)
        self._file: int | None = None
        self._size = limit
        self._tasks: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def write(self, group: Sequence[Event], then: Callable[[_Written], object]) -> None:
        """Write a group in the thread, and call back from there."""
        self._tasks.put(lambda: then(self.append(group, synced=True)))

    def sync(self) -> None:
        """Bring to the disk, in the thread, what was written without."""
        if self._file is not None:
            self._tasks.put(partial(_bring_to_disk, self._file))

    def close(self) -> None:
        """Once nothing is being written."""
        self._leave()
        self._tasks.put(None)
        self._thread.join(_PATIENCE)

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            with suppress(RuntimeError):  # the loop that is called back may have been closed meanwhile
                task()

    def _leave(self) -> None:
        """Nothing more is written to this file. In the thread, where it may just be brought to the disk."""
        if self._file is not None:
            self._tasks.put(partial(_bring_to_disk, self._file, close=True))
            self._file = None

    def append(self, group: Sequence[Event], *, synced: bool) -> _Written:
        """Write a group behind the others: up to where all is written then, or why it is not."""
        try:
            self._leave_what_is_gone()
            if self._file is None or self._place.offset >= min(_SEGMENT_SIZE, self._limit // _SEGMENTS):
                self._next_segment(synced=synced)
            data = record(group, self._keyring(), self._id, self._place)
            if self._size + len(data) > self._limit and self._used() + len(data) > self._limit:
                return JournalError("the journal is full: the database has not taken its events for too long")
            self._append(data, synced=synced)
        except (OSError, RollcallError) as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever it is, callers wait for the answer
            return JournalError(type(error).__name__)
        self._size += len(data)
        self._place = Progress(self._place.segment, self._place.offset + len(data))
        return self._place

    def _append(self, data: bytes, *, synced: bool) -> None:
        file = self._file
        if file is None:
            raise JournalError("the journal has no file")
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(file, left) :]
        except OSError:
            # What was cut off must not stand before the next record. Nobody has read it: it is no record.
            try:
                os.ftruncate(file, self._place.offset)
                os.lseek(file, self._place.offset, os.SEEK_SET)
            except OSError:
                self._leave()
            raise
        try:
            if synced:
                os.fdatasync(file)
        except OSError:
            # It may have been read, or be lost: the next record stands elsewhere.
            os.close(file)
            self._file = None
            raise

    def _leave_what_is_gone(self) -> None:
        """What is written to a file that was deleted nobody would ever read."""
        if self._file is not None and not os.fstat(self._file).st_nlink:
            log.error("journal_deleted", segment=self._place.segment)
            self._leave()
            if not self._folder.exists():
                self._folder.mkdir(mode=0o700, parents=True)
                keep_identity(self._folder, self._id)

    def _used(self) -> int:
        self._size = bytes_used(self._folder)
        return self._size

    def _next_segment(self, *, synced: bool) -> None:
        number = self._place.segment + 1
        file = os.open(segment_file(self._folder, number), os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        self._leave()
        self._file, self._place = file, Progress(number, 0)
        # The file's name must be on the disk too.
        folder = os.open(self._folder, os.O_RDONLY)
        if not synced:
            self._tasks.put(partial(_bring_to_disk, folder, close=True))
            return
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _bring_to_disk(file: int, *, close: bool = False) -> None:
    try:
        os.fdatasync(file)
    except OSError as error:
        log.error("journal_not_synced", problem=error.strerror)
    if close:
        os.close(file)


def _claimed(folder: Path) -> tuple[Path, int]:
    """The first numbered folder in this one that no other daemon has, and the lock that ends with the process."""
    for number in range(_MOST_DAEMONS):
        own = folder / str(number)
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(own / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return own, lock
    raise JournalError(f"{folder}: {_MOST_DAEMONS} daemons use this roll.journal already")
