"""Locked now: who sees what must wait, who unlocks it, and what is said of it."""

from __future__ import annotations

import math
import re
import time

import pytest

from loader.keyring import Keyring
from loader.model import AuditEntry
from loader.roll import Locked
from loader.store import Desk, Store, lockouts
from loader.store.lockouts import Lockouts
from tests.unit.admin.calls import Calls
from tests.unit.admin.conftest import Browser, NewBrowser

CALLER, OTTOS, CONFERENCE, TINAS, GUESSER, SWITCH, WITHHELD = (f"{number:016x}" for number in range(1, 8))
ALL = [CALLER, OTTOS, CONFERENCE, TINAS, GUESSER, SWITCH, WITHHELD]


def lock(key: str, conference_id: str = "A-1", *, kind: str = "caller", lasts: float = 600, **fields: object) -> Locked:
    told: dict[str, object] = {"caller": "+15550100", "failures": 4, "switch": "pbx-1", "at": time.time()} | fields
    return Locked(told.pop("at"), time.time() + lasts, key, kind, told.pop("failures"), conference_id, **told)  # type: ignore[arg-type]


@pytest.fixture
async def attacked(store: Store, keyring: Keyring) -> Store:
    """Olive's and Otto's conferences of company one, Tina's of company two, passcodes, and a switch."""
    await Calls(store, keyring).tell(
        lock(CALLER),
        lock(OTTOS, "A-2", caller="+15550102"),
        lock(CONFERENCE, kind="conference", failures=31, lasts=math.inf),
        lock(TINAS, "B-1", caller="+15550103"),
        lock(GUESSER, "", caller="+15550104"),
        lock(SWITCH, "", kind="switch", switch="pbx-7", failures=1234),
        lock(WITHHELD, caller=None),
    )
    return store


def told(page: str) -> list[str]:
    """Which locks a page has a button for."""
    return re.findall(r'action="/locked/([0-9a-f]+)/unlock"', page)


async def page_of(opened: Browser, path: str = "/locked") -> str:
    response = await opened.get(path)
    assert response.status == 200
    return await response.text()


async def audit_of(store: Store) -> list[AuditEntry]:
    return (await Desk(store).audit(action="unlocked"))[1]


@pytest.mark.parametrize(
    ("user", "sees", "unlocks"),
    [
        ("org", {CALLER, CONFERENCE, WITHHELD}, {CALLER, CONFERENCE, WITHHELD}),
        ("sup", {CALLER, OTTOS, CONFERENCE, WITHHELD}, {CALLER, OTTOS, CONFERENCE, WITHHELD}),
        ("coo", {CALLER, OTTOS, CONFERENCE, WITHHELD}, set()),
        ("sup2", {TINAS}, {TINAS}),
        ("ope", set(ALL), set(ALL)),
    ],
)
async def test_everybody_sees_and_unlocks_what_is_his(
    attacked: Store, browser: NewBrowser, user: str, sees: set[str], unlocks: set[str]
) -> None:
    """What is another's is told as what does not exist, whether it is there or not."""
    opened = await browser(user)
    page = await page_of(opened)
    rows = page.partition("<tbody>")[2].count("<tr>")
    assert (rows, set(told(page))) == (len(sees), unlocks)
    refused = [await opened.post(f"/locked/{key}/unlock") for key in ("f" * 16, *ALL) if key not in unlocks]
    assert {response.status for response in refused} == {404}
    assert len({re.sub("[0-9a-f]{16}", "", await response.text()) for response in refused}) == 1
    for key in unlocks:
        assert (await opened.post(f"/locked/{key}/unlock")).status == 303
    left = await Lockouts(attacked).count(time.time())
    assert left == len(ALL) - len(unlocks)
    assert {one.detail.split()[1] for one in await audit_of(attacked)} == unlocks


@pytest.mark.parametrize("user", ["adm", "whole"])
async def test_who_keeps_lists_alone_does_not_see_it(attacked: Store, browser: NewBrowser, user: str) -> None:
    opened = await browser(user)
    assert (await opened.get("/locked")).status == 404
    assert (await opened.post(f"/locked/{CALLER}/unlock")).status == 404
    assert "/locked" not in await page_of(opened, "/")


async def test_it_is_told_what_is_locked_since_when_until_when_and_why(attacked: Store, browser: NewBrowser) -> None:
    """The times have their time zone; numbers are as the switch told them."""
    page = await page_of(await browser("ope"))
    rows = [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL)][1:]
    moment = r"\w{3} \d+, \d{4}, \d+:\d\d:\d\d.[AP]M UTC"
    assert len(rows) == 7
    assert ["all callers" in row for row in rows] == [True] * 2 + [False] * 5
    known = "except who was let in from that number before"
    for expected in (
        rf"all callers {known} Weekly call A-1 one pbx-1 31 {moment} until somebody unlocks it Unlock",
        rf"all callers of pbx-7 {known} pbx-7 1,234 {moment} {moment} Unlock",
        rf"\+15550100 Weekly call A-1 one pbx-1 4 {moment} {moment} Unlock",
        rf"\+15550104 guessed passcodes pbx-1 4 {moment} {moment} Unlock",
        rf"withheld number all who call without one Weekly call A-1 one pbx-1 4 {moment} {moment} Unlock",
        rf"\+15550103 Secret call B-1 two pbx-1 4 {moment} {moment} Unlock",
    ):
        assert any(re.fullmatch(expected, row) for row in rows), (expected, rows)


