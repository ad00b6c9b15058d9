"""Short PINs tell who is calling and keep nobody out: the site says so, and a company can ask for longer ones."""

from __future__ import annotations

import pytest

from loader.keyring import Keyring
from loader.model import Level, Owner
from loader.publish import publish, read_list
from loader.store import Desk, Store
from loader.store.choices import Choices
from tests.unit.admin.conftest import OLIVE, NewBrowser, entry, list_file

BASE = "/lists/organizer/olive"
SETTINGS = "/companies/one/settings"
TOLD = "Short PINs tell who is calling; they keep nobody out."
PERSON = {"first_name": "Zoë", "last_name": "Doe", "company": "XYZ", "city": "Lyon", "state_country": "FR"}


async def pins_of(store: Store, keyring: Keyring, owner: Owner = OLIVE) -> list[str]:
    block = await read_list(store, keyring, owner)
    return [] if block is None else [one.pin for one in block.entries()]


async def test_a_list_with_short_pins_says_how_easily_they_are_guessed(
    browser: NewBrowser, store: Store, keyring: Keyring
) -> None:
    """With its own figures, of the active ones alone; what slows guessing down; and what to do."""
    entries = [entry(f"{number:04}", active=number < 50) for number in range(60)]
    await publish(store, keyring, OLIVE, [*entries, entry("42"), entry("123456")], by="test", source="import")
    opened = await browser("org")
    for page in (BASE, f"{BASE}/history/2"):
        text = await (await opened.get(page)).text()
        for told in (
            TOLD,
            "1 active PIN of 2 digits: one random guess in 100 is right.",
            "50 active PINs of 4 digits: one random guess in 200 is right.",
            "a call has three tries",
            "“Suggest one” makes one",
        ):
            assert told in text, page
        assert "of 6 digits" not in text


async def test_a_list_whose_pins_are_long_says_nothing(browser: NewBrowser, store: Store, keyring: Keyring) -> None:
    await publish(store, keyring, OLIVE, [entry("123456"), entry("1234", active=False)], by="test", source="import")
    opened = await browser("org")
    assert TOLD not in await (await opened.get(BASE)).text()
    location = await opened.staged(list_file("654321"))
    assert TOLD not in await (await opened.get(location)).text()


async def test_an_upload_says_so_before_and_at_the_preview(browser: NewBrowser) -> None:
    """Once: the warning of the file, which says the same, is left out; that of longer PINs stays."""
    opened = await browser("org")
    assert "PINs of two to five digits tell who is calling" in await (await opened.get("/upload")).text()
    location = await opened.staged(list_file(*(f"{n:04}" for n in range(6_000)), *(f"{n:06}" for n in range(1_500))))
    page = await (await opened.get(location)).text()
    assert TOLD in page
    assert "6,000 active PINs of 4 digits: most random guesses are right." in page
    assert "6,000 PINs of 4 digits" not in page
    assert "1,500 PINs of 6 digits: one random guess in 667 gets in." in page


async def test_the_form_of_an_entry_says_so_where_the_pin_is_typed_or_shown(browser: NewBrowser) -> None:
    opened = await browser("org")
    assert "Up to 5 digits tell who is calling" in await (await opened.get(f"{BASE}/new")).text()
    assert "It is so short that it tells who is calling" in await (await opened.get(f"{BASE}/entries/1/0")).text()


async def test_the_super_administrator_chooses_how_short_pins_may_be(browser: NewBrowser, store: Store) -> None:
    opened = await browser("sup")
    assert 'name="digits"' in await (await opened.get(SETTINGS)).text()
    assert (await opened.post(f"{SETTINGS}/pins", {"digits": "6"})).status == 303
    assert (await Choices(store).of("one")).minimum_pin_digits == 6
    assert 'value="6"' in await (await opened.get(SETTINGS)).text()
    _, (told, *_) = await Desk(store).audit(action="minimum_pin_digits_changed")
    assert (told.user_id, told.target, told.detail) == ("sup", "one", "2 to 6")


