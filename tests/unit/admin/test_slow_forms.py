"""Whoever sends a form byte by byte is let go; who is only slow is served."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest
from aiohttp.test_utils import TestServer

from admin import security

_KINDS: Final = {
    "/signin": "application/x-www-form-urlencoded",
    "/upload": "multipart/form-data; boundary=part",
}


@pytest.mark.parametrize("path", _KINDS)
async def test_a_form_that_does_not_come_to_its_end_is_given_up(
    server: TestServer, path: str, monkeypatch: pytest.MonkeyPatch, browser: object
) -> None:
    monkeypatch.setattr(security, "BODY_TIMEOUT", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {_KINDS[path]}\r\nContent-Length: 1000\r\n\r\n"
    writer.write(head.encode())
    async with asyncio.timeout(10):
        answered = asyncio.ensure_future(reader.readline())
        while not answered.done():
            writer.write(b"a")
            await asyncio.wait((answered,), timeout=0.02)
    assert answered.result().startswith(b"HTTP/1.1 408 " if path == "/signin" else b"HTTP/1.1 4")
    writer.close()
