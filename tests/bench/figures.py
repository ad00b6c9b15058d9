"""A figure, and what it is to reach."""

from __future__ import annotations

from typing import Literal

import msgspec


class Figure(msgspec.Struct, frozen=True, omit_defaults=True):
    """One figure. With a goal it is to be at least or at most that."""

    name: str
    value: float
    unit: str
    beside: float | None = None
    """The same of the bare handler, in the same run."""
    goal: float | None = None
    sense: Literal["at least", "at most"] = "at most"

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.sense == "at least" else self.value <= self.goal
