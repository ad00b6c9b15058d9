"""What a look at something comes to, and what all looks are given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

import msgspec

from loader.keyring import Keyring
from loader.settings import Settings
from loader.store import Store, sqlite_file


class State(StrEnum):
    """How it is."""

    OK = "ok"
    WARNING = "warning"
    """It works, and is risky, or will not work for long."""
    WRONG = "wrong"
    """It does not work, or something is lost."""


class Finding(msgspec.Struct, frozen=True):
    """What was looked at, how it is, what that means, and what to do about it. There is no secret in it."""

    looked_at: str
    state: State
    found: str
    do: str = ""


def ok(looked_at: str, found: str) -> Finding:
    return Finding(looked_at, State.OK, found)


def warning(looked_at: str, found: str, do: str) -> Finding:
    return Finding(looked_at, State.WARNING, found, do)


def wrong(looked_at: str, found: str, do: str) -> Finding:
    return Finding(looked_at, State.WRONG, found, do)


class Installation(msgspec.Struct, frozen=True):
    """What is looked at. `keyring` is None if the key file cannot be used; `now` is in seconds since 1970 UTC."""

    settings: Settings
    keyring: Keyring | None
    now: float

    @property
    def database(self) -> Path | None:
        """The database's file; None if it is not a file."""
        return sqlite_file(self.settings.database.url)

    @property
    def key_file(self) -> Path:
        return Path(self.settings.key.file)

    @property
    def journal(self) -> Path:
        return Path(self.settings.roll.journal)


Look: TypeAlias = Callable[[Installation], AsyncIterator[Finding]]
"""A look at something that needs no database. May raise OSError where the system lets nobody look."""
LookInside: TypeAlias = Callable[[Installation, Store], AsyncIterator[Finding]]
"""A look at what is in the database, which can be read. May raise DatabaseUnavailable."""
