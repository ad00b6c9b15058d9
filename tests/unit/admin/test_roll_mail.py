"""Rolls sent to organizers: when somebody asks, and by themselves."""

import csv
import io
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from aiohttp.test_utils import TestServer

from admin import keys
from admin.metrics import Metrics
from admin.post import Post
from admin.roll_mail import RollSender, marks, people, twice_at_once
from admin.words import Words
from loader.keyring import Keyring
from loader.model import Participant
from loader.roll import Admitted, Event, Joined, Left, Refused
from loader.sections import Mail
from loader.store import Desk, Store
from loader.store.roll_mail import RollMail
from loader.store.rolls import BEGINNING, Call, Ended, Progress, RollBook
from loader.store.taking import RollTaker
from tests.unit.admin.conftest import NewBrowser
from tests.unit.admin.inbox import Inbox, listening, silent

T = 1_800_000_000.0
"""2027-01-15 08:00 UTC."""
MIKE = Participant("Mike", "Doe", "XYZ", "+1 555 0100", "mike@example.com", "Uxbridge", "UK", "")
ZOE = Participant("Zoë", "=Doe", "XYZ", "", "", "Lyon", "FR", "")


def admitted(at: float, call_id: str, who: Participant | None, conference: str = "A-1") -> Admitted:
    pin = {"Mike": "1111", "Zoë": "2222"}[who.first_name] if who else ""
    return Admitted(
        T + at,
        f"v-{call_id}",
        "http",
        "pbx",
        call_id,
        "15550100",
        conference,
        "organizer:olive" if who else "",
        pin,
        who,
    )


HELD = (
    admitted(0, "1", MIKE), Joined(T + 2, "pbx", "1"), admitted(60, "2", ZOE), admitted(65, "3", MIKE),
    Refused(T + 70, "A-1", "unknown_pin", 3), Left(T + 3600, "pbx", "1"), Left(T + 3600, "pbx", "2"),
    Left(T + 3605, "pbx", "3"),
)  # fmt: skip
SECOND = (admitted(0, "9", MIKE, "A-2"), Left(T + 3600, "pbx", "9"))


class Clock:
    def __init__(self) -> None:
        self.at = T + 4000

    def __call__(self) -> float:
        return self.at


class Rolls:
    """Occurrences in the database, and what sends them."""

    def __init__(self, store: Store, keyring: Keyring, port: int, clock: Clock, **settings: Any) -> None:
        self.store, self.keyring, self.clock = store, keyring, clock
        self.book, self.mail = RollBook(store), RollMail(store)
        self.settings: dict[str, Any] = {"host": "127.0.0.1", "port": port, "tls": "none", "timeout": 5.0} | settings
        self.sender = self.another()
        self._at = BEGINNING

    def another(self) -> RollSender:
        """As another process would have it."""
        self.metrics = Metrics("0")
        post = Post(Mail(**self.settings))
        return RollSender(
            RollMail(self.store), self.book, self.keyring, post, self.metrics, time_zone="Europe/Paris", now=self.clock
        )

    async def hold(self, *events: Event, over: bool = True) -> int:
        """Its occurrence's ID."""
        taker = RollTaker(self.store, quiet=1.0)
        following = Progress(1, self._at.offset + 1)
        await taker.apply(self.keyring, events, "journal", self._at, following)
        self._at = following
        if over:
            await taker.sweep(T + 3700, 10_000.0)
        _, found = await self.book.occurrences(company_id="one")
        return found[0].id

    async def settle(self, steps: int = 5) -> None:
        for _ in range(steps):
            await self.sender.step()

    def sent(self, result: str = "sent") -> float:
        return (
            self.metrics.registry.get_sample_value("rollcall_admin_mails_total", {"mail": "roll", "result": result})
            or 0.0
        )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with listening() as opened:
        yield opened


@pytest.fixture
def rolls(store: Store, keyring: Keyring, inbox: Inbox, clock: Clock) -> Rolls:
    return Rolls(store, keyring, inbox.port, clock)


# What is in it


