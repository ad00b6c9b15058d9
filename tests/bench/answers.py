"""Answers over HTTP, beside the bare handler: alternately, round by round, and compared by medians and ratios."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

from loader.listfile import export_csv
from tests.bench.data import people
from tests.bench.figures import Figure
from tests.bench.load import Load, question, saturated, steady
from tests.bench.workplace import Workplace, bare_handler

_QUESTIONS: Final = 1000
_RATE: Final = 500.0


def run(*, rounds: int = 5, seconds: float = 3.0, entries: int = 8_000) -> list[Figure]:
    """Throughput with 32 connections and with one, and latency at a steady 500 questions a second."""
    with tempfile.TemporaryDirectory() as folder:
        workplace = Workplace(Path(folder))
        file = Path(folder) / "list.csv"
        listed = list(people(entries))
        file.write_bytes(export_csv(listed))
        workplace.rollcall("import", str(file), "--organizer", "ann")
        questions = [
            question(workplace.token, workplace.passcode, entry.pin, call_id=f"1732456800.{at}")
            for at, entry in enumerate(listed[:_QUESTIONS])
        ]
        with workplace.daemon() as daemon, bare_handler() as bare_port:

            def compare(load: Callable[[int], Load]) -> tuple[list[Load], list[Load]]:
                both = [(load(daemon.port), load(bare_port)) for _ in range(rounds)]
                return [ours for ours, _ in both], [bare for _, bare in both]

            figures = []
            for connections in (32, 1):
                full_speed = partial(saturated, questions=questions, seconds=seconds, connections=connections)
                figures += _throughput(connections, *compare(full_speed))
            figures += _latency(*compare(partial(steady, questions=questions, rate=_RATE, seconds=seconds)))
            if daemon.metric('rollcall_verifications_total{door="http",result="unknown_pin"}'):
                raise RuntimeError("PINs that stand in the list were rejected")
    return figures


def _throughput(connections: int, ours: Sequence[Load], bare: Sequence[Load]) -> list[Figure]:
    name = f"{connections} connection{'s' if connections > 1 else ''}"
    ratio = median(mine.per_second / other.per_second for mine, other in zip(ours, bare, strict=True))
    goal = 0.8 if connections > 1 else None
    return [
        Figure(
            f"answers a second, {name}",
            median(load.per_second for load in ours),
            "/s",
            beside=median(load.per_second for load in bare),
        ),
        Figure(f"the same, as a share of the bare handler's, {name}", ratio, "x", goal=goal, sense="at least"),
        *(
            Figure(
                f"{percentile} at full speed, {name}",
                1000 * median(getattr(load, field) for load in ours),
                "ms",
                beside=1000 * median(getattr(load, field) for load in bare),
            )
            for percentile, field in _PERCENTILES
        ),
    ]


def _latency(ours: Sequence[Load], bare: Sequence[Load]) -> list[Figure]:
    return [
        Figure(
            f"{percentile} at {_RATE:g} a second",
            1000 * median(getattr(load, field) for load in ours),
            "ms",
            beside=1000 * median(getattr(load, field) for load in bare),
        )
        for percentile, field in _PERCENTILES
    ]


_PERCENTILES: Final = (("p50", "p50"), ("p99", "p99"), ("p99.9", "p999"))
