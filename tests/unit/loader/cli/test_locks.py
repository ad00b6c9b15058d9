"""`rollcall locked` and `rollcall unlock`."""

from __future__ import annotations

import asyncio
import json
import math
import sqlite3
import time
from pathlib import Path

import pytest

from loader.keyring import Keyring
from loader.roll import Locked
from loader.store import Desk, open_store
from loader.store.rolls import BEGINNING, Progress
from loader.store.taking import RollTaker
from tests.unit.loader.cli.conftest import Run

BEGUN = math.floor(time.time())


@pytest.fixture
def attacked(installed: Path) -> Path:
    """A caller of two conferences, of which one is not known; who withholds his number; a conference; a switch."""
    events = [
        ("caller", 4, "C-1001", "+1 (555) 0100", 600_000.0),
        ("caller", 3, "", "+15550100", 300_000.0),
        ("caller", 3, "C-1001", None, 200_000.0),
        ("conference", 30, "C-1001", "+15550101", math.inf),
        ("switch", 50, "", None, 900_000.0),
    ]

    async def lock() -> None:
        async with open_store(f"sqlite:///{installed}/var/rollcall.db") as store:
            keyring = Keyring.load(installed / "var" / "rollcall.key")
            told = [
                Locked(BEGUN, BEGUN + lasts, f"{number:016x}", kind, failures, conference, caller, "pbx-1")
                for number, (kind, failures, conference, caller, lasts) in enumerate(events)
            ]
            await RollTaker(store, quiet=60.0).apply(keyring, told, "journal", BEGINNING, Progress(1, 1))

    asyncio.run(lock())
    return installed


def keys(run: Run) -> list[str]:
    """What is locked."""
    return [one["key"].lstrip("0") or "0" for one in json.loads(run("locked", "--format", "json").out)["locked"]]


def stamp(after: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(BEGUN + after))


def test_what_is_locked_is_told(attacked: Path, run: Run) -> None:
    """The most important first: what concerns everybody, then what lasts longest."""
    status, out, err = run("locked")
    assert (status, err) == (0, "")
    since = stamp(0)
    assert [line.split("\t") for line in out.splitlines()] == [
        ["locked", "conference", "C-1001", "", "pbx-1", "globaltest", "30", since, "unlocked by somebody",
         "0000000000000003"],
        ["locked", "switch", "", "", "pbx-1", "", "50", since, stamp(900_000), "0000000000000004"],
        ["locked", "caller", "C-1001", "+1 (555) 0100", "pbx-1", "globaltest", "4", since, stamp(600_000),
         "0000000000000000"],
        ["locked", "caller", "", "+15550100", "pbx-1", "", "3", since, stamp(300_000), "0000000000000001"],
        ["locked", "caller", "C-1001", "withheld", "pbx-1", "globaltest", "3", since, stamp(200_000), "0000000000000002"],
    ]  # fmt: skip
    told = json.loads(run("locked", "--format", "json").out)["locked"]
    assert [one["until"] for one in told] == [None, *map(stamp, (900_000, 600_000, 300_000, 200_000))]
    assert [one["caller"] for one in told] == [None, None, "+1 (555) 0100", "+15550100", None]


def test_nothing_is_locked_at_first(installed: Path, run: Run) -> None:
    assert run("locked") == (0, "", "")
    assert json.loads(run("locked", "--format", "json").out) == {"locked": []}
    assert run("unlock", "--all") == (1, "", "rollcall: nothing of that is locked\n")


def test_status_tells_how_many_are_locked(attacked: Path, run: Run) -> None:
    assert "locked\t5" in run("status").out.splitlines()
    assert json.loads(run("status", "--format", "json").out)["locked"] == 5


@pytest.mark.parametrize(
    ("ways", "left"),
    [
        (("--caller", "001 555-0100"), ["3", "4", "2"]),
        (("--caller", "+15550100", "--conference", "C-1001"), ["3", "4", "1", "2"]),
        (("--conference", "C-1001"), ["4", "0", "1", "2"]),
        (("--switch", "pbx-1"), ["3", "0", "1", "2"]),
        (("--key", "0000000000000002"), ["3", "4", "0", "1"]),
        (("--all",), []),
    ],
)
def test_one_or_all_are_unlocked(attacked: Path, run: Run, ways: tuple[str, ...], left: list[str]) -> None:
    status, out, err = run("unlock", *ways)
    assert (status, err) == (0, "")
    assert len(out.splitlines()) == 5 - len(left)
    assert keys(run) == left
    again = run("unlock", *ways)
    assert (again.status, again.out, again.err) == (1, "", "rollcall: nothing of that is locked\n")


def test_it_is_told_what_was_unlocked_and_who_did_it(attacked: Path, run: Run) -> None:
    assert run("unlock", "--caller", "+15550100", "--conference", "C-1001").out == (
        "unlocked\tcaller\tC-1001\t+1 (555) 0100\tpbx-1\n"
    )
    run("unlock", "--switch", "pbx-1")

    async def trail() -> list[tuple[str | None, str, str, str]]:
        async with open_store("sqlite:///var/rollcall.db") as store:
            _, entries = await Desk(store).audit(action="unlocked")
        assert all(one.user_id.startswith("cli:") for one in entries)
        return [(one.company_id, one.action, one.target, one.detail) for one in entries]

    assert asyncio.run(trail()) == [
        (None, "unlocked", "pbx-1", "switch 0000000000000004"),
        ("globaltest", "unlocked", "C-1001", "caller 0000000000000000"),
    ]


@pytest.mark.parametrize(
    "ways",
    [
        (),
        ("--all", "--switch", "pbx-1"),
        ("--caller", "+15550100", "--key", "1"),
        ("--caller", ""),
        ("--conference", "C-1001", "--switch", "pbx-1"),
    ],
)
def test_what_says_not_what_is_meant_is_a_wrong_call(attacked: Path, run: Run, ways: tuple[str, ...]) -> None:
    assert run("unlock", *ways).status == 2
    assert len(keys(run)) == 5


def test_a_number_without_a_digit_is_nobodys(attacked: Path, run: Run) -> None:
    assert run("unlock", "--caller", "anonymous").status == 1
    assert len(keys(run)) == 5


def test_a_row_that_cannot_be_read_can_be_unlocked(attacked: Path, run: Run) -> None:

    with sqlite3.connect("var/rollcall.db") as database:
        database.execute("UPDATE lockout SET sealed = zeroblob(40) WHERE id = '0000000000000000'")
    database.close()
    assert "cannot be read" in run("locked").out
    assert run("unlock", "--caller", "+15550100", "--conference", "C-1001").status == 1
    assert run("unlock", "--key", "0000000000000000").status == 0
