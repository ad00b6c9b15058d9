"""`rollcall switch`: who may ask, from where, how often, and with which token."""

import re
import sqlite3
import time
from pathlib import Path

import pytest

from loader.tokens import token_hash
from tests.unit.loader.cli.conftest import Run

MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def fingerprint(token: str) -> str:
    return token_hash(token.strip()).hex()[:8]


def listed(run: Run) -> list[list[str]]:
    """The fields of each line of `switch list`."""
    return [line.split("\t") for line in run("switch", "list").out.splitlines()]


@pytest.fixture
def first(run: Run, installed: Path) -> str:
    """The first token of the switch pbx-1."""
    return run("switch", "add", "pbx-1").out


def test_a_token_is_shown_once_and_kept_as_a_hash(run: Run, installed: Path) -> None:
    """Standard output is the token and nothing else; no file holds it."""
    status, first, err = run("switch", "add", "pbx-1")
    assert status == 0
    assert "not shown again" in err
    status, second, err = run("switch", "rotate", "pbx-1")
    assert status == 0
    assert re.fullmatch(rf"rollcall: switch pbx-1: the old token is good until {MOMENT}\n.*not shown again\n", err)
    with sqlite3.connect("var/rollcall.db") as database:
        hashes = {row[0] for row in database.execute("SELECT hash FROM switch_token")}
    database.close()
    assert hashes == {token_hash(first.strip()), token_hash(second.strip())}
    for token in (first, second):
        assert re.fullmatch(r"rc_[A-Za-z0-9_-]{43}\n", token)
        assert not [file for file in (installed / "var").iterdir() if token.strip().encode() in file.read_bytes()]
        assert token.strip() not in run("switch", "list").out


def test_switches_come_and_go(run: Run, first: str) -> None:
    """A name is taken once, listed with its time, and removed once."""
    assert run("switch", "add", "pbx-1") == (1, "", "rollcall: there is already a switch pbx-1\n")
    line = rf"switch\tpbx-1\t{MOMENT}\t{fingerprint(first)}\t{MOMENT}\tever\tanywhere\tany \(default\)\n"
    assert re.fullmatch(line, run("switch", "list").out)
    assert run("switch", "remove", "pbx-1").status == 0
    assert run("switch", "remove", "pbx-1") == (1, "", "rollcall: there is no switch pbx-1\n")
    assert run("switch", "list") == (0, "", "")


@pytest.mark.parametrize(
    ("overlap", "seconds"),
    [([], 86400), (["--overlap", "90"], 90), (["--overlap", "30m"], 1800), (["--overlap=7d"], 7 * 86400)],
)
def test_the_old_token_is_good_for_the_overlap(run: Run, first: str, overlap: list[str], seconds: int) -> None:
    before = time.time()
    second = run("switch", "rotate", "pbx-1", *overlap).out
    with sqlite3.connect("var/rollcall.db") as database:
        ends = dict(database.execute("SELECT hash, expires_at FROM switch_token"))
    database.close()
    assert before + seconds <= ends[token_hash(first.strip())] <= time.time() + seconds
    assert ends[token_hash(second.strip())] is None
    assert [(line[3], line[5] == "ever") for line in listed(run)] == [
        (fingerprint(first), False),
        (fingerprint(second), True),
    ]


def test_without_an_overlap_only_the_new_token_is_left(run: Run, first: str) -> None:
    """Also where an old one was still good."""
    run("switch", "rotate", "pbx-1")
    _, third, err = run("switch", "rotate", "pbx-1", "--overlap", "0")
    assert "all older tokens are refused from now on" in err
    assert [line[3] for line in listed(run)] == [fingerprint(third)]


def test_during_an_overlap_there_is_no_third_token_unless_it_takes_the_place_of_the_second(
    run: Run, first: str
) -> None:
    """It says until when, and what can be done: nobody loses the token that his switch has by a word too many."""
    second = run("switch", "rotate", "pbx-1").out
    status, out, err = run("switch", "rotate", "pbx-1")
    assert (status, out) == (1, "")
    assert re.search(rf"still has an old token beside its new one, until {MOMENT}.*--again.*end-old pbx-1", err)
    assert [line[3] for line in listed(run)] == [fingerprint(first), fingerprint(second)]
    status, third, err = run("switch", "rotate", "pbx-1", "--again")
    assert status == 0
    assert "the newest token is refused from now on" in err
    assert [line[3] for line in listed(run)] == [fingerprint(first), fingerprint(third)]


