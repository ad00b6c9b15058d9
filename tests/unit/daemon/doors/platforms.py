"""Platforms that speak HTTP with a token: what their doors stand in, and what they find of them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from daemon.doors.surroundings import Surroundings
from daemon.live import Live
from daemon.metrics import Metrics
from daemon.throttle import NO_THROTTLE, Throttle
from loader.keyring import Keyring
from tests.unit.daemon.doors.conftest import TOKEN, Answer

PASSCODE, PIN, OPEN = "7784321", "004127", "7784322"
CALLER = "+15550100"
BASIC = f"Basic {base64.b64encode(f'switch:{TOKEN}'.encode()).decode()}"

Serving = Callable[[Surroundings], AbstractAsyncContextManager[int]]


class Door:
    """An open door, and what it has counted."""

    def __init__(self, name: str, port: int, surroundings: Surroundings) -> None:
        self.name, self.port, self.surroundings = name, port, surroundings

    async def ask(self, request: bytes) -> Answer:
        """The answer to one request, on a connection of its own."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            return await read_answer(reader)
        finally:
            writer.close()

    def verifications(self, result: str) -> float:
        """How many there were with this result."""
        return self._metric("rollcall_verifications_total", result=result)

    def refused(self, status: int) -> float:
        return self._metric("rollcall_http_requests_refused_total", status=str(status))

    def events(self) -> tuple[float, float]:
        """How many have joined, and how many have left."""
        joined, left = (self._metric("rollcall_call_events_total", event=event) for event in ("joined", "left"))
        return joined, left

    def _metric(self, name: str, **labels: str) -> float:
        value = self.surroundings.metrics.registry.get_sample_value(name, {"door": self.name, **labels})
        return value or 0.0


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """The next answer on a connection."""
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode().rstrip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
    return Answer(int(first.split()[1]), headers, body, head + body)


def request(method: str, target: str, body: bytes = b"", *, authorization: str = BASIC) -> bytes:
    """A request as curl sends it."""
    lines = [
        f"{method} {target} HTTP/1.1",
        "Host: rollcall",
        f"Authorization: {authorization}",
        "Accept: */*",
        f"Content-Length: {len(body)}",
        "Content-Type: application/x-www-form-urlencoded",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


@asynccontextmanager
async def opened(
    name: str, serving: Serving, live: Live, folder: Path, *, throttle: Throttle = NO_THROTTLE
) -> AsyncIterator[Door]:
    """A door on a port that the system has chosen, with a key file in this folder."""
    file = folder / "rollcall.key"
    keyring = Keyring.load(file) if file.exists() else Keyring.create(file)
    surroundings = Surroundings(live, Metrics("0"), lambda: keyring, lambda: 5.0, throttle)
    async with serving(surroundings) as port:
        yield Door(name, port, surroundings)
