"""What companies have chosen, and what they may."""

import pytest

from loader.errors import InvalidValue
from loader.keyring import Keyring
from loader.model import Level, Owner
from loader.rotate import rotate_key
from loader.store import Store
from loader.store.choices import (
    Choices,
    CompanyChoice,
    DialIn,
    opened_secret,
    parse_dial_in,
    parse_keep_days,
    parse_minimum_pin_digits,
)
from loader.store.tables import company_choice


async def test_who_has_chosen_nothing_has_the_defaults(store: Store) -> None:
    assert await Choices(store).of("globaltest") == CompanyChoice("globaltest")
    assert await Choices(store).keep_days() == {}


async def test_each_choice_leaves_the_others_as_they_are(store: Store, keyring: Keyring) -> None:
    choices = Choices(store)
    numbers = (DialIn("+44 20 5550 0100", "London"), DialIn("(303) 555-0101"))
    await choices.set_dial_in("globaltest", numbers)
    await choices.set_keep_days("globaltest", 30)
    await choices.set_webhook("globaltest", "https://example.com/rolls")
    await choices.set_webhook_secret(keyring, "globaltest", b"s" * 32)
    chosen = CompanyChoice("globaltest", 30, numbers, "https://example.com/rolls", has_secret=True)
    assert await choices.of("globaltest") == chosen
    assert await choices.keep_days() == {"globaltest": 30}
    assert await choices.of("other") == CompanyChoice("other")
    await choices.set_keep_days("globaltest", None)
    assert (await choices.of("globaltest")).keep_days is None
    assert (await choices.of("globaltest")).dial_in == numbers


async def test_a_rotation_of_the_key_reaches_the_secrets(store: Store, keyring: Keyring) -> None:
    await Choices(store).set_webhook_secret(keyring, "globaltest", b"s" * 32)
    rotated = await rotate_key(store, keyring)
    assert keyring.current not in rotated.key_ids
    (row,) = await store.all(company_choice.select())
    assert row.webhook_key_id == rotated.current
    assert opened_secret(rotated, row) == b"s" * 32


@pytest.mark.parametrize("number", ["+44 20 5550 0100", "(303) 555-0101", "555", "0033/1.55.50.01.00", "  555   01 "])
def test_numbers_are_written_as_people_write_them(number: str) -> None:
    assert parse_dial_in(number, " London ") == DialIn(" ".join(number.split()), "London")


@pytest.mark.parametrize(
    "number", ["", "12", "+", "call me", "555-CALL", "5" * 21, "555;ext=1", "５５５０１００", "55\n5x"]
)
def test_what_is_no_number_is_refused(number: str) -> None:
    with pytest.raises(InvalidValue):
        parse_dial_in(number, "")


@pytest.mark.parametrize(("text", "days"), [("", None), (" 30 ", 30), ("1", 1), ("36500", 36500)])
def test_days_are_a_number_or_nothing(text: str, days: int | None) -> None:
    assert parse_keep_days(text) == days


@pytest.mark.parametrize("text", ["0", "-1", "36501", "1.5", "a year", "٣"])
def test_other_days_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        parse_keep_days(text)


@pytest.mark.parametrize(
    "owner", [("organizer", "alicia"), ("authorization_code", "3625046"), ("company", "globaltest")]
)
async def test_how_short_pins_may_be_is_the_choice_of_the_company_for_all_its_lists(
    store: Store, owner: tuple[str, str]
) -> None:
    choices, of = Choices(store), Owner(Level(owner[0]), owner[1])
    assert await choices.minimum_pin_digits(of) == 2
    await choices.set_minimum_pin_digits("globaltest", 6)
    await choices.set_minimum_pin_digits("other", 9)
    assert await choices.minimum_pin_digits(of) == 6
    assert (await choices.of("globaltest")).minimum_pin_digits == 6
    assert await choices.minimum_pin_digits(Owner(Level.ORGANIZER, "nobody")) == 2


@pytest.mark.parametrize(("text", "digits"), [("", 2), ("2", 2), (" 10 ", 10), ("06", 6)])
def test_digits_are_a_number_from_2_to_10(text: str, digits: int) -> None:
    assert parse_minimum_pin_digits(text) == digits


@pytest.mark.parametrize("text", ["1", "11", "0", "-3", "six", "６", "2.5", "006"])
def test_what_is_no_such_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        parse_minimum_pin_digits(text)
