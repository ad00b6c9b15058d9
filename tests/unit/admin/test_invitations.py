"""Inviting people: looked at, queued, sent by a real SMTP server, told about."""

import asyncio
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
import structlog
from aiohttp.test_utils import TestServer

from admin.invitations import Inviter, dial_string, letter
from admin.lists import Lists
from admin.metrics import Metrics
from admin.pages.conferences import read_date
from admin.post import Post
from admin.words import Words
from loader.keyring import Keyring
from loader.model import Entry, Level, Owner
from loader.publish import publish
from loader.sections import Mail
from loader.store import Desk, Store
from loader.store.choices import Choices, DialIn
from loader.store.invitations import Date, Guest, Held, Invitations
from tests.unit.admin.conftest import OLIVE, Browser, NewBrowser, entry
from tests.unit.admin.ics import event_of, parse
from tests.unit.admin.inbox import Inbox, listening, silent

T = 1_800_000_000.0
HELD = Held(
    "A-1", "Weekly call", "7784321", True, "olive", "Olive Organizer", "org@example.com", "one", "11",
    (DialIn("+1 (303) 555-0100", "Boulder"), DialIn("020 555 0101")), Date(1_809_433_800.0, 90, "Europe/Paris", T),
)  # fmt: skip
MIKE = Guest("0482913", "Mike", "Doe", "mike@example.com")


def person(number: int, **changes: Any) -> Entry:
    """Somebody with an address, whose PIN looks like no port, time or count."""
    pin = f"90417{number:05}"
    return msgspec.structs.replace(entry(pin, f"Mike{number}"), email=f"mike{number}@example.com", **changes)


class Clock:
    def __init__(self) -> None:
        self.at = T

    def __call__(self) -> float:
        return self.at


class Site:
    """The site's lists and invitations, and what sends them to a server on this port."""

    def __init__(self, store: Store, keyring: Keyring, port: int, clock: Clock, **settings: Any) -> None:
        self.store, self.keyring, self.clock = store, keyring, clock
        self.invitations = Invitations(store)
        self.settings: dict[str, Any] = {
            "host": "127.0.0.1", "port": port, "tls": "none", "timeout": 5.0, "per_minute": 60_000,
        } | settings  # fmt: skip
        self.metrics = Metrics("0")
        self.inviter = self.another()

    def another(self) -> Inviter:
        """As another process would have it."""
        mail = Mail(**self.settings)
        lists = Lists(self.store, self.keyring)
        return Inviter(
            Invitations(self.store), lists, self.keyring, Post(mail), self.metrics,
            per_minute=mail.per_minute, now=self.clock,
        )  # fmt: skip

    async def have(self, *entries: Entry, owner: Owner = OLIVE) -> None:
        await publish(self.store, self.keyring, owner, list(entries), by="test", source="upload")

    async def queue(self, *entries: Entry, again: bool = False, seen: int = 0, language: str = "en") -> int:
        guests = [Guest(one.pin, one.first_name, one.last_name, one.email) for one in entries]
        return await self.invitations.queue(
            self.keyring, "A-1", OLIVE, guests, by="org", language=language, at=self.clock.at, again=again, seen=seen
        )

    async def settle(self, inviter: Inviter | None = None) -> None:
        """Send until nothing is due; the clock goes with it."""
        while (await self.invitations.counts("A-1")).waiting:
            seconds = await (inviter or self.inviter).step()
            self.clock.at += seconds + 0.001

    async def told(self) -> list[tuple[str, str]]:
        """Of each invitation, the newest first, its address and what became of it."""
        found = await self.invitations.invitations(self.keyring, "A-1", limit=5000)
        return [(one.guest.email, one.failed or one.state.value) for one in sorted(found, key=lambda one: -one.id)]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with listening() as opened:
        yield opened


@pytest.fixture
def site(store: Store, keyring: Keyring, inbox: Inbox, clock: Clock) -> Site:
    return Site(store, keyring, inbox.port, clock)


# What it says


def test_one_tap_dials_the_number_the_passcode_and_the_pin() -> None:
    """Two pauses between them, and no # that would end the address."""
    first, second = HELD.dial_in
    assert dial_string(first, HELD, MIKE.pin) == "tel:+13035550100,,7784321%23,,0482913%23"
    assert dial_string(second, HELD, MIKE.pin) == "tel:0205550101,,7784321%23,,0482913%23"
    without = msgspec.structs.replace(HELD, pin_entry=False)
    assert dial_string(first, without, MIKE.pin) == "tel:+13035550100,,7784321%23"


