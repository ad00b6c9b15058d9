"""Copies of the database: `backup` and `restore`."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Final

from loader.backup import Backup, back_up, database_file
from loader.cli.exits import DONE, WrongCallError
from loader.cli.terminal import ProgressBar, complain, say, system_user
from loader.restore import Restored, restore
from loader.settings import Settings

_NICE: Final = 19
"""How far a copy steps back behind those who answer callers. To put one back does not: writers wait for it."""


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run one of these commands; its exit status."""
    return _back_up(args, settings) if args.command == "backup" else _restore(args, settings)


def _back_up(args: argparse.Namespace, settings: Settings) -> int:
    target: Path = args.target
    if args.keep is not None and not target.is_dir():
        raise WrongCallError("--keep is for a folder of copies, and the folder must be there")
    os.nice(_NICE)
    key_file = Path(settings.key.file)
    with ProgressBar("copying the database") as progress:
        done = back_up(database_file(settings.database.url), target, key_file, keep=args.keep, progress=progress)
    if args.format == "json":
        say(json.dumps(_backup_as_json(done), ensure_ascii=False))
    else:
        say(f"{done.file}: {done.size:,} bytes in {done.seconds:.1f} s, "
            f"lists {done.holds.lists}, entries {done.holds.entries}, all of them opened")  # fmt: skip
        for old in done.removed:
            say(f"{old}: removed")
    if key_file.absolute().parent.resolve() == done.file.absolute().parent.resolve():
        complain(f"the key file {key_file} is in the same folder: whoever gets hold of the folder has the PINs")
    else:
        complain(
            f"the key file {key_file} is not in the copy, so that whoever finds the copy has no PINs; without the key file "
            "it is worth nothing: keep a copy of that one elsewhere"
        )
    return DONE


def _backup_as_json(done: Backup) -> dict[str, object]:
    return {
        "file": str(done.file),
        "bytes": done.size,
        "seconds": round(done.seconds, 3),
        "schema": done.holds.schema,
        "position": done.holds.position,
        "lists": done.holds.lists,
        "entries": done.holds.entries,
        "removed": [str(old) for old in done.removed],
    }


def _restore(args: argparse.Namespace, settings: Settings) -> int:
    with ProgressBar("copying the database") as progress:
        done = restore(
            args.file,
            database_file(settings.database.url),
            Path(settings.key.file),
            by=system_user(),
            older_keys=args.older_keys,
            whole=args.whole,
            progress=progress,
        )
    if args.format == "json":
        say(json.dumps(_restored_as_json(done), ensure_ascii=False))
        return DONE
    say(f"{args.file}: put back in {done.seconds:.1f} s, lists {done.holds.lists}, entries {done.holds.entries}")
    if done.schema != done.holds.schema:
        say(f"it was of schema {done.schema}, and was migrated to {done.holds.schema}")
    if done.former is not None:
        say(f"{done.former}: what was there before; delete it when you are sure")
    say("everybody is signed out, links to set a password are void, and uploads that nobody had confirmed are gone")
    for told, names in (
        ("switches whose tokens are good again", done.returned.switches),
        ("users who can sign in again", done.returned.users),
        ("users whose older password is good again", done.returned.passwords),
    ):
        if names:
            complain(f"{told}: {', '.join(names)}")
    return DONE


def _restored_as_json(done: Restored) -> dict[str, object]:
    return {
        "seconds": round(done.seconds, 3),
        "schema_was": done.schema,
        "schema": done.holds.schema,
        "lists": done.holds.lists,
        "entries": done.holds.entries,
        "former": None if done.former is None else str(done.former),
        "switches_returned": done.returned.switches,
        "users_returned": done.returned.users,
        "passwords_returned": done.returned.passwords,
    }
