"""Numbers of several processes: each counts in a share of its own, and whoever wants to know adds them up.

Nobody else writes a share, so that counting needs no lock and loses nothing: a number is in shared memory as soon as it
is counted, whatever becomes of the process. Its successor goes on where it ended.
"""

from __future__ import annotations

import os
from collections.abc import MutableSequence, Sequence
from mmap import mmap
from typing import Final, NamedTuple, TypeAlias, cast

_PLACES: Final = 2048
"""Numbers of one process."""
_SIZE: Final = 8

Numbers: TypeAlias = MutableSequence[float]
"""Whole ones are exact up to 2^53."""


class Share(NamedTuple):
    """Some numbers: `own` are this process's, and `all` those of every process, its own among them."""

    own: Numbers
    all: Sequence[Numbers]

    def total(self, at: int) -> float:
        """What all processes have counted in this place."""
        return sum(one[at] for one in self.all)


class Shares:
    """The shares of so many processes; one alone keeps its numbers for itself, where counting costs least.

    `file` is the main process's, which makes it; `number` is which process this is, 0 for the main one. Each has to take
    the same numbers in the same order.
    """

    def __init__(self, processes: int = 1, number: int = 0, file: int | None = None) -> None:
        self._number = number
        self._taken = 0
        self.file = file
        if processes == 1:
            self._all: list[Numbers] = [[0.0] * _PLACES]
            return
        if self.file is None:
            self.file = os.memfd_create("rollcall-shares")
            os.truncate(self.file, processes * _PLACES * _SIZE)
        numbers = memoryview(mmap(self.file, processes * _PLACES * _SIZE)).cast("d")
        self._all = [cast("Numbers", numbers[at * _PLACES : (at + 1) * _PLACES]) for at in range(processes)]

    def take(self, count: int) -> Share:
        """The next so many numbers."""
        start, self._taken = self._taken, self._taken + count
        if self._taken > _PLACES:
            raise ValueError("there are not so many places")
        shares = [_part(one, start, self._taken) for one in self._all]
        return Share(shares[self._number], shares)


def alone(count: int) -> Share:
    """So many numbers of this process, which no other has."""
    numbers: Numbers = [0.0] * count
    return Share(numbers, (numbers,))


def _part(numbers: Numbers, start: int, end: int) -> Numbers:
    """Of a list a copy, which nothing else counts in; of shared memory the same memory."""
    return numbers[start:end]
