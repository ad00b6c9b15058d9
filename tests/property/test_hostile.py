"""The most that each edge lets in, in the shapes that cost most: little memory, and little time, whatever it holds.

Memory is what Python makes room for beyond the input itself, at most. Time is the processor's, with plenty to spare:
what takes seconds here grows with the square of something.
"""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
import structlog
from pytest import param  # noqa: PT013 - it stands in front of every line of a long table

from daemon.doors.agi_protocol import MAX_ENVIRONMENT, MAX_LINE
from daemon.doors.http_server import MAX_BODY
from daemon.doors.http_serving import MAX_BODY as MAX_POSTED
from daemon.doors.radius_packet import MAX_PACKET
from loader.compiled import Block, compile_list
from loader.directory_file import parse_directory
from loader.errors import BlockError, DirectoryError, SettingsError
from loader.keyring import Keyring
from loader.listfile import WEB_LIMITS, check, columns
from loader.model import Revision
from loader.settings import load_settings
from tests.fuzz import wire
from tests.fuzz.disk import file_with
from tests.fuzz.harness import PART

MB: Final = 1_000_000
SECONDS: Final = 3.0
LARGE: Final = 200_000
"""Bytes."""
MOST_BYTES: Final = WEB_LIMITS.max_bytes or 0
_HEADER: Final = columns.HEADER + "\n"


