"""HTTP on the wire: framing, connections, the end."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest
import structlog

from daemon.doors import http_server
from daemon.live import Live
from loader import connections
from loader.connections import Limits
from tests.unit.daemon.doors.conftest import Served, get, post, serving

ASKED = {"passcode": "7784321", "pin": "004127"}
QUESTION = post(ASKED)


@pytest.fixture(params=[True, False], ids=["at once", "by a task"])
async def either_way(live: Live, request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    """The door, once for each of the two ways that a request can go."""
    async with serving(live, at_once=request.param) as door:
        yield door


async def test_a_connection_is_kept_for_question_after_question(either_way: Served) -> None:
    client = await either_way.client()
    for _ in range(3):
        answer = await client.ask(QUESTION)
        assert (answer.status, "connection" in answer.headers) == (200, False)


async def test_a_plain_question_is_answered_without_waking_a_task(served: Served) -> None:
    """What aiohttp's tasks have answered, they have counted."""
    client = await served.client()
    for path in ("/v1/verify", "/v1/verify.txt"):
        assert (await client.ask(post(ASKED, path))).status == 200
    assert served.server.requests_count == 0
    assert (await client.ask(get("/v1/conferences/7784321"))).status == 200
    assert served.server.requests_count == 1


async def test_http_1_0_is_closed_unless_it_asks_otherwise(served: Served) -> None:
    client = await served.client()
    kept = await client.ask(post(ASKED, version="HTTP/1.0", headers="Connection: keep-alive\r\n"))
    assert kept.headers["connection"] == "keep-alive"
    closed = await client.ask(post(ASKED, version="HTTP/1.0"))
    assert (closed.status, closed.headers["connection"]) == (200, "close")
    assert await client.is_closed()


async def test_who_asks_for_the_end_gets_it(either_way: Served) -> None:
    client = await either_way.client()
    answer = await client.ask(post(ASKED, headers="Connection: close\r\n"))
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert await client.is_closed()


async def test_questions_that_come_together_are_answered_in_their_order(either_way: Served) -> None:
    client = await either_way.client()
    await client.send(QUESTION + get("/v1/conferences/7784322") + post({**ASKED, "pin": "1"}) + QUESTION)
    answers = [(await client.answer()).json for _ in range(4)]
    assert [answer.get("result") or answer["id"] for answer in answers] == [
        "accepted",
        "C-1002",
        "rejected",
        "accepted",
    ]


async def test_a_question_may_come_in_any_pieces(either_way: Served) -> None:
    client = await either_way.client()
    for at in range(len(QUESTION)):
        await client.send_alone(QUESTION[at : at + 1])
    assert (await client.answer()).json["result"] == "accepted"


BODY = QUESTION.partition(b"\r\n\r\n")[2]


def chunked(path: str = "/v1/verify") -> bytes:
    """The head of a question whose body comes in chunks."""
    return post(ASKED, path).replace(b"Content-Length: 40", b"Transfer-Encoding: chunked").removesuffix(BODY)


@pytest.mark.parametrize("extension", [b"", b";name=value"])
@pytest.mark.parametrize("trailer", [b"", b"X-Trailer: 1\r\n"])
async def test_a_body_may_come_in_chunks(served: Served, extension: bytes, trailer: bytes) -> None:
    chunks = b"".join(b"%x%b\r\n%b\r\n" % (len(some), extension, some) for some in (BODY[:5], BODY[5:]))
    client = await served.client()
    assert (await client.ask(chunked() + chunks + b"0\r\n" + trailer + b"\r\n")).json["result"] == "accepted"
    assert (await client.ask(QUESTION)).json["result"] == "accepted"


