"""What every door is given by the composition root."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from daemon.doors.authorization import Authorization
from daemon.live import Live
from daemon.metrics import Metrics
from daemon.roll import NO_ROLL, Roll
from daemon.throttle import NO_THROTTLE, Throttle
from daemon.verify import Verifier
from loader.connections import Limits
from loader.keyring import Keyring
from loader.ports import Ports


class Calls:
    """What one door tells of calls that it gave their IDs."""

    def __init__(self, roll: Roll, door: str, count: Callable[[str], None]) -> None:
        self._roll = roll
        self._door = door
        self._count = count
        self.when_kept = roll.when_kept
        self.kept = roll.kept

    def joined(self, call_id: str) -> None:
        """The caller has been put through."""
        self._count("joined")
        self._roll.joined(self._door, call_id)

    def left(self, call_id: str) -> None:
        """The call is over."""
        self._count("left")
        self._roll.left(self._door, call_id)


class Surroundings(NamedTuple):
    """`keyring` and `drain_timeout` (seconds) are asked anew each time: they may change while the daemon runs."""

    live: Live
    metrics: Metrics
    keyring: Callable[[], Keyring]
    drain_timeout: Callable[[], float]
    throttle: Throttle = NO_THROTTLE
    rolls: Roll = NO_ROLL
    limits: Limits = Limits()
    ports: Ports = Ports()

    def verifier(self, door: str) -> Verifier:
        """What decides for this door, counts it, and has the roll told."""
        return Verifier(self.live, self.metrics.tally(door), self.throttle, self.rolls, door)

    def authorization(self, door: str, *, basic: bool) -> Authorization:
        """Who may ask at this door, with the token of a switch."""
        return Authorization(self.live, self.metrics.tokens_refused(door), basic=basic)

    def roll(self, door: str) -> Calls:
        """What hears from this door who joined and who left."""
        return Calls(self.rolls, door, self.metrics.call_events(door))
