"""Rolls: events become occurrences and their calls, each event once, in whatever order they come."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loader.errors import StaleRevision
from loader.keyring import Keyring
from loader.model import Participant
from loader.roll import Admitted, Event, Joined, Left, Refused
from loader.rotate import rotate_key
from loader.store import Store, open_store, rolls
from loader.store.rolls import BEGINNING, Call, Ended, Occurrence, Progress, RollBook
from loader.store.taking import RollTaker

QUIET = 60.0
MIKE = Participant("Mike", "Doe", "XYZ", "+1 555 0100", "mike@example.com", "Uxbridge", "UK", "")
T = 1_700_000_000.0


def admitted(
    at: float, call_id: str | None = "1", *, pin: str = "004127", source: str = "pbx-1", id_: str = ""
) -> Admitted:
    owner, who = ("organizer:alicia", MIKE) if pin else ("", None)
    id_ = id_ or f"v{at}-{call_id}-{source}"
    return Admitted(T + at, id_, "http", source, call_id, "+15550100", "C-1001", owner, pin, who)


def joined(at: float, call_id: str = "1", source: str = "pbx-1") -> Joined:
    return Joined(T + at, source, call_id)


def left(at: float, call_id: str = "1", source: str = "pbx-1") -> Left:
    return Left(T + at, source, call_id)


class Book:
    """The book, and what is in it: told event after event."""

    def __init__(self, store: Store, keyring: Keyring) -> None:
        self.book = RollBook(store)
        self.taker = RollTaker(store, quiet=QUIET)
        self._keyring = keyring
        self._store = store
        self._at = BEGINNING

    async def tell(self, *events: Event) -> None:
        following = Progress(1, self._at.offset + 1)
        await self.taker.apply(self._keyring, events, "journal", self._at, following)
        self._at = following

    async def occurrences(self) -> list[Occurrence]:
        found, number = [], 1
        while (occurrence := await self.book.occurrence(number)) is not None:
            found.append(occurrence)
            number += 1
        return found

    async def calls(self, occurrence: int = 1) -> list[Call]:
        return await self.book.calls(self._keyring, occurrence)

    async def times(self, occurrence: int = 1) -> list[tuple[float | None, ...]]:
        """When each call was admitted, joined and left, in seconds since the start."""
        return [
            tuple(None if at is None else at - T for at in (call.admitted_at, call.joined_at, call.left_at))
            for call in await self.calls(occurrence)
        ]


@pytest.fixture
def book(store: Store, keyring: Keyring) -> Book:
    return Book(store, keyring)


@asynccontextmanager
async def empty(made: Path, keyring: Keyring) -> AsyncIterator[Book]:
    """A book in a database of its own."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(made, Path(folder) / "rollcall.db")
        async with open_store(f"sqlite:///{folder}/rollcall.db") as store:
            yield Book(store, keyring)


async def test_who_is_admitted_is_on_the_roll(book: Book) -> None:
    await book.tell(admitted(0))
    (occurrence,) = await book.occurrences()
    assert occurrence == Occurrence(
        1, "C-1001", "globaltest", "alicia", "Weekly call", T, T, None, present=1, admitted=1, rejected=0, version=2
    )
    (call,) = await book.calls()
    assert (call.participant, call.caller, call.door, call.ended) == (MIKE, "+15550100", "http", None)


async def test_who_was_asked_for_no_pin_is_on_it_without_a_name(book: Book) -> None:
    await book.tell(admitted(0, pin=""))
    (call,) = await book.calls()
    assert (call.participant, call.person) == (None, None)


@pytest.mark.parametrize("together", [True, False])
async def test_joined_and_left_have_their_times(book: Book, together: bool) -> None:
    events: Sequence[Event] = (admitted(0), joined(2), left(30))
    if together:
        await book.tell(*events)
    else:
        for event in events:
            await book.tell(event)
    assert await book.times() == [(0, 2, 30)]
    assert [call.ended for call in await book.calls()] == [Ended.LEFT]
    assert [occurrence.present for occurrence in await book.occurrences()] == [0]


