"""A table packed into memory that several processes read. See also the property test."""

from zlib import crc32

import pytest

from loader.memory import Memory
from loader.table import Draft, Table


def packed(draft: Draft, memory: Memory, retired: list[tuple[int, int]] | None = None) -> Table:
    *_, table = draft.pack(memory, [] if retired is None else retired)
    assert table is not None
    return table


def test_keys_of_one_hash_are_told_apart() -> None:
    """Their CRC-32 is the same, and so is the leaf."""
    assert crc32(b"plumless") == crc32(b"buckeroo")
    memory = Memory()
    draft = Draft(Table(memory))
    draft.set(b"plumless", b"1")
    table = packed(draft, memory)
    assert (table.get(b"plumless"), table.get(b"buckeroo")) == (b"1", None)
    draft = Draft(table)
    draft.set(b"buckeroo", b"2")
    table = packed(draft, memory)
    assert (table.get(b"plumless"), table.get(b"buckeroo"), table.count) == (b"1", b"2", 2)


def test_a_change_writes_one_leaf_and_the_root() -> None:
    memory = Memory()
    draft = Draft(Table(memory))
    for number in range(50_000):
        draft.set(str(number).encode(), b"x" * 20)
    steps = list(draft.pack(memory, []))
    # Among tens of thousands, never many between two steps.
    assert len(steps) > 4096
    table = steps[-1]
    assert table is not None
    draft = Draft(table)
    draft.set(b"7", b"y")
    retired: list[tuple[int, int]] = []
    memory.reserved = []
    after = packed(draft, memory, retired)
    assert len(retired) == len(memory.reserved) == 2
    assert sum(size for _, size in memory.reserved) < 40_000
    assert (table.get(b"7"), after.get(b"7"), after.get(b"8")) == (b"x" * 20, b"y", b"x" * 20)


def test_what_is_moved_is_the_same_somewhere_else() -> None:
    memory = Memory()
    draft = Draft(Table(memory))
    draft.set(b"1", b"one")
    table = packed(draft, memory)
    ((number, leaf),) = table.leaves()
    retired: list[tuple[int, int]] = []
    draft = Draft(table)
    draft.move(number)
    moved = packed(draft, memory, retired)
    assert (moved.get(b"1"), moved.count) == (b"one", 1)
    assert {address for address, _ in retired} == {leaf, table.address}
    draft = Draft(moved)
    draft.move_root()
    again = packed(draft, memory, retired)
    assert again.address != moved.address
    assert list(again.leaves()) == list(moved.leaves())
    assert dict(again.leaf_items(next(again.leaves())[1])) == {b"1": b"one"}


def test_without_a_change_a_table_stays_where_it_is() -> None:
    memory = Memory()
    table = Table(memory)
    assert packed(Draft(table), memory) is table
    assert memory.segments == {}


def test_a_key_has_at_most_255_bytes() -> None:
    draft = Draft(Table(Memory()))
    draft.set(b"k" * 255, b"")
    with pytest.raises(ValueError, match="at most 255 bytes"):
        draft.set(b"k" * 256, b"")
