"""A table from short keys to short values, packed into memory that several processes read.

It is never edited: a :class:`Draft` makes the next one out of it, which shares with it all leaves in which nothing has
changed. A root, of one address a leaf, stands before 4096 leaves; the CRC-32 of a key says in which of them it is. A leaf
that is empty is nowhere. Layout of a leaf, little-endian, in words of 32 bits::

    size      bytes of the whole leaf
    count     records in it
    hashes    count words, ascending: the CRC-32 of each key
    starts    count + 1 words: where each record begins, from the end of the starts
    records   one byte for the length of the key, the key, the value
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Final
from zlib import crc32

from loader.memory import OFFSET, Mapped, Memory

MAX_KEY: Final = 255
"""Bytes of a key, at most."""

_LEAVES: Final = 4096
_SHIFT: Final = 32 - 12
_ROOT_SIZE: Final = _LEAVES * 8
_NO_ROOT: Final = memoryview(bytes(_ROOT_SIZE)).cast("Q")


class Table:
    """The table whose root is at an address; an empty one if that is 0."""

    __slots__ = ("_memory", "_root", "_words", "address", "count")

    def __init__(self, memory: Mapped, address: int = 0, count: int = 0) -> None:
        self._memory = memory
        self._words = memory.words
        self.address = address
        self.count = count
        at = (address & OFFSET) >> 3
        self._root = memory.quads[address >> 32][at : at + _LEAVES] if address else _NO_ROOT

    def get(self, key: bytes) -> bytes | None:
        """The value of a key; None if it is not there."""
        hashed = crc32(key)
        leaf = self._root[hashed >> _SHIFT]
        if not leaf:
            return None
        words = self._words[leaf >> 32]
        at = (leaf & OFFSET) >> 2
        count = words[at + 1]
        at += 2
        last = at + count
        found = bisect_left(words, hashed, at, last)
        while found < last and words[found] == hashed:
            records = (last + count + 1) * 4
            start = records + words[found + count]
            record = bytes(self._memory.bytes[leaf >> 32][start : records + words[found + count + 1]])
            if record[0] == len(key) and record.startswith(key, 1):
                return record[1 + len(key) :]
            found += 1
        return None

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All keys with their values, in no order."""
        for leaf in self._root:
            for _, record in self._records(leaf):
                end = 1 + record[0]
                yield record[1:end], record[end:]

    def leaves(self) -> Iterator[tuple[int, int]]:
        """Number and address of each leaf."""
        for number, leaf in enumerate(self._root):
            if leaf:
                yield number, leaf

    def leaf_items(self, leaf: int) -> Iterator[tuple[bytes, bytes]]:
        """As :meth:`items`, of the leaf at this address."""
        for _, record in self._records(leaf):
            end = 1 + record[0]
            yield record[1:end], record[end:]

    def _records(self, leaf: int) -> list[tuple[int, bytes]]:
        """Hash and record of all that is in a leaf, in its order."""
        if not leaf:
            return []
        words = self._words[leaf >> 32]
        at = (leaf & OFFSET) >> 2
        size, count = words[at], words[at + 1]
        hashes = words[at + 2 : at + 2 + count].tolist()
        starts = words[at + 2 + count : at + 3 + 2 * count].tolist()
        text = bytes(self._memory.at(leaf, size)[(3 + 2 * count) * 4 :])
        return [(hashes[n], text[starts[n] : starts[n + 1]]) for n in range(count)]


class Draft:
    """The next state of a table. Nothing is written before it is packed."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._changed: dict[int, dict[bytes, bytes | None]] = {}
        """By leaf: one large dictionary would hold everybody up whenever it grows."""
        self._moves = False

    def get(self, key: bytes) -> bytes | None:
        """The value that a key will have."""
        changed = self._changed.get(crc32(key) >> _SHIFT)
        if changed is not None and key in changed:
            return changed[key]
        return self._table.get(key)

    def set(self, key: bytes, value: bytes | None) -> None:
        """What the key's value is to be; None takes it out. Raises ValueError if the key is too long."""
        if len(key) > MAX_KEY:
            raise ValueError(f"a key has at most {MAX_KEY} bytes")
        leaf = crc32(key) >> _SHIFT
        changed = self._changed.get(leaf)
        if changed is None:
            self._changed[leaf] = {key: value}
        else:
            changed[key] = value

    def move(self, leaf: int) -> None:
        """Write the leaf of this number anew, also if nothing has changed in it."""
        self._changed.setdefault(leaf, {})

    def move_root(self) -> None:
        """Write the root anew, also if nothing has changed."""
        self._moves = True

    def pack(self, memory: Memory, retired: list[tuple[int, int]]) -> Iterator[Table | None]:
        """Write it, in steps: each yields None, the last one the table. What it no longer needs is added to `retired`.

        The draft is used up by it.
        """
        if not self._changed and not self._moves:
            yield self._table
            return
        old = self._table
        root = array("Q", bytes(old._root))  # noqa: SLF001 - both are this module's
        count = old.count
        while self._changed:
            number, changed = self._changed.popitem()
            leaf = root[number]
            before = old._records(leaf)  # noqa: SLF001
            after = _after(before, changed) if changed else before
            if leaf:
                retired.append((leaf, old._words[leaf >> 32][(leaf & OFFSET) >> 2]))  # noqa: SLF001
            root[number] = memory.put(_packed(after)) if after else 0
            count += len(after) - len(before)
            yield None
        if old.address:
            retired.append((old.address, _ROOT_SIZE))
        yield Table(memory, memory.put(memoryview(root).cast("B")), count)


def _after(records: list[tuple[int, bytes]], changed: dict[bytes, bytes | None]) -> list[tuple[int, bytes]]:
    """The records of a leaf with these changes."""
    named = {bytes((len(key),)) + key: value for key, value in changed.items()}
    after = [one for one in records if one[1][: 1 + one[1][0]] not in named]
    after += [(crc32(name[1:]), name + value) for name, value in named.items() if value is not None]
    after.sort()
    return after


def _packed(records: list[tuple[int, bytes]]) -> bytes:
    count = len(records)
    texts = [record for _, record in records]
    starts = list(accumulate(map(len, texts), initial=0))
    size = (3 + 2 * count) * 4 + starts[-1]
    return struct.pack(f"<{3 + 2 * count}I", size, count, *(h for h, _ in records), *starts) + b"".join(texts)
