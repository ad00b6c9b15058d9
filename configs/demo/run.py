"""`make run`: a whole installation with made-up data in var/, started, with a question to paste.

A second run keeps what is there. Ctrl-C or SIGTERM stops all of it.
"""

from __future__ import annotations

import asyncio
import errno
import http.client
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from threading import Event
from typing import Final

from admin.signing import Signing
from loader.cli import main as rollcall
from loader.errors import RollcallError
from loader.files import write_atomically
from loader.keyring import Keyring
from loader.model import Level, Owner, Switch
from loader.settings import Settings, load_settings
from loader.store import People, Store, open_store
from loader.tokens import new_token, token_hash

ROOT: Final = Path(__file__).parents[2]
DEMO: Final = Path("configs/demo")
CONFIG: Final = DEMO / "rollcall.toml"
TOKEN_FILE: Final = Path("var/demo-token")
SWITCH: Final = "demo"
LISTS: Final = {
    Owner(Level.ORGANIZER, "alicia"): "organizer-alicia.csv",
    Owner(Level.AUTHORIZATION_CODE, "3625046"): "authorization-code-3625046.csv",
    Owner(Level.AUTHORIZATION_CODE, "2696367V"): "authorization-code-2696367V.csv",
    Owner(Level.COMPANY, "globaltest"): "company-globaltest.csv",
    Owner(Level.COMPANY, "palewater"): "company-palewater.csv",
}
PASSWORD_FILE: Final = Path("var/demo-password")
USERS: Final = {
    "alicia": "organizer: her own list and conferences",
    "ugo": "administrator of authorization code 2696367V",
    "sabine": "super-administrator of Global Test (in German)",
    "odile": "super-administrator of Palewater Kites, and an organizer (in French)",
    "kenji": "coordinator (in Japanese)",
    "operator": "operator of all of it",
}
WORDS: Final = "amber basil cedar delta ember fjord grove heron ivory jolly koala lemon maple night ocean pearl".split()
READY_WITHIN: Final = 30.0
"""Seconds that a service has to become ready."""

SHOWN: Final = """
Rollcall is running.
  questions      http://{host}:{port}/v1/verify (all that can be asked: /openapi.json)
  operations     http://{ops_host}:{ops_port}/readyz (also /healthz, /metrics)
  web site       {site}
  data           {database}, {key}, and the token of switch {switch} in {token_file}

Sign in on the web site with the password {password} as
{users}

Whose PIN is 004127, in the conference that has passcode 7784321? Ask as a switch does:

  curl -sS http://{host}:{port}/v1/verify -H 'Authorization: Bearer {token}' -d passcode=7784321 -d pin=004127 \
| python3 -m json.tool --no-ensure-ascii

Change a PIN in the list, put the list in force, and ask again:

  {rollcall} --config {config} import {lists}/organizer-alicia.csv --organizer alicia

or upload the file on the web site. Mail that the web site sends is in {outbox}. Ctrl-C stops it.
"""


class DemoError(Exception):
    """The demo cannot go on; the text says why."""


