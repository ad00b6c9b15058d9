"""Calls as the daemon's keeper would put them on rolls."""

from __future__ import annotations

import time
from itertools import count

from loader.keyring import Keyring
from loader.model import Level, Owner, Participant
from loader.roll import Admitted, Event, Joined, Left, Refused
from loader.store import Store
from loader.store.rolls import BEGINNING, Progress
from loader.store.taking import RollTaker

OLIVE = Owner(Level.ORGANIZER, "olive")
MIKE = Participant("Mike", "Doe", "XYZ", "", "", "Uxbridge", "UK", "")
QUIET = 60.0


class Calls:
    """Tells of calls; each `tell` is taken at once. `began` is in seconds since 1970 UTC."""

    def __init__(self, store: Store, keyring: Keyring, began: float | None = None) -> None:
        self.taker = RollTaker(store, quiet=QUIET)
        self.began = time.time() - 600 if began is None else began
        self._keyring = keyring
        self._at = BEGINNING
        self._numbers = count()

    async def tell(self, *events: Event) -> None:
        following = Progress(1, self._at.offset + 1)
        await self.taker.apply(self._keyring, events, "journal", self._at, following)
        self._at = following

    def admitted(
        self,
        call_id: str,
        pin: str = "",
        *,
        at: float = 0,
        who: Participant | None = MIKE,
        conference: str = "A-1",
        owner: Owner = OLIVE,
        caller: str | None = "+15550100",
    ) -> Admitted:
        """Let in `at` seconds after the beginning, by a PIN of a list; without one by no PIN, and without a name."""
        number = next(self._numbers)
        return Admitted(
            self.began + at,
            f"v{number}",
            "http",
            "pbx-1",
            call_id,
            caller,
            conference,
            owner.key if pin else "",
            pin,
            who if pin else None,
        )

    def joined(self, call_id: str, at: float) -> Joined:
        return Joined(self.began + at, "pbx-1", call_id)

    def left(self, call_id: str, at: float) -> Left:
        return Left(self.began + at, "pbx-1", call_id)

    def refused(self, number: int, conference: str = "A-1") -> Refused:
        return Refused(self.began, conference, "unknown_pin", number)

    async def end(self) -> None:
        """Let enough time pass for what nobody is in to be over."""
        await self.taker.sweep(self.began + 86400, 864000)
