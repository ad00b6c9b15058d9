"""What the services have in common: how they are called, and how they end.

Exit status: 0 stopped in order; 1 cannot run (a port in use, no database, the wrong key); 2 a wrong call or wrong settings.
"""

from __future__ import annotations

import argparse
import errno
import os
import resource
import sys
from collections.abc import Callable, Coroutine, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import structlog
import uvloop

from loader.errors import RollcallError, SettingsError
from loader.logs import configure_logs
from loader.settings import Settings, load_settings

log = structlog.get_logger(__name__)

_MOST_CONNECTIONS: Final = 1 << 20
"""Files, and so connections, that a service may have open, as far as the system lets it."""

_OTHER_FILES: Final = 200
"""Files that a service has open beside its connections, with room to spare."""

Serve: TypeAlias = Callable[[Settings, Callable[[], Settings]], Coroutine[Any, Any, None]]
"""Serves until it is stopped: gets the settings, and what reads them again."""


class Option(NamedTuple):
    """An option of the command line that stands for a setting: the variable is that of the environment."""

    name: str
    variable: str
    help: str


class PortError(RollcallError):
    """An address that a service is to listen on cannot be had. `setting` is how the port is called in the settings."""

    def __init__(self, setting: str, host: str, port: int, error: OSError) -> None:
        why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror or error}"
        super().__init__(f"{setting}: port {port} on {host} {why}")


def run_service(
    name: str,
    serve: Serve,
    argv: Sequence[str] | None,
    *,
    description: str,
    epilog: str,
    options: Sequence[Option] = (),
) -> int:
    """Run a service until it is stopped; its exit status. `options` stand over the environment."""
    parser = argparse.ArgumentParser(prog=name, description=description, epilog=epilog, allow_abbrev=False)
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="the settings (default: what ROLLCALL_CONFIG names, if anything)"
    )
    for option in options:
        parser.add_argument(f"--{option.name}", dest=option.variable, metavar="N", help=option.help)
    parser.add_argument("--version", action="version", version=f"{name} {version('rollcall')}")
    called = vars(parser.parse_args(argv))
    config: Path | None = called.pop("config")
    environment = os.environ | {variable: value for variable, value in called.items() if value is not None}
    try:
        settings = load_settings(config, environment)
    except SettingsError as error:
        sys.stderr.write("".join(f"{name}: {problem}\n" for problem in error.problems))
        return 2
    configure_logs(settings.logs.format, settings.logs.level)
    allow_many_connections()
    try:
        uvloop.run(serve(settings, lambda: load_settings(config, environment)))
    except SettingsError as error:
        # As of a door, which looks at its settings when it opens.
        log.error("cannot_run", problem=str(error))
        return 2
    except RollcallError as error:
        log.error("cannot_run", problem=str(error))
        return 1
    except Exception as error:
        log.exception("cannot_run", problem=type(error).__name__)
        return 1
    return 0


def allow_many_connections() -> None:
    """Raise the limit of open files to what the system allows: often it begins at 1024, which is too few callers."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_CONNECTIONS if hard == resource.RLIM_INFINITY else min(hard, _MOST_CONNECTIONS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def most_connections(wanted: int) -> int:
    """How many connections there may be, up to so many: some files are left for all else that is opened."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft == resource.RLIM_INFINITY else min(wanted, max(soft - _OTHER_FILES, soft // 2))
