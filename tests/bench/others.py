"""Other people's servers, each started in a folder of its own and ended again: nginx, PostgreSQL and Redis."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from loader.model import Entry
from tests.bench.team import FIELDS
from tests.bench.workplace import accepts, free_port

_PATIENCE: Final = 60.0
_AT_ONCE: Final = 10_000
"""Keys that Redis is told at once."""


class Started(NamedTuple):
    """A server: where it is asked (a port, or a path) and its process."""

    where: str
    pid: int


class NotInstalled(Exception):
    """Something that is to be measured is not there; says how it comes."""


@contextmanager
def nginx(answer: bytes) -> Iterator[Started]:
    """One worker that answers everything with this, over connections that stay open; at a port."""
    program, port = installed("nginx", "nginx-light"), free_port()
    with tempfile.TemporaryDirectory(prefix="bench-nginx-") as folder:
        configuration = Path(folder) / "nginx.conf"
        configuration.write_text(_NGINX.format(port=port, answer=answer.decode()))
        command = [program, "-p", folder, "-c", str(configuration), "-e", "stderr"]
        with running(command, until=lambda: accepts(port)) as pid:
            yield Started(str(port), pid)


_NGINX: Final = """\
daemon off;
worker_processes 1;
pid nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path bodies;
    proxy_temp_path proxied;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    server {{
        listen 127.0.0.1:{port};
        default_type application/json;
        location / {{ return 200 '{answer}'; }}
    }}
}}
"""


@contextmanager
def postgres(entries: Sequence[Entry], passcode: str) -> Iterator[Started]:
    """A cluster with a table of these people, found by passcode and PIN; at the folder of its socket."""
    _look_for_library("asyncpg")
    initdb, server = (installed(name, "postgresql") for name in ("initdb", "postgres"))
    # PostgreSQL refuses to run as root.
    who: Mapping[str, str | int] = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="bench-postgres-") as folder:
        if who:
            shutil.chown(folder, "postgres", "postgres")
        cluster = f"{folder}/cluster"
        made = [initdb, "-D", cluster, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run(made, check=True, capture_output=True, cwd=folder, **who)  # type: ignore[call-overload]
        command = [server, "-D", cluster, "-k", folder, *(f"-c{setting}" for setting in _POSTGRES)]
        socket = Path(folder) / ".s.PGSQL.5432"
        with running(command, until=socket.exists, cwd=folder, **who) as pid:
            asyncio.run(_fill_postgres(folder, entries, passcode))
            yield Started(folder, pid)


# The whole table fits into its memory, and nothing is written while it is asked.
_POSTGRES: Final = ("listen_addresses=", "shared_buffers=1GB", "fsync=off", "autovacuum=off", "log_min_messages=fatal")


async def _fill_postgres(folder: str, entries: Sequence[Entry], passcode: str) -> None:
    import asyncpg

    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            connection = await asyncpg.connect(host=folder, user="postgres")
            break
        except (asyncpg.CannotConnectNowError, OSError):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)
    try:
        texts = ", ".join(f"{name} text NOT NULL" for name in ("passcode", "pin", *FIELDS))
        await connection.execute(f"CREATE TABLE participant ({texts})")
        rows = ((passcode, entry.pin, *(getattr(entry, name) for name in FIELDS)) for entry in entries)
        await connection.copy_records_to_table("participant", records=rows)
        await connection.execute("ALTER TABLE participant ADD PRIMARY KEY (passcode, pin)")
        await connection.execute("VACUUM ANALYZE participant")
    finally:
        await connection.close()


@contextmanager
def redis(entries: Sequence[Entry], passcode: str) -> Iterator[Started]:
    """A server that keeps these people in memory, each under passcode and PIN, in JSON; at its socket."""
    _look_for_library("redis")
    program = installed("redis-server", "redis-server")
    with tempfile.TemporaryDirectory(prefix="bench-redis-") as folder:
        socket = Path(folder) / "redis.sock"
        command = [program, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", folder]
        with running(command, until=socket.exists) as pid:
            _fill_redis(socket, entries, passcode)
            yield Started(str(socket), pid)


def _fill_redis(socket: Path, entries: Sequence[Entry], passcode: str) -> None:
    from redis import Redis

    with Redis(unix_socket_path=str(socket)) as filled:
        for at in range(0, len(entries), _AT_ONCE):
            filled.mset(
                {
                    f"{passcode}:{entry.pin}": msgspec.json.encode({name: getattr(entry, name) for name in FIELDS})
                    for entry in entries[at : at + _AT_ONCE]
                }
            )


def _look_for_library(name: str) -> None:
    """Raises NotInstalled."""
    if find_spec(name) is None:
        raise NotInstalled(f"{name} is not installed (`make bench` does it)")


def versions() -> dict[str, str | None]:
    """What each of these programs says it is, and the one that asks them; None for what is not installed."""
    said: dict[str, str | None] = {}
    for name, (package, argument) in _VERSIONS.items():
        try:
            told = subprocess.run([installed(name, package), argument], check=False, capture_output=True, text=True)
        except NotInstalled:
            said[name] = None
        else:
            said[name] = (told.stdout + told.stderr).partition("\n")[0].strip()
    return said


_VERSIONS: Final = {
    "freeradius": ("freeradius", "-v"),
    "nginx": ("nginx-light", "-v"),
    "postgres": ("postgresql", "--version"),
    "redis-server": ("redis-server", "--version"),
    "wrk": ("wrk", "-v"),
}


def installed(name: str, package: str) -> str:
    """Where a program is, outside the path too where Debian keeps servers. Raises NotInstalled."""
    servers = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    found = shutil.which(name, path=os.pathsep.join([*os.get_exec_path(), "/usr/sbin", *servers]))
    if found is None:
        raise NotInstalled(f"{name} is not installed (Debian's package {package})")
    return found


@contextmanager
def running(command: Sequence[str], *, until: Callable[[], bool], **how: object) -> Iterator[int]:
    """A program as a process from when it is ready; its ID. It is ended with SIGTERM."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, **how)  # type: ignore[call-overload]
        try:
            deadline = time.monotonic() + _PATIENCE
            while not until():
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"{command[0]} does not start: {log.read().decode()}")
                time.sleep(0.01)
            yield process.pid
        finally:
            process.terminate()
            process.wait(30)
