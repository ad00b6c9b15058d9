"""Datagrams (UDP) that are answered where they come in, one after the other."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any, Final, TypeAlias

from daemon.doors.surroundings import Surroundings
from daemon.roll import WhenKept

MAX_DATAGRAM: Final = 4097
"""Bytes of a datagram that are read: one more than a packet of RADIUS may have, so that too long ones are seen."""
_RECEIVE_BUFFER: Final = 4 * 1024 * 1024
"""Bytes of requests that may wait in the kernel, if it allows as much (`net.core.rmem_max`)."""
_AT_A_TIME: Final = 64
"""Datagrams that are read in one turn of the event loop, so that the other doors have their turn too."""

Address: TypeAlias = tuple[Any, ...]
"""Where a datagram came from, as the socket tells it: host and port first."""

Answer: TypeAlias = Callable[[bytes, Address], bytes | None]
"""What answers a datagram, or does not. Raises nothing."""


@asynccontextmanager
async def answering(
    answer: Answer, setting: str, host: str, port: int, surroundings: Surroundings
) -> AsyncGenerator[int]:
    """Answer what comes; at the end what has come by then, for so many seconds at most. The port.

    `setting` is how the port is called in the settings. Raises PortError.
    """
    loop = asyncio.get_running_loop()
    sockets = await surroundings.ports.sockets(setting, host, port, socket.SOCK_DGRAM)
    with ExitStack() as stack:
        when_kept = surroundings.rolls.when_kept
        for bound in sockets:
            stack.enter_context(bound)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            loop.add_reader(bound, answer_some, bound, answer, when_kept)
        try:
            yield sockets[0].getsockname()[1]
        finally:
            for bound in sockets:
                loop.remove_reader(bound)
            until = loop.time() + surroundings.drain_timeout()
            while sum(answer_some(one, answer, when_kept) for one in sockets) and loop.time() < until:  # noqa: ASYNC110 - none tells of datagrams
                await asyncio.sleep(0)
            await surroundings.rolls.kept()


def answer_some(bound: socket.socket, answer: Answer, when_kept: WhenKept) -> bool:
    """Answer what has come, up to so many datagrams at a time, once all of it is kept; whether there may be more."""
    replies = []
    receive = bound.recvfrom
    try:
        for _ in range(_AT_A_TIME):
            datagram, address = receive(MAX_DATAGRAM)
            reply = answer(datagram, address)
            if reply is not None:
                replies.append((reply, address))
    except OSError:
        is_more = False
    else:
        is_more = True
    if replies:
        when_kept(partial(_send, bound, replies))
    return is_more


def _send(bound: socket.socket, replies: Iterable[tuple[bytes, Address]]) -> None:
    for reply, address in replies:
        # What the network does not take is as good as lost on the way: whoever asked asks again.
        with suppress(OSError):
            bound.sendto(reply, address)