@pytest.mark.parametrize("together", [True, False])
async def test_what_is_told_twice_counts_once(book: Book, together: bool) -> None:
    events: Sequence[Event] = (admitted(0), admitted(0), joined(2), joined(3), left(30), left(31))
    for some in [events] if together else [[event] for event in events]:
        await book.tell(*some)
    assert await book.times() == [(0, 2, 30)]
    (occurrence,) = await book.occurrences()
    assert (occurrence.present, occurrence.admitted) == (0, 1)


async def test_a_switch_that_asks_twice_for_the_same_call_has_one_caller(book: Book) -> None:
    """As when it did not hear the first answer."""
    await book.tell(admitted(0, id_="a"), joined(1))
    await book.tell(admitted(1, id_="b"))
    assert await book.times() == [(0, 1, None)]


async def test_left_may_be_told_before_joined(book: Book) -> None:
    await book.tell(admitted(0), left(5), joined(6))
    assert await book.times() == [(0, 5, 5)]


async def test_nobody_joins_or_leaves_before_he_is_admitted(book: Book) -> None:
    """As after a clock was set back."""
    await book.tell(admitted(100), admitted(100, "2"))
    await book.tell(joined(40), left(50), left(60, "2"), joined(55, "2"))
    assert {(call.admitted_at, call.joined_at, call.left_at) for call in await book.calls()} == {(T + 100,) * 3}


async def test_a_call_that_nobody_admitted_changes_nothing(book: Book) -> None:
    await book.tell(joined(1), left(2))
    assert await book.occurrences() == []


async def test_the_same_id_of_another_switch_is_another_call(book: Book) -> None:
    await book.tell(admitted(0), admitted(1, source="pbx-2"), left(5, source="pbx-2"))
    assert await book.times() == [(0, None, None), (1, None, 5)]


async def test_calls_without_an_id_are_each_a_call(book: Book) -> None:
    await book.tell(admitted(0, None), admitted(1, None))
    assert len(await book.calls()) == 2


@pytest.mark.parametrize("together", [True, False])
async def test_who_comes_in_again_on_the_same_call_as_somebody_else_has_left_before(book: Book, together: bool) -> None:
    events: Sequence[Event] = (admitted(0), joined(1), admitted(50, pin="1234"), joined(51))
    for some in [events] if together else [[event] for event in events]:
        await book.tell(*some)
    assert await book.times() == [(0, 1, 50), (50, 51, None)]
    assert [call.ended for call in await book.calls()] == [Ended.MOVED, None]
    assert (await book.occurrences())[0].present == 1


async def test_who_left_and_is_admitted_again_on_the_same_call_is_in_twice(book: Book) -> None:
    await book.tell(admitted(0), left(5), admitted(9), joined(10))
    assert await book.times() == [(0, None, 5), (9, 10, None)]


async def test_an_occurrence_is_over_when_the_last_has_left_and_it_has_been_quiet(book: Book) -> None:
    await book.tell(admitted(0, "1"), admitted(1, "2"), left(10, "1"))
    assert await book.taker.sweep(T + 1000, 4 * 3600) == []
    await book.tell(left(1000, "2"))
    assert await book.taker.sweep(T + 1000 + QUIET - 1, 4 * 3600) == []
    assert await book.taker.sweep(T + 1000 + QUIET + 1, 4 * 3600) == [1]
    assert await book.taker.sweep(T + 9999, 4 * 3600) == []
    (occurrence,) = await book.occurrences()
    assert (occurrence.started_at, occurrence.ended_at) == (T, T + 1000)


async def test_who_comes_in_a_quiet_time_comes_into_the_same_occurrence(book: Book) -> None:
    await book.tell(admitted(0), left(10), admitted(10 + QUIET - 1, "2"))
    assert len(await book.occurrences()) == 1