def test_an_invitation_says_who_when_where_and_how() -> None:
    made = letter(HELD, MIKE, Words("en"), T)
    assert made.subject == "Invitation: Weekly call"
    for told in (
        "Hello Mike Doe,",
        "Olive Organizer invites you to the telephone conference “Weekly call”.",
        "Tuesday, May 4, 2027, 2:30\u202fPM – 4:00\u202fPM (Europe/Paris, UTC+02:00)",
        "  +1 (303) 555-0100  Boulder\n  020 555 0101\n",
        "  Passcode: 7784321\n  Your PIN: 0482913\n",
        "  tel:+13035550100,,7784321%23,,0482913%23\n",
    ):
        assert told in made.text
    assert max(map(len, made.text.split("\n"))) <= 72
    assert made.calendar is not None
    event = event_of(parse(made.calendar.data))
    assert event.text("SUMMARY") == "Weekly call"
    assert event.text("LOCATION") == "+1 (303) 555-0100"
    assert "Your PIN: 0482913" in event.text("DESCRIPTION")
    assert event.the("UID") == event_of(
        parse((letter(HELD, MIKE, Words("fr"), T + 9).calendar or made.calendar).data)
    ).the("UID")


def test_where_callers_are_asked_for_no_pin_none_is_told() -> None:
    made = letter(msgspec.structs.replace(HELD, pin_entry=False), MIKE, Words("en"), T)
    assert made.calendar is not None
    assert MIKE.pin not in made.text + made.calendar.data.decode()


def test_without_a_date_there_is_no_calendar_file_and_without_numbers_no_tap() -> None:
    made = letter(msgspec.structs.replace(HELD, date=None, dial_in=()), MIKE, Words("en"), T)
    assert made.calendar is None
    assert "tel:" not in made.text
    assert "2027" not in made.text


@pytest.mark.parametrize(("language", "told"), [("fr", "Votre PIN"), ("de", "Ihre PIN"), ("ja", "あなたの PIN")])
def test_it_is_in_the_language_that_was_chosen(language: str, told: str) -> None:
    made = letter(HELD, MIKE, Words(language), T)
    assert told in made.text
    assert "Hello" not in made.text


async def test_everybody_gets_a_mail_of_his_own(site: Site, inbox: Inbox) -> None:
    people = [person(1), person(2)]
    await site.have(*people)
    await Choices(site.store).set_dial_in("one", HELD.dial_in)
    await site.invitations.put_date("A-1", HELD.date)
    assert await site.queue(*people) == 2
    await site.settle()
    assert inbox.recipients_of_all == ["mike1@example.com", "mike2@example.com"]
    for number, mail in enumerate(inbox.mails, 1):
        assert mail["To"] == f"Mike{number} Doe <mike{number}@example.com>"
        assert mail["Reply-To"] == "Olive Organizer <org@example.com>"
        text, calendar = mail.iter_parts()
        assert f"Your PIN: 90417{number:05}" in text.get_content()
        other = 3 - number
        assert f"90417{other:05}" not in str(mail)
        assert calendar.get_content_type() == "text/calendar"
        assert calendar.get_filename() == "invitation.ics"
        data = calendar.get_payload(decode=True)
        assert isinstance(data, bytes)
        assert event_of(parse(data)).the("DTSTART").value == "20270504T143000"
        assert dict(calendar["Content-Type"].params)["method"] == "PUBLISH"


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\u2028", "\x85"])
async def test_nothing_that_stands_in_a_list_or_a_title_becomes_a_header(site: Site, inbox: Inbox, end: str) -> None:
    """Not even what no upload would take: it is put into the database here."""
    injected = f"X{end}Bcc: everybody@example.com{end}{end}buy"
    row = await Desk(site.store).row("conference", "A-1")
    organizer = await Desk(site.store).row("organizer", "olive")
    assert row is not None
    assert organizer is not None
    await Desk(site.store).put("conference", row | {"title": injected}, new=False)
    await Desk(site.store).put("organizer", organizer | {"name": injected}, new=False)
    await site.invitations.put_date("A-1", HELD.date)
    one = msgspec.structs.replace(person(1), first_name=injected, last_name=injected)
    await site.have(one)
    await site.queue(one)
    await site.settle()
    (mail,) = inbox.mails
    assert mail["Bcc"] is None
    assert inbox.recipients_of_all == ["mike1@example.com"]
    parse(list(mail.iter_parts())[1].get_payload(decode=True))  # type: ignore[arg-type]


