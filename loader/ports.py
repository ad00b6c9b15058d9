"""How a service listens: on its own sockets or on those that systemd holds for it, plain or with TLS."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from typing import Any, Final, TypeAlias

import structlog
from aiohttp import web

from loader.sections import Tls
from loader.service import PortError, most_connections
from loader.tls import TlsMetrics, TlsPort, tls_port

log = structlog.get_logger(__name__)

_HANDSHAKE: Final = 5.0
"""Seconds that a TLS handshake may take."""
_AT_A_TIME: Final = 64
"""Connections that are accepted in one turn of the event loop."""
_MOST_HANDSHAKES: Final = 2000
"""Handshakes that may be under way at a port. For one more the oldest goes: those that are honest are the younger ones."""
_LAST_HANDSHAKES: Final = 1.0
"""Seconds that handshakes may still take at the end."""
_NO_FILES: Final = 1.0
"""Seconds until it is tried again to accept when the system has no more files."""
_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

ProtocolFactory: TypeAlias = Callable[[], asyncio.BaseProtocol]
PLAIN: Final = Tls()


class Ports:
    """What opens the ports of a service. `handed` are the sockets that systemd holds for it.

    A socket is taken for a port if it has the name that the port has in the settings, such as `daemon.port`; host and
    port of the settings then say nothing.
    """

    def __init__(
        self, metrics: TlsMetrics | None = None, handed: Mapping[str, Sequence[socket.socket]] | None = None
    ) -> None:
        self._metrics = metrics or TlsMetrics(None, "rollcall")
        self._handed = dict(handed or {})
        self._encrypted: list[TlsPort] = []

    def holds(self, setting: str) -> bool:
        """Whether systemd holds a socket for this port that it has not taken yet: who connects to it waits."""
        return setting in self._handed

    async def shared(
        self, setting: str, host: str, port: int, processes: int, backlog: int
    ) -> list[list[socket.socket]]:
        """The sockets of a port for so many processes, listening; the first of them are this process's own.

        Each process has one of its own for each address, among which the system shares out who connects; those that
        systemd holds are every process's. While one of them is open, who connects to it is not lost: whoever has its
        copy may accept him. Raises PortError.
        """
        handed = self._handed.get(setting)
        if handed is not None:
            return [list(handed), *([one.dup() for one in handed] for _ in range(processes - 1))]
        try:
            sockets = await _bound_together(host, port, processes)
        except OSError as error:
            raise PortError(setting, host, port, error) from None
        for each in sockets:
            for one in each:
                # Not before all are bound: who is there first would else be the one to accept all.
                one.listen(backlog)
        self._handed[setting] = sockets[0]
        return sockets

    def tell_unused(self) -> None:
        """Tell of the sockets that no port has taken: who connects to them waits for ever."""
        for name in self._handed:
            log.warning("socket_not_used", name=name)

    async def read_certificates_again(self) -> None:
        """As they are read by themselves, but now."""
        await asyncio.gather(*(port.read_again() for port in self._encrypted))

    async def sockets(
        self, setting: str, host: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM
    ) -> list[socket.socket]:
        """The sockets of a port, bound: one for each address of its host. Raises PortError."""
        handed = self._handed.pop(setting, None)
        if handed is not None:
            wrong = any(
                one.family not in (socket.AF_INET, socket.AF_INET6)
                or one.type != kind
                or (kind == socket.SOCK_STREAM and not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
                for one in handed
            )
            if wrong:
                raise PortError(setting, host, port, OSError(errno.EPROTOTYPE, "systemd holds another kind of socket"))
            return list(handed)
        try:
            return await _bound(host, port, kind)
        except OSError as error:
            raise PortError(setting, host, port, error) from None

    @asynccontextmanager
    async def accepting(
        self,
        factory: ProtocolFactory,
        setting: str,
        host: str,
        port: int,
        *,
        tls: Tls = PLAIN,
        backlog: int = 128,
    ) -> AsyncGenerator[int]:
        """Accept connections as long as the context lasts; the port. `setting` is how it is called in the settings.

        At the end handshakes that are under way are waited for. Raises PortError, SettingsError.
        """
        encrypted = tls_port(setting.rpartition(".")[0], tls, self._metrics)
        sockets = await self.sockets(setting, host, port)
        async with AsyncExitStack() as stack:
            for one in sockets:
                stack.callback(one.close)
            try:
                for one in sockets:
                    one.listen(backlog)
            except OSError as error:
                raise PortError(setting, host, port, error) from None
            if encrypted is None:
                await stack.enter_async_context(_plain(factory, sockets, backlog))
            else:
                self._encrypted.append(encrypted)
                stack.callback(self._encrypted.remove, encrypted)
                await stack.enter_async_context(_Handshakes(factory, encrypted).accepting(sockets))
            yield sockets[0].getsockname()[1]

    @asynccontextmanager
    async def listening(
        self,
        runner: web.BaseRunner,
        setting: str,
        host: str,
        port: int,
        *,
        tls: Tls = PLAIN,
        backlog: int = 128,
        last_words: float = 0.0,
    ) -> AsyncGenerator[int]:
        """Serve HTTP, and finish what is under way at the end; the port. As :meth:`accepting`.

        At the end connections that are idle have `last_words` seconds more, in which a question on its way still comes.
        """
        await runner.setup()
        try:
            factory = runner.server
            if factory is None:  # pragma: no cover - as it is set up
                raise RuntimeError("the runner has no server")
            async with self.accepting(factory, setting, host, port, tls=tls, backlog=backlog) as listened:
                yield listened
            if factory.connections:
                await asyncio.sleep(last_words)
        finally:
            await runner.cleanup()


class _Handshakes:
    """Accepts connections and has each begin with TLS, under the certificate that is in force at that moment.

    An event loop does so by itself too, but keeps to the context that it began with, and tells nobody of the
    handshakes that fail.
    """

    def __init__(self, factory: ProtocolFactory, port: TlsPort) -> None:
        self._factory = factory
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._most = most_connections(_MOST_HANDSHAKES)
        self._under_way: dict[asyncio.Task[None], None] = {}

    @asynccontextmanager
    async def accepting(self, sockets: Sequence[socket.socket]) -> AsyncGenerator[None]:
        """Accept as long as the context lasts, and finish the handshakes that are under way then."""
        following = asyncio.create_task(self._port.follow())
        for one in sockets:
            self._loop.add_reader(one, self._accept_some, one)
        try:
            yield
        finally:
            for one in sockets:
                self._loop.remove_reader(one)
                for connection in _waiting(one, self._most):
                    self._begin(connection)
                # Who comes now is better told at once, or is answered by the next service.
                one.close()
            following.cancel()
            await asyncio.wait((following, *self._under_way), timeout=_LAST_HANDSHAKES)
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

    def _accept_some(self, listening: socket.socket) -> None:
        # Not by `sock_accept`: a task that is cancelled at the wrong moment loses the connection.
        for _ in range(_AT_A_TIME):
            try:
                connection, _address = listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    log.error("cannot_accept", problem=error.strerror)
                    self._loop.remove_reader(listening)
                    self._loop.call_later(_NO_FILES, self._accept_again, listening)
                    return
                # Anything else is the fault of that one connection (accept(2)).
                continue
            self._begin(connection)

    def _begin(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        task = self._loop.create_task(self._shake_hands(connection))
        self._under_way[task] = None
        task.add_done_callback(self._is_over)
        if len(self._under_way) > self._most:
            oldest = next(iter(self._under_way))
            del self._under_way[oldest]
            oldest.cancel()

    def _is_over(self, task: asyncio.Task[None]) -> None:
        self._under_way.pop(task, None)

    def _accept_again(self, listening: socket.socket) -> None:
        if listening.fileno() >= 0:
            self._loop.add_reader(listening, self._accept_some, listening)

    async def _shake_hands(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._factory, connection, ssl=self._port.context, ssl_handshake_timeout=_HANDSHAKE
            )
        except OSError as error:
            self._port.refused(error)
        except asyncio.CancelledError:
            # It has taken too long: for the end, or as there are too many.
            self._port.refused(TimeoutError())


def _waiting(listening: socket.socket, most: int) -> Iterator[socket.socket]:
    """Those who wait to be accepted, up to so many: others may go on coming."""
    with suppress(OSError):
        for _ in range(most):
            connection, _address = listening.accept()
            connection.setblocking(False)
            yield connection


@asynccontextmanager
async def _plain(factory: ProtocolFactory, sockets: Sequence[socket.socket], backlog: int) -> AsyncGenerator[None]:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(factory, sock=one, backlog=backlog) for one in sockets]
    try:
        yield
    finally:
        # Who is connected as far as he knows would be told that he is not.
        waiting = [connection for one in sockets for connection in _waiting(one, backlog)]
        for server in servers:
            server.close()
        for connection in waiting:
            await loop.connect_accepted_socket(factory, connection)


async def _bound(host: str, port: int, kind: socket.SocketKind) -> list[socket.socket]:
    """Sockets that are bound to all addresses of a host. Raises OSError."""
    with ExitStack() as stack:
        sockets = []
        for family, protocol, address in await _addresses(host, port, kind):
            sockets.append(_bound_to(family, kind, protocol, address, stack))
        stack.pop_all()
    return sockets


async def _bound_together(host: str, port: int, processes: int) -> list[list[socket.socket]]:
    """For each of so many processes such sockets, which share what comes. Raises OSError."""
    sockets: list[list[socket.socket]] = [[] for _ in range(processes)]
    with ExitStack() as stack:
        for family, protocol, address in await _addresses(host, port, socket.SOCK_STREAM):
            with ExitStack() as first:
                # Without it another service of the same user could listen here too, and nobody would be told.
                probe = _bound_to(family, socket.SOCK_STREAM, protocol, address, first)
                probe.listen()
                free = probe.getsockname()
            for each in sockets:
                each.append(_bound_to(family, socket.SOCK_STREAM, protocol, free, stack, is_shared=True))
        stack.pop_all()
    return sockets


def beside_these(sockets: Sequence[socket.socket], backlog: int) -> list[socket.socket]:
    """Sockets of one more process, which share what comes with those that it has :meth:`Ports.shared`. Raises OSError."""
    with ExitStack() as stack:
        found = [
            _bound_to(one.family, socket.SOCK_STREAM, one.proto, one.getsockname(), stack, is_shared=True)
            for one in sockets
        ]
        for one in found:
            one.listen(backlog)
        stack.pop_all()
    return found


async def _addresses(
    host: str, port: int, kind: socket.SocketKind
) -> Iterable[tuple[socket.AddressFamily, int, tuple[Any, ...]]]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=kind, flags=socket.AI_PASSIVE)
    return dict.fromkeys((family, protocol, address) for family, _, protocol, _, address in found)


def _bound_to(
    family: socket.AddressFamily,
    kind: socket.SocketKind,
    protocol: int,
    address: tuple[Any, ...],
    stack: ExitStack,
    *,
    is_shared: bool = False,
) -> socket.socket:
    one = stack.enter_context(socket.socket(family, kind, protocol))
    one.setblocking(False)
    if kind == socket.SOCK_STREAM:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if is_shared:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    one.bind(address)
    return one
