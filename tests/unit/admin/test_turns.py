"""Work that takes its turn."""

from __future__ import annotations

import asyncio
import threading

import pytest

from admin.turns import Busy, Turns


async def test_so_many_work_at_once_and_the_others_wait() -> None:
    turns, at_work, most = Turns(2, 10), 0, 0
    go = threading.Event()

    def work(number: int) -> int:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        go.wait(10)
        at_work -= 1
        return number

    tasks = [asyncio.create_task(turns.work(work, number)) for number in range(6)]
    while at_work < 2:
        await asyncio.sleep(0)
    go.set()
    assert await asyncio.gather(*tasks) == list(range(6))
    assert most == 2


async def test_who_would_wait_too_long_is_told_so_at_once() -> None:
    """And there is room again when somebody is done, or has given up."""
    turns, done = Turns(1, 1), asyncio.Event()

    async def hold() -> None:
        async with turns.turn():
            await done.wait()

    tasks = [asyncio.create_task(hold()) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await hold()
    tasks[1].cancel()
    await asyncio.gather(tasks[1], return_exceptions=True)
    done.set()
    await hold()
    await tasks[0]


async def test_what_breaks_gives_its_turn_back() -> None:
    turns = Turns(1, 0)
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"):
            await turns.work(lambda: int("broken"))
    assert await turns.work(lambda: 1) == 1
