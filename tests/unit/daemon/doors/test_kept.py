"""No door says that a caller is accepted before that is kept."""

from __future__ import annotations

import asyncio
import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from daemon.doors import fastagi, httapi, radius
from daemon.doors.radius_packet import USER_NAME, USER_PASSWORD, Secret, attribute
from daemon.doors.surroundings import Surroundings
from daemon.live import Live
from daemon.metrics import Metrics
from daemon.throttle import NO_THROTTLE
from loader.door_sections import FastAgi, Httapi, Radius
from loader.keyring import Keyring
from tests.unit.daemon.doors.asterisk import environment
from tests.unit.daemon.doors.conftest import post
from tests.unit.daemon.doors.radius_gateway import SECRET, clients_file
from tests.unit.daemon.doors.test_calls import SlowRoll

_A_WHILE = 0.05
"""Seconds in which an answer that does not wait would have come."""


@pytest.fixture
def roll() -> SlowRoll:
    roll = SlowRoll()
    roll.is_slow = True
    return roll


@pytest.fixture
def surroundings(live: Live, roll: SlowRoll, keyring: Keyring) -> Surroundings:
    return Surroundings(live, Metrics("0"), lambda: keyring, lambda: 5.0, NO_THROTTLE, roll)


async def told(roll: SlowRoll, *expected: str) -> None:
    """Wait until the roll has been told this."""
    async with asyncio.timeout(10):
        while not any(event[: len(expected)] == expected for event in roll.told):
            await asyncio.sleep(0)


async def silent(reader: asyncio.StreamReader) -> bool:
    """Whether nothing comes."""
    try:
        async with asyncio.timeout(_A_WHILE):
            return not await reader.read(1)
    except TimeoutError:
        return True


async def test_asterisk_is_told_nothing_before(surroundings: Surroundings, roll: SlowRoll) -> None:
    async with fastagi.serving(msgspec.structs.replace(FastAgi(), port=0), surroundings) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(environment("verify", "7784321", "004127"))
        roll.release()
        async with asyncio.timeout(10):
            while not roll.waits:
                await asyncio.sleep(0)
            roll.release()
            line = await reader.readline()
        mark = line.split(b'"')[1]
        writer.write(b"200 result=1 (%b)\n" % mark)
        await told(roll, "admitted", "fastagi")
        assert await silent(reader)
        roll.is_slow = False
        roll.release()
        async with asyncio.timeout(10):
            assert b"accepted" in await reader.readline()
        writer.close()


async def test_what_asterisk_is_told_in_one_turn_waits_together(surroundings: Surroundings, roll: SlowRoll) -> None:
    loop = asyncio.get_running_loop()
    door = fastagi.FastAgiDoor(FastAgi(), surroundings, loop)
    sent: list[bytes] = []

    class Transport(asyncio.Transport):
        def write(self, data: Any) -> None:
            sent.append(data)

        def abort(self) -> None:
            """Nobody is there."""

    connections = [fastagi._Connection(door, loop) for _ in range(3)]
    for connection in connections:
        connection.connection_made(Transport({"peername": ("127.0.0.1", 5060)}))
        connection.data_received(environment("verify", "7784321", "004127"))
    await asyncio.sleep(0)
    assert roll.waits == 1
    assert not sent
    roll.is_slow = False
    roll.release()
    assert [line[:18] for line in sent] == [b"GET FULL VARIABLE "] * 3
    for connection in connections:
        connection.connection_lost(None)
    await door.drain(1.0)


@pytest.mark.parametrize("event", ["joined", "left"])
async def test_asterisk_goes_on_only_when_it_is_kept_that_a_caller_has_come_or_gone(
    surroundings: Surroundings, roll: SlowRoll, event: str
) -> None:
    async with fastagi.serving(msgspec.structs.replace(FastAgi(), port=0), surroundings) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(environment(event))
        await told(roll, event, "fastagi")
        assert await silent(reader)
        assert roll.waits
        roll.is_slow = False
        roll.release()
        async with asyncio.timeout(10):
            with suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()


async def test_a_gateway_of_radius_is_told_nothing_before(
    surroundings: Surroundings, roll: SlowRoll, tmp_path: Path
) -> None:
    settings = Radius(enabled=True, port=0, accounting_port=0, clients_file=str(clients_file(tmp_path)))
    answers: asyncio.Queue[bytes] = asyncio.Queue()

    class Gateway(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            answers.put_nowait(data)

    async with radius.serving(settings, surroundings) as port:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(Gateway, remote_addr=("127.0.0.1", port))
        transport.sendto(access_request())
        await told(roll, "admitted", "radius")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(_A_WHILE):
                await answers.get()
        roll.is_slow = False
        roll.release()
        async with asyncio.timeout(10):
            assert (await answers.get())[0] == 2
        transport.close()


def access_request() -> bytes:
    authenticator = os.urandom(16)
    pad = hashlib.md5(SECRET + authenticator).digest()
    hidden = bytes(one ^ other for one, other in zip(pad, b"004127".ljust(16, b"\0"), strict=True))
    body = attribute(USER_NAME, b"7784321") + attribute(USER_PASSWORD, hidden)
    head = bytes((1, 7)) + (20 + len(body) + 18).to_bytes(2) + authenticator
    unsigned = head + body + b"\x50\x12" + bytes(16)
    return unsigned[:-16] + Secret(SECRET).signature(unsigned)


async def test_a_door_over_http_says_nothing_before(surroundings: Surroundings, roll: SlowRoll) -> None:
    """As FreeSWITCH asks; the others over HTTP have the same server."""
    async with httapi.serving(msgspec.structs.replace(Httapi(), port=0), surroundings) as port:
        roll.is_slow = False
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def ask(**fields: str) -> None:
            body = "&".join(f"{name}={value}" for name, value in {"session_id": "1", **fields}.items()).encode()
            writer.write(post(body, "/httapi", media_type="application/x-www-form-urlencoded"))

        async def document() -> str:
            async with asyncio.timeout(10):
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                return (await reader.readexactly(int(head.partition("Content-Length: ")[2].split()[0]))).decode()

        await ask()
        state = (await document()).partition("<rollcall_state>")[2].partition("<")[0]
        roll.is_slow = True
        # It wants no PIN.
        await ask(rollcall_state=state, rollcall_digits="7784322")
        await told(roll, "admitted", "httapi")
        assert await silent(reader)
        roll.is_slow = False
        roll.release()
        assert "<continue" in await document()
        writer.close()
