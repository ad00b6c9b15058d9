"""The composition root of the web site: everything is made and tied together here."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import aiohttp_session
import structlog
from aiohttp import web

from admin import errors, keys, ops, rendering, security
from admin.invitations import Inviter
from admin.lists import Lists
from admin.mail import Mailer
from admin.metrics import Metrics
from admin.oidc import OpenIdConnect
from admin.pages import (
    account,
    audit,
    choices,
    conferences,
    directory,
    entries,
    history,
    installation,
    invite,
    lists,
    locked,
    rolls,
    send_roll,
    signin,
    switches,
    upload,
)
from admin.passwords import Passwords
from admin.post import Post
from admin.roll_mail import RollSender
from admin.rolls import Rolls
from admin.serving import Connection
from admin.sessions import DatabaseStorage
from admin.signing import Signing
from admin.turns import Turns
from admin.visitor import Handler, visitors
from admin.watching import Watching
from loader.connections import Guard, GuardedRunner, Limits
from loader.errors import DatabaseError, SettingsError
from loader.keyring import Keyring
from loader.ports import Ports
from loader.service import most_connections
from loader.settings import Settings
from loader.store import Desk, People, Store, open_store
from loader.store.invitations import Invitations
from loader.store.lockouts import Lockouts
from loader.store.roll_mail import RollMail
from loader.store.rolls import RollBook
from loader.systemd import ServiceManager, take_sockets

log = structlog.get_logger(__name__)

_LAST_WORDS: Final = 0.2
"""Seconds at the end in which a page may still be asked for on a connection that is open."""
_FORGET_EVERY: Final = 300.0
_UPLOAD_KEPT: Final = 3600.0
"""Seconds that an upload waits for its confirmation."""
CONNECTIONS: Final[dict[str, Any]] = {"auto_decompress": False, "lingering_time": 60.0}
"""How connections are served. Nothing that is sent packed is unpacked. And a browser that is still sending what was
refused long ago reads no answer: it is heard out for so many seconds, and what it sends is thrown away.
"""
_HEAVY_AT_ONCE: Final = 2
_HEAVY_WAITING: Final = 50
"""List files that are checked or made at once, and how many more may wait for that."""
_INVITATION_KEPT: Final = 180 * 86400.0
"""Seconds that it is kept who was invited."""
_CONNECTIONS: Final = 5000
"""Connections that the site has at most: more than its proxy keeps, or as many windows as watch rolls."""
_OPERATIONS_CONNECTIONS: Final = 100
_IDLE: Final = 75.0
"""Seconds without a click after which a connection is closed: a little more than proxies keep theirs."""
_PAGES: Final = (
    signin,
    account,
    lists,
    entries,
    upload,
    history,
    conferences,
    rolls,
    locked,
    invite,
    send_roll,
    choices,
    directory,
    installation,
    switches,
    audit,
)


async def serve(settings: Settings) -> None:
    """Serve the site until SIGTERM or SIGINT. Raises PortError, KeyFileError, DatabaseError, SettingsError."""
    manager = ServiceManager()
    stopping, hung_up = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(manager.watched(lambda: "Stops." if stopping.is_set() else "Serves pages."))
        keyring = Keyring.load(Path(settings.key.file))
        store = await stack.enter_async_context(open_store(settings.database.url))
        app = make_app(settings, store, keyring)
        admin, metrics = settings.admin, app[keys.METRICS]
        if admin.tls.certificate and not admin.address.startswith("https:"):
            raise SettingsError("admin.url: must begin with https, as the site has a certificate (admin.tls)")
        ports = Ports(metrics.tls, take_sockets())
        operations = ops.make_app(metrics, store)
        await stack.enter_async_context(
            ports.listening(
                _runner(operations, _OPERATIONS_CONNECTIONS), "admin.ops_port", admin.ops_host, admin.ops_port
            )
        )
        port = await stack.enter_async_context(
            ports.listening(
                _runner(app, _CONNECTIONS), "admin.port", admin.host, admin.port, tls=admin.tls, last_words=_LAST_WORDS
            )
        )
        ports.tell_unused()
        loop.add_signal_handler(signal.SIGHUP, hung_up.set)
        rereading = manager.reload_whenever(hung_up, ports.read_certificates_again)
        stack.push_async_callback(_ended, asyncio.create_task(rereading))
        log.info("listening", host=admin.host, port=port, url=admin.address, version=version("rollcall"))
        manager.ready()
        await stopping.wait()
        log.info("draining")
        manager.stopping()
    log.info("stopped")


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))


def make_app(settings: Settings, store: Store, keyring: Keyring, *, signing: Signing | None = None) -> web.Application:
    """The site over an open database."""
    admin = settings.admin
    storage = DatabaseStorage(secure=admin.is_secure, idle_timeout=admin.idle_timeout)
    app = web.Application(
        middlewares=[
            security.headers,
            errors.measured,
            aiohttp_session.session_middleware(storage),
            visitors,
            errors.told_plainly,
            security.own_origin,
        ],
        client_max_size=security.MAX_FORM,
    )
    people = People(store)
    app[keys.SETTINGS] = settings
    app[keys.STORE] = store
    app[keys.PEOPLE] = people
    app[keys.DESK] = Desk(store)
    app[keys.KEYRING] = keyring
    app[keys.LISTS] = Lists(store, keyring)
    app[keys.LOCKOUTS] = Lockouts(store)
    app[keys.ROLL_BOOK] = RollBook(store)
    app[keys.ROLLS] = Rolls(app[keys.ROLL_BOOK], store, app[keys.DESK], app[keys.LISTS], keyring)
    app[keys.WATCHING] = Watching(app[keys.ROLL_BOOK].version)
    app[keys.PASSWORDS] = Passwords(admin.breached_passwords)
    app[keys.HEAVY] = Turns(_HEAVY_AT_ONCE, _HEAVY_WAITING)
    app[keys.SIGNING] = signing or Signing(store, people, keyring)
    app[keys.OIDC] = OpenIdConnect(settings.oidc, admin.address + "/signin/oidc/done")
    app[keys.METRICS] = Metrics(version("rollcall"))
    _add_mail(app)
    app[keys.METRICS].streams.set_function(lambda: app[keys.WATCHING].count)
    static = _add_static(app)
    rendering.set_up(app, time_zone=admin.time_zone, static=static)
    for page in _PAGES:
        app.add_routes(page.routes)
    app.cleanup_ctx.append(_in_background)
    app.on_shutdown.append(_end_streams)
    app.on_cleanup.append(storage.noted)
    return app


def _add_mail(app: web.Application) -> None:
    """What goes out by mail, and who sends it."""
    settings, store, keyring = app[keys.SETTINGS], app[keys.STORE], app[keys.KEYRING]
    metrics = app[keys.METRICS]
    app[keys.POST] = post = Post(settings.mail)
    app[keys.MAILER] = Mailer(post, metrics, show=settings.mail.show)
    app[keys.INVITATIONS] = Invitations(store)
    app[keys.INVITER] = Inviter(
        app[keys.INVITATIONS], app[keys.LISTS], keyring, post, metrics, per_minute=settings.mail.per_minute
    )
    app[keys.ROLL_MAIL] = RollMail(store)
    app[keys.ROLL_SENDER] = RollSender(
        app[keys.ROLL_MAIL], app[keys.ROLL_BOOK], keyring, post, metrics, time_zone=settings.admin.time_zone
    )


async def _end_streams(app: web.Application) -> None:
    """What is under way is waited for, and a stream has no end of its own."""
    app[keys.WATCHING].stop()


async def _in_background(app: web.Application) -> AsyncIterator[None]:
    workers = app[keys.INVITER], app[keys.ROLL_SENDER]
    at_work = [asyncio.create_task(worker.run()) for worker in workers]
    tasks = [*at_work, asyncio.create_task(app[keys.MAILER].run()), asyncio.create_task(_forget(app))]
    yield
    for worker in workers:
        worker.stop()
    with suppress(TimeoutError):
        async with asyncio.timeout(2):
            # A mail that is being handed over is better not cut off.
            await asyncio.gather(app[keys.MAILER].drained(), *at_work)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _forget(app: web.Application) -> None:
    """Forget what is over: sessions, links, uploads that nobody confirmed."""
    admin = app[keys.SETTINGS].admin
    while True:
        await asyncio.sleep(_FORGET_EVERY)
        now = time.time()
        try:
            await app[keys.PEOPLE].forget(
                seen_before=now - admin.idle_timeout, created_before=now - admin.session_timeout - 86400, now=now
            )
            await app[keys.DESK].unstage("", created_before=now - _UPLOAD_KEPT)
            await app[keys.INVITATIONS].forget(now - _INVITATION_KEPT)
        except DatabaseError as error:
            log.warning("database_unavailable", problem=str(error))


def _add_static(app: web.Application) -> dict[str, str]:
    """Serve the static files, each under an address that changes with it; the addresses by name."""
    addresses = {}
    for file in sorted((rendering.FOLDER / "static").iterdir()):
        data = file.read_bytes()
        address = f"/static/{hashlib.sha256(data).hexdigest()[:12]}-{file.name}"
        app.router.add_get(address, _static(data, _MEDIA_TYPES[file.suffix]))
        addresses[file.name] = address
    return addresses


_MEDIA_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def _static(data: bytes, media_type: str) -> Handler:
    async def answer(_request: web.Request) -> web.Response:
        kept = {"Cache-Control": "public, max-age=31536000, immutable"}
        return web.Response(body=data, content_type=media_type, charset="utf-8", headers=kept)

    return answer


def _runner(app: web.Application, connections: int) -> web.AppRunner:
    guard = Guard(Limits(most_connections(connections), idle=_IDLE))
    return GuardedRunner(app, guard, connection=Connection, access_log=None, shutdown_timeout=10.0, **CONNECTIONS)
