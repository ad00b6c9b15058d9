"""Strict settings: a TOML file, and over it the environment (`ROLLCALL_<SECTION>__<KEY>`).

Whatever is not known is refused, all that is wrong is told at once, and each problem names its file and line, or its
variable. A service and the tool read the same file; each takes the sections it needs.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from loader.errors import SettingsError

CONFIG_VARIABLE: Final = "ROLLCALL_CONFIG"
_PREFIX: Final = "ROLLCALL_"

Port = Annotated[int, Meta(ge=0, le=65535)]
"""A TCP or UDP port; 0 lets the system choose one (for tests)."""

Seconds = Annotated[float, Meta(ge=0, le=86400)]
Text = Annotated[str, Meta(min_length=1)]


S = TypeVar("S", bound=msgspec.Struct)


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One table of the file."""


class Database(_Section, frozen=True):
    url: Text = "sqlite:///var/rollcall.db"
    """`sqlite:///relative/path`, `sqlite:////absolute/path`."""


class Key(_Section, frozen=True):
    file: Text = "var/rollcall.key"
    """The file with the keys that lists are encrypted under; never in the database, never in its backup."""


class Daemon(_Section, frozen=True):
    host: Text = "127.0.0.1"
    port: Port = 8470
    ops_host: Text = "127.0.0.1"
    ops_port: Port = 9470
    poll_interval: Annotated[float, Meta(ge=0.01, le=0.5)] = 0.1
    """Seconds between two looks at the feed of changes."""
    stale_after: Annotated[float, Meta(gt=0, le=3600)] = 5.0
    """Seconds without a successful look at the feed after which `/readyz` says so."""
    drain_timeout: Seconds = 10.0
    """Seconds that requests under way have to finish after SIGTERM."""
    at_once: bool = True
    """Whether plain questions are answered where they are parsed; off, each waits for its connection's task."""


class Admin(_Section, frozen=True):
    host: Text = "127.0.0.1"
    port: Port = 8471
    ops_host: Text = "127.0.0.1"
    ops_port: Port = 9471
    url: str = ""
    """Where browsers find the site; `http://<host>:<port>` if empty. With `https` cookies are sent over nothing else."""
    behind_proxy: bool = False
    """Whether a proxy of your own stands in front, whose last `X-Forwarded-For` address is believed."""
    time_zone: Text = "UTC"
    """In which times are shown, such as `Europe/Paris`."""
    idle_timeout: Annotated[float, Meta(ge=60, le=86400)] = 1800.0
    """Seconds without a click after which one is signed out."""
    session_timeout: Annotated[float, Meta(ge=60, le=604800)] = 43200.0
    """Seconds after signing in after which one is signed out, clicks or not."""
    second_factor: bool = True
    """Whether super-administrators and operators must have a second factor."""
    privacy_policy: Text = "1"
    """The version of the privacy policy that is agreed to with each upload."""

    @property
    def address(self) -> str:
        """Where browsers find the site, without a slash at the end."""
        return self.url.rstrip("/") or f"http://{self.host}:{self.port}"


class Mail(_Section, frozen=True):
    host: str = ""
    """The SMTP server; without one, mail is written to files in `outbox`."""
    port: Port = 587
    tls: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password_file: str = ""
    sender: Text = "rollcall@example.com"
    outbox: Text = "var/outbox"
    show: bool = False
    """Whether mail that is written to a file is shown in the log too, one-time links and all. For a demo."""
    timeout: Annotated[float, Meta(gt=0, le=120)] = 20.0


class Oidc(_Section, frozen=True):
    """Sign-in by OpenID Connect. Without an issuer there is none."""

    issuer: str = ""
    client_id: str = ""
    client_secret_file: str = ""
    claim: Text = "preferred_username"
    """The claim of the ID token that names the user of Rollcall."""
    label: Text = "OpenID Connect"
    """What the button says."""


class Lists(_Section, frozen=True):
    guessable_share: Annotated[float, Meta(gt=0, le=1)] = 0.001
    """The chance of one random guess above which a list is warned of."""


class Logs(_Section, frozen=True):
    format: Literal["auto", "json", "text"] = "auto"
    """`auto`: readable on a terminal, JSON elsewhere."""
    level: Literal["debug", "info", "warning", "error"] = "info"


class Doors(_Section, frozen=True):
    """One section a front door beside HTTP."""


class Settings(_Section, frozen=True):
    """All sections; each has its defaults."""

    database: Database = Database()
    key: Key = Key()
    daemon: Daemon = Daemon()
    admin: Admin = Admin()
    mail: Mail = Mail()
    oidc: Oidc = Oidc()
    lists: Lists = Lists()
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
    _overlay(values, origins, environment)
    problems: list[str] = []
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
    try:
        return tomllib.loads(text), _lines_of_keys(text)
    except tomllib.TOMLDecodeError as error:
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


def _overlay(values: dict[str, Any], origins: dict[tuple[str, ...], str], environment: Mapping[str, str]) -> None:
    for name, text in environment.items():
        if not name.startswith(_PREFIX) or "__" not in name:
            continue
        key = tuple(name.removeprefix(_PREFIX).lower().split("__"))
        table = values
        for part in key[:-1]:
            inner = table.setdefault(part, {})
            if not isinstance(inner, dict):
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
    return section(**converted)


def _told(where: tuple[str, ...], origins: dict[tuple[str, ...], str], problem: str) -> str:
    origin = next((origins[where[:depth]] for depth in range(len(where), 0, -1) if where[:depth] in origins), None)
    return f"{origin + ': ' if origin else ''}{'.'.join(where)}: {problem}"
