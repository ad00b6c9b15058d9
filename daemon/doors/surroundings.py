"""What every door is given by the composition root."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from daemon.live import Live
from daemon.metrics import Metrics
from daemon.roll import Roll
from daemon.verify import Verifier
from loader.index import NO_THROTTLE, Throttle
from loader.keyring import Keyring


class Surroundings(NamedTuple):
    """`keyring` and `drain_timeout` (seconds) are asked anew each time: they may change while the daemon runs."""

    live: Live
    metrics: Metrics
    keyring: Callable[[], Keyring]
    drain_timeout: Callable[[], float]
    throttle: Throttle = NO_THROTTLE

    def verifier(self, door: str) -> Verifier:
        """What decides for this door, and counts it."""
        return Verifier(self.live, self.metrics.tally(door), self.throttle)

    def roll(self, door: str) -> Roll:
        """What hears from this door who joined and who left."""
        return Roll(self.metrics.call_events(door))
