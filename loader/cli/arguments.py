"""The command line."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from msgspec import UNSET

from loader.errors import InvalidValue
from loader.model import (
    LANGUAGES,
    MAX_OVERLAP,
    MAX_PIN_LENGTH,
    MAX_SWITCH_RATE,
    MIN_PIN_LENGTH,
    parse_identifier,
)

_DESCRIPTION = """\
Keep PIN lists, and all that belongs to them.

exit status: 0 done; 1 refused, not found or not available now; 2 a wrong call or wrong settings.
In a pipe, tables are lines whose fields are parted by tabs."""
_LOOKUP = """\
Tell how a PIN is answered, and how that comes about, list by list. It is 0 for any answer.
Give - for the PIN to have it read from standard input, so that it stands in no shell history."""
_CHECK = """\
Tell all that is wrong with a list file. It is 0 without errors, 1 with errors, 2 if the file cannot be read."""

_UNLOCK = """\
Forget the wrong tries of what is locked, so that callers may try again, at every daemon within a second. Who goes on
guessing is locked again. A conference is unlocked for everybody; callers who are locked themselves stay so.
Those who withhold their number are found by their key. It is 1 if nothing of that is locked."""
_FORGET = """\
Tell where one person's data stands: calls of rolls, invitations, and lists with their kept revisions. PINs are not told.
With --erase it is erased there: calls stay as nobody's, invitations and entries go, and so do the old revisions of
lists that hold the person. It can be stopped at any point and run again, and runs beside daemon and web site."""

_BACKUP = """\
Copy the database to a file, or into a folder under a name with the time, while all else runs. The copy is looked
through before it gets its name. The key file is not in it: keep a copy of that elsewhere, as whoever has both has the
PINs. PostgreSQL has tools of its own for this."""
_RESTORE = """\
Put a copy of the database back, once it was looked through; or nothing is changed. Daemon and web site may run, and
follow by themselves. Lists, directory, users, switches and choices become those of the copy. Rolls, the audit trail, and
what was sent or told stay as they are, and all are signed out. What was there before is kept in a file beside it.
Where there is no database, or with --whole, the copy becomes the database with all it holds."""
_DOCTOR = """\
Look at settings, files, database, keys, lists, daemons and clocks, and say for each whether it is as it should be, and
what to do if not. Nothing is changed. It is 0 if nothing is wrong; warnings are not."""


_ROTATE = """\
Make a switch a new token, and print it this once. The token that it had stays good for a while (--overlap), so that
there is time to give the switch its new one; then it ends by itself. During that time, no third token is made."""

_OVERLAP = re.compile(r"([0-9]{1,9})([mhd]?)", re.ASCII)
_SECONDS = {"": 1, "m": 60, "h": 3600, "d": 86400}


_Add: TypeAlias = Callable[..., argparse.ArgumentParser]
"""Makes the parser of a command, as argparse's `add_parser` does."""


class _Help(argparse.RawDescriptionHelpFormatter):
    """Descriptions keep their lines."""


class _Version(argparse.Action):
    """As argparse's own, but the version is looked up when it is asked for: that takes long."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version  # noqa: PLC0415

        sys.stdout.write(f"rollcall {version('rollcall')}\n")
        parser.exit()


def parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser of the whole command line, or of this command alone: to make all takes longer than to use one.

    `--config` may stand before or after the command.
    """
    top = _parser(argparse.ArgumentParser, prog="rollcall", description=_DESCRIPTION)
    top.set_defaults(config=None)
    top.add_argument("--version", action=_Version, nargs=0, help="show the version of the program, and end")
    commands = top.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=argparse.ArgumentParser
    )
    alone = None if command is None else _COMMANDS.get(command)
    for add in _COMMANDS.values() if alone is None else [alone]:
        add(commands.add_parser)
    return top


def _add_init(add: _Add) -> None:
    _add(add, "init", "create or migrate the database, and make the key file if there is none")


def _add_directory(add: _Add) -> None:
    directory = _add(add, "directory", "companies, codes, organizers, conferences, users")
    actions = directory.add_subparsers(dest="action", required=True, metavar="ACTION")
    apply = _add(actions.add_parser, "apply", "bring the database to what a file says; all or nothing")
    apply.add_argument("file", metavar="FILE", help="a .toml or .json file, or - for JSON from standard input")


def _add_check(add: _Add) -> None:
    check = _add(add, "check", "tell all that is wrong with a list file", _CHECK)
    _add_file(check)
    check.add_argument(
        "--minimum-digits",
        metavar="N",
        type=int,
        choices=range(MIN_PIN_LENGTH, MAX_PIN_LENGTH + 1),
        default=MIN_PIN_LENGTH,
        help="refuse PINs of fewer digits, as `import` does where a company asks for so many (2)",
    )
    _add_format(check)