async def test_the_organizer_gets_a_summary_and_the_roll_as_a_file(rolls: Rolls, inbox: Inbox) -> None:
    roll = await rolls.hold(*HELD)
    assert await rolls.mail.ask(roll, rolls.clock())
    await rolls.settle()
    (mail,) = inbox.mails
    assert mail["To"] == "Olive Organizer <org@example.com>"
    assert mail["Subject"].startswith("Roll: Weekly call, Jan 15, 2027, 9:00:00")
    text, file = mail.iter_parts()
    told = text.get_content().replace("\r\n", "\n").replace("\u202f", " ")
    for line in (
        "Hello Olive Organizer,",
        "Conference: Weekly call (A-1)",
        "Began: Jan 15, 2027, 9:00:00 AM (Europe/Paris, UTC+01:00)",
        "Ended: Jan 15, 2027, 10:00:05 AM (Europe/Paris, UTC+01:00)",
        "Calls: 3",
        "People: 2",
        "Wrong PINs: 3",
        "* 1 PIN was used by two calls at the same time.",
    ):
        assert f"{line}\n" in told, line
    assert max(map(len, told.split("\n"))) <= 72
    assert (file.get_filename(), file.get_content_type()) == ("roll-A-1-1.csv", "text/csv")
    data = file.get_payload(decode=True)
    assert isinstance(data, bytes)
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    assert [(row["First Name"], row["Last Name"]) for row in rows] == [
        ("Mike", "Doe"),
        ("Zoë", "'=Doe"),
        ("Mike", "Doe"),
    ]
    assert (rows[0]["Admitted"], rows[0]["Joined"], rows[0]["Duration"]) == (
        "2027-01-15 09:00:00", "2027-01-15 09:00:02", "0:59:58",
    )  # fmt: skip
    occurrence = await rolls.book.occurrence(roll)
    assert occurrence is not None
    assert (occurrence.sent_at, occurrence.sent_to, occurrence.send_asked_at) == (T + 4000, "org@example.com", None)
    assert rolls.sent() == 1


async def test_a_roll_that_is_on_says_so(rolls: Rolls, inbox: Inbox) -> None:
    roll = await rolls.hold(admitted(0, "1", MIKE), over=False)
    await rolls.mail.ask(roll, rolls.clock())
    await rolls.settle()
    text = next(inbox.mails[0].iter_parts()).get_content()
    assert "Ended: still on when this was sent" in text
    assert "On the call now: 1" in text


@pytest.mark.parametrize(
    ("language", "told"),
    [("fr", "Bonjour Olive Organizer"), ("de", "Guten Tag Olive Organizer"), ("ja", "Olive Organizer 様")],
)
async def test_it_is_in_the_language_of_the_organizers_user(
    rolls: Rolls, inbox: Inbox, language: str, told: str
) -> None:
    row = await Desk(rolls.store).row("user", "org")
    assert row is not None
    await Desk(rolls.store).put("user", row | {"language": language}, new=False)
    await rolls.mail.ask(await rolls.hold(*HELD), rolls.clock())
    await rolls.settle()
    assert told in next(inbox.mails[0].iter_parts()).get_content()


async def test_a_title_is_one_line_of_the_mails_head(rolls: Rolls, inbox: Inbox, store: Store) -> None:
    row = await Desk(store).row("conference", "A-1")
    assert row is not None
    await Desk(store).put("conference", row | {"title": "Weekly\r\nBcc: x@example.com"}, new=False)
    await rolls.mail.ask(await rolls.hold(*HELD), rolls.clock())
    await rolls.settle()
    (mail,) = inbox.mails
    assert mail["Bcc"] is None
    assert mail["Subject"].startswith("Roll: Weekly Bcc: x@example.com,")


def call(at: float, left: float | None, person: bytes | None = b"m", ended: Ended | None = Ended.LEFT) -> Call:
    return Call(1, "http", T + at, None, None if left is None else T + left, ended, person, "k", None, None)


def test_what_deserves_a_second_look_is_told_and_nothing_else() -> None:
    english = Words("en")
    assert marks([call(0, 10), call(11, 20)], english) == []
    assert twice_at_once([call(0, 10), call(9, 20)]) == 1
    assert twice_at_once([call(0, None, ended=None), call(9, 20)]) == 1
    assert twice_at_once([call(0, 10, ended=Ended.MOVED), call(9, 20)]) == 0
    assert twice_at_once([call(0, 10), call(9, 20, person=b"z"), call(5, 9, person=None)]) == 0
    assert marks([call(0, 10), call(0, 10, person=None)], english) == ["1 call was let in without a PIN."]
    assert marks([call(0, 10, person=None)], english) == []
    assert marks([call(0, None, ended=Ended.SILENT)] * 2, english) == ["Of 2 calls it is not known when they ended."]
    assert people([call(0, 1), call(2, 3), call(0, 1, person=None), call(0, 1, person=None)]) == 3


# The page


async def test_who_may_have_a_roll_sent(browser: NewBrowser, rolls: Rolls, store: Store) -> None:
    roll = await rolls.hold(*HELD, over=False)
    for user, status in (
        ("adm", 404),
        ("whole", 404),
        ("ope", 404),
        ("sup2", 404),
        ("coo", 303),
        ("sup", 303),
        ("org", 303),
    ):
        opened = await browser(user)
        response = await opened.post(f"/rolls/{roll}/send")
        assert response.status == status, user
        if status == 303:
            assert response.headers["Location"] == f"/rolls/{roll}"
            assert "on its way" in await (await opened.get(f"/rolls/{roll}")).text()
        assert (await opened.post("/rolls/999/send")).status == 404
    count, entries = await Desk(store).audit(action="roll_sent")
    assert count >= 1
    assert {(entry.target, entry.detail) for entry in entries} == {(str(roll), "A-1")}
    guest = await browser()
    assert (await guest.post(f"/rolls/{roll}/send")).status in (403, 404)