class Service:
    """One of the services, as a process that Ctrl-C does not reach: it is stopped by :meth:`stop` alone."""

    def __init__(self, name: str) -> None:
        self.name = name
        command = [str(Path(sys.executable).with_name(name)), "--config", str(CONFIG)]
        self._process = subprocess.Popen(command, process_group=0)

    def check(self) -> None:
        """Raises DemoError if the service has ended by itself; it has said why then."""
        status = self._process.poll()
        if status is not None:
            raise DemoError(f"{self.name} has ended, with status {status}")

    def stop(self, within: float) -> int:
        """End the service and wait for it, so many seconds at most; its exit status."""
        self._process.terminate()
        try:
            return self._process.wait(within)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def main() -> int:
    """Run the demo until it is stopped; its exit status."""
    stopping = Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stopping.set())
    os.chdir(ROOT)
    try:
        return run(load_settings(CONFIG), stopping)
    except (DemoError, RollcallError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


def run(settings: Settings, stopping: Event) -> int:
    """Set up what is not there, start the services, and stop them when told to; 0 if they stopped in order."""
    require_free_ports(settings)
    token, password = set_up(settings)
    if stopping.is_set():
        return 0
    services: list[Service] = []
    try:
        services += map(Service, ("rollcall-daemon", "rollcall-admin"))
        ready = wait_until_ready(
            settings.daemon.ops_host, settings.daemon.ops_port, services[0], stopping
        ) and wait_until_ready(settings.admin.ops_host, settings.admin.ops_port, services[1], stopping)
        if ready:
            show(settings, token, password)
        while not stopping.wait(0.2):
            for service in services:
                service.check()
    finally:
        statuses = [service.stop(settings.daemon.drain_timeout + 5) for service in reversed(services)]
    return 0 if not any(statuses) else 1


def require_free_ports(settings: Settings) -> None:
    """Raises DemoError if somebody else listens where the services would."""
    for section, service in (("DAEMON", settings.daemon), ("ADMIN", settings.admin)):
        for key, host, port in (("PORT", service.host, service.port), ("OPS_PORT", service.ops_host, service.ops_port)):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((host, port))
                except OSError as error:
                    why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
                    raise DemoError(
                        f"port {port} on {host} {why}; choose another with ROLLCALL_{section}__{key}=..."
                    ) from None


def set_up(settings: Settings) -> tuple[str, str]:
    """Make database, key, directory, lists, token and password, each unless it is there.

    The token of the demo's switch, and the password of the demo's users.
    """
    call_rollcall("init")
    directory_is_empty, owners = asyncio.run(look(settings))
    if directory_is_empty:
        call_rollcall("directory", "apply", str(DEMO / "directory.toml"))
    for owner, file in LISTS.items():
        if owner in owners:
            print(f"{owner}: the list is there, and stays as it is")
        else:
            option = f"--{owner.level.value.replace('_', '-')}"
            call_rollcall("import", str(DEMO / "lists" / file), option, owner.id)
    return asyncio.run(keep_token(settings)), asyncio.run(keep_password(settings))


def call_rollcall(*arguments: str) -> None:
    """Run one command of the operator's tool. Raises DemoError if it fails; it has said why then."""
    status = rollcall(["--config", str(CONFIG), *arguments])
    if status != 0:
        raise DemoError(f"rollcall {' '.join(arguments)} failed")


async def look(settings: Settings) -> tuple[bool, set[Owner]]:
    """Whether the directory is empty, and who has a list."""
    async with open_store(settings.database.url) as store:
        counts = await store.counts()
        return counts["company"] == 0, {listed.owner async for listed in store.lists()}


async def keep_token(settings: Settings) -> str:
    """The token of the demo's switch: the one in the file, or a new one."""
    async with open_store(settings.database.url) as store:
        if TOKEN_FILE.exists():
            token = TOKEN_FILE.read_text(encoding="ascii").strip()
        else:
            token = new_token()
            TOKEN_FILE.parent.mkdir(exist_ok=True)
            write_atomically(TOKEN_FILE, f"{token}\n".encode("ascii"), mode=0o600)
        await take_token(store, token)
        return token


async def take_token(store: Store, token: str) -> None:
    """Have the demo's switch known by this token."""
    known = {switch.id: [one.hash for one in switch.tokens] for switch in await store.switches()}
    if token_hash(token) in known.get(SWITCH, ()):
        return
    if SWITCH in known:
        await store.remove_switch(SWITCH)
    await store.add_switch(Switch.new(SWITCH, token_hash(token), time.time()))


async def keep_password(settings: Settings) -> str:
    """The password of the demo's users: the one in the file, or a new one. It is good for nothing but this demo."""
    if PASSWORD_FILE.exists():
        password = PASSWORD_FILE.read_text(encoding="ascii").strip()
    else:
        password = "-".join(secrets.choice(WORDS) for _ in range(4))
        write_atomically(PASSWORD_FILE, f"{password}\n".encode("ascii"), mode=0o600)
    async with open_store(settings.database.url) as store:
        people = People(store)
        signing = Signing(store, people, Keyring.load(Path(settings.key.file)))
        for user_id in USERS:
            user = await people.user(user_id)
            if user is not None and (await people.credential(user_id)).password_hash is None:
                await signing.set_password(user, password)
    return password


def wait_until_ready(host: str, port: int, service: Service, stopping: Event) -> bool:
    """Wait for /readyz; False if the demo is stopped meanwhile. Raises DemoError if it does not come."""
    deadline = time.monotonic() + READY_WITHIN
    while not is_ready(host, port):
        service.check()
        if time.monotonic() > deadline:
            raise DemoError(f"{service.name} is not ready after {READY_WITHIN:g} s")
        if stopping.wait(0.05):
            return False
    return True


def is_ready(host: str, port: int) -> bool:
    """Whether a service says on its operations port that it is ready."""
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def show(settings: Settings, token: str, password: str) -> None:
    """Print what is where, and what to paste."""
    daemon = settings.daemon
    print(
        SHOWN.format(
            host=daemon.host,
            port=daemon.port,
            ops_host=daemon.ops_host,
            ops_port=daemon.ops_port,
            database=settings.database.url,
            key=settings.key.file,
            switch=SWITCH,
            token_file=TOKEN_FILE,
            token=token,
            site=settings.admin.address,
            password=password,
            users="\n".join(f"  {user:<10} {role}" for user, role in USERS.items()),
            outbox=settings.mail.outbox,
            rollcall=os.path.relpath(Path(sys.executable).with_name("rollcall")),
            config=CONFIG,
            lists=DEMO / "lists",
        ),
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
