"""Doors open one after the other, and shut together."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import structlog

from daemon.doors.opening import opened


class Door:
    """Tells what happens to it."""

    def __init__(self, told: list[str], name: str, *, draining: asyncio.Barrier | None = None) -> None:
        self.name, self._told, self._draining = name, told, draining

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[int]:
        self._told.append(f"{self.name} opens")
        try:
            yield 4573
        finally:
            if self._draining:
                await self._draining.wait()
            self._told.append(f"{self.name} is shut")


async def test_doors_are_logged_when_they_open_and_drain_together() -> None:
    told: list[str] = []
    together = asyncio.Barrier(2)
    doors = [Door(told, "one", draining=together), Door(told, "two", draining=together)]
    with structlog.testing.capture_logs() as logged:
        async with asyncio.timeout(10), opened((door.name, door.open()) for door in doors):
            assert told == ["one opens", "two opens"]
    assert sorted(told[2:]) == ["one is shut", "two is shut"]
    assert [(line["event"], line["door"], line["port"]) for line in logged] == [
        ("door_opened", "one", 4573),
        ("door_opened", "two", 4573),
    ]


class Stuck(AbstractAsyncContextManager[int]):
    """A door that cannot open."""

    async def __aenter__(self) -> int:
        raise ZeroDivisionError

    async def __aexit__(self, *_: object) -> None:
        raise NotImplementedError


async def test_a_door_that_cannot_open_shuts_those_that_did() -> None:
    told: list[str] = []

    with pytest.raises(ZeroDivisionError):
        async with opened([("one", Door(told, "one").open()), ("two", Stuck())]):
            told.append("never")
    assert told == ["one opens", "one is shut"]