async def test_who_comes_after_it_begins_the_next_one_swept_or_not(book: Book) -> None:
    await book.tell(admitted(0), left(10))
    await book.tell(admitted(10 + QUIET + 1, "2"))
    first, second = await book.occurrences()
    assert (first.ended_at, second.started_at, second.ended_at) == (T + 10, T + 10 + QUIET + 1, None)
    assert len(await book.calls(2)) == 1


async def test_a_call_that_falls_silent_is_ended_and_marked(book: Book) -> None:
    await book.tell(admitted(0, "1"), admitted(100, "2"))
    assert await book.taker.sweep(T + 3600 + 50, 3600) == []
    assert [call.ended for call in await book.calls()] == [Ended.SILENT, None]
    assert (await book.occurrences())[0].present == 1
    await book.tell(left(4000, "1"))
    assert [call.ended for call in await book.calls()] == [Ended.LEFT, None]
    assert (await book.occurrences())[0].present == 1


async def test_rejected_attempts_are_counted_while_it_is_on(book: Book) -> None:
    await book.tell(Refused(T - 1, "C-1001", "unknown_pin", 9))
    await book.tell(admitted(0), Refused(T + 1, "C-1001", "unknown_pin", 2), Refused(T + 1, "C-1001", "locked", 1))
    assert [occurrence.rejected for occurrence in await book.occurrences()] == [3]


async def test_a_conference_that_is_gone_has_no_roll(book: Book) -> None:
    gone = Admitted(T, "v", "http", "pbx-1", "1", None, "C-9999")
    await book.tell(gone, Refused(T, "C-9999", "unknown_pin", 1))
    assert await book.occurrences() == []


async def test_the_version_grows_with_every_change(book: Book) -> None:
    versions = [await book.book.version(1)]
    for event in admitted(0), joined(1), Refused(T + 2, "C-1001", "unknown_pin", 1), left(3):
        await book.tell(event)
        versions.append(await book.book.version(1))
    assert versions == sorted(set(versions))
    assert versions[0] == 0


async def test_events_are_taken_once_however_many_take_them(book: Book, store: Store, keyring: Keyring) -> None:
    await book.taker.apply(keyring, [admitted(0)], "j", BEGINNING, Progress(1, 100))
    for since in BEGINNING, Progress(1, 50):
        with pytest.raises(StaleRevision):
            await book.taker.apply(keyring, [admitted(1, "2")], "j", since, Progress(1, 100))
    assert await book.taker.progress("j") == Progress(1, 100)
    assert await book.taker.progress("other") == BEGINNING
    assert len(await book.calls()) == 1


