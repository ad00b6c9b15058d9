"""Rolls on the web site, with a million calls in the database."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from statistics import median, quantiles
from typing import Final

import msgspec

from loader.keyring import Keyring
from loader.listfile import export_csv
from loader.model import Entry, Level, Owner, Participant
from loader.store.rolls import Caller, purpose
from tests.bench.data import people
from tests.bench.figures import Figure
from tests.bench.site import signed_in
from tests.bench.workplace import Workplace

_DAY: Final = 86400.0
_LOOKS: Final = 40
_GOAL: Final = 100.0


def run(*, occurrences: int = 5_000, calls: int = 200) -> list[Figure]:
    """Times are those of the server and of a client in the same process. The organizer's list has 8,000 people."""
    with tempfile.TemporaryDirectory() as folder:
        workplace = Workplace(Path(folder))
        entries = list(people(8_000))
        file = workplace.folder / "list.csv"
        file.write_bytes(export_csv(entries))
        workplace.rollcall("import", str(file), "--organizer", "ann")
        _fill(workplace, entries, occurrences, calls)
        return asyncio.run(_run(workplace, occurrences, calls))


def _fill(workplace: Workplace, entries: list[Entry], occurrences: int, calls: int) -> None:
    """Written directly: to tell so many calls one by one would take hours. The last occurrence is on."""
    keyring = Keyring.load(workplace.folder / "rollcall.key")
    begun = time.time() - occurrences * _DAY / 4
    with closing(sqlite3.connect(workplace.database)) as database:
        database.execute("pragma synchronous = off")
        for number in range(1, occurrences + 1):
            is_on = number == occurrences
            at = begun + number * _DAY / 4
            row = number, "C-1", "bench", "ann", "Bench", at, at + 3600, None if is_on else at + 3600
            database.execute(
                "insert into occurrence (id, conference_id, company_id, organizer_id, title, started_at, last_at, "
                "ended_at, present, admitted, rejected, version) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 2)",
                (*row, calls if is_on else 0, calls),
            )
            database.executemany(
                "insert into call (occurrence_id, source, call_id, verification_id, door, admitted_at, joined_at, "
                "left_at, ended, person, person_key_id, key_id, sealed) "
                "values (?, 'pbx-1', ?, ?, 'http', ?, ?, ?, ?, ?, ?, ?, ?)",
                _calls(keyring, entries[:calls], number, at, is_on=is_on),
            )
            if number % 100 == 0:
                database.commit()
        database.commit()


_numbers: Final = count()


def _calls(
    keyring: Keyring, entries: list[Entry], occurrence: int, at: float, *, is_on: bool
) -> Iterator[tuple[object, ...]]:
    owner, key_id = Owner(Level.ORGANIZER, "ann"), keyring.current
    for place, entry in enumerate(entries):
        fields = {name: getattr(entry, name) for name in Participant.__struct_fields__}
        caller = msgspec.msgpack.encode(Caller(Participant(**fields), f"+1555{place:07}"))
        word = f"{next(_numbers):x}-{os.urandom(8).hex()}"
        yield (
            occurrence,
            word,
            word,
            at + place,
            at + place + 5,
            None if is_on else at + 3600,
            None if is_on else "left",
            keyring.fingerprint(owner, entry.pin, key_id=key_id),
            key_id,
            key_id,
            keyring.seal_secret(purpose(word), caller, key_id=key_id),
        )


async def _run(workplace: Workplace, occurrences: int, calls: int) -> list[Figure]:
    overview = f"overview of {occurrences:,} rolls"
    figures = []
    async with signed_in(workplace, role="super-administrator") as visitor:
        for name, paths in {
            overview: ["/rolls"] * _LOOKS,
            f"{overview}, the last page": [f"/rolls?page={occurrences // 50}"] * _LOOKS,
            f"{overview}, filtered": ["/rolls?since=2020-01-01&organizer=ann&conference=C-1"] * _LOOKS,
            f"a roll of {calls} people": [f"/rolls/{number}" for number in range(100, 100 + _LOOKS)],
            f"a live roll of {calls} people": [f"/rolls/{occurrences}"] * _LOOKS,
        }.items():
            # The first of each kind reads templates and the list.
            await visitor.timed(paths[-1])
            times = [1000 * await visitor.timed(path) for path in paths]
            figures += [
                Figure(f"{name}, median", median(times), "ms", goal=_GOAL),
                Figure(f"{name}, p95", quantiles(times, n=20)[-1], "ms", goal=_GOAL),
            ]
    return figures
