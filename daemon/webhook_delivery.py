"""Tells companies what happens on their calls: over HTTP, beside the taking of events, which never waits for it.

What is to be told stands in the database (:mod:`loader.store.deliveries`). What came of tries is written and what is
due is handed out in one transaction, a few times a second at most: each is a write that the taking waits for.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import socket
import ssl
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import aiohttp
import structlog
from aiohttp import hdrs
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from loader.errors import InvalidValue, RollcallError
from loader.keyring import Keyring
from loader.store.deliveries import GIVEN_UP_AFTER, GONE, Deliveries, Due, Outcome
from loader.webhooks import may_be_called, parse_target, signed_headers

log = structlog.get_logger(__name__)

TIMEOUT: Final = 10.0
"""Seconds that a receiver has for its answer."""
_AT_MOST_EVERY: Final = 0.15
"""Seconds between two transactions."""
_LOOKED_EVERY: Final = 1.0
"""Seconds between two looks for what is due, unless there is news."""
_OLD_LOOKED_FOR_EVERY: Final = 60.0
_LAST: Final = 1.0
"""Seconds that tries under way have at the end; others are tried again, elsewhere or after the next start."""
_TOGETHER: Final = 8
"""Tries at the same time at one receiver."""
_HANDED: Final = 32
"""Events of one company that are handed out at once: tried within a lease, even if each takes all its time."""
_ALL_TOGETHER: Final = 128
"""Tries at the same time at all receivers."""
_FIRST_WAIT: Final = 5.0
_FACTOR: Final = 3.0
_LONGEST_WAIT: Final = 3600.0
_SLOW_DOWN: Final = frozenset((429, 503))
"""Answers whose `Retry-After` is heeded."""


class TargetRefusedError(OSError):
    """The receiver's name stands for an address that is not called."""


