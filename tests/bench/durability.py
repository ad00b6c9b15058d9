"""What callers wait until they are on the roll: accepted ones beside rejected ones, of which nothing is kept at once."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from loader.listfile import export_csv
from tests.bench.data import people
from tests.bench.figures import Figure
from tests.bench.load import Load, question, steady
from tests.bench.workplace import Workplace

_RATE = 500.0
_QUESTIONS = 1000


def run(*, rounds: int = 5, seconds: float = 3.0, entries: int = 8_000) -> list[Figure]:
    """Latency at a steady 500 questions a second, for each setting of `roll.durability`; alternately, by medians."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        workplace = Workplace(Path(folder))
        file = Path(folder) / "list.csv"
        listed = list(people(entries))
        file.write_bytes(export_csv(listed))
        workplace.rollcall("import", str(file), "--organizer", "ann")
        known = [entry.pin for entry in listed[:_QUESTIONS]]
        # One digit more than any PIN in the list.
        unknown = [f"{pin}1" for pin in known]
        accepted, rejected = (
            [question(workplace.token, workplace.passcode, pin, call_id=f"1.{at}") for at, pin in enumerate(pins)]
            for pins in (known, unknown)
        )
        daemons = {
            durability: stack.enter_context(workplace.daemon(ROLLCALL_ROLL__DURABILITY=durability))
            for durability in ("system", "disk")
        }
        loads: dict[str, list[tuple[Load, Load]]] = {durability: [] for durability in daemons}
        for _ in range(rounds):
            for durability, daemon in daemons.items():
                kept, plain = (
                    steady(daemon.port, questions, rate=_RATE, seconds=seconds) for questions in (accepted, rejected)
                )
                loads[durability].append((kept, plain))
    return [
        Figure(
            f"{name} of accepted answers, roll.durability = {durability}",
            1000 * median(getattr(kept, field) for kept, _ in pairs),
            "ms",
            beside=1000 * median(getattr(plain, field) for _, plain in pairs),
        )
        for durability, pairs in loads.items()
        for name, field in (("p50", "p50"), ("p99", "p99"))
    ]
