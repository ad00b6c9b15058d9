"""What is judged over all PINs of a file."""

from fractions import Fraction

import pytest

from loader.listfile import MAX_LISTED, Check, Code, ShortPins, check, columns, short_pins, wide_enough


def check_pins(*pins: str, restore_zeros: bool = False, guessable_share: float = 1, minimum_digits: int = 2) -> Check:
    lines = [columns.HEADER, *(f"{pin},Mike,Doe,XYZ,,,Uxbridge,UK," for pin in pins)]
    return check(
        "\n".join(lines).encode(),
        filename="list.csv",
        restore_zeros=restore_zeros,
        guessable_share=guessable_share,
        minimum_digits=minimum_digits,
    )


@pytest.mark.parametrize(
    ("pins", "lost"),
    [
        pytest.param(["1234", "5678", "12"], {4: "0012"}, id="most are wider"),
        pytest.param(["1234", "12", "5678", "123"], {}, id="half are not most"),
        pytest.param(["1234", "12", "5678", "123", "9012"], {3: "0012", 5: "0123"}, id="two of them"),
        pytest.param(["1234", "5678", "012"], {}, id="a zero is still there"),
        pytest.param(["1234", "5678", "12345"], {}, id="a longer one"),
        pytest.param(["1234", "0034", "0056"], {}, id="all of one width"),
        pytest.param(["12"], {}, id="one entry"),
    ],
)
def test_lost_zeros_are_seen_where_most_pins_share_one_width(pins: list[str], lost: dict[int, str]) -> None:
    """Each shorter PIN is warned of at its line, with what it would be."""
    found = check_pins(*pins)
    assert {problem.line: problem.params["restored"] for problem in found.warnings} == lost
    assert {problem.code for problem in found.warnings} <= {Code.PIN_ZEROS_LOST}
    assert [entry.pin for entry in found.entries] == pins


def test_zeros_are_restored_on_request() -> None:
    """Then the warnings are gone; a PIN of one digit, refused otherwise, is warned of and padded too."""
    pins = ["1234", "5678", "9012", "3456", "7890", "2345", "12", "7", "0", "012", "12345"]
    found = check_pins(*pins)
    assert [problem.params["why"] for problem in found.errors] == ["zeros_lost", "zeros_lost"]
    assert [(problem.line, problem.params["restored"], problem.params["count"]) for problem in found.warnings] == [
        (8, "0012", 3),
        (9, "0007", 3),
        (10, "0000", 3),
    ]
    restored = check_pins(*pins, restore_zeros=True)
    assert [entry.pin for entry in restored.entries] == [*pins[:6], "0012", "0007", "0000", "012", "12345"]
    assert restored.errors == restored.warnings == []


def test_zeros_are_not_restored_without_a_usual_width() -> None:
    """A PIN of one digit is then simply too short."""
    found = check_pins("1234", "7", restore_zeros=True)
    assert [(problem.code, problem.params["why"]) for problem in found.errors] == [(Code.PIN_INVALID, "short")]


def test_duplicates_are_judged_after_zeros_are_restored() -> None:
    """`12` and `0012` are two PINs, until the zeros come back."""
    pins = ["0012", "1234", "5678", "12"]
    assert check_pins(*pins).error_count == 0
    found = check_pins(*pins, restore_zeros=True)
    assert [(problem.code, problem.line, problem.params) for problem in found.errors] == [
        (Code.PIN_DUPLICATE, 5, {"found": "0012", "first_line": 2})
    ]


def test_a_hundred_lost_zeros_are_listed_and_all_are_counted() -> None:
    """The page can say how many there are."""
    found = check_pins(*(f"{number:06}" for number in range(200)), *(f"{number}" for number in range(100, 250)))
    assert len(found.warnings) == MAX_LISTED
    assert {problem.params["count"] for problem in found.warnings} == {150}


@pytest.mark.parametrize(
    ("count", "width", "is_guessable"),
    [(10, 4, False), (11, 4, True), (1, 2, True), (1, 3, False), (2, 3, True), (1_000, 6, False), (1_001, 6, True)],
)
def test_pins_are_guessable_above_one_chance_in_a_thousand(count: int, width: int, is_guessable: bool) -> None:
    """With N PINs of L digits the chance is N/10^L."""
    found = check_pins(*(f"{number:0{width}}" for number in range(count)), guessable_share=0.001)
    assert bool(found.warnings) is is_guessable
    for problem in found.warnings:
        assert (problem.code, problem.line, problem.column) == (Code.PIN_GUESSABLE, None, "PIN Entry Code")
        assert (problem.params["n"], problem.params["width"]) == (count, width)
        assert problem.params["one_in"] == round(Fraction(10**width, count))
        assert Fraction(count, 10 ** int(problem.params["better"])) <= Fraction(1, 1000)


def test_each_width_is_guessed_by_itself() -> None:
    """A few long PINs do not make many short ones safe."""
    found = check_pins(*(f"{number:04}" for number in range(8_000)), "1234567890", "09", guessable_share=0.001)
    assert [(problem.params["width"], problem.params.get("why")) for problem in found.warnings] == [
        (2, "better"),
        (4, "most"),
    ]


def test_the_share_above_which_is_warned_can_be_set() -> None:
    """It is a chance from 0 to 1."""
    assert check_pins("1234", guessable_share=0.0001).warnings == []
    assert [problem.code for problem in check_pins("1234", guessable_share=0.00009).warnings] == [Code.PIN_GUESSABLE]


def test_a_pin_that_is_shorter_than_is_asked_for_is_refused_at_its_line() -> None:
    """One digit is no PIN at all."""
    found = check_pins("123456", "234567", "12345", "7", "00123", minimum_digits=6)
    assert [(problem.code, problem.line, problem.params) for problem in found.errors] == [
        (Code.PIN_TOO_SHORT, 4, {"found": "12345", "min": 6}),
        (Code.PIN_INVALID, 5, {"found": "7", "why": "short"}),
        (Code.PIN_TOO_SHORT, 6, {"found": "00123", "min": 6}),
    ]
    assert found.entries == []
    assert check_pins("123456", "2345678901", minimum_digits=6).errors == []


def test_zeros_that_are_restored_count() -> None:
    pins = ["123456", "234567", "12345"]
    assert [problem.params.get("restored") for problem in check_pins(*pins, minimum_digits=6).errors] == ["012345"]
    assert check_pins(*pins, minimum_digits=6, restore_zeros=True).errors == []
    assert [problem.code for problem in check_pins(*pins, minimum_digits=7, restore_zeros=True).errors] == [
        Code.PIN_TOO_SHORT
    ] * 3


def test_short_pins_are_counted_by_width_with_the_chance_of_one_guess() -> None:
    """Two to five digits; longer ones are told of by the list's warning alone."""
    pins = ["12", *(f"{number:04}" for number in range(50)), "12345", "123456", "1234567890"]
    assert short_pins(pins) == [ShortPins(2, 1, 100), ShortPins(4, 50, 200), ShortPins(5, 1, 100_000)]
    assert short_pins(["123456"]) == []


@pytest.mark.parametrize(("count", "width"), [(1, 6), (1_000, 6), (1_001, 7), (8_000, 7), (10_001, 8), (10**8, 10)])
def test_a_width_is_wide_enough_if_one_guess_in_a_thousand_is_right(count: int, width: int) -> None:
    """And never that of a short PIN."""
    assert wide_enough(count, 0.001) == width
