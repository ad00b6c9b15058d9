"""HTTP for any bytes: both ways of the server answer the same, and never with a 500."""

import asyncio
import re
from contextlib import suppress
from itertools import pairwise

import structlog
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from daemon.live import Live
from tests.unit.daemon.doors.conftest import Served, get, post, serving
from tests.unit.daemon.doors.test_http import MALFORMED

ASKED = {"passcode": "7784321", "pin": "004127"}


def chunked(body: bytes) -> bytes:
    """A question whose body comes in chunks."""
    return post(ASKED).replace(b"Content-Length: 40", b"Transfer-Encoding: chunked").partition(b"{")[0] + body


PIECES = [
    post(ASKED),
    post({**ASKED, "pin": "1"}),
    post(ASKED, "/v1/verify.txt"),
    post(ASKED, "/v1/verify?pin=1"),
    post(ASKED, "/v1/verify%3Fx"),
    post(ASKED, "/v1/verify#x"),
    post(ASKED, "http://rollcall/v1/verify?x"),
    post(ASKED, "/v1/verify.txt?style=form"),
    post({**ASKED, "pin": "1"}, "/v1/verify.txt?style=line"),
    post(ASKED, "/v1/verify.txt?style=xml"),
    post(ASKED, "/v1/verify.txt?style=form", token="rc_wrong"),
    post({"passcode": "7784321"}, "/v1/verify.txt", headers="Accept: application/x-www-form-urlencoded\r\n"),
    get("/v1/verify.txt?style=form"),
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
    chunked(b""),
    chunked(b"28\r\n"),
    chunked(b"8\r\n{       \r\n27\r\n" + post(ASKED).partition(b"{")[2] + b"\r\n0\r\n\r\n"),
    chunked(b"zz\r\n"),
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
QUESTIONS = [post(body, media_type=media_type) for body, media_type, _ in MALFORMED]
STREAMS = st.lists(
    st.sampled_from(PIECES) | st.sampled_from(QUESTIONS) | st.binary(max_size=8), min_size=1, max_size=4
).map(b"".join)
_STATUSES = re.compile(rb"^HTTP/1.1 ([0-9]{3}) ", re.MULTILINE)
_CHANGING = re.compile(rb'"verification_id":"[^"]+"|verification_id=[0-9a-f-]+|\r\nDate: [^\r]+')


async def spoken(door: Served, segments: list[bytes]) -> bytes:
    """All that is answered to these segments, without what is never the same."""
    client = await door.client()
    for segment in segments:
        await client.send_alone(segment)
    client.writer.write(b"\r\n\r\nGET /end HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    client.writer.write_eof()
    received = bytearray()
    # Whoever is still sending when the connection is closed gets a reset, behind all that was answered.
    with suppress(ConnectionError):
        async with asyncio.timeout(10):
            while some := await client.reader.read(65536):
                received += some
    return _CHANGING.sub(b"", bytes(received))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stream=STREAMS, cuts=st.lists(st.integers(0, 400), max_size=4))
@example(stream=chunked(b"zz\r\n"), cuts=[len(chunked(b""))])
def test_both_ways_answer_the_same_to_any_bytes_in_any_segments(live: Live, stream: bytes, cuts: list[int]) -> None:
    """What is answered at once is what aiohttp's task would have answered, to the byte; and it is answered at all."""
    ends = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    segments = [stream[start:end] for start, end in pairwise(ends)]

    async def compare() -> tuple[bytes, bytes]:
        async with serving(live, at_once=True) as quick, serving(live, at_once=False) as slow:
            return await spoken(quick, segments), await spoken(slow, segments)

    with structlog.testing.capture_logs() as logged:
        quick, slow = asyncio.run(compare())
    assert quick == slow
    assert {int(status) for status in _STATUSES.findall(quick)} <= {100, 200, 400, 401, 404, 405, 413, 415}
    assert not logged


PLAIN = [post(ASKED), post({**ASKED, "pin": "1"}), post({**ASKED, "pin": "004128"}), post(ASKED, "/v1/verify.txt")]
"""Whole questions. Two of them have the same head, and a body that is as long."""
TRICKS = [
    post(ASKED)[:-40],  # a head, whose body is still to come
    post(ASKED)[:60],
    post(ASKED) + post(ASKED),
    post(ASKED) + post(ASKED)[:60],
    b"\r\n" + post(ASKED),
    post(ASKED).replace(b"\r\n", b"\n"),
    post(ASKED).replace(b"\r\n", b"\n", 1),
    post(ASKED)[:-1],
    post(ASKED) + b" ",
    post(ASKED, headers="Content-Length: 40\r\n"),
    post(ASKED, headers="Content-Length: 41\r\n"),
    post(ASKED, headers="Transfer-Encoding: chunked\r\n"),
    post(ASKED, headers="Transfer-Encoding: identity\r\n"),
    post(ASKED, headers=" folded\r\n"),
    post(ASKED, headers="X: a\rb\r\n"),
    post(ASKED, headers="Connection: close\r\n"),
    post(ASKED, headers="Expect: 100-continue\r\n"),
    post(ASKED, version="HTTP/1.0"),
    post(ASKED).replace(b"POST", b"post"),
    post(ASKED).replace(b"POST", b"GET"),
    post(ASKED).replace(b"POST", b"PUT"),
    chunked(b"28\r\n" + post(ASKED)[-40:] + b"\r\n0\r\n\r\n"),
    chunked(b"28\r\n"),
    b"POST /v1/verify HTTP/1.1\r\nHost: x\r\nContent-Length: 400\r\n\r\n",
    get("/v1/conferences/7784321"),
]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    segments=st.lists(
        st.sampled_from(PLAIN)
        | st.sampled_from(TRICKS)
        | st.binary(min_size=1, max_size=8)
        | st.tuples(st.sampled_from(PLAIN + TRICKS), st.integers(1, 250)).map(lambda cut: cut[0][: cut[1]])
        | st.tuples(st.sampled_from(PLAIN + TRICKS), st.integers(1, 150)).map(lambda cut: cut[0][cut[1] :]),
        min_size=1,
        max_size=5,
    )
)
@example(segments=[post(ASKED)[:60], post(ASKED)])
@example(segments=[TRICKS[-2], post(ASKED), post(ASKED)])
@example(segments=[post(ASKED), post(ASKED)[:62]])
def test_who_is_known_by_his_head_is_answered_as_anybody(live: Live, segments: list[bytes]) -> None:
    """Also where the end of one segment and the next one are something else together than each by itself."""

    async def compare() -> tuple[bytes, bytes, list[bytes]]:
        async with serving(live, at_once=True) as quick, serving(live, at_once=False) as slow:
            for request in PLAIN:
                # On connections of their own: from now on their heads are known.
                assert (await quick.ask(request)).status == 200
            told = await spoken(quick, segments), await spoken(slow, segments)
            return *told, quick.server.known

    with structlog.testing.capture_logs() as logged:
        quick, slow, known = asyncio.run(compare())
    assert quick == slow
    assert set(known) <= set(PLAIN)
    assert not logged


def test_no_trick_teaches_a_head(live: Live) -> None:
    """What is sent twice, each time by itself, is known the second time if it is a plain question, and else never."""

    async def asked_twice(request: bytes) -> list[bytes]:
        async with serving(live) as door:
            for _ in range(2):
                client = await door.client()
                await client.send_alone(request)
                await client.send_alone(request)
                client.close()
            return door.server.known

    for request in PLAIN:
        assert asyncio.run(asked_twice(request)) == [request] * 3
    for request in TRICKS:
        assert asyncio.run(asked_twice(request)) == []


TARGETS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=40).map(
    lambda text: text.encode()
) | st.binary(max_size=20)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.sampled_from([b"/", b"", b"/v1/", b"/v1/conferences/", b"/v1/verify"]), target=TARGETS)
def test_any_address_is_answered_without_an_error_of_ours(live: Live, start: bytes, target: bytes) -> None:
    async def ask() -> bytes:
        async with serving(live) as door:
            return await spoken(door, [get("/x").replace(b"/x", start + target)])

    with structlog.testing.capture_logs() as logged:
        answered = asyncio.run(ask())
    assert {int(status) for status in _STATUSES.findall(answered)} <= {200, 400, 404, 405}
    assert not logged
