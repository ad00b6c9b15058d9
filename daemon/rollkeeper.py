"""A process of its own that takes the events of a daemon's journals into the database, and ends what time ends.

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
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import structlog
import uvloop

from daemon.background import beside
from daemon.erasing import erase_for_ever
from daemon.journals import Batch, Taking, next_batch
from daemon.webhook_delivery import WebhookDelivery
from loader.errors import DatabaseError, KeyFileError, StaleRevision
from loader.journal_files import JournalReader
from loader.keyring import FollowedKeys, Keyring
from loader.logs import configure_logs
from loader.settings import Settings
from loader.store import open_store
from loader.store.deliveries import Deliveries
from loader.store.keeping import Keeping
from loader.store.rolls import BEGINNING
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
LEFT: Final = "--left"
"""Before the folders of journals that nobody writes any more."""
HURRIED: Final = "--hurried"
"""Whether to take the processor's time like everybody."""
_NICE: Final = 15
"""How far it steps back otherwise (nice(2)): callers wait for answers, and for a roll only who looks at it."""


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the daemon is told whenever some were taken: what is in the way, if anything is."""

    problem: str | None = None
    webhooks: dict[str, int] = {}
    """How many tries to tell a company came to what since the last line."""


class RollKeeper:
    """Takes the events of journals into one database. Those that are `left` behind are taken once."""

    def __init__(
        self,
        journals: Sequence[JournalReader],
        taker: RollTaker,
        keyring: Keyring,
        *,
        call_timeout: float,
        left: Sequence[JournalReader] = (),
    ) -> None:
        self._journals = [Taking(reader) for reader in journals]
        self._left = [Taking(reader) for reader in left]
        self._taker = taker
        self._keyring = keyring
        self._call_timeout = call_timeout
        self._swept = 0.0
        self.taken = 0
        """How many events were taken."""

    async def take(self) -> None:
        """Put all that is in the journals now into the database. Raises DatabaseUnavailable, KeyFileError, OSError.

        What comes meanwhile waits for the next time: others write too, and there is more to do than this.
        """
        now = time.time()
        journals = [*self._left, *self._journals]
        for one in journals:
            if one.progress is None:
                one.begin_at(await self._taker.progress(one.reader.id))
        while True:
            batch = next_batch(journals, _AT_ONCE, now)
            if batch.places and not await self._apply(batch):
                continue
            if batch.is_all:
                self._left = []
                return

    async def _apply(self, batch: Batch) -> bool:
        """Whether it was taken; otherwise what is read next is what is left of it."""
        taken = {one.reader.id: (one.progress or BEGINNING, place) for one, place in batch.places.items()}
        try:
            await self._taker.apply_all(self._keyring, batch.events, taken)
        except StaleRevision:
            # The keeper of a daemon that was killed is still at work.
            for one in (*self._left, *self._journals):
                one.begin_at(await self._taker.progress(one.reader.id))
            return False
        for one, place in batch.places.items():
            one.progress = place
            one.reader.forget(place)
        self.taken += len(batch.events)
        return True

    async def sweep(self) -> None:
        """End what time ends, now and then."""
        if time.monotonic() - self._swept > _SWEPT_EVERY:
            await self._taker.sweep(time.time(), self._call_timeout, self._keyring)
            self._swept = time.monotonic()


async def keep(settings: Settings, folders: Sequence[Path], left: Sequence[Path], *, hurried: bool) -> None:
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
            await _keep(settings, folders, left, keys, news, over, hurried=hurried)
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
        _say(Told(problem))
        with suppress(TimeoutError):
            async with asyncio.timeout(_AGAIN):
                await over.wait()


async def _keep(
    settings: Settings,
    folders: Sequence[Path],
    left: Sequence[Path],
    keys: FollowedKeys,
    news: asyncio.Event,
    over: asyncio.Event,
    *,
    hurried: bool,
) -> None:
    keyring = keys()
    async with open_store(settings.database.url) as store:
        taker = RollTaker(store, quiet=settings.roll.quiet)
        keeper = RollKeeper(
            [JournalReader(folder, keys) for folder in folders],
            taker,
            keyring,
            call_timeout=settings.roll.call_timeout,
            left=_readable(left, keys),
        )
        telling = WebhookDelivery(Deliveries(store), keyring, private=settings.roll.webhook_private)
        async with telling.running(), beside(erase_for_ever(Keeping(store, settings.roll.keep_days))):
            said = None
            while not over.is_set():
                news.clear()
                before = keeper.taken
                await keeper.take()
                if keeper.taken != before:
                    telling.news.set()
                await keeper.sweep()
                if not hurried:
                    # Not before: who starts or stops the daemon waits for this.
                    hurried = True
                    with suppress(OSError):
                        os.nice(_NICE)
                if keeper.taken != said or telling.results:
                    said = keeper.taken
                    _say(Told(webhooks=dict(telling.results)))
                    telling.results.clear()
                await asyncio.sleep(_AT_MOST_EVERY)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_SWEPT_EVERY):
                        await news.wait()
            async with asyncio.timeout(_LAST):
                await keeper.take()


def _readable(left: Sequence[Path], keys: FollowedKeys) -> list[JournalReader]:
    """Of the journals that were left behind: one that is damaged does not stand in the way of the others."""
    readers = []
    for folder in left:
        try:
            readers.append(JournalReader(folder, keys))
        except OSError as error:
            log.error("journal_left", folder=str(folder), problem=error.strerror)
    return readers


def _say(told: Told) -> None:
    with suppress(OSError):  # nobody may hear it any more
        os.write(1, msgspec.json.encode(told) + b"\n")


def main() -> None:
    """The daemon calls this: the folders of journals in the command line, the settings in the first line of the input.

    See `LEFT` and `HURRIED`.
    """
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
    arguments = [*(one for one in sys.argv[1:] if one != HURRIED), LEFT]
    at = arguments.index(LEFT)
    folders, left = ([Path(one) for one in some if one != LEFT] for some in (arguments[:at], arguments[at:]))
    uvloop.run(keep(settings, folders, left, hurried=HURRIED in sys.argv))


if __name__ == "__main__":
    main()
