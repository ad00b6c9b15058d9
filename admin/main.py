"""`rollcall-admin`: the web site.

Exit status: 0 stopped in order; 1 cannot run (a port in use, no database, the wrong key); 2 a wrong call or wrong settings.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import structlog
import uvloop

from admin.app import serve
from loader.errors import RollcallError, SettingsError
from loader.logs import configure_logs
from loader.settings import load_settings

log = structlog.get_logger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the web site until it is stopped; its exit status."""
    parser = argparse.ArgumentParser(
        prog="rollcall-admin",
        description="The web site on which lists of PINs are uploaded, looked at and edited.",
        epilog="SIGTERM stops in order.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="the settings (default: what ROLLCALL_CONFIG names, if anything)"
    )
    parser.add_argument("--version", action="version", version=f"rollcall-admin {version('rollcall')}")
    config: Path | None = parser.parse_args(argv).config
    try:
        settings = load_settings(config)
    except SettingsError as error:
        sys.stderr.write("".join(f"rollcall-admin: {problem}\n" for problem in error.problems))
        return 2
    configure_logs(settings.logs.format, settings.logs.level)
    try:
        uvloop.run(serve(settings))
    except RollcallError as error:
        log.error("cannot_run", problem=str(error))
        return 1
    return 0
