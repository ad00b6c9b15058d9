"""What doors share that are asked by webhook: each request carries the dialogue's state, and a retry changes nothing.

The state travels in the address that the switch is told to ask next, sealed and bound to its call: nobody can read the
passcode in it, or give himself new tries. So any daemon can go on where another was asked first.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import Final, Generic, TypeVar

import msgspec

from daemon.doors.dialogue import State
from loader.errors import BlockError
from loader.keyring import Keyring

_REMEMBERED: Final = 60.0
"""Seconds in which a retry gets the answer of the first try: Twilio gives up after 15, jambonz after 10."""
_MOST: Final = 20_000
"""Answers that are remembered; the oldest are forgotten first."""

S = TypeVar("S")
T = TypeVar("T")


class Sealed(Generic[S]):
    """States of calls, of one kind, as text that can stand in a URL."""

    def __init__(self, door: str, keyring: Callable[[], Keyring], kind: type[S]) -> None:
        self._door = door
        self._keyring = keyring
        self._kind = kind

    def seal(self, call_id: str, state: S) -> str:
        """The state of this call, in letters, digits, `-` and `_`."""
        keyring = self._keyring()
        sealed = keyring.seal_secret(self._purpose(call_id), msgspec.json.encode(state), key_id=keyring.current)
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode("ascii")

    def open(self, call_id: str, text: str) -> S | None:
        """The state that was sealed for this call; None if it was not sealed here, or for another call."""
        keyring = self._keyring()
        try:
            sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        for key_id in keyring.key_ids:
            try:
                return msgspec.json.decode(
                    keyring.open_secret(self._purpose(call_id), sealed, key_id=key_id), type=self._kind
                )
            except (BlockError, ValueError):
                continue
        return None

    def _purpose(self, call_id: str) -> str:
        return f"call|{self._door}|{call_id}"


class SealedStates(Sealed[State]):
    """States of dialogues, for doors that keep nothing else of a call."""

    def __init__(self, door: str, keyring: Callable[[], Keyring]) -> None:
        super().__init__(door, keyring, State)


class Recent(Generic[T]):
    """The last answers by what was asked, for a minute: who asks again is answered the same, and nothing counts twice."""

    def __init__(
        self, *, seconds: float = _REMEMBERED, most: int = _MOST, clock: Callable[[], float] = monotonic
    ) -> None:
        self._seconds, self._most, self._clock = seconds, most, clock
        self._answers: OrderedDict[bytes, tuple[float, T]] = OrderedDict()
        self._secret = os.urandom(32)

    def once(self, asked: tuple[str, ...], answer: Callable[[], T]) -> T:
        """The answer that this question was given, or the one that it is given now. PINs are not kept, only a digest."""
        now = self._clock()
        while self._answers and next(iter(self._answers.values()))[0] <= now:
            self._answers.popitem(last=False)
        key = hashlib.blake2b(msgspec.json.encode(asked), key=self._secret, digest_size=16).digest()
        remembered = self._answers.get(key)
        if remembered is not None:
            return remembered[1]
        given = answer()
        self._answers[key] = (now + self._seconds, given)
        if len(self._answers) > self._most:
            self._answers.popitem(last=False)
        return given
