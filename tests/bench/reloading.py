"""What lookups feel of lists that are taken over while they are answered."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from threading import Event
from typing import Final

from loader.listfile import export_csv
from tests.bench.data import people
from tests.bench.figures import Figure
from tests.bench.load import Load, question, steady
from tests.bench.replacing import COUNT, RATE
from tests.bench.workplace import Daemon, Workplace

_RATE: Final = 500.0
_LONGEST: Final = 300.0
_GOAL: Final = 10.0
"""Milliseconds by which a reload may delay a lookup."""
_GOAL_REPLACED: Final = 15.0
"""The same, while list after list is replaced."""


def run(*, large: int = 1_000_000, rounds: int = 3, seconds: float = 5.0) -> list[Figure]:
    """The longest answers while lists are replaced, large ones and many, and while the whole database is read again.

    Beside what is replaced stands the same in another database, which nobody follows: as much work for the machine, none
    for the daemon. Beside the last stand as many seconds without anything.
    """
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        followed, alone = Workplace(Path(one)), Workplace(Path(other))
        small = list(people(8_000))
        file = Path(one) / "small.csv"
        file.write_bytes(export_csv(small))
        for workplace in (followed, alone):
            workplace.rollcall("import", str(file), "--company", "bench")
        questions = [
            question(followed.token, followed.passcode, entry.pin, call_id=f"1732456800.{at}")
            for at, entry in enumerate(small[:1000])
        ]
        files = [Path(one) / f"large-{seed}.csv" for seed in (2, 3)]
        for seed, large_file in enumerate(files, 2):
            large_file.write_bytes(export_csv(people(large, width=9, seed=seed)))
        with followed.daemon() as daemon:

            def answers_during(work: Callable[[], object]) -> Load:
                done = Event()
                with ThreadPoolExecutor(1) as thread:
                    load = thread.submit(
                        steady, daemon.port, questions, rate=_RATE, seconds=_LONGEST, enough=done.is_set
                    )
                    try:
                        work()
                    finally:
                        done.set()
                    return load.result()

            def import_into(workplace: Workplace, round_: int) -> None:
                workplace.rollcall("import", str(files[round_ % 2]), "--organizer", "ann")

            def import_and_take_over(round_: int) -> None:
                applied = daemon.metric("rollcall_position_applied")
                import_into(followed, round_)
                daemon.wait_until(lambda: daemon.metric("rollcall_position_applied") > applied)
                in_force.append(daemon.metric("rollcall_commit_to_force_last_seconds"))

            in_force: list[float] = []
            replaced, beside = [], []
            for round_ in range(rounds):
                replaced.append(answers_during(partial(import_and_take_over, round_)))
                beside.append(answers_during(partial(import_into, alone, round_)))
            many, many_beside = [], []
            before = daemon.metric("rollcall_position_applied")
            for _ in range(rounds):
                many.append(answers_during(partial(_replace, followed, seconds)))
                many_beside.append(answers_during(partial(_replace, alone, seconds)))
            applied = daemon.metric("rollcall_position_applied") - before
            again, quiet = [], []
            for _ in range(rounds):
                again.append(answers_during(lambda: _put_back(followed, daemon)))
                quiet.append(answers_during(lambda: daemon.wait_for(1.0)))
    return [
        Figure(f"a list of {large:,} in force after its commit", median(in_force), "s", goal=1.0),
        *_delays(f"while a list of {large:,} is imported and taken over", replaced, beside),
        Figure(
            f"lists of {COUNT:,} that came in force a second", applied / rounds / seconds, "", goal=9, sense="at least"
        ),
        *_delays(f"while lists of {COUNT:,} are replaced {RATE:g} times a second", many, many_beside, _GOAL_REPLACED),
        *_delays("while the whole database is read again", again, quiet),
    ]


def _put_back(workplace: Workplace, daemon: Daemon) -> None:
    """Put a copy of the database in its place, as from a backup, and wait until the daemon has read it."""
    done = daemon.metric("rollcall_loads_total")
    copy = workplace.folder / "copy.db"
    shutil.copy(workplace.database, copy)
    copy.replace(workplace.database)
    daemon.wait_until(lambda: daemon.metric("rollcall_loads_total") > done)


def _replace(workplace: Workplace, seconds: float) -> None:
    url, key = (workplace.environment[name] for name in ("ROLLCALL_DATABASE__URL", "ROLLCALL_KEY__FILE"))
    subprocess.run([sys.executable, "-m", "tests.bench.replacing", url, key, str(seconds)], check=True)


def _delays(when: str, loads: list[Load], beside: list[Load], goal: float = _GOAL) -> list[Figure]:
    worst, worst_beside = (1000 * median(load.worst for load in some) for some in (loads, beside))
    return [
        Figure(f"p99.9 {when}", 1000 * median(load.p999 for load in loads), "ms",
               beside=1000 * median(load.p999 for load in beside)),
        Figure(f"longest answer {when}", worst, "ms", beside=worst_beside),
        Figure(f"the longest answer is longer by, {when}", worst - worst_beside, "ms", goal=goal),
    ]  # fmt: skip
