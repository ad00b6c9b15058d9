"""What ten million people in a hundred thousand lists cost: memory, the time to ready, and the answers."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from statistics import median
from typing import Final

from tests.bench.figures import Figure
from tests.bench.load import Load, question, steady
from tests.bench.many import Many
from tests.bench.workplace import Daemon, Workplace

_RATE: Final = 500.0
_CALLERS: Final = 20_000


def run(
    *, large: int = 10_000_000, beside: int = 10_000, starts: int = 3, rounds: int = 9, seconds: float = 5.0
) -> list[Figure]:
    """Lists of about 100; half are organizers', half authorization codes', and each conference asks one of both.

    The answers of a daemon with all of it and of one with a thousandth are timed alternately, each asked for callers all
    over its conferences. What is told of the answers are medians of the rounds, and of the ratios of each round.
    """
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        full, light = Workplace(Path(one)), Workplace(Path(other))
        with light.daemon() as empty:
            empty_memory = empty.memory
        many, few = asyncio.run(Many.written(full, large)), asyncio.run(Many.written(light, beside))
        seconds_to_ready = []
        for _ in range(starts - 1):
            with full.daemon() as daemon:
                seconds_to_ready.append(daemon.seconds_to_ready)
        with full.daemon() as daemon, light.daemon() as other_daemon:
            seconds_to_ready.append(daemon.seconds_to_ready)
            memory = daemon.memory - empty_memory

            def answers(asked: Daemon, workplace: Workplace, filled: Many, round_: int) -> Load:
                callers = filled.callers(_CALLERS)
                questions = [
                    question(workplace.token, passcode, pin, call_id=f"1732456800.{at % 1000}")
                    for at, (passcode, pin) in enumerate(callers[round_ * 997 % _CALLERS :] + callers)
                ]
                return steady(asked.port, questions, rate=_RATE, seconds=seconds)

            loads, loads_beside = [], []
            for round_ in range(rounds):
                loads.append(answers(daemon, full, many, round_))
                loads_beside.append(answers(other_daemon, light, few, round_))
    what = f"{many.entries:,} entries in {many.lists:,} lists"
    p50, p99, p50_beside, p99_beside = (
        1000 * median(times)
        for times in (
            [load.p50 for load in loads],
            [load.p99 for load in loads],
            [load.p50 for load in loads_beside],
            [load.p99 for load in loads_beside],
        )
    )
    ratio = median(load.p99 / beside.p99 for load, beside in zip(loads, loads_beside, strict=True))
    return [
        Figure(f"memory an entry, {what}", memory / many.entries, "bytes", goal=120),
        Figure(f"from start to ready, {what}", median(seconds_to_ready), "s", goal=20),
        Figure(f"p50, {what}", p50, "ms", beside=p50_beside),
        Figure(f"p99, {what}", p99, "ms", beside=p99_beside),
        Figure(f"p99 as a share of that with {few.entries:,} entries", ratio, "x", goal=1.1),
    ]
