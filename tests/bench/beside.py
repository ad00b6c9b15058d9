"""Answers over HTTP beside other people's servers, each asked the same questions in turn, round by round.

A ratio is that of one round, in which all of them were asked one after the other; shown is the median of the rounds'
ratios, with the lowest and the highest. All answers have the same size.
"""

from __future__ import annotations

import json
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final, Literal, NamedTuple

from loader.listfile import export_csv
from loader.model import Entry
from tests.bench import others
from tests.bench.bare import ANSWER
from tests.bench.data import people
from tests.bench.figures import Figure, of_rounds
from tests.bench.load import Load, question, saturated
from tests.bench.pace import paced
from tests.bench.workplace import Workplace, bare_server, processor_time

_QUESTIONS: Final = 1000
_RATE: Final = 500.0

_OURS: Final = "Rollcall"
_OURS_TWICE: Final = "Rollcall, two processes"
_CONSTANT: Final = "aiohttp, a constant"
_PLAIN: Final = "aiohttp, JSON and a dict"
_FLOOR: Final = "uvloop, a constant to anything"
_NGINX: Final = "nginx, a constant"
_POSTGRES: Final = "aiohttp and PostgreSQL"
_REDIS: Final = "aiohttp and Redis"


class _Server:
    """What is asked at a port, and the processes that do the work, each with all that it has started."""

    def __init__(self, port: int, *pids: int) -> None:
        self.port, self._pids = port, pids

    def processor_time(self) -> float:
        """Seconds that it has had so far."""
        return sum(map(processor_time, self._pids))


class _Goal(NamedTuple):
    """What a figure of ours is to be, as a multiple of the same figure of another server."""

    field: str
    other: str
    goal: float | None
    sense: Literal["at least", "at most"]


def run(*, rounds: int = 5, seconds: float = 2.0, few: int = 8_000, many: int = 1_000_000) -> list[Figure]:
    """Full speed over 32 connections and over one, and a steady 500 a second; then full speed with a long list."""
    figures: list[Figure] = []
    with ExitStack() as stack:
        servers, questions = _servers(stack, few, constants=True)
        for connections, goals in ((32, _AT_32), (1, _AT_1)):
            load = partial(saturated, questions=questions, connections=connections)
            at = f"{connections} connection{'s' if connections > 1 else ''}"
            figures += _told(f"{at}, {few:,} PINs", _in_turn(servers, load, rounds, seconds), _FULL_SPEED, goals)
        steady = partial(paced, questions=questions, rate=_RATE)
        figures += _told(f"{_RATE:g} a second", _in_turn(servers, steady, rounds, 2 * seconds), _LATENCY, _AT_A_RATE)
    with ExitStack() as stack:
        servers, questions = _servers(stack, many, constants=False)
        load = partial(saturated, questions=questions, connections=32)
        figures += _told(
            f"32 connections, {many:,} PINs", _in_turn(servers, load, rounds, seconds), _FULL_SPEED, _AT_32
        )
    return figures


_AT_32: Final = (
    _Goal("per_second", _CONSTANT, 4, "at least"),
    _Goal("per_second", _PLAIN, 4, "at least"),
    _Goal("per_second", _NGINX, 0.7, "at least"),
    _Goal("processor", _CONSTANT, None, "at most"),
    _Goal("processor", _NGINX, None, "at most"),
    _Goal("per_second", _POSTGRES, 10, "at least"),
    _Goal("per_second", _REDIS, 8, "at least"),
)
_AT_1: Final = (_Goal("p50", _NGINX, 1.3, "at most"),)
_AT_A_RATE: Final = tuple(
    _Goal(field, plain, goal, "at most")
    for plain in (_CONSTANT, _PLAIN)
    for field, goal in (("p50", 0.6), ("p99", 1.0), ("p999", 1.0))
)