# What becomes of it


async def test_who_is_refused_is_told_and_the_others_get_theirs(site: Site, inbox: Inbox) -> None:
    inbox.recipients["mike2@example.com"] = "550 5.1.1 unknown"
    people = [person(1), person(2), person(3)]
    await site.have(*people)
    await site.queue(*people)
    await site.settle()
    assert inbox.recipients_of_all == ["mike1@example.com", "mike3@example.com"]
    assert await site.told() == [
        ("mike3@example.com", "sent"),
        ("mike2@example.com", "refused 550 5.1.1 unknown"),
        ("mike1@example.com", "sent"),
    ]


async def test_a_server_that_repeats_the_pin_has_it_nowhere(site: Site, inbox: Inbox) -> None:
    inbox.answers.append(f"550 this is junk: PIN {person(1).pin}")
    await site.have(person(1))
    await site.queue(person(1))
    with structlog.testing.capture_logs() as logged:
        await site.settle()
    assert await site.told() == [("mike1@example.com", "refused 550")]
    assert person(1).pin not in str(logged)


async def test_one_that_is_refused_for_now_is_tried_again_while_the_others_go_on(site: Site, inbox: Inbox) -> None:
    inbox.recipients["mike1@example.com"] = "451 4.7.1 greylisted"
    people = [person(1), person(2)]
    await site.have(*people)
    await site.queue(*people)
    for _ in range(4):
        site.clock.at += min(1.0, await site.inviter.step())
    assert inbox.recipients_of_all == ["mike2@example.com"]
    inbox.recipients.clear()
    await site.settle()
    assert inbox.recipients_of_all == ["mike2@example.com", "mike1@example.com"]
    assert 60 <= site.clock.at - T < 130


async def test_a_server_that_cannot_be_used_is_left_alone_longer_and_longer_and_given_up_after_a_day(
    store: Store, keyring: Keyring, clock: Clock
) -> None:
    with silent() as port:
        pass
    site = Site(store, keyring, port, clock)
    await site.have(person(1))
    await site.queue(person(1))
    waits = [await site.inviter.step()]
    while (await site.invitations.counts("A-1")).waiting:
        clock.at += 600
        waits.append(await site.inviter.step())
    assert waits[0] == 2.0
    assert max(waits) == 60.0
    ((_, failed),) = await site.told()
    assert failed.startswith("gave_up")
    assert 80_000 < clock.at - T <= 86_400


async def test_a_server_that_never_answers_holds_up_no_page(
    browser: NewBrowser, store: Store, keyring: Keyring, clock: Clock
) -> None:
    opened = await browser("org")
    with silent() as port:
        site = Site(store, keyring, port, clock, timeout=0.2)
        await site.have(person(1))
        await site.queue(person(1))
        step = asyncio.create_task(site.inviter.step())
        page = await (await opened.get("/conferences/A-1/invitations")).text()
        await step
    assert "mike1@example.com" in page
    assert "It is tried again" in await (await opened.get("/conferences/A-1/invitations")).text()


@pytest.mark.parametrize(
    "changed", [None, person(1, active=False), person(1, last_name="Roe"), person(1, state_country="FR")]
)
async def test_who_is_no_longer_in_the_list_as_he_was_gets_nothing(
    site: Site, inbox: Inbox, changed: Entry | None
) -> None:
    """One that was deleted, switched off, or renamed meanwhile; what no invitation tells may change."""
    await site.have(person(1), person(2))
    await site.queue(person(1))
    await site.have(person(2), *([] if changed is None else [changed]))
    await site.settle()
    unharmed = changed is not None and changed.state_country == "FR"
    assert await site.told() == [("mike1@example.com", "sent" if unharmed else "changed")]
    assert len(inbox.received) == unharmed


async def test_who_is_in_a_list_that_the_conference_asks_no_more_gets_nothing(
    site: Site, inbox: Inbox, store: Store
) -> None:
    """His PIN would not let him in: the conference is somebody else's now."""
    await site.have(person(1))
    await site.queue(person(1))
    row = await Desk(store).row("conference", "A-1")
    assert row is not None
    await Desk(store).put("conference", row | {"organizer_id": "otto"}, new=False)
    await site.settle()
    assert await site.told() == [("mike1@example.com", "changed")]
    assert not inbox.received


