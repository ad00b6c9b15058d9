"""`rollcall`: the operator's tool.

What a command finds out goes to standard output, all else to standard error. Exit status: 0 done; 1 refused, not
found or not available now; 2 a wrong call or wrong settings; 130 stopped by Ctrl-C.
Each family of commands is a module here, imported when one of them is called: a check starts without a database.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from loader.cli.arguments import parser
from loader.cli.exits import NOBODY_READS, REFUSED, STOPPED, WRONG_CALL, WrongCallError
from loader.cli.terminal import complain
from loader.errors import RollcallError, SettingsError
from loader.settings import load_settings


def program() -> int:
    """The tool as a process of its own."""
    # A command is over before garbage could pile up. Looking for some, and once more at the end, takes a fifth of the
    # time of a short one.
    gc.disable()
    try:
        return main()
    finally:
        gc.freeze()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status. Help, and a command line that makes no sense, end in SystemExit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A terminal that cannot show a letter is no reason to stop.
            stream.reconfigure(errors="replace")
    words = sys.argv[1:] if argv is None else argv
    args = parser(words[0] if words else None).parse_args(words)
    try:
        status = _run(args)
        sys.stdout.flush()
    except (SettingsError, WrongCallError) as error:
        complain(error)
        return WRONG_CALL
    except RollcallError as error:
        complain(error)
        return REFUSED
    except UnicodeEncodeError:
        # Bytes of the command line that are not UTF-8 come as halves of surrogates, which no database takes.
        complain(WrongCallError("what is asked for is not UTF-8 text"))
        return WRONG_CALL
    except KeyboardInterrupt:
        return STOPPED
    except BrokenPipeError:
        # Python would flush once more at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOBODY_READS
    return status


def _run(args: argparse.Namespace) -> int:
    # ruff: noqa: PLC0415 - each family is imported when it is called
    if args.command == "doctor":
        from loader.cli import examining

        return examining.run(args)
    settings = load_settings(args.config)
    match args.command:
        case "check" | "template":
            from loader.cli import checking

            return checking.run(args, settings)
        case "import" | "export":
            from loader.cli import lists

            return lists.run(args, settings)
        case "lookup" | "status":
            from loader.cli import support

            return support.run(args, settings)
        case "switch":
            from loader.cli import switches

            return switches.run(args, settings)
        case "locked" | "unlock":
            from loader.cli import locks

            return locks.run(args, settings)
        case "forget":
            from loader.cli import forgetting

            return forgetting.run(args, settings)
        case "backup" | "restore":
            from loader.cli import copies

            return copies.run(args, settings)
        case "user":
            from loader.cli import users

            return users.run(args, settings)
        case _:
            from loader.cli import installation

            return installation.run(args, settings)
