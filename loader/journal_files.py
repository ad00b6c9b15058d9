"""The files of a journal: how they are named, what stands in them, and how they are read.

A journal is a folder of segments, `00000001.journal` and so on. Each start of the daemon begins a new one, so that
nothing is ever written behind what a crash cut off. A segment is a row of records, one for each group of events that
was written together::

    4 bytes   length of what is sealed, little-endian
    12 bytes  the ID of the key
    ...       AES-256-GCM over the events as a msgpack array, bound to journal, segment and place

The journal is a queue on the way to the database, not an archive: a segment is deleted once its events are there.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import structlog

from loader.errors import BlockError, KeyFileError
from loader.files import write_atomically
from loader.keyring import Keyring
from loader.roll import Event
from loader.store.rolls import Progress

log = structlog.get_logger(__name__)

_HEAD: Final = struct.Struct("<I12s")

_NUMBER: Final = re.compile(r"[0-9]{8,}", re.ASCII)
_IDENTITY: Final = re.compile(rb"[!-~]+")
_KEY_ID: Final = re.compile("[0-9a-f]{12}")

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[Event]).decode


def segment_file(folder: Path, number: int) -> Path:
    """The file of a segment."""
    return folder / f"{number:08}.journal"


def segments(folder: Path) -> list[int]:
    """The numbers of the segments that are there, in order."""
    return sorted(int(file.stem) for file in folder.glob("*.journal") if _NUMBER.fullmatch(file.stem))


def bytes_used(folder: Path) -> int:
    """Bytes of all segments. One may be deleted meanwhile."""
    used = 0
    for number in segments(folder):
        with suppress(FileNotFoundError):
            used += segment_file(folder, number).stat().st_size
    return used


def identity(folder: Path, *, new: bool = False) -> str:
    """What the database knows the journal by: another whenever its segments are counted from 1. Raises OSError."""
    file = folder / "id"
    if new or not file.exists():
        keep_identity(folder, secrets.token_hex(16))
    known = file.read_bytes().strip()
    if _IDENTITY.fullmatch(known) is None:
        # Another one would not open what was sealed under this one.
        raise OSError(errno.EBADMSG, f"{file} is damaged; put it back, or move the folder away")
    return known.decode("ascii")


def keep_identity(folder: Path, journal_id: str) -> None:
    """Put there what the database knows the journal by. Raises OSError."""
    write_atomically(folder / "id", journal_id.encode("ascii"), mode=0o600)


def record(events: Sequence[Event], keyring: Keyring, journal_id: str, place: Progress) -> bytes:
    """Events as they stand at this place of a journal."""
    key_id = keyring.current
    sealed = keyring.seal_secret(_purpose(journal_id, place), _encode(events), key_id=key_id)
    return _HEAD.pack(len(sealed), key_id.encode("ascii")) + sealed


def keys_waiting(folder: Path, taken: Mapping[str, tuple[int, int]]) -> set[str]:
    """The IDs of the keys that events of these journals are sealed under which the database has not taken yet.

    `folder` holds the journals of a machine's daemons; `taken` tells how far each is taken (segment, offset), by its
    identity.
    """
    found: set[str] = set()
    for journal in sorted(one for one in folder.glob("*") if (one / "id").exists()):
        segment, offset = taken.get(identity(journal), (0, 0))
        for number in segments(journal):
            if number < segment:
                continue
            # The keeper may just have taken and deleted it.
            with suppress(FileNotFoundError), segment_file(journal, number).open("rb") as file:
                file.seek(offset if number == segment else 0)
                while len(head := file.read(_HEAD.size)) == _HEAD.size:
                    length, key = _HEAD.unpack(head)
                    key_id = key.decode("ascii", "replace")
                    if _KEY_ID.fullmatch(key_id) is None:
                        break
                    found.add(key_id)
                    file.seek(length, 1)
    return found


class JournalReader:
    """Reads a journal while it may be written."""

    def __init__(self, folder: Path, keyring: Callable[[], Keyring]) -> None:
        self._folder = folder
        self._keyring = keyring
        self.id = identity(folder)

    def read(self, since: Progress, most: int) -> tuple[list[Event], Progress]:
        """Events after this place, about so many, and the place after them. Raises KeyFileError, OSError."""
        events: list[Event] = []
        place = since
        numbers = [number for number in segments(self._folder) if number >= since.segment]
        for number in numbers:
            if number > place.segment:
                place = Progress(number, 0)
            with segment_file(self._folder, number).open("rb") as file:
                file.seek(place.offset)
                while len(events) < most and (some := self._next(file, place)) is not None:
                    events += some
                    place = Progress(number, file.tell())
                if len(events) >= most:
                    break
                if number != numbers[-1] and file.seek(0, 2) != place.offset:
                    # Nobody was told that this is kept.
                    log.warning("journal_cut_off", segment=number, offset=place.offset)
        return events, place

    def left_behind(self, most: int) -> list[Event]:
        """The newest events that are still there, about so many; what cannot be read is passed over."""
        newest: list[list[Event]] = []
        for number in reversed(segments(self._folder)):
            events: list[Event] = []
            place = Progress(number, 0)
            # The keeper tells why something cannot be read; and it may have deleted what it has taken.
            with suppress(OSError, KeyFileError), segment_file(self._folder, number).open("rb") as file:
                while (some := self._next(file, place)) is not None:
                    events += some
                    place = Progress(number, file.tell())
            newest.append(events)
            most -= len(events)
            if most <= 0:
                break
        return [event for events in reversed(newest) for event in events]

    def forget(self, before: Progress) -> None:
        """Delete the segments whose events are all taken."""
        for number in segments(self._folder):
            if number < before.segment:
                with suppress(OSError):
                    segment_file(self._folder, number).unlink()

    def _next(self, file: BinaryIO, place: Progress) -> list[Event] | None:
        """The events of the next record; None if it is not there, or not all of it."""
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return None
        length, key = _HEAD.unpack(head)
        if length > os.fstat(file.fileno()).st_size - file.tell():
            return None  # before there is made room for it
        sealed = file.read(length)
        key_id = key.decode("ascii", "replace")
        if _KEY_ID.fullmatch(key_id) is None:
            return None  # as where a crash has left zeros
        try:
            ring = self._keyring().holding(key_id)
            return _decode(ring.open_secret(_purpose(self.id, place), sealed, key_id=key_id))
        except (BlockError, ValueError):
            return None


def _purpose(journal_id: str, place: Progress) -> str:
    return f"journal|{journal_id}|{place.segment}|{place.offset}"
