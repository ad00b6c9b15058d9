"""A follower on a real database: what the ground floor's tests have, for the daemon's too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TypeVar

import pytest
import structlog
from sqlalchemy.pool import AsyncAdaptedQueuePool
from structlog.typing import EventDict

from daemon.health import Health
from daemon.live import Live
from daemon.metrics import Metrics
from daemon.reload import Follower
from loader.index import Decision, Question, decide
from loader.keyring import Keyring
from loader.model import Entry, Owner, Revision
from loader.publish import publish
from loader.store import Store, sqlite_file
from tests.unit.loader.conftest import alicia, example, globaltest, keyring, made, people, store, url

__all__ = ["alicia", "example", "globaltest", "keyring", "made", "people", "store", "url"]

T = TypeVar("T")
People = Callable[..., list[Entry]]


class Followed:
    """What a daemon has in force, and one look at the feed at a time."""

    def __init__(self, store: Store, keyring: Keyring, url: str) -> None:
        self.live, self.health, self.metrics = Live(), Health(5.0), Metrics("0")
        self.unlocked: list[tuple[str, float]] = []
        """What the throttle was told to forget, and up to when."""
        self.busy = 0
        """How often the throttle is busy from now on."""
        self.follower = Follower(
            store,
            keyring,
            self.live,
            self.health,
            self.metrics,
            interval=0.01,
            database_file=sqlite_file(url),
            unlock=self._unlock,
        )

    def _unlock(self, key: str, as_of: float) -> None:
        if self.busy:
            self.busy -= 1
            raise TimeoutError
        self.unlocked.append((key, as_of))

    async def look(self, times: int = 1) -> list[EventDict]:
        """As the daemon does; what it logs."""
        with structlog.testing.capture_logs() as logged:
            for _ in range(times):
                await self.follower.look()
        return logged

    async def load(self) -> list[EventDict]:
        """As the daemon does at its start; what it logs."""
        with structlog.testing.capture_logs() as logged:
            await self.follower.load()
        return logged

    @property
    def switches(self) -> dict[bytes, str] | None:
        """Whose each token is that is in force."""
        tokens = self.live.tokens
        return tokens if tokens is None else {token: known.switch for token, known in tokens.items()}

    def ask(self, pin: str, passcode: str = "7784321") -> Decision:
        """The decision over what is in force."""
        assert self.live.index is not None
        return decide(self.live.index, Question(passcode, pin))

    def first_name(self, pin: str, passcode: str = "7784321") -> str | None:
        participant = self.ask(pin, passcode).participant
        return participant.first_name if participant else None

    def metric(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(name)


@pytest.fixture
async def followed(store: Store, keyring: Keyring, url: str) -> Followed:
    """Loaded, with a database that has no lists."""
    followed = Followed(store, keyring, url)
    await followed.load()
    return followed


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The store's file."""
    return tmp_path / "rollcall.db"


Put = Callable[..., Awaitable[Revision]]


@pytest.fixture
def put(store: Store, keyring: Keyring) -> Put:
    """Call it with an owner and entries: it puts the list in force, and gives its revision."""

    async def put(owner: Owner, entries: list[Entry]) -> Revision:
        return (await publish(store, keyring, owner, entries, by="test", source="import")).revision

    return put


async def during(work: Coroutine[None, None, object], ask: Callable[[], T]) -> list[T]:
    """What is answered in each turn of the event loop until the work is done, and then."""
    task = asyncio.create_task(work)
    answers = []
    while not task.done():
        answers.append(ask())
        await asyncio.sleep(0)
    await task
    return [*answers, ask()]


def events(logged: list[EventDict]) -> list[str]:
    """The names of what was logged."""
    return [line["event"] for line in logged]


def connections_in_use(store: Store) -> int:
    """How many connections of the store have been taken out and not given back."""
    used = 0
    for pool in store._engine.pool, store._writer.pool:
        assert isinstance(pool, AsyncAdaptedQueuePool)
        used += pool.checkedout()
    return used
