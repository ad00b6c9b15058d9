"""Doors that clouds ask, for any bytes and any callers: an answer is a problem or a document, and lets in who was accepted."""

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import pytest
import structlog
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from daemon.live import Live
from tests.unit.daemon.doors.clouds import (
    CALL,
    CLOUDS,
    Cloud,
    Door,
    Heard,
    opened,
    own,
    post,
    read_answer,
    signed_json,
)
from tests.unit.daemon.doors.conftest import Answer

TEXTS = st.text(max_size=40)
KEYED = st.sampled_from(["7784321", "7784322", "004127", "900001", "99", "", "#", "1*004127#", "4321"]) | TEXTS
FIELDS = st.sampled_from(
    ["CallSid", "Digits", "CallStatus", "StatusCallbackEvent", "From", "call_sid", "digits", "from", "event", "time"]
)
VALUES = st.sampled_from([CALL, "7784321", "004127", "completed", "participant-join", "join", "leave", ""]) | TEXTS
TOLD = st.dictionaries(FIELDS | TEXTS, VALUES, max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=8,
)
PATHS = st.sampled_from(["", "/status", "?state=x", "?language=fr", "?state=%ff&state=1", "/status?state="])

T = TypeVar("T")


@pytest.fixture(params=CLOUDS, ids=lambda cloud: cloud.name)
def cloud(request: pytest.FixtureRequest) -> Cloud:
    chosen: Cloud = request.param
    return chosen


def in_door(cloud: Cloud, live: Live, do: Callable[[Door], Awaitable[T]], **prompts: str) -> T:
    """What is done in an open door; nothing is logged."""

    async def run() -> T:
        with tempfile.TemporaryDirectory() as folder:
            async with opened(cloud, live, Path(folder), prompts=own(**prompts)) as door:
                return await do(door)

    with structlog.testing.capture_logs() as logged:
        done = asyncio.run(run())
    assert not logged
    return done


async def in_segments(door: Door, request: bytes, cuts: list[int]) -> Answer:
    """The answer to a request that comes in pieces."""
    ends = sorted({min(cut, len(request)) for cut in cuts} | {0, len(request)})
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    try:
        for start, end in pairwise(ends):
            writer.write(request[start:end])
            await writer.drain()
            await asyncio.sleep(0)
        async with asyncio.timeout(10):
            return await read_answer(reader)
    finally:
        writer.close()


def is_answered(door: Door, answer: Answer) -> None:
    """It is a problem, a document, or nothing at all; and nobody is let in."""
    if answer.status == 200:
        assert not door.cloud.heard(answer).conference
    elif answer.status == 204:
        assert answer.body == b""
    else:
        assert answer.status in (400, 403)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json["status"] == answer.status


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told=TOLD, path=PATHS, cuts=st.lists(st.integers(0, 500), max_size=4))
def test_any_form_that_is_signed_is_answered(live: Live, told: dict[str, str], path: str, cuts: list[int]) -> None:
    twilio = CLOUDS[0]
    url = twilio.url + path

    async def ask(door: Door) -> None:
        is_answered(door, await in_segments(door, twilio.request(url, told), cuts))

    in_door(twilio, live, ask)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=(JSON | TOLD).map(json.dumps).map(str.encode) | st.binary(max_size=60),
    path=PATHS,
    cuts=st.lists(st.integers(0, 500), max_size=4),
)
def test_any_body_that_is_signed_is_answered(live: Live, body: bytes, path: str, cuts: list[int]) -> None:
    jambonz = CLOUDS[1]

    async def ask(door: Door) -> None:
        is_answered(door, await in_segments(door, signed_json(jambonz.url + path, body), cuts))

    in_door(jambonz, live, ask)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=80), header=st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=60))
def test_what_nobody_signed_is_refused(cloud: Cloud, live: Live, body: bytes, header: str) -> None:
    head = "".join(f"{name}: {header}\r\n" for name in ("X-Twilio-Signature", "Jambonz-Signature"))

    async def ask(door: Door) -> Answer:
        return await door.ask(post(cloud.url, body, head))

    assert in_door(cloud, live, ask).status in (400, 403)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(KEYED, st.sampled_from(["next", "again", "first", "spoilt"])), max_size=8),
    prompt=TEXTS,
)
@example(steps=[("7784321", "next"), ("4321", "next"), ("004127", "again")], prompt="")
@example(steps=[("7784321", "next"), ("004127", "first")], prompt="</Say><Dial>1</Dial>")
def test_nobody_is_let_in_but_who_was_accepted(
    cloud: Cloud, live: Live, steps: list[tuple[str, str]], prompt: str
) -> None:
    """Whatever is keyed, and whichever of the addresses that were ever given out is asked."""

    async def call(door: Door) -> None:
        heard = [await door.calls()]
        for keyed, where in steps:
            asked = {"next": heard[-1], "again": heard[max(len(heard) - 2, 0)], "first": heard[0]}.get(where)
            if asked is None:
                asked = Heard((), following=heard[-1].following[:-1])
            accepted = door.verifications("accepted")
            answered = await door.keys(keyed, asked)
            if answered.conference:
                # Accepted now, or in the same words a moment ago.
                assert door.verifications("accepted") > accepted or answered in heard
                assert answered.conference in ("C-1001", "C-1002")
            heard.append(answered)
            if not answered.is_asked:
                return

    in_door(cloud, live, call, pin="".join(one for one in prompt if one.isprintable()))
