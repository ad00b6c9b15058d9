"""Memory for lists that are read, and its end. What is read is tested where it is published."""

from mmap import MADV_REMOVE, MAP_PRIVATE, mmap
from pathlib import Path

import pytest

from loader.compiled import Block, compile_list
from loader.model import Entry, Pin, Revision
from loader.reader import give_back, new_buffer


def block(count: int) -> Block:
    entries = [
        Entry(Pin(f"{number:08}"), "Mike", "Doe" * 20, "XYZ", "", "", "Uxbridge", "UK", "") for number in range(count)
    ]
    compiled = compile_list(entries)
    buffer = new_buffer(len(compiled))
    buffer[:] = compiled
    return Block(buffer, Revision(1))


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_a_large_block_is_given_back_to_the_system_step_by_step() -> None:
    large = block(200_000)
    assert large.size > 12_000_000
    before = resident()
    assert len(list(give_back(large))) > 10
    assert before - resident() > large.size // 2


def test_where_the_system_does_not_take_memory_back_nothing_happens() -> None:
    """A private mapping knows no MADV_REMOVE."""
    compiled = compile_list([])
    private = mmap(-1, len(compiled), flags=MAP_PRIVATE)
    private[:] = compiled
    with pytest.raises(OSError):
        private.madvise(MADV_REMOVE)
    assert list(give_back(Block(memoryview(private), Revision(1)))) == [None]


def test_a_small_block_can_still_be_read_by_who_has_it() -> None:
    small = block(10)
    assert list(give_back(small)) == []
    assert small.entry(3).pin == "00000003"