def _add_import(add: _Add) -> None:
    import_ = _add(add, "import", "check a list file and put it in force in place of the owner's list")
    _add_file(import_)
    _add_owner(import_)
    import_.add_argument("--dry-run", action="store_true", help="show what would change, and change nothing")


def _add_export(add: _Add) -> None:
    export = _add(add, "export", "write the list in force as a file that can be imported again")
    _add_owner(export)
    export.add_argument(
        "--output", metavar="FILE", type=Path, help="a .csv or .xlsx file; standard output (CSV) if left out"
    )


def _add_template(add: _Add) -> None:
    _add(add, "template", "the header line of a list file")


def _add_forget(add: _Add) -> None:
    forget = _add(add, "forget", "tell where one person's data stands, and erase it", _FORGET)
    who = forget.add_mutually_exclusive_group(required=True)
    who.add_argument("--email", metavar="ADDRESS", help="whoever has this address")
    who.add_argument("--phone", metavar="NUMBER", help="whoever has this number, or called from it")
    who.add_argument(
        "--name", metavar='"FIRST LAST"', help="whoever has this first and last name: look before you erase"
    )
    forget.add_argument("--company", metavar="ID", help="look at this company alone")
    forget.add_argument("--erase", action="store_true", help="erase it; without this it is only told")


def _add_locked(add: _Add) -> None:
    _add_format(_add(add, "locked", "who must wait now, as too many wrong tries were made"))


def _add_unlock(add: _Add) -> None:
    unlock = _add(add, "unlock", "forget the wrong tries, and let those who wait try again", _UNLOCK)
    unlock.add_argument("--caller", metavar="NUMBER", help="who calls from this number")
    unlock.add_argument("--conference", metavar="ID", help="a conference; with --caller that caller of it alone")
    unlock.add_argument("--switch", metavar="ID", help="a switch")
    unlock.add_argument("--key", metavar="KEY", help="one of those that `rollcall locked` shows, by its key")
    unlock.add_argument("--all", action="store_true", help="all that `rollcall locked` shows")


def _add_look_up(add: _Add) -> None:
    look_up = _add(add, "lookup", "how a PIN is answered, list by list", _LOOKUP)
    look_up.add_argument("passcode", metavar="PASSCODE")
    look_up.add_argument("pin", metavar="PIN", help="the PIN, or - to read it from standard input")


def _add_status(add: _Add) -> None:
    _add_format(_add(add, "status", "revisions, sizes, and which daemons have applied what"))


def _add_user(add: _Add) -> None:
    user = _add(add, "user", "who signs in on the web")
    actions = user.add_subparsers(dest="action", required=True, metavar="ACTION")
    link = _add(actions.add_parser, "link", "make a link that sets a user's password once, within an hour")
    link.add_argument("name", metavar="NAME")


def _add_backup(add: _Add) -> None:
    backup = _add(add, "backup", "copy the database while all else runs", _BACKUP)
    backup.add_argument("target", metavar="DIRECTORY|FILE", type=Path, help="a folder that is there, or a file's name")
    backup.add_argument(
        "--keep", metavar="N", type=_count, help="keep the newest N copies of this database in the folder, no others"
    )
    _add_format(backup)


def _add_restore(add: _Add) -> None:
    restore = _add(add, "restore", "put a copy of the database back", _RESTORE)
    restore.add_argument("file", metavar="FILE", type=Path, help="a copy that `rollcall backup` made")
    restore.add_argument(
        "--older-keys", metavar="FILE", type=Path, help="the key file of the copy's time, if keys were rotated since"
    )
    restore.add_argument(
        "--whole", action="store_true", help="all that the copy holds; stop daemon and web site for it"
    )
    _add_format(restore)


def _add_doctor(add: _Add) -> None:
    _add_format(_add(add, "doctor", "look whether all is as it should be, and say what to do", _DOCTOR))


def _add_key(add: _Add) -> None:
    key = _add(add, "key", "the keys that lists are encrypted under")
    actions = key.add_subparsers(dest="action", required=True, metavar="ACTION")
    rotate = _add(actions.add_parser, "rotate", "encrypt all lists under a new key; can be stopped and run again")
    rotate.add_argument(
        "--prepare",
        action="store_true",
        help="only make the new key and use it nowhere yet, so that services which have a copy of the file get to know it",
    )


