"""A list as one block of bytes."""

import struct
from collections.abc import Callable

import pytest

from loader.compiled import EMPTY, Block, compile_list, pin_key
from loader.errors import BlockError, InvalidValue
from loader.model import Entry, Participant, Pin, Revision


def entry(pin: str, first_name: str = "Mike", *, active: bool = True, company: str = "XYZ", phone: str = "") -> Entry:
    return Entry(Pin(pin), first_name, "Doe", company, phone, "mike@example.com", "Uxbridge", "UK", "", active)


def block(*entries: Entry) -> Block:
    return Block(compile_list(entries), Revision(1))


def found(in_block: Block, keyed: str) -> Entry | None:
    key = pin_key(keyed)
    at = None if key is None else in_block.find(key)
    return None if at is None else in_block.entry(at)


def test_a_pin_is_found_with_all_its_fields() -> None:
    """What was compiled comes back, field by field."""
    mike = Entry(Pin("1234"), "Mike", "Doe", "XYZ", "+1 555 0100", "m@example.com", "Uxbridge", "UK", "guest")
    assert found(block(mike), "1234") == mike
    assert block(mike).participant(0) == Participant(
        "Mike", "Doe", "XYZ", "+1 555 0100", "m@example.com", "Uxbridge", "UK", "guest"
    )


def test_leading_zeros_count() -> None:
    """0012, 012 and 12 are three PINs."""
    three = block(entry("12", "Ann"), entry("012", "Ben"), entry("0012", "Cleo"))
    assert [found(three, pin).first_name for pin in ("12", "012", "0012")] == ["Ann", "Ben", "Cleo"]  # type: ignore[union-attr]
    assert found(three, "00012") is None


@pytest.mark.parametrize("pin", ["00", "99", "0000000000", "9999999999", "4294967295", "3294967296"])
def test_the_shortest_and_the_longest_pins_are_found(pin: str) -> None:
    """Two digits and ten, and the numbers around the widths of the keys."""
    listed = block(
        entry("00"), entry("99"), entry("0000000000"), entry("9999999999"), entry("4294967295"), entry("3294967296")
    )
    assert found(listed, pin) == entry(pin)


def test_short_pins_take_keys_of_four_bytes() -> None:
    """Nine digits and their 1 fit in 32 bits, ten do not."""
    assert block(entry("123456789")).size == block(entry("1234567890")).size - 4


@pytest.mark.parametrize(
    "keyed", ["", "1", "12345678901", "12*4", "1234#", " 1234", "١٢٣٤", "²²", "-123", "1_000", "1" * 32]
)
def test_what_can_be_in_no_list_has_no_key(keyed: str) -> None:
    """Anything else than 2 to 10 ASCII digits, though Python would read some of it as a number."""
    assert pin_key(keyed) is None


def test_inactive_entries_are_there_but_not_active() -> None:
    """Each entry keeps its own flag, across the bytes of the bitmap."""
    entries = [entry(f"{number:02}", active=number % 3 != 0) for number in range(40)]
    listed = block(*entries)
    assert [listed.is_active(at) for at in range(40)] == [e.active for e in entries]
    assert listed.active_count == sum(e.active for e in entries)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 64])
def test_a_list_of_active_entries_is_all_active(count: int) -> None:
    listed = block(*(entry(f"{number:02}") for number in range(count)))
    assert all(listed.is_active(at) for at in range(count))
    assert listed.count == listed.active_count == count


def test_an_empty_list_knows_nobody() -> None:
    assert found(EMPTY, "1234") is None
    assert list(EMPTY.entries()) == []


def test_entries_come_shorter_first_then_by_digits() -> None:
    listed = block(entry("200"), entry("11"), entry("0999"), entry("10"))
    assert [e.pin for e in listed.entries()] == ["10", "11", "200", "0999"]


def test_many_places_are_told_apart() -> None:
    """More than 65,536 different places take wider numbers."""
    entries = [entry(f"{number:06}", company=f"Company {number}") for number in range(65_537)]
    listed = block(*entries)
    assert listed.entry(65_536).company == "Company 65536"
    assert listed.entry(0).company == "Company 0"


def test_text_in_any_script_comes_back() -> None:
    mike = entry("1234", "Мікаэль 美咲 🎧", company="Ünïcode")
    assert found(block(mike), "1234") == mike


def test_a_pin_that_stands_twice_is_refused_without_being_told() -> None:
    with pytest.raises(InvalidValue) as refused:
        compile_list([entry("1234"), entry("99"), entry("1234")])
    assert "1234" not in str(refused.value)


def test_a_field_with_the_separator_is_refused() -> None:
    with pytest.raises(InvalidValue):
        compile_list([entry("1234", "Mike\x1fDoe")])


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_block_is_read_from_any_buffer(kind: Callable[[bytes], bytes]) -> None:
    assert Block(kind(compile_list([entry("1234")])), Revision(1)).entry(0) == entry("1234")


GOOD = compile_list([entry("1234"), entry("5678")])


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        GOOD[:10],
        GOOD[:-1],
        GOOD + b"x",
        b"NOPE" + GOOD[4:],
        GOOD[:6] + b"\x03" + GOOD[7:],
        GOOD[:7] + b"\x00" + GOOD[8:],
        GOOD[:8] + struct.pack("<I", 2**31) + GOOD[12:],
    ],
)
def test_what_is_no_block_is_refused(damaged: bytes) -> None:
    with pytest.raises(BlockError):
        Block(damaged, Revision(1))


def test_a_block_of_a_newer_format_says_so() -> None:
    with pytest.raises(BlockError, match="format 2"):
        Block(GOOD[:4] + b"\x02\x00" + GOOD[6:], Revision(1))


def test_any_damaged_byte_gives_an_answer_or_a_block_error() -> None:
    """Damage that encryption did not catch never becomes another kind of error."""
    for at in range(len(GOOD)):
        for value in (0, 0x1F, 0x80, 0xFF):
            damaged = bytearray(GOOD)
            damaged[at] = value
            try:
                listed = Block(bytes(damaged), Revision(1))
                listed.find(11234)
                list(listed.entries())
            except BlockError:
                continue


STARTS = 28 + 2 * 4


@pytest.mark.parametrize(
    ("at", "number"),
    [
        (12, 3),
        pytest.param(STARTS + 8, len(GOOD), id="a person ends behind the text"),
        pytest.param(STARTS, len(GOOD), id="a person ends before it begins"),
        pytest.param(28, 99, id="a key is no PIN's"),
        pytest.param(28, 21234, id="a key begins with 2"),
    ],
)
def test_a_block_that_points_elsewhere_is_damaged(at: int, number: int) -> None:
    """Nothing is read that is not its text, and no PIN is told that could not stand in a list."""
    damaged = GOOD[:at] + struct.pack("<I", number) + GOOD[at + 4 :]
    with pytest.raises(BlockError):
        list(Block(damaged, Revision(1)).entries())
