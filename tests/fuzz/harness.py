"""What a harness is: one parser, tried with any bytes, and what must hold whatever they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final, NamedTuple

MODULES: Final = {
    "lists": "list_file typed_entry spreadsheet".split(),
    "disk": "settings directory key_file clients block sealed_block journal".split(),
    "wire": "question http fastagi radius twiml jambonz httapi voicexml sealed_state".split(),
    "site": "typed target calendar mail languages".split(),
}
"""The harnesses, by the module that they stand in."""

MEMORY: Final = 1024
"""MiB that a process may take, the interpreter and all that is instrumented included."""

PART: Final = b"\x00\x00"
"""Parts what a harness takes apart into several inputs."""


class Harness(NamedTuple):
    """`check` tries one input, and raises if anything is not as it must be. `seeds` are inputs to begin from.

    `words` are what the parser looks for, `longest` is how many bytes an input may have.
    """

    check: Callable[[bytes], None]
    seeds: Sequence[bytes]
    words: Sequence[bytes] = ()
    longest: int = 4096


def harnesses(module: str) -> dict[str, Harness]:
    """The harnesses of a module."""
    found: dict[str, Harness] = import_module(f"tests.fuzz.{module}").HARNESSES
    return found


def parts(data: bytes, number: int) -> list[bytes]:
    """So many inputs out of one; those that are not there are empty."""
    found = data.split(PART, number - 1)
    return found + [b""] * (number - len(found))


def patched(whole: bytes, data: bytes) -> bytes:
    """The same bytes with what `data` changes of them: a place, 2 bytes, and what is XORed there, one byte.

    The first byte of `data` cuts off from the end, or puts something behind it.
    """
    if not data:
        return whole
    changed = bytearray(whole)
    for at in range(1, len(data) - 2, 3):
        if changed:
            changed[int.from_bytes(data[at : at + 2], "little") % len(changed)] ^= data[at + 2]
    cut = data[0]
    if cut < 128:
        return bytes(changed[: len(changed) - cut])
    return bytes(changed) + bytes(cut - 128)
