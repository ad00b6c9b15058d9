"""Strict settings: a TOML file, and over it the environment (`ROLLCALL_<SECTION>__<KEY>`).

Whatever is not known is refused, all that is wrong is told at once, and each problem names its file and line, or its
variable. A service and the tool read the same file; each takes the sections it needs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from loader.door_sections import Doors
from loader.errors import SettingsError
from loader.sections import Admin, Daemon, Database, Key, Lists, Logs, Mail, Oidc, Roll, Section, Throttle

CONFIG_VARIABLE: Final = "ROLLCALL_CONFIG"
_PREFIX: Final = "ROLLCALL_"

S = TypeVar("S", bound=msgspec.Struct)


class Settings(Section, frozen=True):
    """All sections; each has its defaults."""

    database: Database = Database()
    key: Key = Key()
    daemon: Daemon = Daemon()
    admin: Admin = Admin()
    mail: Mail = Mail()
    oidc: Oidc = Oidc()
    lists: Lists = Lists()
    roll: Roll = Roll()
    throttle: Throttle = Throttle()
    logs: Logs = Logs()
    doors: Doors = Doors()


def load_settings(path: Path | None = None, environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings in force: defaults, then the file, then the environment.

    The file is `path`, or the one that `ROLLCALL_CONFIG` names, or none. Raises SettingsError with every problem.
    """
    if path is None and environment.get(CONFIG_VARIABLE):
        path = Path(environment[CONFIG_VARIABLE])
    origins: dict[tuple[str, ...], str] = {}
    values: dict[str, Any] = {}
    if path is not None:
        values, lines = _read_file(path)
        origins = {key: f"{path}, line {line}" for key, line in lines.items()}
    problems: list[str] = []
    _overlay(values, origins, environment, problems)
    settings = _convert(Settings, values, (), origins, problems)
    if problems:
        raise SettingsError(*problems)
    return settings


def _read_file(path: Path) -> tuple[dict[str, Any], dict[tuple[str, ...], int]]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: is not UTF-8 text") from None
    import tomllib  # noqa: PLC0415 - a check without settings starts sooner

    try:
        return tomllib.loads(text), _lines_of_keys(text)
    except RecursionError:
        raise SettingsError(f"{path}: is nested too deeply") from None
    except ValueError as error:
        # Some of what no TOML may hold, such as a number of thousands of digits, is not told as a TOMLDecodeError.
        raise SettingsError(f"{path}: {error}") from None


def _lines_of_keys(text: str) -> dict[tuple[str, ...], int]:
    """Where each table and each key of a plain TOML file stands, for error messages only."""
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if match := re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line):
            table = _dotted(match[1])
            lines.setdefault(table, number)
        elif match := re.match(r"""\s*([A-Za-z0-9_."' -]+?)\s*=""", line):
            lines.setdefault((*table, *_dotted(match[1])), number)
    return lines


def _dotted(name: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in name.split("."))


def _overlay(
    values: dict[str, Any],
    origins: dict[tuple[str, ...], str],
    environment: Mapping[str, str],
    problems: list[str],
) -> None:
    # Values before what claims to stand within them.
    for name, text in sorted(environment.items(), key=lambda variable: variable[0].count("__")):
        if not name.startswith(_PREFIX) or "__" not in name:
            continue
        key = tuple(name.removeprefix(_PREFIX).lower().split("__"))
        table = values
        for part in key[:-1]:
            inner = table.setdefault(part, {})
            if not isinstance(inner, dict):
                problems.append(_told(key, {key: name}, "there is no such setting"))
                break
            table = inner
        else:
            table[key[-1]] = text
            origins[key] = name
            for depth in range(1, len(key)):
                origins.setdefault(key[:depth], name)


def _convert(
    section: type[S],
    values: Mapping[str, Any],
    at: tuple[str, ...],
    origins: dict[tuple[str, ...], str],
    problems: list[str],
) -> S:
    known = {field.name: field for field in msgspec.structs.fields(section)}
    converted: dict[str, Any] = {}
    for name, value in values.items():
        where = (*at, name)
        if name not in known:
            problems.append(_told(where, origins, "there is no such setting; there are " + ", ".join(known)))
            continue
        wanted = known[name].type
        if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
            if isinstance(value, dict):
                converted[name] = _convert(wanted, value, where, origins, problems)
            else:
                problems.append(_told(where, origins, "is a section, not a value"))
            continue
        try:
            # Only the environment has no types of its own.
            strict = not origins.get(where, "").startswith(_PREFIX)
            converted[name] = msgspec.convert(value, wanted, strict=strict)
        except msgspec.ValidationError as error:
            problems.append(_told(where, origins, str(error)))
        except UnicodeEncodeError:
            problems.append(_told(where, origins, "is not UTF-8 text"))
    return section(**converted)


def _told(where: tuple[str, ...], origins: dict[tuple[str, ...], str], problem: str) -> str:
    origin = next((origins[where[:depth]] for depth in range(len(where), 0, -1) if where[:depth] in origins), None)
    return f"{origin + ': ' if origin else ''}{'.'.join(where)}: {problem}"
