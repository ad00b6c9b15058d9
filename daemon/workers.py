"""The workers, as the main process sees them: started, told what is in force, asked, looked after, and replaced."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Final, Protocol

import msgspec
import structlog

from daemon.background import beside
from daemon.counters import Counters
from daemon.doors.http_port import BACKLOG, SETTING
from daemon.metrics import Metrics
from daemon.shared_rates import SharedRates
from daemon.shares import Shares
from daemon.worker_channel import Channel
from daemon.worker_nursery import Nursery
from daemon.worker_words import (
    AreYouThere,
    Begin,
    Drain,
    FromWorker,
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
)
from loader.errors import DatabaseError, RollcallError
from loader.model import Switch
from loader.ports import Ports, beside_these
from loader.settings import Settings
from loader.shared_index import Attached, SharedIndex, Update

log = structlog.get_logger(__name__)

_BEGIN: Final = 10.0
"""Seconds that workers have to begin."""
_LOOKED_EVERY: Final = 1.0
"""Seconds between two looks at how the workers are."""
_SILENT: Final = 10
"""Looks that a worker leaves unanswered until it is ended, and another takes its place."""
_AGAIN: Final = 1.0
"""Seconds until one is replaced that did not live for so long."""
_HELD: Final = 2.0
"""Seconds that switches are left to wait at the socket of a worker that is gone."""
_PATIENCE: Final = 1.0
"""Seconds that one waits for a worker's answer."""
_LAST: Final = 5.0
"""Seconds that workers have at the end, beside those that what is under way may take."""


class WorkerError(RollcallError):
    """There are no workers, or none that could be replaced."""


class Siblings(Protocol):
    """What the main process wants of the workers, if there are any."""

    @property
    def problem(self) -> str | None:
        """Why events of some worker cannot be written; None if nothing is in the way."""

    async def in_force(self) -> None:
        """Wait until what was put in force here is in force everywhere."""

    def swap_switches(self, switches: Sequence[Switch]) -> None:
        """Put these switches' tokens in force."""

    def read_again(self, settings: Settings) -> None:
        """Settings were read again."""

    async def knows(self, source: str, call_id: str) -> bool | None:
        """Whether any of them remembers this call; None if not all can be asked."""


class NoWorkers:
    """The main process is the only one."""

    problem = None

    def __init__(self) -> None:
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @asynccontextmanager
    async def working(self) -> AsyncGenerator[None]:
        """There is nobody to work."""
        yield

    @asynccontextmanager
    async def listening(self, ports: Ports) -> AsyncGenerator[None]:  # noqa: ARG002
        """There is nobody to listen."""
        yield

    def drain(self) -> None:
        """There is nobody to answer."""

    async def in_force(self) -> None:
        """It is."""

    def swap_switches(self, switches: Sequence[Switch]) -> None:
        """Nobody else is to be told."""

    def read_again(self, settings: Settings) -> None:
        """Nobody else is to be told."""

    async def knows(self, source: str, call_id: str) -> bool | None:  # noqa: ARG002
        return False


class _Worker:
    """One of them."""

    def __init__(self, number: int, left: list[str]) -> None:
        self.number = number
        self.channel: Channel[FromWorker]
        self.process: int | None = None
        """A file that stands for its process (pidfd_open(2)), once it has said hello."""
        self.pid = 0
        self.journal = ""
        self.left = left
        self.begun_at = time.monotonic()
        self.begun = asyncio.Event()
        self.unanswered = 0
        """How often it was asked whether it is there, since it last said so."""
        self.is_gone = False
        self.listens = False
        self.problem: str | None = None
        self.attached: Attached | None = None
        self.told = 0
        self.in_force = 0
        self.waiting: deque[tuple[int, int]] = deque()
        """The numbers under which it was told of changes of the index, and the changes' own."""
        self.questions: dict[int, asyncio.Future[bool | None]] = {}

    def tell(self, make: Callable[[int], msgspec.Struct], files: Sequence[int] = ()) -> int:
        """Tell of something that is to be in force; under which number."""
        self.told += 1
        self.channel.say(make(self.told), files)
        return self.told

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.process, signal.SIGKILL)


