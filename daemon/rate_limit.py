"""How often somebody may ask: the generic cell rate algorithm (GCRA, ITU-T I.371, "virtual scheduling")."""

from __future__ import annotations

from typing import Final

_SECOND: Final = 1_000_000_000


class RateLimit:
    """Up to `rate` requests at once, and then one each `1 / rate` seconds. Times are whole nanoseconds of any clock.

    What is refused counts for nothing: who keeps on asking is answered as often as he may.
    """

    __slots__ = ("_expected", "_interval", "_tolerance", "rate")

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._interval = _SECOND // rate
        self._tolerance = self._interval * (rate - 1)
        self._expected = 0
        """When the next request would come from somebody who asks evenly: the "theoretical arrival time"."""

    def wait(self, now: int) -> int:
        """Nanoseconds after which it may be asked again; 0 if it may be asked now, which is counted."""
        expected = self._expected
        expected = max(expected, now)
        early = expected - now - self._tolerance
        if early > 0:
            return early
        self._expected = expected + self._interval
        return 0
