"""Rolls as pages show them: who is in, who has left, and who was expected and has not come."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine, Hashable, Iterable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec

from admin.lists import Lists
from loader.compiled import Block
from loader.errors import KeyFileError, NotFound
from loader.keyring import Keyring
from loader.model import Level, ListRevision, Owner, Participant
from loader.rollfile import duration_of
from loader.store import Desk, Store
from loader.store.rolls import Call, Occurrence, RollBook

TOLD_UP_TO: Final = 20_000
"""People of a list up to which it is told who has not come."""
CALLS_A_PAGE: Final = 200
PEOPLE_A_PAGE: Final = 50
_FRESH: Final = 5.0
"""Seconds after which it is looked up anew which list is meant."""

T = TypeVar("T")
Key = TypeVar("Key", bound=Hashable)


class Line(msgspec.Struct, frozen=True):
    """A call on a roll. `is_twice`: another call that is in was let in by the same PIN. `seconds`: its duration."""

    call: Call
    is_twice: bool
    seconds: float | None


class Expected(msgspec.Struct, frozen=True):
    """Whose list says who is expected, what he is called, and how many people it has.

    `missing` are those who have not come, by name; None if the list has too many people to tell.
    """

    owner: Owner
    name: str
    count: int
    missing: tuple[Participant, ...] | None


class Roll(msgspec.Struct, frozen=True):
    """What there is to tell of an occurrence. Who is in comes latest first, who has left too; `calls` are all in order.

    `asks` is whether callers are asked who they are. `people` are different people as far as they are known, and each
    call without a PIN. `seconds` is how long all calls lasted together.
    """

    occurrence: Occurrence
    organizer: str
    asks: bool
    calls: tuple[Line, ...]
    present: tuple[Line, ...]
    gone: tuple[Line, ...]
    expected: Expected | None
    people: int
    seconds: float


class View(msgspec.Struct, frozen=True):
    """How somebody looks at a roll: whom he searches for, and which page of each part. With `whole` there is one page."""

    query: str = ""
    page: int = 1
    gone: int = 1
    missing: int = 1
    whole: bool = False


class Part(msgspec.Struct, frozen=True):
    """Some rows of a part of a roll: `found` of `total`, on page `number` of `pages`."""

    rows: Sequence[Any]
    found: int
    total: int
    number: int
    pages: int


class Listed:
    """The active people of a list, found by who has called."""

    def __init__(self, block: Block, owner: Owner) -> None:
        active = [at for at in range(block.count) if block.is_active(at)]
        self.owner = owner
        self.people = [block.participant(at) for at in active]
        self._pins = [block.pin(at) for at in active]
        self._by_person: dict[str, dict[bytes, int]] = {}
        self._by_name: dict[Participant, list[int]] = {}
        for place, who in enumerate(self.people):
            self._by_name.setdefault(who, []).append(place)

    def place(self, keyring: Keyring, call: Call) -> int | None:
        """Whose PIN it was, as far as the key is there that it is known by."""
        key_id = call.person_key_id
        if call.person is None or key_id is None:
            return None
        if key_id not in self._by_person:
            try:
                ring = keyring.holding(key_id)
            except KeyFileError:
                self._by_person[key_id] = {}
            else:
                self._by_person[key_id] = {
                    ring.fingerprint(self.owner, pin, key_id=key_id): place for place, pin in enumerate(self._pins)
                }
        return self._by_person[key_id].get(call.person)

    def places(self, keyring: Keyring, call: Call) -> Sequence[int]:
        """Who of the list this can be: by PIN, or by all that is known of him if the key is no longer there."""
        place = self.place(keyring, call)
        if place is not None:
            return (place,)
        if call.person_key_id is None or self._by_person.get(call.person_key_id) or call.participant is None:
            return ()
        return self._by_name.get(call.participant, ())


class Rolls:
    """Rolls, each made once for all who look at it. Methods raise DatabaseUnavailable, KeyFileError, BlockError."""

    def __init__(self, book: RollBook, store: Store, desk: Desk, lists: Lists, keyring: Keyring) -> None:
        self._book = book
        self._store = store
        self._desk = desk
        self._lists = lists
        self._keyring = keyring
        self._bases: _Once[tuple[int, int], Basis] = _Once(256, fresh=_FRESH)
        self._rolls: _Once[tuple[int, int, Basis], Roll] = _Once(64)
        self._listed: _Once[tuple[Owner, int], Listed] = _Once(16)

    async def at(self, occurrence_id: int, version: int) -> Roll:
        """The roll as of this version or a later one. Raises NotFound if it is no longer there."""
        basis = await self._bases.get((occurrence_id, version), lambda: self._basis(occurrence_id))
        key = occurrence_id, version, basis
        # Those of thousands of calls are large, and change several times a second.
        self._rolls.drop(lambda known: known[0] == occurrence_id and known != key)
        return await self._rolls.get(key, lambda: self._made(occurrence_id, basis))

    @property
    def kept(self) -> int:
        """How many rolls are kept."""
        return len(self._rolls)

    async def _occurrence(self, occurrence_id: int) -> Occurrence:
        occurrence = await self._book.occurrence(occurrence_id)
        if occurrence is None:
            raise NotFound("there is no such roll")
        return occurrence

    async def _basis(self, occurrence_id: int) -> Basis:
        occurrence = await self._occurrence(occurrence_id)
        organizer = await self._desk.row("organizer", occurrence.organizer_id)
        asks = None
        if occurrence.ended_at is None:
            conference = await self._desk.row("conference", occurrence.conference_id)
            asks = None if conference is None else bool(conference["pin_entry"])
        listed, name = None, ""
        if asks is not False and organizer is not None and organizer["company_id"] == occurrence.company_id:
            listed = await self._list_of(occurrence, organizer)
            if listed is not None:
                name = await self._desk.name_of(listed.owner)
        called = occurrence.organizer_id if organizer is None else organizer["name"]
        return Basis(occurrence, called, asks, listed, name)

    async def _list_of(self, occurrence: Occurrence, organizer: Mapping[str, Any]) -> ListRevision | None:
        """The list that the conference asks first, as it was when the occurrence ended."""
        for owner in (
            Owner(Level.ORGANIZER, occurrence.organizer_id),
            Owner(Level.AUTHORIZATION_CODE, organizer["authorization_code"]),
            Owner(Level.COMPANY, occurrence.company_id),
        ):
            if occurrence.ended_at is None:
                listed = await self._store.list_head(owner)
            else:
                kept = await self._store.revisions(owner)
                listed = next((one for one in kept if one.created_at <= occurrence.ended_at), None)
                if listed is None and kept and kept[-1].revision > 1:
                    # It may have had people then, but that is no longer kept.
                    return None
            if listed is not None and listed.active:
                return listed
        return None

    async def _made(self, occurrence_id: int, basis: Basis) -> Roll:
        calls = await self._book.calls(self._keyring, occurrence_id)
        listed, listed_at = None, basis.listed
        if listed_at is not None and listed_at.active <= TOLD_UP_TO:
            owner, revision = listed_at.owner, listed_at.revision
            try:
                listed = await self._listed.get((owner, revision), lambda: self._opened(owner, revision))
            except NotFound:
                # It was kept until now.
                basis = msgspec.structs.replace(basis, listed=None)
        # Thousands of people take a moment, in which others are not to wait.
        return await asyncio.to_thread(make_roll, calls, self._keyring, basis, listed)

    async def _opened(self, owner: Owner, revision: int) -> Listed:
        block = await self._lists.opened(owner, revision)
        if block is None:
            raise NotFound("that revision is not kept")
        return await asyncio.to_thread(Listed, block, owner)


class Basis(msgspec.Struct, frozen=True):
    """What a roll stands on, beside its calls. `asks` is None if it is to be told from the calls."""

    occurrence: Occurrence
    organizer: str
    asks: bool | None
    listed: ListRevision | None
    list_name: str


class _Once(Generic[Key, T]):
    """What was made last by key, so many of it, for so many seconds. Who asks meanwhile waits for the same."""

    def __init__(self, kept: int, *, fresh: float = float("inf")) -> None:
        self._kept = kept
        self._fresh = fresh
        self._made: OrderedDict[Key, tuple[float, asyncio.Task[T]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._made)

    def drop(self, is_old: Callable[[Key], bool]) -> None:
        """Keep these no longer. Who waits for one gets it."""
        for key in [key for key in self._made if is_old(key)]:
            del self._made[key]

    async def get(self, key: Key, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        begun, task = self._made.get(key, (0.0, None))
        if task is None or time.monotonic() - begun > self._fresh:
            task = asyncio.create_task(make())
            self._made[key] = time.monotonic(), task
            while len(self._made) > self._kept:
                self._made.popitem(last=False)
        self._made.move_to_end(key)
        try:
            return await asyncio.shield(task)
        except Exception:
            if self._made.get(key, (0.0, None))[1] is task:
                del self._made[key]
            raise


def make_roll(calls: Sequence[Call], keyring: Keyring, basis: Basis, listed: Listed | None) -> Roll:
    """Compare who has called with the list. `listed` is None if there is no list, or it has too many people."""
    persons: list[Hashable] = []
    arrived: set[int] = set()
    for call in calls:
        place = None if listed is None else listed.place(keyring, call)
        known: Hashable = None if call.person is None else (call.person_key_id, call.person)
        persons.append(known if place is None else place)
        if listed is not None:
            arrived.update(listed.places(keyring, call))
    is_in = Counter(person for call, person in zip(calls, persons, strict=True) if call.ended is None)
    lines = tuple(
        Line(call, person is not None and call.ended is None and is_in[person] > 1, duration_of(call))
        for call, person in zip(calls, persons, strict=True)
    )
    asks = any(call.person is not None for call in calls) if basis.asks is None else basis.asks
    expected = None
    if asks and basis.listed is not None:
        missing = None
        if listed is not None:
            missing = tuple(sorted((who for at, who in enumerate(listed.people) if at not in arrived), key=_by_name))
        expected = Expected(basis.listed.owner, basis.list_name, basis.listed.active, missing)
    return Roll(
        basis.occurrence,
        basis.organizer,
        asks,
        lines,
        tuple(line for line in reversed(lines) if line.call.ended is None),
        tuple(sorted((line for line in lines if line.call.ended is not None), key=_by_end, reverse=True)),
        expected,
        len({person for person in persons if person is not None}) + persons.count(None),
        sum(line.seconds or 0.0 for line in lines),
    )


def look(roll: Roll, view: View) -> dict[str, Part]:
    """The parts of a roll as a view shows them: calls, present, gone, missing."""
    missing = () if roll.expected is None or roll.expected.missing is None else roll.expected.missing
    query = view.query.casefold()
    found = {
        "calls": [line for line in roll.calls if _matches(query, line.call.participant, line.call.caller)],
        "present": [line for line in roll.present if _matches(query, line.call.participant, line.call.caller)],
        "gone": [line for line in roll.gone if _matches(query, line.call.participant, line.call.caller)],
    }
    return {
        "calls": _part(found["calls"], len(roll.calls), view.page, CALLS_A_PAGE, whole=view.whole),
        "present": _part(found["present"], len(roll.present), view.page, CALLS_A_PAGE, whole=view.whole),
        "gone": _part(found["gone"], len(roll.gone), view.gone, CALLS_A_PAGE, whole=view.whole),
        "missing": _part(
            [who for who in missing if _matches(query, who)],
            len(missing),
            view.missing,
            PEOPLE_A_PAGE,
            whole=view.whole,
        ),
    }


def _part(found: Sequence[Any], total: int, asked: int, size: int, *, whole: bool) -> Part:
    if whole:
        return Part(found, len(found), total, 1, 1)
    pages = max(1, -(-len(found) // size))
    number = min(max(asked, 1), pages)
    return Part(found[(number - 1) * size : number * size], len(found), total, number, pages)


def _matches(query: str, who: Participant | None, caller: str | None = None) -> bool:
    """Whether what the page shows of somebody holds what is searched for."""
    return not query or query in "\n".join(_shown(who, caller)).casefold()


def _shown(who: Participant | None, caller: str | None) -> Iterable[str]:
    if who is not None:
        yield f"{who.first_name} {who.last_name}"
        yield from (who.company, who.phone, who.city, who.state_country)
    yield caller or ""


def _by_name(who: Participant) -> tuple[str, str]:
    return who.last_name.casefold(), who.first_name.casefold()


def _by_end(line: Line) -> float:
    """When it ended; for one that fell silent, when it began."""
    call = line.call
    return call.admitted_at if call.left_at is None else call.left_at
