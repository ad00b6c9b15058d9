"""What is locked, as people are told: one row for each, in whatever order events come, and never too many."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest

from loader.directory import apply_directory, parse_directory
from loader.feed import Feed
from loader.keyring import Keyring
from loader.model import Kind
from loader.roll import Admitted, Event, Locked
from loader.rotate import rotate_key
from loader.store import Store, lockouts, open_store
from loader.store.choices import Choices
from loader.store.deliveries import Deliveries
from loader.store.lockouts import Lockout, Lockouts
from loader.store.rolls import BEGINNING, Progress, RollBook
from loader.store.taking import RollTaker

T = 1_700_000_000.0
NUMBER = "+15550100"


def caller(number: int = 1, at: float = 0.0, lasts: float = 60.0, **fields: Any) -> Locked:
    """A caller of the weekly call who must wait from then on."""
    told: dict[str, Any] = {
        "kind": "caller", "failures": 3, "conference_id": "C-1001", "caller": NUMBER, "switch": "pbx-1",
    }  # fmt: skip
    return Locked(T + at, T + at + lasts, f"{number:016x}", **told | fields)


def conference(at: float = 0.0, lasts: float = 60.0) -> Locked:
    return caller(100, at, lasts, kind="conference", failures=30)


def switch(at: float = 0.0, lasts: float = 60.0) -> Locked:
    return caller(200, at, lasts, kind="switch", conference_id="", caller=None)


class Told:
    """What the keeper has taken."""

    def __init__(self, store: Store, keyring: Keyring) -> None:
        self.store, self.keyring, self.lockouts = store, keyring, Lockouts(store)
        self._at = BEGINNING

    async def tell(self, *events: Event) -> None:
        following = Progress(1, self._at.offset + 1)
        await RollTaker(self.store, quiet=60.0).apply(self.keyring, events, "journal", self._at, following)
        self._at = following

    async def locked(self, at: float = 1.0, **whose: str) -> list[Lockout]:
        return await self.lockouts.locked(self.keyring, T + at, **whose)  # type: ignore[arg-type]

    async def waits(self, at: float = 1.0) -> list[tuple[float, float, int]]:
        """What is locked: since when, until when, after how many failures."""
        return [(one.at - T, one.until - T, one.failures) for one in await self.locked(at)]

    async def unlock(self, at: float, *events: Locked) -> list[str]:
        return await self.lockouts.unlock([event.key for event in events], by="sabine", at=T + at)

    async def events(self) -> list[str]:
        """What companies are told, in order."""
        return [one.event for one in reversed(await Deliveries(self.store).newest("globaltest", 1000))]


@pytest.fixture
def told(store: Store, keyring: Keyring) -> Told:
    return Told(store, keyring)


async def test_who_must_wait_is_told_with_all_that_people_ask(told: Told) -> None:
    await told.tell(caller())
    assert await told.locked() == [
        Lockout("0000000000000001", "caller", "globaltest", "alicia", "C-1001", "Weekly call", "pbx-1",
                T, T + 60, 3, NUMBER)
    ]  # fmt: skip
    assert await told.locked(at=60.0) == []
    assert await told.lockouts.count(T + 59) == 1
    assert await told.lockouts.count(T + 60) == 0


async def test_a_doubled_wait_is_the_same_row_and_an_older_event_changes_nothing(told: Told) -> None:
    await told.tell(caller(at=0), caller(at=70, lasts=120, failures=4))
    assert await told.waits(at=71) == [(70, 190, 4)]
    await told.tell(caller(at=200, lasts=240, failures=5))
    await told.tell(caller(at=70, lasts=120, failures=4), caller(at=0))
    assert await told.waits(at=201) == [(200, 440, 5)]


async def test_events_of_one_key_may_come_in_any_order_within_a_batch(told: Told) -> None:
    await told.tell(caller(at=70, lasts=120, failures=4), caller(at=0))
    assert await told.waits(at=71) == [(70, 190, 4)]


async def test_what_only_a_person_unlocks_stands_until_one_does(told: Told) -> None:
    await told.tell(caller(lasts=math.inf))
    (one,) = await told.locked(at=1e9)
    assert one.until == math.inf
    assert await told.lockouts.erase_some(T + 1e9) == 0
    assert await told.unlock(2e9, caller()) == ["0000000000000001"]
    assert await told.locked(at=2e9) == []


async def test_what_is_unlocked_is_on_the_feed_with_its_time(told: Told, store: Store) -> None:
    feed = Feed(store, await store.position())
    await told.tell(caller(1), caller(2))
    assert await told.unlock(10, caller(1), caller(3)) == ["0000000000000001"], "the other is not known"
    (change,) = await feed.poll()
    assert (change.kind, change.id) == (Kind.UNLOCK, "0000000000000001")
    assert [(one.id, one.committed_at) for one in await store.unlocks()] == [(change.id, change.committed_at)]
    assert [one.id for one in await told.locked(at=11)] == ["0000000000000002"]
    assert await told.unlock(12, caller(1)) == [], "it is not locked any more"
    assert await told.unlock(100, caller(2)) == [], "it is over"
    assert await feed.poll() == []


async def test_what_is_told_late_of_before_an_unlocking_does_not_lock_again(told: Told) -> None:
    """As where another daemon's journal was held up; what comes after it does."""
    await told.tell(caller(at=0))
    await told.unlock(10, caller())
    await told.tell(caller(at=9, lasts=120, failures=4))
    assert await told.waits(at=11) == []
    await told.tell(caller(at=12, lasts=60, failures=3))
    assert await told.waits(at=13) == [(12, 72, 3)]


