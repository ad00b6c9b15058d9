"""Small disks of their own: file systems in memory that tests fill, or make read-only."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.integration.programs import missing, program


class Disk:
    """A mounted file system."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Leave not one byte."""
        with suppress(OSError), self._filler.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def fill_with_files(self) -> None:
        """Leave no room for one more file; there may be room for bytes."""
        self._filler.mkdir()
        with suppress(OSError):
            for number in range(100_000):
                (self._filler / str(number)).touch()

    def empty(self) -> None:
        """Take away what fills it."""
        if self._filler.is_dir():
            for file in self._filler.iterdir():
                file.unlink()
            self._filler.rmdir()
        else:
            self._filler.unlink()

    def make_writable(self, *, writable: bool) -> None:
        mode = "remount,rw" if writable else "remount,ro"
        subprocess.run([program("mount"), "-o", mode, self.folder], check=True)


@contextmanager
def mounted(folder: Path, *, size: str = "4m", files: int = 10_000) -> Iterator[Disk]:
    """A file system in memory. Skips the test where none may be mounted."""
    folder.mkdir(exist_ok=True)
    options = f"size={size},nr_inodes={files},mode=0700"
    done = subprocess.run([program("mount"), "-t", "tmpfs", "-o", options, "tests", folder], check=False)
    if done.returncode:
        missing("mount", "no file system may be mounted here")
    try:
        yield Disk(folder)
    finally:
        # What was killed may not have let go of it yet.
        subprocess.run([program("umount"), "--lazy", folder], check=True)
