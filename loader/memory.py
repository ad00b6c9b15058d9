"""Memory that several processes read and one writes: a few segments, each filled from its start to its end.

An address names a segment in its upper half and a place in it in the lower. What is freed is given back to the system
page by page; what stays of a segment is copied elsewhere once a quarter of it is dead (:meth:`Memory.sparse`), so that
what is wasted stays below a third of what is used, and the segments stay few however many lists there are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from mmap import MADV_REMOVE, PAGESIZE, PROT_READ, PROT_WRITE, mmap
from typing import Final, TypeAlias
from weakref import finalize

Buffer: TypeAlias = bytes | bytearray | memoryview

SEGMENT: Final = 64 * 1024 * 1024
"""Bytes of a segment, at least. What is not yet written in it takes no memory."""
OFFSET: Final = 2**32 - 1
"""The bits of an address that tell where in its segment it is."""

_SHARE: Final = 64
"""A new segment has at least this part of all there is, so that there are a few hundred of them at most."""
_STEP: Final = 1024 * 1024
"""Bytes that are copied, or given back, in one go: about a millisecond."""
_ALIGNED: Final = 8


class Mapped:
    """The segments that a process has in its memory, each as bytes, as 32-bit and as 64-bit numbers."""

    def __init__(self) -> None:
        self.bytes: dict[int, memoryview] = {}
        self.words: dict[int, memoryview] = {}
        self.quads: dict[int, memoryview] = {}

    def map(self, segment: int, fd: int, size: int, *, writable: bool = False) -> None:
        """Take a segment in. The file descriptor may be closed afterwards."""
        whole = memoryview(mmap(fd, size, prot=PROT_READ | PROT_WRITE if writable else PROT_READ))
        self.bytes[segment] = whole
        self.words[segment] = whole.cast("I")
        self.quads[segment] = whole.cast("Q")

    def drop(self, segment: int) -> None:
        """Forget a segment; it is unmapped when nothing refers to it any more."""
        for views in (self.bytes, self.words, self.quads):
            views.pop(segment, None)

    def at(self, address: int, size: int) -> memoryview:
        """The bytes from an address on."""
        start = address & OFFSET
        return self.bytes[address >> 32][start : start + size]


class _Segment:
    """How much of a segment was handed out, and how much of that is in use."""

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.close = finalize(self, os.close, fd)
        self.size = size
        self.used = 0
        self.held = 0
        """Bytes that are not freed."""
        self.live = 0
        """Bytes that are not retired."""


class Memory(Mapped):
    """The one writer's side. What is written once is not changed until it is freed."""

    def __init__(self) -> None:
        super().__init__()
        self._segments: dict[int, _Segment] = {}
        self._filling = 0
        self._made = 0
        self.reserved: list[tuple[int, int]] | None = None
        """Where somebody wants to know it: addresses and sizes of all that was reserved."""

    @property
    def segments(self) -> dict[int, tuple[int, int]]:
        """File descriptor and size of each segment."""
        return {number: (segment.fd, segment.size) for number, segment in self._segments.items()}

    def begin_anew(self) -> None:
        """What comes from now on goes into segments of its own."""
        self._filling = 0

    def reserve(self, size: int) -> int:
        """The address of room for so many bytes. Raises OSError if the system has none."""
        room = _room(size)
        segment = self._segments.get(self._filling)
        if segment is None or segment.size - segment.used < room:
            segment = self._new_segment(room)
        address = (self._filling << 32) | segment.used
        segment.used += room
        segment.held += room
        segment.live += room
        if self.reserved is not None:
            self.reserved.append((address, size))
        return address

    def put(self, data: Buffer) -> int:
        """The address of a copy of a few bytes."""
        address = self.reserve(len(data))
        self.at(address, len(data))[:] = data
        return address

    def put_in_steps(self, data: memoryview) -> Iterator[int]:
        """As :meth:`put`, for any size: a step yields 0, the last one the address."""
        address = self.reserve(len(data))
        room = self.at(address, len(data))
        for start in range(0, len(data), _STEP):
            if start:
                yield 0
            room[start : start + _STEP] = data[start : start + _STEP]
        yield address

    def retire(self, address: int, size: int) -> None:
        """Nothing new will refer to this; it can still be read until it is freed."""
        self._segments[address >> 32].live -= _room(size)

    def retire_segment(self, number: int) -> None:
        """As :meth:`retire`, of all that is in a segment."""
        self._segments[number].live = 0

    def free(self, address: int, size: int) -> Iterator[None]:
        """Give back what was retired, in steps: nobody reads it any more."""
        number = address >> 32
        segment = self._segments[number]
        start = address & OFFSET
        # The pages at both ends hold something else too.
        yield from self._give_back(number, -(-start // PAGESIZE) * PAGESIZE, (start + size) // PAGESIZE * PAGESIZE)
        segment.held -= _room(size)
        if not segment.held and number != self._filling:
            yield from self.free_segment(number)

    def free_segment(self, number: int) -> Iterator[None]:
        """Give back a whole segment, in steps: nobody reads anything in it any more."""
        segment = self._segments.pop(number, None)
        if segment is None:
            return
        yield from self._give_back(number, 0, segment.size)
        self.drop(number)
        segment.close()

    def sparse(self) -> int | None:
        """A segment of which a quarter or more is dead, the one with the most; what lives in it is best moved."""
        worst = max(
            (n for n, segment in self._segments.items() if segment.live and n != self._filling),
            key=lambda n: self._segments[n].used - self._segments[n].live,
            default=None,
        )
        if worst is None:
            return None
        segment = self._segments[worst]
        return worst if segment.live * 4 <= segment.used * 3 else None

    def close(self) -> None:
        """Give all of it up. What still refers to it can be read on."""
        for number, segment in self._segments.items():
            self.drop(number)
            segment.close()
        self._segments.clear()
        self._filling = 0

    def _new_segment(self, room: int) -> _Segment:
        all_of_it = sum(segment.used for segment in self._segments.values())
        full = self._segments.get(self._filling)
        if full is not None and not full.held:
            for _ in self.free_segment(self._filling):
                """Nothing is left in it, and nearly no page."""
        size = max(SEGMENT, room, min(all_of_it // _SHARE, OFFSET))
        size = -(-size // PAGESIZE) * PAGESIZE
        number = self._made + 1
        fd = os.memfd_create("rollcall-index")
        try:
            os.ftruncate(fd, size)
            self.map(number, fd, size, writable=True)
        except BaseException:
            os.close(fd)
            raise
        self._made = self._filling = number
        segment = self._segments[number] = _Segment(fd, size)
        return segment

    def _give_back(self, segment: int, start: int, end: int) -> Iterator[None]:
        mapped = self.bytes[segment].obj
        for at in range(start, end, _STEP):
            # The mapping is shared, so that MADV_DONTNEED would keep its pages. Where a system knows no MADV_REMOVE,
            # they come back with the segment.
            with suppress(OSError):
                mapped.madvise(MADV_REMOVE, at, min(_STEP, end - at))  # type: ignore[attr-defined]
            yield


def _room(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED
