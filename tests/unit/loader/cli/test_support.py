"""`rollcall lookup` and `rollcall status`."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from loader.model import DaemonState, Position
from loader.store import open_store

pytestmark = pytest.mark.usefixtures("installed")

Run = Callable[..., tuple[int, str, str]]
Write = Callable[..., str]


@pytest.fixture
def lists(run: Run, write: Write) -> None:
    """Lists of alicia (4127 is Mike), and of her company (4127 is Jane, 4128 is Rosa)."""
    run("import", write("4127,Mike"), "--organizer", "alicia")
    run("import", write("4127,Jane", "4128,Rosa"), "--company", "globaltest")


def test_a_lookup_tells_the_decision_and_each_list(run: Run, lists: None) -> None:
    """The answer first, the conference, then what each list says, in the order of asking; not the PIN."""
    status, out, err = run("lookup", "7784321", "4127")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "accepted: Mike Doe, XYZ, Uxbridge, UK; by the list of the organizer, revision 1",
        "conference C-1001: Weekly call, organizer alicia, PIN entry on",
        "  organizer alicia: there, and active (revision 1, 1 entries)",
        "  authorization code 3625046: no list",
        "  company globaltest: there, and active (revision 1, 2 entries)",
    ]
    assert run("lookup", "7784321", "4128")[1].startswith("accepted: Rosa Doe")


@pytest.mark.parametrize(
    ("passcode", "pin", "first"),
    [
        ("7784321", "9999", "rejected: unknown_pin"),
        ("7784321", "", "rejected: pin_required"),
        ("7784321", "*#", "rejected: unknown_pin"),
        ("1", "4127", "rejected: unknown_passcode"),
        ("", "4127", "rejected: unknown_passcode"),
    ],
)
def test_a_rejection_is_an_answer_too(run: Run, lists: None, passcode: str, pin: str, first: str) -> None:
    """The reason is in the words that a switch reads, and the status is 0."""
    status, out, err = run("lookup", passcode, pin)
    assert (status, out.splitlines()[0], err) == (0, first, "")


def test_a_pin_can_come_from_standard_input(run: Run, lists: None) -> None:
    """With - the PIN stands in no shell history and no list of processes."""
    assert run("lookup", "7784321", "-", stdin="4128\r\n")[1].startswith("accepted: Rosa Doe")


def test_what_no_switch_may_send_is_a_wrong_call(run: Run) -> None:
    """A PIN or passcode of more than 32 characters, and the PIN is not repeated."""
    status, out, err = run("lookup", "7784321", "5" * 33)
    assert (status, out) == (2, "")
    assert "555" not in err


def test_with_pin_entry_off_nobody_is_asked(run: Run, lists: None, installed: Path, example: bytes) -> None:
    """The conference accepts without a participant, and the lookup says why."""
    (installed / "d.toml").write_bytes(example.replace(b"pin_entry = true", b"pin_entry = false"))
    run("directory", "apply", "d.toml")
    _, out, _ = run("lookup", "7784321", "9999")
    assert out.startswith(
        "accepted: without a participant\nconference C-1001: Weekly call, organizer alicia, PIN entry off\n"
    )
    assert out.endswith("the lists are not asked, as PIN entry is off\n")


def test_a_list_that_was_tampered_with_does_not_hide_the_others(run: Run, lists: None) -> None:
    """It is named where it would have been asked, and the lists after it are told as ever."""
    with sqlite3.connect("var/rollcall.db") as database:
        database.execute("UPDATE list_part SET ciphertext = zeroblob(length(ciphertext)) WHERE level = 'organizer'")
    database.close()
    _, out, _ = run("lookup", "7784321", "4127")
    assert out.startswith("accepted: Jane Doe")
    assert "  organizer alicia: the list of organizer alicia, revision 1, was damaged or tampered with\n" in out


def test_status_tells_what_there_is(run: Run, lists: None) -> None:
    """Text is for people and simple scripts, JSON for programs, and both tell the same."""
    told = json.loads(run("status", "--format", "json")[1])
    assert told["database"] == "var/rollcall.db"
    assert told["counts"] == {
        "company": 2, "authorization_code": 2, "organizer": 1, "conference": 1, "user": 0, "switch": 0,
    }  # fmt: skip
    assert [(one["level"], one["owner"], one["revision"], one["entries"], one["active"]) for one in told["lists"]] == [
        ("company", "globaltest", 1, 2, 2),
        ("organizer", "alicia", 1, 1, 1),
    ]
    lines = run("status")[1].splitlines()
    assert f"position\t{told['position']}" in lines
    assert "\t".join(("list", *map(str, told["lists"][1].values()))) in lines


def test_status_tells_which_daemon_has_applied_what(run: Run, lists: None) -> None:
    """A daemon is up to date, behind by so much, or silent for more than a minute."""
    position = json.loads(run("status", "--format", "json")[1])["position"]
    now = time.time()

    async def record() -> None:
        async with open_store("sqlite:///var/rollcall.db") as store:
            for name, behind, silent in (("a:1", 0, 5), ("b:1", 2, 5), ("c:1", 0, 90)):
                await store.record_daemon(
                    DaemonState(name, "0.1.0", now - 100, Position(position - behind), now - 100, now - silent)
                )

    asyncio.run(record())
    told = json.loads(run("status", "--format", "json")[1])["daemons"]
    assert [(one["id"], one["state"]) for one in told] == [
        ("a:1", "up to date"),
        ("b:1", "behind by 2"),
        ("c:1", "silent"),
    ]
    assert f"daemon\tb:1\t0.1.0\t{position - 2}\tbehind by 2\t" in run("status")[1]
