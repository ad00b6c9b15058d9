"""`make run`: a whole installation with made-up data in var/, started, with a question to paste.

A second run keeps what is there. Ctrl-C or SIGTERM stops all of it.
"""

from __future__ import annotations

import asyncio
import errno
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from threading import Event
from typing import Final

from loader.cli import main as rollcall
from loader.errors import RollcallError
from loader.files import write_atomically
from loader.model import Level, Owner, Switch
from loader.settings import Daemon, Settings, load_settings
from loader.store import Store, open_store
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
READY_WITHIN: Final = 30.0
"""Seconds that a service has to become ready."""

SHOWN: Final = """
Rollcall is running.
  questions      http://{host}:{port}/v1/verify (all that can be asked: /openapi.json)
  operations     http://{ops_host}:{ops_port}/readyz (also /healthz, /metrics)
  data           {database}, {key}, and the token of switch {switch} in {token_file}

Whose PIN is 004127, in the conference that has passcode 7784321? Ask as a switch does:

  curl -sS http://{host}:{port}/v1/verify -H 'Authorization: Bearer {token}' -d passcode=7784321 -d pin=004127 \
| python3 -m json.tool --no-ensure-ascii

Change a PIN in the list, put the list in force, and ask again:

  {rollcall} --config {config} import {lists}/organizer-alicia.csv --organizer alicia

Ctrl-C stops it.
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
    require_free_ports(settings.daemon)
    token = set_up(settings)
    if stopping.is_set():
        return 0
    daemon = Service("rollcall-daemon")
    try:
        if wait_until_ready(settings.daemon, daemon, stopping):
            show(settings, token)
        while not stopping.wait(0.2):
            daemon.check()
    finally:
        status = daemon.stop(settings.daemon.drain_timeout + 5)
    return 0 if status == 0 else 1


def require_free_ports(daemon: Daemon) -> None:
    """Raises DemoError if somebody else listens where the daemon would."""
    for variable, host, port in (("PORT", daemon.host, daemon.port), ("OPS_PORT", daemon.ops_host, daemon.ops_port)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
                raise DemoError(
                    f"port {port} on {host} {why}; choose another with ROLLCALL_DAEMON__{variable}=..."
                ) from None


def set_up(settings: Settings) -> str:
    """Make database, key, directory, lists and token, each unless it is there; the token of the demo's switch."""
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
    return asyncio.run(keep_token(settings))


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
    known = {switch.id: switch.token_hash for switch in await store.switches()}
    if known.get(SWITCH) == token_hash(token):
        return
    if SWITCH in known:
        await store.remove_switch(SWITCH)
    await store.add_switch(Switch(SWITCH, token_hash(token), time.time()))


def wait_until_ready(daemon: Daemon, service: Service, stopping: Event) -> bool:
    """Wait for /readyz; False if the demo is stopped meanwhile. Raises DemoError if it does not come."""
    deadline = time.monotonic() + READY_WITHIN
    while not is_ready(daemon):
        service.check()
        if time.monotonic() > deadline:
            raise DemoError(f"{service.name} is not ready after {READY_WITHIN:g} s")
        if stopping.wait(0.05):
            return False
    return True


def is_ready(daemon: Daemon) -> bool:
    """Whether the operations port says that the daemon has its index."""
    connection = http.client.HTTPConnection(daemon.ops_host, daemon.ops_port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def show(settings: Settings, token: str) -> None:
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
            rollcall=os.path.relpath(Path(sys.executable).with_name("rollcall")),
            config=CONFIG,
            lists=DEMO / "lists",
        ),
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
