"""All looks, one after the other."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from loader.doctor import files, inside, machine, risks, running
from loader.doctor.finding import Finding, Installation, Look, LookInside, wrong
from loader.errors import DatabaseError, DatabaseVersionError, KeyFileError
from loader.keyring import Keyring
from loader.settings import Settings
from loader.store import open_store

LOOKS: Final[tuple[Look, ...]] = (
    risks.ports,
    risks.web_site,
    risks.mail,
    risks.webhooks,
    files.key_file,
    files.database_file,
    files.former_databases,
    files.secret_files,
    files.journal_folder,
    machine.disks,
    machine.clock,
    machine.descriptors,
    machine.cores,
)
LOOKS_INSIDE: Final[tuple[LookInside, ...]] = (
    inside.pages,
    inside.write_ahead_log,
    inside.keys,
    inside.lists,
    inside.feed,
    running.daemons,
    running.journals,
    running.webhooks,
    running.mail,
)


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """Look at everything; nothing is changed. What needs a database that cannot be opened is left out."""
    installation = Installation(settings, _keyring(settings), time.time())
    for look in LOOKS:
        try:
            async for finding in look(installation):
                yield finding
        except OSError as error:
            yield wrong(
                look.__name__.replace("_", " "),
                f"{error.filename or 'it'} cannot be looked at: {error.strerror}",
                "run this as the user that all else runs as",
            )
    try:
        async with open_store(settings.database.url, writable=False) as store:
            for look_inside in LOOKS_INSIDE:
                async for finding in look_inside(installation, store):
                    yield finding
    except DatabaseVersionError as error:
        yield wrong("database", str(error), "run rollcall init; if it is of a newer version, upgrade this one")
    except DatabaseError as error:
        yield wrong("database", str(error), "mend it, or put your last copy back: rollcall restore FILE")


def _keyring(settings: Settings) -> Keyring | None:
    try:
        return Keyring.load(Path(settings.key.file))
    except KeyFileError:
        return None
