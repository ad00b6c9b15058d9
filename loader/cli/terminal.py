"""What the tool says, and where: plain lines, tables, and the progress of long work.

On a terminal it is for people, by way of rich; elsewhere it is plain and stable. Rich is imported only on a terminal.
"""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


def say(text: object) -> None:
    """One line of the result."""
    sys.stdout.write(f"{text}\n")


def complain(text: object) -> None:
    """One line that is not the result."""
    sys.stdout.flush()
    sys.stderr.write(f"rollcall: {text}\n")


def moment(seconds: float) -> str:
    """A time, given in seconds since 1970, in ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def fields(pairs: Sequence[tuple[str, object]]) -> None:
    """Names and values, a line each: aligned on a terminal, parted by a tab elsewhere."""
    width = max(len(name) for name, _ in pairs) + 2 if sys.stdout.isatty() else 0
    for name, value in pairs:
        say(f"{name:<{width}}{value}" if width else f"{name}\t{value}")


def table(kind: str, titles: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table with titles on a terminal; elsewhere a line a row, each beginning with the kind, parted by tabs."""
    if not sys.stdout.isatty():
        for row in rows:
            say("\t".join(map(str, (kind, *row))))
        return
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - slow to import
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    shown = Table(title=f"{kind} ({len(rows)})", title_justify="left", title_style="bold", header_style="bold",
                  box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))  # fmt: skip
    for number, title in enumerate(titles):
        numeric = bool(rows) and all(isinstance(row[number], int) for row in rows)
        shown.add_column(title, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        # Text, as what people have typed may look like markup.
        shown.add_row(*(Text(f"{cell:,}" if isinstance(cell, int) else str(cell)) for cell in row))
    Console().print(shown)


class ProgressBar:
    """A bar on a terminal, shown from the first step that is not the last; nothing elsewhere."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._shown: tuple[Progress, TaskID] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._shown is not None:
            self._shown[0].stop()

    def __call__(self, done: int, total: int) -> None:
        """So much of so much is done."""
        if self._shown is None:
            if done == total or not sys.stderr.isatty():
                return
            self._shown = self._show(total)
        progress, task = self._shown
        progress.update(task, completed=done, total=total)

    def _show(self, total: int) -> tuple[Progress, TaskID]:
        from rich.console import Console  # noqa: PLC0415 - slow to import
        from rich.progress import Progress  # noqa: PLC0415

        progress = Progress(console=Console(stderr=True), transient=True)
        progress.start()
        return progress, progress.add_task(self._what, total=total)


@contextmanager
def at_work(what: str) -> Iterator[None]:
    """Show on a terminal that something takes its time."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console  # noqa: PLC0415 - slow to import

    with Console(stderr=True).status(what):
        yield


def system_user() -> str:
    """Who is told in histories and the audit trail: the system's user, whatever the environment says."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    return f"cli:{name}"
