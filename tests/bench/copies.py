"""What writers and callers feel of a copy of the database that is made, and of one that is put back."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final, Self

from loader.listfile import export_csv
from tests.bench.data import people
from tests.bench.figures import Figure
from tests.bench.load import Load, question, steady
from tests.bench.workplace import Workplace

_RATE: Final = 500.0


def run(*, entries: int = 1_000_000, imports: int = 3, seconds: float = 8.0) -> list[Figure]:
    """One list, imported several times over; somebody writes all the while, and a daemon is asked."""
    with tempfile.TemporaryDirectory() as folder:
        workplace = Workplace(Path(folder))
        known = list(people(entries))
        for number in range(imports):
            file = Path(folder) / "list.csv"
            file.write_bytes(export_csv(known[number:]))
            workplace.rollcall("import", str(file), "--company", "bench")
        copy = str(Path(folder) / "copy.db")
        questions = [question(workplace.token, workplace.passcode, one.pin) for one in known[imports : imports + 1000]]
        with workplace.daemon() as daemon:

            def beside(*command: str) -> tuple[float, float, Load]:
                """Seconds that a command took, the longest wait of a writer, and what callers felt."""
                with ThreadPoolExecutor() as pool, _Writer(workplace.database) as writer:
                    asked = pool.submit(steady, daemon.port, questions, rate=_RATE, seconds=seconds)
                    time.sleep(1)
                    took = workplace.timed(*command) if command else 0.0
                    return took, writer.longest(), asked.result()

            _, wait, load = beside()
            backup, backup_wait, backup_load = beside("backup", copy)
            restore, restore_wait, restore_load = beside("restore", copy)
        size = Path(copy).stat().st_size
        doctor = workplace.timed("doctor")
    return [
        Figure("bytes of the database", size, "bytes"),
        Figure("rollcall backup", backup, "s"),
        Figure("longest wait of a writer meanwhile", 1000 * backup_wait, "ms", beside=1000 * wait),
        Figure("p99 of answers meanwhile", 1000 * backup_load.p99, "ms", beside=1000 * load.p99),
        Figure("rollcall restore", restore, "s"),
        Figure("longest wait of a writer meanwhile (restore)", 1000 * restore_wait, "ms", beside=1000 * wait),
        Figure("p99 of answers meanwhile (restore)", 1000 * restore_load.p99, "ms", beside=1000 * load.p99),
        Figure("rollcall doctor", doctor, "s"),
    ]


class _Writer:
    """Somebody who commits something small every few milliseconds."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._over = threading.Event()
        self._waits: list[float] = []
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def longest(self) -> float:
        """Seconds of the longest commit, once no more come."""
        self._stop()
        return max(self._waits)

    def _stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _write(self) -> None:
        with closing(sqlite3.connect(self._database, isolation_level=None, timeout=60)) as connection:
            while not self._over.wait(0.005):
                begun = time.perf_counter()
                connection.execute("UPDATE company SET name = name || ''")
                self._waits.append(time.perf_counter() - begun)
