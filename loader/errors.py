"""Every error of the domain.

A wrong PIN is not here: that is a :class:`loader.index.Decision`. An error in a list file is not here
either: that is a :class:`loader.listfile.Problem`, a value. What is here means that something could not
be done, and its text tells an operator what to do about it. No text holds a PIN, a token or a key.

    RollcallError
    ├── SettingsError           a setting is wrong; names the setting, and the file and line if there is one
    ├── DirectoryError          a directory file is wrong; nothing was changed
    ├── InvalidValue            a text is not what its field takes (a passcode, an identifier, an entry)
    │   └── PinTooShort         a PIN has fewer digits than the company asks for
    ├── NotFound                there is no such owner, conference, revision or switch
    ├── AlreadyExists           the name is taken
    ├── OverlapError            a switch's old token is still good beside its new one; nothing was changed
    ├── ListRefused             the list file has problems; nothing was changed
    ├── StaleRevision           somebody else changed the list first; nothing was changed
    ├── KeyFileError            the key file is missing, unreadable, malformed, or not the one of this database
    ├── BlockError              a compiled list is damaged, was tampered with, or is of a newer version
    └── DatabaseError           the database cannot be used
        ├── DatabaseUnavailable   it cannot be reached, opened, or written; trying again later may help
        └── DatabaseVersionError  it was not yet made, is older (run `rollcall init`), or is newer than this program
"""

from __future__ import annotations

from pathlib import Path


class RollcallError(Exception):
    """The root: whatever Rollcall raises on purpose."""


class SettingsError(RollcallError):
    """One or more settings are wrong: all of them are told at once, one a line."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class DirectoryError(RollcallError):
    """A directory file cannot be applied: every reason at once, one a line."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class InvalidValue(RollcallError, ValueError):
    """A text is not what its field takes."""


class PinTooShort(InvalidValue):
    """PINs that were not in the list before have fewer digits than the company asks for: `count` of them."""

    def __init__(self, count: int, minimum: int) -> None:
        super().__init__(f"{count} new PINs have fewer than the {minimum} digits that the company asks for")
        self.count = count
        self.minimum = minimum


class NotFound(RollcallError, LookupError):
    """There is no such thing, or it is not for this user: the two are told alike."""


class AlreadyExists(RollcallError):
    """The name is taken."""


class OverlapError(RollcallError):
    """A switch has two good tokens, and would have three."""

    def __init__(self, switch_id: str, until: float) -> None:
        super().__init__(f"switch {switch_id} still has an old token beside its new one")
        self.until = until
        """When the old one's end is, in seconds since 1970 UTC."""


class ListRefused(RollcallError):
    """A list file has problems; the list stays as it was."""


class StaleRevision(RollcallError):
    """The list is no longer at the revision that the change was made from."""


class KeyFileError(RollcallError):
    """The key file cannot be used for this database."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path


class BlockError(RollcallError):
    """A compiled list is not what it was when it was written."""


class DatabaseError(RollcallError):
    """The database cannot be used."""


class DatabaseUnavailable(DatabaseError):
    """The database cannot be reached, opened, read or written now."""


class DatabaseVersionError(DatabaseError):
    """The database's schema is not the one that this program was written for."""
