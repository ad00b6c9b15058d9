"""What stands for systemd, as far as a service tells it how it is."""

from __future__ import annotations

import socket
from pathlib import Path


class Manager:
    """Hears what a service tells systemd."""

    def __init__(self, folder: Path, watchdog: float) -> None:
        self.environment = {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": str(int(watchdog * 1_000_000))}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.environment["NOTIFY_SOCKET"])

    def word(self, within: float = 30.0) -> dict[str, str]:
        """The next word. Raises TimeoutError."""
        self._socket.settimeout(within)
        return dict(line.split("=", 1) for line in self._socket.recv(4096).decode().splitlines())

    def listen(self, between: float) -> None:
        """Hear what comes. Raises TimeoutError when nothing has come for so many seconds."""
        while True:
            self.word(within=between)

    def until(self, name: str) -> dict[str, str]:
        """The next word that says so."""
        while name not in (word := self.word()):
            assert "STOPPING" not in word
        return word

    def close(self) -> None:
        self._socket.close()
