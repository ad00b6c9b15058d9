"""HTTP on the wire: framing, connections, the end."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from daemon.doors import http_server
from daemon.live import Live
from tests.unit.daemon.doors.conftest import Served, get, post, serving

ASKED = {"passcode": "7784321", "pin": "004127"}
QUESTION = post(ASKED)


async def test_a_connection_is_kept_for_question_after_question(served: Served) -> None:
    client = await served.client()
    for _ in range(3):
        answer = await client.ask(QUESTION)
        assert (answer.status, "connection" in answer.headers) == (200, False)


async def test_http_1_0_is_closed_unless_it_asks_otherwise(served: Served) -> None:
    client = await served.client()
    kept = await client.ask(post(ASKED, version="HTTP/1.0", headers="Connection: keep-alive\r\n"))
    assert kept.headers["connection"] == "keep-alive"
    closed = await client.ask(post(ASKED, version="HTTP/1.0"))
    assert (closed.status, closed.headers["connection"]) == (200, "close")
    assert await client.is_closed()


async def test_who_asks_for_the_end_gets_it(served: Served) -> None:
    client = await served.client()
    answer = await client.ask(post(ASKED, headers="Connection: close\r\n"))
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert await client.is_closed()


async def test_questions_that_come_together_are_answered_in_their_order(served: Served) -> None:
    client = await served.client()
    await client.send(QUESTION + get("/v1/conferences/7784322") + post({**ASKED, "pin": "1"}) + QUESTION)
    answers = [(await client.answer()).json for _ in range(4)]
    assert [answer.get("result") or answer["id"] for answer in answers] == [
        "accepted",
        "C-1002",
        "rejected",
        "accepted",
    ]


async def test_a_question_may_come_in_any_pieces(served: Served) -> None:
    client = await served.client()
    for at in range(len(QUESTION)):
        await client.send(QUESTION[at : at + 1])
        await asyncio.sleep(0)
    assert (await client.answer()).json["result"] == "accepted"


async def test_a_body_may_come_in_chunks(served: Served) -> None:
    head = QUESTION.partition(b"\r\n\r\n")[0].replace(b"Content-Length: 40", b"Transfer-Encoding: chunked")
    assert b"chunked" in head
    body = QUESTION.partition(b"\r\n\r\n")[2]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(some), some) for some in (body[:5], body[5:]))
    client = await served.client()
    assert (await client.ask(head + b"\r\n\r\n" + chunks + b"0\r\n\r\n")).json["result"] == "accepted"
    assert (await client.ask(QUESTION)).json["result"] == "accepted"


async def test_a_client_that_waits_to_be_told_to_go_on_is_told(served: Served) -> None:
    head, _, body = post(ASKED, headers="Expect: 100-continue\r\n").partition(b"\r\n\r\n")
    client = await served.client()
    await client.send(head + b"\r\n\r\n")
    assert (await client.answer(has_body=False)).status == 100
    assert (await client.ask(body)).json["result"] == "accepted"


async def test_nothing_else_can_be_expected(served: Served) -> None:
    client = await served.client()
    answer = await client.ask(post(ASKED, headers="Expect: 200-ok\r\n"))
    assert (answer.status, answer.headers["connection"]) == (417, "close")
    assert await client.is_closed()


async def test_a_declined_upgrade_is_an_ordinary_request(served: Served) -> None:
    client = await served.client()
    upgrade = get("/v1/conferences/7784321").replace(
        b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    assert (await client.ask(upgrade)).status == 200


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
async def test_a_body_over_4_kib_is_413(served: Served, ask: Callable[[bytes], bytes], path: str) -> None:
    """Whether it was announced, sent, or sent in pieces; what follows of it is not taken for a request."""
    head = post({}, path).partition(b"Content-Length")[0] + b"Content-Type: application/json\r\n"
    client = await served.client()
    answer = await client.ask(ask(head))
    assert (answer.status, answer.headers["connection"]) == (413, "close")
    assert answer.text == "error|Content Too Large" or answer.json["title"] == "Content Too Large"


async def test_a_body_of_exactly_4_kib_is_read(served: Served) -> None:
    filler = "x" * (4096 - len(b'{"passcode": "7784321", "pin": "004127", "more": ""}'))
    assert (await served.ask(post({**ASKED, "more": filler}))).json["result"] == "accepted"


async def test_a_body_that_does_not_come_is_408(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "BODY_TIMEOUT", 0.05)
    client = await served.client()
    answer = await client.ask(QUESTION[:-3])
    assert (answer.status, answer.headers["connection"]) == (408, "close")


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


async def test_a_body_behind_half_a_head_is_not_taken_for_a_question(served: Served) -> None:
    """The body that belongs to one request cannot pose as another."""
    client = await served.client()
    await client.send(get("/v1/conferences/7784322")[:-2] + b"Content-Length: %d\r\n" % len(QUESTION))
    await asyncio.sleep(0.02)
    await client.send(b"\r\n")
    await asyncio.sleep(0.02)
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
async def test_every_answer_leaves_in_one_write_and_at_once(served: Served, request_: bytes) -> None:
    """A head and a body in two segments would cost a switch some 40 ms, and so would Nagle's algorithm."""
    client = await served.client()
    await client.ask(get("/openapi.json"))
    (connection,) = served.server.connections
    assert isinstance(connection.transport, asyncio.Transport)
    accepted = connection.transport.get_extra_info("socket")
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    recorded = Recorded(connection.transport)
    connection.transport = recorded
    answer = await client.ask(request_)
    assert recorded.writes == [answer.raw]


