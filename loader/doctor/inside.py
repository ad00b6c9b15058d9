"""The database: whether it is whole, and all that is in it can be opened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from loader.compiled import Block
from loader.doctor.finding import Finding, Installation, ok, warning, wrong
from loader.errors import DatabaseError
from loader.reader import read_lists
from loader.store import SCHEMA_VERSION, Store
from loader.store.copies import check_integrity, opened
from loader.store.engine import errors_translated
from loader.store.symptoms import Symptoms

_LARGE_LOG: Final = 256_000_000


async def pages(installation: Installation, _store: Store) -> AsyncIterator[Finding]:
    """Whether SQLite finds each page as it should be."""
    file = installation.database
    if file is None:
        yield ok("database", f"it answers, schema {SCHEMA_VERSION}")
        return
    try:
        await asyncio.to_thread(check_integrity, file, thorough=False)
    except DatabaseError as error:
        yield wrong("database", str(error), "put your last copy back: rollcall restore FILE")
    else:
        yield ok("database", f"it is whole, schema {SCHEMA_VERSION}")


async def write_ahead_log(installation: Installation, _store: Store) -> AsyncIterator[Finding]:
    """Whether readers and writers can go on side by side."""
    file = installation.database
    if file is None:
        return
    mode = await asyncio.to_thread(_journal_mode, file)
    log = file.with_name(f"{file.name}-wal")
    size = 0
    with suppress(FileNotFoundError):  # whoever leaves last takes it away
        size = log.stat().st_size
    if mode != "wal":
        yield warning(
            "write-ahead log",
            f"the database is in the mode {mode}: who writes keeps the daemon from reading",
            "start a daemon: it sets the mode",
        )
    elif size > _LARGE_LOG:
        yield warning(
            "write-ahead log",
            f"{log} has {size // 1_000_000:,} MB: something reads for very long, or replicates, and keeps it from shrinking",
            "find who has it open: fuser -v, and look at your replication",
        )
    else:
        yield ok("write-ahead log", f"it has {size // 1_000_000:,} MB")


async def keys(installation: Installation, store: Store) -> AsyncIterator[Finding]:
    """Whether the key file is this database's, and holds no key too many."""
    ring = installation.keyring
    if ring is None:
        return
    missing = sorted(await store.key_ids() - ring.key_ids)
    if missing:
        yield wrong(
            "keys",
            f"the key file does not hold key {', '.join(missing)}: what is sealed under it cannot be opened",
            "put the key file back that belongs to this database",
        )
    elif len(ring.key_ids) > 1:
        yield warning(
            "keys",
            f"the key file holds {len(ring.key_ids)} keys: a rotation was stopped halfway, or older keys were added",
            "rollcall key rotate",
        )
    else:
        yield ok("keys", "the key file is the one of this database")


async def lists(installation: Installation, store: Store) -> AsyncIterator[Finding]:
    """Whether each list in force can be opened and has as many entries as it should."""
    if installation.keyring is None:
        return
    count = entries = bad = 0
    async for listed, block in read_lists(store, installation.keyring):
        count += 1
        if not isinstance(block, Block):
            found = str(block)
        elif (block.count, block.active_count) != (listed.entries, listed.active):
            found = f"the list of {listed.owner} has {block.count} entries instead of {listed.entries}"
        else:
            entries += block.count
            continue
        bad += 1
        yield wrong(
            "lists",
            f"{found}: callers are answered by its last good state, and not at all after a restart",
            "import the list again, or put an older revision back on the web site",
        )
    if not bad:
        yield ok("lists", f"{count:,} with {entries:,} entries, all of them can be opened")


async def feed(installation: Installation, store: Store) -> AsyncIterator[Finding]:
    """Whether daemons can follow, and no change comes from the future."""
    position, last, newest = await Symptoms(store).feed()
    if last > position:
        yield wrong(
            "feed",
            f"it stands at {position} and tells of a change at {last}: daemons miss changes",
            "put your last copy back, and tell us how it came about",
        )
    elif newest > installation.now + 2:
        yield wrong(
            "feed",
            f"its last change comes {newest - installation.now:,.0f} s from the future: a clock was set back, or is wrong",
            "set the clocks of all machines",
        )
    else:
        yield ok("feed", f"it stands at {position}")


def _journal_mode(file: Path) -> str:
    with errors_translated(str(file)), opened(file) as connection:
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    return str(mode)