def filled(piece: str, size: int, start: str = "") -> bytes:
    """So many bytes of the same."""
    return (start + piece * (size // len(piece) + 1)).encode()[:size]


def listed(data: bytes) -> None:
    check(data, filename="list.csv", limits=WEB_LIMITS)


def directory(data: bytes) -> None:
    for kind in ("toml", "json"):
        with pytest.raises(DirectoryError):
            parse_directory(data, format=kind)


def settings(data: bytes) -> None:
    with pytest.raises(SettingsError):
        load_settings(file_with("hostile.toml", data), {})


def block(data: bytes) -> None:
    with pytest.raises(BlockError):
        list(Block(data, Revision(1)).entries())


def keys(names: int) -> bytes:
    """An object with so many keys."""
    return json.dumps({f"k{number}": "" for number in range(names)}).encode()


def form(names: int) -> bytes:
    return "&".join(f"k{number}=" for number in range(names)).encode()


def http(head: str) -> bytes:
    return f"POST /v1/verify HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode()


def posted(name: str) -> Callable[[bytes], None]:
    """A platform's door, its body signed; at most twice a body's bytes, as a query and a state may stand before it."""
    harness = wire.HARNESSES[name]
    parts = 3 if name == "voicexml" else 2
    return lambda data: harness.check(PART * parts + data)


QUESTION: Final = wire.HARNESSES["question"].check
HTTP: Final = wire.HARNESSES["http"].check
AGI: Final = wire.HARNESSES["fastagi"].check
RADIUS: Final = wire.HARNESSES["radius"].check
_GOOD: Final = compile_list(())

SHAPES = [
    # A list file on the web: 1,000,000 bytes.
    *(
        param(listed, filled(piece, MOST_BYTES, _HEADER), 40 * MB, id=f"list file: {name}")
        for name, piece in {
            "one field": "x",
            "commas": ",",
            "quotes": '"',
            "empty lines": "\n",
            "tiny lines": "1\n",
            "many fields before each open quote": "," * 4900 + '"\n' + '""\n' * 19,
            "an open quote in each line": 'a,"b\n',
            "empty quoted fields": '""\n',
            "digits": "1" * 9000 + "\n",
            "blanks": " \xa0",
            "addresses": "1234,a,b,c,d," + "a@" * 60 + ",e,f,g\n",
            "the same PIN": "1234,a,b,c,,,d,e,\n",
            "control characters": "\x01,\x02,\x03,\x04,,,\x05,\x06,\n",
            "surrogate pairs": "\U0001f600",
        }.items()
    ),
    param(listed, (_HEADER + "".join(f"{n},a,b,{n},,,{n},{n},\n" for n in range(10, 50_000))).encode()[:MOST_BYTES],
          40 * MB, id="list file: another place in each line"),
    param(listed, b"\xff\xfe" + (_HEADER + "x\n" * 250_000).encode("utf-16-le")[: MOST_BYTES - 2], 40 * MB,
          id="list file: UTF-16"),
    param(listed, b"PK\x03\x04" + bytes(MOST_BYTES - 4), MB, id="list file: an archive is not unpacked"),
    param(listed, b"\xc3\xe9" * (MOST_BYTES // 2), 40 * MB, id="list file: broken UTF-8"),
    # A question: 4 KiB.
    *(
        param(QUESTION, b"j" + body[:MAX_BODY], MB, id=f"JSON: {name}")
        for name, body in {
            "arrays in arrays": b"[" * MAX_BODY,
            "objects in objects": b'{"a":' * (MAX_BODY // 5),
            "keys": keys(400),
            "one key": b'{"' + b"x" * MAX_BODY,
            "the same key": b'{"pin":"1",' + b'"pin":"1",' * (MAX_BODY // 10),
            "a long number": b'{"pin":' + b"9" * (MAX_BODY - 8) + b"}",
            "a large exponent": b'{"passcode":"1","pin":1e999999999}',
            "escapes": b'{"pin":"' + b"\\u00e9" * (MAX_BODY // 6),
            "blanks": b" " * MAX_BODY,
        }.items()
    ),
    param(QUESTION, b"f" + form(700)[:MAX_BODY], MB, id="form: names"),
    param(QUESTION, b"f" + b"&" * MAX_BODY, MB, id="form: separators"),
    param(QUESTION, b"f" + b"%" * MAX_BODY, MB, id="form: percent signs"),
    # A request's head, and what comes instead of one.
    param(HTTP, http("\r\n".join(f"X-{n}: 1" for n in range(2000))), 4 * MB, id="HTTP: many headers"),
    param(HTTP, http("\r\n".join(["X: 1"] * 5000)), 4 * MB, id="HTTP: the same header"),
    param(HTTP, http("X: " + "x" * 100_000), 4 * MB, id="HTTP: a long header"),
    param(HTTP, http("Authorization: Bearer " + "x" * 8000), 4 * MB, id="HTTP: a long token"),
    param(HTTP, b"GET /" + b"%41" * 30_000 + b" HTTP/1.1\r\n\r\n", 4 * MB, id="HTTP: a long address"),
    param(HTTP, b"\r\n" * 50_000, 4 * MB, id="HTTP: empty lines"),
    param(HTTP, b"x" * 100_000, 4 * MB, id="HTTP: no line"),
    param(HTTP, http("Transfer-Encoding: chunked") + b"1\r\nx\r\n" * 20_000, 8 * MB, id="HTTP: tiny chunks"),
    param(HTTP, http("Transfer-Encoding: chunked") + b"1;" + b"x" * 100_000, 8 * MB, id="HTTP: a long extension"),
    param(HTTP, http("Content-Length: 0") * 300, 4 * MB, id="HTTP: a row of requests"),
    # FastAGI: 16 KiB of environment, 4 KiB a line.
    param(AGI, b"agi_network: yes\n" + b"agi_x: \n" * (MAX_ENVIRONMENT // 8), MB, id="FastAGI: many lines"),
    param(AGI, b"agi_" + b"x" * (2 * MAX_ENVIRONMENT), MB, id="FastAGI: a long line"),
    param(AGI, b"\n" * (2 * MAX_ENVIRONMENT), MB, id="FastAGI: empty lines"),
    param(AGI, wire.AGI + PART + b"520-x\n" + b"\n" * MAX_LINE, MB, id="FastAGI: usage without end"),
    param(AGI, PART.join([wire.AGI[n : n + 1] for n in range(len(wire.AGI))]), MB, id="FastAGI: byte by byte"),
    # RADIUS: 4 KiB.
    param(RADIUS, b"s\x01\x07\0\0" + bytes(16) + b"\x21\x02" * ((MAX_PACKET - 38) // 2), MB,
          id="RADIUS: the same attribute"),
    param(RADIUS, b"s\x01\x07\0\0" + bytes(16) + b"\x1a\xff\0\0\0\x09" + b"\x01\x02" * 2000, MB,
          id="RADIUS: attributes within attributes"),
    # What platforms post: 64 KiB.
    *(
        param(posted(name), body, 16 * MB, id=f"{name}: {what}")
        for name in ("twiml", "httapi", "voicexml")
        for what, body in {
            "names": form(9000)[:MAX_POSTED],
            "separators": b"&" * MAX_POSTED,
            "percent signs": b"%" * MAX_POSTED,
            "digits": b"Digits=" + b"1*" * (MAX_POSTED // 2 - 4),
        }.items()
    ),
    *(
        param(posted("jambonz"), body, 8 * MB, id=f"jambonz: {what}")
        for what, body in {
            "arrays in arrays": b"[" * MAX_POSTED,
            "objects in objects": b'{"a":' * (MAX_POSTED // 5),
            "keys": keys(6000)[:MAX_POSTED],
            "a long number": b'{"x":' + b"9" * (MAX_POSTED - 6) + b"}",
        }.items()
    ),
    # Files of the operator's own, which have no limit: a megabyte of each.
    param(directory, b"[" * MB, 40 * MB, id="directory: arrays in arrays"),
    param(directory, b'{"a":' * (MB // 5), 40 * MB, id="directory: objects in objects"),
    param(directory, json.dumps({"company": [{}] * 10_000}).encode(), 40 * MB, id="directory: empty companies"),
    param(directory, b"a.b.c.d = 1\n" * 20_000, 40 * MB, id="directory: the same key"),
    param(settings, b"a = " + b"[" * MB, 40 * MB, id="settings: arrays in arrays"),
    param(settings, b"".join(b"[k%d]\n" % n for n in range(4000)), 40 * MB, id="settings: sections"),
    param(settings, b"x = " + b"9" * MB, 150 * MB, id="settings: a long number"),
    param(block, _GOOD[:8] + b"\xff" * 20, MB, id="block: counts beyond all bounds"),
    param(block, _GOOD[:8] + b"\xff\xff\xff\x7f" + bytes(16), MB, id="block: a count without entries"),
]  # fmt: skip


@pytest.mark.parametrize(("read", "data", "memory"), SHAPES)
def test_nothing_that_is_let_in_takes_much(read: Callable[[bytes], None], data: bytes, memory: int) -> None:
    with structlog.testing.capture_logs():
        begun = time.process_time()
        read(data)
        took = time.process_time() - begun
        # To look at memory takes ten times as long: of what is large, at the first part of it.
        part = data if len(data) < LARGE else data[: len(data) // 5]
        tracemalloc.start()
        try:
            read(part)
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert most < memory * len(part) / len(data), f"{most:,} bytes"
    assert took < SECONDS, f"{took:.1f} s"


def test_a_key_file_and_a_clients_file_may_be_of_any_size(tmp_path: Path) -> None:
    """They are told to be wrong at their first line, or at each, without a copy of either."""
    from daemon.doors.radius_clients import Clients
    from loader.errors import KeyFileError

    file = tmp_path / "file"
    file.touch(mode=0o600)
    file.write_bytes(b"x\n" * (MB // 20))
    begun = time.process_time()
    with pytest.raises(KeyFileError):
        Keyring.load(file)
    with pytest.raises(SettingsError):
        Clients.read(str(file))
    assert time.process_time() - begun < 2 * SECONDS
