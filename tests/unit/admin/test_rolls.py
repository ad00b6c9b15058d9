"""Rolls on the site: who sees which, and what stands on them."""

import asyncio
import csv
import importlib
import io
import re
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import openpyxl
import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestServer
from sqlalchemy import update

from admin import keys
from admin.rolls import PEOPLE_A_PAGE
from loader.errors import DatabaseUnavailable
from loader.keyring import Keyring
from loader.model import Entry, Level, Owner, Participant, Pin
from loader.publish import publish
from loader.sections import Admin, Mail
from loader.settings import Settings
from loader.store import Desk, People, Store, tables
from loader.store.rolls import RollBook
from tests.unit.admin.calls import MIKE, OLIVE, Calls
from tests.unit.admin.conftest import Browser, NewBrowser, entry

TINA = Owner(Level.ORGANIZER, "tina")
JANE = msgspec.structs.replace(MIKE, first_name="Jane")


@pytest.fixture
def calls(store: Store, keyring: Keyring) -> Calls:
    return Calls(store, keyring)


async def page_of(opened: Browser, path: str) -> str:
    response = await opened.get(path)
    assert response.status == 200, path
    return await response.text()


def text_of(page: str) -> str:
    """What is read on a page, its spaces made one."""
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def section(page: str, name: str) -> list[str]:
    """The rows of the table with this ID, as text."""
    found = re.search(rf'id="{name}-rows".*?<tbody>(.*?)</tbody>', page, re.DOTALL)
    return [] if found is None else [text_of(row) for row in re.findall(r"<tr>.*?</tr>", found[1], re.DOTALL)]


async def put_list(store: Store, keyring: Keyring, owner: Owner, *entries: Entry) -> None:
    await publish(store, keyring, owner, entries, by="test", source="import")


# Who sees which


@pytest.fixture
async def rolls(calls: Calls) -> dict[str, int]:
    """One that is on and one that is long over of each conference, by conference and state."""
    calls.began = time.time() - 90000
    conferences = ("A-1", "A-2", "B-1")
    for conference in conferences:
        await calls.tell(
            calls.admitted(f"old-{conference}", conference=conference), calls.left(f"old-{conference}", 60)
        )
    await calls.end()
    calls.began = time.time() - 60
    for conference in conferences:
        await calls.tell(calls.admitted(f"new-{conference}", conference=conference))
    return {
        f"{conference} {state}": number
        for number, (state, conference) in enumerate(
            ((state, conference) for state in ("over", "on") for conference in conferences), 1
        )
    }


PATHS = ("/rolls/{}", "/rolls/{}?all=1", "/rolls/{}/events", "/rolls/{}/roll.csv", "/rolls/{}/roll.xlsx")


@pytest.mark.parametrize(
    ("user", "sees", "downloads"),
    [
        ("org", {"A-1 on", "A-1 over"}, True),
        ("coo", {"A-1 on", "A-2 on"}, False),
        ("sup", {"A-1 on", "A-2 on", "A-1 over", "A-2 over"}, True),
        ("sup2", {"B-1 on", "B-1 over"}, True),
        ("adm", set(), False),
        ("whole", set(), False),
        ("ope", set(), False),
    ],
)
async def test_every_role_sees_its_own_rolls_and_no_others(
    browser: NewBrowser, rolls: dict[str, int], user: str, sees: set[str], downloads: bool
) -> None:
    """All else is told as what does not exist, in the same words."""
    opened = await browser(user)
    nothing = (await (await opened.get("/rolls/999")).text()).replace("/rolls/999", "")
    assert (await opened.get("/rolls")).status == (200 if sees else 404)
    for name, number in rolls.items():
        for pattern in PATHS:
            path = pattern.format(number)
            may = name in sees and (downloads or "roll." not in path)
            response = await opened.get(path)
            assert response.status == (200 if may else 404), (name, path)
            if may:
                response.close()
            else:
                assert (await response.text()).replace(path.partition("?")[0], "") == nothing, (name, path)


