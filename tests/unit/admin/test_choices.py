"""What a company chooses on its settings page."""

from __future__ import annotations

import json
import re
import time

import pytest

from loader.forget import Forgetting, parse_person
from loader.keyring import Keyring
from loader.publish import publish
from loader.roll import Admitted, Left
from loader.sections import Admin, Mail, Roll
from loader.settings import Settings
from loader.store import Desk, Store
from loader.store.choices import Choices, CompanyChoice, DialIn
from loader.store.deliveries import GONE, Deliveries, Outcome
from loader.store.rolls import BEGINNING, Progress
from loader.store.taking import RollTaker
from tests.unit.admin.conftest import OLIVE, NewBrowser, entry

PAGE = "/companies/one/settings"
URL = "https://example.com/rolls?word=hush"
DAY = 86400.0


async def over(store: Store, keyring: Keyring, *days: float) -> None:
    """Calls of company one that were over so many days ago."""
    taker, now = RollTaker(store, quiet=60.0), time.time()
    events: list[Admitted | Left] = []
    for at in sorted(now - ago * DAY for ago in days):
        events += [Admitted(at, f"v{at}", "http", "pbx", str(at), None, "A-1"), Left(at + 1, "pbx", str(at))]
    await taker.apply(keyring, events, "journal", BEGINNING, Progress(1, 1))
    await taker.sweep(now, 1e9)


async def test_numbers_are_kept_as_they_were_typed(browser: NewBrowser, store: Store) -> None:
    opened = await browser("sup")
    await opened.get(PAGE)
    pairs = [("number", "+44 20 5550 0100"), ("label", "London"), ("number", ""), ("label", ""), ("number", "(303) 555-0101"), ("label", "")]  # fmt: skip
    response = await opened.post(f"{PAGE}/dial-in", pairs)
    assert (response.status, response.headers["Location"]) == (303, PAGE)
    expected = (DialIn("+44 20 5550 0100", "London"), DialIn("(303) 555-0101"))
    assert (await Choices(store).of("one")).dial_in == expected
    page = await (await opened.get(PAGE)).text()
    assert 'value="+44 20 5550 0100"' in page
    assert 'value="London"' in page
    assert await Choices(store).of("two") == CompanyChoice("two")


async def test_what_is_no_number_is_shown_again_with_how_to_mend_it(browser: NewBrowser, store: Store) -> None:
    opened = await browser("sup")
    await opened.get(PAGE)
    pairs = [("number", "+44 20 5550 0100"), ("label", "London"), ("number", "call me"), ("label", "Paris")]
    response = await opened.post(f"{PAGE}/dial-in", pairs)
    page = await response.text()
    assert response.status == 422
    assert 'value="call me"' in page
    assert 'aria-describedby="number-1-problem"' in page
    assert "A telephone number has 3 to 20 digits" in page
    assert (await Choices(store).of("one")).dial_in == ()


async def test_fewer_days_are_asked_for_once_more_where_rolls_would_go(
    browser: NewBrowser, store: Store, keyring: Keyring
) -> None:
    await over(store, keyring, 5, 40, 50)
    opened = await browser("sup")
    page = await (await opened.get(PAGE)).text()
    assert "Empty means 400 days" in page
    response = await opened.post(f"{PAGE}/keeping", {"days": "30"})
    page = await response.text()
    assert response.status == 200
    assert "Erase 2 rolls?" in page
    assert (await Choices(store).of("one")).keep_days is None, "not yet"
    assert (await opened.post(f"{PAGE}/keeping", {"days": "30", "sure": "1"})).status == 303
    assert (await Choices(store).of("one")).keep_days == 30
    _, (entry, *_) = await Desk(store).audit(action="keep_days_changed")
    assert entry.detail == "default to 30"


async def test_days_that_erase_nothing_are_just_saved(browser: NewBrowser, store: Store, keyring: Keyring) -> None:
    await over(store, keyring, 5, 40)
    opened = await browser("sup")
    await opened.get(PAGE)
    for days in ("50", "500", ""):
        assert (await opened.post(f"{PAGE}/keeping", {"days": days})).status == 303, days
        assert (await Choices(store).of("one")).keep_days == (int(days) if days else None)


