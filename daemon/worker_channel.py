"""Words between the main process and a worker: values and open files, over a pair of sockets.

A pair of sockets that keep messages whole (unix(7), SOCK_SEQPACKET). What is too long for one message goes into a file
in memory that is sent with it.
"""

from __future__ import annotations

import asyncio
import os
import socket
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

import msgspec

_LONGEST: Final = 32 * 1024
"""Bytes of a message; a pair of sockets takes some 200 KB."""
_MOST_FILES: Final = 253
"""Open files that go with one message at most (unix(7), SCM_MAX_FD)."""
_ELSEWHERE: Final = b"\0"
"""Stands for a message that is in the last of its files: no value begins with it."""

Word = TypeVar("Word")


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends that are connected."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def receive(end: socket.socket, longest: int, most_files: int) -> tuple[bytes, list[int]]:
    """A message and the files that came with it; empty if the other side is gone. Raises OSError.

    `socket.recv_fds` forgets its flags, so that files would be left open in what is started.
    """
    files = array("i")
    message, told, _, _ = end.recvmsg(longest, socket.CMSG_LEN(most_files * files.itemsize), socket.MSG_CMSG_CLOEXEC)
    for level, kind, data in told:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            files.frombytes(data[: len(data) - len(data) % files.itemsize])
    return message, list(files)


class Channel(Generic[Word]):
    """One end, on the running event loop. `words` decodes what the other side says.

    `hear` is told each word, and the files that came with it, which it has to close. `gone` is called once when the
    other side has ended.
    """

    def __init__(
        self,
        end: socket.socket,
        words: msgspec.msgpack.Decoder[Word],
        hear: Callable[[Word, list[int]], None],
        gone: Callable[[], None],
    ) -> None:
        self._end = end
        self._decode = words.decode
        self._encode = msgspec.msgpack.Encoder().encode
        self.hear = hear
        self._gone = gone
        self._unsent: deque[tuple[bytes, list[int]]] = deque()
        self._loop = asyncio.get_running_loop()
        end.setblocking(False)
        self._loop.add_reader(end, self._receive)

    def say(self, word: msgspec.Struct, files: Sequence[int] = ()) -> None:
        """Send a word, at once or as soon as there is room; its files may be closed at once."""
        if self._end.fileno() < 0:
            return
        message, copies = self._encode(word), []
        if len(message) > _LONGEST:
            copies, message = [_in_memory(message)], _ELSEWHERE
        files = [*files, *copies]
        try:
            if self._unsent or not self._send(message, files):
                if not self._unsent:
                    self._loop.add_writer(self._end, self._send_more)
                self._unsent.append((message, [os.dup(file) for file in files]))
        finally:
            _close(copies)

    def close(self) -> None:
        """Say and hear nothing more."""
        if self._end.fileno() >= 0:
            self._loop.remove_reader(self._end)
            self._loop.remove_writer(self._end)
            self._end.close()
            while self._unsent:
                _close(self._unsent.popleft()[1])

    def _send(self, message: bytes, files: list[int]) -> bool:
        try:
            socket.send_fds(self._end, [message], files)
        except BlockingIOError:
            return False
        except OSError:
            # The other side is gone: whoever reads is told.
            pass
        return True

    def _send_more(self) -> None:
        while self._unsent:
            message, files = self._unsent[0]
            if not self._send(message, files):
                return
            self._unsent.popleft()
            _close(files)
        self._loop.remove_writer(self._end)

    def _receive(self) -> None:
        # One at a time: who answers callers comes between two words.
        try:
            message, files = receive(self._end, _LONGEST, _MOST_FILES)
        except BlockingIOError:
            return
        except OSError:
            message, files = b"", []
        if not message:
            self.close()
            self._gone()
            return
        if message == _ELSEWHERE:
            message = _read(files.pop())
        self.hear(self._decode(message), files)


def _in_memory(message: bytes) -> int:
    file = os.memfd_create("rollcall-word")
    left = memoryview(message)
    while left:
        left = left[os.write(file, left) :]
    return file


def _read(file: int) -> bytes:
    with os.fdopen(file, "rb") as opened:
        opened.seek(0)
        return opened.read()


def _close(files: Sequence[int]) -> None:
    for file in files:
        os.close(file)
