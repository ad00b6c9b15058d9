"""Memory that several processes read and one writes."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from mmap import PAGESIZE
from pathlib import Path

import pytest

from loader import memory as module
from loader.memory import OFFSET, Mapped, Memory

_SEGMENT = 64 * PAGESIZE


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Memory]:
    """With small segments."""
    monkeypatch.setattr(module, "SEGMENT", _SEGMENT)
    memory = Memory()
    yield memory
    memory.close()


def taken(memory: Memory, segment: int) -> int:
    """Bytes that a segment takes of the system's memory."""
    fd, _ = memory.segments[segment]
    return os.fstat(fd).st_blocks * 512


def free(memory: Memory, address: int, size: int) -> None:
    memory.retire(address, size)
    for _ in memory.free(address, size):
        """All at once."""


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_what_is_put_stands_where_its_address_says(memory: Memory) -> None:
    places = [(memory.put(bytes([number]) * number), number) for number in range(1, 200)]
    assert all(bytes(memory.at(address, number)) == bytes([number]) * number for address, number in places)
    # Numbers can be read in place.
    assert all(address % 8 == 0 for address, _ in places)


def test_a_large_piece_is_copied_in_steps(memory: Memory) -> None:
    data = os.urandom(2_500_000)
    *before, address = memory.put_in_steps(memoryview(data))
    assert before == [0, 0]
    assert bytes(memory.at(address, len(data))) == data


def test_another_process_reads_by_the_file_descriptor_and_cannot_write(memory: Memory) -> None:
    address = memory.put(b"Mike")
    ((number, (fd, size)),) = memory.segments.items()
    mapped = Mapped()
    mapped.map(number, fd, size)
    assert bytes(mapped.at(address, 4)) == b"Mike"
    with pytest.raises(TypeError, match="read-only"):
        mapped.at(address, 4)[0] = 0
    mapped.drop(number)
    with pytest.raises(KeyError):
        mapped.at(address, 4)


def test_there_are_few_segments_however_much_there_is(memory: Memory) -> None:
    """A segment has a 64th of all that there is, or more."""
    for _ in range(20_000):
        memory.put(bytes(4 * PAGESIZE))
    assert len(memory.segments) < 600


def test_pages_of_what_is_freed_go_back_to_the_system(memory: Memory) -> None:
    """But not those that it shares with others."""
    first, big, last = memory.put(b"first"), memory.put(b"x" * 20 * PAGESIZE), memory.put(b"last")
    before = taken(memory, 1)
    free(memory, big, 20 * PAGESIZE)
    assert before - taken(memory, 1) == 19 * PAGESIZE
    assert (bytes(memory.at(first, 5)), bytes(memory.at(last, 4))) == (b"first", b"last")


def test_a_segment_goes_when_nothing_in_it_is_held(memory: Memory) -> None:
    files = open_files()
    addresses = [memory.put(bytes(_SEGMENT // 4)) for _ in range(8)]
    assert len(memory.segments) == 2
    for address in addresses[:4]:
        free(memory, address, _SEGMENT // 4)
    assert list(memory.segments) == [2]
    # The one that is being filled goes when there is another.
    for address in addresses[4:]:
        free(memory, address, _SEGMENT // 4)
    assert list(memory.segments) == [2]
    memory.put(bytes(1))
    assert list(memory.segments) == [3]
    gc.collect()
    assert open_files() == files + 2


def test_a_segment_is_sparse_when_a_quarter_of_it_is_retired(memory: Memory) -> None:
    """Retired is enough: that it can still be read does not make it worth keeping."""
    addresses = [memory.put(bytes(_SEGMENT // 8)) for _ in range(9)]
    memory.retire(addresses[0], _SEGMENT // 8)
    assert memory.sparse() is None
    memory.retire(addresses[3], _SEGMENT // 8)
    assert memory.sparse() == 1
    for address in (addresses[at] for at in (1, 2, 4, 5, 6, 7)):
        memory.retire(address, _SEGMENT // 8)
    assert memory.sparse() is None
    # The one that is being filled is not moved.
    memory.retire(addresses[8], _SEGMENT // 8)
    assert memory.sparse() is None


def test_what_comes_after_a_beginning_lies_in_other_segments(memory: Memory) -> None:
    before = memory.put(b"1")
    memory.begin_anew()
    after = memory.put(b"2")
    assert (before >> 32, after >> 32) == (1, 2)
    for _ in memory.free_segment(1):
        """All at once."""
    assert list(memory.segments) == [2]
    assert bytes(memory.at(after, 1)) == b"2"


def test_a_segment_that_cannot_be_made_leaves_nothing_behind(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    files = open_files()

    def no_room(_fd: int, _size: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "ftruncate", no_room)
        with pytest.raises(OSError, match="No space"):
            memory.put(b"1")
    assert (memory.segments, open_files()) == ({}, files)
    address = memory.put(b"1")
    assert (address >> 32, address & OFFSET) == (1, 0)


def test_where_the_system_does_not_take_pages_back_they_come_back_with_the_segment(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MADV_REMOVE", -1)
    address = memory.put(bytes(_SEGMENT))
    memory.put(b"another segment")
    free(memory, address, _SEGMENT)
    assert list(memory.segments) == [2]


def test_memory_that_nobody_refers_to_is_given_up() -> None:
    files = open_files()
    memory = Memory()
    memory.put(b"1")
    assert open_files() > files
    del memory
    gc.collect()
    assert open_files() == files