# Once


async def test_who_waits_or_was_sent_one_is_not_queued_again_unless_that_is_wished(site: Site, inbox: Inbox) -> None:
    inbox.recipients["mike2@example.com"] = "550 no"
    people = [person(1), person(2)]
    await site.have(*people)
    assert await site.queue(*people) == 2
    assert await site.queue(*people, seen=99) == 0
    assert await site.queue(*people, again=True, seen=99) == 0
    await site.settle()
    inbox.recipients.clear()
    assert await site.queue(*people, seen=99) == 1
    await site.settle()
    last = (await site.invitations.counts("A-1")).last_id
    assert await site.queue(*people, again=True, seen=last) == 2
    assert await site.queue(*people, again=True, seen=last) == 0
    await site.settle()
    # A form that was shown before, sent once more.
    assert await site.queue(*people, again=True, seen=last) == 0
    assert sorted(inbox.recipients_of_all) == ["mike1@example.com"] * 2 + ["mike2@example.com"] * 2


async def test_no_more_than_so_many_leave_in_a_minute_whatever_sends_them(
    store: Store, keyring: Keyring, inbox: Inbox, clock: Clock
) -> None:
    site = Site(store, keyring, inbox.port, clock, per_minute=120)
    people = [person(number) for number in range(12)]
    await site.have(*people)
    await site.queue(*people)
    other = site.another()
    while clock.at < T + 2.9:
        for inviter in (site.inviter, other):
            await inviter.step()
        clock.at += 0.125
    assert len(inbox.received) == 6


async def test_a_hundred_are_sent_once_each_by_two_at_once_with_progress(site: Site, inbox: Inbox) -> None:
    people = [person(number) for number in range(100)]
    await site.have(*people)
    assert await site.queue(*people) == 100
    seen = []

    async def work(inviter: Inviter) -> None:
        while (counts := await site.invitations.counts("A-1")).waiting:
            seen.append(counts.sent)
            site.clock.at += 0.001
            await inviter.step()

    await asyncio.gather(work(site.inviter), work(site.another()))
    assert sorted(inbox.recipients_of_all) == sorted(one.email for one in people)
    assert seen == sorted(seen)
    assert len(set(seen)) > 50


async def test_one_whose_sender_stopped_in_between_is_told_and_never_sent_again_by_itself(
    site: Site, inbox: Inbox, clock: Clock
) -> None:
    """At most once: nobody knows whether it has left."""
    people = [person(1), person(2)]
    await site.have(*people)
    await site.queue(*people)
    claimed = await site.invitations.claim(site.keyring, clock(), interval=0.0, stale=0.0)
    assert not isinstance(claimed, float)
    clock.at += 4 * 5.0 + 61
    await site.settle(site.another())
    assert inbox.recipients_of_all == ["mike2@example.com"]
    assert await site.told() == [("mike2@example.com", "sent"), ("mike1@example.com", "interrupted")]


async def test_a_rotation_of_the_key_changes_nothing_about_who_was_invited(site: Site, inbox: Inbox) -> None:
    from loader.rotate import rotate_key

    people = [person(1), person(2)]
    await site.have(*people)
    await site.queue(people[0])
    await site.settle()
    await site.queue(people[1])
    ring = await rotate_key(site.store, site.keyring)
    assert ring.current not in site.keyring.key_ids
    assert await site.queue(*people, seen=99) == 0
    await site.settle()
    assert inbox.recipients_of_all == ["mike1@example.com", "mike2@example.com"]


# The pages


async def press(opened: Browser, path: str, **fields: str) -> Any:
    """Look at the preview, and send its form."""
    page = await (await opened.get(path)).text()
    hidden = dict(re.findall(r'type="hidden" name="(list|language|seen)" value="([^"]*)"', page))
    return await opened.post(path, hidden | fields)


