"""Lists in force: `import` and `export`."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from loader.cli.checking import read_file, tell, write_bytes
from loader.cli.exits import DONE, REFUSED, WrongCallError
from loader.cli.terminal import at_work, complain, say, system_user
from loader.compiled import EMPTY
from loader.errors import BlockError, NotFound
from loader.files import write_atomically
from loader.keyring import Keyring
from loader.listfile import export_csv, export_xlsx
from loader.model import Entry, Level, Owner
from loader.publish import Difference, diff, publish, read_list
from loader.settings import Settings
from loader.store import open_store
from loader.store.choices import Choices

_LONG: Final = 50_000
"""Entries from which putting a list in force takes long enough to show it."""
_NAMED: Final = 20
"""How many entries of each kind a dry run names."""


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run one of these commands; its exit status."""
    return _import(args, settings) if args.command == "import" else _export(args, settings)


def _import(args: argparse.Namespace, settings: Settings) -> int:
    owner = _owner(args)
    checked = read_file(args, settings, minimum_digits=asyncio.run(_minimum_digits(settings, owner)))
    tell(checked, args.lang)
    if checked.error_count:
        complain(f"nothing was changed: the file for {owner} has errors")
        return REFUSED
    act = _compare if args.dry_run else _put_in_force
    asyncio.run(act(settings, owner, checked.entries))
    return DONE


async def _minimum_digits(settings: Settings, owner: Owner) -> int:
    """How short the owner's company lets PINs be."""
    async with open_store(settings.database.url, writable=False) as store:
        return await Choices(store).minimum_pin_digits(owner)


async def _put_in_force(settings: Settings, owner: Owner, entries: list[Entry]) -> None:
    async with open_store(settings.database.url) as store:
        keyring = Keyring.load(Path(settings.key.file))
        with at_work("putting the list in force") if len(entries) >= _LONG else nullcontext():
            done = await publish(store, keyring, owner, entries, by=system_user(), source="import")
    _tell_loss(owner, done.changed + done.unchanged + done.removed, done.added, done.removed)
    say(
        f"{owner}: added {done.added}, changed {done.changed}, removed {done.removed}, "
        f"unchanged {done.unchanged}, revision {done.revision}"
    )


async def _compare(settings: Settings, owner: Owner, entries: list[Entry]) -> None:
    async with open_store(settings.database.url, writable=False) as store:
        if not await store.owner_exists(owner):
            raise NotFound(f"there is no {owner}")
        try:
            before = await read_list(store, Keyring.load(Path(settings.key.file)), owner)
        except BlockError as error:
            complain(f"{error}; an import would replace it")
            before = None
    before = before or EMPTY
    difference = diff(before.entries(), entries)
    _tell_names(difference)
    _tell_loss(owner, before.count, len(difference.added), len(difference.removed))
    say(
        f"{owner}: would add {len(difference.added)}, change {len(difference.changed)}, "
        f"remove {len(difference.removed)}, leave {difference.unchanged}; revision {before.revision} stays"
    )


def _tell_loss(owner: Owner, before: int, added: int, removed: int) -> None:
    """Say loudly that a list has shrunk to less than half, as one whose file was cut off does."""
    if (before - removed + added) * 2 < before:
        complain(f"{owner} loses {removed} of its {before} people: is this the whole file?")


def _tell_names(difference: Difference) -> None:
    """Name who would change; without PINs, as this may end up in the log of a job."""
    for what in ("added", "changed", "removed"):
        entries: tuple[Entry, ...] = getattr(difference, what)
        for entry in entries[:_NAMED]:
            say(f"{what}: {entry.first_name} {entry.last_name}, {entry.company}, {entry.city}")
        if len(entries) > _NAMED:
            say(f"{what}: and {len(entries) - _NAMED} more")


def _export(args: argparse.Namespace, settings: Settings) -> int:
    output: Path | None = args.output
    if output is not None:
        if output.suffix.lower() not in {".csv", ".xlsx"}:
            raise WrongCallError(f"{output}: the name of the file must end in .csv or .xlsx")
        if output.exists() and not output.is_file():
            raise WrongCallError(f"{output}: is not a file")
    entries = asyncio.run(_entries(settings, _owner(args)))
    inactive = sum(not entry.active for entry in entries)
    if inactive:
        complain(f"{inactive} of {len(entries)} entries are inactive, which a list file cannot tell")
    if output is None:
        write_bytes(export_csv(entries))
        return DONE
    data = export_xlsx(entries) if output.suffix.lower() == ".xlsx" else export_csv(entries)
    try:
        write_atomically(output.resolve(), data, mode=0o600)
    except OSError as error:
        raise WrongCallError(f"{output}: cannot be written: {error.strerror}") from None
    say(f"{output}: {len(entries)} entries")
    return DONE


async def _entries(settings: Settings, owner: Owner) -> list[Entry]:
    async with open_store(settings.database.url, writable=False) as store:
        if not await store.owner_exists(owner):
            raise NotFound(f"there is no {owner}")
        block = await read_list(store, Keyring.load(Path(settings.key.file)), owner)
    if block is None:
        raise NotFound(f"{owner} has no list")
    return list(block.entries())


def _owner(args: argparse.Namespace) -> Owner:
    """Whose list the command line names: the parser asks for exactly one."""
    return next(Owner(level, name) for level in Level if (name := getattr(args, level.value)) is not None)
