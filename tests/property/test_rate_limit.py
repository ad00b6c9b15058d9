"""The limit of a switch's rate, held against a bucket that is counted out with fractions."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from daemon.rate_limit import RateLimit

SECOND = 1_000_000_000


class Bucket:
    """Holds so many, is full at first, and is filled with so many a second: the same thing said otherwise."""

    def __init__(self, rate: int) -> None:
        self.size = self.held = Fraction(rate)
        self.rate = Fraction(1, SECOND // rate)
        self.at = 0

    def take(self, now: int) -> bool:
        self.held = min(self.size, self.held + (now - self.at) * self.rate)
        self.at = now
        if self.held < 1:
            return False
        self.held -= 1
        return True


@given(rate=st.integers(1, 200), steps=st.lists(st.integers(0, SECOND // 4) | st.just(0), max_size=400))
def test_a_limit_lets_through_what_a_bucket_would(rate: int, steps: list[int]) -> None:
    """And who waits for as long as he is told is let through, and not a moment earlier."""
    limit, bucket, now = RateLimit(rate), Bucket(rate), 0
    for step in steps:
        now += step
        wait = limit.wait(now)
        assert (wait == 0) == bucket.take(now)
        if wait:
            assert limit.wait(now + wait - 1) == 1
            now += wait
            assert limit.wait(now) == 0
            assert bucket.take(now)
