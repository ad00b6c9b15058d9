"""How services listen: with TLS, under certificates that change, and on sockets that were handed over."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvloop
from aiohttp import web
from prometheus_client import CollectorRegistry

from loader import ports as module
from loader import tls
from loader.errors import SettingsError
from loader.ports import Ports
from loader.sections import Tls
from loader.service import PortError
from loader.tls import TlsMetrics
from tests.unit.loader.certificates import Authority, Pair, put

REQUEST = b"GET / HTTP/1.1\r\nHost: rollcall.example.com\r\n\r\n"
LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]


class Listening:
    """A server with TLS, and clients of it."""

    def __init__(self, folder: Path, *, mutual: bool = False) -> None:
        self.folder = folder
        self.authority, self.clients = Authority(), Authority("Clients")
        self.registry = CollectorRegistry()
        self.ports = Ports(TlsMetrics(self.registry, "rollcall"))
        self.certificate, self.key = self.authority.signs().write(folder, "server")
        self.client_ca = folder / "clients.pem"
        put(self.client_ca, self.clients.certificate)
        self.files = Tls(
            certificate=str(self.certificate), key=str(self.key), client_ca=str(self.client_ca) if mutual else ""
        )
        self.port = 0

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        async def answer(_request: web.BaseRequest) -> web.StreamResponse:
            return web.Response(text="answered")

        runner = web.ServerRunner(web.Server(answer, access_log=None))
        async with self.ports.listening(runner, "daemon.port", "127.0.0.1", 0, tls=self.files) as self.port:
            yield

    def trust(self, client: Pair | None = None, *, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """What a client brings along."""
        context = ssl.create_default_context(cadata=self.authority.certificate.decode())
        if version is not None:
            context.minimum_version = context.maximum_version = version
        if client is not None:
            certificate, key = client.write(self.folder, "client")
            context.load_cert_chain(certificate, key)
        return context

    async def ask(self, context: ssl.SSLContext) -> tuple[bytes, dict[str, Any]]:
        """An answer, and the certificate that was shown with it. Raises OSError, or IncompleteReadError."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context)
        try:
            writer.write(REQUEST)
            answer = await reader.readuntil(b"answered")
            shown: dict[str, Any] = writer.get_extra_info("peercert")
            return answer, shown
        finally:
            writer.transport.abort()

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, {"port": "daemon", **labels})

    @property
    def failures(self) -> float:
        return self.value("rollcall_certificate_failures_total") or 0

    async def counts(self, why: str, count: float = 1.0) -> None:
        """Wait until so many handshakes came to nothing for this reason."""
        async with asyncio.timeout(10):
            while self.value("rollcall_handshakes_refused_total", why=why) != count:
                await asyncio.sleep(0.001)


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Coroutine[Any, Any, None]], None]]:
    """Runs a test on an event loop of each kind."""
    with asyncio.Runner(loop_factory=request.param, debug=True) as runner:
        yield runner.run


Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture
def listening(tmp_path: Path) -> Listening:
    return Listening(tmp_path)


@pytest.fixture
def mutual(tmp_path: Path) -> Listening:
    return Listening(tmp_path, mutual=True)