async def test_a_form_of_another_site_sends_no_roll(browser: NewBrowser, rolls: Rolls) -> None:
    roll = await rolls.hold(*HELD)
    opened = await browser("org")
    opened.csrf = "wrong"
    assert (await opened.post(f"/rolls/{roll}/send")).status == 403


async def test_an_organizer_sends_no_roll_but_her_own(browser: NewBrowser, rolls: Rolls) -> None:
    roll = await rolls.hold(*SECOND)
    assert (await (await browser("org")).post(f"/rolls/{roll}/send")).status == 404
    assert (await (await browser("sup")).post(f"/rolls/{roll}/send")).status == 303


async def test_the_rolls_page_says_when_it_was_sent_and_where_to(browser: NewBrowser, rolls: Rolls) -> None:
    roll = await rolls.hold(*HELD)
    opened = await browser("org")
    assert "Send to the organizer</button>" in await (await opened.get(f"/rolls/{roll}")).text()
    await rolls.book.sent(roll, T, "org@example.com")
    page = await (await opened.get(f"/rolls/{roll}")).text()
    assert "to org@example.com" in page
    assert "Send to the organizer again</button>" in page


# When it cannot be sent


async def test_a_roll_that_the_server_refuses_is_told_with_how_to_mend_it(
    browser: NewBrowser, rolls: Rolls, inbox: Inbox
) -> None:
    inbox.recipients["org@example.com"] = "550 5.1.1 <org@example.com> unknown"
    roll = await rolls.hold(*HELD)
    await rolls.mail.ask(roll, rolls.clock())
    await rolls.settle()
    page = await (await (await browser("org")).get(f"/rolls/{roll}")).text()
    assert "The roll was not sent." in page
    assert "Check the address" in page
    assert "(550 5.1.1 &lt;org@example.com&gt; unknown)" in page
    assert rolls.sent("failed") == 1
    inbox.recipients.clear()
    assert await rolls.mail.ask(roll, rolls.clock())
    await rolls.settle()
    assert len(inbox.received) == 1


async def test_a_server_that_refuses_for_now_is_asked_again_later_and_given_up_after_a_day(
    rolls: Rolls, inbox: Inbox, clock: Clock
) -> None:
    inbox.answers = ["451 later"] * 1000
    roll = await rolls.hold(*HELD)
    await rolls.mail.ask(roll, clock())
    tries = []
    for _ in range(300):
        before = len(inbox.answers)
        await rolls.sender.step()
        if len(inbox.answers) < before:
            tries.append(clock.at - T - 4000)
        occurrence = await rolls.book.occurrence(roll)
        if occurrence is not None and occurrence.send_failed:
            break
        clock.at += 30 if len(tries) < 4 else 300
    assert tries[:4] == [0, 30, 90, 210]
    assert 80_000 < clock.at - T - 4000 <= 86_400
    assert occurrence is not None
    assert occurrence.send_failed == "gave_up 451 later"


async def test_a_server_that_never_answers_delays_no_page(browser: NewBrowser, store: Store, keyring: Keyring) -> None:
    """The roll waits, and its page and every other one come as always."""
    with silent() as port:
        rolls = Rolls(store, keyring, port, Clock(), timeout=0.05)
        roll = await rolls.hold(*HELD)
        opened = await browser("org")
        assert await rolls.mail.ask(roll, rolls.clock())
        with structlog.testing.capture_logs() as logged:
            await rolls.sender.step()
        assert "roll_delayed" in [line["event"] for line in logged]
        assert "On its way to the organizer since" in await (await opened.get(f"/rolls/{roll}")).text()


async def test_two_processes_send_a_roll_once(rolls: Rolls, inbox: Inbox) -> None:
    import asyncio

    for number in range(5):
        await rolls.mail.ask(await rolls.hold(admitted(number, f"c{number}", MIKE), over=True), rolls.clock())
    other = rolls.another()
    await asyncio.gather(*(sender.step() for _ in range(8) for sender in (rolls.sender, other)))
    _, found = await rolls.book.occurrences(company_id="one")
    assert len(inbox.received) == len([one for one in found if one.sent_at]) == len(found)


async def test_a_roll_whose_sender_stopped_in_between_is_sent_by_another(
    rolls: Rolls, inbox: Inbox, clock: Clock
) -> None:
    roll = await rolls.hold(*HELD)
    await rolls.mail.ask(roll, clock())
    assert await rolls.mail.claim(clock(), 0.0) is not None
    await rolls.settle()
    assert inbox.received == []
    clock.at += 4 * 5.0 + 61
    await rolls.settle()
    assert len(inbox.received) == 1