@pytest.mark.parametrize("first", [b"", b"5\r\nabcde\r\n"])
@pytest.mark.parametrize("broken", [b"zz\r\n", b"-1\r\n", b"5\r\nabcdefgh\r\n", b"\r\n", b"ffffffffffffffffff\r\n"])
@pytest.mark.parametrize("path", ["/v1/verify", "/v1/verify.txt"])
async def test_a_body_that_breaks_off_into_nonsense_is_400_at_once(
    served: Served, first: bytes, broken: bytes, path: str
) -> None:
    """And not only when the time for it is over."""
    client = await served.client()
    await client.send_alone(chunked(path))
    if first:
        await client.send_alone(first)
    answer = await client.ask_on(chunked(path), broken)
    assert (answer.status, answer.headers["connection"]) == (400, "close")
    assert answer.text == "error|Bad Request" or answer.json["detail"] == "The body is not what its head says."
    assert await client.is_closed()


async def test_nonsense_in_a_body_that_nobody_wants_is_answered_too(served: Served) -> None:
    client = await served.client()
    await client.send_alone(chunked("/elsewhere"))
    assert (await client.answer()).status == 404
    await client.send(b"zz\r\n")
    assert (await client.answer()).status == 400
    assert await client.is_closed()


async def test_a_client_that_waits_to_be_told_to_go_on_is_told(served: Served) -> None:
    client = await served.client()
    await client.send(post(ASKED, headers="Expect: 100-Continue\r\n").removesuffix(BODY))
    assert (await client.answer(has_body=False)).status == 100
    await client.send(BODY)
    assert (await client.answer()).json["result"] == "accepted"


async def test_who_does_not_wait_to_be_told_to_go_on_is_not_told(served: Served) -> None:
    client = await served.client()
    await client.send_alone(post(ASKED, headers="Expect: 100-continue\r\n"))
    assert (await client.answer()).status == 200


async def test_http_1_0_is_never_told_to_go_on(served: Served) -> None:
    """It would take it for the answer: RFC 9110, section 10.1.1."""
    client = await served.client()
    await client.send_alone(post(ASKED, version="HTTP/1.0", headers="Expect: 100-continue\r\n").removesuffix(BODY))
    await client.send(BODY)
    assert (await client.answer()).status == 200


@pytest.mark.parametrize(
    ("line", "length", "status"),
    [("POST /v1/verify", 4097, 413), ("POST /elsewhere", 40, 404), ("PUT /v1/verify", 40, 405)],
)
async def test_who_is_refused_anyway_is_not_told_to_go_on(served: Served, line: str, length: int, status: int) -> None:
    request = f"{line} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n".encode()
    assert (await served.ask(request)).status == status


async def test_nothing_else_can_be_expected(served: Served) -> None:
    client = await served.client()
    answer = await client.ask(post(ASKED, headers="Expect: 200-ok\r\n"))
    assert (answer.status, answer.headers["connection"]) == (417, "close")
    assert await client.is_closed()


@pytest.mark.parametrize("protocol", ["websocket", "h2c", "TLS/1.2"])
@pytest.mark.parametrize("request_", [QUESTION, get("/v1/conferences/7784321")])
async def test_a_declined_upgrade_is_an_ordinary_request(either_way: Served, request_: bytes, protocol: str) -> None:
    """And so are those after it."""
    upgrade = request_.replace(b"\r\n", f"\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n".encode(), 1)
    client = await either_way.client()
    for asked in (upgrade, QUESTION, upgrade, upgrade, QUESTION):
        assert (await client.ask(asked)).status == 200


@pytest.mark.parametrize(
    "target", ["http://rollcall/v1/verify", "/v1/verify?passcode=1&pin=2", "/v1/verify#x", "/v1/%76erify"]
)
async def test_an_address_may_be_written_in_any_way_that_http_has(served: Served, target: str) -> None:
    """What stands behind a question mark asks nothing."""
    client = await served.client()
    await client.send(post(ASKED, target))
    assert (await client.answer()).json["result"] == "accepted"


@pytest.mark.parametrize(
    "line",
    ["OPTIONS *", "CONNECT rollcall:443", "GET //", "GET /..", "GET /%", "GET /%00", "GET /%ed%a0%80%ff"],
)
async def test_an_odd_address_is_404(served: Served, line: str) -> None:
    client = await served.client()
    assert (await client.ask(f"{line} HTTP/1.1\r\nHost: x\r\n\r\n".encode())).status == 404
    assert (await client.ask(QUESTION)).status == 200


