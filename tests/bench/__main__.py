"""`make bench`: all figures in one run, as a table and as JSON in build/bench.json.

Exit status 1 if a goal is missed. Name parts (answers, copies, doors, durability, erasing, guessing, lists, packets, reloading, rolls, site) to run only those.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from tests.bench import answers, copies, doors, durability, erasing, guessing, lists, packets, reloading, rolls, site
from tests.bench.figures import Figure

_PARTS: Final[Mapping[str, Callable[[], list[Figure]]]] = {
    "answers": answers.run,
    "copies": copies.run,
    "doors": doors.run,
    "durability": durability.run,
    "lists": lists.run,
    "packets": packets.run,
    "reloading": reloading.run,
    "erasing": erasing.run,
    "guessing": guessing.run,
    "rolls": rolls.run,
    "site": site.run,
}
_OUTPUT: Final = Path("build/bench.json")


def main(names: Sequence[str]) -> int:
    """Run these parts, or all of them; the exit status."""
    unknown = set(names) - _PARTS.keys()
    if unknown:
        sys.stderr.write(f"bench: no part {', '.join(sorted(unknown))}; there are {', '.join(_PARTS)}\n")
        return 2
    figures: dict[str, list[Figure]] = {}
    # Wide enough for every name, in a pipe too.
    console = Console(width=max(Console().width, 128))
    for name in names or _PARTS:
        with Console(stderr=True).status(f"measuring: {name}"):
            figures[name] = _PARTS[name]()
        console.print(_table(name, figures[name]))
    _OUTPUT.parent.mkdir(exist_ok=True)
    machine = {"processors": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    _OUTPUT.write_bytes(msgspec.json.format(msgspec.json.encode({"machine": machine, **figures})))
    missed = [figure.name for some in figures.values() for figure in some if figure.reached is False]
    for name in missed:
        sys.stderr.write(f"bench: not reached: {name}\n")
    return 1 if missed else 0


def _table(name: str, figures: Sequence[Figure]) -> Table:
    table = Table(title=name, title_justify="left", title_style="bold")
    for column in ("", "figure", "beside", "goal", ""):
        table.add_column(column, justify="left" if column == "" else "right")
    for figure in figures:
        beside = (
            ""
            if figure.beside is None
            else f"{figure.beside:,.3g}"
            if figure.beside < 1000
            else f"{figure.beside:,.0f}"
        )
        value = f"{figure.value:,.3g}" if abs(figure.value) < 1000 else f"{figure.value:,.0f}"
        goal = "" if figure.goal is None else f"{figure.sense} {figure.goal:g}"
        table.add_row(figure.name, f"{value} {figure.unit}", beside, goal, _VERDICTS[figure.reached])
    return table


_VERDICTS: Final = {True: "reached", False: "[bold red]missed[/]", None: ""}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
