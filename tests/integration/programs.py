"""Programs of others that some tests need, such as a SIP server.

Where one is missing its tests are skipped, unless TESTS_REQUIRE names it (names parted by spaces): then they fail, so
that where all is installed nothing is skipped unseen.
"""

from __future__ import annotations

import os
import shutil
from typing import Final, NoReturn

import pytest

_REQUIRED: Final = "TESTS_REQUIRE"
_PLACES: Final = (os.defpath, "/usr/sbin", "/usr/local/sbin", "/sbin")
"""Servers lie where an ordinary user does not look."""


def program(name: str) -> str:
    """The path of a program. Skips the test that asks, or fails it, where there is none."""
    path = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), *_PLACES)))
    if path is None:
        missing(name, f"{name} is not installed")
    return path


def missing(name: str, reason: str) -> NoReturn:
    """Skip this test, or fail it if what is missing has to be there."""
    if name in os.environ.get(_REQUIRED, "").split():
        pytest.fail(f"{reason}, and {_REQUIRED} names it", pytrace=False)
    pytest.skip(reason)
