"""Counters that all daemons of a machine share: one file of fixed size, mapped into memory by each.

A counter has a name, which is a keyed hash: whoever reads the file learns nobody's number from it. Each kind of counter
has a region of its own, cut into sets of eight places; a name belongs to one set, as in the cache of a processor. So
memory is bounded whatever comes, and who floods one kind pushes nobody out of another. What gives way when a set is
full stands at :class:`Kind`.

Looking needs no lock: a place's name and each of its numbers are written in one piece, and who counts looks again while
holding the lock. The lock is the file's own (flock), which the system lets go when a process dies. What is counted is
with the operating system at once: it outlives the daemon, whatever kills that.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import secrets
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Final, NamedTuple, Self

import structlog

from loader.errors import BlockError, KeyFileError, RollcallError
from loader.keyring import Keyring

log = structlog.get_logger(__name__)


class Kind(IntEnum):
    """What is counted."""

    CALL = 0
    """A call's wrong tries. The oldest gives way."""
    CALLER = 1
    """A caller's, for one conference. Who is not locked, has failed least, and longest ago, gives way."""
    CROWD = 2
    """Those of many callers together: a conference's, a switch's. As with callers."""
    KNOWN = 3
    """Callers who have shown that they know a PIN. Who has not called for longest gives way."""


class Count(NamedTuple):
    """`failures` in a row; when the `last` was, and `until` when nobody is heard: seconds since 1970."""

    failures: int
    last: float
    until: float


class CountersBusy(RollcallError):
    """Another process held the counters for too long."""


_SHARES: Final = (8, 20, 12, 24)
"""How the places are shared out among the kinds, in 64ths."""
_WAYS: Final = 8
_NAME: Final = 8
_PLACE: Final = struct.Struct("@ddQ")
"""Native, as then each number is one store, and a reader never sees half of one."""
_LAST: Final = struct.Struct("@d")
_UNTIL: Final = struct.Struct("@8xd")
_SET: Final = _WAYS * (_NAME + _PLACE.size)
_PLACES_AT: Final = mmap.PAGESIZE
_NAMES_SIZE: Final = _WAYS * _NAME
_NO_NAME: Final = bytes(_NAME)

_MAGIC: Final = b"rollcall counts2"
_HEADER: Final = struct.Struct("<16sQ16s")
"""What the file is, the bytes of its places, and the ID of the key that the key of its names is sealed under."""
_SEALED_AT: Final = 64
_SEALED_SIZE: Final = 60
_TALLIES_AT: Final = 256
_TALLY: Final = struct.Struct("<QQ")
"""How many places of a kind are in use, and how many counters have given way."""
_LATEST_AT: Final = 512
"""The latest time until which anybody of a kind is locked: a number for each kind, native as those of a place."""
_CALL, _CALLER, _CROWD = (int(kind) for kind in (Kind.CALL, Kind.CALLER, Kind.CROWD))
"""As plain numbers, which are quicker to count with. Nobody is locked for being known."""

_PURPOSE: Final = "throttle"
_PATIENCE: Final = 0.02
"""Seconds to wait for another process that holds the lock: it needs some 50 microseconds."""


_PLACES_KEPT: Final = 10_000
"""Known callers whose places need not be looked for again."""


class _KnownPlace(NamedTuple):
    """A known caller's name as it is written, where it and its numbers stand, and where his failures would."""

    name: bytes
    name_at: int
    at: int
    failures_at: int


class _Region(NamedTuple):
    start: int
    sets: int
    tally: int


