"""For all tests: some open a thousand connections, both ends of them."""

import traceback
from collections.abc import Iterator
from types import FrameType

from loader.service import allow_many_connections


def no_stack(f: FrameType | None) -> Iterator[tuple[FrameType, int]]:
    """No frames at all."""
    return iter(())


def pytest_configure() -> None:
    """Before any test."""
    allow_many_connections()
    # Asyncio's debug mode keeps the stack that made each future and handle: half of the time of all tests. What it
    # checks, it checks without. Nothing else in the tests walks a stack; an exception's traceback is not one.
    traceback.walk_stack = no_stack
