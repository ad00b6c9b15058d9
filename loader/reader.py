"""Lists out of the store: fetched part by part, decrypted in place, and open to be looked up in."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, suppress
from mmap import MADV_REMOVE, mmap
from typing import Final

from loader.compiled import Block
from loader.errors import BlockError, DatabaseError, KeyFileError
from loader.keyring import Keyring, damaged, part_count
from loader.model import ListRevision, Owner
from loader.store import Store

_MAPPED_FROM: Final = 1024 * 1024
_STEP: Final = 1024 * 1024
_ATTEMPTS: Final = 3


async def read_list(store: Store, keyring: Keyring, owner: Owner, revision: int | None = None) -> Block | None:
    """An owner's list in force, or a kept revision of it; None if there is none.

    Raises BlockError if it was tampered with, KeyFileError if its key is missing, DatabaseUnavailable.
    """
    for _ in range(_ATTEMPTS):
        listed = await store.list_head(owner, revision)
        if listed is None:
            return None
        block = await read_block(store, keyring, listed)
        if block is not None:
            return block
        # Replaced 20 times over, or put under another key, between the two looks.
    raise DatabaseError(f"{store.name}: the list of {owner} changes faster than it can be read")


async def read_block(store: Store, keyring: Keyring, listed: ListRevision) -> Block | None:
    """The block of a revision; None if it is no longer kept as `listed` says. The event loop runs between its parts.

    Raises BlockError if it was tampered with, KeyFileError if its key is missing, DatabaseUnavailable.
    """
    keyring = keyring.holding(listed.key_id)
    opening = _Opening(listed)
    async with aclosing(store.parts(listed)) as parts:
        async for ciphertext in parts:
            opening.add(keyring, ciphertext)
    if opening.parts == 0 and await store.list_head(listed.owner, listed.revision) != listed:
        return None
    result = opening.result()
    if isinstance(result, Block):
        return result
    raise result


async def read_lists(
    store: Store, keyring: Keyring
) -> AsyncGenerator[tuple[ListRevision, Block | BlockError | KeyFileError]]:
    """Every list in force, or why it cannot be opened: one bad list does not keep the others out of force.

    Raises DatabaseUnavailable.
    """
    opening: _Opening | None = None
    async with aclosing(store.lists_with_parts()) as rows:
        async for listed, ciphertext in rows:
            if opening is None or opening.listed != listed:
                if opening is not None:
                    yield opening.listed, opening.result()
                opening = _Opening(listed)
            try:
                keyring = keyring.holding(listed.key_id)
                opening.add(keyring, ciphertext)
            except (BlockError, KeyFileError) as error:
                opening.problem = opening.problem or error
    if opening is not None:
        yield opening.listed, opening.result()


def new_buffer(size: int) -> memoryview:
    """Room for a block of this many bytes. A large one is not written to beforehand, which would take long."""
    return memoryview(mmap(-1, size)) if size >= _MAPPED_FROM else memoryview(bytearray(size))


def give_back(block: Block) -> Iterator[None]:
    """Give the memory of a block that was read back to the system, in steps, as all at once it would take long.

    The block answers nobody afterwards.
    """
    buffer = block._data  # noqa: SLF001 - a block has no other use for its buffer
    mapped = buffer.obj if isinstance(buffer, memoryview) else None
    if not isinstance(mapped, mmap):
        return
    size = len(mapped)
    for start in range(0, size, _STEP):
        # The mapping is shared, as `mmap` makes it, so that MADV_DONTNEED would keep its pages. A system that knows no
        # MADV_REMOVE gets them back with the mapping, all at once.
        with suppress(OSError):
            mapped.madvise(MADV_REMOVE, start, min(_STEP, size - start))
        yield


class _Opening:
    """A block on its way from its parts."""

    def __init__(self, listed: ListRevision) -> None:
        self.listed = listed
        self.parts = 0
        self.problem: BlockError | KeyFileError | None = None
        self._size = 0
        self._buffer = new_buffer(0)
        if listed.size < 0 or part_count(listed.size) != listed.parts:
            self.problem = damaged(listed)
            return
        try:
            self._buffer = new_buffer(listed.size)
        except (MemoryError, OverflowError, OSError):
            # The other lists have room: this one is told of as any other that cannot be opened, and tried again.
            self.problem = BlockError(
                f"the list of {listed.owner}, revision {listed.revision}: there is no room for its {listed.size} bytes"
            )

    def add(self, keyring: Keyring, ciphertext: bytes) -> None:
        if self.problem is None:
            self._size += keyring.open_into(self.listed, self.parts, ciphertext, self._buffer[self._size :])
        self.parts += 1

    def result(self) -> Block | BlockError | KeyFileError:
        if self.problem is not None:
            return self.problem
        if self._size != self.listed.size:
            return damaged(self.listed)
        try:
            return Block(self._buffer, self.listed.revision)
        except BlockError as error:
            return BlockError(f"the list of {self.listed.owner}, revision {self.listed.revision}: {error}")
