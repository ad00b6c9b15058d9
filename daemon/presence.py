"""The daemon tells the database that it is there, and what it has put in force: for `rollcall status`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog

from daemon.reload import Follower
from loader.errors import DatabaseError
from loader.model import DaemonState
from loader.store import Store

log = structlog.get_logger(__name__)

_EVERY: Final = 15.0
"""Seconds between two words when nothing happens. After 60 a daemon counts as silent."""
_AT_MOST_EVERY: Final = 0.2
"""Seconds between two words when much happens: each is a write that others wait for."""


class Presence:
    """What the database is told of one daemon."""

    def __init__(self, store: Store, daemon_id: str, version: str, follower: Follower) -> None:
        self._store = store
        self._id = daemon_id
        self._version = version
        self._follower = follower
        self._started_at = time.time()

    @asynccontextmanager
    async def told(self) -> AsyncGenerator[None]:
        """The database is told of this daemon as long as the context lasts, and at its end that it is no more."""
        telling = asyncio.create_task(self._tell())
        try:
            yield
        finally:
            telling.cancel()
            # A word that came after the last one would stand for good.
            await asyncio.wait((telling,))
            with suppress(DatabaseError):
                await self._store.forget_daemon(self._id)

    async def _tell(self) -> None:
        """Tell for ever: at once when something came in force, and now and then otherwise."""
        news = self._follower.applied
        while True:
            news.clear()
            state = DaemonState(
                id=self._id,
                version=self._version,
                started_at=self._started_at,
                position=self._follower.position,
                applied_at=self._follower.applied_at,
                seen_at=time.time(),
            )
            try:
                await self._store.record_daemon(state)
            except DatabaseError:
                pass  # The next word follows; if the database cannot be read either, the follower tells of it.
            except Exception:
                log.exception("presence_failed")
            await asyncio.sleep(_AT_MOST_EVERY)
            with suppress(TimeoutError):
                async with asyncio.timeout(_EVERY):
                    await news.wait()