TOO_LARGE: list[Callable[[bytes], bytes]] = [
    lambda head: head + b"Content-Length: 4097\r\n\r\n",
    lambda head: head + b"Content-Length: 4097\r\n\r\n" + b"x" * 4097,
    lambda head: head + b"Content-Length: 99999999999\r\n\r\nxxx",
    lambda head: head + b"Transfer-Encoding: chunked\r\n\r\n1001\r\n" + b"x" * 4097 + b"\r\n0\r\n\r\n",
    lambda head: (
        head + b"Transfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b"x" * 1024 + b"\r\n" + b"c01\r\n" + b"x" * 3073
    ),
]


@pytest.mark.parametrize("ask", TOO_LARGE)
@pytest.mark.parametrize("path", ["/v1/verify", "/v1/verify.txt"])
async def test_a_body_over_4_kib_is_413(either_way: Served, ask: Callable[[bytes], bytes], path: str) -> None:
    """Whether it was announced, sent, or sent in pieces; what follows of it is not taken for a request."""
    head = post({}, path).partition(b"Content-Length")[0] + b"Content-Type: application/json\r\n"
    client = await either_way.client()
    answer = await client.ask(ask(head))
    assert (answer.status, answer.headers["connection"]) == (413, "close")
    assert answer.text == "error|Content Too Large" or answer.json["title"] == "Content Too Large"


async def test_who_is_still_sending_what_is_too_large_hears_of_it(served: Served) -> None:
    """The rest is read, for a while: to close at once would take the answer away from the client."""
    client = await served.client()
    answer = await client.ask(post(b"x" * 2_000_000))
    assert (answer.status, answer.headers["connection"]) == (413, "close")
    assert await client.is_closed()


async def test_a_body_of_exactly_4_kib_is_read(either_way: Served) -> None:
    filler = "x" * (4096 - len(b'{"passcode": "7784321", "pin": "004127", "more": ""}'))
    assert (await either_way.ask(post({**ASKED, "more": filler}))).json["result"] == "accepted"


async def test_a_body_that_does_not_come_is_408(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "BODY_TIMEOUT", 0.05)
    for part in (QUESTION[:-3], chunked() + b"5\r\nab"):
        client = await served.client()
        answer = await client.ask(part)
        assert (answer.status, answer.headers["connection"]) == (408, "close")
    line = await served.ask(post(ASKED, "/v1/verify.txt")[:-3])
    assert (line.status, line.text) == (408, "error|Request Timeout")


