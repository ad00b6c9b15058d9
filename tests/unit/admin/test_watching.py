"""One look for all who watch the same, and no more streams than a user needs."""

import asyncio

import pytest
from structlog.testing import capture_logs

from admin.watching import TooManyWatch, Watching
from loader.errors import DatabaseUnavailable


class Versions:
    """What a database says of versions, and of which occurrences it was asked."""

    def __init__(self) -> None:
        self.version = 1
        self.asked: list[int] = []
        self.is_gone = False
        self.was_asked = asyncio.Event()

    async def __call__(self, occurrence_id: int) -> int:
        self.asked.append(occurrence_id)
        self.was_asked.set()
        if self.is_gone:
            raise DatabaseUnavailable("gone")
        return self.version

    async def asked_again(self, times: int = 1) -> None:
        for _ in range(times):
            self.was_asked.clear()
            await self.was_asked.wait()


def here() -> bool:
    return False


@pytest.fixture
async def versions() -> Versions:
    return Versions()


@pytest.fixture
async def watching(versions: Versions) -> Watching:
    return Watching(versions, look_every=0.001, most_of_a_user=2)


async def test_a_change_wakes_all_who_watch(watching: Watching, versions: Versions) -> None:
    with watching.watch("org", 1, here) as one, watching.watch("coo", 1, here) as other:
        waiting = [asyncio.create_task(watch.news(1, within=60)) for watch in (one, other)]
        await versions.asked_again(2)
        assert not any(task.done() for task in waiting)
        versions.version = 2
        assert await asyncio.gather(*waiting) == [2, 2]


async def test_what_has_changed_before_is_told_at_once(watching: Watching, versions: Versions) -> None:
    versions.version = 7
    with watching.watch("org", 1, here) as watch:
        assert await watch.news(1, within=60) == 7
        assert await watch.news(1, within=60) == 7


async def test_without_news_the_wait_ends_in_time(watching: Watching) -> None:
    with watching.watch("org", 1, here) as watch:
        assert await watch.news(1, within=0.01) == 1


async def test_nobody_watches_nobody_looks(watching: Watching, versions: Versions) -> None:
    with watching.watch("org", 1, here):
        await versions.asked_again()
    versions.asked.clear()
    with watching.watch("org", 2, here):
        await versions.asked_again(3)
    assert set(versions.asked) == {2}
    assert watching.count == 0


async def test_who_has_gone_makes_room_before_his_stream_has_ended(watching: Watching) -> None:
    """A page that is loaded again and again is not refused."""
    gone = False
    with watching.watch("org", 1, lambda: gone), watching.watch("org", 2, here):
        with pytest.raises(TooManyWatch), watching.watch("org", 3, here):
            pass
        with watching.watch("coo", 1, here):
            pass
        gone = True
        with watching.watch("org", 3, here):
            assert watching.count == 3


async def test_at_the_stop_all_are_woken_and_nobody_comes(watching: Watching) -> None:
    with watching.watch("org", 1, here) as watch:
        waiting = asyncio.create_task(watch.news(1, within=60))
        await asyncio.sleep(0)
        watching.stop()
        await waiting
        assert watch.is_over
        with pytest.raises(TooManyWatch), watching.watch("coo", 1, here):
            pass


async def test_a_database_that_is_gone_is_told_of_once_and_waited_for(watching: Watching, versions: Versions) -> None:
    with watching.watch("org", 1, here) as watch:
        versions.is_gone = True
        with capture_logs() as logs:
            await versions.asked_again(3)
            versions.is_gone, versions.version = False, 2
            assert await watch.news(1, within=60) == 2
    assert [log["event"] for log in logs] == ["database_unavailable"]