async def test_to_unlock_needs_a_page_of_ours_and_is_recorded(attacked: Store, browser: NewBrowser) -> None:
    """Without the number, which nobody could take out of the audit trail again."""
    opened = await browser("org")
    token, opened.csrf = opened.csrf, "forged"
    assert (await opened.post(f"/locked/{CALLER}/unlock")).status == 403
    opened.csrf = token
    assert (await opened.post(f"/locked/{CALLER}/unlock")).headers["Location"] == "/locked"
    page = await page_of(opened)
    assert "+15550100 may try again." in page
    assert CALLER not in told(page)
    (done,) = await audit_of(attacked)
    assert (done.user_id, done.company_id, done.target, done.detail) == ("org", "one", "A-1", f"caller {CALLER}")
    (change,) = await attacked.unlocks()
    assert change.id == CALLER


async def test_what_was_unlocked_twice_is_unlocked_once(attacked: Store, browser: NewBrowser) -> None:
    opened = await browser("org")
    for _ in range(2):
        assert (await opened.post(f"/locked/{CONFERENCE}/unlock")).status == 303
    page = await page_of(opened)
    assert "A-1 is unlocked: callers may try again." in page
    assert "That was not locked any more." in page
    assert len(await audit_of(attacked)) == 1


async def test_what_was_done_is_told_in_its_own_words(attacked: Store, browser: NewBrowser) -> None:
    opened = await browser("ope")
    for key in (SWITCH, WITHHELD):
        await opened.post(f"/locked/{key}/unlock")
    page = await page_of(opened)
    assert "pbx-7 is unlocked: its callers may try again." in page
    assert "Callers who withhold their number may try again." in page


@pytest.mark.parametrize(
    ("user", "says"),
    [("org", "callers of your conferences"), ("coo", "your company’s conferences"), ("ope", "When somebody guesses")],
)
async def test_an_empty_page_says_what_would_stand_there(browser: NewBrowser, user: str, says: str) -> None:
    page = await page_of(await browser(user))
    assert "Nothing is locked." in page
    assert says in page
    assert "<table" not in page


async def test_the_page_says_when_it_does_not_have_all(
    store: Store, keyring: Keyring, browser: NewBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(store, keyring)
    monkeypatch.setattr(lockouts, "KEPT", 3)
    monkeypatch.setattr("admin.pages.locked.KEPT", 3)
    await calls.tell(*(lock(f"{number:016x}") for number in range(10)))
    assert "More may be locked" not in await page_of(await browser("sup2"))
    opened = await browser("org")
    page = await page_of(opened)
    assert len(told(page)) == 3
    assert "More may be locked than stands here" in page
    monkeypatch.setattr("admin.pages.locked._SHOWN", 2)
    page = await page_of(opened)
    assert len(told(page)) == 2
    assert "2 of 3 are shown" in page
    await calls.tell(*(lock(f"{number:016x}", "A-2", lasts=900) for number in range(20, 22)))
    page = await page_of(opened)
    assert len(told(page)) == 1
    assert "More may be locked than stands here" in page, "others of her company have taken the place"


async def test_a_number_that_cannot_be_read_is_told_as_that(attacked: Store, browser: NewBrowser) -> None:
    async with attacked.transaction() as connection:
        await connection.exec_driver_sql("UPDATE lockout SET sealed = zeroblob(40) WHERE id = ?", (CALLER,))
    page = await page_of(await browser("org"))
    assert "number cannot be read" in page
    assert CALLER in told(page)


async def test_a_conference_whose_callers_must_wait_says_so_where_it_stands(
    attacked: Store, browser: NewBrowser
) -> None:
    """That it is locked itself says more than how many of its callers are; of the others nothing is said."""
    opened = await browser("sup")
    page = await page_of(opened, "/conferences")
    assert re.findall(r'class="wait below" href="/locked">([^<]+)<', page) == ["locked now", "1 caller locked now"]
    await opened.post(f"/locked/{CONFERENCE}/unlock")
    page = await page_of(opened, "/conferences")
    assert re.findall(r'class="wait below" href="/locked">([^<]+)<', page) == [
        "2 callers locked now", "1 caller locked now",
    ]  # fmt: skip
    for key in (CALLER, WITHHELD, OTTOS):
        await opened.post(f"/locked/{key}/unlock")
    assert "/locked" not in (await page_of(opened, "/conferences")).partition("<main")[2]