# The handshake


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_spoken(run: Run, listening: Listening, version: ssl.TLSVersion) -> None:
    """With HTTP/1.1 by ALPN, and nothing without forward secrecy."""

    async def test() -> None:
        context = listening.trust(version=version)
        context.set_alpn_protocols(["h2", "http/1.1"])
        async with listening.open():
            reader, writer = await asyncio.open_connection("127.0.0.1", listening.port, ssl=context)
            spoken = writer.get_extra_info("ssl_object")
            assert (spoken.version(), spoken.selected_alpn_protocol()) == (version.name.replace("_", "."), "http/1.1")
            writer.write(REQUEST * 2)
            for _ in range(2):
                assert await reader.readuntil(b"answered")
            writer.transport.abort()

    run(test())


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_what_is_older_or_weaker_is_refused(run: Run, listening: Listening) -> None:
    """TLS 1.1; keys without forward secrecy; ciphers that do not authenticate; what is no TLS at all."""

    async def test() -> None:
        old = listening.trust(version=ssl.TLSVersion.TLSv1_1)
        old.set_ciphers("ALL:@SECLEVEL=0")
        weak = listening.trust(version=ssl.TLSVersion.TLSv1_2)
        weak.set_ciphers("ECDHE+AES+SHA1:ECDHE+AES+SHA256:!AESGCM:kRSA")
        async with listening.open():
            for count, context in enumerate((old, weak), 1):
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    await listening.ask(context)
                await listening.counts("protocol", count)
            reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
            writer.write(REQUEST)
            assert b"answered" not in await reader.read()
            await listening.counts("protocol", 3)
            writer.transport.abort()

    run(test())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_only_clients_with_a_certificate_of_the_authority_are_answered(
    run: Run, mutual: Listening, version: ssl.TLSVersion
) -> None:
    """Not without one, not with that of another authority, not with one that has expired; each is counted."""
    good = mutual.trust(mutual.clients.signs("pbx-1"), version=version)
    wrong = {
        "no_certificate": [mutual.trust(version=version)],
        "certificate": [
            mutual.trust(Authority("Clients").signs("pbx-1"), version=version),
            mutual.trust(mutual.authority.signs("pbx-1"), version=version),
            mutual.trust(mutual.clients.signs("pbx-1", expires=timedelta(minutes=-1)), version=version),
        ],
    }

    async def test() -> None:
        async with mutual.open():
            for why, contexts in wrong.items():
                for count, context in enumerate(contexts, 1):
                    with pytest.raises((OSError, asyncio.IncompleteReadError)):
                        await mutual.ask(context)
                    await mutual.counts(why, count)
            assert await mutual.ask(good)

    run(test())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_shows_its_certificate_each_time(
    run: Run, mutual: Listening, version: ssl.TLSVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No session is taken up again: the certificate may have expired since. One of TLS 1.2 may, until all is read anew."""
    monkeypatch.setattr(tls, "_LOOKED_AT_EVERY", 0.01)
    monkeypatch.setattr(tls, "_CHECKED_FOR", 0.2)
    context = mutual.trust(mutual.clients.signs("pbx-1"), version=version)

    def ask(session: ssl.SSLSession | None) -> tuple[bool | None, ssl.SSLSession | None]:
        with (
            socket.create_connection(("127.0.0.1", mutual.port), timeout=10) as connection,
            context.wrap_socket(connection, server_hostname="localhost", session=session) as encrypted,
        ):
            encrypted.sendall(REQUEST)
            assert encrypted.recv(65536)
            return encrypted.session_reused, encrypted.session

    async def test() -> None:
        async with mutual.open():
            _, session = await asyncio.to_thread(ask, None)
            if version == ssl.TLSVersion.TLSv1_2:
                before = mutual.ports._encrypted[0].context
                async with asyncio.timeout(10):
                    while mutual.ports._encrypted[0].context is before:
                        await asyncio.sleep(0.001)
            is_taken_up, _ = await asyncio.to_thread(ask, session)
            assert not is_taken_up

    run(test())


def test_a_client_that_does_not_trust_the_certificate_is_counted(run: Run, listening: Listening) -> None:
    async def test() -> None:
        async with listening.open():
            with pytest.raises(ssl.SSLCertVerificationError):
                await asyncio.to_thread(_shake_hands, listening.port)
            await listening.counts("refused_by_client")

    run(test())


def _shake_hands(port: int) -> None:
    # With a socket that blocks: an event loop does not always tell why it hangs up.
    context = ssl.create_default_context()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        context.wrap_socket(connection, server_hostname="localhost")


def test_a_thousand_handshakes_that_are_not_finished_hold_nobody_up(
    run: Run, listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are answered meanwhile, and the thousand are let go after a while."""
    monkeypatch.setattr(module, "_HANDSHAKE", 2.0)

    async def test() -> None:
        async with listening.open():
            with ExitStack() as stack:
                for _ in range(1000):
                    stack.enter_context(closing(socket.create_connection(("127.0.0.1", listening.port)))).send(b"\x16")
                    await asyncio.sleep(0)
                for _ in range(10):
                    assert await listening.ask(listening.trust())
                await listening.counts("timeout", 1000)

    run(test())


def test_of_too_many_handshakes_the_oldest_go(run: Run, listening: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_HANDSHAKES", 100)
    monkeypatch.setattr(module, "_HANDSHAKE", 600.0)

    async def test() -> None:
        async with listening.open():
            with ExitStack() as stack:
                silent = [
                    stack.enter_context(closing(socket.create_connection(("127.0.0.1", listening.port))))
                    for _ in range(120)
                ]
                await listening.counts("timeout", 20)
                assert await asyncio.to_thread(silent[19].recv, 1) == b""
                assert await listening.ask(listening.trust())
                await listening.counts("timeout", 21)
                silent[21].setblocking(False)
                with pytest.raises(BlockingIOError):
                    silent[21].recv(1)

    run(test())


def test_a_handshake_that_is_under_way_at_the_end_is_finished_and_answered(run: Run, listening: Listening) -> None:
    async def serve(opened: asyncio.Event, over: asyncio.Event) -> None:
        async with listening.open():
            opened.set()
            await over.wait()

    async def test() -> None:
        opened, over = asyncio.Event(), asyncio.Event()
        serving = asyncio.create_task(serve(opened, over))
        await opened.wait()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = listening.trust().wrap_bio(incoming, outgoing, server_hostname="localhost")
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
        while not _shaken(client):
            writer.write(outgoing.read())
            incoming.write(await reader.read(65536))
        over.set()
        while await _is_open(listening.port):
            pass
        client.write(REQUEST)
        writer.write(outgoing.read())
        answer = b""
        async with asyncio.timeout(10):
            while b"answered" not in answer:
                received = await reader.read(65536)
                assert received
                incoming.write(received)
                with suppress(ssl.SSLWantReadError):
                    answer += client.read()
        writer.transport.abort()
        await serving

    run(test())


def _shaken(client: ssl.SSLObject) -> bool:
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


async def _is_open(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.transport.abort()
    await asyncio.sleep(0.001)
    return True


# Certificates change


def test_a_renewed_certificate_is_taken_by_itself_and_open_connections_live_on(
    run: Run, listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under load, without one request that fails."""
    monkeypatch.setattr(tls, "_LOOKED_AT_EVERY", 0.01)

    async def test() -> None:
        context = listening.trust()
        over = asyncio.Event()
        answered = 0

        async def load() -> None:
            nonlocal answered
            while not over.is_set():
                await listening.ask(context)
                answered += 1

        async with listening.open():
            reader, writer = await asyncio.open_connection("127.0.0.1", listening.port, ssl=context)
            loads = [asyncio.create_task(load()) for _ in range(4)]
            serials = {(await listening.ask(context))[1]["serialNumber"]}
            for days in (8, 9, 10):
                new = listening.authority.signs(expires=timedelta(days=days))
                failures = listening.failures
                # As some clients of ACME do: one file after the other, with time in between.
                put(listening.certificate, new.certificate)
                while listening.failures == failures:
                    await asyncio.sleep(0.001)
                put(listening.key, new.key)
                while (shown := (await listening.ask(context))[1]["serialNumber"]) in serials:
                    pass
                serials.add(shown)
            assert answered > 10
            over.set()
            await asyncio.gather(*loads)
            writer.write(REQUEST)
            assert await reader.readuntil(b"answered")
            writer.transport.abort()

    run(test())


def test_a_link_that_leads_elsewhere_is_followed(
    run: Run, listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As certbot renews: new files beside the old ones, and links that lead to them."""
    monkeypatch.setattr(tls, "_LOOKED_AT_EVERY", 0.01)
    for file in (listening.certificate, listening.key):
        first = file.with_suffix(".1")
        file.rename(first)
        file.symlink_to(first)

    async def test() -> None:
        async with listening.open():
            first = (await listening.ask(listening.trust()))[1]["serialNumber"]
            expires = listening.value("rollcall_certificate_expires_timestamp_seconds")
            new = listening.authority.signs(expires=timedelta(days=20))
            for file, data in ((listening.certificate, new.certificate), (listening.key, new.key)):
                put(file.with_suffix(".2"), data)
                link = file.with_suffix(".link")
                link.symlink_to(file.with_suffix(".2"))
                link.rename(file)
            while (await listening.ask(listening.trust()))[1]["serialNumber"] == first:
                pass
            later = listening.value("rollcall_certificate_expires_timestamp_seconds")
            assert expires is not None
            assert later is not None
            assert 12 < (later - expires) / 86400 < 14

    run(test())


def test_a_pair_that_does_not_belong_together_is_never_in_force(run: Run, listening: Listening) -> None:
    """The old pair stays, whatever is wrong; that is told once, counted each time, and tried again."""

    async def test() -> None:
        async with listening.open():
            first = (await listening.ask(listening.trust()))[1]["serialNumber"]
            new = listening.authority.signs()
            faults: list[tuple[Callable[[], object], str]] = [
                (lambda: put(listening.certificate, new.certificate), "is not the key of"),
                (lambda: put(listening.certificate, new.certificate[:200]), "holds no certificate"),
                (listening.certificate.unlink, "cannot be read: No such file"),
                (lambda: put(listening.certificate, new.certificate), "is not the key of"),
                (lambda: put(listening.key, new.key[:60]), "holds no key"),
                (lambda: put(listening.key, new.key_with_password()), "is encrypted"),
                (lambda: listening.key.chmod(0o644), "can be read by everybody"),
            ]
            for count, (damage, said) in enumerate(faults, 1):
                with structlog.testing.capture_logs() as logs:
                    damage()
                    await listening.ports.read_certificates_again()
                    await listening.ports.read_certificates_again()
                (line,) = logs
                assert (line["event"], line["port"]) == ("certificate_refused", "daemon")
                assert said in line["problem"]
                assert listening.value("rollcall_certificate_failures_total") == 2 * count
                assert (await listening.ask(listening.trust()))[1]["serialNumber"] == first
            put(listening.key, new.key)
            await listening.ports.read_certificates_again()
            assert (await listening.ask(listening.trust()))[1]["serialNumber"] != first

    run(test())


def test_clients_of_an_authority_that_is_gone_are_refused(run: Run, mutual: Listening) -> None:
    """Also those that were here before, and would come back to the session that they had."""
    before = mutual.trust(mutual.clients.signs("pbx-1"), version=ssl.TLSVersion.TLSv1_2)
    other = Authority("Other clients")
    after = mutual.trust(other.signs("pbx-2"))

    async def test() -> None:
        async with mutual.open():
            assert await mutual.ask(before)
            put(mutual.client_ca, other.certificate)
            await mutual.ports.read_certificates_again()
            with pytest.raises((OSError, asyncio.IncompleteReadError)):
                await mutual.ask(before)
            assert await mutual.ask(after)

    run(test())


# The start


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"key": ""}, "daemon.tls.key: is missing, and the others are set"),
        ({"certificate": ""}, "daemon.tls.certificate: is missing"),
        ({"certificate": "", "key": ""}, "daemon.tls.key: is missing"),
        ({"certificate": "/nowhere.pem"}, "daemon.tls.certificate: /nowhere.pem cannot be read: No such file"),
        ({"client_ca": "/dev/null"}, "daemon.tls.client_ca: /dev/null holds no certificates"),
        ({"key": "/dev/null"}, "daemon.tls.key: /dev/null"),
    ],
)
async def test_settings_that_would_encrypt_by_half_are_refused(
    mutual: Listening, change: dict[str, str], said: str
) -> None:
    """Rather than to listen without what was asked for."""
    files = Tls(**{name: getattr(mutual.files, name) for name in Tls.__struct_fields__} | change)
    with pytest.raises(SettingsError) as raised:
        async with mutual.ports.accepting(asyncio.Protocol, "daemon.port", "127.0.0.1", 0, tls=files):
            pass
    assert said in str(raised.value)


