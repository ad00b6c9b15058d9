"""A dialogue's state on its way through somebody else's machine, and webhooks that are asked twice."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.doors.dialogue import State
from daemon.doors.webhooks import Recent, Sealed, SealedStates
from loader.keyring import Keyring

STATE = State("7784321", 2, 1)


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring.create(tmp_path / "rollcall.key")


@pytest.fixture
def states(keyring: Keyring) -> SealedStates:
    return SealedStates("twiml", lambda: keyring)


def test_a_state_comes_back_as_it_was(states: SealedStates) -> None:
    for state in (State(), STATE):
        assert states.open("CA1", states.seal("CA1", state)) == state


def test_a_sealed_state_can_stand_in_an_address_and_tells_nothing(states: SealedStates) -> None:
    sealed = states.seal("CA1", STATE)
    assert sealed.replace("-", "").replace("_", "").isalnum()
    assert sealed.isascii()
    assert "7784321" not in sealed
    assert sealed != states.seal("CA1", STATE)


class Other(msgspec.Struct, frozen=True):
    """What another door keeps of a call."""

    conference: str


def test_a_door_may_keep_something_else_of_a_call(keyring: Keyring) -> None:
    sealed = Sealed("httapi", lambda: keyring, Other)
    kept = sealed.seal("CA1", Other("C-1001"))
    assert sealed.open("CA1", kept) == Other("C-1001")
    assert sealed.open("CA2", kept) is None
    assert SealedStates("httapi", lambda: keyring).open("CA1", kept) is None


def test_another_call_or_door_cannot_use_it(states: SealedStates, keyring: Keyring) -> None:
    sealed = states.seal("CA1", STATE)
    assert states.open("CA2", sealed) is None
    assert SealedStates("jambonz", lambda: keyring).open("CA1", sealed) is None


def test_it_outlives_the_daemon_and_a_rotation_of_the_key(states: SealedStates, keyring: Keyring) -> None:
    sealed = states.seal("CA1", STATE)
    rotated = keyring.with_new_key()
    later = SealedStates("twiml", lambda: Keyring.load(keyring.path))
    assert later.open("CA1", sealed) == STATE
    assert SealedStates("twiml", lambda: rotated.without(keyring.key_ids)).open("CA1", sealed) is None


def test_a_state_that_was_tampered_with_is_none(states: SealedStates) -> None:
    sealed = states.seal("CA1", STATE)
    for at in range(len(sealed)):
        other = "A" if sealed[at] != "A" else "Q"
        assert states.open("CA1", sealed[:at] + other + sealed[at + 1 :]) in (None, STATE)
        assert states.open("CA1", sealed[:at]) is None


@given(st.text(max_size=200))
def test_no_text_is_too_odd(text: str) -> None:
    keyring = Keyring(Path("none"), {"one": bytes(32)})
    assert SealedStates("twiml", lambda: keyring).open("CA1", text) is None


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Counted:
    """Answers with how often it was asked."""

    times = 0

    def __call__(self) -> int:
        self.times += 1
        return self.times


def test_who_asks_again_is_answered_the_same() -> None:
    recent: Recent[int] = Recent(seconds=60)
    answer = Counted()
    assert [recent.once(("CA1", "state", "1"), answer) for _ in range(3)] == [1, 1, 1]
    assert recent.once(("CA1", "state", "2"), answer) == 2
    assert recent.once(("CA1", "state1", ""), answer) == 3


def test_after_a_minute_it_is_another_question() -> None:
    clock, answer = Clock(), Counted()
    recent: Recent[int] = Recent(seconds=60, clock=clock)
    assert recent.once(("1",), answer) == 1
    clock.now = 59.9
    assert recent.once(("1",), answer) == 1
    clock.now = 60.0
    assert recent.once(("1",), answer) == 2


def test_the_oldest_answers_are_forgotten_when_there_are_too_many() -> None:
    answer = Counted()
    recent: Recent[int] = Recent(most=2)
    for question in "1", "2", "3":
        recent.once((question,), answer)
    assert recent.once(("3",), answer) == 3
    assert recent.once(("2",), answer) == 2
    assert recent.once(("1",), answer) == 4


def test_a_question_that_failed_may_be_asked_again() -> None:
    recent: Recent[int] = Recent()

    def fail() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        recent.once(("1",), fail)
    assert recent.once(("1",), Counted()) == 1
