"""`make bench`: all figures in one run, as a table and as JSON in build/bench.json.

Name parts to run only those; with --quick they are shorter and say less. Exit status 1 if a goal is missed or a part
fails: the others' figures are kept.
"""

from __future__ import annotations

import argparse
import inspect
import os
import platform
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table

from tests.bench.figures import Figure
from tests.bench.others import versions

_PARTS: Final = (
    "answers", "beside", "copies", "doors", "durability", "erasing", "guessing", "lists", "packets", "radius", "reloading",
    "rolls", "site", "sizes", "steps", "workers",
)  # fmt: skip
"""Modules, each with a `run` that gives its figures."""

_QUICK: Final[Mapping[str, Any]] = {
    "rounds": 2, "seconds": 1.0, "large": 100_000, "many": 100_000, "occurrences": 500,
}  # fmt: skip
"""What the parts that take it are given for a quick run."""

_PATIENCE: Final = 600
"""Seconds that a part may take."""

_LIBRARIES: Final = ("aiohttp", "asyncpg", "hiredis", "msgspec", "redis", "uvloop")
_OUTPUT: Final = Path("build/bench.json")


class Part(msgspec.Struct):
    """What came of a part, and after how many seconds; with its last words if it failed."""

    seconds: float
    figures: list[Figure] = []
    failed: str | None = None


class Report(msgspec.Struct):
    """All of one run, and what it ran on and compared with; None is the version of what is not there."""

    quick: bool
    machine: dict[str, str | int | None]
    versions: dict[str, str | None]
    parts: dict[str, Part]


def main(arguments: Sequence[str]) -> int:
    """Run the parts that the command line names, or all of them; the exit status."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("parts", metavar="PART", nargs="*", help=", ".join(_PARTS))
    parser.add_argument("--quick", action="store_true", help="shorter rounds, fewer of them, shorter lists")
    called = parser.parse_args(arguments)
    unknown = set(called.parts) - set(_PARTS)
    if unknown:
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(_PARTS)}")
    # Who is told to end ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    report = Report(called.quick, _machine(), {**_libraries(), **versions()}, {})
    _OUTPUT.parent.mkdir(exist_ok=True)
    for name in called.parts or _PARTS:
        report.parts[name] = _measured(name, quick=called.quick)
        _OUTPUT.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    # Wide enough for every name, in a pipe too.
    Console(width=max(Console().width, 170)).print(_table(report))
    missed = [figure for part in report.parts.values() for figure in part.figures if figure.reached is False]
    failed = {name: part.failed for name, part in report.parts.items() if part.failed is not None}
    for figure in missed:
        sys.stderr.write(f"bench: not reached: {figure.name}\n")
    for name, why in failed.items():
        sys.stderr.write(f"bench: failed: {name}: {why}\n")
    return 1 if missed or failed else 0


def _measured(name: str, *, quick: bool) -> Part:
    begun = time.perf_counter()
    try:
        with Console(stderr=True).status(f"measuring: {name}"), _at_most(_PATIENCE):
            run: Callable[..., list[Figure]] = import_module(f"tests.bench.{name}").run
            taken = inspect.signature(run).parameters.keys() & _QUICK.keys() if quick else ()
            part = Part(0, run(**{parameter: _QUICK[parameter] for parameter in taken}))
    except Exception as error:  # noqa: BLE001 - whatever it is, the other parts have figures
        traceback.print_exc()
        part = Part(0, failed=f"{type(error).__name__}: {error}")
    part.seconds = round(time.perf_counter() - begun, 1)
    sys.stderr.write(f"bench: {name}: {part.seconds:.0f} s\n")
    return part


@contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    """Raises TimeoutError inside once so many seconds are over."""

    def end(*_: object) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _machine() -> dict[str, str | int | None]:
    return {
        "processors": os.cpu_count(),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _libraries() -> dict[str, str | None]:
    told: dict[str, str | None] = {}
    for name in _LIBRARIES:
        try:
            told[name] = version(name)
        except PackageNotFoundError:
            told[name] = None
    return told


def _table(report: Report) -> Table:
    table = Table()
    for column in ("", "figure", "lowest", "highest", "beside", "goal", ""):
        table.add_column(column, justify="left" if column == "" else "right")
    for name, part in report.parts.items():
        table.add_section()
        table.add_row(f"[bold]{name}[/], {part.seconds:.0f} s{'' if part.failed is None else ': [bold red]failed[/]'}")
        for figure in part.figures:
            goal = "" if figure.goal is None else f"{figure.sense} {figure.goal:g}"
            lowest, highest, beside = map(_number, (figure.lowest, figure.highest, figure.beside))
            value = f"{_number(figure.value)} {figure.unit}"
            table.add_row(figure.name, value, lowest, highest, beside, goal, _VERDICTS[figure.reached])
    return table


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


_VERDICTS: Final = {True: "reached", False: "[bold red]missed[/]", None: ""}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