async def test_an_organizer_who_is_gone_gets_nothing(rolls: Rolls, store: Store) -> None:
    roll = await rolls.hold(*HELD)
    from sqlalchemy import update

    from loader.store import tables as t

    async with store.transaction() as connection:
        await connection.execute(update(t.occurrence).values(organizer_id="nobody"))
    await rolls.mail.ask(roll, rolls.clock())
    await rolls.settle()
    occurrence = await rolls.book.occurrence(roll)
    assert occurrence is not None
    assert occurrence.send_failed == "nobody"


# By themselves


async def test_an_organizer_who_chose_so_gets_the_rolls_of_what_ends_from_then_on_once(
    rolls: Rolls, inbox: Inbox, clock: Clock
) -> None:
    await rolls.mail.choose("olive", T + 100, send=True)
    roll = await rolls.hold(*HELD)
    await rolls.settle()
    await rolls.settle()
    assert len(inbox.received) == 1
    occurrence = await rolls.book.occurrence(roll)
    assert occurrence is not None
    assert occurrence.sent_to == "org@example.com"


@pytest.mark.parametrize(
    ("chosen_at", "send", "now"),
    [
        pytest.param(T + 3606, True, T + 4000, id="ended before the choice"),
        pytest.param(T, False, T + 4000, id="chose not to"),
        pytest.param(T, True, T + 3605 + 86_401, id="ended more than a day ago"),
    ],
)
async def test_nothing_else_is_sent_by_itself(
    rolls: Rolls, inbox: Inbox, clock: Clock, chosen_at: float, send: bool, now: float
) -> None:
    await rolls.mail.choose("olive", T - 1, send=not send)
    await rolls.mail.choose("olive", chosen_at, send=send)
    await rolls.hold(*HELD)
    await rolls.hold(*SECOND)
    clock.at = now
    await rolls.settle()
    assert inbox.received == []


async def test_what_is_on_or_was_sent_by_hand_is_not_sent_by_itself(rolls: Rolls, inbox: Inbox) -> None:
    await rolls.mail.choose("olive", T, send=True)
    roll = await rolls.hold(*HELD[:2], over=False)
    await rolls.settle()
    assert inbox.received == []
    await rolls.book.sent(roll, T + 3500, "org@example.com")
    await rolls.hold(Left(T + 3600, "pbx", "1"))
    await rolls.settle()
    assert inbox.received == []


async def test_an_organizer_chooses_on_her_page_and_a_super_administrator_on_her_form(
    browser: NewBrowser, store: Store
) -> None:
    mail = RollMail(store)
    opened = await browser("org")
    assert "sent to org@example.com" in await (await opened.get("/conferences")).text()
    assert (await opened.post("/conferences/rolls-by-mail", {"send": "1"})).status == 303
    assert await mail.choice("olive")
    page = await (await opened.get("/conferences")).text()
    assert "From now on you get the roll of each conference" in page
    keeper = await browser("sup")
    assert (await keeper.post("/conferences/rolls-by-mail", {"send": "1"})).status == 404
    form = {"name": "Olive Organizer", "email": "org@example.com", "authorization_code": "11"}
    assert 'name="send_roll" value="1" checked' in await (await keeper.get("/companies/one/organizer/olive")).text()
    assert (await keeper.post("/companies/one/organizer/olive", form)).status == 303
    assert not await mail.choice("olive")
    assert (await keeper.post("/companies/one/organizer/otto", form | {"send_roll": "1", "name": "Otto"})).status == 303
    assert await mail.choice("otto")
    _, entries = await Desk(store).audit()
    assert [(one.action, one.target) for one in entries if "by_mail" in one.action] == [
        ("rolls_by_mail_on", "otto"), ("rolls_by_mail_off", "olive"), ("rolls_by_mail_on", "olive"),
    ]  # fmt: skip


async def test_a_roll_that_is_asked_for_on_the_site_is_sent_by_its_task(
    browser: NewBrowser, rolls: Rolls, server: TestServer, tmp_path: Any
) -> None:
    """Without a server, into the outbox."""
    import asyncio

    roll = await rolls.hold(*HELD)
    assert server.app is not None
    await (await browser("org")).post(f"/rolls/{roll}/send")
    async with asyncio.timeout(10):
        while (occurrence := await rolls.book.occurrence(roll)) is None or occurrence.sent_at is None:
            await asyncio.sleep(0)
    (file,) = (tmp_path / "outbox").iterdir()
    assert b"roll-A-1-1.csv" in file.read_bytes()
    assert keys.ROLL_SENDER in server.app