@pytest.mark.parametrize("digits", ["1", "11", "many"])
async def test_a_number_that_is_none_is_told_and_changes_nothing(
    browser: NewBrowser, store: Store, digits: str
) -> None:
    opened = await browser("sup")
    await opened.get(SETTINGS)
    response = await opened.post(f"{SETTINGS}/pins", {"digits": digits})
    assert (response.status, "Type a number from 2 to 10." in await response.text()) == (422, True)
    assert (await Choices(store).of("one")).minimum_pin_digits == 2


class TestWhereACompanyAsksForSix:
    @pytest.fixture(autouse=True)
    async def six(self, store: Store) -> None:
        await Choices(store).set_minimum_pin_digits("one", 6)

    async def test_what_is_short_already_goes_on_working_and_the_page_counts_it(
        self, browser: NewBrowser, store: Store, keyring: Keyring
    ) -> None:
        """It can be switched off and on, edited and deleted; nothing else of the list is in the way."""
        opened = await browser("org")
        page = await (await opened.get(BASE)).text()
        assert "Your company asks for at least 6 digits, and 3 PINs have fewer. They go on working" in page
        page = await (await opened.get(f"{BASE}/entries/1/0")).text()
        assert "this one is shorter, and goes on working" in page
        fields = PERSON | {"active": "on"}
        assert (await opened.post(f"{BASE}/entries/1/0", fields)).status == 303
        assert (await opened.post(f"{BASE}/new", PERSON | {"pin": "654321"})).status == 303
        assert await pins_of(store, keyring) == ["1000", "1001", "1002", "654321"]

    async def test_a_file_with_a_shorter_one_is_refused_with_its_line(self, browser: NewBrowser) -> None:
        opened = await browser("org")
        assert "Your company asks for PINs of at least 6 digits." in await (await opened.get("/upload")).text()
        location = await opened.staged(list_file("123456", "1000", "12345"))
        response = await opened.get(location)
        page = await response.text()
        assert response.status == 422
        assert "“12345” is too short: at least 6 digits are asked for here." in page
        assert '<td class="number">4</td>' in page
        assert (await opened.post(location, {"compared": "{}"})).status == 422

    async def test_zeros_that_are_restored_make_it_long_enough(self, browser: NewBrowser) -> None:
        opened = await browser("org")
        location = await opened.staged(list_file("12345", "234567", "345678"))
        assert (await opened.get(location)).status == 422
        await opened.post(f"{location}/zeros", {"restore": "1"})
        assert (await opened.get(location)).status == 200

    async def test_a_shorter_one_that_is_typed_is_told_at_its_field(
        self, browser: NewBrowser, store: Store, keyring: Keyring
    ) -> None:
        opened = await browser("org")
        assert "6 to 10 digits." in await (await opened.get(f"{BASE}/new")).text()
        response = await opened.post(f"{BASE}/new", PERSON | {"pin": "98765"})
        assert response.status == 422
        assert "“98765” is too short" in await response.text()
        assert "98765" not in await pins_of(store, keyring)

    async def test_an_older_state_with_shorter_ones_is_not_put_back(
        self, browser: NewBrowser, store: Store, keyring: Keyring
    ) -> None:
        """And the page says what to do. One whose short PINs are all in force still is."""
        await publish(store, keyring, OLIVE, [entry("1000"), entry("123456")], by="test", source="import")
        opened = await browser("org")
        await opened.get(f"{BASE}/history/1")
        response = await opened.post(f"{BASE}/history/1")
        assert response.headers["Location"] == f"{BASE}/history/1"
        page = await (await opened.get(response.headers["Location"])).text()
        assert "Revision 1 was not put back: 2 PINs of it have fewer than the 6 digits" in page
        assert await pins_of(store, keyring) == ["1000", "123456"]
        await publish(store, keyring, OLIVE, [entry("1000")], by="test", source="import")
        assert (await opened.post(f"{BASE}/history/2")).headers["Location"] == BASE
        assert await pins_of(store, keyring) == ["1000", "123456"]

    async def test_the_rule_is_that_of_one_company_alone(self, browser: NewBrowser, store: Store) -> None:
        opened = await browser("sup2")
        location = await opened.staged(list_file("1234"), "organizer:tina")
        assert (await opened.get(location)).status == 200
        assert await Choices(store).minimum_pin_digits(Owner(Level.ORGANIZER, "tina")) == 2
