"""Who has joined and who has left, as the doors tell it."""

from __future__ import annotations

from collections.abc import Callable


class Roll:
    """Hears of calls by the IDs that switches gave them when they asked. So far they are counted."""

    def __init__(self, count: Callable[[str], None]) -> None:
        self._count = count

    def joined(self, call_id: str) -> None:  # noqa: ARG002 - rolls are not kept yet
        """The caller has been put through."""
        self._count("joined")

    def left(self, call_id: str) -> None:  # noqa: ARG002 - rolls are not kept yet
        """The call is over."""
        self._count("left")
