"""FreeRADIUS beside the RADIUS door: PINs in PostgreSQL through `rlm_sql`, or in the file of `files`.

It is set up to do as little as it can: one virtual server, no log, no accounting, no delay of rejects, nothing told of
who is let in. A PIN is one lookup: one query by primary key, or one key of the file's table in memory.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.bench.workplace import Bare, free_port

_PROGRAM: Final = "/usr/sbin/freeradius"
_PROGRAMS: Final = Path("/usr/lib/postgresql")
"""Where Debian has the programs of each version of PostgreSQL."""
_MODULE: Final = Path("/usr/lib/freeradius/rlm_sql_postgresql.so")
_USER: Final = "nobody"
"""Whom PostgreSQL runs as, since it refuses to be root's."""
_PATIENCE: Final = 60.0

_SERVER: Final = """
prefix = /usr
libdir = /usr/lib/freeradius
logdir = {folder}
run_dir = {folder}
pidfile = {folder}/pid
hostname_lookups = no
max_request_time = 30
cleanup_delay = 5
max_requests = 65536
log {{
    destination = files
    file = {folder}/log
    auth = no
}}
security {{
    reject_delay = 0
    status_server = no
}}
thread pool {{
    start_servers = {threads}
    max_servers = {threads}
    min_spare_servers = 1
    max_spare_servers = {threads}
    max_requests_per_server = 0
    max_queue_size = 65536
}}
modules {{
    {module}
}}
client bench {{
    ipaddr = 127.0.0.1
    secret = {secret}
    require_message_authenticator = yes
}}
server bench {{
    listen {{
        type = auth
        ipaddr = 127.0.0.1
        port = {port}
    }}
    authorize {{
        {name}
    }}
}}
"""

_SQL: Final = """sql {{
        driver = "rlm_sql_postgresql"
        dialect = "postgresql"
        radius_db = "host={folder} dbname=postgres user=bench"
        read_groups = no
        read_profiles = no
        read_clients = no
        sql_user_name = "%{{User-Name}}"
        authorize_check_query = "SELECT 1, '', 'Auth-Type', 'Accept', ':=' FROM pins \\
            WHERE passcode = '%{{SQL-User-Name}}' AND pin = '%{{User-Password}}'"
        pool {{
            start = {connections}
            min = {connections}
            max = {connections}
            spare = 0
            uses = 0
            lifetime = 0
            idle_timeout = 0
        }}
    }}"""

_FILES: Final = """files {{
        filename = {file}
        key = "%{{User-Name}}-%{{User-Password}}"
    }}"""


def is_installed() -> bool:
    """Whether Debian's packages freeradius, freeradius-postgresql and postgresql are there."""
    return _MODULE.exists() and any(_PROGRAMS.glob("*/bin/initdb"))


class PostgreSql:
    """A cluster of its own, for as long as the context of :func:`postgresql` lasts."""

    def __init__(self, folder: Path, pid: int, programs: Path) -> None:
        self.folder, self.pid, self._programs = folder, pid, programs

    def fill(self, passcode: str, pins: Iterable[str]) -> None:
        """The table in which FreeRADIUS looks."""
        self._do("CREATE TABLE pins (passcode text, pin text, PRIMARY KEY (passcode, pin))")
        self._do("COPY pins FROM STDIN", "".join(f"{passcode}\t{pin}\n" for pin in pins))
        self._do("VACUUM ANALYZE pins")

    def _do(self, statement: str, told: str = "") -> None:
        program, folder = str(self._programs / "psql"), str(self.folder)
        command = [program, "-qX", "-v", "ON_ERROR_STOP=1", "-h", folder, "-U", "bench", "-d", "postgres"]
        subprocess.run([*command, "-c", statement], input=told, text=True, check=True)


@contextmanager
def postgresql() -> Iterator[PostgreSql]:
    """PostgreSQL, as a user without rights, on a socket in a temporary folder."""
    programs = max(_PROGRAMS.glob("*/bin"), key=lambda found: int(found.parent.name))
    user = pwd.getpwnam(_USER) if os.getuid() == 0 else None
    rights = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": ()}
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        folder = Path(name)
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        data = folder / "data"
        subprocess.run(
            [programs / "initdb", "--no-sync", "--no-locale", "-E", "UTF8", "-U", "bench", "-A", "trust", data],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
            **rights,  # type: ignore[call-overload] # typeshed wants each by its name
        )
        options = {"listen_addresses": "", "unix_socket_directories": name, "shared_buffers": "512MB"}
        process = subprocess.Popen(
            [programs / "postgres", "-D", data, *(f"-c{key}={value}" for key, value in options.items())],
            stderr=subprocess.DEVNULL,
            cwd="/",
            **rights,  # type: ignore[call-overload]
        )
        try:
            _wait_until(lambda: subprocess.run([programs / "pg_isready", "-qh", folder], check=False).returncode == 0)
            yield PostgreSql(folder, process.pid, programs)
        finally:
            # The fast way to stop: whoever is connected is sent away.
            process.send_signal(signal.SIGINT)
            process.wait(60)


@contextmanager
def with_sql(database: PostgreSql, secret: bytes, *, threads: int) -> Iterator[Bare]:
    """FreeRADIUS asking PostgreSQL, each thread on a connection of its own."""
    with _running("sql", _SQL.format(folder=database.folder, connections=threads), secret, threads) as server:
        yield server


@contextmanager
def with_files(passcode: str, pins: Iterable[str], secret: bytes, *, threads: int) -> Iterator[Bare]:
    """FreeRADIUS with all PINs in memory, as it reads them from a file."""
    with tempfile.NamedTemporaryFile("w", encoding="ascii") as file:
        file.writelines(f'"{passcode}-{pin}" Auth-Type := Accept\n' for pin in pins)
        file.flush()
        with _running("files", _FILES.format(file=file.name), secret, threads) as server:
            yield server


@contextmanager
def _running(name: str, module: str, secret: bytes, threads: int) -> Iterator[Bare]:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        text = _SERVER.format(
            folder=folder, name=name, module=module, secret=secret.decode(), threads=threads, port=port
        )
        (Path(folder) / "radiusd.conf").write_text(text)
        (Path(folder) / "dictionary").write_text("")
        process = subprocess.Popen([_PROGRAM, "-f", "-d", folder], stdout=subprocess.DEVNULL)
        try:
            _wait_until(lambda: _is_bound(port) or process.poll() is not None)
            if process.poll() is not None:
                raise RuntimeError((Path(folder) / "log").read_text())
            yield Bare(port, process.pid)
        finally:
            process.terminate()
            process.wait(30)


def _is_bound(port: int) -> bool:
    """Whether somebody hears datagrams at this port."""
    heard = Path("/proc/net/udp").read_text()
    return f":{port:04X} " in heard


def _wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.perf_counter() + _PATIENCE
    while not is_so():
        if time.perf_counter() > deadline:
            raise RuntimeError("a server does not start")
        time.sleep(0.05)