class Workers:
    """All of them.

    `counters`, `rates` and `shares` are what they count in. `index` is what they answer from. `journal` is told
    which journal each has, and `news` that there is something in one. `is_known` asks this process and the database for
    a call.
    """

    def __init__(
        self,
        nursery: Nursery,
        settings: Settings,
        metrics: Metrics,
        index: SharedIndex,
        counters: Counters,
        rates: SharedRates,
        shares: Shares,
        *,
        journal: Callable[[Path], None],
        news: Callable[[], None],
        is_known: Callable[[str, str], Awaitable[bool]],
    ) -> None:
        self._nursery = nursery
        self._settings = self._latest = settings
        self._metrics = metrics
        self._index = index
        if counters.file is None or shares.file is None:
            raise ValueError("what is counted is in no file that could be shared")
        self._counters = counters.memory, counters.key
        self._files = counters.file, shares.file, rates.file
        self._rates = rates
        self._journal = journal
        self._news = news
        self._is_known = is_known
        self._count = settings.daemon.workers - 1
        self._workers: dict[int, _Worker] = {}
        """Those that are there, by number."""
        self._sockets: list[list[socket.socket]] = []
        """Those of each process, this one's first; of none before they are to listen."""
        self._are_ours = True
        """Whether each process has sockets of its own, or all have those that systemd holds."""
        self._switches: list[Switch] | None = None
        self._moved = asyncio.Event()
        """Set whenever something has come in force in a worker, or one is gone."""
        self._absent: dict[int, float] = {}
        """Since when workers have not been there, by number."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._questions = count()
        self._is_ending = False
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Raises WorkerError when no worker can be replaced any more."""

    # As long as the daemon runs

    @asynccontextmanager
    async def working(self) -> AsyncGenerator[None]:
        """They work as long as the context lasts; at its end they have answered who has asked. Raises WorkerError."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._nursery.end, self._hear_nursery)
        try:
            for number in range(1, self._count + 1):
                self._start(number, [])
            if not await self._are_all_there(_BEGIN):
                raise WorkerError("the workers do not begin")
            async with beside(self._look_after()):
                yield
        finally:
            await self._end()
            loop.remove_reader(self._nursery.end)
            self._nursery.end.close()

    @asynccontextmanager
    async def listening(self, ports: Ports) -> AsyncGenerator[None]:
        """They answer who comes to the port of the switches; this process's part of it is left with `ports`.

        At the end they have answered who has asked. Raises PortError.
        """
        settings = self._settings.daemon
        self._are_ours = not ports.holds(SETTING)
        self._sockets = await ports.shared(SETTING, settings.host, settings.port, 1 + self._count, BACKLOG)
        try:
            for worker in self._workers.values():
                if worker.begun.is_set():
                    self._have_listen(worker)
            yield
        finally:
            await self._end()

    def drain(self) -> None:
        """Have them answer who has asked, and end."""
        if self._is_ending:
            return
        self._is_ending = True
        for worker in self._workers.values():
            worker.channel.say(Drain())
        for sockets in self._sockets[1:]:
            for one in sockets:
                one.close()

    async def _end(self) -> None:
        self.drain()
        for task in self._tasks:
            task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._latest.daemon.drain_timeout + _LAST):
                while self._workers:
                    await self._move()
        for worker in list(self._workers.values()):
            log.error("worker_killed", worker=worker.number, problem="it does not end")
            worker.kill()
            worker.channel.close()
            self._is_gone(worker)

    async def _move(self) -> None:
        self._moved.clear()
        await self._moved.wait()

    async def _are_all_there(self, within: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while not self._is_complete:
                    await self._move()
        return self._is_complete

    @property
    def _is_complete(self) -> bool:
        return len(self._workers) == self._count and all(one.begun.is_set() for one in self._workers.values())

    # What they are told

    async def in_force(self) -> None:
        """Wait until what was put in force here is in force in each worker that answers."""
        told = [(worker, worker.told) for worker in self._workers.values() if worker.listens]
        while any(worker.in_force < number and not worker.is_gone for worker, number in told):
            await self._move()

    def swap_switches(self, switches: Sequence[Switch]) -> None:
        """Put these switches' tokens in force."""
        self._switches = list(switches)
        for worker in self._workers.values():
            if worker.begun.is_set():
                self._tell_switches(worker, self._switches)

    def read_again(self, settings: Settings) -> None:
        """Settings were read again."""
        self._latest = settings
        for worker in self._workers.values():
            if worker.begun.is_set():
                worker.channel.say(ReadAgain(settings))

    async def knows(self, source: str, call_id: str) -> bool | None:
        """Whether any of them remembers this call; None if not all can be asked."""
        if not await self._are_all_there(_PATIENCE):
            return None
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                answers: list[bool | None] = await asyncio.gather(
                    *(self._ask(one, source, call_id) for one in self._workers.values())
                )
                if any(answers):
                    return True
                return None if None in answers else False
        return None

    @property
    def problem(self) -> str | None:
        """Why events of some worker cannot be written; None if nothing is in the way."""
        return next((worker.problem for worker in self._workers.values() if worker.problem), None)

    async def _ask(self, worker: _Worker, source: str, call_id: str) -> bool | None:
        question = next(self._questions)
        answer = worker.questions[question] = asyncio.get_running_loop().create_future()
        worker.channel.say(IsKnown(question, source, call_id))
        try:
            known: bool | None = await answer
        finally:
            worker.questions.pop(question, None)
        return known

    def _tell_switches(self, worker: _Worker, switches: list[Switch]) -> None:
        worker.tell(lambda number: Switches(number, switches, self._rates.places))

    def _tell_change(self, worker: _Worker, update: Update) -> None:
        number = worker.tell(lambda number: Shared(number, update.message), update.fds)
        worker.waiting.append((number, update.number))

    # How they begin and end

    def _start(self, number: int, left: list[str]) -> None:
        """Have one forked. `left` are the journals of those that were there before it, if they ended by themselves."""
        worker = self._workers[number] = _Worker(number, left)

        def hear(word: FromWorker, _files: list[int]) -> None:
            self._hear(worker, word)

        end = self._nursery.fork(number)
        decoder = msgspec.msgpack.Decoder(FromWorker)
        worker.channel = Channel(end, decoder, hear, lambda: self._is_gone(worker))
        # What it is to do like the others is in the settings that all have begun with; but that key file may be gone.
        settings = msgspec.structs.replace(self._settings, key=self._latest.key)
        worker.channel.say(Begin(settings, *self._counters, left), self._files)

    def _has_begun(self, worker: _Worker, word: Hello) -> None:
        worker.pid, worker.journal = word.pid, word.journal
        with suppress(ProcessLookupError):
            worker.process = os.pidfd_open(word.pid)
        self._journal(Path(word.journal))
        if self._latest is not self._settings:
            worker.channel.say(ReadAgain(self._latest))
        if self._switches is not None:
            self._tell_switches(worker, self._switches)
        worker.attached = self._index.attach(lambda update: self._tell_change(worker, update))
        worker.begun.set()
        self._are_others()
        if self._sockets:
            self._have_listen(worker)
        log.info("worker_begun", worker=worker.number, pid=worker.pid)

    def _are_others(self) -> None:
        self._metrics.workers.set(1 + sum(one.begun.is_set() for one in self._workers.values()))
        self._moved.set()

    def _have_listen(self, worker: _Worker) -> None:
        if not self._sockets[worker.number]:
            try:
                self._sockets[worker.number] = beside_these(self._sockets[0], BACKLOG)
            except OSError as error:
                log.error("worker_cannot_listen", worker=worker.number, problem=error.strerror)
                worker.kill()
                return
        worker.listens = True
        worker.channel.say(Listen(), [one.fileno() for one in self._sockets[worker.number]])

    def _hear(self, worker: _Worker, word: FromWorker) -> None:
        match word:
            case Hello():
                self._has_begun(worker, word)
            case InForce(number):
                worker.in_force = number
                while worker.attached is not None and worker.waiting and worker.waiting[0][0] <= number:
                    worker.attached.applied(worker.waiting.popleft()[1])
                self._moved.set()
            case Here(problem):
                worker.unanswered = 0
                worker.problem = problem
            case News():
                self._news()
            case Known(question, known):
                answer = worker.questions.get(question)
                if answer is not None and not answer.done():
                    answer.set_result(known)
            case IsKnown():
                self._go_on(self._answer(worker, word))

    async def _answer(self, worker: _Worker, word: IsKnown) -> None:
        known: bool | None = None
        with suppress(DatabaseError):
            known = await self._is_known(word.source, word.call_id)
        worker.channel.say(Known(word.question, known))

    def _hear_nursery(self) -> None:
        try:
            while (ended := self._nursery.ended()) is not None:
                pid, status = ended
                log.info("worker_ended", pid=pid, status=status)
        except EOFError:
            asyncio.get_running_loop().remove_reader(self._nursery.end)
            if not self._is_ending and not self.gone.done():
                self.gone.set_exception(WorkerError("workers that end can no longer be replaced"))

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(_LOOKED_EVERY)
            for worker in list(self._workers.values()):
                if worker.begun.is_set():
                    worker.unanswered += 1
                    worker.channel.say(AreYouThere())
                if worker.unanswered > _SILENT or (
                    not worker.begun.is_set() and time.monotonic() - worker.begun_at > _BEGIN
                ):
                    log.error("worker_killed", worker=worker.number, problem="it does not answer")
                    worker.kill()
                    worker.channel.close()
                    self._is_gone(worker)
            self._leave_sockets()

    def _leave_sockets(self) -> None:
        """Who comes to a socket that nobody looks after would wait for ever, and the others could answer him."""
        if not self._sockets or not self._are_ours:
            return
        for number, sockets in enumerate(self._sockets[1:], 1):
            worker = self._workers.get(number)
            if worker is not None and worker.listens:
                self._absent.pop(number, None)
            elif sockets and time.monotonic() - self._absent.setdefault(number, time.monotonic()) > _HELD:
                log.error("worker_missed", worker=number)
                for one in sockets:
                    one.close()
                self._sockets[number] = []

    def _go_on(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _is_gone(self, worker: _Worker) -> None:
        if worker.is_gone:
            return
        worker.is_gone = True
        self._workers.pop(worker.number, None)
        if worker.attached is not None:
            worker.attached.detach()
        if worker.process is not None:
            os.close(worker.process)
        for answer in worker.questions.values():
            if not answer.done():
                answer.set_result(None)
        self._are_others()
        self._news()
        if not self._is_ending:
            log.error("worker_gone", worker=worker.number, pid=worker.pid)
            self._go_on(self._replace(worker))

    async def _replace(self, worker: _Worker) -> None:
        if time.monotonic() - worker.begun_at < _AGAIN:
            await asyncio.sleep(_AGAIN)
        left = [*worker.left, *([worker.journal] if worker.journal else [])]
        try:
            self._start(worker.number, left)
        except OSError:
            return  # the nursery is gone, which is told
        self._metrics.workers_restarted.inc()
