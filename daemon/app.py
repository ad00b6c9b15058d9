"""The composition root of the daemon: everything is made and tied together here."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web

from daemon.background import beside
from daemon.counters import Counters
from daemon.counting_throttle import CountingThrottle
from daemon.doors.http_port import BACKLOG, SETTING, http_server
from daemon.doors.http_server import HttpServer
from daemon.doors.opening import enabled, opened
from daemon.doors.surroundings import Surroundings
from daemon.health import Health
from daemon.journal import MOST_WAITING, Journal
from daemon.journalled_roll import JournalledRoll
from daemon.journals import left_behind
from daemon.live import Live
from daemon.metrics import Metrics
from daemon.ops import DOOR as OPERATIONS
from daemon.ops import Operations
from daemon.presence import Presence
from daemon.reload import Follower
from daemon.rereading import needing_restart
from daemon.rollkeeping import RollKeeping
from daemon.shared_rates import SharedRates
from daemon.shares import Shares
from daemon.throttling import Throttling, open_counters
from daemon.worker_nursery import Nursery
from daemon.workers import NoWorkers, Siblings, Workers
from loader.connections import Limits
from loader.errors import DatabaseError, DatabaseUnavailable, KeyFileError, SettingsError
from loader.journal_files import JournalReader
from loader.keyring import FollowedKeys, Keyring
from loader.logs import configure_logs
from loader.model import Switch
from loader.ports import Ports
from loader.service import most_connections
from loader.settings import Settings
from loader.shared_index import SharedIndex
from loader.store import open_store, sqlite_file
from loader.store.rolls import RollBook
from loader.systemd import ServiceManager, take_sockets

log = structlog.get_logger(__name__)

_TRY_AGAIN: Final = 1.0
"""Seconds between two tries to read the database at the start."""
_HELD: Final = 5.0
"""Seconds that switches are left to wait at a socket that systemd holds: their own patience is not much longer."""
_OPERATIONS_TIMEOUT: Final = 1.0
"""Seconds that the operations port has to finish what it was asked."""
_OPERATIONS_CONNECTIONS: Final = 100


class _Live(Live):
    """What the main process answers from; its workers are told of the same tokens."""

    __slots__ = ("siblings",)

    siblings: Siblings

    def swap_switches(self, switches: Iterable[Switch]) -> None:
        listed = list(switches)
        super().swap_switches(listed)
        self.siblings.swap_switches(listed)


class Daemon:
    """One daemon. `read_settings` reads the settings again, on SIGHUP. Raises KeyFileError.

    With a `nursery` it has as many workers as the settings say, this process among them.
    """

    def __init__(
        self, settings: Settings, read_settings: Callable[[], Settings], nursery: Nursery | None = None
    ) -> None:
        self._started_with = self._settings = settings
        self._read_settings = read_settings
        self._version = version("rollcall")
        self._keyring = Keyring.load(Path(settings.key.file))
        self._journal_keys = FollowedKeys(self._keyring)
        self._nursery = nursery
        self._rates = SharedRates() if nursery else None
        self._shares = Shares(settings.daemon.workers if nursery else 1)
        self._index = SharedIndex()
        rate = settings.daemon.switch_rate
        self._live = _Live(rate, self._rates.limit) if self._rates else _Live(rate)
        self._siblings: Siblings
        self._health = Health(settings.daemon.stale_after)
        self._metrics = Metrics(self._version, self._shares)
        self._metrics.database_up.set_function(lambda: float(self._health.database_up(time.monotonic())))
        self._manager = ServiceManager()
        self._ports = Ports(self._metrics.tls, take_sockets())
        self._loaded = asyncio.Event()
        self._port: asyncio.Future[int]
        self._follower: Follower | None = None
        self._book: RollBook | None = None
        self._throttle: CountingThrottle | None = None
        self._keeping: RollKeeping | None = None

    async def run(self) -> None:
        """Answer switches until SIGTERM or SIGINT, then finish what is under way.

        Raises PortError, KeyFileError, DatabaseError: what cannot mend itself while the daemon waits.
        """
        loop = asyncio.get_running_loop()
        stopping, hung_up = asyncio.Event(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        loop.add_signal_handler(signal.SIGHUP, hung_up.set)
        settings = self._settings.daemon
        journal = self._open_journal()
        roll = JournalledRoll(journal, self._is_known_elsewhere, processes=settings.workers)
        roll.remember(JournalReader(journal.folder, self._journal_keys).left_behind(MOST_WAITING))
        self._keeping = keeping = RollKeeping(journal, lambda: self._settings, self._metrics.webhooks)
        self._metrics.roll_backlog.set_function(keeping.backlog)
        self._health.rolls_problem = lambda: journal.problem or self._siblings.problem or keeping.problem
        self._metrics.rolls_kept.set_function(lambda: float(self._health.rolls_problem() is None))
        self._metrics.events_waiting_here = lambda: journal.waiting
        counters = open_counters(self._settings.throttle, self._journal_keys, shared=self._nursery is not None)
        throttling = Throttling(counters, self._settings.throttle, self._metrics, roll.locked)
        self._throttle = throttling.throttle
        surroundings = Surroundings(
            self._live,
            self._metrics,
            lambda: self._keyring,
            lambda: self._settings.daemon.drain_timeout,
            self._throttle,
            rolls=roll,
            limits=Limits(most_connections(settings.max_connections), settings.idle_timeout, settings.head_timeout),
            ports=self._ports,
        )
        workers = self._siblings = self._live.siblings = self._make_workers(counters, roll, keeping)
        door = http_server(surroundings, settings, self._version)
        operations = HttpServer(
            Operations(self._health, self._metrics.registry).gets,
            self._metrics.refusals(OPERATIONS),
            drain_timeout=lambda: _OPERATIONS_TIMEOUT,
            limits=Limits(most_connections(_OPERATIONS_CONNECTIONS)),
        )
        stopped = asyncio.create_task(stopping.wait())
        async with (
            throttling.lasting(lambda: self._journal_keys()),  # noqa: PLW0108 - SIGHUP may name another file
            self._manager.watched(self._status),
            beside(self._manager.reload_whenever(hung_up, self._read_all_again)),
            workers.working(),
            self._kept(keeping, roll),
            _closed_at_the_end(journal, roll),
            self._ports.listening(
                web.ServerRunner(operations), "daemon.ops_port", settings.ops_host, settings.ops_port
            ) as ops_port,
            self._following(stopped) as following,
            workers.listening(self._ports),
            self._ports.listening(
                web.ServerRunner(door),
                SETTING,
                settings.host,
                settings.port,
                tls=settings.tls,
                backlog=BACKLOG,
            ) as port,
            opened(enabled(self._settings.doors, surroundings)),
        ):
            self._ports.tell_unused()
            log.info("listening", host=settings.host, port=port, ops_port=ops_port, version=self._version)
            self._port.set_result(port)
            await asyncio.wait((following, stopped, workers.gone), return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                following.result()
            log.info("draining")
            self._health.draining = True
            self._manager.stopping()
            workers.drain()
            if not self._health.loaded:
                # What comes in force now is of no use to anybody.
                following.cancel()
        log.info("stopped")
        if workers.gone.done():
            workers.gone.result()

    def _make_workers(self, counters: Counters, roll: JournalledRoll, keeping: RollKeeping) -> Workers | NoWorkers:
        if self._nursery is None or self._rates is None:
            return NoWorkers()
        return Workers(
            self._nursery,
            self._started_with,
            self._metrics,
            self._index,
            counters,
            self._rates,
            self._shares,
            journal=keeping.keep_too,
            news=keeping.tell,
            is_known=roll.knows,
        )

    @asynccontextmanager
    async def _kept(self, keeping: RollKeeping, roll: JournalledRoll) -> AsyncGenerator[None]:
        """Events are kept as long as the context lasts, also those of before that nobody has taken."""
        left = left_behind(Path(self._started_with.roll.journal), keeping.folders)
        for folder in left:
            self._remember(roll, folder)
        keeping.keep_left(left)
        async with keeping.keeping():
            yield

    def _remember(self, roll: JournalledRoll, folder: Path) -> None:
        """Calls of before this start are known, though they may not be in the database yet."""
        with suppress(OSError):  # of another daemon: its keeper tells what is wrong with it
            roll.remember(JournalReader(folder, self._journal_keys).left_behind(MOST_WAITING))

    @asynccontextmanager
    async def _following(self, stopped: asyncio.Task[object]) -> AsyncGenerator[asyncio.Task[None]]:
        """The database is followed as long as the context lasts, until all have been answered."""
        self._port = asyncio.get_running_loop().create_future()
        following = asyncio.create_task(self._follow())
        loaded = asyncio.create_task(self._loaded.wait())
        try:
            if self._ports.holds(SETTING):
                # Who connects meanwhile waits with systemd, which is better than to be answered 503.
                await asyncio.wait((following, loaded, stopped), timeout=_HELD, return_when=asyncio.FIRST_COMPLETED)
            yield following
        finally:
            for task in (following, loaded, stopped):
                task.cancel()
            # Whatever it ends with: all has been answered.
            await asyncio.gather(following, loaded, stopped, return_exceptions=True)

    def _open_journal(self) -> Journal:
        settings = self._started_with.roll
        return Journal(
            Path(settings.journal),
            lambda: self._journal_keys(),  # noqa: PLW0108 - SIGHUP may name another file
            synced=settings.durability == "disk",
            limit=settings.journal_limit // self._started_with.daemon.workers,
            dropped=self._metrics.roll_events_dropped,
        )

    async def _is_known_elsewhere(self, source: str, call_id: str) -> bool:
        known = await self._siblings.knows(source, call_id)
        if known:
            return True
        if self._book is None:
            raise DatabaseUnavailable("the database is not open")
        if not (found := await self._book.knows(source, call_id)) and known is None:
            raise DatabaseUnavailable("not all workers can be asked")
        return found

    async def _follow(self) -> None:
        url = self._started_with.database.url
        told = ""
        while True:
            try:
                async with open_store(url) as store:
                    self._health.problem = None
                    self._follower = follower = Follower(
                        store,
                        self._keyring,
                        self._live,
                        self._health,
                        self._metrics,
                        interval=self._settings.daemon.poll_interval,
                        database_file=sqlite_file(url),
                        unlock=self._unlock,
                        shared=self._index,
                        everywhere=self._siblings.in_force,
                    )
                    self._book = RollBook(store)
                    await follower.load()
                    self._loaded.set()
                    daemon_id = f"{socket.gethostname()}:{await self._port}"
                    presence = Presence(store, daemon_id, self._version, follower)
                    self._manager.ready()
                    async with presence.told():
                        await follower.follow()
            except DatabaseUnavailable as error:
                self._health.problem = str(error)
                if told != str(error):
                    told = str(error)
                    log.error("database_unavailable", problem=told)
                if not self._health.loaded:
                    await self._load_as_it_lies(url)
            finally:
                self._book = None
            await asyncio.sleep(_TRY_AGAIN)

    def _unlock(self, key: str, as_of: float) -> None:
        if self._throttle is not None:
            self._throttle.unlock(key, as_of)

    async def _load_as_it_lies(self, url: str) -> None:
        """Answer from what is in the file: on a full or a read-only disk SQLite can open no database that nobody has open.

        Raises KeyFileError.
        """
        file = sqlite_file(url)
        if file is None or (lying := _lying(file)) is None:
            return
        with suppress(DatabaseError):
            async with open_store(url, as_it_lies=True) as store:
                interval = self._settings.daemon.poll_interval
                follower = Follower(
                    store, self._keyring, self._live, self._health, self._metrics, interval=interval, shared=self._index
                )
                await follower.load(if_still=lambda: _lying(file) == lying)
                self._follower = follower
                self._loaded.set()
                await self._port
                self._manager.ready()

    def _status(self) -> str:
        """How the daemon is, in words."""
        health = self._health
        if health.draining:
            return "Finishes what it has begun."
        if not health.loaded:
            return f"Answers 503: {health.problem or 'reads the database.'}"
        return f"Answers from memory: {health.problem}" if health.problem else "Answers switches."

    async def _read_all_again(self) -> None:
        self._read_again()
        await self._ports.read_certificates_again()

    def _read_again(self) -> None:
        """Read settings and key file again; what is wrong leaves all as it was."""
        try:
            new = self._read_settings()
            keyring = Keyring.load(Path(new.key.file))
        except (SettingsError, KeyFileError) as error:
            self._metrics.settings_failures.inc()
            log.error("settings_refused", problems=str(error).splitlines())
            return
        configure_logs(new.logs.format, new.logs.level)
        log.info("settings_read", need_restart=needing_restart(self._started_with, new))
        if new.key.file != self._settings.key.file and self._keeping is not None:
            self._keeping.start_anew()
        self._settings = new
        self._siblings.read_again(new)
        self._keyring = keyring
        self._journal_keys = FollowedKeys(keyring)
        self._health.stale_after = new.daemon.stale_after
        if self._throttle is not None:
            self._throttle.limit(new.throttle)
        if self._follower is not None:
            self._follower.interval = new.daemon.poll_interval
            self._follower.take(keyring)


def _lying(file: Path) -> tuple[int, int, int] | None:
    """What tells whether a database's file is still as it was; None if not all of the database is in it."""
    try:
        log_of_writes = file.with_name(file.name + "-wal")
        if log_of_writes.exists() and log_of_writes.stat().st_size:
            return None
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


@asynccontextmanager
async def _closed_at_the_end(journal: Journal, roll: JournalledRoll) -> AsyncGenerator[None]:
    """After all have been answered, and before the keeper takes what is left."""
    try:
        yield
    finally:
        roll.flush()
        await journal.close()
