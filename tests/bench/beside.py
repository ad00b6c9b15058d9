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
from tests.bench.workplace import Workplace, bare_server

_QUESTIONS: Final = 1000
_RATE: Final = 500.0

_OURS: Final = "Rollcall"
_CONSTANT: Final = "aiohttp, a constant"
_PLAIN: Final = "aiohttp, JSON and a dict"
_NGINX: Final = "nginx, a constant"
_POSTGRES: Final = "aiohttp and PostgreSQL"
_REDIS: Final = "aiohttp and Redis"


class _Goal(NamedTuple):
    """What a figure of ours is to be, as a multiple of the same figure of another server."""

    field: str
    other: str
    goal: float
    sense: Literal["at least", "at most"]


def run(*, rounds: int = 5, seconds: float = 2.0, few: int = 8_000, many: int = 1_000_000) -> list[Figure]:
    """Full speed over 32 connections and over one, and a steady 500 a second; then full speed with a long list."""
    figures: list[Figure] = []
    with ExitStack() as stack:
        servers, questions = _servers(stack, few, constants=True)
        for connections, goals in ((32, _AT_32), (1, _AT_1)):
            load = partial(saturated, questions=questions, seconds=seconds, connections=connections)
            at = f"{connections} connection{'s' if connections > 1 else ''}"
            figures += _told(f"{at}, {few:,} PINs", _in_turn(servers, load, rounds), _FULL_SPEED, goals)
        steady = partial(paced, questions=questions, rate=_RATE, seconds=2 * seconds)
        figures += _told(f"{_RATE:g} a second", _in_turn(servers, steady, rounds), _LATENCY, _AT_A_RATE)
    with ExitStack() as stack:
        servers, questions = _servers(stack, many, constants=False)
        load = partial(saturated, questions=questions, seconds=seconds, connections=32)
        figures += _told(f"32 connections, {many:,} PINs", _in_turn(servers, load, rounds), _FULL_SPEED, _AT_32)
    return figures


_AT_32: Final = (
    _Goal("per_second", _CONSTANT, 4, "at least"),
    _Goal("per_second", _PLAIN, 4, "at least"),
    _Goal("per_second", _NGINX, 0.7, "at least"),
    _Goal("per_second", _POSTGRES, 10, "at least"),
    _Goal("per_second", _REDIS, 8, "at least"),
)
_AT_1: Final = (_Goal("p50", _NGINX, 1.3, "at most"),)
_AT_A_RATE: Final = tuple(
    _Goal(field, plain, goal, "at most")
    for plain in (_CONSTANT, _PLAIN)
    for field, goal in (("p50", 0.6), ("p99", 1.0), ("p999", 1.0))
)


def _servers(stack: ExitStack, count: int, *, constants: bool) -> tuple[dict[str, int], list[bytes]]:
    """The ports of the servers with a list of so many people, and what they are to be asked."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    workplace = Workplace(folder)
    listed = list(people(count))
    file = folder / "list.csv"
    file.write_bytes(export_csv(listed))
    workplace.rollcall("import", str(file), "--organizer", "ann")
    ports = {_OURS: stack.enter_context(workplace.daemon()).port}
    if constants:
        ports[_CONSTANT] = stack.enter_context(bare_server("tests.bench.bare")).port
        ports[_PLAIN] = stack.enter_context(bare_server("tests.bench.team", "dict", str(file))).port
        with _left_out_without_it(_NGINX):
            ports[_NGINX] = stack.enter_context(others.nginx(ANSWER))
    for name, kind, opened in ((_POSTGRES, "postgres", others.postgres), (_REDIS, "redis", others.redis)):
        with _left_out_without_it(name):
            where = stack.enter_context(opened(listed, workplace.passcode))
            ports[name] = stack.enter_context(bare_server("tests.bench.team", kind, where)).port
    questions = [
        question(workplace.token, workplace.passcode, entry.pin, call_id=f"1732456800.{at}")
        for at, entry in enumerate(listed[:_QUESTIONS])
    ]
    _look_at(ports, workplace, listed[0])
    return ports, questions


@contextmanager
def _left_out_without_it(name: str) -> Iterator[None]:
    try:
        yield
    except others.NotInstalled as missing:
        sys.stderr.write(f"bench: left out: {name}: {missing}\n")


def _look_at(ports: Mapping[str, int], workplace: Workplace, entry: Entry) -> None:
    """Look whether all of them accept a PIN, with answers of about one size. Raises RuntimeError."""
    body = json.dumps({"passcode": workplace.passcode, "pin": entry.pin}).encode()
    headers = {"Authorization": f"Bearer {workplace.token}", "Content-Type": "application/json"}
    sizes = {}
    for name, port in ports.items():
        asked = urllib.request.Request(f"http://127.0.0.1:{port}/v1/verify", body, headers)
        with urllib.request.urlopen(asked, timeout=10) as told:
            answer = told.read()
        if json.loads(answer)["result"] != "accepted":
            raise RuntimeError(f"{name} does not accept a PIN that stands in the list")
        sizes[name] = len(answer)
    if max(sizes.values()) > 1.1 * min(sizes.values()):
        raise RuntimeError(f"the answers are not of one size: {sizes}")


def _in_turn(ports: Mapping[str, int], load: Callable[[int], Load], rounds: int) -> dict[str, list[Load]]:
    """What came of each server, round by round."""
    loads: dict[str, list[Load]] = {name: [] for name in ports}
    for _ in range(rounds):
        for name, port in ports.items():
            loads[name].append(load(port))
    return loads


def _told(
    at: str, loads: Mapping[str, Sequence[Load]], fields: Sequence[str], goals: Sequence[_Goal]
) -> Iterator[Figure]:
    for field in fields:
        what, unit, factor = _FIELDS[field]
        for name, those in loads.items():
            yield of_rounds(f"{at}: {what}, {name}", [factor * getattr(load, field) for load in those], unit)
    for field, other, goal, sense in goals:
        if other in loads:
            ratios = [
                getattr(mine, field) / getattr(its, field) for mine, its in zip(loads[_OURS], loads[other], strict=True)
            ]
            yield of_rounds(f"{at}: {_FIELDS[field][0]}, by that of {other}", ratios, "x", goal=goal, sense=sense)


_FIELDS: Final = {
    "per_second": ("answers a second", "/s", 1.0),
    "p50": ("p50", "ms", 1000.0),
    "p99": ("p99", "ms", 1000.0),
    "p999": ("p99.9", "ms", 1000.0),
}
_FULL_SPEED: Final = ("per_second", "p50", "p99")
_LATENCY: Final = ("p50", "p99", "p999")
