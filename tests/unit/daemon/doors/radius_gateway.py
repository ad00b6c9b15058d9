"""A gateway that asks over RADIUS: pyrad's packets over a real socket, and the door that answers it."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

import structlog
from pyrad.dictionary import Dictionary
from pyrad.packet import AccountingRequest, AcctPacket, AuthPacket, Packet

from daemon.doors.radius import serving
from daemon.doors.radius_packet import DICTIONARY
from daemon.doors.surroundings import Surroundings
from daemon.live import Live
from daemon.metrics import Metrics
from daemon.throttle import NO_THROTTLE, Throttle
from loader.door_sections import Radius
from loader.keyring import Keyring

SECRET: Final = b"a-secret-of-the-tests-alone-4711"
NAMES: Final = Dictionary(str(DICTIONARY))
CONF_ID: Final = "02102944 600A1899 3FD61009 0E2F3CC5"
_numbers = count()


def _authenticator() -> bytes:
    """Another one each time, and the same ones in each run."""
    return hashlib.md5(b"%d" % next(_numbers)).digest()


def access(
    passcode: str | bytes = "7784321",
    pin: str | bytes | None = "004127",
    *,
    secret: bytes = SECRET,
    identifier: int = 7,
    signed: bool = True,
    **attributes: Any,
) -> Any:
    """An Access-Request as pyrad makes it; `_` in the names of attributes stands for `-`."""
    packet = AuthPacket(secret=secret, dict=NAMES, id=identifier, authenticator=_authenticator())
    packet["User-Name"] = passcode
    if pin is not None:
        packet["User-Password"] = packet.PwCrypt(pin)
    _add(packet, attributes)
    if signed:
        packet.add_message_authenticator()
    return packet


def accounting(status: str | None, *, secret: bytes = SECRET, identifier: int = 7, **attributes: Any) -> Any:
    """An Accounting-Request as pyrad makes it."""
    packet = AcctPacket(AccountingRequest, secret=secret, dict=NAMES, id=identifier)
    if status is not None:
        packet["Acct-Status-Type"] = status
    _add(packet, attributes)
    return packet


def status_server(kind: type[Packet], *, secret: bytes = SECRET, signed: bool = True) -> Any:
    """A Status-Server as pyrad makes it, to either port."""
    return kind(12, secret=secret, dict=NAMES, id=7, authenticator=_authenticator(), message_authenticator=signed)


def _add(packet: Any, attributes: dict[str, Any]) -> None:
    for name, values in attributes.items():
        for value in values if isinstance(values, list) else [values]:
            packet.AddAttribute(name.replace("_", "-"), value)


def is_signed_first(reply: bytes) -> bool:
    """Whether the Message-Authenticator stands before all other attributes."""
    return reply[20:22] == b"\x50\x12"


def pairs(reply: Any) -> dict[str, str]:
    """What the gateway's script reads."""
    told = (value.removeprefix("h323-ivr-in=").partition(":") for value in reply.get("Cisco-AVPair", ()))
    return {name: value for name, _, value in told}


class Gateway:
    """One socket of a gateway."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)

    def send(self, datagram: bytes, *, to_accounting: bool = False) -> None:
        port = self._served.accounting_port if to_accounting else self._served.port
        self.socket.sendto(datagram, ("127.0.0.1", port))

    async def heard(self) -> bytes:
        """The next datagram that comes back."""
        async with asyncio.timeout(10):
            return await asyncio.get_running_loop().sock_recv(self.socket, 65536)

    async def ask(self, request: Any) -> Any:
        """The answer, after it was seen to be one to this request and made with the secret."""
        self.send(request.RequestPacket(), to_accounting=isinstance(request, AcctPacket))
        answer = await self.heard()
        assert len(answer) <= 4096
        reply = request.CreateReply(packet=answer)
        assert request.VerifyReply(reply, answer, enforce_ma=request.code != AccountingRequest)
        if request.code != AccountingRequest:
            assert is_signed_first(answer)
        return reply

    async def is_silent_to(self, datagram: bytes, *, to_accounting: bool = False) -> bool:
        """Whether this is not answered, while what is asked after it is."""
        self.send(datagram, to_accounting=to_accounting)
        following = accounting("Interim-Update", identifier=255) if to_accounting else access(pin="", identifier=255)
        self.send(following.RequestPacket(), to_accounting=to_accounting)
        return (await self.heard())[1] == 255


class Served:
    """A door that is open, and what it counts."""

    def __init__(self, port: int, accounting_port: int, metrics: Metrics) -> None:
        self.port, self.accounting_port, self.metrics = port, accounting_port, metrics
        self._gateways: list[Gateway] = []

    def gateway(self) -> Gateway:
        self._gateways.append(Gateway(self))
        return self._gateways[-1]

    def verifications(self, result: str) -> float:
        labels = {"door": "radius", "result": result}
        return self.metrics.registry.get_sample_value("rollcall_verifications_total", labels) or 0.0

    def dropped(self, why: str) -> float:
        labels = {"door": "radius", "why": why}
        return self.metrics.registry.get_sample_value("rollcall_questions_dropped_total", labels) or 0.0

    def calls(self, event: str) -> float:
        labels = {"door": "radius", "event": event}
        return self.metrics.registry.get_sample_value("rollcall_call_events_total", labels) or 0.0

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for what has to come about in the door."""
        async with asyncio.timeout(10):
            while not is_so():
                await asyncio.sleep(0)

    def close(self) -> None:
        for gateway in self._gateways:
            gateway.socket.close()


def clients_file(folder: Path, text: str = f"127.0.0.1 {SECRET.decode()}\n") -> Path:
    """A file of clients that nobody else can read."""
    file = folder / "radius-clients"
    file.write_text(text)
    file.chmod(0o600)
    return file


def no_keyring() -> Keyring:
    raise NotImplementedError


def surroundings(live: Live, throttle: Throttle = NO_THROTTLE) -> Surroundings:
    return Surroundings(live, Metrics("0"), no_keyring, lambda: 5.0, throttle)


@asynccontextmanager
async def opened_door(live: Live, folder: Path, throttle: Throttle = NO_THROTTLE) -> AsyncIterator[Served]:
    """The door at ports that the system has chosen."""
    around = surroundings(live, throttle)
    settings = Radius(enabled=True, port=0, accounting_port=0, clients_file=str(clients_file(folder)))
    opening = serving(settings, around)
    with structlog.testing.capture_logs() as logged:
        port = await opening.__aenter__()
    (accounting_port,) = (line["port"] for line in logged if line["event"] == "radius_accounting_opened")
    served = Served(port, accounting_port, around.metrics)
    try:
        yield served
    finally:
        served.close()
        await opening.__aexit__(None, None, None)