# Sockets


async def test_a_host_with_several_addresses_is_listened_to_on_all(listening: Listening) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    sockets = await Ports().sockets("daemon.port", "localhost", port)
    for one in sockets:
        assert one.getsockname()[1] == port
        one.close()
    assert {one[0] for one in socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM)} == {
        one.family for one in sockets
    }


def test_a_socket_that_was_handed_over_outlives_the_service(run: Run, listening: Listening) -> None:
    """Who connects while nobody accepts waits, and is answered by the next one. With TLS and without."""

    async def test(files: Tls) -> None:
        context = listening.trust() if files.certificate else None

        async def ask() -> bytes:
            reader, writer = await asyncio.open_connection(*held.getsockname(), ssl=context)
            writer.write(REQUEST)
            answer = await reader.readuntil(b"answered")
            writer.transport.abort()
            return answer

        listening.files = files
        with closing(socket.create_server(("127.0.0.1", 0))) as held:
            for _ in range(2):
                waiting = asyncio.create_task(ask())
                await asyncio.sleep(0)
                mine = held.dup()
                mine.setblocking(False)
                listening.ports._handed["daemon.port"] = [mine]
                async with listening.open():
                    assert listening.port == held.getsockname()[1]
                    assert await waiting
                    assert await ask()

    run(test(listening.files))
    run(test(Tls()))


