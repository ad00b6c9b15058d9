"""What questions are answered from."""

from daemon.live import Live
from loader.index import EMPTY
from loader.model import Conference, Level, Owner, Passcode, Switch

OPEN = Conference("C-1", "Open", Passcode("1"), "ann", False, (Owner(Level.ORGANIZER, "ann"),))


def test_nothing_is_in_force_before_it_is_loaded() -> None:
    """Which is not the same as an index without conferences, and switches without tokens."""
    live = Live()
    assert (live.index, live.switches) == (None, None)
    live.swap(EMPTY)
    live.swap_switches([])
    assert (live.index, live.switches) == (EMPTY, {})


def test_an_index_is_swapped_as_a_whole() -> None:
    """Who has taken the last one out keeps it as it was."""
    live = Live()
    live.swap(EMPTY.changed(conferences=[OPEN]))
    taken = live.index
    assert taken is not None
    live.swap(taken.changed(gone=["C-1"]))
    assert live.index is not None
    assert (list(taken.conferences), list(live.index.conferences)) == (["1"], [])


def test_only_the_tokens_of_switches_that_are_there_are_in_force() -> None:
    live = Live()
    one, two = Switch("pbx-1", bytes(32), 0.0), Switch("pbx-2", bytes(31) + b"2", 0.0)
    live.swap_switches([one, two])
    assert live.switches == {one.token_hash: "pbx-1", two.token_hash: "pbx-2"}
    live.swap_switches([two])
    assert live.switches == {two.token_hash: "pbx-2"}