async def test_what_was_unlocked_while_the_keeper_looked_stays_unlocked(told: Told, store: Store) -> None:
    """As PostgreSQL allows: the row that it writes is no longer the row that it read."""
    await told.tell(caller(at=0))
    row = lockouts._row(told.keyring, caller(at=9), None)
    await told.unlock(10, caller())
    async with store.transaction() as connection:
        await connection.execute(lockouts._CHANGE, [{f"new_{name}": value for name, value in row.items()}])
    assert await told.locked(at=11) == []


async def test_a_switch_and_guessed_passcodes_belong_to_no_company(told: Told) -> None:
    await told.tell(switch(), caller(1, conference_id=""), caller(2), caller(3, conference_id="gone"))
    assert [one.id for one in await told.locked(company_id="globaltest")] == ["0000000000000002"]
    assert [one.id for one in await told.locked(company_id="globaltest", organizer_id="alicia")] == ["0000000000000002"]
    assert await told.locked(company_id="globaltest", organizer_id="otto") == []
    assert {one.company_id for one in await told.locked()} == {None, "globaltest"}
    assert await told.lockouts.count(T, company_id="other") == 0


async def test_conferences_and_switches_are_told_before_callers_and_then_what_lasts_longest(told: Told) -> None:
    await told.tell(caller(1), caller(2, lasts=120), switch(), conference(lasts=30))
    assert [one.kind for one in await told.locked()] == ["switch", "conference", "caller", "caller"]
    assert [one.until - T for one in await told.locked()][2:] == [120, 60]


async def test_conferences_are_told_with_how_many_of_them_are_locked(told: Told) -> None:
    await told.tell(caller(1), caller(2), conference(lasts=30))
    assert await told.lockouts.of_conferences(T + 1, "globaltest") == {"C-1001": {"caller": 2, "conference": 1}}
    assert await told.lockouts.of_conferences(T + 31, "globaltest") == {"C-1001": {"caller": 2}}
    assert await told.lockouts.of_conferences(T + 1, "other") == {}


async def test_a_flood_of_callers_leaves_what_lasts_longest_and_every_conference(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lockouts, "KEPT", 5)
    await told.tell(conference(lasts=1), caller(1, lasts=900))
    for begin in range(0, 60, 20):
        await told.tell(*(caller(1000 + begin + number, at=begin / 100) for number in range(20)))
    await told.tell(*(caller(2000 + number, conference_id="") for number in range(20)))
    mine = await told.locked(at=0.7, company_id="globaltest")
    assert [one.kind for one in mine] == ["conference", *["caller"] * 4]
    assert mine[1].id == "0000000000000001"
    assert [one.at for one in mine[2:]] == [T + 0.4] * 3, "the newest of those that last as long"
    assert len([one for one in await told.locked(at=0.7) if one.company_id is None]) == 5


