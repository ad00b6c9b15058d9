"""Long work that no lookup waits for."""

import asyncio
import time
from mmap import MADV_REMOVE, MAP_PRIVATE, mmap
from pathlib import Path

import pytest

from daemon.pace import Pace, give_back, give_back_index
from loader.compiled import Block, compile_list
from loader.index import EMPTY
from loader.model import Conference, Entry, Level, Owner, Passcode, Pin, Revision
from loader.reader import new_buffer


def block(count: int) -> Block:
    entries = [
        Entry(Pin(f"{number:08}"), "Mike", "Doe" * 20, "XYZ", "", "", "Uxbridge", "UK", "") for number in range(count)
    ]
    compiled = compile_list(entries)
    buffer = new_buffer(len(compiled))
    buffer[:] = compiled
    return Block(buffer, Revision(1))


async def test_the_loop_is_given_back_after_a_millisecond() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    pace = Pace()
    for _ in range(1000):
        await pace()
    brief = turns
    for _ in range(10):
        time.sleep(0.0011)
        await pace()
    task.cancel()
    assert brief < 100
    assert turns - brief >= 10


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def test_a_large_block_is_given_back_to_the_system() -> None:
    large = block(200_000)
    assert large.size > 12_000_000
    before = resident()
    await give_back(large)
    assert before - resident() > large.size // 2


async def test_a_large_block_that_was_given_back_answers_nobody() -> None:
    """So no lookup may keep an index from one turn of the event loop to the next; and none does."""
    large = block(20_000)
    assert large.find(100000003) == 3
    await give_back(large)
    assert large.find(100000003) is None


async def test_where_the_system_does_not_take_memory_back_nothing_happens() -> None:
    """A private mapping knows no MADV_REMOVE."""
    compiled = compile_list([])
    private = mmap(-1, len(compiled), flags=MAP_PRIVATE)
    private[:] = compiled
    with pytest.raises(OSError):
        private.madvise(MADV_REMOVE)
    await give_back(Block(memoryview(private), Revision(1)))


async def test_a_small_block_can_still_be_read_by_who_has_it() -> None:
    small = block(10)
    await give_back(small)
    assert small.entry(3).pin == "00000003"


async def test_an_index_is_taken_apart() -> None:
    owner = Owner(Level.ORGANIZER, "ann")
    conference = Conference("C-1", "Weekly", Passcode("1"), "ann", True, (owner,))
    index = EMPTY.changed(conferences=[conference], lists={owner: block(10)})
    await give_back_index(index)
    assert (index.conferences, index.passcodes, index.lists) == ({}, {}, {})