def _servers(stack: ExitStack, count: int, *, constants: bool) -> tuple[dict[str, _Server], list[bytes]]:
    """The servers with a list of so many people, and what they are to be asked."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    workplace = Workplace(folder)
    listed = list(people(count))
    file = folder / "list.csv"
    file.write_bytes(export_csv(listed))
    workplace.rollcall("import", str(file), "--organizer", "ann")
    daemon = stack.enter_context(workplace.daemon())
    servers = {_OURS: _Server(daemon.port, daemon.pid)}

    def start(name: str, module: str, *arguments: str, behind: int | None = None) -> None:
        started = stack.enter_context(bare_server(module, *arguments))
        servers[name] = _Server(started.port, *(pid for pid in (started.pid, behind) if pid is not None))

    if constants:
        twice = stack.enter_context(workplace.daemon(ROLLCALL_DAEMON__WORKERS="2"))
        servers[_OURS_TWICE] = _Server(twice.port, twice.pid)
        start(_FLOOR, "tests.bench.floor")
        start(_CONSTANT, "tests.bench.bare")
        start(_PLAIN, "tests.bench.team", "dict", str(file))
        with _left_out_without_it(_NGINX):
            nginx = stack.enter_context(others.nginx(ANSWER))
            servers[_NGINX] = _Server(int(nginx.where), nginx.pid)
    for name, kind, opened in ((_POSTGRES, "postgres", others.postgres), (_REDIS, "redis", others.redis)):
        with _left_out_without_it(name):
            behind = stack.enter_context(opened(listed, workplace.passcode))
            start(name, "tests.bench.team", kind, behind.where, behind=behind.pid)
    questions = [
        question(workplace.token, workplace.passcode, entry.pin, call_id=f"1732456800.{at}", caller=f"+1555{at:07}")
        for at, entry in enumerate(listed[:_QUESTIONS])
    ]
    _look_at(servers, workplace, listed[0])
    return servers, questions


@contextmanager
def _left_out_without_it(name: str) -> Iterator[None]:
    try:
        yield
    except others.NotInstalled as missing:
        sys.stderr.write(f"bench: left out: {name}: {missing}\n")


def _look_at(servers: Mapping[str, _Server], workplace: Workplace, entry: Entry) -> None:
    """Look whether all of them accept a PIN, with answers of about one size. Raises RuntimeError."""
    body = json.dumps({"passcode": workplace.passcode, "pin": entry.pin}).encode()
    headers = {"Authorization": f"Bearer {workplace.token}", "Content-Type": "application/json"}
    sizes = {}
    for name, server in servers.items():
        asked = urllib.request.Request(f"http://127.0.0.1:{server.port}/v1/verify", body, headers)
        with urllib.request.urlopen(asked, timeout=10) as told:
            answer = told.read()
        if json.loads(answer)["result"] != "accepted":
            raise RuntimeError(f"{name} does not accept a PIN that stands in the list")
        sizes[name] = len(answer)
    if max(sizes.values()) > 1.1 * min(sizes.values()):
        raise RuntimeError(f"the answers are not of one size: {sizes}")


def _in_turn(
    servers: Mapping[str, _Server], load: Callable[..., Load], rounds: int, seconds: float
) -> dict[str, list[dict[str, float]]]:
    """What came of each server, round by round."""
    loads: dict[str, list[dict[str, float]]] = {name: [] for name in servers}
    for _ in range(rounds):
        for name, server in servers.items():
            before = server.processor_time()
            done = load(server.port, seconds=seconds)
            processor = (server.processor_time() - before) / (done.per_second * seconds)
            loads[name].append({**done._asdict(), "processor": processor})
    return loads


def _told(
    at: str, loads: Mapping[str, Sequence[Mapping[str, float]]], fields: Sequence[str], goals: Sequence[_Goal]
) -> Iterator[Figure]:
    for field in fields:
        what, unit, factor = _FIELDS[field]
        for name, rounds in loads.items():
            yield of_rounds(f"{at}: {what}, {name}", [factor * one[field] for one in rounds], unit)
    for field, other, goal, sense in goals:
        for ours in (_OURS, _OURS_TWICE):
            if ours in loads and other in loads:
                ratios = [mine[field] / its[field] for mine, its in zip(loads[ours], loads[other], strict=True)]
                name = f"{at}: {_FIELDS[field][0]}, {ours} by {other}"
                yield of_rounds(name, ratios, "x", goal=goal if ours == _OURS else None, sense=sense)


_FIELDS: Final = {
    "per_second": ("answers a second", "/s", 1.0),
    "p50": ("p50", "ms", 1e3),
    "p99": ("p99", "ms", 1e3),
    "p999": ("p99.9", "ms", 1e3),
    "processor": ("processor time an answer", "µs", 1e6),
}
_FULL_SPEED: Final = ("per_second", "processor", "p50", "p99")
_LATENCY: Final = ("p50", "p99", "p999")
