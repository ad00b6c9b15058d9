"""Guessing does not pay: section 7 of the design."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.counters import Counters, Kind
from daemon.counting_throttle import CountingThrottle, caller_number
from daemon.live import Live
from daemon.verify import Verifier
from loader.compiled import Block
from loader.index import Decision, Index, Question, Reason
from loader.keyring import Keyring
from loader.roll import Locked
from loader.sections import Throttle as Limits
from tests.unit.loader.test_index import OPEN, ORGANIZER, WEEKLY, listed

MEMORY = 1 << 20
PASSCODE, RIGHT, WRONG = "7784321", "1234", "9999"
ANN = "+15550100"


def live(block: Block) -> Live:
    live = Live()
    live.swap(
        Index(
            {conference.passcode: conference for conference in (WEEKLY, OPEN)},
            {ORGANIZER: block},
        )
    )
    return live


class Desk:
    """A daemon's verifier with a throttle, and a clock that a test sets."""

    def __init__(self, counters: Counters, **limits: float) -> None:
        self.now = 1_000_000.0
        self.locks: list[Locked] = []
        self.refused: list[str] = []
        self.counters = counters
        self.throttle = CountingThrottle(
            counters,
            Limits(**limits),  # type: ignore[arg-type]
            locked=self.locks.append,
            refused=self.refused.append,
            clock=lambda: self.now,
        )
        block = listed("Ann", RIGHT, inactive=())
        self.verifier = Verifier(live(block), lambda _result, _seconds: None, self.throttle, door="http")

    def ask(
        self,
        pin: str,
        caller: str | None = ANN,
        *,
        passcode: str = PASSCODE,
        call: str | None = None,
        switch: str = "pbx",
    ) -> Decision:
        verification = self.verifier.verify(Question(passcode, pin, call, caller), 0.0, switch)
        assert verification is not None
        return verification.decision

    def told(self, pin: str, caller: str | None = ANN, **how: str) -> str | int:
        """The reason or, when locked, the seconds to wait."""
        decision = self.ask(pin, caller, **how)
        if decision.retry_after is not None:
            assert decision.reason is Reason.LOCKED
            return decision.retry_after
        return decision.reason or "accepted"

    def guess(self, times: int, caller: str | None = ANN, **how: str) -> None:
        for _ in range(times):
            assert self.told(WRONG, caller, **how) == "unknown_pin"

    def guess_patiently(self, times: int, caller: str | None = ANN) -> None:
        """Each as soon as it is heard again."""
        while times:
            told = self.told(WRONG, caller)
            if isinstance(told, int):
                self.now += told
            else:
                times -= 1


@pytest.fixture
def counters() -> Iterator[Counters]:
    counters = Counters.in_memory(MEMORY)
    yield counters
    counters.close()


@pytest.fixture
def desk(counters: Counters) -> Desk:
    return Desk(counters)


def test_a_call_has_three_tries_and_is_told_how_many_are_left(desk: Desk) -> None:
    assert [desk.ask(WRONG, call="1.1").attempts_left for _ in range(3)] == [2, 1, 0]
    assert desk.told(RIGHT, call="1.1") == 30
    assert desk.refused == ["call"]
    assert desk.locks == []


def test_another_call_and_the_same_call_of_another_switch_have_their_own(desk: Desk) -> None:
    desk.guess(3, call="1.1")
    assert desk.told(RIGHT, call="1.2") == "accepted"
    assert desk.told(RIGHT, call="1.1", switch="other") == "accepted"


def test_a_caller_waits_after_five_wrong_tries_however_many_calls_he_makes(desk: Desk) -> None:
    for call in range(5):
        desk.guess(1, call=str(call))
    assert desk.told(RIGHT, call="6") == 30
    assert desk.told(RIGHT, "(1) 555-0100", call="7") == 30
    assert desk.refused == ["caller", "caller"]
    desk.now += 29.5
    assert desk.told(RIGHT) == 1
    desk.now += 0.5
    assert desk.told(RIGHT) == "accepted"


def test_each_further_wrong_try_doubles_the_wait_up_to_an_hour(desk: Desk) -> None:
    desk.guess(5)
    waits = []
    for _ in range(10):
        wait = desk.told(WRONG)
        assert isinstance(wait, int)
        waits.append(wait)
        desk.now += wait
        desk.guess(1)
    assert waits == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_a_hundred_wrong_tries_in_a_row_lock_until_somebody_unlocks(desk: Desk) -> None:
    """NIST SP 800-63B-4, section 3.2.2: no more than 100."""
    desk.guess_patiently(100)
    assert desk.locks[-1].until == float("inf")
    desk.now += 365 * 86400.0
    assert desk.told(RIGHT) == 3600
    desk.throttle.unlock(desk.locks[-1].key, desk.now)
    assert desk.told(RIGHT) == "accepted"


def test_the_right_pin_forgives_its_caller(desk: Desk) -> None:
    desk.guess(4)
    assert desk.told(RIGHT) == "accepted"
    desk.guess(4)
    assert desk.told(RIGHT) == "accepted"


