"""Which passwords are taken."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from admin.passwords import Passwords, own_words, password_problem, stands_in
from loader.errors import SettingsError
from loader.model import Role, User

ALICIA = User("alicia", "globaltest", Role.ORGANIZER, "Alicia Customer", "ac@mail.example.com", None, "alicia", None)


@pytest.mark.parametrize(
    ("password", "problem"),
    [
        ("short", "short"),
        ("x" * 201, "long"),
        ("four words of mine", None),
        ("correcthorse", None),
        ("Vk3#qp9!Lz0w", None),
        ("5550198404271982", None),
        ("ｐｅｒｈａｐｓ 猫の手も借りたい", None),
        ("aaaaaaaaaaaaaaa", "easy"),
        ("my name is alicia", "easy"),
        ("Customer number one", "easy"),
        ("we are GlobalTest here", "easy"),
        ("mail.example of it", "easy"),
        ("xk7Vxk7Vxk7Vxk7V", "easy"),
        ("123456789012", "easy"),
        ("1qaz2wsx3edc", "easy"),
        ("1q2w3e4r5t6y", "easy"),
        ("qwertyuiop123", "easy"),
        ("password1234", "easy"),
        ("Passw0rd2026!", "easy"),
        ("iloveyou1234", "easy"),
        ("football12345", "easy"),
        ("rollcall-admin-1", "easy"),
        ("September2026!", "easy"),
        ("willkommen123", "easy"),
    ],
)
def test_length_is_what_counts_and_what_everybody_types_first_counts_for_nothing(
    password: str, problem: str | None
) -> None:
    """Of any characters: names, common words, rows of keys and repetitions are left out of the count."""
    assert password_problem(password, own_words(ALICIA)) == problem


def test_a_name_of_few_letters_may_stand_in_a_password() -> None:
    """It stands in too many words."""
    assert password_problem("four words of mine", ["of", "min"]) is None


@pytest.fixture
def stolen(tmp_path: Path) -> Path:
    """A file as Pwned Passwords is had, of 500 made-up ones."""
    hashes = sorted(hashlib.sha1(f"plundered letters {n}".encode()).hexdigest().upper() for n in range(500))
    file = tmp_path / "stolen.txt"
    file.write_text("".join(f"{one}:{place * 7}\r\n" for place, one in enumerate(hashes)))
    return file


def test_every_password_of_the_file_is_found_and_no_other(stolen: Path) -> None:
    """The first line and the last too, with what follows the hash or without, and in an empty file nothing is."""
    assert all(stands_in(stolen, f"plundered letters {n}") for n in range(500))
    assert not any(stands_in(stolen, f"my own password {n}") for n in range(500))
    stolen.write_text("\n".join(line.partition(":")[0].lower() for line in stolen.read_text().splitlines()))
    assert all(stands_in(stolen, f"plundered letters {n}") for n in range(500))
    stolen.write_text("")
    assert not stands_in(stolen, "plundered letters 1")


async def test_a_password_that_thieves_know_is_not_taken(stolen: Path) -> None:
    rules = Passwords(str(stolen))
    assert await rules.problem("plundered letters 77", ALICIA) == "known"
    assert await rules.problem("four words of mine", ALICIA) is None
    assert await Passwords("").problem("plundered letters 77", ALICIA) is None


def test_a_file_that_cannot_be_read_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"admin\.breached_passwords"):
        Passwords(str(tmp_path / "nothing"))
