"""The roll as the daemon keeps it: in its journal before anything is answered, and from there in the database."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from daemon.journal import Journal
from loader.index import Decision, Question
from loader.model import Level
from loader.roll import Admitted, Event, Joined, Left, Locked, Refused

_REFUSED_EVERY: Final = 0.5
"""Seconds in which refused attempts are counted together, and locks of the same are told as one."""
_CALLERS_LOCKED: Final = 500
"""Callers whose locks are told in that time: those of an attack from a million numbers are not to stand in the way of
who is let in.
"""
_AT: Final = {level: at for at, level in enumerate(Level)}
"""Where in a conference's owners each level stands."""
_CALLS: Final = 200_000
"""Calls that are known without a look into the database, in all processes together; the oldest are forgotten first."""


class JournalledRoll:
    """Keeps what it is told in the journal, on its way to the database. `known` asks the database for a call.

    It is one of so many `processes` that do.
    """

    def __init__(
        self,
        journal: Journal,
        known: Callable[[str, str], Awaitable[bool]],
        clock: Callable[[], float] = time.time,
        *,
        processes: int = 1,
    ) -> None:
        self._journal = journal
        self._most_calls = _CALLS // processes
        self._known = known
        self._clock = clock
        self._calls: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._refused: dict[tuple[str, str], int] = {}
        self._locked: dict[str, Locked] = {}
        self._flush: asyncio.TimerHandle | None = None
        self.when_kept = journal.when_kept
        self.kept = journal.kept

    def admitted(self, door: str, source: str, question: Question, verification_id: str, decision: Decision) -> None:
        """A verification was accepted."""
        conference = decision.conference
        if conference is None:
            return
        owner = pin = ""
        if decision.level is not None:
            owner, pin = conference.owners[_AT[decision.level]].key, question.pin
        call_id = _storable(question.call_id or "") or None
        if call_id is not None:
            self._remember(source, call_id)
        self._journal.append(
            Admitted(
                self._clock(),
                verification_id,
                door,
                source,
                call_id,
                question.caller or None,
                conference.id,
                owner,
                pin,
                decision.participant,
            )
        )

    def refused(self, conference_id: str, reason: str) -> None:
        """Counted, and written soon: that an attempt was refused is worth nobody's waiting."""
        key = (conference_id, reason)
        self._refused[key] = self._refused.get(key, 0) + 1
        self._flush_soon()

    def locked(self, event: Locked) -> None:
        """Written soon, the last of each key: nobody waits for it. Of very many callers the first are told."""
        if event.kind == "caller" and event.key not in self._locked and len(self._locked) >= _CALLERS_LOCKED:
            return
        self._locked[event.key] = event
        self._flush_soon()

    def joined(self, source: str, call_id: str) -> None:
        """The caller has been put through."""
        self._journal.append(Joined(self._clock(), source, _storable(call_id)))

    def left(self, source: str, call_id: str) -> None:
        """The call is over."""
        self._journal.append(Left(self._clock(), source, _storable(call_id)))

    def remember(self, events: Iterable[Event]) -> None:
        """These events of before a restart are in the journal and not yet in the database: their calls are known."""
        for event in events:
            if isinstance(event, Admitted) and event.call_id is not None:
                self._remember(event.source, event.call_id)

    def remembers(self, source: str, call_id: str) -> bool:
        """Whether somebody was admitted on this call here, lately."""
        return (source, _storable(call_id)) in self._calls

    async def knows(self, source: str, call_id: str) -> bool:
        """Whether somebody was admitted on this call, lately or at all. Raises DatabaseUnavailable."""
        call_id = _storable(call_id)
        return (source, call_id) in self._calls or await self._known(source, call_id)

    def flush(self) -> None:
        """Put what was counted and locked into the journal."""
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        now = self._clock()
        for (conference_id, reason), count in self._refused.items():
            self._journal.append(Refused(now, conference_id, reason, count))
        self._refused.clear()
        for event in self._locked.values():
            self._journal.append(event)
        self._locked.clear()
        self._journal.when_kept(lambda: None)

    def _flush_soon(self) -> None:
        if self._flush is None:
            self._flush = asyncio.get_running_loop().call_later(_REFUSED_EVERY, self.flush)

    def _remember(self, source: str, call_id: str) -> None:
        self._calls[source, call_id] = None
        if len(self._calls) > self._most_calls:
            self._calls.popitem(last=False)


def _storable(call_id: str) -> str:
    """What a switch calls a call, as every database can hold it: PostgreSQL takes no NUL, and some end a text with it."""
    return call_id.replace("\0", "\ufffd")
