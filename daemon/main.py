"""`rollcall-daemon`: answers switches.

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

from daemon.app import Daemon
from loader.errors import RollcallError, SettingsError
from loader.logs import configure_logs
from loader.settings import load_settings

log = structlog.get_logger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the daemon until it is stopped; its exit status."""
    parser = argparse.ArgumentParser(
        prog="rollcall-daemon",
        description="Answer telephone switches: is this PIN valid for this conference, and who is it?",
        epilog="SIGTERM stops in order; SIGHUP reads the settings and the key file again.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="the settings (default: what ROLLCALL_CONFIG names, if anything)"
    )
    parser.add_argument("--version", action="version", version=f"rollcall-daemon {version('rollcall')}")
    config: Path | None = parser.parse_args(argv).config
    try:
        settings = load_settings(config)
    except SettingsError as error:
        sys.stderr.write("".join(f"rollcall-daemon: {problem}\n" for problem in error.problems))
        return 2
    configure_logs(settings.logs.format, settings.logs.level)
    try:
        uvloop.run(Daemon(settings, lambda: load_settings(config)).run())
    except RollcallError as error:
        log.error("cannot_run", problem=str(error))
        return 1
    except Exception as error:
        log.exception("cannot_run", problem=type(error).__name__)
        return 1
    return 0
