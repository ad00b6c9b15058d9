"""Long work on the event loop, cut into pieces so short that no lookup waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from time import perf_counter
from typing import Final

_PIECE: Final = 0.001


class Pace:
    """Gives the event loop back now and then; await it between two pieces of work."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since = perf_counter()

    async def __call__(self) -> None:
        """Give the loop back if it was held for a millisecond."""
        if perf_counter() - self._since > _PIECE:
            await asyncio.sleep(0)
            self._since = perf_counter()

    async def through(self, steps: Iterable[None]) -> None:
        """Take all these steps, each of them a piece of work."""
        for _ in steps:
            if perf_counter() - self._since > _PIECE:
                await asyncio.sleep(0)
                self._since = perf_counter()