async def test_a_batch_that_fails_is_not_taken_at_all(
    book: Book, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> bytes:
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(Keyring, "seal_secret", fail)
        with pytest.raises(ZeroDivisionError):
            await book.tell(admitted(0))
    assert await book.taker.progress("journal") == BEGINNING
    assert await book.occurrences() == []


async def test_a_call_is_known_by_its_id_and_its_switch(book: Book) -> None:
    await book.tell(admitted(0))
    assert await book.book.knows("pbx-1", "1")
    assert not await book.book.knows("pbx-2", "1")
    assert not await book.book.knows("pbx-1", "2")


async def test_more_calls_than_a_query_has_values(book: Book) -> None:
    await book.tell(*(admitted(number, str(number)) for number in range(1200)))
    await book.tell(*(left(2000 + number, str(number)) for number in range(1200)))
    (occurrence,) = await book.occurrences()
    assert (occurrence.admitted, occurrence.present) == (1200, 0)


EVENTS = st.lists(
    st.one_of(
        st.builds(
            lambda call_id, pin: ("admitted", call_id, pin), st.sampled_from("123"), st.sampled_from(["1111", "2222"])
        ),
        st.builds(lambda call_id: ("joined", call_id, ""), st.sampled_from("123")),
        st.builds(lambda call_id: ("left", call_id, ""), st.sampled_from("123")),
    ),
    max_size=12,
)


@pytest.mark.parametrize("size", [1, 3])
@given(told=EVENTS)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
async def test_batches_of_any_size_come_to_the_same(
    made: Path, keyring: Keyring, size: int, told: list[tuple[str, str, str]]
) -> None:
    events: list[Event] = []
    for at, (kind, call_id, pin) in enumerate(told):
        if kind == "admitted":
            events.append(admitted(at, call_id, pin=pin))
        else:
            events.append((joined if kind == "joined" else left)(at, call_id))
    rolls = []
    for batch in len(events) or 1, size:
        async with empty(made, keyring) as book:
            for at in range(0, len(events), batch):
                await book.tell(*events[at : at + batch])
            rolls.append(
                [
                    (occurrence.present, occurrence.admitted, occurrence.last_at, await book.times(occurrence.id))
                    for occurrence in await book.occurrences()
                ]
            )
    assert rolls[0] == rolls[1]
    assert all(present == sum(call[2] is None for call in calls) for present, _, _, calls in rolls[0])


async def test_a_keeper_from_before_a_rotation_seals_under_the_new_key(
    book: Book, store: Store, keyring: Keyring
) -> None:
    await book.tell(admitted(0))
    rotated = await rotate_key(store, keyring)
    await book.tell(admitted(1, "2"))
    assert len(await book.book.calls(rotated, 1)) == 2


async def test_a_rotation_of_the_key_puts_rolls_under_the_new_one(book: Book, store: Store, keyring: Keyring) -> None:
    await book.tell(*(admitted(number, str(number)) for number in range(501)))
    before = keyring.current
    rotated = await rotate_key(store, keyring)
    assert rotated.key_ids == {rotated.current}
    assert rotated.current != before
    calls = await book.book.calls(rotated, 1)
    assert {call.participant for call in calls} == {MIKE}


async def held(book: Book, *starts: float) -> None:
    """Occurrences that began at these times and are over."""
    for at in starts:
        await book.tell(admitted(at, str(at)), left(at + 1, str(at)))
        await book.taker.sweep(T + at + QUIET + 2, 3600)


async def test_occurrences_are_found_the_newest_first(book: Book) -> None:
    await held(book, 0, 1000, 2000)
    await book.tell(admitted(3000))
    find = book.book.occurrences

    async def starts(**what: Any) -> list[float]:
        return [occurrence.started_at - T for occurrence in (await find(company_id="globaltest", **what))[1]]

    assert await starts() == [3000, 2000, 1000, 0]
    assert await starts(is_on=True) == [3000]
    assert await starts(is_on=False, organizer_id="alicia", conference_id="C-1001") == [2000, 1000, 0]
    assert await starts(since=T + 1000, until=T + 3000) == [2000, 1000]
    assert await starts(organizer_id="nobody") == []
    assert await starts(conference_id="C-1") == []
    assert await starts(limit=2, offset=1) == [2000, 1000]
    assert (await find(company_id="globaltest", limit=1))[0] == 4
    assert await find(company_id="other") == (0, [])


async def test_a_roll_that_was_sent_says_when(book: Book) -> None:
    await held(book, 0)
    version = await book.book.version(1)
    await book.book.sent(1, T + 5)
    (occurrence,) = await book.occurrences()
    assert occurrence.sent_at == T + 5
    assert occurrence.version > version


async def test_what_is_too_old_is_erased_bit_by_bit(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    await book.tell(*(admitted(0, str(number)) for number in range(5)), *(left(1, str(number)) for number in range(5)))
    await book.taker.sweep(T + QUIET + 2, 3600)
    await held(book, 1000)
    await book.tell(admitted(2000))
    monkeypatch.setattr(rolls, "_AT_ONCE", 2)
    assert await book.book.erase_some("other", T + 5000) == 0
    erased = 0
    while some := await book.book.erase_some("globaltest", T + 500):
        assert some <= 3
        erased += some
    assert erased == 6
    assert await book.book.occurrence(1) is None
    assert len(await book.calls(2)) == 1
    while await book.book.erase_some("globaltest", T + 9000):
        pass
    # What is still on is not old.
    assert (await book.book.occurrences(company_id="globaltest"))[0] == 1
