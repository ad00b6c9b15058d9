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


class Throttling:
    """Opens the counters, in this process alone where their file cannot be had. `locked` hears of each lock."""

    def __init__(
        self, limits: Limits, keys: Callable[[], Keyring], metrics: Metrics, locked: Callable[[Locked], None]
    ) -> None:
        self._keys = keys
        self._metrics = metrics
        self._locked = locked
        try:
            self._counters = Counters.opened(Path(limits.file), limits.memory, keys())
        except OSError as error:
            log.error("throttle_not_kept", file=limits.file, problem=error.strerror)
            self._counters = Counters.in_memory(limits.memory)
        metrics.throttle_counters(self._counters)
        self.throttle = CountingThrottle(self._counters, limits, locked=self._told, refused=metrics.held_up)

    @asynccontextmanager
    async def lasting(self) -> AsyncGenerator[None]:
        """Keeps the file under the newest key; at the end nothing is counted any more."""
        try:
            async with beside(self._kept_sealed()):
                yield
        finally:
            self._metrics.throttle_counters(None)
            self._counters.close()

    def _told(self, lock: Locked) -> None:
        self._metrics.locked(lock.kind)
        log.warning("locked", kind=lock.kind, lock=lock.key, failures=lock.failures, switch=lock.switch)
        self._locked(lock)

    async def _kept_sealed(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            with suppress(CountersBusy):
                self._counters.seal(self._keys())
