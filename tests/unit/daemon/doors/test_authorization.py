"""Tokens as HTTP carries them."""

import base64
from typing import Any

import pytest
import structlog
from multidict import CIMultiDict, CIMultiDictProxy

from daemon.doors.authorization import Authorization
from daemon.doors.http_reply import Peer
from daemon.doors.problem import Problem
from daemon.live import Live
from loader.model import Switch, SwitchToken
from loader.tokens import token_hash
from tests.unit.daemon.doors.conftest import TOKEN, At

SENT = f"Bearer {TOKEN}"
OLD = "rc_the-one-before"
SECOND = 1_000_000_000


def headers(authorization: str | None) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict({} if authorization is None else {"Authorization": authorization}))


def basic(credentials: str) -> str:
    return "Basic " + base64.b64encode(credentials.encode()).decode()


def switch_of(live: Live, authorization: str | None, *, peer: Peer = At(), **how: Any) -> str:  # noqa: B008 - a value
    return Authorization(live, **how).switch_of(headers(authorization), peer)


def refused(live: Live, authorization: str | None, **how: Any) -> Problem:
    with pytest.raises(Problem) as raised:
        switch_of(live, authorization, **how)
    return raised.value


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("sent", [f"Bearer {TOKEN}", f"bearer  {TOKEN} ", f"BEARER {TOKEN}"])
def test_a_token_is_a_bearer_token(live: Live, sent: str, allowed: bool) -> None:
    assert switch_of(live, sent, basic=allowed) == "pbx-1"


@pytest.mark.parametrize("sent", [basic(f"pbx-1:{TOKEN}"), basic(f":{TOKEN}"), basic(f"ö:{TOKEN}")])
def test_a_token_may_be_a_password_where_that_is_allowed(live: Live, sent: str) -> None:
    assert switch_of(live, sent, basic=True) == "pbx-1"
    assert refused(live, sent).status == 401


NONE = [
    None,
    "",
    TOKEN,
    f"Digest {TOKEN}",
    "Bearer",
    "Bearer x",
    "Basic",
    "Basic ÿ",
    f"Basic {TOKEN}",
    basic(TOKEN),
    basic(f"{TOKEN}:"),
    basic(f"pbx-1:{TOKEN}x"),
    f"Bearer {TOKEN}\udcff",
]


@pytest.mark.parametrize("sent", NONE)
def test_whatever_else_is_sent_is_refused_without_being_repeated(live: Live, sent: str | None) -> None:
    problem = refused(live, sent, basic=True)
    assert (problem.status, problem.headers) == (401, {"WWW-Authenticate": 'Basic realm="Rollcall", charset="UTF-8"'})
    assert TOKEN not in problem.detail
    assert refused(live, sent).headers == {"WWW-Authenticate": "Bearer"}


def test_while_no_tokens_are_loaded_nobody_is_told_that_his_is_wrong() -> None:
    assert refused(Live(), f"Bearer {TOKEN}").status == 503


class Clock:
    """Seconds, and nanoseconds, that a test says."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds

    def ticks(self) -> int:
        return round(self.seconds * SECOND)


def knowing(*switches: Switch) -> Live:
    live = Live()
    live.swap_switches(switches)
    return live


def rotated(*, expires_at: float) -> Live:
    """A switch with an old token beside its new one."""
    tokens = SwitchToken(token_hash(OLD), 0.0, expires_at), SwitchToken(token_hash(TOKEN), 1.0)
    return knowing(Switch("pbx-1", 0.0, tokens))


def test_an_old_token_is_good_until_its_end_and_no_longer() -> None:
    """By the daemon's own clock: nothing has to tell it."""
    live, clock = rotated(expires_at=1060.0), Clock()
    for now in (1000.0, 1059.9):
        clock.seconds = now
        assert switch_of(live, f"Bearer {OLD}", clock=clock) == "pbx-1"
    for now in (1060.0, 2000.0):
        clock.seconds = now
        assert refused(live, f"Bearer {OLD}", clock=clock).status == 401
        assert switch_of(live, SENT, clock=clock) == "pbx-1"


