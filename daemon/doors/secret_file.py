"""The secrets that doors share with clouds, each in a file of its own."""

from __future__ import annotations

import os
from pathlib import Path

from loader.errors import SettingsError
from loader.files import is_open_to_others


def read_secret(setting: str, path: str) -> bytes:
    """The secret in a file, without the white space around it.

    `setting` is how the file is called in the settings. Raises SettingsError if it is missing, open to others, or empty.
    """
    if not path:
        raise SettingsError(f"{setting}: must name the file with the secret; without it the door stays shut")
    try:
        with Path(path).open("rb") as file:
            mode, secret = os.fstat(file.fileno()).st_mode, file.read().strip()
    except FileNotFoundError:
        raise SettingsError(f"{setting}: {path}: there is no such file") from None
    except OSError as error:
        raise SettingsError(f"{setting}: {path}: cannot be read: {error.strerror}") from None
    if is_open_to_others(Path(path), mode):
        raise SettingsError(f"{setting}: {path}: can be read by others; make it yours alone with `chmod 600`")
    if not secret:
        raise SettingsError(f"{setting}: {path}: is empty")
    return secret
