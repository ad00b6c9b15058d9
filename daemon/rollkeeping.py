"""The daemon's side of the roll's keeper: it is started, told of news, and started again if it ends."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import msgspec
import structlog

from daemon.journal import Journal
from daemon.rollkeeper import Told
from loader.journal_files import bytes_used
from loader.settings import Settings

log = structlog.get_logger(__name__)

_AGAIN: Final = 1.0
"""Seconds until a keeper that has ended is started again."""
_NEWS_EVERY: Final = 0.05
"""Seconds between two words to the keeper."""
_LAST: Final = 12.0
"""Seconds that the keeper has at the end; a little more than it gives itself."""


class RollKeeping:
    """A journal's keeper, as a process. `settings` is asked at each start; `webhooks` is told what came of tries."""

    def __init__(
        self,
        journal: Journal,
        settings: Callable[[], Settings],
        webhooks: Callable[[str, int], None] = lambda _result, _count: None,
    ) -> None:
        self._journal = journal
        self._settings = settings
        self._webhooks = webhooks
        self._news: asyncio.StreamWriter | None = None
        self._telling: asyncio.TimerHandle | None = None
        self._is_ended = False
        """Whether the keeper ends because it was told to."""
        self.problem: str | None = None
        """Why rolls are not in the database now; None if nothing is in the way."""

    def backlog(self) -> float:
        """Bytes in the journal, most of which wait for the database."""
        return float(bytes_used(self._journal.folder))

    @asynccontextmanager
    async def keeping(self) -> AsyncGenerator[None]:
        """The keeper runs as long as the context lasts; at its end it takes what is left."""
        running = asyncio.create_task(self._run())
        self._journal.news = self._tell
        try:
            yield
        finally:
            if self._telling is not None:
                self._telling.cancel()
            running.cancel()
            await asyncio.wait((running,))

    def start_anew(self) -> None:
        """End the keeper that runs, in order: the next one is given the settings as they are now."""
        if self._news is not None:
            self._is_ended = True
            self._news.close()

    def _tell(self) -> None:
        # Not for each caller: the keeper takes many at a time.
        if self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(_NEWS_EVERY, self._send)

    def _send(self) -> None:
        self._telling = None
        news = self._news
        # One that has just ended hears nothing.
        if news is not None and not news.is_closing() and not news.transport.get_write_buffer_size():
            news.write(b"\n")

    async def _run(self) -> None:
        while True:
            try:
                ended = await self._keep()
                if self._is_ended:
                    self._is_ended = False
                    continue
                problem = f"the keeper has ended with {ended}"
            except OSError as error:
                problem = f"the keeper cannot be started: {error.strerror or error}"
            except ValueError:
                problem = "the keeper is not understood"
            except Exception as error:  # noqa: BLE001 - whatever it is, nobody else starts the next one
                problem = f"the keeper cannot be used: {type(error).__name__}"
            if problem != self.problem:
                self.problem = problem
                log.error("rolls_not_kept", problem=problem)
            await asyncio.sleep(_AGAIN)

    async def _keep(self) -> int | None:
        """Start a keeper and hear it to its end; what it ended with. Raises OSError, ValueError."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "daemon.rollkeeper", str(self._journal.folder), stdin=PIPE, stdout=PIPE
        )
        news, told = process.stdin, process.stdout
        if news is None or told is None:  # pragma: no cover - as both are pipes
            raise RuntimeError("the keeper has no pipes")
        try:
            # Killed at once, it is gone before it is spoken to.
            if not news.is_closing():
                news.write(msgspec.json.encode(self._settings()) + b"\n")
            self._news = news
            async for line in told:
                self._hear(msgspec.json.decode(line, type=Told))
        finally:
            self._news = None
            news.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST):
                    await process.wait()
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode

    def _hear(self, told: Told) -> None:
        for result, count in told.webhooks.items():
            self._webhooks(result, count)
        if told.problem != self.problem:
            self.problem = told.problem
            if told.problem is None:
                log.info("rolls_kept_again")
