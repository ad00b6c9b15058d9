"""A client at a steady pace that adds as little of its own as can be: plain sockets, in a process of its own."""

from __future__ import annotations

import gc
import re
import select
import socket
import subprocess
import sys
from collections.abc import Sequence
from time import perf_counter
from typing import Final

import msgspec

from tests.bench.load import Load

_CONTENT_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_LARGEST: Final = 65_536


def paced(port: int, questions: Sequence[bytes], *, rate: float, seconds: float, connections: int = 8) -> Load:
    """Ask so many times a second for some seconds, however long the answers take; times are from when each was due.

    A question that this process sleeps for is due once it has woken up.
    """
    task = msgspec.json.encode((port, questions, rate, seconds, connections))
    done = subprocess.run([sys.executable, "-m", __name__], input=task, check=True, stdout=subprocess.PIPE)
    return msgspec.json.decode(done.stdout, type=Load)


def _pace(port: int, questions: Sequence[bytes], rate: float, seconds: float, connections: int) -> Load:
    free = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
    every = list(free)
    asked: dict[socket.socket, float] = {}
    received = dict.fromkeys(free, b"")
    times: list[float] = []
    count = int(rate * seconds)
    gc.disable()
    begun = perf_counter()
    number, slept_for = 0, -1
    while len(times) < count:
        due = begun + number / rate
        ahead = due - perf_counter() if number < count else None
        if ahead is not None and ahead <= 0 and free:
            one = free.pop()
            asked[one] = perf_counter() if number == slept_for else due
            one.sendall(questions[number % len(questions)])
            number += 1
            continue
        patience = None
        if free and ahead is not None:
            patience, slept_for = ahead, number
        for one in select.select(list(asked), [], [], patience)[0]:
            received[one] += one.recv(_LARGEST)
            if _is_whole(received[one]):
                times.append(perf_counter() - asked.pop(one))
                received[one] = b""
                free.append(one)
    took = perf_counter() - begun
    for one in every:
        one.close()
    times.sort()
    p50, p99, p999 = (times[int(len(times) * share)] for share in (0.5, 0.99, 0.999))
    return Load(len(times) / took, p50, p99, p999, times[-1])


def _is_whole(answer: bytes) -> bool:
    """Whether an answer has come to its end. Raises RuntimeError unless it is a good one."""
    head, parted, body = answer.partition(b"\r\n\r\n")
    if not parted:
        return False
    length = _CONTENT_LENGTH.search(head + b"\r\n")
    if length is None or not head.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(answer.decode())
    return len(body) >= int(length[1])


if __name__ == "__main__":
    _Task = tuple[int, list[bytes], float, float, int]
    sys.stdout.buffer.write(msgspec.json.encode(_pace(*msgspec.json.decode(sys.stdin.buffer.read(), type=_Task))))