async def test_a_socket_of_another_kind_or_that_nobody_wants_is_told(listening: Listening) -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as datagrams, closing(socket.socket()) as deaf:
        for wrong in (datagrams, deaf):
            with pytest.raises(PortError, match="another kind of socket"):
                await Ports(None, {"daemon.port": [wrong]}).sockets("daemon.port", "127.0.0.1", 1)
        with structlog.testing.capture_logs() as logs:
            Ports(None, {"doors.httapi.port": [deaf]}).tell_unused()
        assert [(line["event"], line["name"]) for line in logs] == [("socket_not_used", "doors.httapi.port")]


@asynccontextmanager
async def answering(ports: Ports, port: int = 0) -> AsyncGenerator[int]:
    """A plain server that says which one it is: its port."""

    async def answer(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text="answered")

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    async with ports.listening(runner, "daemon.port", "127.0.0.1", port, backlog=100, last_words=0.2) as listened:
        yield listened


def ask(port: int) -> socket.socket:
    """Connect and ask, from this thread: nobody accepts meanwhile."""
    client = socket.create_connection(("127.0.0.1", port), timeout=10)
    client.sendall(REQUEST)
    return client


@pytest.mark.parametrize("loop_factory", LOOPS)
@pytest.mark.parametrize("encrypted", [False, True])
def test_who_has_connected_before_the_end_is_answered_though_nobody_had_accepted_him(
    loop_factory: Callable[[], asyncio.AbstractEventLoop], encrypted: bool, listening: Listening
) -> None:
    async def run() -> None:
        if encrypted:
            async with listening.open():
                clients = [socket.create_connection(("127.0.0.1", listening.port), 10) for _ in range(5)]
                asked = [asyncio.create_task(asyncio.to_thread(asked_with_tls, client)) for client in clients]
            assert await asyncio.gather(*asked) == [True] * 5
            return
        async with answering(Ports()) as port:
            clients = [ask(port) for _ in range(50)]
        for client in clients:
            with client:
                assert b"answered" in client.recv(1000)

    def asked_with_tls(client: socket.socket) -> bool:
        with listening.trust().wrap_socket(client, server_hostname="localhost") as spoken:
            return bool(spoken.version())

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(run())