def test_an_overlap_can_be_ended(run: Run, first: str) -> None:
    second = run("switch", "rotate", "pbx-1").out
    assert run("switch", "end-old", "pbx-1").status == 0
    assert [line[3] for line in listed(run)] == [fingerprint(second)]


def test_a_token_that_has_expired_is_listed_as_such_until_the_next_rotation(run: Run, first: str) -> None:
    run("switch", "rotate", "pbx-1")
    with sqlite3.connect("var/rollcall.db") as database:
        database.execute("UPDATE switch_token SET expires_at = 1 WHERE expires_at IS NOT NULL")
    database.close()
    assert [line[5] for line in listed(run)] == ["1970-01-01T00:00:01Z (expired)", "ever"]
    assert run("switch", "rotate", "pbx-1").status == 0
    assert len(listed(run)) == 2


def test_addresses_and_rate_are_set_when_a_switch_is_added_and_afterwards(run: Run, installed: Path) -> None:
    run("switch", "add", "pbx-1", "--from", "192.0.2.7", "2001:DB8::/32", "--rate", "50")

    def told() -> list[str]:
        return listed(run)[0][6:]

    assert told() == ["192.0.2.7 2001:db8::/32", "50"]
    for arguments, expected in (
        (["--rate", "7"], ["192.0.2.7 2001:db8::/32", "7"]),
        (["--from", "198.51.100.0/24"], ["198.51.100.0/24", "7"]),
        (["--from", "192.0.2.1", "--from", "198.51.100.0/24"], ["192.0.2.1 198.51.100.0/24", "7"]),
        (["--from", "198.51.100.0/24"], ["198.51.100.0/24", "7"]),
        (["--no-rate"], ["198.51.100.0/24", "any"]),
        (["--from-anywhere", "--default-rate"], ["anywhere", "any (default)"]),
    ):
        status, out, err = run("switch", "set", "pbx-1", *arguments)
        assert (status, err) == (0, "")
        assert out == f"switch pbx-1: may ask from {expected[0]}; requests a second: {expected[1]}\n"
        assert told() == expected


def test_a_rate_of_the_settings_is_told_as_such(run: Run, first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLCALL_DAEMON__SWITCH_RATE", "200")
    assert listed(run)[0][7] == "200 (default)"


WRONG = [
    (("add", "pbx-2", "--from", "192.0.2.7/24"), "--from: '192.0.2.7/24' is not an address or a network"),
    (("add", "pbx-2", "--from"), "--from: expected at least one argument"),
    (("add", "pbx-2", "--rate", "0"), "'0' is not a whole number from 1 to 100000"),
    (("add", "pbx-2", "--rate", "100001"), "'100001' is not a whole number from 1 to 100000"),
    (("add", "pbx-2", "--rate", "1" * 5000), "is not a whole number from 1 to 100000"),
    (("set", "pbx-1"), "there is nothing to set"),
    (("set", "pbx-1", "--from", "pbx.example.com"), "is not an address or a network"),
    (("set", "pbx-1", "--from", "192.0.2.7", "--from-anywhere"), "not allowed with argument"),
    (("set", "pbx-1", "--rate", "5", "--no-rate"), "not allowed with argument"),
    (("rotate", "pbx-1", "--overlap", "1w"), "'1w' is no time such as 30m, 24h or 7d; 365d is the longest"),
    (("rotate", "pbx-1", "--overlap", "-1"), "--overlap"),
    (("rotate", "pbx-1", "--overlap", "366d"), "365d is the longest"),
    (("rotate", "pbx-1", "--overlap", "1h", "--again"), "not allowed with argument"),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG)
def test_a_wrong_call_is_refused_and_changes_nothing(
    run: Run, first: str, arguments: tuple[str, ...], said: str
) -> None:
    before = run("switch", "list").out
    status, out, err = run("switch", *arguments)
    assert (status, out) == (2, "")
    assert said in err
    assert run("switch", "list").out == before


@pytest.mark.parametrize("action", [["set", "--no-rate"], ["rotate"], ["rotate", "--again"], ["end-old"], ["remove"]])
def test_a_switch_that_is_not_there_is_not_made(run: Run, first: str, action: list[str]) -> None:
    before = run("switch", "list").out
    assert run("switch", action[0], "pbx-9", *action[1:]) == (1, "", "rollcall: there is no switch pbx-9\n")
    assert run("switch", "list").out == before