def bound(*networks: str) -> Live:
    return knowing(Switch.new("pbx-1", token_hash(TOKEN), 0.0, networks))


@pytest.mark.parametrize("sent", [SENT, basic(f"x:{TOKEN}")])
def test_a_token_that_is_bound_is_taken_from_its_addresses_alone(sent: str) -> None:
    live = bound("192.0.2.0/24", "2001:db8::1")
    for address in ("192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1"):
        assert switch_of(live, sent, basic=True, peer=At(address)) == "pbx-1"
    for address in ("192.0.3.7", "2001:db8::2", "::1", ""):
        assert refused(live, sent, basic=True, peer=At(address)).status == 401


@pytest.mark.parametrize("how", [{}, {"basic": True}])
def test_a_token_that_is_not_taken_is_answered_as_one_that_is_of_no_switch(how: dict[str, Any]) -> None:
    """To the letter: whoever found it must not learn that it is worth looking for its place."""
    unknown = refused(knowing(), SENT, **how)
    for live, sent in ((bound("198.51.100.1"), SENT), (rotated(expires_at=1.0), f"Bearer {OLD}")):
        problem = refused(live, sent, **how)
        assert (problem.body(), problem.headers) == (unknown.body(), unknown.headers)


def test_a_token_that_is_not_taken_is_counted_and_logged_by_why() -> None:
    """Never the token; a line for each token and reason, however often it is tried, and none for what is of no switch."""
    counted: list[str] = []
    with structlog.testing.capture_logs() as logged:
        for live, sent in (
            (bound("198.51.100.1"), SENT),
            (rotated(expires_at=1.0), f"Bearer {OLD}"),
            (knowing(), SENT),
        ):
            for _ in range(3):
                refused(live, sent, refused=counted.append)
    assert counted == ["address"] * 3 + ["expired"] * 3
    at = {"log_level": "warning", "switch": "pbx-1", "address": "192.0.2.7"}
    assert logged == [
        {"event": "token_refused_address", "token": token_hash(TOKEN)[:4].hex(), **at},
        {"event": "token_refused_expired", "token": token_hash(OLD)[:4].hex(), **at},
    ]


def test_the_use_of_an_old_token_is_logged_once_in_a_while() -> None:
    """So that nobody is surprised by its end."""
    live = rotated(expires_at=1060.0)
    with structlog.testing.capture_logs() as logged:
        for _ in range(3):
            switch_of(live, f"Bearer {OLD}", clock=Clock())
            switch_of(live, SENT, clock=Clock())
    (line,) = logged
    assert (line["event"], line["switch"], line["seconds_left"]) == ("old_token_used", "pbx-1", 60)


def test_a_switch_may_ask_so_often_and_is_told_when_to_ask_again() -> None:
    """Whichever of its tokens it sends."""
    tokens = SwitchToken(token_hash(OLD), 0.0, 5000.0), SwitchToken(token_hash(TOKEN), 1.0)
    live, clock = knowing(Switch("pbx-1", 0.0, tokens, rate=2)), Clock()
    how: dict[str, Any] = {"clock": clock, "ticks": clock.ticks}
    switch_of(live, SENT, **how)
    switch_of(live, f"Bearer {OLD}", **how)
    for sent in (SENT, f"Bearer {OLD}"):
        problem = refused(live, sent, **how)
        assert (problem.status, problem.headers) == (429, {"Retry-After": "1"})
    clock.seconds += 0.5
    switch_of(live, SENT, **how)
    assert refused(live, SENT, **how).status == 429


def test_who_may_not_ask_uses_up_nothing_of_a_rate() -> None:
    live, clock = knowing(Switch.new("pbx-1", token_hash(TOKEN), 0.0, ("192.0.2.7",), 1)), Clock()
    for _ in range(5):
        assert refused(live, SENT, peer=At("192.0.2.8"), ticks=clock.ticks).status == 401
    assert switch_of(live, SENT, ticks=clock.ticks) == "pbx-1"