TRICKS: list[bytes] = [
    b"nonsense\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"POST /v1/verify HTTP/9.9\r\nHost: x\r\n\r\n",
    b"GET http:// HTTP/1.1\r\nHost: x\r\n\r\n",
    QUESTION.replace(b"Content-Length: 40\r\n", b"Content-Length: 40\r\nContent-Length: 40\r\n"),
    QUESTION.replace(b"Content-Length: 40\r\n", b"Content-Length: 40\r\nContent-Length: 0\r\n"),
    QUESTION.replace(b"Content-Length: 40\r\n", b"Content-Length: 40\r\nTransfer-Encoding: chunked\r\n"),
    QUESTION.replace(b"Content-Length: 40\r\n", b"Content-Length: +40\r\n"),
    QUESTION.replace(b"Content-Length: 40\r\n", b"Content-Length: 4 0\r\n"),
    QUESTION.replace(b"Content-Length: 40\r\n", b"Content-Length: -1\r\n"),
    QUESTION.replace(b"Content-Length: 40\r\n", b"Content-Length : 40\r\n"),
    QUESTION.replace(b"Host: rollcall\r\n", b"Host: rollcall\r\n folded\r\n"),
    QUESTION.replace(b"Host: rollcall\r\n", b"Host: roll\x00call\r\n"),
    QUESTION.replace(b"Host: rollcall\r\n", b""),
    QUESTION.replace(b"Host: rollcall\r\n", b"Host: rollcall\r\nHost: other\r\n"),
    QUESTION.replace(b"Content-Length: 40\r\n", b"Content-Length: 40\r\nContent-Type: text/plain\r\n"),
    QUESTION.replace(b"Content-Length: 40\r\n", b"Transfer-Encoding: gzip, chunked\r\n"),
    QUESTION.replace(b"Content-Length: 40\r\n", b"Transfer-Encoding: identity\r\n"),
    QUESTION.replace(b"Content-Length: 40\r\n", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
    QUESTION.replace(b"Host: rollcall\r\n", b"Host: rollcall\r\nX\x00: y\r\n"),
    QUESTION.replace(b"Host: rollcall\r\n", b"Host: rollcall\r\nX: y\rz\r\n"),
    QUESTION.replace(b"\r\n", b"\n"),
    QUESTION.replace(b"/v1/verify", b"/v1/verify\x00"),
    QUESTION.replace(b"/v1/verify", b"/v1/\xffverify"),
    QUESTION.replace(b"POST ", b"post "),
    QUESTION.replace(b" HTTP/1.1", b""),
    QUESTION.replace(b"HTTP/1.1", b"HTTP/2.0"),
    post(ASKED, version="HTTP/2.0", headers="Connection: keep-alive\r\n"),
    post(ASKED, version="HTTP/1.2"),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    QUESTION.replace(b"Host: rollcall\r\n", b"X: " + b"y" * 9000 + b"\r\n"),
    QUESTION.replace(b"Host: rollcall\r\n", b"X: y\r\n" * 200),
    b"POST /" + b"v" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
]


@pytest.mark.parametrize("trick", TRICKS)
async def test_what_is_not_plain_http_is_400_and_the_end(served: Served, trick: bytes) -> None:
    """Doubled lengths, folded lines and the like: nothing after them is believed."""
    client = await served.client()
    answer = await client.ask(trick)
    assert (answer.status, answer.headers["connection"]) == (400, "close")
    assert answer.headers["content-type"] == "application/problem+json"
    assert b"7784321" not in answer.raw
    assert await client.is_closed()


async def test_a_body_behind_half_a_head_is_not_taken_for_a_question(either_way: Served) -> None:
    """The body that belongs to one request cannot pose as another."""
    client = await either_way.client()
    await client.send_alone(get("/v1/conferences/7784322")[:-2] + b"Content-Length: %d\r\n" % len(QUESTION))
    await client.send_alone(b"\r\n")
    await client.send(QUESTION)
    assert (await client.answer()).json["id"] == "C-1002"
    answer = await client.ask(get("/v1/conferences/7784321"))
    assert answer.json["id"] == "C-1001"


class Recorded(asyncio.Transport):
    """Hands over to a real transport, and remembers each write."""

    def __init__(self, real: asyncio.Transport) -> None:
        super().__init__()
        self._real = real
        self.writes: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))
        self._real.write(data)

    def __getattribute__(self, name: str) -> Any:
        if name in ("write", "writes", "_real"):
            return object.__getattribute__(self, name)
        return getattr(object.__getattribute__(self, "_real"), name)


@pytest.mark.parametrize(
    "request_", [QUESTION, post(ASKED, "/v1/verify.txt"), get("/v1/conferences/7784321"), get("/x")]
)
async def test_every_answer_leaves_in_one_write_and_at_once(either_way: Served, request_: bytes) -> None:
    """A head and a body in two segments would cost a switch some 40 ms, and so would Nagle's algorithm."""
    client = await either_way.client()
    await client.ask(get("/openapi.json"))
    (connection,) = either_way.server.connections
    assert isinstance(connection.transport, asyncio.Transport)
    accepted = connection.transport.get_extra_info("socket")
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    recorded = Recorded(connection.transport)
    connection.transport = recorded
    answer = await client.ask(request_)
    assert recorded.writes == [answer.raw]


async def test_a_client_that_reads_nothing_is_let_go(either_way: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "_MAX_UNREAD", 4096)
    client = await either_way.client()
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    async with asyncio.timeout(20):
        while either_way.server.connections or not client.writer.is_closing():
            try:
                await client.send(get("/openapi.json") * 50)
            except ConnectionError:
                break
            await asyncio.sleep(0)


