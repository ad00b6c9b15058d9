"""How long a patient attacker guesses until he has a PIN: with the daemon's own throttle, on a clock that is turned on.

The list has 100 PINs, and no guess is made twice. The throttle itself is asked when each of the first guesses is judged;
from then on they come as steadily as the last of these did. The expected time to the first hit, and the chance of one
within a year, are worked out from that: no dice. A call takes its time: 12 seconds to dial in and key a passcode, 6 a try,
three tries a call. Without a throttle that is all that holds anybody up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Final, NamedTuple

from daemon.counters import Counters
from daemon.counting_throttle import CountingThrottle
from daemon.throttle import NO_THROTTLE, Throttle
from daemon.verify import Verifier
from loader.index import Question, Reason
from loader.sections import Throttle as Limits
from tests.bench.figures import Figure
from tests.unit.daemon.test_counting_throttle import PASSCODE, RIGHT, WRONG, live
from tests.unit.loader.test_index import listed

_PINS: Final = 100
_DIGITS: Final = (4, 6, 8)
_WATCHED: Final = 600
"""Guesses that the throttle is asked about one by one."""
_STEADY: Final = 200
"""Of these, the last ones tell how it goes on."""
_DIALLING, _KEYING, _TRIES = 12.0, 6.0, 3
_DAY: Final = 86400.0
_YEAR: Final = 365 * _DAY


class _Attacker:
    """Guesses at one conference, as often as he is heard. `number` is whom he calls as, in each call."""

    def __init__(self, number: Callable[[int], str | None], *, knows_one: bool = False) -> None:
        self._number = number
        self._knows_one = knows_one

    def guesses(self, *, throttled: bool) -> Iterator[float]:
        """When each of his guesses is judged, in seconds; ends when none will be any more."""
        counters = Counters.in_memory(1 << 22)
        self.now = 0.0
        throttle: Throttle = NO_THROTTLE
        if throttled:
            throttle = CountingThrottle(
                counters, Limits(), locked=lambda _: None, refused=lambda _: None, clock=lambda: self.now
            )
        self._verifier = Verifier(live(listed("Ann", RIGHT)), lambda _result, _seconds: None, throttle)
        try:
            yield from self._calls()
        finally:
            counters.close()

    def _calls(self) -> Iterator[float]:
        heard_at = 0.0
        for call in count():
            self.now += _DIALLING
            if self._knows_one:
                self._key(RIGHT, call)
            for _ in range(_TRIES):
                wait = self._key(WRONG, call)
                if wait:
                    self.now += wait
                    break
                heard_at = self.now
                yield self.now
            if self.now - heard_at > 30 * _DAY:
                return

    def _key(self, pin: str, call: int) -> int:
        self.now += _KEYING
        verification = self._verifier.verify(Question(PASSCODE, pin, str(call), self._number(call)), 0.0, "pbx")
        if verification is None:
            raise RuntimeError("there is nothing to answer from")
        decision = verification.decision
        return decision.retry_after or 0 if decision.reason is Reason.LOCKED else 0


class _Prospect(NamedTuple):
    """Seconds until the first hit may be expected, and the chance of one within a year."""

    expected: float
    in_a_year: float


def _prospect(times: list[float], pins: int, digits: int, *, ended: bool) -> _Prospect:
    """What these times mean against so many PINs of so many digits."""
    all_there_are = 10**digits
    missed, last, expected, in_a_year = 1.0, 0.0, 0.0, 0.0
    for number, at in enumerate(times):
        expected += missed * (at - last)
        missed *= max(0.0, 1 - pins / (all_there_are - number))
        last = at
        if at <= _YEAR:
            in_a_year = 1 - missed
    if ended:
        return _Prospect(math.inf if missed else expected, in_a_year)
    gap = (times[-1] - times[-1 - _STEADY]) / _STEADY
    left = all_there_are - len(times)
    expected += missed * gap * (left + 1) / (pins + 1)
    more = min(left - pins, max(0, int((_YEAR - last) / gap)))
    still = math.exp(sum(math.log1p(-pins / (left - number)) for number in range(more)))
    return _Prospect(expected, 1 - missed * still)


_ATTACKERS: Final[Mapping[str, _Attacker]] = {
    "one number": _Attacker(lambda _: "+15550100"),
    "a withheld number": _Attacker(lambda _: None),
    "a new number each call": _Attacker(lambda call: f"+1{call:010}"),
    "an insider who knows one PIN": _Attacker(lambda _: "+15550100", knows_one=True),
}


def run() -> list[Figure]:
    """Days, and the chance in a hundred; beside them the same without a throttle."""
    figures = []
    for name, attacker in _ATTACKERS.items():
        judged = {}
        for throttled in (True, False):
            times = [at for at, _ in zip(attacker.guesses(throttled=throttled), range(_WATCHED), strict=False)]
            judged[throttled] = times
        for digits in _DIGITS:
            held, free = (
                _prospect(judged[throttled], _PINS, digits, ended=len(judged[throttled]) < _WATCHED)
                for throttled in (True, False)
            )
            who = f"guessing 100 PINs of {digits} digits, {name}"
            figures += [
                Figure(f"{who}: first hit expected after", held.expected / _DAY, "days", free.expected / _DAY),
                Figure(f"{who}: hit within a year", 100 * held.in_a_year, "%", 100 * free.in_a_year),
            ]
    return figures