async def test_the_preview_shows_one_mail_how_many_get_one_and_who_has_no_address(
    browser: NewBrowser, site: Site
) -> None:
    await site.have(person(1), person(2), person(3, active=False), entry("904179", "Noaddress"), person(4, other="x"))
    await Choices(site.store).set_dial_in("one", HELD.dial_in)
    opened = await browser("org")
    page = await (await opened.get("/conferences/A-1/invite")).text()
    for told in ("Send 3 invitations", "Mike1 Doe &lt;mike1@example.com&gt;", "Your PIN: 9041700001", "Noaddress Doe",
                 "tel:+13035550100,,1111%23,,9041700001%23", "No mail server is set up"):  # fmt: skip
        assert told in page
    assert "mike3" not in page
    page = await (await opened.get("/conferences/A-1/invite?language=fr")).text()
    assert "Votre PIN" in page
    assert "Send 3 invitations" in page
    assert (await site.invitations.counts("A-1")).last_id == 0


async def test_an_empty_list_says_what_to_do(browser: NewBrowser, site: Site) -> None:
    await site.have(entry("1000"))
    page = await (await (await browser("org")).get("/conferences/A-1/invite")).text()
    assert "Nobody in this list can be invited" in page
    assert "No number to call is known" in page


async def test_from_the_preview_to_the_outbox(
    browser: NewBrowser, site: Site, server: TestServer, tmp_path: Any
) -> None:
    """The site's own task sends them; the page's script is told how far it has come."""
    await site.have(person(1), person(2))
    opened = await browser("org")
    response = await press(opened, "/conferences/A-1/invite", who="new")
    assert response.headers["Location"] == "/conferences/A-1/invitations"
    assert "2 invitations are on their way." in await (await opened.get("/conferences/A-1/invitations")).text()
    async with asyncio.timeout(20):
        while not (told := await (await opened.get("/conferences/A-1/invitations/progress")).json())["done"]:
            await asyncio.sleep(0)
    assert "<dd>2</dd>" in told["html"]
    page = await (await opened.get("/conferences/A-1/invitations")).text()
    assert page.count("Send again</button>") == 2
    assert "reach nobody" in page
    mails = [file.read_bytes() for file in (tmp_path / "outbox").iterdir()]
    assert sorted(re.findall(rb"^To: .*<(.*)>", mail, re.MULTILINE)[0] for mail in mails) == [
        b"mike1@example.com", b"mike2@example.com",
    ]  # fmt: skip
    (_, entries) = await Desk(site.store).audit(action="invitations_queued")
    assert [(one.target, one.detail) for one in entries] == [("A-1", "2 organizer:olive")]
    assert "90417" not in str(entries)


async def test_one_person_is_invited_again(browser: NewBrowser, site: Site) -> None:
    await site.have(person(1), person(2))
    await site.queue(person(1), person(2))
    await site.settle()
    opened = await browser("org")
    await opened.get("/conferences/A-1/invitations")
    response = await opened.post("/conferences/A-1/invitations", {"action": "again:1", "seen": "2"})
    assert response.status == 303
    counts = await site.invitations.counts("A-1")
    assert counts.last_id == 3
    await opened.post("/conferences/A-1/invitations", {"action": "again:1", "seen": "2"})
    assert (await site.invitations.counts("A-1")).last_id == 3
    assert (await opened.post("/conferences/A-1/invitations", {"action": "again:99"})).status == 404
    assert (await opened.post("/conferences/A-1/invitations", {"action": "else"})).status == 404
    await site.have(person(2))
    await opened.post("/conferences/A-1/invitations", {"action": "again:1", "seen": "9"})
    assert "Mike1 Doe was not invited again" in await (await opened.get("/conferences/A-1/invitations")).text()


