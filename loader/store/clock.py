"""Moments that were noted by a clock that may have been set back since."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, or_

LONGEST_WAIT: Final = 7200.0
"""Seconds: nothing is put off for longer, so that a moment further ahead was noted while the clock was wrong."""


def is_over(moment: Any, now: float, longest: float = LONGEST_WAIT) -> ColumnElement[bool]:
    """Whether this moment has come, or never will by itself: it is further ahead than anything is put off."""
    return or_(moment <= now, moment > now + longest)


def is_old(moment: Any, now: float, age: float) -> ColumnElement[bool]:
    """Whether something was noted so many seconds ago, or as far ahead."""
    return or_(moment < now - age, moment > now + age)
