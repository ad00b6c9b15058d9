"""The index in memory that all processes of one daemon read: packed blocks, and a packed directory to find them by.

Three tables (see :mod:`loader.table`) lead from a passcode to the conference, from a conference's ID to its passcode, and
from an owner to where the block of the list lies. Each state of the index is the three roots, and shares with the one
before all that has not changed. So a whole state is told to another process in one short message, beside the file
descriptors of the segments that it does not have yet.

One process writes, in steps of about a millisecond at most. What a change replaces is given back to the system when every
reader has told that it has put the change in force.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence, ValuesView
from contextlib import contextmanager
from typing import Final, NamedTuple, TypeAlias

import msgspec

from loader import table as packed
from loader.compiled import Block
from loader.index import Index
from loader.memory import Mapped, Memory
from loader.model import Conference, Owner, Passcode, Revision
from loader.table import Table

MAX_FDS: Final = 250
"""File descriptors in one update, at most: the kernel takes 253."""


class Update(NamedTuple):
    """A state of the index, as a reader is told of it; `fds` go with the message, in their order.

    They are the writer's, and stay open until the reader has applied the update or is detached.
    """

    number: int
    message: bytes
    fds: tuple[int, ...]


class _State(msgspec.Struct, frozen=True, array_like=True):
    """A message. `arrived` are number and size of the segments whose file descriptors come with it.

    `roots` are address and count of each table; None where more is to come.
    """

    number: int
    arrived: tuple[tuple[int, int], ...]
    gone: tuple[int, ...] = ()
    roots: tuple[tuple[int, int], ...] | None = None


_LIST: Final = struct.Struct("<QQQ")
"""Address, size and revision of a block."""
_Told: TypeAlias = tuple[str, str, str, bool, tuple[Owner, ...]]
_PACK: Final = msgspec.msgpack.Encoder()
_UNPACK: Final = msgspec.msgpack.Decoder(_Told)
_READ: Final = msgspec.msgpack.Decoder(_State)


class _Retired(NamedTuple):
    """What nobody needs who has put the state of this number in force: places, and whole segments."""

    number: int
    places: list[tuple[int, int]]
    segments: list[int]


class _Tables(NamedTuple):
    """One state of the index, packed."""

    conferences: Table
    passcodes: Table
    lists: Table


class _Conferences(Mapping[str, Conference]):
    """Conferences by passcode, each decoded when it is asked for."""

    __slots__ = ("_table",)

    def __init__(self, table: Table) -> None:
        self._table = table

    def __getitem__(self, passcode: str) -> Conference:
        key = passcode.encode(errors="surrogatepass")
        value = self._table.get(key)
        if value is None:
            raise KeyError(passcode)
        return _conference(key, value)

    def __iter__(self) -> Iterator[str]:
        return (key.decode() for key, _ in self._table.items())

    def __len__(self) -> int:
        return self._table.count

    def values(self) -> ValuesView[Conference]:
        return _Values(self, self._table)


class _Values(ValuesView[Conference]):
    """All conferences, without looking for each."""

    def __init__(self, conferences: _Conferences, table: Table) -> None:
        super().__init__(conferences)
        self._table = table

    def __iter__(self) -> Iterator[Conference]:
        return (_conference(key, value) for key, value in self._table.items())


class _Lists(Mapping[Owner, Block]):
    """Blocks by owner, each made when it is asked for."""

    __slots__ = ("_memory", "_table")

    def __init__(self, table: Table, memory: Mapped) -> None:
        self._table = table
        self._memory = memory

    def __getitem__(self, owner: Owner) -> Block:
        value = self._table.get(owner.key.encode())
        if value is None:
            raise KeyError(owner)
        address, size, revision = _LIST.unpack(value)
        return Block(self._memory.at(address, size), Revision(revision))

    def __iter__(self) -> Iterator[Owner]:
        return (Owner.from_key(key.decode()) for key, _ in self._table.items())

    def __len__(self) -> int:
        return self._table.count


class Draft:
    """The next state, made piece by piece. It takes no part in answers before it is published.

    What yields does so between two steps of about a millisecond at most. Raises OSError if there is no memory.
    """

    def __init__(self, memory: Memory, before: _Tables) -> None:
        self._memory = memory
        self._before = before
        self._conferences, self._passcodes, self._lists = (packed.Draft(one) for one in before)
        self.retired: list[tuple[int, int]] = []
        """Addresses and sizes of what it replaces."""
        self.tables: _Tables | None = None
        """What was packed."""
        self.emptied: list[int] = []
        """Segments of which it needs nothing."""

    def put_conference(self, conference: Conference) -> None:
        """A conference is like this now."""
        self.remove_conference(conference.id)
        passcode = conference.passcode.encode()
        told: _Told = (conference.id, conference.title, conference.organizer, conference.pin_entry, conference.owners)
        self._conferences.set(passcode, _PACK.encode(told))
        self._passcodes.set(conference.id.encode(), passcode)

    def remove_conference(self, conference_id: str) -> None:
        """A conference is no more, if it ever was."""
        key = conference_id.encode()
        passcode = self._passcodes.get(key)
        if passcode is None:
            return
        self._passcodes.set(key, None)
        # The passcode may already be another conference's: the feed tells of the two in either order.
        known = self._conferences.get(passcode)
        if known is not None and _UNPACK.decode(known)[0] == conference_id:
            self._conferences.set(passcode, None)

    def put_list(self, owner: Owner, block: Block) -> Iterator[None]:
        """Copy an owner's list, in steps."""
        data = memoryview(block._data)  # noqa: SLF001 - it is copied as it is
        yield from self._place(owner.key.encode(), data, block.revision)

    def remove_list(self, owner: Owner) -> None:
        """An owner has no list any more, if there ever was one."""
        self._replace_list(owner.key.encode(), None)

    def move_out_of(self, segment: int) -> Iterator[None]:
        """Copy all that lies in a segment elsewhere, in steps; nothing changes but where it lies."""
        for table, draft in zip(self._before, (self._conferences, self._passcodes, self._lists), strict=True):
            for number, leaf in table.leaves():
                if leaf >> 32 == segment:
                    draft.move(number)
            if table.address >> 32 == segment:
                draft.move_root()
            yield
        for _, leaf in self._before.lists.leaves():
            for key, value in self._before.lists.leaf_items(leaf):
                address, size, revision = _LIST.unpack(value)
                if address >> 32 == segment:
                    yield from self._place(key, self._memory.at(address, size), revision)
            yield

    def pack(self) -> Iterator[None]:
        """Write the directory, in steps. Nothing can be put in afterwards."""
        tables = []
        for draft in (self._conferences, self._passcodes, self._lists):
            for done in draft.pack(self._memory, self.retired):
                if done is not None:
                    tables.append(done)
                yield
        self.tables = _Tables(*tables)

    def _place(self, key: bytes, data: memoryview, revision: int) -> Iterator[None]:
        for address in self._memory.put_in_steps(data):
            if address:
                self._replace_list(key, _LIST.pack(address, len(data), revision))
            yield

    def _replace_list(self, key: bytes, value: bytes | None) -> None:
        before = self._lists.get(key)
        if before is not None:
            address, size, _ = _LIST.unpack(before)
            self.retired.append((address, size))
        self._lists.set(key, value)


