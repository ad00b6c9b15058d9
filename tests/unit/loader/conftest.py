"""A database in a temporary folder, with two companies, and a key file."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from loader.directory import apply_directory, parse_directory
from loader.keyring import Keyring
from loader.model import Entry, Level, Owner, Pin
from loader.store import Store, migrate, open_store

_DIRECTORY = b"""
[[company]]
id = "globaltest"
name = "Global Test"
  [[company.authorization_code]]
  code = "3625046"
  label = "GLOBAL TEST-USA"
  [[company.organizer]]
  id = "alicia"
  name = "Alicia Customer"
  email = "alicia@example.com"
  authorization_code = "3625046"
    [[company.organizer.conference]]
    id = "C-1001"
    title = "Weekly call"
    passcode = "7784321"
    pin_entry = true
[[company]]
id = "other"
name = "Other"
  [[company.authorization_code]]
  code = "77"
  label = "OTHER"
"""


@pytest.fixture
def example() -> bytes:
    """The directory file that the store's database holds."""
    return _DIRECTORY


@pytest.fixture
def alicia() -> Owner:
    return Owner(Level.ORGANIZER, "alicia")


@pytest.fixture
def globaltest() -> Owner:
    return Owner(Level.COMPANY, "globaltest")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'rollcall.db'}"


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that holds the example, made once and copied for each test."""
    file = tmp_path_factory.mktemp("made") / "rollcall.db"

    async def make() -> None:
        await migrate(f"sqlite:///{file}")
        async with open_store(f"sqlite:///{file}") as store:
            await apply_directory(store, parse_directory(_DIRECTORY, format="toml"))

    asyncio.run(make())
    return file


@pytest.fixture
async def store(url: str, made: Path, tmp_path: Path) -> AsyncIterator[Store]:
    shutil.copy(made, tmp_path / "rollcall.db")
    async with open_store(url) as opened:
        yield opened


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring.create(tmp_path / "rollcall.key")


@pytest.fixture
def people() -> Callable[..., list[Entry]]:
    """`people(3)`: three made-up entries; `name` stands in each of them."""

    def make(count: int, name: str = "Mike") -> list[Entry]:
        return [
            Entry(Pin(f"{number:06}"), name, "Doe", "XYZ", "+1 555 0100", "mike@example.com", "Uxbridge", "UK", "")
            for number in range(count)
        ]

    return make
