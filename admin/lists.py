"""Lists as pages show them: opened once for each revision, searched, sorted, and cut into pages."""

from __future__ import annotations

import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from loader.compiled import EMPTY, Block
from loader.keyring import Keyring
from loader.listfile import Code, Problem, ShortPins, columns, short_pins, wide_enough
from loader.listfile.rules import examine
from loader.model import MIN_PIN_LENGTH, Entry, ListRevision, Owner, Pin
from loader.publish import read_list
from loader.store import Store

PAGE: Final = 50
"""Rows of a page."""
COLUMNS: Final = (
    "pin",
    "first_name",
    "last_name",
    "company",
    "phone",
    "email",
    "city",
    "state_country",
    "other",
)
"""The fields of an entry, as the columns of a list file."""
_KEPT: Final = 64
_KEPT_ENTRIES: Final = 16


class View(msgspec.Struct, frozen=True):
    """How somebody looks at a list. An empty `query` shows all; `column` empty searches all columns."""

    query: str = ""
    column: str = ""
    sort: str = "pin"
    descending: bool = False
    page: int = 1


class Row(msgspec.Struct, frozen=True):
    """One entry, and its place in the block that it was read from."""

    at: int
    entry: Entry


class Guessable(msgspec.Struct, frozen=True):
    """What is told of a list's short PINs: those that are active, by width; how many PINs of it, active or not, have
    fewer than the `minimum` digits that the company asks for.
    """

    widths: Sequence[ShortPins]
    minimum: int = MIN_PIN_LENGTH
    too_short: int = 0


class Page(msgspec.Struct, frozen=True):
    """Some rows of what a search gave; `found` of `total` entries."""

    rows: Sequence[Row]
    found: int
    total: int
    number: int
    pages: int


