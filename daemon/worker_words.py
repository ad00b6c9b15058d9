"""What the main process and its workers tell each other."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from loader.model import Switch
from loader.settings import Settings


class _Word(msgspec.Struct, frozen=True, array_like=True, tag=True):
    pass


# To a worker.


class Begin(_Word, frozen=True):
    """The first word: how it is to work. The files of the throttle's counters, of shares and of rates come with it."""

    settings: Settings
    throttle_memory: int
    throttle_key: bytes
    left: list[str]
    """Journals of workers that ended and left events there: the calls in them are known."""


class Listen(_Word, frozen=True):
    """Answer who comes to the sockets that come with it."""


class Shared(_Word, frozen=True):
    """A change of the index, and the files of its memory. It is in force once its number is told back."""

    number: int
    message: bytes


class Switches(_Word, frozen=True):
    """The switches whose tokens are in force, and where each keeps its rate; likewise."""

    number: int
    switches: list[Switch]
    rates: dict[str, int]


class ReadAgain(_Word, frozen=True):
    """Settings were read again: these are in force now. Key file and certificates may have changed too."""

    settings: Settings


class Drain(_Word, frozen=True):
    """Answer who has asked, and end."""


class Known(_Word, frozen=True):
    """Whether the call that was asked for is known; None if that cannot be told now."""

    question: int
    known: bool | None


class IsKnown(_Word, frozen=True):
    """Is somebody admitted on this call? Also said by a worker, of its siblings and of the database."""

    question: int
    source: str
    call_id: str


class AreYouThere(_Word, frozen=True):
    """Asked now and then; `Here` answers."""


# From a worker.


class Hello(_Word, frozen=True):
    """It has begun, and keeps what it is told of calls in this journal."""

    pid: int
    journal: str


class InForce(_Word, frozen=True):
    """What was told under this number is in force."""

    number: int


class Here(_Word, frozen=True):
    """It is well; or why its events cannot be written."""

    problem: str | None


class News(_Word, frozen=True):
    """There is something in its journal."""


ToWorker: TypeAlias = Begin | Listen | Shared | Switches | ReadAgain | Drain | Known | IsKnown | AreYouThere
FromWorker: TypeAlias = Hello | InForce | Here | News | Known | IsKnown
