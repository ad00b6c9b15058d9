"""The nine columns of a list file: section 4 of the design."""

from __future__ import annotations

from typing import Final

TITLES: Final = (
    "PIN Entry Code",
    "First Name",
    "Last Name",
    "Company",
    "Phone",
    "Email",
    "City",
    "State/Country",
    "Other",
)
PIN: Final = TITLES[0]
EMAIL: Final = TITLES[5]
COUNT: Final = len(TITLES)
REQUIRED: Final = frozenset({PIN, "First Name", "Last Name", "Company", "City", "State/Country"})
HEADER: Final = ",".join(TITLES)

_FOLDED: Final = tuple(title.casefold() for title in TITLES)


def is_title(text: str, column: int) -> bool:
    """Whether a text is the title of the column (0 to 8): case and outer spaces don't count."""
    return text.strip().casefold() == _FOLDED[column]


def is_any_title(text: str) -> bool:
    """Whether a text is the title of one of the nine columns."""
    return text.strip().casefold() in _FOLDED


def holds_all_titles(text: str) -> bool:
    """Whether a text is the whole header line: all nine titles in one cell."""
    folded = text.casefold()
    return all(title in folded for title in _FOLDED)
