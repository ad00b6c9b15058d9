"""`rollcall forget`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from loader.keyring import Keyring
from loader.model import Participant
from loader.roll import Admitted
from loader.store import open_store
from loader.store.rolls import BEGINNING, Progress
from loader.store.taking import RollTaker
from tests.unit.loader.cli.conftest import HEADER, Run

MIKE = Participant("Mike", "Doe", "XYZ", "+1 555 0100", "mike@example.com", "Uxbridge", "UK", "")


@pytest.fixture
def met(installed: Path, run: Run, folder: Path) -> Path:
    """Mike stands in Alicia's list, and has called once."""
    people = ("004127,Mike,Doe,XYZ,+1 555 0100,mike@example.com,Uxbridge,UK,", "271828,Jane,Roe,XYZ,,,London,UK,")
    (folder / "list.csv").write_text("\n".join([HEADER, *people, ""]))
    assert run("import", "list.csv", "--organizer", "alicia").status == 0

    async def call() -> None:
        async with open_store(f"sqlite:///{installed}/var/rollcall.db") as store:
            keyring = Keyring.load(installed / "var" / "rollcall.key")
            events = [
                Admitted(1_700_000_000.0, "v", "http", "pbx", "1", None, "C-1001", "organizer:alicia", "004127", MIKE)
            ]
            await RollTaker(store, quiet=60.0).apply(keyring, events, "journal", BEGINNING, Progress(1, 1))

    asyncio.run(call())
    return installed


@pytest.mark.parametrize("who", [("--email", "mike@example.com"), ("--phone", "15550100"), ("--name", "mike doe")])
def test_it_is_told_where_somebody_stands_and_nothing_is_changed(met: Path, run: Run, who: tuple[str, str]) -> None:
    status, out, err = run("forget", *who)
    assert status == 0
    assert out.splitlines() == [
        "call\tglobaltest\t1\tC-1001\tWeekly call\t2023-11-14T22:13:20Z\t2023-11-14T22:13:20Z",
        "list\tglobaltest\torganizer\talicia\t1\tin force\t1",
    ]
    assert err == "rollcall: calls 1, invitations 0, locks 0, list revisions 1; nothing was changed\n"
    assert run("forget", *who).out == out


def test_it_is_erased_and_told_how_much(met: Path, run: Run) -> None:
    status, out, err = run("forget", "--email", "mike@example.com", "--erase")
    assert (status, err) == (0, "")
    assert out == "company globaltest: erased calls 1, events 0, invitations 0, entries 1, revisions 1, locks 0\n"
    assert run("forget", "--email", "mike@example.com").out == ""
    assert run("forget", "--email", "mike@example.com", "--erase").out == "there was nothing to erase\n"
    assert "271828" in run("export", "--organizer", "alicia").out
    assert "Mike" not in run("export", "--organizer", "alicia").out


def test_one_company_is_looked_at_alone(met: Path, run: Run) -> None:
    assert run("forget", "--name", "Mike Doe", "--company", "other", "--erase").out == "there was nothing to erase\n"
    assert run("forget", "--name", "Mike Doe", "--company", "nobody") == (
        1,
        "",
        "rollcall: there is no company nobody\n",
    )


def test_an_account_is_named_and_not_touched(met: Path, run: Run, folder: Path) -> None:
    (folder / "users.toml").write_text(
        '[[user]]\nid = "mike"\nname = "Mike Doe"\nemail = "Mike@example.com"\nrole = "operator"\n'
    )
    assert run("directory", "apply", "users.toml").status == 0
    for who in (("--email", "mike@example.com"), ("--name", "Mike Doe")):
        assert "user mike signs in with this address or name" in run("forget", *who).err
    assert "user mike" not in run("forget", "--phone", "+1 555 0100").err


@pytest.mark.parametrize(
    "call",
    [
        ("forget",),
        ("forget", "--email", "mike@example.com", "--name", "Mike Doe"),
        ("forget", "--email", "mike"),
        ("forget", "--phone", "1234"),
        ("forget", "--name", "Mike"),
    ],
)
def test_who_is_meant_must_be_said(
    installed: Path, run: Callable[..., tuple[int, str, str]], call: tuple[str, ...]
) -> None:
    assert run(*call)[0] == 2
