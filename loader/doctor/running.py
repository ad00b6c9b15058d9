"""What runs, and what waits for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Final

from loader.doctor.finding import Finding, Installation, ok, warning, wrong
from loader.model import DaemonState
from loader.store import Store
from loader.store.symptoms import Symptoms
from loader.store.writing import DAEMON_SILENT_AFTER

_LATE: Final = 5.0
"""Seconds after which a change that is not in force is late."""
_CLOCKS_DIFFER: Final = 2.0
_LEFT_FOR: Final = 60.0
"""Seconds after which what stands in a journal should long be in the database."""
_LATELY: Final = 7 * 86400.0
_HOUR: Final = 3600.0


async def daemons(installation: Installation, store: Store) -> AsyncIterator[Finding]:
    """Who answers switches, and by what."""
    known = await store.daemons()
    position, _, newest = await Symptoms(store).feed()
    if not known:
        yield warning("daemons", "none runs: no switch is answered", "start rollcall-daemon")
    for daemon in known:
        yield _daemon(daemon, position, newest, installation.now)


def _daemon(daemon: DaemonState, position: int, newest: float, now: float) -> Finding:
    ahead = daemon.seen_at - now
    if ahead > _CLOCKS_DIFFER:
        return wrong(
            "daemons",
            f"{daemon.id} was heard of {ahead:,.0f} s in the future: its clock, or this machine's, is wrong or was set back",
            "set the clocks of all machines",
        )
    if -ahead > DAEMON_SILENT_AFTER:
        return warning(
            "daemons",
            f"{daemon.id} was not heard of for {-ahead:,.0f} s: it was killed, or cannot write to the database",
            "start it again, or look into its log; one that is gone for good is forgotten after a week",
        )
    if daemon.position > position:
        return wrong(
            "daemons",
            f"{daemon.id} is at {daemon.position}, further than the feed: the database was put back by other means",
            "restart it",
        )
    if daemon.position < position and newest < now - _LATE:
        return warning(
            "daemons",
            f"{daemon.id} is behind by {position - daemon.position}: changes are not in force there",
            "look for list_not_opened and database_unavailable in its log",
        )
    if daemon.version != version("rollcall"):
        return warning(
            "daemons",
            f"{daemon.id} is of version {daemon.version}, and this tool of {version('rollcall')}",
            "restart it",
        )
    return ok("daemons", f"{daemon.id} is up to date, version {daemon.version}")


async def journals(installation: Installation, store: Store) -> AsyncIterator[Finding]:
    """Whether what daemons have kept comes into the database."""
    taken = await Symptoms(store).journals()
    waiting = 0
    for folder in sorted(installation.journal.glob("*/")):
        size, written_at = _left_in(folder, taken)
        if size and installation.now - written_at > _LEFT_FOR:
            waiting += 1
            yield warning(
                "journal",
                f"{size:,} bytes of events wait in {folder} for {installation.now - written_at:,.0f} s: rolls are incomplete",
                "start as many daemons as there were; if they run, look for rolls_not_kept in their logs",
            )
    if not waiting:
        yield ok("journal", "nothing waits in it")


def _left_in(folder: Path, taken: dict[str, tuple[int, int]]) -> tuple[int, float]:
    """Bytes in a daemon's journal that the database has not taken, and when the last of them were written."""
    size, written_at = 0, 0.0
    # A daemon at work deletes what is taken.
    with suppress(OSError):
        segment, offset = taken.get((folder / "id").read_text(encoding="ascii").strip(), (0, 0))
        for file in folder.glob("*.journal"):
            number = int(file.stem)
            left = file.stat().st_size - (offset if number == segment else 0) if number >= segment else 0
            if left > 0:
                size += left
                written_at = max(written_at, file.stat().st_mtime)
    return size, written_at


async def webhooks(installation: Installation, store: Store) -> AsyncIterator[Finding]:
    """Whether companies are told."""
    symptoms = Symptoms(store)
    stopped, waiting = await symptoms.webhooks_stopped(), await symptoms.webhooks_waiting(installation.now - _HOUR)
    if stopped:
        yield warning(
            "webhooks",
            f"the receivers of {', '.join(stopped)} said that they are gone (410), and are told nothing since",
            "tell the company: to save the address again, or to send a test, starts it anew",
        )
    if waiting:
        yield warning(
            "webhooks",
            f"{waiting:,} events wait for over an hour: their receivers do not answer, or no daemon runs",
            "the company's settings page says what its receiver answers",
        )
    if not stopped and not waiting:
        yield ok("webhooks", "none is stopped, none waits for long")


async def mail(installation: Installation, store: Store) -> AsyncIterator[Finding]:
    """Whether rolls and invitations leave."""
    failed, waiting = await Symptoms(store).mail(installation.now - _LATELY, installation.now - _HOUR)
    if failed:
        yield warning(
            "mail",
            f"{failed:,} rolls or invitations of the last week were not sent",
            "the pages of roll and conference say why; roll_failed and invitation_failed in the web site's log do too",
        )
    if waiting:
        yield warning(
            "mail",
            f"{waiting:,} rolls or invitations wait for over an hour",
            "is the web site running, and does mail.host take mail? Look for roll_delayed and invitation_delayed in its log",
        )
    if not failed and not waiting:
        yield ok("mail", "none has failed, none waits for long")
