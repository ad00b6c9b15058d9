"""How often somebody may ask."""

import pytest

from daemon.rate_limit import RateLimit

SECOND = 1_000_000_000


@pytest.mark.parametrize("rate", [1, 2, 3, 7, 50, 100_000])
def test_so_many_may_come_at_once_and_then_one_by_one(rate: int) -> None:
    """Exactly so many: no rounding gives one more or one less."""
    limit, now, interval = RateLimit(rate), 12_345 * SECOND, SECOND // rate
    assert [limit.wait(now) for _ in range(rate)] == [0] * rate
    assert limit.wait(now) == interval
    assert limit.wait(now + interval - 1) == 1
    assert limit.wait(now + interval) == 0
    assert limit.wait(now + interval) == interval


def test_who_is_refused_waits_no_longer_for_it() -> None:
    limit = RateLimit(1)
    assert limit.wait(0) == 0
    assert [limit.wait(at) for at in (1, 2, 3)] == [SECOND - 1, SECOND - 2, SECOND - 3]
    assert limit.wait(SECOND) == 0


def test_who_was_silent_for_a_day_may_ask_as_many_as_ever_and_not_more() -> None:
    limit = RateLimit(5)
    for now in (0, 86_400 * SECOND):
        assert [limit.wait(now) for _ in range(6)] == [0] * 5 + [SECOND // 5]
