"""A PIN list as one compact, immutable block of bytes, and a lookup in it.

The block holds no Python object an entry: it is packed arrays over one buffer of text, so that ten million
entries fit in memory and a new list is in force by one assignment. Layout, little-endian, without gaps::

    header    28 bytes: magic, version, widths, counts, size of the text
    keys      count x 4 or 8 bytes, ascending: the PIN as the number that is written `1` + PIN
    starts    (count + 1) x 4 bytes: where each person begins in the text
    place of  count x 2 or 4 bytes: which place each person belongs to
    places    (places + 1) x 4 bytes: where each place begins in the text
    active    count bits: whether the entry answers
    text      UTF-8: all persons, then all places; fields parted by U+001F

The `1` before the PIN keeps leading zeros apart: `0012` is 10012 and `12` is 112. Company, city and state/country
repeat from line to line, so each different combination, a *place*, stands once (dictionary encoding).
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Final, Literal, TypeAlias

from loader.errors import BlockError, InvalidValue
from loader.model import Entry, Participant, Pin, Revision

Buffer: TypeAlias = bytes | bytearray | memoryview

_HEADER: Final = struct.Struct("<4sHBBIIIQ")
_MAGIC: Final = b"RCPL"
_VERSION: Final = 1
_SPAN: Final = struct.Struct("<II")
_NUMBER: Final = {2: struct.Struct("<H"), 4: struct.Struct("<I")}
_SEPARATOR: Final = "\x1f"
_PERSON_FIELDS: Final = 5
_PLACE_FIELDS: Final = 3
_MAX_TEXT: Final = 2**32 - 1
_FORMAT: Final[dict[int, Literal["H", "I", "Q"]]] = {2: "H", 4: "I", 8: "Q"}

if sys.byteorder != "little":  # pragma: no cover
    raise ImportError("compiled lists are read in place, which needs a little-endian machine")


def pin_key(keyed: str) -> int | None:
    """The number that a PIN is sorted and found by; None for what can be in no list."""
    if 2 <= len(keyed) <= 10 and keyed.isdigit() and keyed.isascii():
        return int("1" + keyed)
    return None


def compile_list(entries: Sequence[Entry]) -> bytes:
    """Pack entries into a block. Raises InvalidValue if a PIN stands twice or a field holds U+001F."""
    unordered = [int("1" + entry.pin) for entry in entries]
    ordered = [entries[at] for at in sorted(range(len(entries)), key=unordered.__getitem__)]
    keys = sorted(unordered)
    if any(left == right for left, right in pairwise(keys)):
        raise InvalidValue("a PIN stands twice in the list")
    places: dict[tuple[str, str, str], int] = {}
    place_of = [places.setdefault((entry.company, entry.city, entry.state_country), len(places)) for entry in ordered]
    persons = [
        f"{entry.first_name}\x1f{entry.last_name}\x1f{entry.phone}\x1f{entry.email}\x1f{entry.other}".encode()
        for entry in ordered
    ]
    place_texts = [_SEPARATOR.join(place).encode() for place in places]
    starts = list(accumulate(map(len, persons), initial=0))
    place_starts = list(accumulate(map(len, place_texts), initial=starts[-1]))
    text = b"".join(persons) + b"".join(place_texts)
    if text.count(b"\x1f") != len(persons) * (_PERSON_FIELDS - 1) + len(places) * (_PLACE_FIELDS - 1):
        raise InvalidValue("a field holds a control character")
    if len(text) > _MAX_TEXT:
        raise InvalidValue("the list has more than 4 GiB of text")
    key_width = 4 if not keys or keys[-1] < 2**32 else 8
    place_width = 2 if len(places) <= 2**16 else 4
    active = [entry.active for entry in ordered]
    header = _HEADER.pack(_MAGIC, _VERSION, key_width, place_width, len(ordered), sum(active), len(places), len(text))
    return b"".join(
        (
            header,
            _packed(keys, key_width),
            _packed(starts, 4),
            _packed(place_of, place_width),
            _packed(place_starts, 4),
            _packed_bits(active),
            text,
        )
    )


class Block:
    """One revision of one list, read in place from a buffer that must not change while it is used.

    Raises BlockError when the buffer is not a block, or turns out to be damaged when it is read.
    """

    __slots__ = (
        "_active_at",
        "_data",
        "_key_width",
        "_place_number",
        "_place_of_at",
        "_place_starts_at",
        "_places",
        "_starts_at",
        "_text_at",
        "_text_size",
        "active_count",
        "count",
        "revision",
    )

    def __init__(self, data: Buffer, revision: Revision) -> None:
        try:
            magic, version, key_width, place_width, count, active_count, places, text_size = _HEADER.unpack_from(data)
        except struct.error:
            raise BlockError("a compiled list is cut short") from None
        if magic != _MAGIC:
            raise BlockError("what should be a compiled list is something else")
        if version != _VERSION:
            raise BlockError(f"a compiled list has format {version}; this program reads format {_VERSION}")
        self._data = data
        self.revision = revision
        self.count: int = count
        self.active_count: int = active_count
        self._key_width: int = key_width
        self._places: int = places
        self._text_size: int = text_size
        self._starts_at = _HEADER.size + count * self._key_width
        self._place_of_at = self._starts_at + (count + 1) * 4
        self._place_starts_at = self._place_of_at + count * place_width
        self._active_at = self._place_starts_at + (places + 1) * 4
        self._text_at = self._active_at + (count + 7) // 8
        if key_width not in (4, 8) or place_width not in (2, 4) or len(data) != self._text_at + text_size:
            raise BlockError("a compiled list is cut short")
        self._place_number = _NUMBER[place_width]
        if active_count > count:
            raise _damaged()

    @property
    def size(self) -> int:
        """Bytes of the whole block."""
        return len(self._data)

    def find(self, key: int) -> int | None:
        """Where the entry with this key (see :func:`pin_key`) stands, active or not; None if nowhere."""
        keys = self._keys()
        at = bisect_left(keys, key)
        return at if at < self.count and keys[at] == key else None

    def is_active(self, at: int) -> bool:
        """Whether the entry at this place answers."""
        return bool(self._data[self._active_at + (at >> 3)] >> (at & 7) & 1)

    def participant(self, at: int) -> Participant:
        """Who the entry at this place names."""
        first_name, last_name, phone, email, other, company, city, state_country = self._texts(at)
        return Participant(first_name, last_name, company, phone, email, city, state_country, other)

    def pin(self, at: int) -> Pin:
        """The PIN of the entry at this place."""
        return _pin_of(self._keys()[at])

    def entry(self, at: int) -> Entry:
        """The whole entry at this place, decoded."""
        first_name, last_name, phone, email, other, company, city, state_country = self._texts(at)
        return Entry(
            self.pin(at), first_name, last_name, company, phone, email, city, state_country, other, self.is_active(at)
        )

    def entries(self) -> Iterator[Entry]:
        """All entries, decoded one by one: shorter PINs first, then by their digits."""
        # As `entry` does it, with what is the same for many kept.
        keys = self._keys()
        place = lru_cache(maxsize=4096)(self._place)
        number = self._place_number.unpack_from
        for at in range(self.count):
            first_name, last_name, phone, email, other = self._person(at)
            company, city, state_country = place(*number(self._data, self._place_of_at + at * self._place_number.size))
            yield Entry(
                _pin_of(keys[at]),
                first_name,
                last_name,
                company,
                phone,
                email,
                city,
                state_country,
                other,
                self.is_active(at),
            )

    def _keys(self) -> memoryview:
        return memoryview(self._data)[_HEADER.size : self._starts_at].cast(_FORMAT[self._key_width])

    def _person(self, at: int) -> list[str]:
        return self._fields(self._starts_at + at * 4, _PERSON_FIELDS)

    def _texts(self, at: int) -> list[str]:
        """The person's and the place's fields, both decoded in one go."""
        data, text_at, size = self._data, self._text_at, self._text_size
        start, end = _SPAN.unpack_from(data, self._starts_at + at * 4)
        (number,) = self._place_number.unpack_from(data, self._place_of_at + at * self._place_number.size)
        if number >= self._places:
            raise _damaged()
        place_start, place_end = _SPAN.unpack_from(data, self._place_starts_at + number * 4)
        if end > size or place_end > size:
            raise _damaged()
        try:
            both = b"\x1f".join(
                (data[text_at + start : text_at + end], data[text_at + place_start : text_at + place_end])
            )
            fields = both.decode().split(_SEPARATOR)
        except UnicodeDecodeError:
            raise _damaged() from None
        if len(fields) != _PERSON_FIELDS + _PLACE_FIELDS:
            raise _damaged()
        return fields

    def _place(self, number: int) -> list[str]:
        if number >= self._places:
            raise _damaged()
        return self._fields(self._place_starts_at + number * 4, _PLACE_FIELDS)

    def _fields(self, span_at: int, expected: int) -> list[str]:
        start, end = _SPAN.unpack_from(self._data, span_at)
        if end > self._text_size:
            raise _damaged()
        text_at = self._text_at
        try:
            fields = str(self._data[text_at + start : text_at + end], "utf-8").split(_SEPARATOR)
        except UnicodeDecodeError:
            raise _damaged() from None
        if len(fields) != expected:
            # Or it starts behind its end.
            raise _damaged()
        return fields


def _damaged() -> BlockError:
    return BlockError("a compiled list is damaged")


def _pin_of(key: int) -> Pin:
    """The PIN whose key this is. Raises BlockError if it is none's."""
    digits = str(key)
    if digits[0] != "1" or not 3 <= len(digits) <= 11:
        raise _damaged()
    return Pin(digits[1:])


def _packed(numbers: Sequence[int], width: int) -> bytes:
    return array(_FORMAT[width], numbers).tobytes()


def _packed_bits(flags: Sequence[bool]) -> bytes:
    if all(flags):
        size, rest = divmod(len(flags), 8)
        return b"\xff" * size + (bytes([(1 << rest) - 1]) if rest else b"")
    packed = bytearray((len(flags) + 7) // 8)
    for at, flag in enumerate(flags):
        if flag:
            packed[at >> 3] |= 1 << (at & 7)
    return bytes(packed)


EMPTY: Final = Block(compile_list(()), Revision(0))
"""The list of an owner who has none."""