class WebhookDelivery:
    """One teller. `private` allows receivers in private networks; `jitter` gives a random share from 0 to 1."""

    def __init__(
        self,
        deliveries: Deliveries,
        keyring: Keyring,
        *,
        private: bool,
        timeout: float = TIMEOUT,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._deliveries = deliveries
        self._keyring = keyring
        self._private = private
        self._timeout = timeout
        self._clock = clock
        self._jitter = jitter
        self._under_way: dict[asyncio.Task[None], str] = {}
        self._outcomes: list[Outcome] = []
        self._each: dict[str, asyncio.Semaphore] = {}
        self._all = asyncio.Semaphore(_ALL_TOGETHER)
        self._old_looked_for = 0.0
        self._problem: str | None = None
        self.news = asyncio.Event()
        """Set when something may be due, or a try is over."""
        self.results: Counter[str] = Counter()
        """How many tries were `delivered` and `failed`, and how many events were `given_up`; whoever reads it clears it."""

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Events are told as long as the context lasts."""
        async with self.client() as client:
            running = asyncio.create_task(self._run(client))
            try:
                yield
            finally:
                running.cancel()
                await asyncio.wait((running,))
                if self._under_way:
                    await asyncio.wait(self._under_way, timeout=_LAST)
                for task in self._under_way:
                    task.cancel()
                await asyncio.gather(*self._under_way, return_exceptions=True)
                with suppress(RollcallError):
                    await self._write_outcomes()

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[aiohttp.ClientSession]:
        """What calls receivers: no cookies, no proxies, and no address that is not allowed."""
        connector = aiohttp.TCPConnector(resolver=_Resolver(private=self._private), limit=_ALL_TOGETHER)
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            auto_decompress=False,
            headers={hdrs.USER_AGENT: "Rollcall", hdrs.CONTENT_TYPE: "application/json"},
        ) as client:
            yield client

    async def step(self, client: aiohttp.ClientSession) -> None:
        """Write what came of tries, and begin new ones. Raises DatabaseUnavailable, KeyFileError."""
        now = self._clock()
        if now - self._old_looked_for >= _OLD_LOOKED_FOR_EVERY:
            self._given_up(await self._deliveries.give_up_old(now))
            self._old_looked_for = now
        busy = Counter(self._under_way.values())
        free = {company: _HANDED for company in await self._deliveries.due(now) if busy[company] < _TOGETHER}
        if not free and not self._outcomes:
            return
        for due in await self._write_outcomes(free):
            task = asyncio.create_task(self._try(client, due))
            self._under_way[task] = due.company_id
            task.add_done_callback(self._done)

    async def settled(self) -> None:
        """Wait until all tries under way are over."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def _run(self, client: aiohttp.ClientSession) -> None:
        while True:
            self.news.clear()
            problem = None
            try:
                await self.step(client)
            except RollcallError as error:
                problem = str(error)
            except Exception as error:
                problem = type(error).__name__
                if problem != self._problem:
                    log.error("webhooks_not_told", problem=problem, exc_info=error)
                    self._problem = problem
            if problem is not None and problem != self._problem:
                log.error("webhooks_not_told", problem=problem)
            self._problem = problem
            await asyncio.sleep(_AT_MOST_EVERY)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOKED_EVERY):
                    await self.news.wait()

    async def _write_outcomes(self, free: dict[str, int] | None = None) -> list[Due]:
        outcomes = self._outcomes[:]
        handed = await self._deliveries.exchange(self._keyring, outcomes, free or {}, self._clock())
        del self._outcomes[: len(outcomes)]
        return handed

    def _done(self, task: asyncio.Task[None]) -> None:
        company = self._under_way.pop(task)
        if company not in self._under_way.values():
            self._each.pop(company, None)
        self.news.set()

    async def _try(self, client: aiohttp.ClientSession, due: Due) -> None:
        async with self._each.setdefault(due.company_id, asyncio.Semaphore(_TOGETHER)), self._all:
            if self._clock() > due.leased_until - self._timeout:
                return  # there were too many before it: it is handed out again
            answer, retry_after = await self._send(client, due)
        now = self._clock()
        if answer.startswith("2") and answer.isdigit():
            self.results["delivered"] += 1
            self._outcomes.append(Outcome(due, now, answer, delivered=True))
            return
        self.results["failed"] += 1
        next_at = now + max(self._wait(due.attempts), retry_after)
        if answer == GONE or next_at - due.created_at > GIVEN_UP_AFTER:
            self._given_up(1, company=due.company_id, answer=answer)
            self._outcomes.append(Outcome(due, now, answer))
        else:
            self._outcomes.append(Outcome(due, now, answer, next_at=next_at))

    async def _send(self, client: aiohttp.ClientSession, due: Due) -> tuple[str, float]:
        """What the receiver answers, and in how many seconds it wants to be asked again if it says so."""
        try:
            # As it may have been chosen under other settings; and a resolver is not asked for an address.
            url = parse_target(due.url, private=self._private)
            headers = signed_headers(due.secret, due.event_id, int(self._clock()), due.body)
            async with client.post(url, data=due.body, headers=headers, allow_redirects=False) as response:
                return str(response.status), _retry_after(response)
        except (InvalidValue, TargetRefusedError):
            return "refused", 0.0
        except TimeoutError:
            return "timeout", 0.0
        except (aiohttp.ClientSSLError, ssl.SSLError):
            return "tls", 0.0
        except aiohttp.ClientConnectorError as error:
            is_refused = isinstance(error.os_error, TargetRefusedError)
            return "refused" if is_refused else "unreachable", 0.0
        except (aiohttp.ClientError, OSError, ValueError):
            return "unreachable", 0.0

    def _wait(self, attempts: int) -> float:
        """Seconds until the next try, after so many before this one: from half of what is due to all of it."""
        longest = min(_FIRST_WAIT * _FACTOR ** min(attempts, 20), _LONGEST_WAIT)
        return longest * (0.5 + self._jitter() / 2)

    def _given_up(self, count: int, **details: str) -> None:
        if count:
            self.results["given_up"] += count
            log.error("webhook_given_up", count=count, **details)


class _Resolver(AbstractResolver):
    """Names become addresses that may be called; those that may not are left out."""

    def __init__(self, *, private: bool) -> None:
        self._private = private
        self._names = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._names.resolve(host, port, family)
        allowed = [
            one
            for one in found
            if may_be_called(ipaddress.ip_address(one["host"].partition("%")[0]), private=self._private)
        ]
        if not allowed:
            raise TargetRefusedError("the name stands for no address that is called")
        return allowed

    async def close(self) -> None:
        await self._names.close()


def _retry_after(response: aiohttp.ClientResponse) -> float:
    text = response.headers.get(hdrs.RETRY_AFTER, "")
    if response.status not in _SLOW_DOWN or not (text.isascii() and text.isdigit() and len(text) < 10):
        return 0.0
    return min(float(text), _LONGEST_WAIT)