class Lists:
    """Opened lists. The newest uses are kept: opening one again costs nothing."""

    def __init__(self, store: Store, keyring: Keyring) -> None:
        self._store = store
        self._keyring = keyring
        self._blocks: OrderedDict[tuple[Owner, int], Block] = OrderedDict()
        self._entries: OrderedDict[tuple[Owner, int], list[Entry]] = OrderedDict()

    async def head(self, owner: Owner) -> ListRevision | None:
        """The revision in force, without its entries; None if there is no list."""
        return await self._store.list_head(owner)

    async def opened(self, owner: Owner, revision: int | None = None) -> Block | None:
        """A kept revision, or the one in force; None if there is none.

        Raises BlockError if it was tampered with, KeyFileError, DatabaseUnavailable.
        """
        if revision is None:
            head = await self.head(owner)
            if head is None:
                return None
            revision = head.revision
        elif await self._store.list_head(owner, revision) is None:
            # What is no longer kept is not shown either, though it may still be here.
            self._blocks.pop((owner, revision), None)
            self._entries.pop((owner, revision), None)
            return None
        known = self._blocks.get((owner, revision))
        if known is None:
            known = await read_list(self._store, self._keyring, owner, revision)
            if known is None:
                return None
            self._blocks[owner, revision] = known
            while len(self._blocks) > _KEPT:
                self._blocks.popitem(last=False)
        else:
            self._blocks.move_to_end((owner, revision))
        return known

    async def page(self, owner: Owner, view: View) -> tuple[Block, Page]:
        """What a view of the list in force shows; an empty list if there is none."""
        block = await self.opened(owner) or EMPTY
        at = self._places(owner, block, view)
        pages = max(1, -(-len(at) // PAGE))
        number = min(max(view.page, 1), pages)
        shown = at[(number - 1) * PAGE : number * PAGE]
        rows = [Row(place, block.entry(place)) for place in shown]
        return block, Page(rows, len(at), block.count, number, pages)

    def _places(self, owner: Owner, block: Block, view: View) -> Sequence[int]:
        if not view.query and view.sort == "pin":
            # As they stand in the block: nothing has to be decoded.
            return range(block.count - 1, -1, -1) if view.descending else range(block.count)
        entries = self._decoded(owner, block)
        places = [at for at, entry in enumerate(entries) if not view.query or _matches(entry, view)]
        if view.sort == "active":
            places.sort(key=lambda at: entries[at].active, reverse=not view.descending)
        elif view.sort != "pin":
            by: Callable[[int], str] = lambda at: str(getattr(entries[at], view.sort)).casefold()  # noqa: E731
            places.sort(key=by, reverse=view.descending)
        elif view.descending:
            places.reverse()
        return places

    def _decoded(self, owner: Owner, block: Block) -> list[Entry]:
        key = owner, int(block.revision)
        known = self._entries.get(key)
        if known is None:
            known = self._entries[key] = list(block.entries())
            while len(self._entries) > _KEPT_ENTRIES:
                self._entries.popitem(last=False)
        self._entries.move_to_end(key)
        return known


def _matches(entry: Entry, view: View) -> bool:
    query = view.query.casefold()
    if view.column == "pin":
        return query in entry.pin
    if view.column:
        return query in str(getattr(entry, view.column)).casefold()
    return any(query in str(getattr(entry, column)).casefold() for column in COLUMNS)


def guessable(block: Block, minimum: int) -> Guessable:
    """What is told of the short PINs of a list."""
    pins = [block.pin(at) for at in range(block.count)]
    active = (pin for at, pin in enumerate(pins) if block.is_active(at))
    return Guessable(short_pins(active), minimum, sum(len(pin) < minimum for pin in pins))


def read_entry(
    fields: dict[str, str], *, active: bool = True, minimum_digits: int = MIN_PIN_LENGTH
) -> tuple[Entry | None, list[Problem]]:
    """What was typed becomes an entry, or all that is wrong with it, in the order of the columns."""
    examined = examine(1, [fields.get(column, "") for column in COLUMNS])
    if examined.entry is None:
        return None, examined.problems
    pin = examined.entry.pin
    if len(pin) < MIN_PIN_LENGTH:
        return None, [Problem(Code.PIN_INVALID, 1, columns.PIN, {"why": "short", "found": pin})]
    if len(pin) < minimum_digits:
        return None, [Problem(Code.PIN_TOO_SHORT, 1, columns.PIN, {"found": pin, "min": minimum_digits})]
    return msgspec.structs.replace(examined.entry, active=active), []


def suggest_pin(taken: Sequence[str], *, minimum_digits: int, guessable_share: float) -> Pin | None:
    """A PIN that keeps others out and is easy to tell apart: at random, not beginning with 0, no digit twice in a row,
    no three running up or down, and at least two digits away from each other PIN where there is room.

    It has as many digits as most PINs of the list, and more where those are too few: for the company, or for so many
    people. None if there is no room left.
    """
    usual = Counter(map(len, taken)).most_common(1)[0][0] if taken else MIN_PIN_LENGTH
    width = max(usual, minimum_digits, wide_enough(len(taken) + 1, guessable_share))
    known = set(taken)
    best = None
    for _ in range(400):
        pin = str(secrets.choice(range(10 ** (width - 1), 10**width)))
        if pin in known or not _is_easy_to_key(pin):
            continue
        if not _has_neighbour(pin, known):
            return Pin(pin)
        best = best or Pin(pin)
    return best


def _is_easy_to_key(pin: str) -> bool:
    digits = [int(digit) for digit in pin]
    if any(left == right for left, right in pairwise(digits)):
        return False
    steps = [right - left for left, right in pairwise(digits)]
    return not any(one == other and abs(one) == 1 for one, other in pairwise(steps))


def _has_neighbour(pin: str, known: set[str]) -> bool:
    """Whether a slip of one digit leads to another PIN."""
    return any(
        pin[:at] + digit + pin[at + 1 :] in known
        for at in range(len(pin))
        for digit in "0123456789"
        if digit != pin[at]
    )
