"""What questions are answered from."""

from daemon.live import Live
from loader.index import EMPTY
from loader.model import Conference, Level, Owner, Passcode, Switch, SwitchToken

OPEN = Conference("C-1", "Open", Passcode("1"), "ann", False, (Owner(Level.ORGANIZER, "ann"),))
OLD, NEW = SwitchToken(bytes(32), 0.0, expires_at=100.0), SwitchToken(bytes(31) + b"2", 1.0)


def test_nothing_is_in_force_before_it_is_loaded() -> None:
    """Which is not the same as an index without conferences, and switches without tokens."""
    live = Live()
    assert (live.index, live.tokens) == (None, None)
    live.swap(EMPTY)
    live.swap_switches([])
    assert (live.index, live.tokens) == (EMPTY, {})


def test_an_index_is_swapped_as_a_whole() -> None:
    """Who has taken the last one out keeps it as it was."""
    live = Live()
    live.swap(EMPTY.changed(conferences=[OPEN]))
    taken = live.index
    assert taken is not None
    live.swap(taken.changed(gone=["C-1"]))
    assert live.index is not None
    assert (list(taken.conferences), list(live.index.conferences)) == (["1"], [])


def switches_of(live: Live) -> dict[bytes, str]:
    assert live.tokens is not None
    return {token: known.switch for token, known in live.tokens.items()}


def test_only_the_tokens_of_switches_that_are_there_are_in_force() -> None:
    live = Live()
    one, two = Switch.new("pbx-1", b"1", 0.0), Switch("pbx-2", 0.0, (OLD, NEW))
    live.swap_switches([one, two])
    assert switches_of(live) == {b"1": "pbx-1", OLD.hash: "pbx-2", NEW.hash: "pbx-2"}
    live.swap_switches([two])
    assert switches_of(live) == {OLD.hash: "pbx-2", NEW.hash: "pbx-2"}


def test_a_token_is_all_that_is_needed_where_nothing_else_was_asked_for() -> None:
    """An end, addresses or a rate, of the switch or of the settings, is something else."""
    live = Live()
    live.swap_switches([Switch("pbx-1", 0.0, (OLD, NEW))])
    assert live.tokens is not None
    assert (live.tokens[OLD.hash].suffices, live.tokens[NEW.hash].suffices) == (False, True)
    for switch in (Switch("pbx-1", 0.0, (NEW,), ("192.0.2.7",)), Switch("pbx-1", 0.0, (NEW,), rate=5)):
        live.swap_switches([switch])
        assert not live.tokens[NEW.hash].suffices


def test_the_tokens_of_a_switch_share_its_rate_which_goes_on_when_something_else_changes() -> None:
    live = Live()
    live.swap_switches([Switch("pbx-1", 0.0, (OLD, NEW), rate=1)])
    assert live.tokens is not None
    limit = live.tokens[NEW.hash].limit
    assert limit is not None
    assert live.tokens[OLD.hash].limit is limit
    assert limit.wait(0) == 0
    live.swap_switches([Switch("pbx-1", 0.0, (NEW,), ("192.0.2.7",), rate=1), Switch.new("pbx-2", b"1", 0.0)])
    assert live.tokens[NEW.hash].limit is limit
    live.swap_switches([Switch("pbx-1", 0.0, (NEW,), rate=2)])
    assert live.tokens[NEW.hash].limit is not limit


def test_a_rate_of_the_settings_is_for_switches_without_one_of_their_own() -> None:
    live = Live(switch_rate=5)
    live.swap_switches([Switch.new(str(rate), str(rate).encode(), 0.0, rate=rate) for rate in (None, 0, 7)])
    assert live.tokens is not None
    limits = {known.switch: known.limit and known.limit.rate for known in live.tokens.values()}
    assert limits == {"None": 5, "0": None, "7": 7}
