"""Files and folders: whether they are there, whose they are, and who can read them."""

from __future__ import annotations

import os
import pwd
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

from loader.doctor.finding import Finding, Installation, ok, warning, wrong
from loader.errors import KeyFileError
from loader.keyring import Keyring
from loader.settings import Settings
from loader.store.copies import SIDE_FILES

_FORMER_FOR: Final = 7 * 86400.0
"""Seconds after which nobody will want to go back."""


async def key_file(installation: Installation) -> AsyncIterator[Finding]:
    """Whether the key file can be used, by the user that it belongs to alone."""
    file = installation.key_file
    try:
        Keyring.load(file)
    except KeyFileError as error:
        yield wrong(
            "key file", str(error), "without the right key file no list can be opened: put your copy of it there"
        )
        return
    for finding in _same_owner("key file", file, installation.database):
        yield finding
        return
    yield ok("key file", f"{file} is {_owner(file)}'s alone")


async def database_file(installation: Installation) -> AsyncIterator[Finding]:
    """Whether it can be written, and who can read it."""
    file = installation.database
    if file is None or not file.exists():
        return  # what there is to say is said where it is opened
    if not os.access(file, os.W_OK) or not os.access(file.parent, os.W_OK | os.X_OK):
        yield wrong(
            "database file",
            f"{file}, or its folder, cannot be written by {_user()}: nothing can be changed",
            f"run this and all else as {_owner(file)}, or give file and folder to {_user()}",
        )
        return
    beside = [file.with_name(file.name + suffix) for suffix in ("", *SIDE_FILES)]
    open_to_others = [one for one in beside if one.exists() and one.stat().st_mode & 0o077]
    if open_to_others:
        yield warning(
            "database file",
            f"{file} can be read by others: who the people in the directory are, and what was done, stand in it as they are",
            f"chmod 600 {' '.join(map(str, open_to_others))}",
        )
        return
    yield ok("database file", f"{file} is {_owner(file)}'s alone")


async def former_databases(installation: Installation) -> AsyncIterator[Finding]:
    """Whether what was there before a restore has been forgotten, and holds what should be forgotten."""
    database = installation.database
    if database is None:
        return
    # Not the write-ahead log that may stand beside one.
    old = [
        str(file)
        for file in sorted(database.parent.glob(f"{database.name}.before-*"))
        if not file.name.endswith(SIDE_FILES) and file.stat().st_mtime < installation.now - _FORMER_FOR
    ]
    if old:
        yield warning(
            "former databases",
            f"{len(old)} were kept at restores over a week ago: they hold what was erased since",
            f"if all is well, rm {' '.join(old)}",
        )


async def secret_files(installation: Installation) -> AsyncIterator[Finding]:
    """Whether the files with passwords and secrets are there, and nobody else's to read."""
    named = [(setting, Path(file)) for setting, file in _secrets(installation.settings) if file]
    found = False
    for setting, file in named:
        if not os.access(file, os.R_OK):
            found = True
            yield wrong(
                "secret files", f"{setting}: {file} cannot be read by {_user()}", "put it there, or remove the setting"
            )
        elif file.stat().st_mode & 0o077:
            found = True
            yield warning("secret files", f"{setting}: {file} can be read by others", f"chmod 600 {file}")
    if named and not found:
        yield ok("secret files", f"all {len(named)} are there and can be read by nobody else")


def _secrets(settings: Settings) -> Iterator[tuple[str, str]]:
    yield "mail.password_file", settings.mail.password_file
    yield "oidc.client_secret_file", settings.oidc.client_secret_file
    for name in settings.doors.__struct_fields__:
        door = getattr(settings.doors, name)
        for field in door.__struct_fields__:
            if door.enabled and field.endswith("_file"):
                yield f"doors.{name}.{field}", getattr(door, field)


async def journal_folder(installation: Installation) -> AsyncIterator[Finding]:
    """Whether the daemon can keep what it promises."""
    folder = installation.journal
    if not folder.exists():
        yield ok("journal folder", f"{folder} is not there yet: a daemon makes it")
        return
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        yield wrong(
            "journal folder",
            f"{folder} is no folder that {_user()} can write to: the daemon does not start",
            "make it a folder of the daemon's user, or set roll.journal",
        )
        return
    for finding in _same_owner("journal folder", folder, installation.database):
        yield finding
        return
    yield ok("journal folder", f"{folder} can be written")


def _same_owner(looked_at: str, path: Path, database: Path | None) -> Iterator[Finding]:
    if database is None or not database.exists() or path.stat().st_uid == database.stat().st_uid:
        return
    yield wrong(
        looked_at,
        f"{path} belongs to {_owner(path)}, and the database to {_owner(database)}: one user cannot use both",
        f"chown -R {_owner(database)} {path}",
    )


def _owner(path: Path) -> str:
    return _name(path.stat().st_uid)


def _user() -> str:
    return _name(os.geteuid())


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
