"""What the FastAGI door is measured beside: asyncio on uvloop, constants of the same size, and nothing else."""

from __future__ import annotations

import asyncio
import sys
from typing import Final, cast

import uvloop

# As long as what the door sends for the same question.
COMMANDS: Final = (
    b'GET FULL VARIABLE "9f2c41d07a55e1b3${PASSCODE}9f2c41d07a55e1b3${PIN}9f2c41d07a55e1b3"\n',
    (
        b"SET VARIABLE ARRAY(ROLLCALL_REASON,ROLLCALL_FIRST_NAME,ROLLCALL_LAST_NAME,ROLLCALL_COMPANY,"
        b"ROLLCALL_CONFERENCE_ID,ROLLCALL_LEVEL,ROLLCALL_RETRY_AFTER,ROLLCALL_ATTEMPTS_LEFT,ROLLCALL_RESULT)"
        b' ",Mike,Doe-17,Example Works GmbH,C-1,organizer,,,accepted"\n'
    ),
)


class BareDoor(asyncio.Protocol):
    """Sends one constant after the environment, the next after each line, and closes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._received = b""
        self._sent = 0

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._received.endswith(b"\n" if self._sent else b"\n\n"):
            return
        self._received = b""
        if self._sent == len(COMMANDS):
            self._transport.close()
            return
        self._transport.write(COMMANDS[self._sent])
        self._sent += 1


async def serve(port: int) -> None:
    """Serve until SIGTERM."""
    server = await asyncio.get_running_loop().create_server(BareDoor, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
