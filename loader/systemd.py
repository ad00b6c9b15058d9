"""What systemd and a service tell each other: sockets that are handed over, and how the service is (sd_listen_fds(3), sd_notify(3)).

Without systemd nothing is handed over and nothing is told.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog

log = structlog.get_logger(__name__)

_FIRST: Final = 3
"""The descriptor of the first socket that is handed over."""
_PATIENCE: Final = 1.0
"""Seconds that systemd has to take a word."""
_BETWEEN_WORDS: Final = 10.0
"""Seconds between two words where no watchdog asks for more."""


def take_sockets(environment: MutableMapping[str, str] = os.environ) -> dict[str, list[socket.socket]]:
    """The sockets that were handed over, by the names that their units give them (`FileDescriptorName=`).

    They are taken once: neither a child nor a second call finds them.
    """
    pid, count, names = (environment.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if pid != str(os.getpid()) or not count.isdecimal():
        return {}
    handed: dict[str, list[socket.socket]] = {}
    for place, name in enumerate((names.split(":") + [""] * int(count))[: int(count)]):
        one = socket.socket(fileno=_FIRST + place)
        one.setblocking(False)
        os.set_inheritable(one.fileno(), False)
        handed.setdefault(name, []).append(one)
    return handed


class ServiceManager:
    """Tells systemd how the service is. Nobody is told where `NOTIFY_SOCKET` is not set."""

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        self._address = environment.pop("NOTIFY_SOCKET", "")
        self._is_ready = False
        self._is_stopping = False
        self._status: Callable[[], str] = lambda: ""
        self._told = ""
        usec = environment.pop("WATCHDOG_USEC", "")
        pid = environment.pop("WATCHDOG_PID", "")
        self._watchdog = 0.0
        """Seconds after which a service that says nothing is killed; 0 if nobody watches."""
        if usec.isdecimal() and pid in ("", str(os.getpid())):
            self._watchdog = int(usec) / 1_000_000

    def ready(self) -> None:
        """The service does what it is for; also after it has read its settings again."""
        self._is_ready = True
        self._tell("READY=1", *self._news())

    def reloading(self) -> None:
        """Settings are being read again: `ready` must follow. One that is not ready yet says nothing."""
        if self._is_ready:
            self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reloaded(self) -> None:
        """They have been read, whatever came of it."""
        if self._is_ready:
            self._tell("READY=1")

    async def reload_whenever(self, told: asyncio.Event, read: Callable[[], Awaitable[None]]) -> None:
        """Have all read again whenever it is told to, for ever: once more if that is told while it is being done."""
        while True:
            await told.wait()
            told.clear()
            self.reloading()
            try:
                await read()
            except Exception as error:
                log.error("reload_failed", exc_info=error)
            self.reloaded()

    def stopping(self) -> None:
        """The service finishes what it has begun."""
        self._is_stopping = True
        self._tell("STOPPING=1", *self._news())

    @asynccontextmanager
    async def watched(self, status: Callable[[], str]) -> AsyncGenerator[None]:
        """Tell from the event loop that it runs, and how the service is in words, as long as the context lasts."""
        if not self._address:
            yield
            return
        self._status = status
        telling = asyncio.create_task(self._tell_again_and_again())
        try:
            yield
        finally:
            telling.cancel()
            await asyncio.wait((telling,))

    async def _tell_again_and_again(self) -> None:
        while True:
            words = ["WATCHDOG=1"] if self._watchdog else []
            between = self._watchdog / 2 or _BETWEEN_WORDS
            if not self._is_ready or self._is_stopping:
                # However long it loads or drains: it has not hung as long as these words come.
                words.append(f"EXTEND_TIMEOUT_USEC={int(between * 3_000_000)}")
            self._tell(*words, *self._news())
            await asyncio.sleep(between)

    def _news(self) -> list[str]:
        """How the service is in words, if that is not what was told last."""
        status = " ".join(self._status().split())
        if status == self._told:
            return []
        self._told = status
        return [f"STATUS={status}"]

    def _tell(self, *words: str) -> None:
        if not self._address or not words:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.settimeout(_PATIENCE)
            told.sendto("\n".join(words).encode(), address)
