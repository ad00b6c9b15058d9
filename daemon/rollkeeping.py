"""The daemon's side of the roll's keeper: it is started, told of news, and started again if it ends."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
import structlog

from daemon.background import beside
from daemon.journal import Journal
from daemon.rollkeeper import HURRIED, LEFT, Told
from loader.journal_files import bytes_used
from loader.settings import Settings

log = structlog.get_logger(__name__)

_AGAIN: Final = 1.0
"""Seconds until a keeper that has ended is started again."""
_NEWS_EVERY: Final = 0.05
"""Seconds between two words to the keeper."""
_LAST: Final = 12.0
"""Seconds that the keeper has at the end; a little more than it gives itself."""
_LOOKED_EVERY: Final = 1.0
"""Seconds between two looks at how full the journals are."""
_MUCH, _LITTLE = 0.6, 0.3
"""Parts of what may wait for the database: above the one the keeper steps back for nobody, until it is below the other.
Up to a quarter is what is taken, and not yet deleted."""


class RollKeeping:
    """The keeper of a daemon's journals, as a process: of the main process's own, and of those of its workers.

    `settings` is asked at each start; `webhooks` is told what came of tries.
    """

    def __init__(
        self,
        journal: Journal,
        settings: Callable[[], Settings],
        webhooks: Callable[[str, int], None] = lambda _result, _count: None,
    ) -> None:
        self._journal = journal
        self.folders = [journal.folder]
        """The journals of all processes."""
        self._left: list[Path] = []
        self._settings = settings
        self._webhooks = webhooks
        self._news: asyncio.StreamWriter | None = None
        self._telling: asyncio.TimerHandle | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._is_ended = False
        """Whether the keeper ends because it was told to."""
        self._is_hurried = False
        self.problem: str | None = None
        """Why rolls are not in the database now; None if nothing is in the way."""

    def backlog(self) -> float:
        """Bytes in the journals, most of which wait for the database."""
        return float(sum(bytes_used(folder) for folder in self.folders))

    def keep_too(self, folder: Path) -> None:
        """Keep a worker's journal too from now on."""
        if folder not in self.folders:
            self.folders.append(folder)
            self.start_anew()

    def keep_left(self, folders: Iterable[Path]) -> None:
        """Keep what is in these journals, which nobody writes any more."""
        self._left += folders

    @asynccontextmanager
    async def keeping(self) -> AsyncGenerator[None]:
        """The keeper runs as long as the context lasts; at its end it takes what is left."""
        running = asyncio.create_task(self._run())
        self._journal.news = self.tell
        try:
            async with beside(self._look_after()):
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

    def tell(self) -> None:
        """There is something new in one of the journals."""
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

    async def _look_after(self) -> None:
        """Who always steps back may never come to it; and what has no room in the journals is lost."""
        while True:
            await asyncio.sleep(_LOOKED_EVERY)
            part = self.backlog() / self._settings().roll.journal_limit
            if part > _MUCH if not self._is_hurried else part < _LITTLE:
                self._is_hurried = not self._is_hurried
                log.warning("keeper_hurried", hurried=self._is_hurried)
                if self._process is not None and self._process.returncode is None:
                    self._is_ended = True
                    # It loses nothing, and in order it might end when it is too late.
                    self._process.kill()

    async def _keep(self) -> int | None:
        """Start a keeper and hear it to its end; what it ended with. Raises OSError, ValueError."""
        told = [*([HURRIED] if self._is_hurried else []), *map(str, self.folders), LEFT, *map(str, self._left)]
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "daemon.rollkeeper", *told, stdin=PIPE, stdout=PIPE
        )
        news, said = process.stdin, process.stdout
        if news is None or said is None:  # pragma: no cover - as both are pipes
            raise RuntimeError("the keeper has no pipes")
        try:
            # Killed at once, it is gone before it is spoken to.
            if not news.is_closing():
                news.write(msgspec.json.encode(self._settings()) + b"\n")
            self._news = news
            async for line in said:
                self._hear(msgspec.json.decode(line, type=Told))
        finally:
            self._news = None
            news.close()
            await _wait_for(process)
            if process.returncode is None:
                process.kill()
                await _wait_for(process)
        return process.returncode

    def _hear(self, told: Told) -> None:
        for result, count in told.webhooks.items():
            self._webhooks(result, count)
        if told.problem != self.problem:
            self.problem = told.problem
            if told.problem is None:
                log.info("rolls_kept_again")


async def _wait_for(process: asyncio.subprocess.Process) -> None:
    """Not for ever: the event loop may miss the end of a process that it was just starting."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_LAST):
            await process.wait()
