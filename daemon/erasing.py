"""Erases what is older than it is kept: once at the start and then every hour, in small steps with pauses between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeAlias

import structlog

from loader.errors import RollcallError
from loader.store.keeping import Keeping

log = structlog.get_logger(__name__)

Sleep: TypeAlias = Callable[[float], Awaitable[object]]

EVERY: Final = 3600.0
"""Seconds."""
_PAUSE: Final = 0.2
_LONGEST_REST: Final = 5.0
_REST: Final = 50.0
"""A step keeps the disk busy that answers wait for: after it there is at least so many times as long a rest."""


async def erase_for_ever(keeping: Keeping, *, sleep: Sleep = asyncio.sleep) -> None:
    """Erase what is too old, every hour."""
    while True:
        try:
            await erase(keeping, sleep=sleep)
        except RollcallError as error:
            log.error("rolls_not_erased", problem=str(error))
        except Exception as error:
            log.error("rolls_not_erased", problem=type(error).__name__, exc_info=error)
        await sleep(EVERY)


async def erase(keeping: Keeping, *, clock: Callable[[], float] = time.time, sleep: Sleep = asyncio.sleep) -> int:
    """Erase all that is too old now; how much that was. Raises DatabaseUnavailable."""
    now = clock()
    erased = await _step_by_step(partial(keeping.erase_locks, now), sleep)
    for company_id, before in (await keeping.too_old(now)).items():
        mine = await _step_by_step(partial(keeping.erase_some, company_id, before, now), sleep)
        if mine:
            log.info("rolls_erased", company=company_id, count=mine)
        erased += mine
    return erased


async def _step_by_step(erase_some: Callable[[], Awaitable[int]], sleep: Sleep) -> int:
    """Erase some, until there is nothing left; how much that was."""
    erased = 0
    begun = time.perf_counter()
    while some := await erase_some():
        erased += some
        await sleep(min(max(_PAUSE, _REST * (time.perf_counter() - begun)), _LONGEST_REST))
        begun = time.perf_counter()
    return erased
