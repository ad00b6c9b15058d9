"""Joined and left over HTTP, and answers that wait until what they say is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from daemon.doors.http import HttpDoor
from daemon.doors.openapi import document
from daemon.live import Live
from daemon.metrics import Metrics
from daemon.throttle import NO_THROTTLE
from daemon.verify import Verifier
from loader.errors import DatabaseUnavailable
from loader.index import Decision, Question
from loader.roll import Locked
from tests.unit.daemon.doors.conftest import HeardServer, Served, get, listening, post

ASKED = {"passcode": "7784321", "pin": "004127", "call_id": "1.17"}
QUESTION = post(ASKED)


class SlowRoll:
    """Keeps what it is told once it is released; knows calls that were admitted, and those that the database knows."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []
        self.known: set[tuple[str, str]] = set()
        self.in_database: set[tuple[str, str]] = set()
        self.is_down = False
        self.is_slow = False
        self._waiting: list[Callable[[], None]] = []

    def admitted(self, door: str, source: str, question: Question, verification_id: str, decision: Decision) -> None:
        assert verification_id
        assert decision.accepted
        self.told.append(("admitted", door, source, question.call_id or ""))
        if question.call_id:
            self.known.add((source, question.call_id))

    def refused(self, conference_id: str, reason: str) -> None:
        self.told.append(("refused", conference_id, reason))

    def locked(self, event: Locked) -> None:
        self.told.append(("locked", event.key))

    def joined(self, source: str, call_id: str) -> None:
        self.told.append(("joined", source, call_id))

    def left(self, source: str, call_id: str) -> None:
        self.told.append(("left", source, call_id))

    async def knows(self, source: str, call_id: str) -> bool:
        await asyncio.sleep(0)
        if self.is_down:
            raise DatabaseUnavailable("gone")
        return (source, call_id) in self.known | self.in_database

    def when_kept(self, then: Callable[[], None]) -> None:
        if self.is_slow:
            self._waiting.append(then)
        else:
            then()

    async def kept(self) -> None:
        done = asyncio.get_running_loop().create_future()
        self.when_kept(lambda: done.set_result(None))
        await done

    @property
    def waits(self) -> int:
        return len(self._waiting)

    def release(self) -> None:
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then()


@pytest.fixture
def roll() -> SlowRoll:
    return SlowRoll()


@asynccontextmanager
async def serving(live: Live, roll: SlowRoll, *, at_once: bool = True) -> AsyncIterator[Served]:
    metrics = Metrics("0")
    verifier = Verifier(live, metrics.tally("http"), NO_THROTTLE, roll, "http")
    door = HttpDoor(live, verifier, document("0"), roll, metrics.call_events("http"))
    server = HeardServer(
        door.gets,
        metrics.refusals("http"),
        posts=door.posts,
        late_posts=door.late_posts,
        when_kept=roll.when_kept,
        at_once=at_once,
        drain_timeout=lambda: 5.0,
    )
    async with listening(server, metrics, is_described=True) as served:
        yield served