async def test_what_waits_can_be_stopped(browser: NewBrowser, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await site.have(person(1), person(2))
    opened = await browser("org")

    async def later(self: Inviter) -> float:
        return 60.0

    monkeypatch.setattr(Inviter, "step", later)
    await press(opened, "/conferences/A-1/invite", who="new")
    await opened.post("/conferences/A-1/invitations", {"action": "stop"})
    assert "2 invitations will not be sent." in await (await opened.get("/conferences/A-1/invitations")).text()
    assert (await site.invitations.counts("A-1")).waiting == 0


PAGES = ("/invite", "/invitations", "/invitations/progress", "/date")


@pytest.mark.parametrize("user", ["adm", "whole", "coo", "ope", "sup2"])
async def test_nobody_else_sees_or_sends_invitations(browser: NewBrowser, site: Site, user: str) -> None:
    opened = await browser(user)
    for path in PAGES:
        assert (await opened.get(f"/conferences/A-1{path}")).status == 404, path
    for path in ("/invite", "/invitations", "/date"):
        assert (await opened.post(f"/conferences/A-1{path}", {"who": "new", "action": "stop"})).status == 404, path


async def test_an_organizer_invites_from_her_own_list_to_her_own_conferences(browser: NewBrowser, site: Site) -> None:
    company = Owner(Level.COMPANY, "one")
    await site.have(person(7), owner=company)
    opened = await browser("org")
    for path in PAGES:
        assert (await opened.get(f"/conferences/A-2{path}")).status == 404, path
    for key in (company.key, "organizer:otto", "organizer:tina", "x"):
        assert (await opened.get(f"/conferences/A-1/invite?list={key}")).status == 404
        assert (await opened.post("/conferences/A-1/invite", {"list": key, "who": "new"})).status == 404
    keeper = await browser("sup")
    page = await (await keeper.get(f"/conferences/A-1/invite?list={company.key}")).text()
    assert "9041700007" in page
    (_, entries) = await Desk(site.store).audit(action="invitation_seen")
    assert [(one.user_id, one.target, one.detail) for one in entries] == [("sup", "A-1", company.key)]
    assert (await keeper.get("/conferences/A-1/invite?list=organizer:otto")).status == 404


async def test_a_form_of_another_site_invites_nobody(browser: NewBrowser, site: Site) -> None:
    await site.have(person(1))
    opened = await browser("org")
    opened.csrf = "wrong"
    for path in ("/invite", "/invitations", "/date"):
        assert (await opened.post(f"/conferences/A-1{path}", {"who": "new"})).status == 403
    assert (await site.invitations.counts("A-1")).last_id == 0


# The date


async def test_a_conference_gets_a_date_and_loses_it(browser: NewBrowser, site: Site) -> None:
    opened = await browser("org")
    assert (
        'name="minutes" type="number" min="1" max="1440" value="60"'
        in await (await opened.get("/conferences/A-1/date")).text()
    )
    form = {"date": "2099-05-04", "time": "14:30", "minutes": "90", "time_zone": "Europe/Paris"}
    assert (await opened.post("/conferences/A-1/date", form)).status == 303
    date = (await site.invitations.dates(["A-1"]))["A-1"]
    assert (datetime.fromtimestamp(date.starts_at, UTC), date.minutes) == (datetime(2099, 5, 4, 12, 30, tzinfo=UTC), 90)
    assert "Monday, May 4, 2099" in await (await opened.get("/conferences")).text()
    page = await (await opened.get("/conferences/A-1/date")).text()
    assert 'value="2099-05-04"' in page
    assert 'value="Europe/Paris"' in page
    assert (await opened.post("/conferences/A-1/date", {"remove": "1"})).status == 303
    assert await site.invitations.dates(["A-1"]) == {}
    response = await opened.post("/conferences/A-1/date", form | {"time_zone": "Europe/Nowhere", "minutes": "0"})
    assert response.status == 422
    assert "There is no such time zone" in await response.text()


@pytest.mark.parametrize(
    ("typed", "problems"),
    [
        ({"date": "2026-13-01"}, {"date": "invalid"}),
        ({"date": "9999-12-31"}, {"date": "invalid"}),
        ({"date": "0001-01-01"}, {"date": "invalid"}),
        ({"date": "2026-11-24"}, {"date": "past"}),
        ({"time": "25:00"}, {"time": "invalid"}),
        ({"date": "2027-03-28", "time": "02:30"}, {"time": "skipped"}),
        ({"time_zone": "Factory"}, {"time_zone": "invalid"}),
        ({"time_zone": "localtime"}, {"time_zone": "invalid"}),
        ({"minutes": "1441"}, {"minutes": "invalid"}),
        ({"minutes": "-1"}, {"minutes": "invalid"}),
        ({"time_zone": "../../etc/passwd"}, {"time_zone": "invalid"}),
        ({"time_zone": ""}, {"time_zone": "invalid"}),
        ({"date": "", "time": ""}, {"date": "invalid", "time": "invalid"}),
    ],
)
def test_a_date_that_makes_no_sense_is_told_field_by_field(typed: dict[str, str], problems: dict[str, str]) -> None:
    good = {"date": "2027-05-04", "time": "14:30", "minutes": "90", "time_zone": "Europe/Paris"}
    now = datetime(2026, 11, 25, tzinfo=UTC).timestamp()
    assert read_date(good, now)[0] is not None
    assert read_date(good | typed, now) == (None, problems)
