"""HTTP for any bytes: readers raise nothing but their own error, and both ways answer the same."""

import asyncio
import re
from itertools import pairwise
from urllib.parse import urlencode

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import json

from daemon.doors.http_question import from_form, from_json
from daemon.doors.problem import Problem
from daemon.live import Live
from loader.index import Question
from tests.unit.daemon.doors.conftest import Served, get, post, serving

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=32)
QUESTIONS = st.builds(Question, TEXT, TEXT, st.none() | TEXT, st.none() | TEXT)
NEARLY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["passcode", "pin", "call_id", "caller", "x"]), inner, max_size=5)
    ),
    max_leaves=8,
)


@given(st.binary(max_size=200) | NEARLY_JSON.map(json.encode))
def test_any_body_is_a_question_or_a_problem(body: bytes) -> None:
    for read in (from_json, from_form):
        try:
            read(body)
        except Problem as problem:
            told = problem
        else:
            continue
        assert told.status == 400


@given(QUESTIONS)
def test_a_question_is_read_as_it_was_asked(question: Question) -> None:
    fields = {name: value for name in question.__struct_fields__ if (value := getattr(question, name)) is not None}
    assert Question(**_fields(from_json(json.encode(fields)))) == question
    assert Question(**_fields(from_form(urlencode(fields).encode()))) == question


def _fields(question: Question) -> dict[str, str]:
    return {name: getattr(question, name) for name in question.__struct_fields__}


ASKED = {"passcode": "7784321", "pin": "004127"}
PIECES = [
    post(ASKED),
    post({**ASKED, "pin": "1"}),
    post(ASKED, "/v1/verify.txt"),
    post({"passcode": "7784321"}),
    post(ASKED, token="rc_wrong"),
    post(ASKED, media_type="text/plain"),
    post(ASKED, version="HTTP/1.0"),
    post(ASKED, headers="Connection: close\r\n"),
    post(ASKED, headers="Expect: 100-continue\r\n"),
    post(ASKED, headers="Transfer-Encoding: chunked\r\n"),
    post(ASKED, headers="Content-Length: 7\r\n"),
    post(ASKED, headers=" folded\r\n"),
    post(ASKED, headers="Upgrade: h2c\r\nConnection: Upgrade\r\n"),
    post(b"x" * 5000),
    post(ASKED).replace(b"Content-Length: 40", b"Transfer-Encoding: chunked").partition(b"{")[0],
    b"28\r\n" + post(ASKED).partition(b"\r\n\r\n")[2] + b"\r\n0\r\n\r\n",
    post(ASKED)[:60],
    post(ASKED)[60:],
    get("/v1/conferences/7784321"),
    get("/v1/verify"),
    get("/v1/verify", method="PRI"),
    b"\r\n",
    b"0\r\n\r\n",
    b"nonsense",
]
STREAMS = st.lists(st.sampled_from(PIECES) | st.binary(max_size=8), min_size=1, max_size=4).map(b"".join)
_CHANGING = re.compile(rb'"verification_id":"[^"]+"|\r\nDate: [^\r]+')


async def spoken(door: Served, segments: list[bytes]) -> bytes:
    """All that is answered to these segments, without what is never the same."""
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    received = bytearray()

    async def read() -> None:
        try:
            while some := await reader.read(65536):
                received.extend(some)
        except ConnectionError:
            pass

    reading = asyncio.create_task(read())
    for segment in segments:
        if reading.done():
            break
        before = len(door.server.connections)
        writer.write(segment)
        # Each segment arrives by itself: wait for the other side to have had it.
        for _ in range(6):
            await asyncio.sleep(0)
        assert before <= 1
    writer.write(b"\r\n\r\nGET /end HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    await asyncio.wait((reading,), timeout=0.3)
    writer.transport.abort()
    await reading
    return _CHANGING.sub(b"", bytes(received))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stream=STREAMS, cuts=st.lists(st.integers(0, 400), max_size=4))
def test_both_ways_answer_the_same_to_any_bytes_in_any_segments(live: Live, stream: bytes, cuts: list[int]) -> None:
    """What is answered at once is what aiohttp's task would have answered, to the byte."""
    ends = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    segments = [stream[start:end] for start, end in pairwise(ends)]

    async def compare() -> tuple[bytes, bytes]:
        async with serving(live, at_once=True) as quick, serving(live, at_once=False) as slow:
            return await spoken(quick, segments), await spoken(slow, segments)

    quick, slow = asyncio.run(compare())
    assert quick == slow