async def test_to_go_back_to_a_shorter_default_is_asked_for_too(
    browser: NewBrowser, store: Store, keyring: Keyring
) -> None:
    await over(store, keyring, 500)
    await Choices(store).set_keep_days("one", 1000)
    opened = await browser("sup")
    await opened.get(PAGE)
    assert "Erase 1 roll?" in await (await opened.post(f"{PAGE}/keeping", {"days": ""})).text()


@pytest.mark.parametrize("days", ["0", "a year", "-5", "99999"])
async def test_what_are_no_days_is_refused(browser: NewBrowser, store: Store, days: str) -> None:
    opened = await browser("sup")
    await opened.get(PAGE)
    response = await opened.post(f"{PAGE}/keeping", {"days": days})
    page = await response.text()
    assert response.status == 422
    assert "Type a number from 1 to 36,500" in page
    assert f'value="{days}"' in page


async def test_a_secret_is_made_with_the_first_address_and_shown_once(browser: NewBrowser, store: Store) -> None:
    opened = await browser("sup")
    await opened.get(PAGE)
    response = await opened.post(f"{PAGE}/webhook", {"url": f" {URL} "})
    assert (response.status, response.headers["Cache-Control"]) == (201, "no-store")
    secret = re.search(r"whsec_[A-Za-z0-9+/=]+", await response.text())
    assert secret is not None
    assert len(secret[0]) == 50
    chosen = await Choices(store).of("one")
    assert (chosen.webhook_url, chosen.has_secret) == (URL, True)
    assert secret[0] not in await (await opened.get(PAGE)).text()
    assert (await opened.post(f"{PAGE}/webhook", {"url": "https://example.com/2"})).status == 303
    renewed = await (await opened.post(f"{PAGE}/webhook/secret")).text()
    assert "whsec_" in renewed
    assert secret[0] not in renewed
    _, entries = await Desk(store).audit()
    told = json.dumps([[entry.action, entry.target, entry.detail] for entry in entries])
    assert "webhook_secret_renewed" in told
    assert "hush" not in told, "what follows the host may be a secret"
    assert "whsec" not in told


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://example.com/", "It must begin with https://"),
        ("https://10.0.0.1/", "This address is not on the internet"),
        ("https://localhost/", "This address is not on the internet"),
        ("example.com", "This is no address such as"),
        ("https://user:word@example.com/", "This is no address such as"),
        ("https://example.com/" + "x" * 1000, "An address has at most 1,000 characters"),
    ],
)
async def test_addresses_that_are_not_called_are_refused_and_it_is_told_why(
    browser: NewBrowser, store: Store, url: str, told: str
) -> None:
    opened = await browser("sup")
    await opened.get(PAGE)
    response = await opened.post(f"{PAGE}/webhook", {"url": url})
    assert response.status == 422
    assert told in await response.text()
    chosen = await Choices(store).of("one")
    assert (chosen.webhook_url, chosen.has_secret) == ("", False)


async def test_a_test_is_put_there_for_the_keeper_and_what_came_of_it_is_shown(
    browser: NewBrowser, store: Store, keyring: Keyring
) -> None:
    opened = await browser("sup")
    await opened.get(PAGE)
    await opened.post(f"{PAGE}/webhook", {"url": URL})
    assert (await opened.post(f"{PAGE}/webhook/test")).status == 303
    assert "waits" in await (await opened.get(PAGE)).text()
    deliveries, now = Deliveries(store), time.time() + 1
    (due,) = await deliveries.exchange(keyring, [], {"one": 5}, now)
    assert json.loads(due.body)["type"] == "webhook.test"
    await deliveries.exchange(keyring, [Outcome(due, now, "timeout", next_at=now + 5)], {}, now)
    assert "no answer within 10 seconds" in await (await opened.get(PAGE)).text()
    await deliveries.exchange(keyring, [Outcome(due, now, "204", delivered=True)], {}, now)
    assert "delivered" in await (await opened.get(PAGE)).text()


