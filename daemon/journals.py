"""Several journals, read as if they were one: a worker each, and what others have left behind."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from loader.journal_files import JournalReader, segments
from loader.roll import Event
from loader.store.rolls import Progress

_CLOCK_MAY_DIFFER: Final = 1.0
"""Seconds by which an event may be in the future before the clock is taken to have been set back."""


class Taking:
    """One journal on its way: `progress` is how far it is taken, None until that is known."""

    def __init__(self, reader: JournalReader) -> None:
        self.reader = reader
        self.progress: Progress | None = None
        self._ahead: list[Event] = []
        self._place: Progress | None = None
        """Up to where it is read."""

    def begin_at(self, progress: Progress) -> None:
        """What was read beyond this place is read again."""
        self.progress = self._place = progress
        self._ahead = []

    def peek(self, most: int) -> list[Event]:
        """What comes next, about so many events; nothing if all is read. Raises KeyFileError, OSError."""
        if not self._ahead and self._place is not None:
            self._ahead, self._place = self.reader.read(self._place, most)
        return self._ahead

    def pop(self) -> Progress:
        """What came next counts as read: up to where."""
        if self._place is None:  # pragma: no cover - as it has begun
            raise RuntimeError("the journal was not begun with")
        self._ahead = []
        return self._place


class Batch:
    """Events in the order in which they happened, and up to where they reach in each journal."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.places: dict[Taking, Progress] = {}
        self.is_all = False
        """Whether nothing that was there when it was begun is left."""


def next_batch(journals: Sequence[Taking], most: int, now: float) -> Batch:
    """About so many events of all journals, of before `now` (seconds since 1970). Raises KeyFileError, OSError.

    That somebody joined may stand in another journal than that he was admitted. Whoever is told that something is kept
    may say what comes next, so a record is older than those that stand on it, and so is its youngest event. What is
    written while the journals are read one after the other could come without what it stands on: it waits.
    """
    batch = Batch()
    if len(journals) == 1:
        (one,) = journals
        batch.events = one.peek(most)
        place = one.pop()
        if place != one.progress:
            batch.places[one] = place
        batch.is_all = len(batch.events) < most
        return batch
    while len(batch.events) < most:
        waiting = [
            (max(event.at for event in events), at) for at, one in enumerate(journals) if (events := one.peek(1))
        ]
        oldest = min(waiting, default=None)
        if oldest is None or now < oldest[0] < now + _CLOCK_MAY_DIFFER:
            batch.is_all = True
            break
        one = journals[oldest[1]]
        batch.events += one.peek(1)
        batch.places[one] = one.pop()
    return batch


def left_behind(folder: Path, ours: Iterable[Path]) -> list[Path]:
    """The journals in this folder that no process has: of workers that there are no more, or of another daemon."""
    own = set(ours)
    journals = sorted(one for one in folder.glob("*") if one.name.isdecimal() and one not in own)
    return [journal for journal in journals if segments(journal) and not _is_in_use(journal)]


def _is_in_use(journal: Path) -> bool:
    try:
        lock = os.open(journal / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False