def _add_switch(add: _Add) -> None:
    switch = _add(add, "switch", "the telephone systems that may ask, and their tokens")
    actions = switch.add_subparsers(dest="action", required=True, metavar="ACTION")
    new = _add(actions.add_parser, "add", "make a switch's token, and print it this once")
    new.add_argument("name", metavar="NAME", type=_identifier)
    _add_from(new, default=[])
    new.add_argument("--rate", metavar="N", type=_rate, help="let it make so many requests a second")
    change = _add(actions.add_parser, "set", "change from where a switch may ask, and how often")
    change.add_argument("name", metavar="NAME")
    where = change.add_mutually_exclusive_group()
    _add_from(where, default=None)
    where.add_argument(
        "--from-anywhere", dest="networks", action="store_const", const=[], help="bind it to no address any more"
    )
    often = change.add_mutually_exclusive_group()
    often.add_argument("--rate", metavar="N", type=_rate, default=UNSET, help="let it make so many requests a second")
    often.add_argument("--no-rate", dest="rate", action="store_const", const=0, help="let it make any number")
    often.add_argument(
        "--default-rate", dest="rate", action="store_const", const=None, help="as daemon.switch_rate says (the default)"
    )
    _add_rotate(actions.add_parser)
    _add(actions.add_parser, "list", "the switches, with their tokens by the first digits of their SHA-256")
    for action, summary in (
        ("end-old", "have all tokens of a switch but its newest refused from now on"),
        ("remove", "forget a switch: its tokens are refused from now on"),
    ):
        _add(actions.add_parser, action, summary).add_argument("name", metavar="NAME")


def _add_rotate(add: _Add) -> None:
    rotate = _add(add, "rotate", "make a switch a new token, and print it this once", _ROTATE)
    rotate.add_argument("name", metavar="NAME")
    how = rotate.add_mutually_exclusive_group()
    how.add_argument(
        "--overlap",
        metavar="TIME",
        type=_overlap,
        default=86400.0,
        help="how long the old token stays good, such as 30m, 24h (the default) or 7d; 0 for not at all",
    )
    how.add_argument(
        "--again", action="store_true", help="put it in the place of the newest, which was lost; older ones stay"
    )


def _add_from(command: argparse._ActionsContainer, *, default: list[str] | None) -> None:
    command.add_argument(
        "--from",
        dest="networks",
        metavar="NETWORK",
        nargs="+",
        action="extend",
        default=default,
        help="take its tokens from these addresses and networks alone, such as 192.0.2.7 or 192.0.2.0/24",
    )


def _add(add: _Add, name: str, summary: str, description: str | None = None) -> argparse.ArgumentParser:
    return _parser(add, name, help=summary, description=description or f"{summary[0].upper()}{summary[1:]}.")


def _parser(make: Callable[..., argparse.ArgumentParser], *args: str, **kwargs: Any) -> argparse.ArgumentParser:
    made = make(*args, formatter_class=_Help, allow_abbrev=False, **kwargs)
    made.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        # A default here would hide what was given before the command.
        default=argparse.SUPPRESS,
        help="the settings (default: what ROLLCALL_CONFIG names, if anything)",
    )
    return made


def _add_file(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", metavar="FILE", type=Path, help="a list file; its name ends in .csv")
    command.add_argument(
        "--limits", choices=("web", "none"), default="none", help="refuse what the web refuses as too large (none)"
    )
    command.add_argument("--lang", choices=LANGUAGES, default="en", help="the language of the messages (en)")
    command.add_argument("--restore-zeros", action="store_true", help="give PINs back the leading zeros they have lost")


def _add_format(command: argparse.ArgumentParser) -> None:
    command.add_argument("--format", choices=("text", "json"), default="text", help="text (the default) or JSON")


def _add_owner(command: argparse.ArgumentParser) -> None:
    owner = command.add_mutually_exclusive_group(required=True)
    owner.add_argument("--organizer", metavar="ID", help="the list of an organizer")
    owner.add_argument("--authorization-code", metavar="CODE", help="the list of an authorization code")
    owner.add_argument("--company", metavar="ID", help="the list of a company")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("a whole number from 1 on")
    return int(text)


def _identifier(text: str) -> str:
    try:
        return parse_identifier(text)
    except InvalidValue as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _rate(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_SWITCH_RATE):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {MAX_SWITCH_RATE}")
    return int(text)


def _overlap(text: str) -> float:
    match = _OVERLAP.fullmatch(text)
    seconds = int(match[1]) * _SECONDS[match[2]] if match else MAX_OVERLAP + 1
    if seconds > MAX_OVERLAP:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 30m, 24h or 7d; 365d is the longest")
    return float(seconds)


_COMMANDS: Final[Mapping[str, Callable[[_Add], None]]] = {
    "init": _add_init,
    "directory": _add_directory,
    "check": _add_check,
    "import": _add_import,
    "export": _add_export,
    "template": _add_template,
    "switch": _add_switch,
    "locked": _add_locked,
    "unlock": _add_unlock,
    "lookup": _add_look_up,
    "status": _add_status,
    "user": _add_user,
    "forget": _add_forget,
    "backup": _add_backup,
    "restore": _add_restore,
    "doctor": _add_doctor,
    "key": _add_key,
}
"""What adds each command, in the order in which help tells them."""