async def test_a_client_that_leaves_an_answer_unread_for_too_long_is_let_go(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However little it is."""
    monkeypatch.setattr(http_server, "_MAX_UNREAD", 1 << 30)
    monkeypatch.setattr(connections, "_EVERY", 0.01)
    async with serving(live, limits=Limits(unread=0.1)) as door:
        client = await door.client()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        with suppress(ConnectionError):
            for _ in range(1000):
                await client.send(get("/openapi.json") * 50)
        async with asyncio.timeout(10):
            while door.server.connections:
                await asyncio.sleep(0.01)
        assert (await (await door.client()).ask(QUESTION)).status == 200


async def test_who_reads_and_asks_again_in_time_is_kept(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a connection that has been answered on in either way."""
    monkeypatch.setattr(connections, "_EVERY", 0.01)
    async with serving(live, limits=Limits(idle=0.5, head=0.5, unread=0.5)) as door:
        client, idle = await door.client(), await door.client()
        for question in (QUESTION, get("/openapi.json")) * 10:
            await client.send(question[:30])
            await asyncio.sleep(0.05)
            await client.send(question[30:])
            assert (await client.answer()).status == 200
        assert await idle.is_closed()


@pytest.mark.parametrize("at_once", [True, False])
async def test_at_the_end_what_is_idle_is_closed_and_what_is_under_way_is_answered(live: Live, at_once: bool) -> None:
    """The idle after a moment, in which what is on its way still comes."""
    async with serving(live, at_once=at_once, drain_timeout=60) as door:
        new, idle, half, busy = [await door.client() for _ in range(4)]
        for client in (idle, half, busy):
            await client.ask(QUESTION)
        await half.send_alone(QUESTION[:60])
        await busy.send_alone(QUESTION[:-5])
        stopping = door.stopping()
        for client in (new, idle, half):
            assert await client.is_closed()
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", door.port)
        assert not stopping.done()
        answer = await busy.ask_on(QUESTION, QUESTION[-5:])
        assert (answer.json["result"], answer.headers["connection"]) == ("accepted", "close")
        assert await busy.is_closed()
        await stopping


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("asked", [QUESTION, get("/v1/conferences/7784321")])
async def test_what_came_just_before_the_end_is_answered(live: Live, at_once: bool, asked: bytes) -> None:
    async with serving(live, at_once=at_once) as door:
        client = await door.client()
        await client.ask(QUESTION)
        await client.send_alone(asked)
        await door.stopping()
        assert (await client.answer()).status == 200
        assert await client.is_closed()


async def test_what_was_on_its_way_when_the_end_began_is_answered(live: Live) -> None:
    """On a connection that has just been opened, and on one that was idle; the answer is the last there."""
    async with serving(live) as door:
        new, idle = await door.client(), await door.client()
        await idle.ask(QUESTION)
        await door.until(lambda: len(door.server.connections) == 2)
        stopping = door.stopping()
        await door.until(lambda: door.server._draining)
        for client in (new, idle):
            answer = await client.ask(QUESTION)
            assert (answer.json["result"], answer.headers["connection"]) == ("accepted", "close")
            assert await client.is_closed()
        await stopping


async def test_what_is_asked_after_the_end_has_begun_is_answered_with_a_close(live: Live) -> None:
    """On a connection that was on its way when the others were closed."""
    async with serving(live) as door:
        door.server.pre_shutdown()
        client = await door.client()
        answer = await client.ask(QUESTION)
        assert (answer.json["result"], answer.headers["connection"]) == ("accepted", "close")
        assert await client.is_closed()


async def test_an_answer_that_has_not_left_yet_is_not_lost_at_the_end(served: Served) -> None:
    client = await served.client()
    await client.ask(QUESTION)
    (connection,) = served.server.connections
    connection.data_received(QUESTION)
    stopping = served.stopping()
    assert (await client.answer()).status == 200
    assert await client.is_closed()
    await stopping


async def test_an_answer_that_has_not_left_yet_is_not_lost_when_the_client_closes_its_side(served: Served) -> None:
    """An event loop may tell of a question and of the end behind it in one turn."""
    client = await served.client()
    await client.ask(QUESTION)
    (connection,) = served.server.connections
    assert isinstance(connection, http_server._Connection)
    assert connection.transport is not None
    connection.data_received(QUESTION)
    assert not connection.eof_received()
    connection.transport.close()
    assert (await client.answer()).status == 200
    assert await client.is_closed()


async def test_the_end_does_not_wait_for_ever(live: Live) -> None:
    async with serving(live, drain_timeout=0.05) as door:
        client = await door.client()
        await client.send_alone(QUESTION[:-5])
        async with asyncio.timeout(10):
            await door.stopping()
        assert await client.is_closed()


async def test_the_end_does_not_wait_for_what_nobody_will_read(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the rest of a body that was too large, or of one in the middle of which the client has gone away."""
    monkeypatch.setattr(http_server, "_LINGERING", 60)
    async with serving(live, drain_timeout=60) as door:
        large, gone = await door.client(), await door.client()
        assert (await large.ask(post(b"x" * 5000)[:-10])).status == 413
        await gone.send_alone(QUESTION[:-5])
        gone.close()
        async with asyncio.timeout(10):
            await door.stopping()


@pytest.mark.parametrize("request_", [QUESTION, get("/v1/conferences/7784321"), post(ASKED, version="HTTP/1.0")])
async def test_a_client_that_has_no_more_to_ask_still_gets_its_answer(either_way: Served, request_: bytes) -> None:
    """It sends its question and closes its side at once."""
    client = await either_way.client()
    client.writer.write(request_)
    client.writer.write_eof()
    assert (await client.answer()).status == 200
    assert await client.is_closed()


async def test_all_that_was_asked_before_the_client_closed_its_side_is_answered(either_way: Served) -> None:
    client = await either_way.client()
    client.writer.write(QUESTION + get("/v1/conferences/7784322") + QUESTION)
    client.writer.write_eof()
    assert [(await client.answer()).status for _ in range(3)] == [200, 200, 200]
    assert await client.is_closed()


async def test_half_a_question_and_the_end_is_the_end(either_way: Served) -> None:
    client = await either_way.client()
    client.writer.write(QUESTION[:-5])
    client.writer.write_eof()
    assert await client.is_closed()


async def test_a_client_that_goes_away_in_the_middle_disturbs_nobody(
    either_way: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """It is no error, and nothing is logged of it."""
    with structlog.testing.capture_logs() as logged:
        for part in (QUESTION[:20], QUESTION[:-3], chunked() + b"5\r\n", QUESTION, post(b"x" * 5000)):
            client = await either_way.client()
            await client.send_alone(part)
            client.close()
        await either_way.until(lambda: not either_way.server.connections)
        assert (await either_way.ask(QUESTION)).json["result"] == "accepted"
    assert not logged
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_thousand_half_sent_questions_keep_nobody_waiting(served: Served) -> None:
    half = QUESTION[:-1]
    clients = [await served.client() for _ in range(1000)]
    for at, client in enumerate(clients):
        await client.send(half[: 1 + at % len(half)])
    async with asyncio.timeout(http_server.BODY_TIMEOUT / 2):
        assert (await served.ask(QUESTION)).json["result"] == "accepted"
    for at in (0, 500, 999):
        rest = QUESTION[1 + at % len(half) :]
        assert (await clients[at].ask_on(QUESTION, rest)).json["result"] == "accepted"


async def test_what_has_a_query_is_answered_at_once_too(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without aiohttp's task for the connection."""

    async def slow(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(http_server.HttpServer, "_handle", slow)
    async with serving(live) as door:
        asked = QUESTION.replace(b"POST /v1/verify ", b"POST /v1/verify?state=x ")
        assert asked != QUESTION
        assert (await door.ask(asked)).json["result"] == "accepted"
