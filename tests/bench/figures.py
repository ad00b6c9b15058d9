"""A figure, and what it is to reach."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Literal

import msgspec


class Figure(msgspec.Struct, frozen=True, omit_defaults=True):
    """One figure. With a goal it is to be at least or at most that."""

    name: str
    value: float
    unit: str
    beside: float | None = None
    """The same of what it is compared with, in the same run."""
    goal: float | None = None
    sense: Literal["at least", "at most"] = "at most"
    lowest: float | None = None
    highest: float | None = None
    rounds: int = 1
    """How often it was measured: the value is the median, between the lowest and the highest."""

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.sense == "at least" else self.value <= self.goal


def of_rounds(
    name: str,
    values: Sequence[float],
    unit: str,
    *,
    beside: float | None = None,
    goal: float | None = None,
    sense: Literal["at least", "at most"] = "at most",
) -> Figure:
    """The median of what the rounds gave, with their lowest and highest."""
    return Figure(name, median(values), unit, beside, goal, sense, min(values), max(values), len(values))
