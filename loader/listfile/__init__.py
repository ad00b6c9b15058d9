"""The list file: bytes become entries, or all that is wrong with them; entries become bytes.

Section 4 of the design. Pure functions over bytes and values.
"""

from loader.listfile.check import NO_LIMITS, WEB_LIMITS, Check, Limits, check
from loader.listfile.export import export_csv, export_xlsx, template
from loader.listfile.messages import message
from loader.listfile.pins import (
    DEFAULT_GUESSABLE_SHARE,
    SHORT_DIGITS,
    ShortPins,
    short_pins,
    wide_enough,
)
from loader.listfile.problems import MAX_LISTED, Code, Problem, Severity

__all__ = [
    "DEFAULT_GUESSABLE_SHARE",
    "MAX_LISTED",
    "NO_LIMITS",
    "SHORT_DIGITS",
    "WEB_LIMITS",
    "Check",
    "Code",
    "Limits",
    "Problem",
    "Severity",
    "ShortPins",
    "check",
    "export_csv",
    "export_xlsx",
    "message",
    "short_pins",
    "template",
    "wide_enough",
]