class Attached:
    """A reader, as the writer knows it."""

    def __init__(self, send: Callable[[Update], None], leave: Callable[[Attached], None]) -> None:
        self.send = send
        self.number = 0
        """The last state that it has put in force."""
        self._leave = leave

    def applied(self, number: int) -> None:
        """It has told that this state is in force, and that it asks no older one any more."""
        self.number = max(self.number, number)

    def detach(self) -> None:
        """It is gone, and waited for no more."""
        self._leave(self)


class SharedIndex:
    """The writer's side. There is one draft at a time."""

    def __init__(self) -> None:
        self.index: Index | None = None
        """What is in force; None before anything was published."""
        self._memory = Memory()
        self._tables = _nothing(self._memory)
        self._number = 0
        self._readers: list[Attached] = []
        self._told: set[int] = set()
        """The segments that readers know."""
        self._retired: deque[_Retired] = deque()

    @contextmanager
    def draft(self, *, anew: bool = False) -> Iterator[Draft]:
        """The next state: first like the one in force, or `anew` an empty one. Dropped if it is not published."""
        memory = self._memory
        before = set(memory.segments)
        if anew:
            draft = Draft(memory, _nothing(memory))
            draft.emptied = sorted(before)
            memory.begin_anew()
        else:
            draft = Draft(memory, self._tables)
            memory.reserved = []
        try:
            yield draft
        finally:
            reserved, memory.reserved = memory.reserved, None
            if draft.tables is not self._tables:
                new = sorted(memory.segments.keys() - before) if anew else []
                if anew:
                    memory.begin_anew()
                # Nobody has seen any of it.
                self._retired.appendleft(self._retire(0, reserved or [], new))

    def publish(self, draft: Draft) -> Index:
        """Tell the readers of a packed draft; the index to put in force in this process, in the same turn."""
        if draft.tables is None:
            raise ValueError("a draft is packed before it is published")
        self._tables = draft.tables
        self._number += 1
        self._retired.append(self._retire(self._number, draft.retired, draft.emptied))
        self.index = _index(draft.tables, self._memory)
        there = self._memory.segments.keys()
        arrived, gone = sorted(there - self._told), sorted(self._told - there)
        self._told = set(there)
        for reader in self._readers:
            self._send(reader, arrived, gone)
        return self.index

    def attach(self, send: Callable[[Update], None]) -> Attached:
        """Take a reader on: `send` is called now with the whole state, and with each later one.

        It only puts the update where it is sent from: it neither waits nor raises.
        """
        reader = Attached(send, self._readers.remove)
        self._readers.append(reader)
        self._send(reader, sorted(self._told & self._memory.segments.keys()), [])
        return reader

    def reclaim(self) -> Iterator[None]:
        """Give back, in steps, what no reader asks any more. Called when this process asks only what is in force."""
        in_force = min((reader.number for reader in self._readers), default=self._number)
        while self._retired and self._retired[0].number <= in_force:
            retired = self._retired.popleft()
            for address, size in retired.places:
                yield from self._memory.free(address, size)
            for segment in retired.segments:
                yield from self._memory.free_segment(segment)

    def sparse(self) -> int | None:
        """A segment that is best moved out of: see :meth:`Draft.move_out_of`."""
        return self._memory.sparse()

    def close(self) -> None:
        """Give all memory up."""
        self.index = None
        self._memory.close()

    def _retire(self, number: int, places: list[tuple[int, int]], segments: list[int]) -> _Retired:
        for address, size in places:
            self._memory.retire(address, size)
        for segment in segments:
            self._memory.retire_segment(segment)
        return _Retired(number, places, segments)

    def _send(self, reader: Attached, arrived: list[int], gone: list[int]) -> None:
        segments = self._memory.segments
        while len(arrived) > MAX_FDS:
            some, arrived = arrived[:MAX_FDS], arrived[MAX_FDS:]
            # All before has been applied when this is.
            self._send_state(reader, _State(self._number - 1, _sizes(segments, some)), segments)
        tables = self._tables if self.index is not None else None
        roots = tuple((table.address, table.count) for table in tables) if tables else None
        self._send_state(reader, _State(self._number, _sizes(segments, arrived), tuple(gone), roots), segments)

    def _send_state(self, reader: Attached, state: _State, segments: Mapping[int, tuple[int, int]]) -> None:
        fds = tuple(segments[number][0] for number, _ in state.arrived)
        reader.send(Update(state.number, _PACK.encode(state), fds))


