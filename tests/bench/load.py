"""Clients that ask over HTTP and time the answers: one at a steady pace, one as fast as it is answered."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Final, NamedTuple, cast

import uvloop

_CONTENT_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class Load(NamedTuple):
    """What came of it: answers a second, and the seconds that each percentile of the answers took at most."""

    per_second: float
    p50: float
    p99: float
    p999: float
    worst: float


def question(token: str, passcode: str, pin: str, call_id: str = "1732456800.17", caller: str = "+15550100") -> bytes:
    """A whole request, as a switch sends it."""
    body = json.dumps({"passcode": passcode, "pin": pin, "call_id": call_id, "caller": caller})
    return (
        "POST /v1/verify HTTP/1.1\r\n"
        "Host: 127.0.0.1\r\n"
        f"Authorization: Bearer {token}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def steady(
    port: int,
    questions: Sequence[bytes],
    *,
    rate: float,
    seconds: float,
    enough: Callable[[], bool] = lambda: False,
    connections: int = 8,
) -> Load:
    """Ask so many times a second, for some seconds or until it is `enough`, however long the answers take.

    Times are from when each question was due.
    """
    return uvloop.run(_Steady(questions, rate, seconds, enough).run(port, connections))


def saturated(port: int, questions: Sequence[bytes], *, seconds: float, connections: int) -> Load:
    """Ask on each connection as soon as it is answered: with wrk, or without it from here, which is slower."""
    if shutil.which("wrk") is None:
        return uvloop.run(_Saturated(questions, seconds).run(port, connections))
    with tempfile.NamedTemporaryFile("w", suffix=".lua", encoding="utf-8") as script:
        listed = ",\n".join(f"[==[{one.decode()}]==]" for one in questions)
        script.write(_WRK.replace("QUESTIONS", listed))
        script.flush()
        command = ["wrk", f"-c{connections}", "-t1", f"-d{seconds:g}s", "-s", script.name, f"http://127.0.0.1:{port}"]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    *figures, failed = (float(figure) for figure in told.rpartition("FIGURES ")[2].split())
    if failed:
        raise RuntimeError(f"{failed:g} requests failed")
    return Load(*figures)


# Lua's long strings keep a carriage return only as part of what they take for a line end.
_WRK: Final = r"""
local questions = {
QUESTIONS
}
for at, question in ipairs(questions) do questions[at] = question:gsub("\r?\n", "\r\n") end
local at = 0
request = function()
    at = at % #questions + 1
    return questions[at]
end
done = function(summary, latency)
    local failed = summary.errors
    local seconds = 1e6
    print(string.format("FIGURES %f %f %f %f %f %d", summary.requests / (summary.duration / seconds),
        latency:percentile(50) / seconds, latency:percentile(99) / seconds, latency:percentile(99.9) / seconds,
        latency.max / seconds, failed.connect + failed.read + failed.write + failed.timeout + failed.status))
end
"""


class _Client(asyncio.Protocol):
    """One connection, with one question under way."""

    def __init__(self, asking: _Asking) -> None:
        self._asking = asking
        self._received = b""
        self._due = 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, question: bytes, due: float) -> None:
        self._due = due
        self._transport.write(question)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, parted, body = self._received.partition(b"\r\n\r\n")
        length = _CONTENT_LENGTH.search(head + b"\r\n")
        if not parted or length is None or len(body) < int(length[1]):
            return
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(head.decode())
        self._received = b""
        self._asking.answered(self, perf_counter() - self._due)

    def close(self) -> None:
        self._transport.close()


class _Asking(ABC):
    """Questions asked over several connections for some seconds."""

    def __init__(self, questions: Sequence[bytes], seconds: float) -> None:
        self._questions = questions
        self._asked = 0
        self._seconds = seconds
        self._times: list[float] = []

    async def run(self, port: int, connections: int) -> Load:
        loop = asyncio.get_running_loop()
        clients = [
            (await loop.create_connection(lambda: _Client(self), "127.0.0.1", port))[1] for _ in range(connections)
        ]
        begun = perf_counter()
        await self._ask(clients, begun)
        took = perf_counter() - begun
        for client in clients:
            client.close()
        times = sorted(self._times)
        p50, p99, p999 = (times[int(len(times) * share)] for share in (0.5, 0.99, 0.999))
        return Load(len(times) / took, p50, p99, p999, times[-1])

    def _next(self) -> bytes:
        self._asked += 1
        return self._questions[self._asked % len(self._questions)]

    @abstractmethod
    async def _ask(self, clients: Sequence[_Client], begun: float) -> None:
        """Ask all there is to ask."""

    @abstractmethod
    def answered(self, client: _Client, seconds: float) -> None:
        """`client` has its answer, after so many seconds."""


class _Steady(_Asking):
    def __init__(self, questions: Sequence[bytes], rate: float, seconds: float, enough: Callable[[], bool]) -> None:
        super().__init__(questions, seconds)
        self._rate = rate
        self._enough = enough
        self._free: deque[_Client] = deque()
        self._waiting: deque[float] = deque()

    async def _ask(self, clients: Sequence[_Client], begun: float) -> None:
        self._free.extend(clients)
        for number in range(int(self._rate * self._seconds)):
            if self._enough():
                break
            due = begun + number / self._rate
            if (ahead := due - perf_counter()) > 0:
                await asyncio.sleep(ahead)
            # The loop's clock wakes to the millisecond: a question is due when it can be asked.
            due = max(due, perf_counter()) if ahead > 0 else due
            if self._free:
                self._free.popleft().ask(self._next(), due)
            else:
                self._waiting.append(due)
        while len(self._free) < len(clients):
            await asyncio.sleep(0.001)

    def answered(self, client: _Client, seconds: float) -> None:
        self._times.append(seconds)
        if self._waiting:
            client.ask(self._next(), self._waiting.popleft())
        else:
            self._free.append(client)


class _Saturated(_Asking):
    async def _ask(self, clients: Sequence[_Client], begun: float) -> None:
        self._until = begun + self._seconds
        for client in clients:
            client.ask(self._next(), perf_counter())
        await asyncio.sleep(self._seconds)

    def answered(self, client: _Client, seconds: float) -> None:
        self._times.append(seconds)
        now = perf_counter()
        if now < self._until:
            client.ask(self._next(), now)