async def test_a_client_that_reads_nothing_is_let_go(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "_MAX_UNREAD", 4096)
    client = await served.client()
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    async with asyncio.timeout(20):
        while served.server.connections or not client.writer.is_closing():
            try:
                await client.send(get("/openapi.json") * 50)
            except ConnectionError:
                break
            await asyncio.sleep(0)


async def test_at_the_end_what_is_under_way_is_answered_and_what_is_idle_is_closed(live: Live) -> None:
    async with serving(live) as door:
        idle, busy = await door.client(), await door.client()
        await idle.ask(QUESTION)
        await busy.ask(QUESTION)
        await busy.send(QUESTION[:-5])
        while not door.server._busy:
            await asyncio.sleep(0)
        stopping = asyncio.create_task(door.runner.cleanup())
        await asyncio.sleep(0.01)
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", door.port)
        await busy.send(QUESTION[-5:])
        answer = await busy.answer()
        assert (answer.json["result"], answer.headers["connection"]) == ("accepted", "close")
        async with asyncio.timeout(2):
            await stopping
        assert await busy.is_closed()
        assert await idle.is_closed()


async def test_the_end_does_not_wait_for_ever(live: Live) -> None:
    async with serving(live, drain_timeout=0.05) as door:
        client = await door.client()
        await client.send(QUESTION[:-5])
        while not door.server._busy:
            await asyncio.sleep(0)
        async with asyncio.timeout(2):
            await door.runner.cleanup()
        assert await client.is_closed()


async def test_an_answer_on_its_way_is_not_lost_at_the_end(live: Live) -> None:
    async with serving(live) as door:
        client = await door.client()
        await client.ask(QUESTION)
        (connection,) = door.server.connections
        connection.data_received(QUESTION)
        await door.runner.cleanup()
        assert (await client.answer()).json["result"] == "accepted"


@pytest.mark.parametrize("request_", [QUESTION, get("/v1/conferences/7784321"), post(ASKED, version="HTTP/1.0")])
async def test_a_client_that_has_no_more_to_ask_still_gets_its_answer(served: Served, request_: bytes) -> None:
    """It sends its question and closes its side at once."""
    client = await served.client()
    client.writer.write(request_)
    client.writer.write_eof()
    assert (await client.answer()).status == 200
    assert await client.is_closed()


async def test_half_a_question_and_the_end_is_the_end(served: Served) -> None:
    client = await served.client()
    client.writer.write(QUESTION[:-5])
    client.writer.write_eof()
    assert await client.is_closed()


async def test_a_client_that_goes_away_in_the_middle_disturbs_nobody(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    for part in (QUESTION[:20], QUESTION[:-3], QUESTION):
        client = await served.client()
        await client.send(part)
        client.writer.transport.abort()
    assert (await served.ask(QUESTION)).json["result"] == "accepted"
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
