"""The throttle while the daemon runs: its counters opened, kept under the newest key, and told of in metrics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import structlog

from daemon.background import beside
from daemon.counters import Counters, CountersBusy
from daemon.counting_throttle import CountingThrottle
from daemon.metrics import Metrics
from loader.keyring import Keyring
from loader.roll import Locked
from loader.sections import Throttle as Limits

log = structlog.get_logger(__name__)

_LOOK_EVERY: Final = 5.0
"""Seconds between two looks at whether the key file was rotated."""


def open_counters(limits: Limits, keys: Callable[[], Keyring], *, shared: bool) -> Counters:
    """The counters of this machine; where their file cannot be had, those of one daemon alone.

    `shared` is whether workers are to be handed them.
    """
    try:
        return Counters.opened(Path(limits.file), limits.memory, keys())
    except OSError as error:
        log.error("throttle_not_kept", file=limits.file, problem=error.strerror)
        return Counters.in_memory(limits.memory, shared=shared)


class Throttling:
    """The throttle over counters that are open. `locked` hears of each lock."""

    def __init__(
        self,
        counters: Counters,
        limits: Limits,
        metrics: Metrics,
        locked: Callable[[Locked], None],
    ) -> None:
        self._metrics = metrics
        self._locked = locked
        self._counters = counters
        self.throttle = CountingThrottle(counters, limits, locked=self._told, refused=metrics.held_up)

    @asynccontextmanager
    async def lasting(self, keys: Callable[[], Keyring]) -> AsyncGenerator[None]:
        """Tells of the counters, and keeps their file under the newest key; at the end nothing is counted any more."""
        self._metrics.throttle_counters(self._counters)
        try:
            async with beside(self._kept_sealed(keys)):
                yield
        finally:
            self._metrics.throttle_counters(None)
            self._counters.close()

    def _told(self, lock: Locked) -> None:
        self._metrics.locked(lock.kind)
        log.warning("locked", kind=lock.kind, lock=lock.key, failures=lock.failures, switch=lock.switch)
        self._locked(lock)

    async def _kept_sealed(self, keys: Callable[[], Keyring]) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            with suppress(CountersBusy):
                self._counters.seal(keys())