class Counters:
    """`memory` bytes of counters, in a file or, without one, in the memory of this process alone."""

    def __init__(self, memory: int, key: bytes, file: int | None = None) -> None:
        self.file = file
        """What other processes may be handed, beside the key."""
        self.key = key
        self.memory = memory
        self._is_held = False
        self._hash = hashlib.blake2b(key=key, digest_size=_NAME)
        self._map = mmap.mmap(-1 if file is None else file, _size(memory))
        self._latest = memoryview(self._map)[_LATEST_AT : _LATEST_AT + len(Kind) * 8].cast("d")
        self._known_places: dict[int, _KnownPlace] = {}
        self._regions: list[_Region] = []
        start = _PLACES_AT
        for kind in Kind:
            sets = memory * _SHARES[kind] // 64 // _SET
            self._regions.append(_Region(start, sets, _TALLIES_AT + kind * _TALLY.size))
            start += sets * _SET

    @classmethod
    def in_memory(cls, memory: int, *, shared: bool = False) -> Self:
        """Counters that end with the process, and with those that it shares them with."""
        file = None
        if shared:
            file = os.memfd_create("rollcall-throttle")
            os.truncate(file, _size(memory))
        return cls(memory, secrets.token_bytes(32), file)

    @classmethod
    def handed(cls, memory: int, key: bytes, file: int) -> Self:
        """Counters that another process has, by their key and by a copy of its file; see :attr:`file`."""
        # A lock belongs to who has opened the file: a copy of another's would lock nobody out.
        own = os.open(f"/proc/self/fd/{file}", os.O_RDWR | os.O_CLOEXEC)
        os.close(file)
        return cls(memory, key, own)

    @classmethod
    def opened(cls, path: Path, memory: int, keyring: Keyring) -> Self:
        """The counters in this file, which is made if it is not there, is of another size, or under another key.

        Raises OSError if that cannot be done: no room, or no right.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f"{path.name}.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            key = _key_of(path, memory, keyring)
            if key is None:
                key = _made(path, memory, keyring)
            return cls(memory, key, os.open(path, os.O_RDWR | os.O_CLOEXEC))

    def close(self) -> None:
        self._latest.release()
        self._map.close()
        if self.file is not None:
            os.close(self.file)

    def seal(self, keyring: Keyring) -> None:
        """Have the file under the newest key, should the key file have been rotated. Raises CountersBusy."""
        if self.file is not None and _HEADER.unpack_from(self._map)[2].rstrip(b"\0") != keyring.current.encode():
            with self.held():
                self._map[:_SEALED_AT] = _head(len(self._map) - _PLACES_AT, keyring)
                self._map[_SEALED_AT : _SEALED_AT + _SEALED_SIZE] = _sealed(self.key, keyring)

    def name(self, said: str) -> int:
        """The name of what is counted: 64 bits that tell nothing about it."""
        named = self._hash.copy()
        named.update(said.encode("utf-8", "surrogatepass"))
        return int.from_bytes(named.digest(), "little")

    def until(self, kind: Kind, name: int) -> float:
        """Until when nobody of this name is heard, seconds since 1970; 0 if he is."""
        at = self._find(kind, name)
        return 0.0 if at is None else _UNTIL.unpack_from(self._map, at)[0]

    def is_any_locked(self, kind: Kind, now: float) -> bool:
        """Whether anybody of this kind may be locked: mostly nobody is, and no name need be looked for."""
        return self._latest[kind] > now

    def is_quiet(self, now: float) -> bool:
        """Whether nobody of any kind is locked."""
        latest = self._latest
        return latest[_CALL] <= now and latest[_CALLER] <= now and latest[_CROWD] <= now

    def is_at_peace(self, name: int, since: float, now: float) -> bool:
        """Whether this caller was noted as known between these times, and nothing is counted against him.

        It may be False of one who is: then it takes a closer look.
        """
        place = self._known_places.get(name)
        if place is None or self._map[place.name_at : place.name_at + _NAME] != place.name:
            place = self._known_place(name)
            if place is None:
                return False
        (last,) = _LAST.unpack_from(self._map, place.at)
        failures_at = place.failures_at
        return since < last <= now and self._map.find(place.name, failures_at, failures_at + _NAMES_SIZE) < 0

    def look(self, kind: Kind, name: int) -> Count | None:
        """What is counted under this name, if anything."""
        at = self._find(kind, name)
        return None if at is None else self._read(at)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else counts meanwhile. Raises CountersBusy if another process does not let go."""
        if self.file is None or self._is_held:
            yield
            return
        give_up = 0.0
        while True:
            try:
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                now = time.monotonic()
                give_up = give_up or now + _PATIENCE
                if now > give_up:
                    raise CountersBusy("another process holds the throttle's counters") from None
                time.sleep(0.0001)
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
            fcntl.flock(self.file, fcntl.LOCK_UN)

    def put(self, kind: Kind, name: int, count: Count) -> None:
        """Count this under this name; while held."""
        at = self._find(kind, name)
        if at is None:
            at = self._take_place(kind, name, count.last)
        # First, so that no reader is told that nobody is locked while somebody is.
        if count.until and not self.is_any_locked(kind, count.until):
            self._latest[kind] = count.until
        _PLACE.pack_into(self._map, at, count.last, count.until, count.failures)

    def drop(self, kind: Kind, name: int) -> None:
        """Count nothing under this name; while held."""
        at = self._find(kind, name)
        if at is not None:
            region = self._regions[kind]
            start, way = self._set_and_way(region, at)
            self._map[start + way * _NAME : start + (way + 1) * _NAME] = _NO_NAME
            self._tally(region, used=-1)

    def used(self, kind: Kind) -> int:
        """How many places of this kind are in use."""
        return int(_TALLY.unpack_from(self._map, self._regions[kind].tally)[0])

    def evicted(self, kind: Kind) -> int:
        """How many counters of this kind have given way to others."""
        return int(_TALLY.unpack_from(self._map, self._regions[kind].tally)[1])

    def places(self, kind: Kind) -> int:
        """How many places there are for this kind."""
        return self._regions[kind].sets * _WAYS

    def _find(self, kind: Kind, name: int) -> int | None:
        """Where the numbers of this name stand."""
        first, sets, _ = self._regions[kind]
        start = first + name % sets * _SET
        end = start + _NAMES_SIZE
        wanted = name.to_bytes(_NAME, "little")
        at = self._map.find(wanted, start, end)
        while at >= 0:
            way, beside = divmod(at - start, _NAME)
            if not beside:
                return end + way * _PLACE.size
            # It stands across two names.
            at = self._map.find(wanted, at + 1, end)
        return None

    def _known_place(self, name: int) -> _KnownPlace | None:
        at = self._find(Kind.KNOWN, name)
        if at is None:
            return None
        start, way = self._set_and_way(self._regions[Kind.KNOWN], at)
        callers = self._regions[Kind.CALLER]
        failures_at = callers.start + name % callers.sets * _SET
        place = _KnownPlace(name.to_bytes(_NAME, "little"), start + way * _NAME, at, failures_at)
        if len(self._known_places) >= _PLACES_KEPT:
            self._known_places.clear()
        self._known_places[name] = place
        return place

    def _take_place(self, kind: Kind, name: int, now: float) -> int:
        region = self._regions[kind]
        start = region.start + name % region.sets * _SET
        end = start + _NAMES_SIZE
        names = self._map[start:end]
        places = [end + way * _PLACE.size for way in range(_WAYS)]
        free = [way for way in range(_WAYS) if names[way * _NAME : (way + 1) * _NAME] == _NO_NAME]
        if free:
            way = free[0]
            self._tally(region, used=1)
        else:
            worth = [_worth(kind, self._read(at), now) for at in places]
            way = worth.index(min(worth))
            self._tally(region, evicted=1)
            self._map[start + way * _NAME : start + (way + 1) * _NAME] = _NO_NAME
        _PLACE.pack_into(self._map, places[way], 0.0, 0.0, 0)
        self._map[start + way * _NAME : start + (way + 1) * _NAME] = name.to_bytes(_NAME, "little")
        return places[way]

    def _read(self, at: int) -> Count:
        last, until, failures = _PLACE.unpack_from(self._map, at)
        return Count(failures, last, until)

    @staticmethod
    def _set_and_way(region: _Region, at: int) -> tuple[int, int]:
        start = region.start + (at - region.start) // _SET * _SET
        return start, (at - start - _NAMES_SIZE) // _PLACE.size

    def _tally(self, region: _Region, *, used: int = 0, evicted: int = 0) -> None:
        in_use, given_way = _TALLY.unpack_from(self._map, region.tally)
        _TALLY.pack_into(self._map, region.tally, in_use + used, given_way + evicted)


