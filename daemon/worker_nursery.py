"""A small process that forks the workers, and does nothing else.

It is forked from the main process before that has read anything, starts nothing and keeps nothing, so that each worker
begins as a copy of what was imported, and shares its memory: also the one that is made in place of another when the
main process has long grown and has threads, which is no time to fork.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
from contextlib import suppress
from typing import Final, NamedTuple

from daemon.worker_channel import pair, receive

_ENDED: Final = 64
"""Bytes of what is told of an end."""


class Born(NamedTuple):
    """A worker that was just forked: its number, and its end of the pair to the main process."""

    number: int
    end: socket.socket


class Nursery:
    """The main process's side of it."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        """Readable when a worker has ended, or the nursery."""
        end.setblocking(False)

    def fork(self, number: int) -> socket.socket:
        """Have a worker forked; the end of the pair to it. Raises OSError if the nursery is gone."""
        ours, its = pair()
        with its:
            try:
                socket.send_fds(self.end, [bytes([number])], [its.fileno()])
            except BaseException:
                ours.close()
                raise
        return ours

    def ended(self) -> tuple[int, int] | None:
        """The process ID of a worker that has ended and its status, as of `os.waitstatus_to_exitcode`.

        None if none has. Raises EOFError if the nursery is gone.
        """
        try:
            told = self.end.recv(_ENDED)
        except BlockingIOError:
            return None
        except OSError:
            told = b""
        if not told:
            raise EOFError
        pid, status = told.split()
        return int(pid), int(status)


def fork_nursery() -> Nursery | Born:
    """Fork the nursery. This returns in the main process, and once in each worker."""
    ours, its = pair()
    # What is there now is never garbage: the collector is not to touch it, which would copy it.
    gc.collect()
    gc.freeze()
    if os.fork():
        its.close()
        return Nursery(ours)
    # Who stops a service may signal all its processes: these hear from the main one what to do.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    keep = its.fileno()
    ours.close()
    with suppress(OSError):
        _close_all_but(keep)
    return _nurse(its)


def _nurse(main: socket.socket) -> Born:
    """Fork workers until the main process ends; this returns in a worker only."""
    workers: dict[int, int] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(main, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is main:
                    born = _fork(main, selector, workers)
                    if born is not None:
                        return born
                else:
                    _tell_end(main, selector, key.fd, workers.pop(key.fd))


def _fork(main: socket.socket, selector: selectors.BaseSelector, workers: dict[int, int]) -> Born | None:
    told, files = receive(main, 1, 1)
    if not told:
        os._exit(0)
    try:
        pid = os.fork()
    except OSError:
        # The main process sees that nobody is at the other end, and tries again.
        os.close(files[0])
        return None
    if not pid:
        main.close()
        for file in workers:
            os.close(file)
        return Born(told[0], socket.socket(fileno=files[0]))
    os.close(files[0])
    file = os.pidfd_open(pid)
    workers[file] = pid
    selector.register(file, selectors.EVENT_READ)
    return None


def _tell_end(main: socket.socket, selector: selectors.BaseSelector, file: int, pid: int) -> None:
    _, status = os.waitpid(pid, 0)
    selector.unregister(file)
    os.close(file)
    with suppress(OSError):
        main.send(f"{pid} {os.waitstatus_to_exitcode(status)}".encode())


def _close_all_but(keep: int) -> None:
    """Keep the standard streams and one file: sockets that systemd holds for the service are the main process's."""
    os.closerange(3, keep)
    os.closerange(keep + 1, os.sysconf("SC_OPEN_MAX"))