def test_locked_tells_nothing_about_the_pin(desk: Desk) -> None:
    desk.guess(5)
    right, wrong = desk.ask(RIGHT), desk.ask(WRONG)
    assert right == wrong
    assert right.participant is None


def test_while_locked_nothing_is_counted(desk: Desk) -> None:
    desk.guess(5)
    for _ in range(50):
        assert desk.told(WRONG) == 30


def test_no_pin_and_pin_entry_off_are_not_counted(desk: Desk) -> None:
    for _ in range(20):
        assert desk.told("") == "pin_required"
        assert desk.told(WRONG, passcode="7784322") == "accepted"
    assert all(desk.counters.used(kind) == 0 for kind in Kind)


def test_who_guesses_passcodes_waits_at_every_conference(desk: Desk) -> None:
    """Otherwise the wait itself would tell which passcodes there are."""
    for number in range(5):
        assert desk.told("", passcode=str(number)) == "unknown_passcode"
    assert desk.told(RIGHT) == 30
    assert desk.told("", passcode="5") == 30
    assert (desk.locks[-1].kind, desk.locks[-1].conference_id) == ("caller", "")
    assert desk.told(RIGHT, "+15550199") == "accepted"


def test_a_caller_who_is_locked_at_one_conference_is_heard_at_another(desk: Desk) -> None:
    desk.guess(5)
    assert desk.told("", passcode="7784322") == "accepted"


@pytest.mark.parametrize("told", [None, "", "anonymous", "Anonymous <sip:anonymous@anonymous.invalid>", "unknown"])
def test_withheld_numbers_are_one_caller_at_each_conference(desk: Desk, told: str | None) -> None:
    desk.guess(10, None)
    desk.guess(10, told)
    assert desk.told(RIGHT, None) == 30
    assert desk.told("", None, passcode="7784322") == "accepted"
    assert desk.told(RIGHT, ANN) == "accepted"
    assert (desk.locks[-1].caller, desk.locks[-1].conference_id) == (None, "C-1001")


def test_the_right_pin_of_one_does_not_forgive_all_who_withhold_their_number(desk: Desk) -> None:
    desk.guess(19, None)
    assert desk.told(RIGHT, None) == "accepted"
    desk.guess(1, None)
    assert desk.told(RIGHT, None) == 30


def test_no_count_locks_all_who_withhold_their_number_for_good(desk: Desk) -> None:
    desk.guess_patiently(150, None)
    assert desk.locks[-1].until - desk.now == 3600
    desk.now += 3600
    assert desk.told(RIGHT, None) == "accepted"


def test_a_conference_waits_for_strangers_after_fifty_wrong_tries_of_many_callers(desk: Desk) -> None:
    assert desk.told(RIGHT, ANN) == "accepted"
    for number in range(50):
        desk.guess(1, f"+1555020{number:02}")
    assert desk.told(RIGHT, "+15550399") == 30
    assert desk.refused == ["conference"]
    assert desk.told(RIGHT, ANN) == "accepted"
    assert desk.told("", "+15550399") == "pin_required"
    assert [(lock.kind, lock.conference_id, lock.failures) for lock in desk.locks] == [("conference", "C-1001", 50)]


def test_the_right_pin_does_not_forgive_the_conference(desk: Desk) -> None:
    for number in range(49):
        desk.guess(1, f"+1555020{number:02}")
    assert desk.told(RIGHT, "+15550398") == "accepted"
    desk.guess(1, "+15550397")
    assert desk.told(RIGHT, "+15550399") == 30


def test_a_conference_is_forgiven_one_wrong_try_an_hour(desk: Desk) -> None:
    for number in range(49):
        desk.guess(1, f"+1555020{number:02}")
    desk.now += 10 * 3600
    for number in range(10):
        desk.guess(1, f"+1555030{number:02}")
    assert desk.told(RIGHT, "+15550399") == "accepted"
    desk.guess(1, "+15550397")
    assert desk.told(RIGHT, "+15550396") == 30


def test_a_known_caller_mistypes_on_his_own_account(desk: Desk) -> None:
    """A daily call of hundreds who know their PINs does not lock itself."""
    for number in range(40):
        caller = f"+1555020{number:02}"
        assert desk.told(RIGHT, caller) == "accepted"
        desk.guess(2, caller)
    assert desk.told(RIGHT, "+15550399") == "accepted"


def test_who_guesses_between_his_own_right_pins_becomes_a_stranger_again(desk: Desk) -> None:
    """An insider is held up with the conference as all others are."""
    for _ in range(5):
        assert desk.told(RIGHT) == "accepted"
        desk.guess(4)
    assert desk.told(RIGHT) == "accepted"
    for number in range(50):
        desk.guess(1, f"+1555020{number:02}")
    assert desk.told(RIGHT) == 30


