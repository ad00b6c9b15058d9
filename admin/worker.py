"""Tasks of the site that work something off, step by step, for ever."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Final

import structlog

from loader.errors import RollcallError

log = structlog.get_logger(__name__)

_AFTER_TROUBLE: Final = 5.0


class Worker(ABC):
    """Takes steps until it is stopped: a step that has begun is finished."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()
        self._is_stopping = False

    @abstractmethod
    async def step(self) -> float:
        """Do one thing, if there is one; seconds until the next step."""

    async def run(self) -> None:
        """Take steps. What goes wrong is told in the log, and tried again."""
        while not self._is_stopping:
            try:
                seconds = await self.step()
            except RollcallError as error:
                log.warning("work_failed", worker=type(self).__name__, problem=str(error))
                seconds = _AFTER_TROUBLE
            except Exception:
                log.exception("work_failed", worker=type(self).__name__)
                seconds = _AFTER_TROUBLE
            await self._pause(seconds)

    def wake(self) -> None:
        """There is something to do."""
        self._woken.set()

    def stop(self) -> None:
        """Take no further step."""
        self._is_stopping = True
        self._woken.set()

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        if not self._is_stopping:
            self._woken.clear()
