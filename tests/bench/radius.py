"""The RADIUS door beside FreeRADIUS with the same PINs: in PostgreSQL through `rlm_sql`, and in memory by `files`.

Each is asked by the same client, in turn: one process, one socket, many requests under way, packets that were signed
beforehand. Such a client needs a processor for itself beside a server as cheap as FreeRADIUS with `files`, and may then
be what is measured; that would flatter the slower server. So the processor time of an answer is told too, of all
processes that a server consists of: of ours also the keeper's, who puts each accepted caller on the roll.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from hashlib import md5
from itertools import cycle
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final, NamedTuple

from daemon.doors.radius_packet import (
    ACCESS_ACCEPT,
    ACCESS_REQUEST,
    CALLING_STATION_ID,
    H323_CONF_ID,
    USER_NAME,
    USER_PASSWORD,
    Secret,
    attribute,
    cisco,
)
from loader.listfile import export_csv
from tests.bench.data import people
from tests.bench.figures import Figure
from tests.bench.freeradius import with_files, with_sql
from tests.bench.others import postgres
from tests.bench.workplace import Workplace, free_port

SECRET: Final = b"a-secret-for-the-bench-alone-4711"
_UNSIGNED: Final = b"\x50\x12" + bytes(16)
_UNDER_WAY: Final = 64
"""Requests that wait for their answers at a time."""
_QUESTIONS: Final = 8192
"""Packets of a client. An identifier comes again after 256 of them, with another packet: none is a retransmission."""
_THREADS: Final = {"sql": 8, "files": 2}
"""Threads of FreeRADIUS: two for two processors, and more where each waits for PostgreSQL."""
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Load(NamedTuple):
    """Answers a second, and the seconds of processor time that the server took for one."""

    per_second: float
    processor: float


def settings(workplace: Workplace, port: int) -> Mapping[str, str]:
    """What opens the door at this port."""
    clients = workplace.folder / "radius-clients"
    clients.touch(mode=0o600)
    clients.write_bytes(b"127.0.0.1 %b\n" % SECRET)
    told = {"ENABLED": "true", "PORT": str(port), "ACCOUNTING_PORT": "0", "CLIENTS_FILE": str(clients)}
    return {f"ROLLCALL_DOORS__RADIUS__{key}": value for key, value in told.items()}


def run(*, rounds: int = 7, seconds: float = 2.0, large: int = 1_000_000, many: int = 100_000) -> list[Figure]:
    """Each of the two beside a daemon with as many PINs; the shares are medians of the rounds' ratios."""
    return [
        *_compared("FreeRADIUS with PostgreSQL", "sql", large, rounds, seconds, goal=2.0),
        *_compared("FreeRADIUS with files", "files", many, rounds, seconds, goal=1.0),
    ]


def _compared(name: str, module: str, entries: int, rounds: int, seconds: float, goal: float) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        workplace = Workplace(Path(folder))
        listed = list(people(entries))
        file = Path(folder) / "list.csv"
        file.write_bytes(export_csv(listed))
        workplace.rollcall("import", str(file), "--organizer", "ann")
        pins = [entry.pin for entry in listed]
        port = free_port()
        daemon = stack.enter_context(workplace.daemon(**settings(workplace, port)))
        threads = _THREADS[module]
        if module == "sql":
            database = stack.enter_context(postgres(listed, workplace.passcode))
            other = stack.enter_context(with_sql(database.where, SECRET, threads=threads))
            others = [other.pid, database.pid]
        else:
            other = stack.enter_context(with_files(workplace.passcode, pins, SECRET, threads=threads))
            others = [other.pid]
        packets = _packets(workplace.passcode, pins[:: max(1, entries // _QUESTIONS)][:_QUESTIONS])
        ours: list[Load] = []
        theirs: list[Load] = []
        for _ in range(rounds):
            ours.append(_load(port, [daemon.pid], packets, seconds))
            theirs.append(_load(int(other.where), others, packets, seconds))
        if not daemon.metric('rollcall_verifications_total{door="radius",result="accepted"}'):
            raise RuntimeError("the door was not asked")

    def both(what: str, unit: str, of: Callable[[Load], float]) -> Figure:
        return Figure(f"RADIUS, {entries:,} PINs: {what}", median(map(of, ours)), unit, beside=median(map(of, theirs)))

    pairs = list(zip(ours, theirs, strict=True))
    told = f"RADIUS, {entries:,} PINs: times"
    yield both(f"answers a second, beside {name}", "/s", lambda load: load.per_second)
    yield both("processor time an answer", "µs", lambda load: 1e6 * load.processor)
    rate = median(mine.per_second / other.per_second for mine, other in pairs)
    yield Figure(f"{told} as many answers as {name}", rate, "x", goal=goal, sense="at least")
    cost = median(other.processor / mine.processor for mine, other in pairs)
    yield Figure(f"{told} as many for equal processor time", cost, "x")


def _packets(passcode: str, pins: Sequence[str]) -> list[bytes]:
    """Signed requests with PAP, as a gateway sends them."""
    secret = Secret(SECRET)
    name = attribute(USER_NAME, passcode.encode())
    told = attribute(CALLING_STATION_ID, b"+15550100") + cisco(H323_CONF_ID, b"h323-conf-id=02102944 600A1899 1 2")
    packets = []
    for number, pin in enumerate(pins):
        authenticator = os.urandom(16)
        pad = md5(SECRET + authenticator).digest()
        hidden = int.from_bytes(pad) ^ int.from_bytes(pin.encode().ljust(16, b"\0"))
        body = name + attribute(USER_PASSWORD, hidden.to_bytes(16)) + told + _UNSIGNED
        head = struct.pack("!BBH16s", ACCESS_REQUEST, number % 256, 20 + len(body), authenticator)
        packets.append((head + body)[:-16] + secret.signature(head + body))
    return packets


def _load(port: int, pids: Sequence[int], packets: Sequence[bytes], seconds: float) -> Load:
    before = _processor_time(pids)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        answered, took = pool.apply(_ask, (port, packets, seconds))
    return Load(answered / took, (_processor_time(pids) - before) / answered)


def _ask(port: int, packets: Sequence[bytes], seconds: float) -> tuple[int, float]:
    """Keep so many requests under way for so long; how many were answered, all of them accepted, and the seconds."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect(("127.0.0.1", port))
        following = cycle(packets)
        begun = perf_counter()
        for _ in range(_UNDER_WAY):
            client.send(next(following))
        answered, end = 0, begun + seconds
        while perf_counter() < end:
            if client.recv(4096)[0] != ACCESS_ACCEPT:
                raise RuntimeError("not accepted over RADIUS")
            answered += 1
            client.send(next(following))
        return answered, perf_counter() - begun


def _processor_time(pids: Sequence[int]) -> float:
    """Seconds that these processes and their children, also those that have ended, have had so far."""
    ticks = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            told = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(folder.name) in pids:
            ticks += sum(map(int, told[11:15]))
        elif int(told[1]) in pids:
            ticks += sum(map(int, told[11:13]))
    return ticks / _TICKS
