"""The rates of switches that several processes answer: together they let through what one alone would."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from mmap import mmap
from typing import Final

import structlog

from daemon.rate_limit import RateLimit

log = structlog.get_logger(__name__)

_MOST: Final = 1 << 17
"""Switches with a rate. Memory is taken only for those that are there."""
_PATIENCE: Final = 0.01
"""Seconds to wait for another process: it needs some microseconds, unless it is stopped just then."""


class SharedRates:
    """`file` is the main process's, which makes it; it also finds each switch its place, and tells the others."""

    def __init__(self, file: int | None = None) -> None:
        if file is None:
            file = os.memfd_create("rollcall-rates")
            os.truncate(file, _MOST * 8)
        # A lock belongs to who has opened the file: a copy of another's would lock nobody out.
        self.file = os.open(f"/proc/self/fd/{file}", os.O_RDWR | os.O_CLOEXEC)
        os.close(file)
        self._expected = memoryview(mmap(self.file, _MOST * 8)).cast("q")
        self.places: dict[str, int] = {}
        """Where the rate of each switch is kept."""

    def limit(self, switch_id: str, rate: int) -> RateLimit:
        """The limit of a switch. Its place is kept for it as long as the daemon runs."""
        place = self.places.get(switch_id)
        if place is None:
            if len(self.places) >= _MOST:
                log.error("rate_not_shared", switch=switch_id)
                return RateLimit(rate)
            place = self.places[switch_id] = len(self.places)
        return SharedRateLimit(rate, self, place)

    def told(self, places: Mapping[str, int]) -> None:
        """As the main process has found them."""
        self.places = dict(places)

    def expected(self, place: int) -> int:
        return self._expected[place]

    def expect(self, place: int, at: int) -> None:
        self._expected[place] = at

    @contextmanager
    def held(self) -> Iterator[None]:
        """No other process counts meanwhile; but one that was stopped while it did is not waited for."""
        give_up = 0.0
        while True:
            try:
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                now = time.monotonic()
                give_up = give_up or now + _PATIENCE
                if now > give_up:
                    break
        try:
            yield
        finally:
            fcntl.flock(self.file, fcntl.LOCK_UN)


class SharedRateLimit(RateLimit):
    """A limit that several processes count together."""

    __slots__ = ("_place", "_rates")

    def __init__(self, rate: int, rates: SharedRates, place: int) -> None:
        super().__init__(rate)
        self._rates = rates
        self._place = place

    def wait(self, now: int) -> int:
        with self._rates.held():
            self._expected = self._rates.expected(self._place)
            wait = super().wait(now)
            if not wait:
                self._rates.expect(self._place, self._expected)
        return wait
