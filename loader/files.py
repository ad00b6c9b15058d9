"""Writing a file so that it is there whole, or as it was."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def is_open_to_others(path: Path, mode: int) -> bool:
    """Whether others than its owner may do anything with a file of this mode.

    What systemd hands over as a credential is the service's alone: bits of its group stand for the service's access.
    """
    handed = os.environ.get("CREDENTIALS_DIRECTORY")
    return bool(mode & (0o007 if handed and path.parent == Path(handed) else 0o077))


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace a file by one rename, after its bytes are on the disk. Raises OSError, and then nothing has changed."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
