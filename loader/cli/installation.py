"""What an installation rests on: `init`, `directory apply`, `key rotate`."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path
from typing import Final

from loader.cli.exits import DONE, WrongCallError
from loader.cli.terminal import at_work, say
from loader.directory import apply_directory, parse_directory
from loader.errors import DirectoryError, KeyFileError
from loader.keyring import Keyring
from loader.rotate import prepare_key, rotate_key
from loader.settings import Settings
from loader.store import SCHEMA_VERSION, migrate, open_store

_PATIENCE: Final = 3.0
"""Seconds in which a rotation waits for what is on its way from a daemon's journal into the database."""
_AGAIN: Final = 0.2


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run one of these commands; its exit status."""
    match args.command:
        case "init":
            asyncio.run(_init(settings))
        case "directory":
            text, is_json = _read(args.file)
            asyncio.run(_apply(settings, args.file, text, is_json=is_json))
        case _:
            asyncio.run(_prepare(settings) if args.prepare else _rotate(settings))
    return DONE


async def _init(settings: Settings) -> None:
    before = await migrate(settings.database.url)
    async with open_store(settings.database.url) as store:
        if before is None:
            say(f"database {store.name}: made, schema {SCHEMA_VERSION}")
        elif before == SCHEMA_VERSION:
            say(f"database {store.name}: is there, schema {before}")
        else:
            say(f"database {store.name}: migrated from schema {before} to {SCHEMA_VERSION}")
        async with store.writing() as writing:
            needed = await writing.key_ids()
        say(_make_key_file(Path(settings.key.file), needed))


def _make_key_file(file: Path, needed: set[str]) -> str:
    """Make the key file unless it is there, or was: what was encrypted under it would be lost for good."""
    if file.exists():
        ring = Keyring.load(file)
        for key_id in sorted(needed - ring.key_ids):
            raise ring.lacks(key_id)
        return f"key file {file}: is there"
    if needed:
        raise KeyFileError(
            file,
            f"is not there, but lists in the database are encrypted under key {', '.join(sorted(needed))}; "
            "put that file back",
        )
    Keyring.create(file)
    return f"key file {file}: made; keep a copy, and not beside the database: without it the lists are lost"


async def _apply(settings: Settings, name: str, text: bytes, *, is_json: bool) -> None:
    try:
        directory = parse_directory(text, format="json" if is_json else "toml")
        async with open_store(settings.database.url) as store:
            summary = await apply_directory(store, directory)
    except DirectoryError as error:
        raise DirectoryError(*(f"{name}: {problem}" for problem in error.problems), "nothing was changed") from None
    for kind in summary.created:
        say(
            f"{kind.replace('_', ' ')}: created {summary.created[kind]}, updated {summary.updated[kind]}, "
            f"unchanged {summary.unchanged[kind]}"
        )


def _read(name: str) -> tuple[bytes, bool]:
    """The directory file, and whether it is JSON rather than TOML."""
    # Not within asyncio, which would have Ctrl-C wait for the end of the file.
    if name == "-":
        return sys.stdin.buffer.read(), True
    file = Path(name)
    suffix = file.suffix.lower()
    if suffix not in {".toml", ".json"}:
        raise WrongCallError(f"{file}: the name of the file must end in .toml or .json")
    try:
        return file.read_bytes(), suffix == ".json"
    except OSError as error:
        raise WrongCallError(f"{file}: cannot be read: {error.strerror}") from None


async def _prepare(settings: Settings) -> None:
    async with open_store(settings.database.url) as store:
        ring = await prepare_key(store, Keyring.load(Path(settings.key.file)))
    say(f"key file {ring.path}: key {ring.current} is there and in no use yet; `rollcall key rotate` takes it into use")


async def _rotate(settings: Settings) -> None:
    async with open_store(settings.database.url) as store:
        journal, patient_until = Path(settings.roll.journal), time.monotonic() + _PATIENCE
        with at_work("encrypting all lists under a new key"):
            ring = await rotate_key(store, Keyring.load(Path(settings.key.file)), journal)
            while len(ring.key_ids) > 1 and time.monotonic() < patient_until:
                # What was answered a moment ago is on its way from the journal.
                await asyncio.sleep(_AGAIN)
                ring = await rotate_key(store, ring, journal)
    say(f"key file {ring.path}: all lists are encrypted under key {ring.current}; keep a copy of the file")
    if len(ring.key_ids) > 1:
        say(f"older keys stay in the file: {journal} holds events under them; start the daemon, then run this again")