def _worth(kind: Kind, count: Count, now: float) -> tuple[float, ...]:
    """What gives way first is worth least."""
    if kind in (Kind.CALL, Kind.KNOWN):
        return (count.last,)
    return (count.until > now, count.failures, count.last)


def _size(memory: int) -> int:
    return _PLACES_AT + memory


def _head(memory: int, keyring: Keyring) -> bytes:
    return _HEADER.pack(_MAGIC, memory, keyring.current.encode()).ljust(_SEALED_AT, b"\0")


def _sealed(key: bytes, keyring: Keyring) -> bytes:
    return keyring.seal_secret(_PURPOSE, key, key_id=keyring.current)


def _key_of(path: Path, memory: int, keyring: Keyring) -> bytes | None:
    """The key of the names in this file; None if it cannot be used."""
    try:
        with path.open("rb") as file:
            head = file.read(_PLACES_AT)
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return None
    try:
        magic, places, key_id = _HEADER.unpack_from(head)
        if magic != _MAGIC or places != memory or size != _size(memory):
            raise BlockError("the file is of another kind or size")
        sealed = head[_SEALED_AT : _SEALED_AT + _SEALED_SIZE]
        return keyring.open_secret(_PURPOSE, sealed, key_id=key_id.rstrip(b"\0").decode("ascii", "replace"))
    except (struct.error, BlockError, KeyFileError) as error:
        log.warning("throttle_counts_anew", problem=str(error))
        return None


def _made(path: Path, memory: int, keyring: Keyring) -> bytes:
    """A new file under a temporary name, and then in place: who has the old one mapped keeps that."""
    key = secrets.token_bytes(32)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            # All room is taken now: to find the disk full when a page is first written would kill the process.
            os.posix_fallocate(file.fileno(), 0, _size(memory))
            file.write(_head(memory, keyring) + _sealed(key, keyring))
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return key