async def test_what_is_over_goes_after_an_hour_and_the_feed_is_swept_too(
    told: Told, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await told.tell(caller(1), caller(2, lasts=math.inf), caller(3, lasts=math.inf))
    await told.unlock(10, caller(2))
    assert await told.lockouts.erase_some(T + 60) == 0
    assert await told.lockouts.erase_some(T + 60 + lockouts.KEPT_AFTER + 1) == 2
    assert await told.lockouts.lockout(told.keyring, caller(2).key) is None
    assert await told.lockouts.lockout(told.keyring, caller(3).key) is not None
    assert len(await store.unlocks()) == 1
    (change,) = await store.unlocks()
    assert await told.lockouts.erase_some(change.committed_at + lockouts.UNLOCKS_KEPT_FOR - 1) == 0
    assert await told.lockouts.erase_some(change.committed_at + lockouts.UNLOCKS_KEPT_FOR + 1) == 1
    assert await store.unlocks() == []


async def test_the_feed_tells_no_more_unlocks_than_it_is_to(
    told: Told, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lockouts, "UNLOCKS_KEPT", 3)
    events = [caller(number) for number in range(5)]
    await told.tell(*events)
    for event in events:
        await told.unlock(1, event)
    assert await told.lockouts.erase_some(T + 2) == 2
    assert [one.id for one in await store.unlocks()] == [event.key for event in events[2:]]


async def test_who_was_away_while_the_feed_was_swept_is_not_behind_for_ever(told: Told, store: Store) -> None:
    feed = Feed(store, await store.position())
    await told.tell(caller())
    await told.unlock(10, caller())
    await told.lockouts.erase_some(T + 1e9)
    assert await store.unlocks() == []
    assert await feed.poll() == []
    assert feed.position == await store.position()


async def test_a_number_is_sealed_and_follows_a_rotation_of_the_key(told: Told, store: Store, tmp_path: Path) -> None:
    await told.tell(caller(1), caller(2, caller=None))
    assert NUMBER.encode() not in b"".join(file.read_bytes() for file in tmp_path.glob("rollcall.db*"))
    before = told.keyring.current
    told.keyring = await rotate_key(store, told.keyring)
    assert before not in told.keyring.key_ids
    assert [one.caller for one in await told.locked()] == [NUMBER, None]
    assert not any(one.is_damaged for one in await told.locked())


async def test_a_row_that_cannot_be_opened_hides_neither_itself_nor_others(told: Told, store: Store) -> None:
    await told.tell(caller(1), caller(2, lasts=30))
    async with store.transaction() as connection:
        await connection.exec_driver_sql("UPDATE lockout SET sealed = zeroblob(40) WHERE failures = 3 AND until < ?",
                                         (T + 31,))  # fmt: skip
    assert [(one.caller, one.is_damaged) for one in await told.locked()] == [(NUMBER, False), (None, True)]


@pytest.fixture
async def wanted(told: Told) -> Told:
    """The company wants to be told."""
    choices = Choices(told.store)
    await choices.set_webhook("globaltest", "https://example.com/")
    await choices.set_webhook_secret(told.keyring, "globaltest", bytes(32))
    return told


async def test_a_company_is_told_that_a_conference_or_a_caller_of_it_is_locked(wanted: Told) -> None:
    await wanted.tell(caller())
    await wanted.tell(conference(at=5, lasts=math.inf))
    await wanted.tell(switch(), caller(9, conference_id=""))
    assert await wanted.events() == ["caller.locked", "conference.locked"]
    bodies = await bodies_of(wanted)
    assert [body["data"] for body in bodies] == [
        {
            "conference": {"id": "C-1001", "title": "Weekly call"},
            "lock": {"since": "2023-11-14T22:13:20.000Z", "until": "2023-11-14T22:14:20.000Z", "failures": 3},
        },
        {
            "conference": {"id": "C-1001", "title": "Weekly call"},
            "lock": {"since": "2023-11-14T22:13:25.000Z", "until": None, "failures": 30},
        },
    ]
    assert "5550100" not in json.dumps(bodies)


async def bodies_of(told: Told) -> list[dict[str, Any]]:
    due = await Deliveries(told.store).exchange(told.keyring, [], {"globaltest": 1000}, time.time())
    return [json.loads(one.body) for one in sorted(due, key=lambda one: one.id)]


async def test_an_attack_is_told_once_an_hour_for_each_conference(
    wanted: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many callers are locked, and however often their wait doubles."""
    for begin in range(3):
        await wanted.tell(*(caller(number, at=begin * 100.0, failures=3 + begin) for number in range(50)))
    assert await wanted.events() == ["caller.locked"]
    for begin in range(3):
        await wanted.tell(conference(at=begin * 100.0))
    assert await wanted.events() == ["caller.locked", "conference.locked"]
    monkeypatch.setattr(lockouts, "TOLD_EVERY", -1.0)
    await wanted.tell(conference(at=1000.0), caller(1, at=1000.0))
    assert sorted(await wanted.events()) == sorted([*["caller.locked"] * 2, *["conference.locked"] * 2])


async def test_each_conference_is_told_of_for_itself(wanted: Told, example: bytes) -> None:
    with_second = example.replace(
        b'[[company]]\nid = "other"\n',
        b'[[company.organizer.conference]]\nid = "C-1002"\ntitle = "X"\npasscode = "1"\npin_entry = true\n'
        b'[[company]]\nid = "other"\n',
    )
    await apply_directory(wanted.store, parse_directory(with_second, format="toml"))
    await wanted.tell(caller(1), caller(2, conference_id="C-1002"))
    assert await wanted.events() == ["caller.locked", "caller.locked"]


async def test_who_wants_to_be_told_nothing_is_told_nothing(told: Told) -> None:
    await told.tell(caller(), conference())
    assert await told.events() == []


async def test_an_occurrence_that_is_on_is_left_alone(told: Told) -> None:
    await told.tell(Admitted(T, "v", "http", "pbx-1", "1", None, "C-1001"))
    version = await RollBook(told.store).version(1)
    await told.tell(caller(), conference())
    assert await RollBook(told.store).version(1) == version


async def test_a_database_that_is_only_read_tells_them_too(told: Told, url: str) -> None:
    await told.tell(caller())
    async with open_store(url, writable=False) as store:
        assert len(await Lockouts(store).locked(told.keyring, T + 1)) == 1


async def test_a_key_stays_in_the_file_as_long_as_a_number_is_sealed_under_it(told: Told, store: Store) -> None:
    await told.tell(caller())
    async with store.writing() as writing:
        await writing.use_key("another")
        assert await writing.key_ids() == {"another", told.keyring.current}
