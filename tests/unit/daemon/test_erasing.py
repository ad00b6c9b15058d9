"""What is too old goes by itself, bit by bit, as each company has chosen."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from daemon import erasing
from loader.directory import apply_directory, parse_directory
from loader.errors import DatabaseUnavailable
from loader.keyring import Keyring
from loader.model import Level, Owner
from loader.roll import Admitted, Event, Left, Locked
from loader.store import Store, rolls
from loader.store.choices import Choices
from loader.store.deliveries import Deliveries, Outcome
from loader.store.invitations import Guest, Invitations
from loader.store.keeping import DAY, Keeping
from loader.store.lockouts import Lockouts
from loader.store.rolls import BEGINNING, Progress, RollBook
from loader.store.taking import RollTaker

NOW = 1_700_000_000.0
OTHERS = b"""
[[company]]
id = "other"
name = "Other"
[[company.organizer]]
id = "otto"
name = "Otto"
email = "otto@example.com"
authorization_code = "77"
conference = [{id = "C-2", title = "Another call", passcode = "99"}]
"""


class Kept:
    """Calls that were over so many days ago."""

    def __init__(self, store: Store, keyring: Keyring) -> None:
        self.store, self.keyring = store, keyring
        self.taker, self.book = RollTaker(store, quiet=60.0), RollBook(store)
        self._at = BEGINNING
        self.pauses: list[float] = []

    async def over(self, days: float, conference_id: str = "C-1001", *, calls: int = 1) -> None:
        begun = NOW - days * DAY - 1
        names = [f"{conference_id}-{days}-{number}" for number in range(calls)]
        events: list[Event] = [Admitted(begun, one, "http", "pbx", one, None, conference_id) for one in names]
        events += [Left(begun + 1, "pbx", one) for one in names]
        following = Progress(1, self._at.offset + 1)
        await self.taker.apply(self.keyring, events, "journal", self._at, following)
        self._at = following
        await self.taker.sweep(begun + 1000, 1e9, self.keyring)

    async def erase(self) -> int:
        return await erasing.erase(Keeping(self.store, 400), clock=lambda: NOW, sleep=self._pause)

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    async def ages(self, company_id: str) -> list[float]:
        """In days, of what is left."""
        _, found = await self.book.occurrences(company_id=company_id)
        return [round((NOW - (one.ended_at or NOW)) / DAY, 3) for one in found]


@pytest.fixture
async def kept(store: Store, keyring: Keyring) -> Kept:
    await apply_directory(store, parse_directory(OTHERS, format="toml"))
    return Kept(store, keyring)


async def test_each_company_keeps_its_rolls_as_long_as_it_has_chosen(kept: Kept) -> None:
    """Or as long as the settings say; to the second."""
    await Choices(kept.store).set_keep_days("other", 30)
    for days in (401, 399, 31, 29):
        await kept.over(days)
        await kept.over(days, "C-2")
    with structlog.testing.capture_logs() as logged:
        assert await kept.erase() == 2 + 2 * 3
    assert await kept.ages("globaltest") == [29, 31, 399]
    assert await kept.ages("other") == [29]
    told = {line["company"]: line["count"] for line in logged if line["event"] == "rolls_erased"}
    assert told == {"globaltest": 2, "other": 6}
    assert await kept.erase() == 0


async def test_it_goes_in_small_steps_with_a_pause_after_each(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that whoever else writes has his turn between any two of them."""
    await kept.over(500, calls=25)
    await kept.over(450, calls=3)
    monkeypatch.setattr(rolls, "_AT_ONCE", 10)
    steps: list[int] = []
    real = Keeping.erase_some

    async def counted(self: Keeping, company_id: str, before: float, now: float) -> int:
        steps.append(await real(self, company_id, before, now))
        return steps[-1]

    monkeypatch.setattr(Keeping, "erase_some", counted)
    await kept.erase()
    assert max(steps) <= 12
    assert len(kept.pauses) == sum(step > 0 for step in steps) >= 3
    assert await kept.ages("globaltest") == []