@pytest.fixture(params=[True, False], ids=["at once", "by a task"])
async def served(live: Live, roll: SlowRoll, request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    async with serving(live, roll, at_once=request.param) as door:
        yield door


def told(call_id: str, event: str = "joined", **how: str | None) -> bytes:
    return post(b"", f"/v1/calls/{call_id}/{event}", media_type=None, **how)  # type: ignore[arg-type]


async def test_what_was_verified_is_told_with_the_switch_that_asked(served: Served, roll: SlowRoll) -> None:
    await served.ask(QUESTION)
    await served.ask(post({**ASKED, "pin": "4321"}))
    await served.ask(post({**ASKED, "passcode": "1"}))
    await served.ask(post({"passcode": "7784322", "pin": ""}))
    assert roll.told == [
        ("admitted", "http", "pbx-1", "1.17"),
        ("refused", "C-1001", "unknown_pin"),
        ("admitted", "http", "pbx-1", ""),
    ]


async def test_joined_and_left_are_answered_without_content(served: Served, roll: SlowRoll) -> None:
    client = await served.client()
    await client.ask(QUESTION)
    roll.told.clear()
    for event in "joined", "left", "left":
        await client.send(told("1.17", event))
        answer = await client.answer(has_body=False)
        assert answer.status == 204
        assert "content-length" not in answer.headers
        assert "content-type" not in answer.headers
    assert roll.told == [("joined", "pbx-1", "1.17"), ("left", "pbx-1", "1.17"), ("left", "pbx-1", "1.17")]
    sample = served.metrics.registry.get_sample_value
    assert sample("rollcall_call_events_total", {"door": "http", "event": "left"}) == 2
    # The connection is as good as before.
    assert (await client.ask(QUESTION)).json["result"] == "accepted"


async def test_an_unknown_call_is_404(served: Served, roll: SlowRoll) -> None:
    for call_id in "9.99", "x" * 200, "%ff":
        answer = await served.ask(told(call_id))
        assert (answer.status, answer.json["detail"]) == (404, "No caller was accepted on a call with this ID.")
    assert roll.told == []


async def test_a_call_of_before_is_looked_up(served: Served, roll: SlowRoll) -> None:
    roll.in_database.add(("pbx-1", "0.1"))
    client = await served.client()
    await client.send(told("0.1"))
    assert (await client.answer(has_body=False)).status == 204
    assert roll.told == [("joined", "pbx-1", "0.1")]


async def test_while_it_cannot_be_looked_up_the_switch_is_to_say_it_again(served: Served, roll: SlowRoll) -> None:
    roll.is_down = True
    answer = await served.ask(told("0.1"))
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")


async def test_an_id_may_hold_anything_that_an_address_can(served: Served, roll: SlowRoll) -> None:
    await served.ask(post({**ASKED, "call_id": "SIP/trunk 1@é"}))
    client = await served.client()
    await client.send(told("SIP%2Ftrunk%201%40%C3%A9", "joined?x=1"))
    assert (await client.answer(has_body=False)).status == 204
    assert roll.told[-1] == ("joined", "pbx-1", "SIP/trunk 1@é")


async def test_a_token_is_needed_and_the_method_is_post(served: Served) -> None:
    assert (await served.ask(told("1.17", token="rc_wrong"))).status == 401
    assert (await served.ask(get("/v1/calls/1.17/joined"))).status == 405
    assert (await served.ask(get("/v1/calls/1.17"))).status == 404
    assert (await served.ask(get("/v1/calls//joined"))).status == 404


async def test_no_answer_leaves_before_what_it_says_is_kept(served: Served, roll: SlowRoll) -> None:
    roll.is_slow = True
    client = await served.client()
    await client.send(QUESTION)
    await served.until(lambda: roll.waits)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await client.reader.read(1)
    roll.release()
    assert (await client.answer()).json["result"] == "accepted"


async def test_answers_leave_in_the_order_of_their_questions(served: Served, roll: SlowRoll) -> None:
    roll.is_slow = True
    client = await served.client()
    await client.send_alone(QUESTION)
    await served.until(lambda: roll.waits)
    await client.send_alone(get("/v1/conferences/7784322"))
    await client.send_alone(post({**ASKED, "pin": "4321"}))
    roll.is_slow = False
    roll.release()
    assert (await client.answer()).json["result"] == "accepted"
    assert (await client.answer()).json["id"] == "C-1002"
    assert (await client.answer()).json["result"] == "rejected"


async def test_a_client_that_has_no_more_to_ask_gets_what_waits(served: Served, roll: SlowRoll) -> None:
    roll.is_slow = True
    client = await served.client()
    await client.send_alone(QUESTION)
    await served.until(lambda: roll.waits)
    client.writer.write_eof()
    await asyncio.sleep(0.05)
    roll.is_slow = False
    roll.release()
    assert (await client.answer()).json["result"] == "accepted"
    assert await client.is_closed()


async def test_the_end_waits_for_what_is_to_be_kept(served: Served, roll: SlowRoll) -> None:
    roll.is_slow = True
    client = await served.client()
    await client.send_alone(QUESTION)
    await served.until(lambda: roll.waits)
    stopping = served.stopping()
    await asyncio.sleep(0.05)
    assert not stopping.done()
    roll.is_slow = False
    roll.release()
    assert (await client.answer()).json["result"] == "accepted"
    assert await client.is_closed()
    async with asyncio.timeout(5):
        await stopping


async def test_a_client_that_has_gone_meanwhile_disturbs_nobody(served: Served, roll: SlowRoll) -> None:
    roll.is_slow = True
    client = await served.client()
    await client.send_alone(QUESTION)
    await served.until(lambda: roll.waits)
    client.close()
    await asyncio.sleep(0.05)
    roll.is_slow = False
    roll.release()
    await served.until(lambda: not served.server.connections)
    assert (await served.ask(QUESTION)).json["result"] == "accepted"
