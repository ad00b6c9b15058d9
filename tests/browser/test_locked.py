"""Callers and conferences that are locked, as people see and unlock them: from a journal to the daemon's next look."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Page, expect

from daemon.journal import Journal
from loader.keyring import Keyring
from loader.roll import Locked
from loader.settings import load_settings
from tests.browser.conftest import Open, Site
from tests.browser.test_site import LOOKS, require_accessible
from tests.integration.processes import wait_until

numbers = count(1)
NUMBER = "+1 555 0100"


def locked(kind: str, conference_id: str, *, lasts: float = 900.0, **fields: str | None) -> Locked:
    """Locked from now on, under a key that is used for the first time."""
    now = time.time()
    told = {"caller": NUMBER, "switch": "test"} | fields
    return Locked(
        now, now + lasts, f"{next(numbers):016x}", kind, 5, conference_id, told["caller"], told["switch"] or ""
    )


def keep(site: Site, *events: Locked) -> None:
    """A journal of its own, and the keeper as a process that takes what is in it and ends."""
    environment = site.installation.environment
    with tempfile.TemporaryDirectory() as folder:

        async def write() -> Path:
            journal = Journal(Path(folder), lambda: Keyring.load(site.installation.key))
            for event in events:
                journal.append(event)
            await journal.close()
            return journal.folder

        # A thread of its own: the browser's loop runs in this one.
        with ThreadPoolExecutor(1) as thread:
            written = thread.submit(asyncio.run, write()).result()
        settings = msgspec.json.encode(load_settings(None, environment))
        command = [sys.executable, "-m", "daemon.rollkeeper", str(written)]
        subprocess.run(command, input=settings + b"\n", env=os.environ | environment, check=True, timeout=30)


@pytest.fixture
def attacked(site: Site) -> Iterator[None]:
    """Alicia's weekly call, callers of it, who guesses passcodes, and a switch; nothing is left of it."""
    keep(
        site,
        locked("caller", "C-1001"),
        locked("caller", "C-1001", caller=None),
        locked("conference", "C-1001", lasts=float("inf")),
        locked("caller", "C-2001", caller="+1 555 0109"),
        locked("caller", "", caller="+1 555 0104"),
        locked("switch", "", switch="pbx-1"),
    )
    yield
    if site.installation.rollcall("locked"):
        site.installation.rollcall("unlock", "--all")


def rows(page: Page) -> list[str]:
    return page.locator("tbody tr").all_inner_texts()


def is_up_to_date(site: Site) -> bool:
    """Whether the daemon has all that was ever committed, what was unlocked included."""
    return site.installation.rollcall("status").splitlines()[1] == (
        f"position\t{int(site.daemon.metric('rollcall_position_applied') or 0)}"
    )


@pytest.mark.usefixtures("attacked")
@pytest.mark.parametrize("javascript", [True, False])
def test_an_organizer_unlocks_who_may_try_again(opened: Open, site: Site, javascript: bool) -> None:
    """By keyboard, with or without scripts; the conference is told as locked where it stands."""
    page = opened("alicia", javascript=javascript)
    page.goto("/conferences")
    page.get_by_role("link", name="locked now").first.click()
    expect(page.locator("h1")).to_have_text("Locked now")
    assert len(rows(page)) == 3
    assert "C-2001" not in page.content()
    page.get_by_role("button", name=f"Unlock {NUMBER}, C-1001").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".notice.done")).to_have_text(f"{NUMBER} may try again.")
    assert len(rows(page)) == 2
    wait_until(lambda: is_up_to_date(site))
    page.get_by_role("button", name="Unlock C-1001", exact=True).click()
    expect(page.locator(".notice.done")).to_contain_text("C-1001 is unlocked")
    page.goto("/conferences")
    expect(page.get_by_role("link", name="1 caller locked now")).to_be_visible()
    page.goto("/locked")
    page.locator("tbody button").click()
    expect(page.locator(".empty")).to_contain_text("Nothing is locked.")


@pytest.mark.usefixtures("attacked")
def test_a_coordinator_sees_and_does_not_unlock(opened: Open) -> None:
    page = opened("kenji", locale="en-GB")
    with page.expect_navigation():
        page.locator("footer select").select_option("en")
    page.goto("/locked")
    assert len(rows(page)) == 3
    assert NUMBER in page.inner_text("table")
    assert page.locator("tbody button").count() == 0


@pytest.mark.usefixtures("attacked")
@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("user", ["alicia", "operator"])
def test_what_is_locked_is_for_everybody(opened: Open, user: str, look: str) -> None:
    page = opened(user, **LOOKS[look])
    for path in ["/locked"] if user != "alicia" else ["/locked", "/conferences"]:
        page.goto(path)
        assert page.locator("h1").count() == 1, path
        require_accessible(page, path)