async def test_what_is_still_on_is_kept_however_long_ago_it_began(kept: Kept) -> None:
    await kept.over(500)
    begun = Admitted(NOW - 450 * DAY, "on", "http", "pbx", "on", None, "C-1001")
    await kept.taker.apply(kept.keyring, [begun], "other journal", BEGINNING, Progress(1, 1))
    await kept.erase()
    _, (left,) = await kept.book.occurrences(company_id="globaltest")
    assert left.ended_at is None


async def test_invitations_of_that_age_go_too(kept: Kept) -> None:
    invitations, alicia = Invitations(kept.store), Owner(Level.ORGANIZER, "alicia")
    for days, pin in ((401, "11"), (399, "22")):
        await invitations.queue(
            kept.keyring, "C-1001", alicia, [Guest(pin, "Mike", "Doe", "mike@example.com")],
            by="x", language="en", at=NOW - days * DAY, again=False, seen=0,
        )  # fmt: skip
    assert await kept.erase() == 1
    assert [one.guest.pin for one in await invitations.invitations(kept.keyring, "C-1001")] == ["22"]


async def test_what_became_of_events_is_kept_for_a_week_at_most(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    choices, deliveries = Choices(kept.store), Deliveries(kept.store)
    await choices.set_webhook_secret(kept.keyring, "globaltest", b"s" * 32)
    await choices.set_webhook("globaltest", "https://example.com/")
    for days in (8, 6):
        at = NOW - days * DAY
        monkeypatch.setattr("loader.store.deliveries.time.time", lambda at=at: at)
        await deliveries.add_test(kept.keyring, "globaltest")
        (due,) = await deliveries.exchange(kept.keyring, [], {"globaltest": 5}, at)
        await deliveries.exchange(kept.keyring, [Outcome(due, at, "204", delivered=True)], {}, at)
    assert await kept.erase() == 1
    (left,) = await deliveries.newest("globaltest")
    assert left.created_at == NOW - 6 * DAY


async def test_two_keepers_erase_side_by_side(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    await kept.over(500, calls=40)
    monkeypatch.setattr(rolls, "_AT_ONCE", 7)
    await asyncio.gather(kept.erase(), kept.erase())
    assert await kept.ages("globaltest") == []


async def test_it_is_done_at_once_and_again_every_hour_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    async def erase(*_: object, **__: object) -> int:
        done.append("erased")
        if len(done) == 1:
            raise DatabaseUnavailable("gone")
        if len(done) == 3:
            raise ValueError
        return 0

    class OverError(Exception):
        pass

    async def sleep(seconds: float) -> None:
        done.append(f"{seconds:g} s")
        if len(done) == 6:
            raise OverError

    monkeypatch.setattr(erasing, "erase", erase)
    with structlog.testing.capture_logs() as logged, pytest.raises(OverError):
        await erasing.erase_for_ever(Keeping.__new__(Keeping), sleep=sleep)
    assert done == ["erased", "3600 s"] * 3
    assert [line["problem"] for line in logged] == ["gone", "ValueError"]


async def test_what_was_locked_goes_once_it_has_been_over_for_an_hour(store: Store, keyring: Keyring) -> None:
    """Step by step, whosever it was; what is locked stays."""
    kept = Kept(store, keyring)
    events = [
        Locked(NOW - 9000, NOW + at, f"{number:016x}", "caller", 3, conference_id, None, "pbx-1")
        for number, (at, conference_id) in enumerate([(-3601, "C-1001"), (-3601, ""), (-3599, "C-1001"), (1, "")])
    ]
    await kept.taker.apply(keyring, events, "journal", BEGINNING, Progress(1, 1))
    assert await kept.erase() == 2
    assert len(kept.pauses) == 1
    assert await Lockouts(store).lockout(keyring, events[2].key) is not None
    assert await Lockouts(store).count(NOW) == 1
