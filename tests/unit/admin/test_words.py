"""Plain text: broken where a script allows it, with dates as a language writes them."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admin.words import WIDTH, Words, wrapped
from loader.store.invitations import Date


def columns(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in line)


def test_lines_are_broken_between_words() -> None:
    lines = wrapped("word " * 40).split("\n")
    assert max(map(len, lines)) <= WIDTH
    assert " ".join(lines).split() == ["word"] * 40
    assert all(line == line.strip() for line in lines)


def test_what_has_no_place_to_break_stays_whole() -> None:
    address = "https://example.com/" + "x" * 100
    assert wrapped(f"See {address} for more.").split("\n") == ["See", address, "for more."]


def test_lines_that_begin_with_blanks_and_empty_ones_stay() -> None:
    text = f"a\n\n  {'x ' * 60}\nb"
    assert wrapped(text) == text


def test_japanese_is_broken_between_letters_but_not_before_a_full_stop() -> None:
    lines = wrapped("電話会議のお知らせです。" * 12).split("\n")
    assert "".join(lines) == "電話会議のお知らせです。" * 12
    assert all(columns(line) <= WIDTH + 2 for line in lines)
    assert not any(line.startswith("。") for line in lines)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=400))
def test_nothing_is_lost(text: str) -> None:
    assert wrapped(text).split() == text.split() or "".join(wrapped(text).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("language", "told"),
    [
        ("en", "Tuesday, May 4, 2027, 2:30\u202fPM – 4:00\u202fPM (Europe/Paris, UTC+02:00)"),
        ("fr", "mardi 4 mai 2027, 14:30 – 16:00 (Europe/Paris, UTC+02:00)"),
        ("de", "Dienstag, 4. Mai 2027, 14:30 – 16:00 (Europe/Paris, UTC+02:00)"),
        ("ja", "2027年5月4日火曜日, 14:30 – 16:00 (Europe/Paris, UTC+02:00)"),
    ],
)
def test_a_date_is_told_with_its_day_of_the_week_and_its_time_zone(language: str, told: str) -> None:
    assert Words(language).span(Date(1_809_433_800.0, 90, "Europe/Paris", 0.0)) == told


def test_a_conference_over_midnight_names_both_days() -> None:
    told = Words("en").span(Date(1_809_433_800.0, 1000, "UTC", 0.0))
    assert "Tuesday, May 4" in told
    assert "Wednesday, May 5" in told
