"""What a team would write instead of Rollcall: aiohttp on uvloop, JSON in, one look, JSON out.

`python -m tests.bench.team PORT dict FILE`, `… PORT postgres FOLDER` or `… PORT redis SOCKET`: where the PINs stand is a
list file, PostgreSQL by asyncpg, or Redis by redis-py. Neither token, throttle, roll nor metrics: what such a thing begins with.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import uvloop
from aiohttp import web

FIELDS: Final = ("first_name", "last_name", "company", "phone", "email", "city", "state_country", "other")
PARTICIPANT: Final = f"SELECT {', '.join(FIELDS)} FROM participant WHERE passcode = $1 AND pin = $2"
_POOL: Final = 10
"""Connections to PostgreSQL, as many as asyncpg's pool has by default."""

Participant: TypeAlias = Mapping[str, str]
Find: TypeAlias = Callable[[str, str], Awaitable[Participant | None]]
"""Who has this PIN in the conference of this passcode."""
Source: TypeAlias = Callable[[str], AsyncGenerator[Find]]
"""Opens where the PINs stand, and closes it."""

_dumps: Final = partial(json.dumps, separators=(",", ":"))


async def in_dict(file: str) -> AsyncGenerator[Find]:
    """A dictionary of this process, from a list file."""
    with Path(file).open(encoding="utf-8-sig", newline="") as lines:
        listed = {pin: dict(zip(FIELDS, fields, strict=True)) for pin, *fields in list(csv.reader(lines))[1:]}

    async def find(_passcode: str, pin: str) -> Participant | None:
        return listed.get(pin)

    yield find


async def in_postgres(folder: str) -> AsyncGenerator[Find]:
    """The cluster whose socket is in this folder."""
    import asyncpg

    async with asyncpg.create_pool(host=folder, user="postgres", min_size=_POOL, max_size=_POOL) as pool:

        async def find(passcode: str, pin: str) -> Participant | None:
            row = await pool.fetchrow(PARTICIPANT, passcode, pin)
            return None if row is None else dict(row)

        yield find


async def in_redis(socket: str) -> AsyncGenerator[Find]:
    """The server behind this socket: a key for each PIN, a participant in JSON."""
    from redis.asyncio import Redis

    async with Redis(unix_socket_path=socket) as redis:

        async def find(passcode: str, pin: str) -> Participant | None:
            found = await redis.get(f"{passcode}:{pin}")
            return None if found is None else json.loads(found)

        yield find


SOURCES: Final[Mapping[str, Source]] = {"dict": in_dict, "postgres": in_postgres, "redis": in_redis}
_FIND: Final = web.AppKey[Find]("find")


async def verify(request: web.Request) -> web.Response:
    """Whether the PIN is valid, and whose it is: the same words as Rollcall's."""
    asked = await request.json()
    participant = await request.app[_FIND](asked["passcode"], asked["pin"])
    if participant is None:
        return web.json_response({"result": "rejected", "reason": "unknown_pin"}, dumps=_dumps)
    answer: dict[str, Any] = {
        "result": "accepted",
        "pin_entry": True,
        "verification_id": "9f2c41d07a55e1b3-1f",
        "participant": participant,
        "list": {"level": "organizer", "revision": 1},
        "conference": {"id": "C-1", "title": "Bench", "organizer": "ann"},
    }
    return web.json_response(answer, dumps=_dumps)


def main() -> None:
    """Serve on the port that the command line names, until SIGTERM."""
    port, source, where = sys.argv[1:]

    async def opened(app: web.Application) -> AsyncGenerator[None]:
        async for find in SOURCES[source](where):
            app[_FIND] = find
            yield

    app = web.Application()
    app.cleanup_ctx.append(opened)
    app.router.add_post("/v1/verify", verify)
    web.run_app(
        app,
        host="127.0.0.1",
        port=int(port),
        access_log=None,
        print=lambda _: None,
        loop=uvloop.new_event_loop(),
    )


if __name__ == "__main__":
    main()
