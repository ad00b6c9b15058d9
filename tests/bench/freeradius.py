"""FreeRADIUS beside the RADIUS door: PINs in PostgreSQL through `rlm_sql`, or in the file of `files`.

It is set up to do as little as it can: one virtual server, no log, no accounting, no delay of rejects, nothing told of
who is let in. A PIN is one lookup: one query by primary key, or one key of the file's table in memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.bench.others import Started, installed, running
from tests.bench.workplace import free_port

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
        radius_db = "host={folder} dbname=postgres user=postgres"
        read_groups = no
        read_profiles = no
        read_clients = no
        sql_user_name = "%{{User-Name}}"
        authorize_check_query = "SELECT 1, '', 'Auth-Type', 'Accept', ':=' FROM participant \\
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


@contextmanager
def with_sql(postgres: str, secret: bytes, *, threads: int) -> Iterator[Started]:
    """FreeRADIUS asking PostgreSQL in this folder, each thread on a connection of its own; at a port."""
    with _started("sql", _SQL.format(folder=postgres, connections=threads), secret, threads) as server:
        yield server


@contextmanager
def with_files(passcode: str, pins: Iterable[str], secret: bytes, *, threads: int) -> Iterator[Started]:
    """FreeRADIUS with all PINs in memory, as it reads them from a file; at a port."""
    with tempfile.NamedTemporaryFile("w", encoding="ascii") as file:
        file.writelines(f'"{passcode}-{pin}" Auth-Type := Accept\n' for pin in pins)
        file.flush()
        with _started("files", _FILES.format(file=file.name), secret, threads) as server:
            yield server


@contextmanager
def _started(name: str, module: str, secret: bytes, threads: int) -> Iterator[Started]:
    program, port = installed("freeradius", "freeradius"), free_port()
    with tempfile.TemporaryDirectory(prefix="bench-freeradius-") as folder:
        (Path(folder) / "radiusd.conf").write_text(
            _SERVER.format(folder=folder, name=name, module=module, secret=secret.decode(), threads=threads, port=port)
        )
        (Path(folder) / "dictionary").touch()
        with running([program, "-f", "-d", folder, "-l", "stdout"], until=lambda: _is_bound(port)) as pid:
            yield Started(str(port), pid)


def _is_bound(port: int) -> bool:
    """Whether somebody hears datagrams at this port."""
    return f":{port:04X} " in Path("/proc/net/udp").read_text()
