"""What lookups feel of old rolls that are erased beside them."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Final

from loader.keyring import Keyring
from loader.listfile import export_csv
from loader.model import Participant
from loader.roll import Admitted, Event, Left
from loader.store import open_store
from loader.store.rolls import BEGINNING, Progress
from loader.store.taking import RollTaker
from tests.bench.data import people
from tests.bench.figures import Figure
from tests.bench.load import Load, question, steady
from tests.bench.workplace import Workplace

_RATE: Final = 500.0
_CALLS_EACH: Final = 500
"""Calls of one occurrence."""
_DAYS_AGO: Final = 500.0
_CALLS: Final = 30_000
"""Different calls that are asked about: a call that is asked about again adds nothing to the rolls."""
_GOAL: Final = 1.5
"""Milliseconds by which the p99 may be longer."""


def run(*, calls: int = 100_000, rounds: int = 3, seconds: float = 20.0) -> list[Figure]:
    """Answers while a daemon's keeper erases old calls; beside it as many seconds with as many calls that are kept."""
    with tempfile.TemporaryDirectory() as folder:
        workplace = Workplace(Path(folder))
        entries = list(people(8_000))
        file = Path(folder) / "list.csv"
        file.write_bytes(export_csv(entries))
        workplace.rollcall("import", str(file), "--company", "bench")
        asyncio.run(_hold(workplace, calls, next(people(1))))
        full = Path(folder) / "full.db"
        shutil.copy(workplace.database, full)
        questions = [
            question(workplace.token, workplace.passcode, entries[number % len(entries)].pin, f"1732456800.{number}")
            for number in range(_CALLS)
        ]
        loads: dict[str, list[Load]] = {"400": [], "36500": []}
        erased: list[float] = []
        for _ in range(rounds):
            for days, some in loads.items():
                shutil.copy(full, workplace.database)
                workplace.environment = {**workplace.environment, "ROLLCALL_ROLL__KEEP_DAYS": days}
                with workplace.daemon() as daemon:
                    before = _old(workplace.database)
                    some.append(steady(daemon.port, questions, rate=_RATE, seconds=seconds))
                    left = _old(workplace.database)
                if not left:
                    raise RuntimeError("all were erased before the time was over")
                if days == "400":
                    erased.append((before - left) / seconds)
    with_, without = loads.values()
    p99, p99_beside = (1000 * median(load.p99 for load in some) for some in (with_, without))
    longest, longest_beside = (1000 * median(load.worst for load in some) for some in (with_, without))
    return [
        Figure(f"old calls erased, of {calls:,}", median(erased), "a second"),
        Figure("p50 meanwhile", 1000 * median(load.p50 for load in with_), "ms",
               beside=1000 * median(load.p50 for load in without)),
        Figure("p99 meanwhile", p99, "ms", beside=p99_beside),
        Figure("the p99 is longer by", p99 - p99_beside, "ms", goal=_GOAL),
        Figure("longest answer meanwhile", longest, "ms", beside=longest_beside),
    ]  # fmt: skip


def _old(database: Path) -> int:
    """How many old calls there are."""
    with closing(sqlite3.connect(database)) as opened:
        query = "select count(*) from call where source = 'bench-old'"
        return int(opened.execute(query).fetchone()[0])


async def _hold(workplace: Workplace, calls: int, somebody: object) -> None:
    """Put so many old calls there, over one occurrence after the other."""
    who = Participant(*(getattr(somebody, name) for name in Participant.__struct_fields__))
    at = time.time() - _DAYS_AGO * 86400.0
    place = BEGINNING
    async with open_store(f"sqlite:///{workplace.database}") as store:
        taker = RollTaker(store, quiet=60.0)
        keyring = Keyring.load(workplace.folder / "rollcall.key")
        for number in range(0, calls, _CALLS_EACH):
            begun = at + number
            events: list[Event] = [
                Admitted(
                    begun,
                    f"v{one}",
                    "http",
                    "bench-old",
                    str(one),
                    "+15550100",
                    "C-1",
                    "organizer:alicia",
                    "004127",
                    who,
                )
                for one in range(number, number + _CALLS_EACH)
            ]
            events += [Left(begun + 1, "bench-old", str(one)) for one in range(number, number + _CALLS_EACH)]
            following = Progress(1, place.offset + 1)
            await taker.apply(keyring, events, "bench", place, following)
            await taker.sweep(begun + 100, 1e9)
            place = following