class IndexReader:
    """A reader's side: what it was told last. Updates come in their order, and none is left out."""

    def __init__(self) -> None:
        self.number = 0
        """What the writer is to be told when the index is in force here."""
        self._memory = Mapped()
        self._index: Index | None = None

    def apply(self, message: bytes, fds: Sequence[int]) -> Index | None:
        """The index to put in force; None while there is none. Closes the file descriptors.

        When it is in force, and no older one is asked any more, the writer is told `number`.
        """
        state = _READ.decode(message)
        for (segment, size), fd in zip(state.arrived, fds, strict=True):
            self._memory.map(segment, fd, size)
            os.close(fd)
        for segment in state.gone:
            self._memory.drop(segment)
        self.number = state.number
        if state.roots is not None:
            tables = _Tables(*(Table(self._memory, *root) for root in state.roots))
            self._index = _index(tables, self._memory)
        return self._index


def _nothing(memory: Mapped) -> _Tables:
    return _Tables(Table(memory), Table(memory), Table(memory))


def _index(tables: _Tables, memory: Mapped) -> Index:
    return Index(_Conferences(tables.conferences), _Lists(tables.lists, memory))


def _sizes(segments: Mapping[int, tuple[int, int]], numbers: Sequence[int]) -> tuple[tuple[int, int], ...]:
    return tuple((number, segments[number][1]) for number in numbers)


def _conference(passcode: bytes, value: bytes) -> Conference:
    conference_id, title, organizer, pin_entry, owners = _UNPACK.decode(value)
    return Conference(conference_id, title, Passcode(passcode.decode()), organizer, pin_entry, owners)
