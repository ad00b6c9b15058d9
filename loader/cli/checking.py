"""List files by themselves: `check` and `template`. No database."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Final

from loader.cli.exits import DONE, REFUSED, WrongCallError
from loader.cli.terminal import ProgressBar, say
from loader.listfile import NO_LIMITS, WEB_LIMITS, Check, Problem, check, message, template
from loader.settings import Settings

_LIMITS: Final = {"web": WEB_LIMITS, "none": NO_LIMITS}
_DELIMITERS: Final = {",": "comma", ";": "semicolon", "\t": "tab"}


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run one of these commands; its exit status."""
    if args.command == "template":
        write_bytes(template())
        return DONE
    checked = read_file(args, settings, minimum_digits=args.minimum_digits)
    if args.format == "json":
        import json  # noqa: PLC0415 - a file that is only checked needs none of it

        say(json.dumps(_as_json(checked, args.lang), ensure_ascii=False))
    else:
        tell(checked, args.lang)
    return REFUSED if checked.error_count else DONE


def read_file(args: argparse.Namespace, settings: Settings, *, minimum_digits: int) -> Check:
    """Check the file that the command line names, with its limits. Raises WrongCallError if it cannot be read."""
    file: Path = args.file
    try:
        data = file.read_bytes()
    except OSError as error:
        raise WrongCallError(f"{file}: cannot be read: {error.strerror}") from None
    with ProgressBar(f"checking {file.name}") as progress:
        return check(
            data,
            filename=file.name,
            limits=_LIMITS[args.limits],
            guessable_share=settings.lists.guessable_share,
            restore_zeros=args.restore_zeros,
            minimum_digits=minimum_digits,
            progress=progress,
        )


def tell(checked: Check, language: str) -> None:
    """Errors first, warnings apart, and a last line with the counts."""
    for problem in checked.errors:
        say(_line(problem, language))
    if checked.error_count > len(checked.errors):
        say(f"and {checked.error_count - len(checked.errors)} errors more")
    for problem in checked.warnings:
        say(f"warning: {_line(problem, language)}")
    summary = f"processed {checked.processed}, errors {checked.error_count}, warnings {len(checked.warnings)}"
    if checked.encoding is not None:
        summary += f", encoding {checked.encoding}"
    if checked.delimiter is not None:
        summary += f", delimiter {_DELIMITERS[checked.delimiter]}"
    say(summary)


def write_bytes(data: bytes) -> None:
    """A file as the result."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _line(problem: Problem, language: str) -> str:
    where = "file" if problem.line is None else f"line {problem.line}"
    column = "" if problem.column is None else f", {problem.column}"
    return f"{where}{column}: {message(problem, language)}"


def _as_json(checked: Check, language: str) -> dict[str, Any]:
    def told(problem: Problem) -> dict[str, Any]:
        return {
            "line": problem.line,
            "column": problem.column,
            "code": problem.code.value,
            "message": message(problem, language),
        }

    return {
        "processed": checked.processed,
        "error_count": checked.error_count,
        "errors": [told(problem) for problem in checked.errors],
        "warnings": [told(problem) for problem in checked.warnings],
        "encoding": checked.encoding,
        "delimiter": checked.delimiter,
    }