async def test_several_share_a_port_and_whoever_has_a_copy_may_accept() -> None:
    ports = Ports()
    mine, his, third = await ports.shared("daemon.port", "127.0.0.1", 0, 3, 100)
    port = mine[0].getsockname()[1]
    assert {one.getsockname() for one in (*mine, *his, *third)} == {("127.0.0.1", port)}
    copy = his[0].dup()
    clients = [ask(port) for _ in range(60)]
    # The process that had this one has ended: its successor takes the copy.
    his[0].close()
    waiting = 0
    with copy:
        while True:
            try:
                connection, _ = copy.accept()
            except BlockingIOError:
                break
            connection.close()
            waiting += 1
    assert waiting > 5
    third[0].close()
    assert not ports.holds("operations")
    async with answering(ports) as listened:
        assert listened == port
        with socket.create_connection(("127.0.0.1", port), 10) as late:
            late.sendall(REQUEST)
            assert b"answered" in await asyncio.to_thread(late.recv, 1000)
    for client in clients:
        client.close()


async def test_a_port_that_another_has_is_not_shared_with_him() -> None:
    first = Ports()
    (sockets, more) = await first.shared("daemon.port", "127.0.0.1", 0, 2, 100)
    port = sockets[0].getsockname()[1]
    with pytest.raises(PortError, match="is in use"):
        await Ports().shared("daemon.port", "127.0.0.1", port, 2, 100)
    (another,) = module.beside_these(sockets, 100)
    assert another.getsockname()[1] == port
    for one in (*sockets, *more, another):
        one.close()


async def test_of_a_socket_that_was_handed_over_each_process_has_a_copy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as handed:
        handed.setblocking(False)
        ports = Ports(handed={"daemon.port": [handed]})
        mine, his = await ports.shared("daemon.port", "127.0.0.1", 1, 2, 100)
        assert mine == [handed]
        assert ports.holds("daemon.port")
        his[0].close()
        async with answering(ports) as port:
            with socket.create_connection(("127.0.0.1", port), 10) as client:
                client.sendall(REQUEST)
                assert b"answered" in await asyncio.to_thread(client.recv, 1000)