async def test_who_is_not_signed_in_is_sent_to_sign_in(browser: NewBrowser, rolls: dict[str, int]) -> None:
    opened = await browser()
    for path in ("/rolls", *(pattern.format(1) for pattern in PATHS)):
        response = await opened.get(path)
        assert response.status == 303, path
        assert response.headers["Location"].startswith("/signin"), path


async def test_a_coordinator_has_an_hour_left_after_the_end(
    browser: NewBrowser, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In which the roll can still be sent; then it is gone from the overview too."""
    await calls.tell(calls.admitted("1"), calls.left("1", 300))
    await calls.end()
    opened = await browser("coo")
    assert "/rolls/1" in await page_of(opened, "/rolls")
    assert (await opened.get("/rolls/1")).status == 200
    for module in ("admin.access", "admin.pages.rolls"):
        monkeypatch.setattr(f"{module}.LIVE_FOR", 60.0)
    assert "/rolls/1" not in await page_of(opened, "/rolls")
    assert (await opened.get("/rolls/1")).status == 404


async def test_seeing_anothers_roll_and_taking_it_away_is_told_to_the_audit_trail(
    browser: NewBrowser, rolls: dict[str, int], store: Store
) -> None:
    for user in ("org", "coo"):
        await (await browser(user)).get(f"/rolls/{rolls['A-1 on']}")
    await (await browser("org")).get(f"/rolls/{rolls['A-1 over']}/roll.csv")
    page = text_of(await page_of(await browser("sup"), "/audit"))
    assert f"coo roll_seen A-1#{rolls['A-1 on']}" in page
    assert f"org roll_downloaded A-1#{rolls['A-1 over']}" in page
    assert "org roll_seen" not in page


# The overview


async def test_the_overview_shows_what_is_on_and_what_was_the_newest_first(browser: NewBrowser, calls: Calls) -> None:
    calls.began = 1_700_000_000.0
    for number in range(3):
        calls.began += 86400
        await calls.tell(calls.admitted(f"a{number}"), calls.left(f"a{number}", 3725), calls.refused(2))
        await calls.end()
    calls.began = time.time() - 5
    await calls.tell(calls.admitted("b"), calls.admitted("c"), calls.refused(7))
    page = await page_of(await browser("org"), "/rolls")
    assert re.findall(r'href="/rolls/(\d+)"', page) == ["4", "3", "2", "1"]
    assert re.search(r"Weekly call A-1 .* 2 2 7 Past", text_of(page))
    assert re.search(r"Weekly call A-1 Nov 17, 2023, 10:13:20.PM UTC 1:02:05 1 2", text_of(page))


async def test_the_past_goes_by_pages(browser: NewBrowser, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("admin.pages.rolls._PAGE", 2)
    for number in range(5):
        calls.began += 86400 - 604800
        await calls.tell(calls.admitted(f"a{number}"), calls.left(f"a{number}", 60))
        await calls.end()
    opened = await browser("org")
    assert re.findall(r'href="/rolls/(\d+)"', await page_of(opened, "/rolls?page=3")) == ["5"]
    for page in ("3", "4", "99"):
        assert "Page 3 of 3" in await page_of(opened, f"/rolls?page={page}")
    for page in ("0", "-1", "x"):
        assert "Page 1 of 3" in await page_of(opened, f"/rolls?page={page}")


class TestFilters:
    @pytest.fixture
    def settings(self, tmp_path: object) -> Settings:
        return Settings(
            admin=Admin(second_factor=False, time_zone="Asia/Tokyo"), mail=Mail(outbox=f"{tmp_path}/outbox")
        )

    @pytest.fixture
    async def opened(self, browser: NewBrowser, calls: Calls) -> Browser:
        """Two conferences that began a second before and a second after 3 May 2026 begins in Tokyo."""
        for conference, began in (("A-1", 1_777_733_999.0), ("A-2", 1_777_734_001.0)):
            calls.began = began
            await calls.tell(calls.admitted(conference, conference=conference), calls.left(conference, 60))
            await calls.end()
        return await browser("sup")

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("", ["2", "1"]),
            ("since=2026-05-03", ["2"]),
            ("until=2026-05-02", ["1"]),
            ("since=2026-05-02&until=2026-05-03", ["2", "1"]),
            ("since=2026-05-04", []),
            ("since=2026-05-03&until=2026-05-01", []),
            ("organizer=olive", ["1"]),
            ("organizer=tina", []),
            ("conference=A-2", ["2"]),
            ("conference=B-1", []),
            ("organizer=olive&conference=A-2", []),
            ("since=3.5.2026", ["2", "1"]),
            ("until=9999-12-31", ["2", "1"]),
        ],
    )
    async def test_days_are_those_of_the_sites_time_zone(self, opened: Browser, query: str, found: list[str]) -> None:
        page = await page_of(opened, f"/rolls?{query}")
        assert re.findall(r'href="/rolls/(\d+)"', page) == found
        assert ("That is no day" in page) == (query == "since=3.5.2026")

    async def test_filters_are_the_super_administrators(self, opened: Browser, browser: NewBrowser) -> None:
        """An organizer who writes one into the address sees her own all the same."""
        page = await page_of(await browser("org"), "/rolls?organizer=otto&conference=A-2")
        assert re.findall(r'href="/rolls/(\d+)"', page) == ["1"]
        assert 'name="since"' not in page


# The live roll


async def test_a_live_roll_says_who_is_in_who_has_left_and_who_is_missing(
    browser: NewBrowser, calls: Calls, store: Store, keyring: Keyring
) -> None:
    await put_list(
        store,
        keyring,
        OLIVE,
        entry("1000"),
        entry("1001", "Jane"),
        entry("1002", "Ann"),
        entry("1003", "Switched", active=False),
    )
    await calls.tell(
        calls.admitted("1", "1000"),
        calls.joined("1", 5),
        calls.admitted("2", "1001", at=10, who=JANE),
        calls.left("2", 70),
        calls.refused(3),
    )
    page = await page_of(await browser("org"), "/rolls/1")
    (present,) = section(page, "present")
    assert re.fullmatch(r"Mike Doe \d+:\d\d:\d\d.[AP]M joined XYZ Uxbridge UK \+15550100", present)
    (gone,) = section(page, "gone")
    assert re.fullmatch(r"Jane Doe \S+ [AP]M admitted \S+ [AP]M 0:01:00 XYZ Uxbridge UK \+15550100", gone)
    assert section(page, "missing") == ["Ann Doe XYZ Uxbridge UK"]
    assert "Expected are the 3 people who are active in the list of Olive Organizer." in page
    assert "Rejected attempts 3" in text_of(page)


async def test_the_same_pin_in_use_twice_is_marked_on_both_calls(browser: NewBrowser, calls: Calls) -> None:
    await calls.tell(*(calls.admitted(call_id, pin) for call_id, pin in (("1", "1000"), ("2", "1000"), ("3", "1001"))))
    opened = await browser("org")
    rows = section(await page_of(opened, "/rolls/1"), "present")
    assert ["twice" in row for row in rows] == [False, True, True]
    await calls.tell(calls.left("2", 60))
    assert "twice" not in await page_of(opened, "/rolls/1")


async def test_the_same_pin_under_two_keys_is_the_same_person(
    browser: NewBrowser, calls: Calls, store: Store, keyring: Keyring
) -> None:
    """The key may be rotated while somebody is on the call: the site reads the file again."""
    opened = await browser("org")
    await calls.tell(calls.admitted("1", "1000"))
    keyring.with_new_key()
    async with store.writing() as writing:
        await writing.use_key(Keyring.load(keyring.path).current)
    await calls.tell(calls.admitted("2", "1000"))
    page = await page_of(opened, "/rolls/1")
    assert ["twice" in row for row in section(page, "present")] == [True, True]
    assert len(section(page, "missing")) == 2


async def test_who_was_known_by_a_key_that_is_gone_has_arrived_by_name(
    browser: NewBrowser, calls: Calls, store: Store
) -> None:
    """By all of the name, company and so on: Mike Doe is there three times in the list, and could be each."""
    await calls.tell(calls.admitted("1", "1000"))
    async with store.transaction() as connection:
        await connection.execute(update(tables.call).values(person_key_id="gone", person=b"x" * 16))
    page = await page_of(await browser("org"), "/rolls/1")
    assert len(section(page, "present")) == 1
    assert section(page, "missing") == []


async def test_a_pin_of_another_list_is_nobody_who_was_expected(browser: NewBrowser, calls: Calls) -> None:
    """Though he is called the same."""
    await calls.tell(calls.admitted("1", "1000", owner=Owner(Level.COMPANY, "one")))
    assert len(section(await page_of(await browser("org"), "/rolls/1"), "missing")) == 3


@pytest.mark.parametrize(
    ("owner", "told"),
    [
        (Owner(Level.AUTHORIZATION_CODE, "11"), "the list of the authorization code ELEVEN"),
        (Owner(Level.COMPANY, "one"), "the list of the company Company One"),
    ],
)
async def test_without_a_list_of_the_organizer_the_next_one_counts_and_the_page_says_which(
    browser: NewBrowser, calls: Calls, store: Store, keyring: Keyring, owner: Owner, told: str
) -> None:
    await put_list(store, keyring, OLIVE, entry("1000", active=False))
    await put_list(store, keyring, owner, entry("77", "Next"))
    await calls.tell(calls.admitted("1", "1000"))
    page = await page_of(await browser("org"), "/rolls/1")
    assert section(page, "missing") == ["Next Doe XYZ Uxbridge UK"]
    assert told in page


async def test_where_pin_entry_is_off_callers_have_no_name(browser: NewBrowser, calls: Calls, store: Store) -> None:
    await Desk(store).set_pin_entry("A-2", on=False)
    await calls.tell(calls.admitted("1", conference="A-2"), calls.admitted("2", conference="A-2", caller=None))
    page = await page_of(await browser("sup"), "/rolls/1")
    assert [row.startswith("no name ") for row in section(page, "present")] == [True, True]
    assert "PIN entry is off" in page
    assert "Expected" not in page


async def test_a_list_of_8000_is_told_page_by_page(
    browser: NewBrowser, calls: Calls, store: Store, keyring: Keyring
) -> None:
    entries = [
        Entry(Pin(f"{number:05}"), "Guest", f"No {number:04}", "XYZ", "", "", "Lyon", "FR", "")
        for number in range(8000)
    ]
    await put_list(store, keyring, OLIVE, *entries)
    await calls.tell(calls.admitted("1", "00000"))
    opened = await browser("org")
    page = await page_of(opened, "/rolls/1")
    rows = section(page, "missing")
    assert (len(rows), rows[0]) == (PEOPLE_A_PAGE, "Guest No 0001 XYZ Lyon FR")
    assert "Expected, not here yet: 7,999" in text_of(page)
    assert section(await page_of(opened, "/rolls/1?missing=160"), "missing")[-1] == "Guest No 7999 XYZ Lyon FR"
    found = await page_of(opened, "/rolls/1?q=no+7777")
    assert section(found, "missing") == ["Guest No 7777 XYZ Lyon FR"]
    assert "1 of 7,999" in found
    assert len(section(await page_of(opened, "/rolls/1?all=1"), "missing")) == 7999


async def test_more_people_than_can_be_told_are_only_counted(
    browser: NewBrowser, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("admin.rolls.TOLD_UP_TO", 2)
    await calls.tell(calls.admitted("1", "1000"), calls.admitted("2", "1000"))
    page = await page_of(await browser("org"), "/rolls/1")
    assert "These are too many to tell who is missing." in page
    assert section(page, "missing") == []
    assert page.count("same PIN in use twice") == 2


@pytest.mark.parametrize("query", ["mike", "DOE", "mike doe", "xyz", "uxbr", "5550100"])
async def test_who_is_searched_for_is_found_by_what_the_page_shows(
    browser: NewBrowser, calls: Calls, query: str
) -> None:
    await calls.tell(calls.admitted("1", "1000"), calls.admitted("2", conference="A-1", caller=None))
    opened = await browser("org")
    assert len(section(await page_of(opened, f"/rolls/1?q={query}"), "present")) == 1
    assert section(await page_of(opened, "/rolls/1?q=nobody"), "present") == []


HOSTILE = Participant("<script>x</script>", "\"'&<b>", "=1+1", "", "", "<img src=x>", "UK", "")


async def test_names_are_text_wherever_they_stand(browser: NewBrowser, calls: Calls) -> None:
    await calls.tell(calls.admitted("1", "1000", who=HOSTILE, caller="<i>1</i>"))
    opened = await browser("org")
    async with stream(opened, "/rolls/1/events?q=<u>") as events:
        parts = [(await events.next("roll"))[1]]
    parts += [await page_of(opened, path) for path in ("/rolls/1", "/rolls/1?q=<b>", '/rolls/1?q="><u>')]
    await calls.tell(calls.left("1", 5))
    await calls.end()
    parts.append(await page_of(opened, "/rolls/1"))
    for part in parts:
        assert not re.search(r"<script>|<img src=x|<b>|<i>|<u>", part)
    assert "&lt;script&gt;x&lt;/script&gt;" in parts[-1]


# After the call


async def test_afterwards_a_roll_has_durations_marks_and_totals(browser: NewBrowser, calls: Calls) -> None:
    await calls.tell(
        calls.admitted("1", "1000"),
        calls.joined("1", 10),
        calls.left("1", 3735),
        calls.admitted("2", "1001", at=20, who=JANE),
        calls.admitted("2", "1002", at=80),
        calls.admitted("3", at=90),
        calls.left("3", 95),
        calls.admitted("4", "1000", at=4000),
        calls.left("4", 4001),
    )
    await calls.taker.sweep(calls.began + 80 + 14401, 14400)
    await calls.end()
    page = await page_of(await browser("org"), "/rolls/1")
    rows = section(page, "call")
    ends = [re.sub(r"^Mike Doe |^Jane Doe |^no name |[\d:]+.[AP]M | XYZ .*| \+1555.*", "", row) for row in rows]
    assert ends == [
        "joined 1:02:05",
        "admitted moved 0:01:00",
        "admitted nothing heard of it for 4 hours",
        "admitted 0:00:05",
        "admitted 0:00:01",
    ]
    facts = text_of(page)
    assert "People 4 Calls 5 All calls together 1:03:11" in facts
    assert "Expected, did not come 0 / 3" in facts


async def test_who_did_not_come_is_told_by_the_list_as_it_was_then(
    browser: NewBrowser, calls: Calls, store: Store, keyring: Keyring
) -> None:
    calls.began = time.time()
    await calls.tell(calls.admitted("1", "1000"), calls.left("1", 0))
    await calls.end()
    await put_list(store, keyring, OLIVE, entry("555", "Later"))
    assert section(await page_of(await browser("org"), "/rolls/1"), "missing") == ["Mike Doe XYZ Uxbridge UK"] * 2


async def test_a_roll_is_downloaded_as_csv_and_as_excel(browser: NewBrowser, calls: Calls) -> None:
    await calls.tell(calls.admitted("1", "1000", who=HOSTILE), calls.joined("1", 5), calls.left("1", 66))
    opened = await browser("org")
    response = await opened.get("/rolls/1/roll.csv")
    day = time.strftime("%Y-%m-%d", time.gmtime(calls.began))
    assert response.headers["Content-Disposition"] == f'attachment; filename="roll-A-1-{day}.csv"'
    data = await response.read()
    assert data.startswith(b"\xef\xbb\xbf")
    (row,) = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))
    assert (row["First Name"], row["Company"], row["Calling Number"]) == ("<script>x</script>", "'=1+1", "'+15550100")
    assert (row["Duration"], row["Ended"]) == ("0:01:01", "left")
    response = await opened.get("/rolls/1/roll.xlsx")
    assert response.headers["Content-Disposition"] == f'attachment; filename="roll-A-1-{day}.xlsx"'
    sheet = openpyxl.load_workbook(io.BytesIO(await response.read())).worksheets[0]
    titles, cells = ([cell.value for cell in one] for one in sheet.iter_rows())
    told = dict(zip(titles, cells, strict=True))
    assert (told["Company"], told["Calling Number"], told["Duration"]) == ("=1+1", "+15550100", "0:01:01")
    company = sheet.cell(2, titles.index("Company") + 1)
    assert (company.data_type, bool(company.quotePrefix)) == ("s", True)


async def test_no_pin_and_no_fingerprint_stands_on_a_roll(browser: NewBrowser, calls: Calls, keyring: Keyring) -> None:
    await calls.tell(calls.admitted("1", "1002"))
    person = keyring.fingerprint(OLIVE, "1002", key_id=keyring.current)
    opened = await browser("sup")
    for path in ("/rolls/1", "/rolls/1?all=1", "/rolls/1/roll.csv"):
        page = await page_of(opened, path)
        assert not re.search(r"\b100[012]\b", page), path
        assert person.hex() not in page


# The stream


class Events:
    """What comes in a stream, event by event."""

    def __init__(self, response: ClientResponse) -> None:
        self.response = response

    async def next(self, *names: str) -> tuple[str, str]:
        """The next event with one of these names, or at all: its name and its data. Comments are `:`."""
        while True:
            async with asyncio.timeout(20):
                block = (await self.response.content.readuntil(b"\n\n")).decode()
            if block.startswith(":"):
                found = ":", block
            else:
                lines = [line.partition(": ") for line in block.strip().split("\n")]
                name = next((value for field, _, value in lines if field == "event"), "")
                found = name, "\n".join(value for field, _, value in lines if field == "data")
            if not names or found[0] in names:
                return found

    async def ended(self) -> bytes:
        """Wait for the end; what came before it."""
        async with asyncio.timeout(20):
            return await self.response.content.read()


@asynccontextmanager
async def stream(opened: Browser, path: str) -> AsyncIterator[Events]:
    response = await opened.client.get(path, allow_redirects=False)
    try:
        assert response.status == 200
        yield Events(response)
    finally:
        response.close()


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("admin.pages.rolls._LOOK_UP", 0.01)


async def test_a_stream_sends_the_part_that_changes_with_each_change(browser: NewBrowser, calls: Calls) -> None:
    await calls.tell(calls.admitted("1", "1000"))
    opened = await browser("org")
    async with stream(opened, "/rolls/1/events") as events:
        assert events.response.content_type == "text/event-stream"
        assert events.response.headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in events.response.headers["Content-Security-Policy"]
        _, part = await events.next("roll")
        assert part.strip() in await page_of(opened, "/rolls/1")
        await calls.tell(calls.admitted("2", "1001", who=JANE))
        _, part = await events.next()
        assert [row[:8] for row in section(part, "present")] == ["Jane Doe", "Mike Doe"]
        await calls.tell(calls.left("1", 5), calls.left("2", 6))
        assert len(section((await events.next())[1], "gone")) == 2
        await calls.end()
        assert "All calls together" in (await events.next("roll"))[1]
        assert (await events.next())[0] == "over"
        await events.ended()


async def test_a_stream_speaks_the_visitors_language_and_keeps_to_what_he_searches_for(
    browser: NewBrowser, calls: Calls
) -> None:
    await calls.tell(calls.admitted("1", "1000"), calls.admitted("2", "1001", who=JANE))
    opened = await browser("org")
    await opened.post("/language", {"language": "de", "back": "/rolls"})
    async with stream(opened, "/rolls/1/events?q=jane") as events:
        _, part = await events.next("roll")
        assert "In der Konferenz" in part
        assert len(section(part, "present")) == 1


@pytest.mark.usefixtures("quickly")
async def test_a_stream_shows_that_it_is_there(
    browser: NewBrowser, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("admin.pages.rolls._HEARTBEAT", 0.0)
    await calls.tell(calls.admitted("1"))
    async with stream(await browser("org"), "/rolls/1/events") as events:
        assert await events.next(":") == (":", ": still here\n\n")


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("how", ["signed out", "idle", "too long", "another role", "removed"])
async def test_a_stream_ends_with_the_session(
    browser: NewBrowser, calls: Calls, store: Store, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await calls.tell(calls.admitted("1"))
    opened = await browser("coo")
    people = People(store)
    (session,) = await people.sessions("coo")
    async with stream(opened, "/rolls/1/events") as events:
        await events.next("roll")
        if how == "signed out":
            assert (await opened.post("/signout")).status == 303
        elif how == "idle":
            await people.seen(session.id_hash, time.time() - 3600)
        elif how == "too long":
            monkeypatch.setattr("admin.sessions.time.time", lambda: session.created_at + 50000)
        elif how == "another role":
            row = await Desk(store).row("user", "coo")
            assert row is not None
            await Desk(store).put("user", row | {"role": "administrator"}, new=False)
        else:
            await Desk(store).remove_user("coo")
        assert (await events.next())[0] == "signed-out"
        await events.ended()


@pytest.mark.usefixtures("quickly")
async def test_a_stream_does_not_end_because_its_visitor_speaks_another_language(
    browser: NewBrowser, calls: Calls, store: Store
) -> None:
    await calls.tell(calls.admitted("1"))
    opened = await browser("org")
    async with stream(opened, "/rolls/1/events") as events:
        await events.next("roll")
        row = await Desk(store).row("user", "org")
        assert row is not None
        await Desk(store).put("user", row | {"language": "ja", "name": "Olivia"}, new=False)
        await calls.tell(calls.admitted("2"))
        assert (await events.next())[0] == "roll"


async def test_a_stream_is_not_begun_for_who_asks_for_its_head(browser: NewBrowser, calls: Calls) -> None:
    await calls.tell(calls.admitted("1"))
    opened = await browser("org")
    assert (await opened.client.head("/rolls/1/events")).status == 405


async def test_a_stream_whose_database_is_gone_ends_and_says_nothing(
    browser: NewBrowser, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The browser connects again. No page about the error is sent into it."""

    async def gone(*_: object) -> None:
        raise DatabaseUnavailable("the database is gone")

    await calls.tell(calls.admitted("1"))
    opened = await browser("org")
    monkeypatch.setattr("admin.pages.rolls._LOOK_UP", 0.01)
    async with stream(opened, "/rolls/1/events") as events:
        await events.next("roll")
        monkeypatch.setattr(People, "session", gone)
        assert await events.ended() == b""


@pytest.mark.usefixtures("quickly")
async def test_to_watch_is_to_be_there(browser: NewBrowser, calls: Calls, store: Store, server: TestServer) -> None:
    """A session does not fall idle while its live roll is open."""
    await calls.tell(calls.admitted("1"))
    opened = await browser("org")
    people = People(store)
    (session,) = await people.sessions("org")
    async with stream(opened, "/rolls/1/events") as events:
        await events.next("roll")
        await people.seen(session.id_hash, time.time() - 1700)
        async with asyncio.timeout(10):
            while (await people.sessions("org"))[0].seen_at < time.time() - 60:
                await asyncio.sleep(0.01)


async def test_the_sites_stop_does_not_wait_for_streams(browser: NewBrowser, calls: Calls, server: TestServer) -> None:
    await calls.tell(calls.admitted("1"))
    opened = await browser("org")
    async with stream(opened, "/rolls/1/events") as events:
        await events.next("roll")
        begun = time.monotonic()
        await server.close()
        assert time.monotonic() - begun < 2
        await events.ended()


async def test_a_user_has_so_many_streams_and_no_more(browser: NewBrowser, calls: Calls, server: TestServer) -> None:
    """The next one is refused; one that is closed makes room. Others are not concerned."""
    await calls.tell(calls.admitted("1"))
    opened = await browser("org")
    watching = server.app[keys.WATCHING]
    async with stream(opened, "/rolls/1/events"), stream(opened, "/rolls/1/events"), stream(opened, "/rolls/1/events"):
        async with stream(opened, "/rolls/1/events"):
            refused = await opened.get("/rolls/1/events")
            assert (refused.status, refused.headers["Retry-After"]) == (429, "30")
            assert watching.count == 4
            async with stream(await browser("coo"), "/rolls/1/events"):
                assert watching.count == 5
        async with asyncio.timeout(10):
            while (again := await opened.client.get("/rolls/1/events")).status != 200:
                again.close()
            again.close()


async def test_however_many_watch_the_database_is_asked_once(
    browser: NewBrowser, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the roll is made once for all of them."""
    asked, made = [], []
    version, read = RollBook.version, RollBook.calls

    async def counted(self: RollBook, occurrence_id: int) -> int:
        asked.append(occurrence_id)
        return await version(self, occurrence_id)

    async def counted_calls(self: RollBook, keyring: Keyring, occurrence_id: int) -> object:
        made.append(occurrence_id)
        return await read(self, keyring, occurrence_id)

    monkeypatch.setattr(RollBook, "version", counted)
    monkeypatch.setattr(RollBook, "calls", counted_calls)
    await calls.tell(calls.admitted("1"))
    first, second = await browser("org"), await browser("coo")
    async with stream(first, "/rolls/1/events") as one, stream(second, "/rolls/1/events") as two:
        for events in (one, two):
            await events.next("roll")
        begun, asked[:] = time.monotonic(), []
        await calls.tell(calls.admitted("2"))
        for events in (one, two):
            await events.next("roll")
        assert len(asked) <= (time.monotonic() - begun) / 0.3 + 1
    assert made == [1, 1]


async def test_of_a_roll_the_last_version_alone_is_kept(browser: NewBrowser, calls: Calls, server: TestServer) -> None:
    """A roll of thousands of calls is large, and changes several times a second."""
    await calls.tell(calls.admitted("0"), calls.admitted("0", conference="A-2"))
    opened = await browser("sup")
    for number in range(1, 6):
        await page_of(opened, "/rolls/1")
        await page_of(opened, "/rolls/2")
        await calls.tell(calls.admitted(str(number)))
    assert server.app[keys.ROLLS].kept == 2


async def test_long_rolls_are_read_and_written_beside_all_else(
    browser: NewBrowser, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes long for thousands of calls is not done where all pages are served."""
    served, where = threading.get_ident(), set()

    def watched(module: str, name: str) -> None:
        original = getattr(importlib.import_module(module), name)

        def called(*args: object) -> object:
            where.add((name, threading.get_ident() == served))
            return original(*args)

        monkeypatch.setattr(f"{module}.{name}", called)

    watched("loader.store.rolls", "opened_caller")
    watched("admin.pages.rolls", "roll_csv")
    watched("admin.pages.rolls", "roll_xlsx")
    await calls.tell(calls.admitted("1"))
    opened = await browser("org")
    for path in ("/rolls/1", "/rolls/1/roll.csv", "/rolls/1/roll.xlsx"):
        assert (await opened.get(path)).status == 200
    assert where == {("opened_caller", False), ("roll_csv", False), ("roll_xlsx", False)}


async def test_views_of_a_roll_fill_no_memory(
    browser: NewBrowser, calls: Calls, server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks for one view after the other while somebody watches."""
    monkeypatch.setattr("admin.pages.rolls._SHARED", 3)
    await calls.tell(calls.admitted("1"))
    opened = await browser("org")
    async with stream(opened, "/rolls/1/events") as events:
        await events.next("roll")
        for number in range(8):
            async with stream(opened, f"/rolls/1/events?q={number}") as other:
                await other.next("roll")
            await left_alone(server)
        with server.app[keys.WATCHING].watch("test", 1, lambda: False) as watch:
            assert len(watch.shared) <= 4


async def left_alone(server: TestServer) -> None:
    """Wait until one stream is left."""
    async with asyncio.timeout(5):
        while server.app[keys.WATCHING].count > 1:
            await asyncio.sleep(0.01)
