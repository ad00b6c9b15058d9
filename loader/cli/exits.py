"""How a command ends."""

from __future__ import annotations

from typing import Final

DONE: Final = 0
REFUSED: Final = 1
WRONG_CALL: Final = 2
STOPPED: Final = 130
"""By Ctrl-C, as a shell tells it."""
NOBODY_READS: Final = 141
"""The reader of the pipe has gone, as a shell tells it."""


class WrongCallError(Exception):
    """The command line asks for what cannot be, such as to read a file that is not there."""
