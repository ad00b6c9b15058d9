"""A database of many lists, as a large installation has it, written in one transaction."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from sqlalchemy import insert

from loader.compiled import compile_list
from loader.keyring import Keyring, part_count
from loader.model import Kind, Level, Owner
from loader.store import open_store
from loader.store import tables as t
from tests.bench.data import people
from tests.bench.workplace import Workplace

LIST: Final = 100
"""Entries of a list, in the middle."""
_CONFERENCES: Final = 4
"""Conferences of an organizer, who has a list and an authorization code with a list."""
_PATTERNS: Final = 400
"""Different lists. Each owner has a copy: nothing is shared in the database, or in a daemon."""
_AT_ONCE: Final = 500


class _Pattern(NamedTuple):
    compiled: bytes
    pins: list[str]


class Many:
    """So many entries, in a hundredth as many lists of a fiftieth as many conferences."""

    def __init__(self, workplace: Workplace, entries: int) -> None:
        self.entries = 0
        self.organizers = max(1, entries // LIST // 2)
        self.lists = 2 * self.organizers
        self.conferences = _CONFERENCES * self.organizers
        self._patterns = list(_patterns(min(_PATTERNS, self.lists)))
        self._workplace = workplace

    @classmethod
    async def written(cls, workplace: Workplace, entries: int) -> Many:
        """Written into the database of a workplace."""
        many = cls(workplace, entries)
        await many._write()
        return many

    def callers(self, count: int) -> list[tuple[str, str]]:
        """Passcode and PIN of so many callers, all over the conferences and both kinds of lists."""
        random_ = random.Random(count)
        chosen = []
        for _ in range(count):
            conference = random_.randrange(self.conferences)
            list_ = 2 * (conference // _CONFERENCES) + random_.randrange(2)
            chosen.append((_passcode(conference), random_.choice(self._pattern(list_).pins)))
        return chosen

    def _pattern(self, list_: int) -> _Pattern:
        return self._patterns[list_ * 7919 % len(self._patterns)]

    async def _write(self) -> None:
        codes = [{"code": f"{at:07}", "company_id": "bench", "label": f"CODE {at}"} for at in range(self.organizers)]
        organizers = [
            {
                "id": f"organizer-{at}",
                "company_id": "bench",
                "authorization_code": f"{at:07}",
                "name": f"Organizer {at}",
                "email": f"organizer-{at}@example.com",
            }
            for at in range(self.organizers)
        ]
        conferences = [
            {
                "id": f"C-{at:07}",
                "organizer_id": f"organizer-{at // _CONFERENCES}",
                "title": f"Weekly call of project {at}",
                "passcode": _passcode(at),
                "pin_entry": True,
            }
            for at in range(self.conferences)
        ]
        path = Path(self._workplace.environment["ROLLCALL_KEY__FILE"])
        keyring = Keyring.load(path)
        async with open_store(f"sqlite:///{self._workplace.database}") as store:
            async with store.writing() as writing:
                await writing.insert_rows("authorization_code", codes)
                await writing.insert_rows("organizer", organizers)
                await writing.insert_rows("conference", conferences)
                if await writing.key_in_use() is None:
                    await writing.use_key(keyring.current)
                for at in range(self.conferences):
                    writing.changed(Kind.CONFERENCE, f"C-{at:07}")
                for at in range(self.lists):
                    writing.changed(Kind.LIST, _owner(at).key)
            async with store.transaction() as connection:
                for begin in range(0, self.lists, _AT_ONCE):
                    rows = [self._rows(keyring, at) for at in range(begin, min(begin + _AT_ONCE, self.lists))]
                    for table, of in zip((t.pin_list, t.list_revision), zip(*rows, strict=True), strict=False):
                        await connection.execute(insert(table), list(of))
                    await connection.execute(insert(t.list_part), [part for *_, parts in rows for part in parts])

    def _rows(self, keyring: Keyring, at: int) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
        """One list, as three tables have it."""
        owner, (compiled, pins) = _owner(at), self._pattern(at)
        self.entries += len(pins)
        known = {"level": owner.level.value, "owner_id": owner.id, "revision": 1}
        listed = {
            "created_at": time.time(),
            "created_by": "bench",
            "source": "import",
            "entries": len(pins),
            "active": len(pins),
            "size": len(compiled),
            "parts": part_count(len(compiled)),
            "key_id": keyring.current,
        }
        sealed = keyring.seal(owner, 1, compiled, key_id=keyring.current)
        parts = [{**known, "part": part, "ciphertext": ciphertext} for part, ciphertext in enumerate(sealed)]
        return known, known | listed, parts


def _patterns(count: int) -> Iterator[_Pattern]:
    for seed in range(count):
        entries = list(people(LIST - 20 + seed % 41, seed=seed))
        yield _Pattern(compile_list(entries), [entry.pin for entry in entries])


def _owner(list_: int) -> Owner:
    if list_ % 2:
        return Owner(Level.AUTHORIZATION_CODE, f"{list_ // 2:07}")
    return Owner(Level.ORGANIZER, f"organizer-{list_ // 2}")


def _passcode(conference: int) -> str:
    return f"{10_000_000 + conference * 37}"
