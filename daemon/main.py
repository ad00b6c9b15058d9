"""`rollcall-daemon`: answers switches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from daemon.app import Daemon
from loader.service import run_service
from loader.settings import Settings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the daemon until it is stopped; its exit status."""
    return run_service(
        "rollcall-daemon",
        _serve,
        argv,
        description="Answer telephone switches: is this PIN valid for this conference, and who is it?",
        epilog="SIGTERM stops in order; SIGHUP reads the settings and the key file again.",
    )


async def _serve(settings: Settings, read_settings: Callable[[], Settings]) -> None:
    await Daemon(settings, read_settings).run()
