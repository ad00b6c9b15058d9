"""Work that takes much time or memory: so many at once, the others one after the other, and never an endless queue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar

from loader.errors import RollcallError

_Given = ParamSpec("_Given")
_Made = TypeVar("_Made")


class Busy(RollcallError):
    """Too many wait for a turn already: try again in a moment."""


class Turns:
    """`at_once` may work at a time, and so many more may wait."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._most = at_once + waiting
        self._here = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it. Raises Busy."""
        if self._here >= self._most:
            raise Busy("too many are waiting")
        self._here += 1
        try:
            async with self._free:
                yield
        finally:
            self._here -= 1

    async def work(self, make: Callable[_Given, _Made], *args: _Given.args, **kwargs: _Given.kwargs) -> _Made:
        """What `make` makes, in a thread, when it is its turn. Raises Busy."""
        async with self.turn():
            return await asyncio.to_thread(make, *args, **kwargs)
