"""What questions are answered from: the index and the tokens in force. Swapped as a whole, never edited."""

from __future__ import annotations

from collections.abc import Iterable

from loader.index import Index
from loader.model import Switch


class Live:
    """The index in force, and the switches by the hash of their tokens; None until they are loaded.

    Who asks takes the index anew in each turn of the event loop: the memory of a list that was replaced is given back
    between two turns.
    """

    __slots__ = ("index", "switches")

    def __init__(self) -> None:
        self.index: Index | None = None
        self.switches: dict[bytes, str] | None = None

    def swap(self, index: Index) -> None:
        """Put the next index in force: one assignment, so that a lookup sees the last or the next."""
        self.index = index

    def swap_switches(self, switches: Iterable[Switch]) -> None:
        """Put the switches' tokens in force, and no others."""
        self.switches = {switch.token_hash: switch.id for switch in switches}
