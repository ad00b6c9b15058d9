"""Text becomes a value at the edge, once."""

import pytest

from loader.errors import InvalidValue
from loader.model import parse_authorization_code, parse_identifier, parse_passcode, parse_pin, parse_text


@pytest.mark.parametrize("text", ["00", "12", "0012", "0123456789"])
def test_a_pin_has_two_to_ten_digits_and_keeps_its_zeros(text: str) -> None:
    assert parse_pin(text) == text


@pytest.mark.parametrize("text", ["", "1", "01234567890", "12a", " 12", "12\n", "-12", "1.2", "١٢٣", "１２３"])
def test_what_is_not_two_to_ten_ascii_digits_is_no_pin(text: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        parse_pin(text)
    assert not text or text not in str(refused.value) or text == "1"


@pytest.mark.parametrize(("text", "valid"), [("7784321", True), ("0", True), ("1" * 33, False), ("12 34", False)])
def test_a_passcode_is_digits(text: str, valid: bool) -> None:
    if valid:
        assert parse_passcode(text) == text
    else:
        with pytest.raises(InvalidValue):
            parse_passcode(text)


@pytest.mark.parametrize(
    ("text", "valid"),
    [("C-1001", True), ("alicia", True), ("a.b@example.com", True), ("-x", False), ("x" * 65, False), ("a b", False)],
)
def test_an_identifier_is_plain(text: str, valid: bool) -> None:
    if valid:
        assert parse_identifier(text) == text
    else:
        with pytest.raises(InvalidValue):
            parse_identifier(text)


@pytest.mark.parametrize(("text", "valid"), [("3625046", True), ("2696367V", True), ("", False), ("26-V", False)])
def test_an_authorization_code_is_letters_and_digits(text: str, valid: bool) -> None:
    if valid:
        assert parse_authorization_code(text) == text
    else:
        with pytest.raises(InvalidValue):
            parse_authorization_code(text)


def test_a_title_is_stripped() -> None:
    assert parse_text("  Weekly call ") == "Weekly call"


@pytest.mark.parametrize("text", ["", "   ", "x" * 201, "two\nlines", "bell\x07", "line\u2028separator", "half \ud800"])
def test_a_title_is_one_line_of_at_most_200_characters(text: str) -> None:
    with pytest.raises(InvalidValue):
        parse_text(text)
