"""A worker: a process that answers switches over HTTP, and nothing else. The main process does all the rest.

It has no database, reads no settings and tells nobody of metrics: what is in force it is told, what is known of calls it
asks for, and what it counts stands in memory that the main process reads. It has a journal of its own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from itertools import count
from pathlib import Path
from socket import socket
from typing import Final

import msgspec
import structlog
from aiohttp import web

from daemon.background import beside
from daemon.counters import Counters
from daemon.counting_throttle import CountingThrottle
from daemon.doors.http_port import BACKLOG, SETTING, http_server
from daemon.doors.surroundings import Surroundings
from daemon.journal import MOST_WAITING, Journal
from daemon.journalled_roll import JournalledRoll
from daemon.live import Live
from daemon.metrics import Metrics
from daemon.shared_rates import SharedRates
from daemon.shares import Shares
from daemon.throttling import Throttling
from daemon.worker_channel import Channel
from daemon.worker_nursery import Born
from daemon.worker_words import (
    AreYouThere,
    Begin,
    Drain,
    Hello,
    Here,
    InForce,
    IsKnown,
    Known,
    Listen,
    News,
    ReadAgain,
    Shared,
    Switches,
    ToWorker,
)
from loader.connections import Limits
from loader.errors import DatabaseUnavailable, KeyFileError
from loader.journal_files import JournalReader
from loader.keyring import FollowedKeys, Keyring
from loader.logs import configure_logs
from loader.ports import Ports
from loader.settings import Settings
from loader.shared_index import IndexReader

log = structlog.get_logger(__name__)

_NEWS_EVERY: Final = 0.05
"""Seconds between two words that there is something in the journal."""
_LOOKED_EVERY: Final = 0.2
"""Seconds between two looks at how the journal is."""


class Worker:
    """One worker, as it was forked."""

    def __init__(self, born: Born) -> None:
        self._born = born
        self._draining = asyncio.Event()
        self._is_orphan = False
        self._channel: Channel[ToWorker]
        self._started_with: Settings
        self._settings: Settings
        self._keys: FollowedKeys
        self._metrics: Metrics
        self._rates: SharedRates
        self._live: Live
        self._roll: JournalledRoll
        self._throttle: CountingThrottle
        self._sockets: asyncio.Future[list[socket]]
        self._index = IndexReader()
        self._questions: dict[int, asyncio.Future[bool | None]] = {}
        self._numbers = count()
        self._news: asyncio.TimerHandle | None = None
        self._problem: str | None = None
        self._ports = Ports()
        self._reading: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Answer until the main process says that it is enough, or ends. Raises KeyFileError, JournalError."""
        structlog.contextvars.bind_contextvars(worker=self._born.number)
        self._sockets = asyncio.get_running_loop().create_future()
        first: asyncio.Future[tuple[Begin, list[int]]] = asyncio.get_running_loop().create_future()

        def begin(word: ToWorker, files: list[int]) -> None:
            if not isinstance(word, Begin):
                raise TypeError("the first word is another")
            self._channel.hear = self._hear
            first.set_result((word, files))

        self._channel = Channel(self._born.end, msgspec.msgpack.Decoder(ToWorker), begin, self._orphaned)
        async with AsyncExitStack() as stack:
            stack.callback(self._channel.close)
            waiting = asyncio.create_task(self._draining.wait())
            await asyncio.wait((first, waiting), return_when=asyncio.FIRST_COMPLETED)
            if not first.done():
                return
            word, files = first.result()
            journal = self._make(word, files)
            await stack.enter_async_context(self._kept(journal))
            await stack.enter_async_context(beside(self._look_after(journal)))
            self._channel.say(Hello(os.getpid(), str(journal.folder)))
            await asyncio.wait((self._sockets, waiting), return_when=asyncio.FIRST_COMPLETED)
            if self._sockets.done():
                await self._serve(self._sockets.result())

    def _make(self, word: Begin, files: list[int]) -> Journal:
        settings = self._started_with = self._settings = word.settings
        workers = settings.daemon.workers
        counters, shares, rates = files
        self._keys = FollowedKeys(Keyring.load(Path(settings.key.file)))
        self._metrics = metrics = Metrics(version("rollcall"), Shares(workers, self._born.number, shares))
        self._rates = SharedRates(rates)
        self._live = Live(settings.daemon.switch_rate, self._rates.limit)
        journal = Journal(
            Path(settings.roll.journal),
            lambda: self._keys(),  # noqa: PLW0108 - SIGHUP may name another file
            synced=settings.roll.durability == "disk",
            limit=settings.roll.journal_limit // workers,
            dropped=metrics.roll_events_dropped,
        )
        journal.news = self._tell_news
        self._roll = roll = JournalledRoll(journal, self._ask, processes=workers)
        for folder in {str(journal.folder), *word.left}:
            roll.remember(JournalReader(Path(folder), self._keys).left_behind(MOST_WAITING))
        counted = Counters.handed(word.throttle_memory, word.throttle_key, counters)
        self._throttle = Throttling(counted, settings.throttle, metrics, roll.locked).throttle
        return journal

    async def _serve(self, sockets: list[socket]) -> None:
        settings = self._started_with.daemon
        self._ports = Ports(self._metrics.tls, {SETTING: sockets})
        surroundings = Surroundings(
            self._live,
            self._metrics,
            lambda: self._keys(),  # noqa: PLW0108
            lambda: 0.0 if self._is_orphan else self._settings.daemon.drain_timeout,
            self._throttle,
            rolls=self._roll,
            limits=Limits(settings.max_connections, settings.idle_timeout, settings.head_timeout),
            ports=self._ports,
        )
        server = http_server(surroundings, settings, version("rollcall"))
        async with self._ports.listening(
            web.ServerRunner(server), SETTING, settings.host, settings.port, tls=settings.tls, backlog=BACKLOG
        ):
            await self._draining.wait()

    # What it is told

    def _hear(self, word: ToWorker, files: list[int]) -> None:
        match word:
            case Shared(number, message):
                index = self._index.apply(message, files)
                if index is not None:
                    self._live.swap(index)
                self._channel.say(InForce(number))
            case Switches(number, switches, rates):
                self._rates.told(rates)
                self._live.swap_switches(switches)
                self._channel.say(InForce(number))
            case Listen():
                self._sockets.set_result([socket(fileno=file) for file in files])
            case IsKnown(question, source, call_id):
                self._channel.say(Known(question, self._roll.remembers(source, call_id)))
            case Known(question, known):
                answer = self._questions.pop(question, None)
                if answer is not None and not answer.done():
                    answer.set_result(known)
            case AreYouThere():
                self._channel.say(Here(self._problem))
            case ReadAgain(settings):
                self._read_again(settings)
            case Drain():
                self._draining.set()
            case _:
                raise TypeError("not a word for a worker that has begun")

    def _orphaned(self) -> None:
        """The main process has ended: there is nobody whom one could ask, and the next daemon wants port and journal."""
        self._is_orphan = True
        self._draining.set()
        for answer in self._questions.values():
            if not answer.done():
                answer.set_result(None)

    def _read_again(self, settings: Settings) -> None:
        configure_logs(settings.logs.format, settings.logs.level)
        try:
            self._keys = FollowedKeys(Keyring.load(Path(settings.key.file)))
        except KeyFileError as error:
            # The main process could read it just now, and goes on with it.
            log.error("settings_refused", problems=[str(error)])
        self._settings = settings
        self._throttle.limit(settings.throttle)
        self._reading = asyncio.create_task(self._ports.read_certificates_again())

    # What it asks and tells

    async def _ask(self, source: str, call_id: str) -> bool:
        """Whether this call is known elsewhere. Raises DatabaseUnavailable if that cannot be told now."""
        question = next(self._numbers)
        answer = self._questions[question] = asyncio.get_running_loop().create_future()
        self._channel.say(IsKnown(question, source, call_id))
        try:
            known: bool | None = None if self._is_orphan else await answer
        finally:
            self._questions.pop(question, None)
        if known is None:
            raise DatabaseUnavailable("nobody can tell now whether the call is known")
        return known

    def _tell_news(self) -> None:
        if self._news is None:
            self._news = asyncio.get_running_loop().call_later(_NEWS_EVERY, self._send_news)

    def _send_news(self) -> None:
        self._news = None
        self._channel.say(News())

    @asynccontextmanager
    async def _kept(self, journal: Journal) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            self._roll.flush()
            await journal.close()
            if self._news is not None:
                self._news.cancel()
            self._channel.say(News())

    async def _look_after(self, journal: Journal) -> None:
        while True:
            await asyncio.sleep(_LOOKED_EVERY)
            self._metrics.events_waiting(journal.waiting)
            if journal.problem != self._problem:
                self._problem = journal.problem
                self._channel.say(Here(self._problem))
