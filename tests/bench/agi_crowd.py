"""Many callers whom Asterisk asks about at the same time, each on a connection of its own, from one process."""

from __future__ import annotations

import select
import socket
from collections.abc import Sequence
from itertools import cycle
from time import perf_counter
from typing import Final

ENVIRONMENT: Final = (
    b"agi_network: yes\nagi_network_script: verify\nagi_request: agi://127.0.0.1/verify\nagi_channel: SIP/a-00000001\n"
    b"agi_language: en\nagi_type: PJSIP\nagi_uniqueid: 1732456800.17\nagi_version: 22.10.1\nagi_callerid: +15550100\n"
    b"agi_calleridname: Mike Doe\nagi_callingpres: 0\nagi_callingani2: 0\nagi_callington: 0\nagi_callingtns: 0\n"
    b"agi_dnid: 100\nagi_rdnis: unknown\nagi_context: incoming\nagi_extension: 100\nagi_priority: 5\nagi_enhanced: 0.0\n"
    b"agi_accountcode: \nagi_threadid: 139823172847360\nagi_arg_1: var:PASSCODE\nagi_arg_2: var:PIN\n\n"
)
"""What is sent first for `verify`, with passcode and PIN in variables."""
DONE: Final = b"200 result=1\n"


def values(fetch: bytes, passcode: bytes, pin: bytes) -> bytes:
    """The reply to the command that asks for the variables."""
    return b"200 result=1 (%b)\n" % fetch[19:-2].replace(b"${PASSCODE}", passcode).replace(b"${PIN}", pin)


def ask(port: int, passcode: str, pins: Sequence[str], seconds: float, at_once: int) -> list[float]:
    """Keep so many under way for so long; the seconds that each took. Raises RuntimeError unless all are accepted."""
    poller = select.epoll()
    callers: dict[int, _Caller] = {}
    following = cycle(pin.encode() for pin in pins)
    end = perf_counter() + seconds
    times: list[float] = []

    def begin() -> None:
        caller = _Caller(port, passcode.encode(), next(following))
        callers[caller.number] = caller
        poller.register(caller.number, select.EPOLLIN)

    for _ in range(at_once):
        begin()
    while callers:
        for number, _ in poller.poll(10.0):
            caller = callers[number]
            if caller.hear():
                del callers[number]
                now = perf_counter()
                times.append(now - caller.begun)
                if now < end:
                    begin()
    poller.close()
    return times


class _Caller:
    """One connection, from its beginning to its end."""

    def __init__(self, port: int, passcode: bytes, pin: bytes) -> None:
        self.begun = perf_counter()
        self._connection = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.number = self._connection.fileno()
        self._passcode, self._pin = passcode, pin
        self._heard = 0
        self._connection.send(ENVIRONMENT)

    def hear(self) -> bool:
        """Answer what came; whether that was the end."""
        told = self._connection.recv(4096)
        self._heard += 1
        if self._heard == 1:
            self._connection.send(values(told, self._passcode, self._pin))
        elif self._heard == 2 and told.endswith(b',accepted"\n'):
            self._connection.send(DONE)
        elif self._heard == 3 and not told:
            self._connection.close()
            return True
        else:
            raise RuntimeError("not accepted over FastAGI")
        return False
