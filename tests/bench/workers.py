"""One port and several processes: answers a second, the processor's time for each, and what one more process costs.

The client takes one of the cores that it shares with the processes. So beside what can be seen of throughput stands
the time of processors that an answer takes: where it stays the same, throughput grows with the cores.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from tests.bench.figures import Figure
from tests.bench.load import Load, question, saturated
from tests.bench.many import Many
from tests.bench.workplace import Daemon, Workplace

_COUNTS: Final = (1, 2, 3)
_QUESTIONS: Final = 2000
_CONNECTIONS: Final = 64
_TICK: Final = os.sysconf("SC_CLK_TCK")
_MIB: Final = 1 << 20


class _Round(NamedTuple):
    load: Load
    seconds: float
    """Of processors, for all processes that answer."""
    spread: float
    """The smallest part of the answers that one of the processes gave, of what would be even."""


def run(*, rounds: int = 5, seconds: float = 2.0, many: int = 1_000_000) -> list[Figure]:
    """Alternately with 1, 2 and 3 processes; then the memory of each number of them, with so `many` entries."""
    with tempfile.TemporaryDirectory() as folder:
        workplace = Workplace(Path(folder))
        lists = asyncio.run(Many.written(workplace, many))
        callers = lists.callers(_QUESTIONS)
        questions = [
            question(workplace.token, passcode, pin, call_id=f"1.{at}") for at, (passcode, pin) in enumerate(callers)
        ]
        figures = _throughput(workplace, questions, rounds, seconds)
        everybody = lists.callers(20 * _QUESTIONS)
        memory = {
            count: _memory(workplace, count, [question(workplace.token, *one) for one in everybody])
            for count in _COUNTS
        }
    index = memory[1][1]
    return [
        *figures,
        Figure(f"memory of the index, {lists.entries:,} entries", index / _MIB, "MiB"),
        *(Figure(f"memory of all processes, {count} answering", memory[count][0] / _MIB, "MiB") for count in _COUNTS),
        Figure(
            "memory of one more process, of the index",
            100 * (memory[3][0] - memory[2][0]) / index,
            "%",
            goal=5.0 if lists.entries >= 10_000_000 else None,
        ),
        Figure("memory of one more process", (memory[3][0] - memory[2][0]) / _MIB, "MiB", goal=35.0),
    ]


def _throughput(workplace: Workplace, questions: Sequence[bytes], rounds: int, seconds: float) -> list[Figure]:
    measured: dict[int, list[_Round]] = {count: [] for count in _COUNTS}
    with ExitStack() as stack:
        daemons = {count: _daemon(workplace, count, stack) for count in _COUNTS}
        for _ in range(rounds):
            for count, daemon in daemons.items():
                processes = [daemon.pid, *_workers(daemon)]
                before, shares = [_processor(pid) for pid in processes], _shares(daemon, count)
                load = saturated(daemon.port, questions, seconds=seconds, connections=_CONNECTIONS)
                took = sum(_processor(pid) for pid in processes) - sum(before)
                answered = [now - then for now, then in zip(_shares(daemon, count), shares, strict=True)]
                measured[count].append(_Round(load, took / sum(answered), min(answered) * count / sum(answered)))
    figures = []
    for count, rounds_ in measured.items():
        name = f"{count} process{'es' if count > 1 else ''}"
        figures += [
            Figure(f"answers a second, {name}", median(one.load.per_second for one in rounds_), "/s"),
            Figure(f"p99, {name}", 1000 * median(one.load.p99 for one in rounds_), "ms"),
            Figure(f"processor time of an answer, {name}", 1e6 * median(one.seconds for one in rounds_), "us"),
        ]
        if count > 1:
            figures += [
                Figure(
                    f"processor time of an answer, {name}, of that with one",
                    median(one.seconds / other.seconds for one, other in zip(rounds_, measured[1], strict=True)),
                    "x",
                ),
                Figure(
                    f"what the least busy of {count} has answered", median(one.spread for one in rounds_), "of even"
                ),
            ]
    return figures


def _daemon(workplace: Workplace, count: int, stack: ExitStack, name: str = "throughput") -> Daemon:
    folder = workplace.folder / f"{name}-{count}"
    return stack.enter_context(
        workplace.daemon(
            ROLLCALL_DAEMON__WORKERS=str(count),
            ROLLCALL_ROLL__JOURNAL=str(folder / "journal"),
            ROLLCALL_THROTTLE__FILE=str(folder / "throttle"),
        )
    )


def _memory(workplace: Workplace, count: int, questions: Sequence[bytes]) -> tuple[float, float]:
    """Bytes of all processes of a daemon once each has answered from all lists, and of its index."""
    with ExitStack() as stack:
        daemon = _daemon(workplace, count, stack, "memory")
        saturated(daemon.port, questions, seconds=5.0 * count, connections=_CONNECTIONS)
        processes = [daemon.pid, *_children(daemon.pid), *_workers(daemon)]
        return sum(_bytes(pid) for pid in processes if not _is_keeper(pid)), daemon.metric("rollcall_index_bytes")


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _workers(daemon: Daemon) -> list[int]:
    return [worker for child in _children(daemon.pid) for worker in _children(child)]


def _is_keeper(pid: int) -> bool:
    return b"rollkeeper" in Path(f"/proc/{pid}/cmdline").read_bytes()


def _bytes(pid: int) -> int:
    """Memory of a process, with its part of what it shares, and the tables of its pages."""
    found = {}
    for file in ("smaps_rollup", "status"):
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            name, _, told = line.partition(":")
            found[name] = told
    return sum(int(found[name].split()[0]) for name in ("Pss", "VmPTE")) * 1024


def _processor(pid: int) -> float:
    """Seconds of processors that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _shares(daemon: Daemon, count: int) -> list[float]:
    if count == 1:
        return [daemon.metric('rollcall_verifications_total{door="http",result="accepted"}')]
    return [daemon.metric(f'rollcall_worker_verifications_total{{worker="{number}"}}') for number in range(count)]
