"""The dialogue with a caller: what is said and asked next, whatever is keyed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.doors.dialogue import (
    NOTHING_KEYED,
    TRIES,
    UNAVAILABLE,
    Admit,
    Ask,
    Dismiss,
    Prompt,
    State,
    Step,
    begin,
    heard,
    keyed,
)
from daemon.verify import Verification
from loader.index import MAX_KEYED, Decision, Index, Question, Reason, decide
from tests.unit.daemon.doors.conftest import some_lists

FOR_PIN = State("7784321")


class Answers:
    """Verifies over an index, and remembers what was asked; `locked` and `attempts_left` are as a throttle has them."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self.asked: list[tuple[str, str]] = []
        self.locked: int | None = None
        self.attempts_left: int | None = None
        self.loaded = True

    def __call__(self, passcode: str, pin: str) -> Verification | None:
        self.asked.append((passcode, pin))
        if not self.loaded:
            return None
        if self.locked:
            return Verification("1", Decision(Reason.LOCKED, retry_after=self.locked))
        decision = decide(self._index, Question(passcode, pin))
        if not decision.accepted and self.attempts_left is not None:
            decision = Decision(decision.reason, decision.conference, attempts_left=self.attempts_left)
        return Verification("1", decision)


@pytest.fixture
def verify(index: Index) -> Answers:
    return Answers(index)


def walk(verify: Answers, *entries: str) -> Step:
    """The step that is come to when a caller keys these."""
    step: Step = begin()
    for entry in entries:
        assert isinstance(step, Ask)
        step = heard(step.state, entry, verify)
    return step


def test_it_begins_with_the_passcode() -> None:
    assert begin() == Ask((Prompt.PASSCODE,), State())


def test_passcode_and_pin_let_a_caller_in(verify: Answers) -> None:
    assert walk(verify, "7784321") == Ask((Prompt.PIN,), FOR_PIN)
    step = walk(verify, "7784321", "004127")
    assert isinstance(step, Admit)
    participant = step.verification.decision.participant
    assert participant is not None
    assert participant.first_name == "Mike"


def test_no_pin_is_asked_for_where_the_conference_wants_none(verify: Answers) -> None:
    step = walk(verify, "7784322")
    assert isinstance(step, Admit)
    assert step.verification.decision.participant is None


@pytest.mark.parametrize("pin", ["4321", "99", "12345678901", "0" * 40])
def test_a_wrong_pin_is_asked_for_again_and_an_inactive_one_sounds_the_same(verify: Answers, pin: str) -> None:
    assert walk(verify, "7784321", pin) == Ask((Prompt.WRONG_PIN, Prompt.PIN), State("7784321", 1))


def test_the_third_wrong_pin_is_the_last(verify: Answers) -> None:
    assert walk(verify, "7784321", "1", "2", "99") == Dismiss((Prompt.WRONG_PIN, Prompt.GOODBYE), Reason.INACTIVE_PIN)
    assert isinstance(walk(verify, "7784321", "1", "2", "004127"), Admit)


def test_the_third_wrong_passcode_is_the_last(verify: Answers) -> None:
    assert walk(verify, "1", "2") == Ask((Prompt.WRONG_PASSCODE, Prompt.PASSCODE), State("", 2))
    assert walk(verify, "1", "2", "3") == Dismiss((Prompt.WRONG_PASSCODE, Prompt.GOODBYE), Reason.UNKNOWN_PASSCODE)


def test_a_pin_has_three_tries_whatever_the_passcode_took(verify: Answers) -> None:
    assert isinstance(walk(verify, "1", "2", "7784321", "1", "2", "004127"), Admit)


def test_nothing_keyed_is_no_wrong_try_and_is_not_verified(verify: Answers) -> None:
    assert walk(verify, "7784321", "1", "", "") == Ask((Prompt.PIN,), State("7784321", 1, 2))
    assert isinstance(walk(verify, "", "", "7784321", "", "1", "", "", "1", "", "004127"), Admit)
    assert ("", "") not in verify.asked
    assert verify.asked.count(("7784321", "")) == 2


@pytest.mark.parametrize("before", [(), ("7784321",), ("7784321", "1")])
def test_who_keys_nothing_three_times_in_a_row_is_let_go(verify: Answers, before: tuple[str, ...]) -> None:
    assert walk(verify, *before, "", "#", "*") == Dismiss((Prompt.GOODBYE,), NOTHING_KEYED)


def test_who_is_locked_out_is_told_and_let_go(verify: Answers) -> None:
    verify.locked = 60
    locked = Dismiss((Prompt.LOCKED, Prompt.GOODBYE), Reason.LOCKED, 60)
    assert walk(verify, "7784321") == locked
    assert heard(FOR_PIN, "004127", verify) == locked


def test_when_the_throttle_says_that_it_was_the_last_try_it_was(verify: Answers) -> None:
    verify.attempts_left = 0
    assert heard(FOR_PIN, "1", verify) == Dismiss((Prompt.WRONG_PIN, Prompt.GOODBYE), Reason.UNKNOWN_PIN)
    verify.attempts_left = 1
    assert isinstance(heard(FOR_PIN, "1", verify), Ask)


def test_nobody_gets_in_while_nothing_can_be_decided(verify: Answers) -> None:
    verify.loaded = False
    unavailable = Dismiss((Prompt.UNAVAILABLE, Prompt.GOODBYE), UNAVAILABLE)
    assert walk(verify, "7784322") == unavailable
    assert heard(FOR_PIN, "004127", verify) == unavailable


def test_a_conference_that_has_gone_meanwhile_is_asked_for_anew(verify: Answers) -> None:
    gone = State("7784329", 1)
    assert heard(gone, "004127", verify) == Ask((Prompt.WRONG_PASSCODE, Prompt.PASSCODE), State("", 2))


def test_a_conference_that_wants_no_pin_any_more_lets_in(verify: Answers) -> None:
    assert isinstance(heard(State("7784322"), "4321", verify), Admit)


@pytest.mark.parametrize(
    ("digits", "meant"),
    [
        ("004127", "004127"),
        ("004127#", "004127"),
        ("004127#99", "004127"),
        ("12*004127", "004127"),
        ("12**004127#", "004127"),
        ("004127*", ""),
        ("#", ""),
        ("#004127", ""),
        ("*", ""),
        ("*#*", ""),
        (" 004127 ", "004127"),
        ("1" * 40, "1" * (MAX_KEYED + 1)),
    ],
)
def test_a_hash_ends_an_entry_and_a_star_begins_it_anew(digits: str, meant: str) -> None:
    assert keyed(digits) == meant


@given(st.lists(st.text("0123456789*#", max_size=40) | st.sampled_from(["7784321", "7784322", "004127", "99"])))
def test_every_dialogue_ends(entries: list[str]) -> None:
    """And lets in only on an accepted decision, in at most as many steps as there are tries and silences."""
    verify = Answers(some_lists())
    step: Step = begin()
    steps = 0
    for entry in entries:
        if not isinstance(step, Ask):
            break
        step = heard(step.state, entry, verify)
        steps += 1
    if isinstance(step, Admit):
        assert step.verification.decision.accepted
    assert len(verify.asked) <= 2 * TRIES
    assert steps <= 2 * TRIES * TRIES
