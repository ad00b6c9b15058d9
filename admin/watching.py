"""Who watches what changes: one look for all who watch the same, and no more streams than a user needs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any, Final

import structlog

from loader.errors import DatabaseError, RollcallError

log = structlog.get_logger(__name__)

LOOK_EVERY: Final = 0.3
"""Seconds between two looks at an occurrence that somebody watches."""
MOST_OF_A_USER: Final = 4
"""Streams that a user may have open: a browser has six connections to a site, and needs some for pages."""


class TooManyWatch(RollcallError):
    """A user has as many streams open as he may, or the site is about to stop."""


class Watched:
    """An occurrence that somebody watches. `shared` is for what those who watch it can have in common."""

    def __init__(self, occurrence_id: int) -> None:
        self.occurrence_id = occurrence_id
        self.version: int | None = None
        self.changed = asyncio.Event()
        self.watches: list[Watch] = []
        self.shared: dict[Any, Any] = {}

    def tell(self) -> None:
        """Wake all that wait."""
        self.changed.set()
        self.changed = asyncio.Event()


class Watch:
    """One stream of one user. `is_gone` tells whether nobody hears it any more."""

    def __init__(self, watching: Watching, watched: Watched, user_id: str, is_gone: Callable[[], bool]) -> None:
        self._watching = watching
        self._watched = watched
        self.user_id = user_id
        self.is_gone = is_gone

    @property
    def is_over(self) -> bool:
        """Whether the stream is to end: the site stops, or its browser has gone."""
        return self._watching.is_stopping or self.is_gone()

    @property
    def shared(self) -> dict[Any, Any]:
        """What all who watch this occurrence have in common."""
        return self._watched.shared

    async def news(self, since: int, *, within: float) -> int:
        """Wait for a version other than this, so many seconds at most; the version as it is known then."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while not self.is_over and self._watched.version in (None, since):
                    await self._watched.changed.wait()
        return since if self._watched.version is None else self._watched.version


class Watching:
    """All that is watched. `version` gives that of an occurrence; it is asked once for all who watch it."""

    def __init__(
        self,
        version: Callable[[int], Awaitable[int]],
        *,
        look_every: float = LOOK_EVERY,
        most_of_a_user: int = MOST_OF_A_USER,
    ) -> None:
        self._version = version
        self._look_every = look_every
        self._most = most_of_a_user
        self._watched: dict[int, tuple[Watched, asyncio.Task[None]]] = {}
        self.is_stopping = False

    @property
    def count(self) -> int:
        """How many streams are open."""
        return sum(len(watched.watches) for watched, _ in self._watched.values())

    @contextmanager
    def watch(self, user_id: str, occurrence_id: int, is_gone: Callable[[], bool]) -> Generator[Watch]:
        """A place of a user, as long as the context lasts. Raises TooManyWatch."""
        places = [watch for watched, _ in self._watched.values() for watch in watched.watches]
        if self.is_stopping or sum(one.user_id == user_id and not one.is_gone() for one in places) >= self._most:
            raise TooManyWatch("too many streams are open")
        if occurrence_id not in self._watched:
            new = Watched(occurrence_id)
            self._watched[occurrence_id] = new, asyncio.create_task(self._look(new))
        watched, looking = self._watched[occurrence_id]
        place = Watch(self, watched, user_id, is_gone)
        watched.watches.append(place)
        try:
            yield place
        finally:
            watched.watches.remove(place)
            if not watched.watches:
                looking.cancel()
                del self._watched[occurrence_id]

    def stop(self) -> None:
        """End all streams: the site stops."""
        self.is_stopping = True
        for watched, _ in self._watched.values():
            watched.tell()

    async def _look(self, watched: Watched) -> None:
        told = None
        while True:
            try:
                version = await self._version(watched.occurrence_id)
            except DatabaseError as error:
                if str(error) != told:
                    told = str(error)
                    log.warning("database_unavailable", problem=told)
            else:
                told = None
                if version != watched.version:
                    watched.version = version
                    watched.tell()
            await asyncio.sleep(self._look_every)
