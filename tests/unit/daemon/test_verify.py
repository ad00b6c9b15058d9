"""The one decision that every door calls."""

from time import perf_counter

from daemon.live import Live
from daemon.verify import Verifier
from loader.index import EMPTY, Question, Reason
from loader.model import Conference, Level, Owner, Passcode

OPEN = Conference("C-1", "Open", Passcode("1"), "ann", False, (Owner(Level.ORGANIZER, "ann"),))


class Tallied:
    """Remembers what was counted."""

    def __init__(self) -> None:
        self.all: list[tuple[str, float]] = []

    def __call__(self, result: str, seconds: float) -> None:
        self.all.append((result, seconds))


def live() -> Live:
    live = Live()
    live.swap(EMPTY.changed(conferences=[OPEN]))
    return live


def test_a_verification_is_decided_named_counted_and_timed() -> None:
    tallied = Tallied()
    verifier = Verifier(live(), tallied)
    begun = perf_counter()
    accepted = verifier.verify(Question("1", ""), begun)
    rejected = verifier.verify(Question("2", ""), begun)
    assert accepted is not None
    assert rejected is not None
    assert accepted.decision.conference is OPEN
    assert rejected.decision.reason is Reason.UNKNOWN_PASSCODE
    assert [result for result, _ in tallied.all] == ["accepted", "unknown_passcode"]
    assert all(0 < seconds < 5 for _, seconds in tallied.all)


def test_no_two_verifications_have_the_same_id() -> None:
    """Nor have those of another door, another process, or of after a restart: each begins with a random word."""
    one, other = Verifier(live(), Tallied()), Verifier(live(), Tallied())
    ids = set()
    for _ in range(100):
        for verifier in (one, other):
            verification = verifier.verify(Question("1", ""), 0.0)
            assert verification is not None
            ids.add(verification.id)
    assert len(ids) == 200
    assert len({word for word, _, _ in (id_.partition("-") for id_ in ids)}) == 2


def test_without_an_index_there_is_no_decision_and_nothing_is_counted() -> None:
    tallied = Tallied()
    assert Verifier(Live(), tallied).verify(Question("1", ""), 0.0) is None
    assert tallied.all == []
