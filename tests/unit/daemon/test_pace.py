"""Long work that no lookup waits for."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest

from daemon.pace import Pace


async def one_by_one(pace: Pace, piece: Callable[[], None], count: int) -> None:
    for _ in range(count):
        piece()
        await pace()


async def as_steps(pace: Pace, piece: Callable[[], None], count: int) -> None:
    def steps() -> Iterator[None]:
        for _ in range(count):
            piece()
            yield

    await pace.through(steps())


@pytest.mark.parametrize("take", [one_by_one, as_steps])
async def test_the_loop_is_given_back_after_a_millisecond(
    take: Callable[[Pace, Callable[[], None], int], Awaitable[None]],
) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    await take(Pace(), lambda: None, 1000)
    brief = turns
    await take(Pace(), lambda: time.sleep(0.0011), 10)
    task.cancel()
    assert brief < 100
    assert turns - brief >= 10
