"""Following the feed of changes."""

from __future__ import annotations

import asyncio

from loader.errors import DatabaseError
from loader.model import Change, Position
from loader.store import Store


class FeedRestarted(DatabaseError):
    """The feed stands before a position that it has already had, as after a backup was put back: read all again."""


class Feed:
    """What has changed since a position, which goes forward with each look.

    An error leaves the position where it was: the next look tells what this one would have.
    """

    def __init__(self, store: Store, position: Position, *, interval: float = 0.1) -> None:
        self.position = position
        self._store = store
        self._interval = interval

    async def poll(self) -> list[Change]:
        """One look: each thing that changed since the last, once. Raises DatabaseUnavailable, FeedRestarted."""
        now = await self._store.position()
        if now == self.position:
            return []
        if now < self.position:
            raise FeedRestarted(
                f"{self._store.name}: the feed of changes went back from {self.position} to {now}, as after a restore"
            )
        changes = await self._store.changes_since(self.position)
        # What stood at the last position may be forgotten by now: that is no reason to ask for it again.
        self.position = max([now, *(change.position for change in changes[-1:])])
        return changes

    async def wait(self) -> list[Change]:
        """Look every `interval` seconds until something has changed. Raises as :meth:`poll` does, at the first error."""
        while True:
            changes = await self.poll()
            if changes:
                return changes
            await asyncio.sleep(self._interval)
