"""`rollcall-admin`: the web site."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from admin.app import serve
from loader.service import run_service
from loader.settings import Settings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the web site until it is stopped; its exit status."""
    return run_service(
        "rollcall-admin",
        _serve,
        argv,
        description="The web site on which lists of PINs are uploaded, looked at and edited.",
        epilog="SIGTERM stops in order.",
    )


async def _serve(settings: Settings, _read_settings: Callable[[], Settings]) -> None:
    await serve(settings)