async def test_a_receiver_that_is_gone_is_told_of_and_asked_again(
    browser: NewBrowser, store: Store, keyring: Keyring
) -> None:
    opened = await browser("sup")
    await opened.get(PAGE)
    await opened.post(f"{PAGE}/webhook", {"url": URL})
    await opened.post(f"{PAGE}/webhook/test")
    deliveries, now = Deliveries(store), time.time() + 1
    (due,) = await deliveries.exchange(keyring, [], {"one": 5}, now)
    await deliveries.exchange(keyring, [Outcome(due, now, GONE)], {}, now)
    page = await (await opened.get(PAGE)).text()
    assert "answered 410, “gone”" in page
    assert "given up" in page
    await opened.post(f"{PAGE}/webhook", {"url": URL})
    assert "answered 410, “gone”" not in await (await opened.get(PAGE)).text()


async def test_without_a_webhook_there_is_nothing_to_test_or_sign(browser: NewBrowser) -> None:
    opened = await browser("sup")
    await opened.get(PAGE)
    for what in ("test", "secret"):
        assert (await opened.post(f"{PAGE}/webhook/{what}")).status == 404


async def test_an_operator_chooses_for_any_company(browser: NewBrowser, store: Store) -> None:
    opened = await browser("ope")
    for company in ("one", "two"):
        await opened.get(f"/companies/{company}/settings")
        assert (await opened.post(f"/companies/{company}/settings/keeping", {"days": "30"})).status == 303
    assert await Choices(store).keep_days() == {"one": 30, "two": 30}
    _, entries = await Desk(store).audit(action="keep_days_changed")
    assert {entry.target for entry in entries} == {"one", "two"}


@pytest.mark.parametrize("user", ["org", "adm", "whole", "coo", "sup2"])
async def test_nobody_else_sees_or_changes_any_of_it(browser: NewBrowser, store: Store, user: str) -> None:
    opened = await browser(user)
    assert (await opened.get(PAGE)).status == 404
    for what in ("dial-in", "pins", "keeping", "webhook", "webhook/secret", "webhook/test"):
        fields = {"days": "1", "sure": "1", "digits": "6", "url": URL, "number": "555 0100", "label": ""}
        assert (await opened.post(f"{PAGE}/{what}", fields)).status == 404, what
    assert await Choices(store).of("one") == CompanyChoice("one")


class TestOnANetworkOfOnesOwn:
    @pytest.fixture
    def settings(self, tmp_path: object) -> Settings:
        return Settings(
            admin=Admin(second_factor=False),
            mail=Mail(outbox=f"{tmp_path}/outbox"),
            roll=Roll(webhook_private=True, keep_days=7),
        )

    async def test_what_the_operator_allows_is_allowed(self, browser: NewBrowser, store: Store) -> None:
        opened = await browser("sup")
        assert "Empty means 7 days" in await (await opened.get(PAGE)).text()
        for url in ("https://10.0.0.1/", "http://127.0.0.1:8080/"):
            assert (await opened.post(f"{PAGE}/webhook", {"url": url})).status in (201, 303)
            assert (await Choices(store).of("one")).webhook_url == url
        assert (await opened.post(f"{PAGE}/webhook", {"url": "http://10.0.0.1/"})).status == 422


async def test_what_was_dropped_from_a_list_is_shown_no_more_even_if_it_was_shown_before(
    browser: NewBrowser, store: Store, keyring: Keyring
) -> None:
    """When a person was forgotten; what comes after is compared with what is still kept before it."""
    for names in ((), ("Mike",), ("Ann",), ("Ben",)):
        people = [entry(f"{1000 + at}", name) for at, name in enumerate(names)] or [entry("1000", "Zoe")]
        await publish(store, keyring, OLIVE, people, by="test", source="import")
    opened = await browser("org")
    path = "/lists/organizer/olive/history"
    assert "Mike" in await (await opened.get(f"{path}/3")).text()
    forgetting = Forgetting(store, keyring, parse_person(None, None, "Mike Doe"))
    await forgetting.erase(by="cli:test")
    assert (await opened.get(f"{path}/3")).status == 404
    page = await (await opened.get(f"{path}/4")).text()
    assert "Ann" in page
    assert "Zoe" in page, "revision 2 stands beside it"
    assert "Mike" not in page
