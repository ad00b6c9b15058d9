"""A process of its own that takes a journal's events into the database, and ends what time ends.

Beside that it tells companies what happened, and erases what is too old.

To write rolls takes the interpreter far longer than to answer a caller: in the daemon's process each would wait for
the other. The daemon starts this one, tells it on its standard input that there is news, and hears on its standard
output how far it has come, one JSON object a line. When its input ends it takes what is left, and ends: so a daemon
that was killed leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import structlog
import uvloop

from daemon.background import beside
from daemon.erasing import erase_for_ever
from daemon.webhook_delivery import WebhookDelivery
from loader.errors import DatabaseError, KeyFileError, StaleRevision
from loader.journal_files import JournalReader
from loader.keyring import FollowedKeys, Keyring
from loader.logs import configure_logs
from loader.settings import Settings
from loader.store import open_store
from loader.store.deliveries import Deliveries
from loader.store.keeping import Keeping
from loader.store.rolls import Progress
from loader.store.taking import RollTaker

log = structlog.get_logger(__name__)

_AT_MOST_EVERY: Final = 0.15
"""Seconds between two transactions: each is a write that others wait for."""
_SWEPT_EVERY: Final = 1.0
"""Seconds between two looks at what time has ended."""
_AGAIN: Final = 1.0
"""Seconds between two tries when the database cannot be used."""
_LAST: Final = 10.0
"""Seconds for what is left at the end; the rest waits for the daemon's next start."""
_AT_ONCE: Final = 500
"""Events in one transaction."""


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the daemon is told: how far the journal is taken, and what is in the way, if anything is."""

    segment: int
    offset: int
    problem: str | None = None
    webhooks: dict[str, int] = {}
    """How many tries to tell a company came to what since the last line."""


class RollKeeper:
    """Takes one journal's events into one database."""

    def __init__(self, reader: JournalReader, taker: RollTaker, keyring: Keyring, *, call_timeout: float) -> None:
        self._reader = reader
        self._taker = taker
        self._keyring = keyring
        self._call_timeout = call_timeout
        self._swept = 0.0
        self.progress: Progress | None = None
        """How far the journal is taken; None until that is known."""

    async def take(self) -> None:
        """Put all that is in the journal now into the database. Raises DatabaseUnavailable, KeyFileError, OSError.

        What comes meanwhile waits for the next time: others write too, and there is more to do than this.
        """
        if self.progress is None:
            self.progress = await self._taker.progress(self._reader.id)
        while True:
            events, place = self._reader.read(self.progress, _AT_ONCE)
            if place == self.progress:
                return
            try:
                await self._taker.apply(self._keyring, events, self._reader.id, self.progress, place)
                is_all = len(events) < _AT_ONCE
            except StaleRevision:
                # The keeper of a daemon that was killed is still at work.
                place = await self._taker.progress(self._reader.id)
                is_all = False
            self.progress = place
            self._reader.forget(place)
            if is_all:
                return

    async def sweep(self) -> None:
        """End what time ends, now and then."""
        if time.monotonic() - self._swept > _SWEPT_EVERY:
            await self._taker.sweep(time.time(), self._call_timeout, self._keyring)
            self._swept = time.monotonic()


async def keep(settings: Settings, folder: Path) -> None:
    """Take events until the standard input ends, and then what is left."""
    news, over = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def heard() -> None:
        news.set()
        if not os.read(0, 65536):
            loop.remove_reader(0)
            over.set()

    os.set_blocking(0, False)
    loop.add_reader(0, heard)
    told = keys = None
    while not over.is_set():
        try:
            # The same keys in each try: a rotation meanwhile may have taken some from the file.
            keys = keys or FollowedKeys(Keyring.load(Path(settings.key.file)))
            await _keep(settings, folder, keys, news, over)
        except (DatabaseError, KeyFileError, OSError) as error:
            problem = str(error)
        except Exception as error:
            log.error("rolls_not_kept", problem=type(error).__name__, exc_info=error)
            problem = type(error).__name__
        else:
            return
        if problem != told:
            log.error("rolls_not_kept", problem=problem)
            told = problem
        _say(Told(0, 0, problem))
        with suppress(TimeoutError):
            async with asyncio.timeout(_AGAIN):
                await over.wait()


async def _keep(settings: Settings, folder: Path, keys: FollowedKeys, news: asyncio.Event, over: asyncio.Event) -> None:
    keyring = keys()
    async with open_store(settings.database.url) as store:
        taker = RollTaker(store, quiet=settings.roll.quiet)
        reader = JournalReader(folder, keys)
        keeper = RollKeeper(reader, taker, keyring, call_timeout=settings.roll.call_timeout)
        telling = WebhookDelivery(Deliveries(store), keyring, private=settings.roll.webhook_private)
        async with telling.running(), beside(erase_for_ever(Keeping(store, settings.roll.keep_days))):
            said = None
            while not over.is_set():
                news.clear()
                before = keeper.progress
                await keeper.take()
                if keeper.progress != before:
                    telling.news.set()
                await keeper.sweep()
                if keeper.progress is not None and (keeper.progress != said or telling.results):
                    said = keeper.progress
                    _say(Told(said.segment, said.offset, webhooks=dict(telling.results)))
                    telling.results.clear()
                await asyncio.sleep(_AT_MOST_EVERY)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_SWEPT_EVERY):
                        await news.wait()
            async with asyncio.timeout(_LAST):
                await keeper.take()


def _say(told: Told) -> None:
    with suppress(OSError):  # nobody may hear it any more
        os.write(1, msgspec.json.encode(told) + b"\n")


def main() -> None:
    """The daemon calls this: the journal's folder in the command line, the settings in the first line of the input."""
    line = b""
    while not line.endswith(b"\n"):
        some = os.read(0, 1)
        if not some:
            return
        line += some
    settings = msgspec.json.decode(line, type=Settings)
    configure_logs(settings.logs.format, settings.logs.level)
    # Who stops a service may signal all its processes: this one has to take what the daemon still answers.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError):
        os.nice(5)
    uvloop.run(keep(settings, Path(sys.argv[1])))


if __name__ == "__main__":
    main()
