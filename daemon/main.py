"""`rollcall-daemon`: answers switches."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from daemon.app import Daemon
from daemon.worker import Worker
from daemon.worker_nursery import Born, fork_nursery
from loader.service import Option, run_service
from loader.settings import Settings

_WORKERS: Final = Option(
    "workers",
    "ROLLCALL_DAEMON__WORKERS",
    "how many processes answer over HTTP (default: daemon.workers in the settings)",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the daemon until it is stopped; its exit status."""
    return run_service(
        "rollcall-daemon",
        _serve,
        argv,
        description="Answer telephone switches: is this PIN valid for this conference, and who is it?",
        epilog="SIGTERM stops in order; SIGHUP reads the settings and the key file again.",
        options=[_WORKERS],
    )


def _serve(settings: Settings, read_settings: Callable[[], Settings]) -> Coroutine[Any, Any, None]:
    """What this process is to run: with several workers this is called once, and returns in each of them."""
    if settings.daemon.workers == 1:
        return Daemon(settings, read_settings).run()
    forked = fork_nursery()
    if isinstance(forked, Born):
        return Worker(forked).run()
    return Daemon(settings, read_settings, forked).run()
