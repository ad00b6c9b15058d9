"""Long work on the event loop, cut into pieces so short that no lookup waits for it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from mmap import MADV_REMOVE, mmap
from time import perf_counter
from typing import Final

from loader.compiled import Block
from loader.index import Index

_PIECE: Final = 0.001
_STEP: Final = 4 * 1024 * 1024


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


async def give_back(block: Block) -> None:
    """Give the memory of a block that nobody asks any more back to the system, a few MiB at a time."""
    buffer = block._data  # noqa: SLF001 - a block has no other use for its buffer
    mapped = buffer.obj if isinstance(buffer, memoryview) else None
    if not isinstance(mapped, mmap):
        return
    size = len(mapped)
    for start in range(0, size, _STEP):
        # The mapping is shared, as `mmap` makes it, so that MADV_DONTNEED would keep its pages. A system that knows
        # no MADV_REMOVE gets them back with the mapping, all at once.
        with suppress(OSError):
            mapped.madvise(MADV_REMOVE, start, min(_STEP, size - start))
        await asyncio.sleep(0)


async def give_back_index(index: Index) -> None:
    """Take apart an index that shares nothing with the one in force."""
    pace = Pace()
    while index.lists:
        _, block = index.lists.popitem()
        await give_back(block)
        await pace()
    for table in (index.conferences, index.passcodes):
        while table:
            table.popitem()
            await pace()
