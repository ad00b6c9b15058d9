"""Where the time of a verification goes: each step of its way through the files, by itself, in this process."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from timeit import timeit
from typing import Final

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpRequestParser

from daemon.counters import Counters
from daemon.counting_throttle import CountingThrottle
from daemon.doors.authorization import Authorization
from daemon.doors.http_answer import as_json
from daemon.doors.http_question import from_json
from daemon.doors.http_reply import Renderer, Reply, head
from daemon.doors.known_heads import KnownHead, KnownHeads
from daemon.journal import Journal
from daemon.journalled_roll import JournalledRoll
from daemon.live import Live
from daemon.metrics import Metrics
from daemon.verify import ACCEPTED, Verification
from loader.compiled import Block, compile_list, pin_key
from loader.index import Index, decide
from loader.keyring import Keyring
from loader.model import Conference, Level, Owner, Passcode, Revision, Switch
from loader.sections import Throttle as Limits
from loader.tokens import token_hash
from tests.bench.data import people
from tests.bench.figures import Figure
from tests.bench.load import question as request_of

_ENTRIES: Final = 8_000
_TIMES: Final = 2_000
_TOGETHER: Final = 32
"""Events that are written to the journal with one write, as with 32 connections."""
_TOKEN: Final = "rc_of-the-bench"


class _Peer:
    address = "127.0.0.1"


def run(*, rounds: int = 15) -> list[Figure]:
    """The lowest of the rounds: what else the machine does only makes it longer."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_measured(Path(folder), rounds))


async def _measured(folder: Path, rounds: int) -> list[Figure]:
    entries = list(people(_ENTRIES))
    owner = Owner(Level.ORGANIZER, "ann")
    conference = Conference("C-1", "Bench", Passcode("7784321"), "ann", True, (owner,))
    block = Block(compile_list(entries), Revision(1))
    index = Index({conference.passcode: conference}, {owner: block})
    keyring = Keyring.create(folder / "key")
    live = Live()
    live.swap(index)
    live.swap_switches([Switch.new("bench", token_hash(_TOKEN), 0.0)])
    counters = Counters.opened(folder / "throttle", 1 << 23, keyring)
    throttle = CountingThrottle(counters, Limits(), locked=lambda _: None, refused=lambda _: None)
    journal = Journal(folder / "journal", lambda: keyring, synced=False)
    try:
        steps = _steps(live, throttle, journal, index, request_of(_TOKEN, conference.passcode, entries[17].pin))
        taken: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(rounds):
            for name, (step, parts) in steps.items():
                taken[name].append(timeit(step, number=_TIMES // parts) / (_TIMES // parts) / parts)
                # What was begun in the loop has its turn.
                await asyncio.sleep(0)
    finally:
        await journal.close()
        counters.close()
    return [
        Figure(name, 1e6 * min(times), "us", lowest=1e6 * min(times), highest=1e6 * median(times), rounds=rounds)
        for name, times in taken.items()
    ]


def _steps(
    live: Live, throttle: CountingThrottle, journal: Journal, index: Index, request: bytes
) -> Mapping[str, tuple[Callable[[], object], int]]:
    """What each step does, and how many verifications are done by doing it once."""
    body = request[request.index(b"\r\n\r\n") + 4 :]
    question = from_json(body)
    hashed = token_hash(_TOKEN)
    authorization = Authorization(live)
    heads = KnownHeads()
    heads.learn(request, KnownHead(lambda _body, _peer: Reply(b"", b""), lambda _problem: Reply(b"", b""), len(body)))
    attempt = throttle.attempt(question, "bench")
    attempt.accepted()
    decision = decide(index, question, attempt)
    called, key = index.called(question.passcode), pin_key(question.pin)
    if decision.participant is None or called is None or key is None:
        raise RuntimeError("the question was not accepted")
    ((_, block),) = called.lists
    at = block.find(key)
    if at is None:
        raise RuntimeError("the PIN is not in the list")
    verification = Verification("9f2c41d07a55e1b3-1f", decision)
    roll = JournalledRoll(journal, _unknown)
    tally = Metrics("0").tally("http")
    answer = Reply(head(200, "application/json"), as_json(verification))
    loop = asyncio.get_running_loop()
    parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16, auto_decompress=False)

    def throttled() -> None:
        one = throttle.attempt(question, "bench")
        one.caller_locked_for()
        one.conference_locked_for(called.conference)
        one.accepted()

    def admitted() -> None:
        roll.admitted("http", "bench", question, verification.id, decision)

    def kept() -> None:
        for _ in range(_TOGETHER):
            admitted()
        journal.when_kept(lambda: None)

    def parsed() -> None:
        parser.feed_data(request)
        parser.message_consumed()

    return {
        "beside: aiohttp's parser, for the same request": (parsed, 1),
        "the head is known by its bytes": (partial(heads.find, request), 1),
        "whose token it is": (partial(authorization.whose, hashed, _Peer()), 1),
        "JSON becomes a question": (partial(from_json, body), 1),
        "the throttle, before and after": (throttled, 1),
        "the conference and its lists": (partial(index.called, question.passcode), 1),
        "where the PIN stands, and whether it answers": (lambda: (block.find(key), block.is_active(at)), 1),
        "who it names": (partial(block.participant, at), 1),
        "counted and timed": (lambda: tally(ACCEPTED, perf_counter() - 1.0), 1),
        f"kept for the roll: made, sealed and written, {_TOGETHER} together": (kept, _TOGETHER),
        "the answer as JSON": (partial(as_json, verification), 1),
        "the answer as HTTP": (partial(Renderer().render, answer, (1, 1), keep_alive=True), 1),
    }


async def _unknown(_source: str, _call_id: str) -> bool:
    return False
