"""A change and its record in the audit trail are one transaction: where one cannot be kept, neither is."""

from __future__ import annotations

import html
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from loader.store import Store
from tests.unit.admin.conftest import Browser, NewBrowser, list_file

_BESIDE: Final = ("audit", "web_session", "staged_upload", "consent", "sign_in_failure")
"""What is written beside a change: not what the change is about."""
_PERSON: Final = {
    "pin": "2001",
    "first_name": "Ann",
    "last_name": "Lee",
    "company": "XYZ",
    "city": "Uxbridge",
    "state_country": "UK",
}
_CHANGES: Final[dict[str, tuple[str, str, dict[str, str]]]] = {
    "an entry": ("org", "/lists/organizer/olive/new", _PERSON),
    "PIN entry": ("org", "/conferences/A-1/pin-entry", {"pin_entry": "0"}),
    "a date": (
        "org",
        "/conferences/A-1/date",
        {"date": "2099-05-01", "time": "10:00", "minutes": "60", "time_zone": "UTC"},
    ),
    "rolls by mail": ("org", "/conferences/rolls-by-mail", {"send": "1"}),
    "numbers": ("sup", "/companies/one/settings/dial-in", {"number": "+44 20 5550 0100", "label": "London"}),
    "a webhook": ("sup", "/companies/one/settings/webhook", {"url": "https://example.com/rolls"}),
    "a user": (
        "sup",
        "/companies/one/user",
        {"id": "ned", "name": "Ned New", "email": "ned@example.com", "role": "coordinator"},
    ),
    "a company": ("ope", "/companies", {"id": "three", "name": "Company Three"}),
    "a switch": ("ope", "/switches", {"name": "pbx-9"}),
    "a sign-out": ("ope", "/sessions/org/end", {}),
    "everywhere": ("org", "/account/sign-out-everywhere", {}),
    "a password": (
        "org",
        "/account/password",
        {
            "old": "a long enough password",
            "password": "one more, as long as that",
            "again": "one more, as long as that",
        },
    ),
}


@pytest.fixture
def database(store: Store, tmp_path: Path) -> Path:
    return tmp_path / "rollcall.db"


def kept(database: Path) -> dict[str, list[Any]]:
    """What is in the database, but for what is written beside a change."""
    with closing(sqlite3.connect(database)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {table: list(connection.execute(f"SELECT * FROM {table}")) for table in tables if table not in _BESIDE}


def sessions(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        return int(connection.execute("SELECT count(*) FROM web_session WHERE user_id IS NOT NULL").fetchone()[0])


def refuse_records(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'full'); END")


@pytest.mark.parametrize("what", _CHANGES)
async def test_what_cannot_be_recorded_is_not_done(browser: NewBrowser, database: Path, what: str) -> None:
    """The page says so, and all is as it was; once it can be recorded the same form does it."""
    user, address, fields = _CHANGES[what]
    await browser("org")
    somebody = await browser(user)
    before, signed_in = kept(database), sessions(database)
    refuse_records(database)
    assert (await somebody.post(address, fields)).status == 503
    assert (kept(database), sessions(database)) == (before, signed_in)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("DROP TRIGGER full")
    assert (await somebody.post(address, fields)).status in (201, 303)
    assert (kept(database), sessions(database)) != (before, signed_in)


async def test_an_upload_that_cannot_be_recorded_changes_no_list(browser: NewBrowser, database: Path) -> None:
    somebody = await browser("sup")
    preview = await somebody.staged(list_file("1000", "1001", "4711"), "organizer:olive", "authorization_code:11")
    compared = await _compared(somebody, preview)
    before = kept(database)
    refuse_records(database)
    assert (await somebody.post(preview, {"compared": compared})).status == 503
    assert kept(database) == before


async def test_a_revision_whose_return_cannot_be_recorded_is_not_put_back(browser: NewBrowser, database: Path) -> None:
    somebody = await browser("org")
    assert (await somebody.post("/lists/organizer/olive/new", _PERSON)).status == 303
    before = kept(database)
    refuse_records(database)
    assert (await somebody.post("/lists/organizer/olive/history/1")).status == 503
    assert kept(database) == before


async def _compared(somebody: Browser, preview: str) -> str:
    page = await (await somebody.get(preview)).text()
    found = re.search(r'name="compared" value="([^"]+)"', page)
    assert found is not None
    return html.unescape(found[1])