def test_a_switch_waits_for_strangers_when_too_much_is_guessed_over_it(counters: Counters) -> None:
    desk = Desk(counters, switch_limit=10)
    assert desk.told(RIGHT, ANN) == "accepted"
    for number in range(10):
        assert desk.told("", f"+1555020{number:02}", passcode="1") == "unknown_passcode"
    assert desk.told(RIGHT, "+15550399") == 30
    assert desk.told(RIGHT, "+15550399", switch="other") == "accepted"
    assert desk.told(RIGHT, ANN) == "accepted"
    assert [(lock.kind, lock.switch) for lock in desk.locks] == [("switch", "pbx")]


def test_passcodes_that_a_switch_asks_about_without_a_caller_are_counted_for_it(counters: Counters) -> None:
    desk = Desk(counters, switch_limit=10)
    for _ in range(10):
        desk.verifier.unknown_passcode("pbx")
    assert desk.told(RIGHT) == 30


def test_a_limit_of_nought_counts_nothing(counters: Counters) -> None:
    names = ("call_limit", "caller_limit", "withheld_limit", "conference_limit", "switch_limit")
    desk = Desk(counters, **dict.fromkeys(names, 0))
    desk.guess(300, call="1")
    desk.guess(300, None)
    assert desk.ask(WRONG, call="1").attempts_left is None


def test_new_limits_are_in_force_at_once(desk: Desk) -> None:
    desk.guess(4)
    desk.throttle.limit(Limits(caller_limit=2))
    desk.guess(1)
    assert desk.told(RIGHT) == 240


@pytest.mark.parametrize("days", [-3, 3])
def test_a_clock_that_is_set_makes_nobody_wait_longer_than_he_must(desk: Desk, days: int) -> None:
    desk.guess_patiently(7)
    desk.now += days * 86400
    told = desk.told(RIGHT)
    if isinstance(told, int):
        assert told <= 120
        desk.now += told
        assert desk.told(RIGHT) == "accepted"


def test_unlocking_forgets_what_was_counted_before_and_nothing_since(desk: Desk) -> None:
    """An unlock may be told again, after a restart."""
    desk.guess(5)
    lock, unlocked_at = desk.locks[-1], desk.now + 1
    desk.throttle.unlock(lock.key, unlocked_at)
    desk.now += 10
    desk.guess(5)
    desk.throttle.unlock(lock.key, unlocked_at)
    assert desk.told(RIGHT) == 30


def test_a_lock_that_another_daemon_sets_meanwhile_counts(counters: Counters) -> None:
    """What was begun before is answered as locked: nothing is told about a PIN past the limit."""
    desk = Desk(counters)
    attempt = desk.throttle.attempt(Question(PASSCODE, WRONG, None, ANN), "pbx")
    assert attempt.caller_locked_for() is None
    assert attempt.conference_locked_for(WEEKLY) is None
    desk.guess(5)
    decision = attempt.rejected(Decision(Reason.UNKNOWN_PIN, WEEKLY))
    assert (decision.reason, decision.retry_after) == (Reason.LOCKED, 30)


def _guess(file: Path, key_file: Path, heard: multiprocessing.Queue[int]) -> None:
    counters = Counters.opened(file, MEMORY, Keyring.load(key_file))
    desk = Desk(counters)
    told = [desk.told(WRONG, f"+1555{number:04}") for number in range(200)]
    heard.put(told.count("unknown_pin"))
    counters.close()


def test_over_several_processes_the_limits_are_exact(tmp_path: Path) -> None:
    """Six hundred callers guess once each in three daemons at once: fifty are heard, whoever they ask."""
    keyring, file = Keyring.create(tmp_path / "rollcall.key"), tmp_path / "throttle"
    spawn = multiprocessing.get_context("spawn")
    heard: multiprocessing.Queue[int] = spawn.Queue()
    processes = [spawn.Process(target=_guess, args=(file, keyring.path, heard)) for _ in range(3)]
    for process in processes:
        process.start()
    total = sum(heard.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(60)
    assert total == 50


def test_a_flood_of_callers_does_not_free_who_is_locked(desk: Desk) -> None:
    """A million callers would be held up by the conference and the switch long before; here they are not."""
    desk.throttle.limit(Limits(conference_limit=0, switch_limit=0))
    desk.guess(5)
    for number in range(3 * desk.counters.places(Kind.CALLER)):
        desk.ask(WRONG, f"+1{number:010}")
    assert desk.counters.evicted(Kind.CALLER) > 0
    assert desk.told(RIGHT) == 30


@pytest.mark.parametrize(
    ("told", "number"),
    [
        ("+1 (555) 0100", "15550100"),
        ("15550100", "15550100"),
        ("sip:+15550100@example.com;user=phone", "15550100"),
        ("tel:+1-555-0100", "15550100"),
        ("ann@example.com", "ann@example.com"),
        ("Restricted", None),
        ("sip:anonymous@anonymous.invalid", None),
        (" ", None),
    ],
)
def test_a_number_is_the_same_however_it_is_written(told: str, number: str | None) -> None:
    assert caller_number(told) == number
