"""What the FastAGI door is measured beside: asyncio's streams on uvloop, constants of the same size, and nothing else."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import Final

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


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One constant after the environment, the next after its reply, and the end after that."""
    # Whoever only looks whether it listens sends nothing.
    with suppress(asyncio.IncompleteReadError):
        await reader.readuntil(b"\n\n")
        for command in COMMANDS:
            writer.write(command)
            await reader.readuntil(b"\n")
    writer.close()


async def serve(port: int) -> None:
    """Serve until SIGTERM."""
    server = await asyncio.start_server(answer, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
