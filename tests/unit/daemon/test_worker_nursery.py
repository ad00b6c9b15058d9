"""The nursery forks workers when it is told to, tells how they ended, and keeps nothing of the main process."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import NoReturn

import pytest

from daemon.worker_nursery import Born, Nursery, fork_nursery


def worker(born: Born) -> NoReturn:
    """Tells its number, its process and which files it has; then does what it is told."""
    status = 99
    try:
        files = [int(file.name) for file in Path("/proc/self/fd").iterdir()]
        born.end.send(f"{born.number} {os.getpid()} {max(files)}".encode())
        told = born.end.recv(1)
        status = int(told or b"0")
    finally:
        os._exit(status)


def children() -> set[int]:
    return {int(child) for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


@contextmanager
def made() -> Iterator[Nursery]:
    sys.stdout.flush()
    with socket.socket() as of_the_main_process:
        assert of_the_main_process.fileno() >= 0
        before = children()
        forked = fork_nursery()
        if isinstance(forked, Born):
            worker(forked)
        gc.unfreeze()
        (pid,) = children() - before
        yield forked
        forked.end.close()
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    with made() as nursery:
        yield nursery


def ended(nursery: Nursery) -> tuple[int, int]:
    give_up = time.monotonic() + 10
    while (told := nursery.ended()) is None:
        assert time.monotonic() < give_up
        time.sleep(0.005)
    return told


def hello(end: socket.socket) -> list[int]:
    return [int(part) for part in end.recv(100).split()]


def test_workers_are_forked_one_after_the_other_and_their_ends_are_told(nursery: Nursery) -> None:
    first, second = nursery.fork(1), nursery.fork(7)
    (one, pid, _), (other, other_pid, _) = hello(first), hello(second)
    assert (one, other) == (1, 7)
    first.send(b"3")
    assert ended(nursery) == (pid, 3)
    os.kill(other_pid, signal.SIGKILL)
    assert ended(nursery) == (other_pid, -signal.SIGKILL)
    assert nursery.ended() is None
    first.close()
    second.close()


def test_a_worker_hears_no_signals_and_has_no_files_but_its_own(nursery: Nursery) -> None:
    with nursery.fork(1) as end:
        _, pid, highest = hello(end)
        assert highest < 40
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(pid, number)
        end.send(b"0")
        assert ended(nursery) == (pid, 0)


def test_a_worker_hears_that_the_main_process_has_ended(nursery: Nursery) -> None:
    """Neither its siblings nor the nursery have a copy of the main process's end."""
    with nursery.fork(1) as end, nursery.fork(2) as other:
        _, pid, _ = hello(end)
        hello(other)
        end.close()
        assert ended(nursery) == (pid, 0)


def test_a_nursery_that_is_gone_is_told() -> None:
    before = children()
    with made() as nursery:
        (pid,) = children() - before
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        with pytest.raises(EOFError):
            nursery.ended()
        with pytest.raises(BrokenPipeError):
            nursery.fork(1)


def test_a_worker_that_cannot_be_forked_is_one_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the system has no more processes: the nursery lives on."""
    numbers, fork = count(), os.fork

    def seldom() -> int:
        if next(numbers) == 1:
            raise BlockingIOError
        return fork()

    monkeypatch.setattr(os, "fork", seldom)
    with made() as nursery:
        with nursery.fork(1) as end:
            assert end.recv(100) == b""
        with nursery.fork(1) as end:
            assert hello(end)[0] == 1
            end.send(b"0")
            assert ended(nursery)[1] == 0
