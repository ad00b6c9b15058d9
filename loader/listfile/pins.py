"""What can only be judged over all PINs of a file: doubles, lost zeros, and how easily one is guessed."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

from loader.listfile import columns
from loader.listfile.problems import MAX_LISTED, Code, Problem
from loader.model import MAX_PIN_LENGTH, MIN_PIN_LENGTH

DEFAULT_GUESSABLE_SHARE: Final = 0.001
SHORT_DIGITS: Final = 5
"""A PIN of at most so many digits tells who is calling, and keeps nobody out."""


class ShortPins(NamedTuple):
    """How many PINs of a list have so many digits, and that one random guess in `one_in` is one of them."""

    digits: int
    pins: int
    one_in: int


class Judged(NamedTuple):
    """The PINs, zeros restored if that was asked for; the first 100 errors and the count of all; warnings."""

    pins: Sequence[str]
    errors: list[Problem]
    error_count: int
    warnings: list[Problem]


def judge(
    pins: Sequence[str],
    lines: Sequence[int],
    *,
    guessable_share: float,
    restore_zeros: bool,
    minimum_digits: int = MIN_PIN_LENGTH,
) -> Judged:
    """Judge the PINs of a file, each of 1 to 10 digits, with the line that each stands in."""
    width = usual_width(pins)
    if restore_zeros and width is not None:
        pins = [restored(pin, width) for pin in pins]
    faulty = heapq.merge(
        _too_short(pins, lines, width, minimum_digits), _duplicates(pins, lines), key=lambda problem: problem.line or 0
    )
    errors = list(islice(faulty, MAX_LISTED))
    error_count = len(errors) + sum(1 for _ in faulty)
    warnings = [*_zeros_lost(pins, lines, width), *_guessable(pins, guessable_share)]
    return Judged(pins, errors, error_count, warnings)


def short_pins(pins: Iterable[str]) -> list[ShortPins]:
    """How easily the short ones among a list's PINs are guessed, by their number of digits."""
    counted = Counter(map(len, pins))
    return [
        ShortPins(digits, counted[digits], _one_in(digits, counted[digits]))
        for digits in range(MIN_PIN_LENGTH, SHORT_DIGITS + 1)
        if counted[digits]
    ]


def wide_enough(count: int, share: float) -> int:
    """The fewest digits, more than a short PIN has, of which one guess finds one of `count` PINs seldom enough."""
    widths = range(SHORT_DIGITS + 1, MAX_PIN_LENGTH)
    return next((width for width in widths if count / 10**width <= share), MAX_PIN_LENGTH)


def usual_width(pins: Sequence[str]) -> int | None:
    """The number of digits that more than half of the PINs have; None if there is none, or it is one."""
    for width, count in Counter(map(len, pins)).most_common(1):
        if count * 2 > len(pins) and width > 1:
            return width
    return None


def restored(pin: str, width: int) -> str:
    """The PIN with the zeros that it seems to have lost. A longer one, or one that still has a zero, is left alone."""
    return pin.zfill(width) if pin == "0" or not pin.startswith("0") else pin


def _too_short(pins: Sequence[str], lines: Sequence[int], width: int | None, minimum: int) -> Iterator[Problem]:
    if min(map(len, pins), default=minimum) >= minimum:
        return
    for pin, line in zip(pins, lines, strict=True):
        if len(pin) < MIN_PIN_LENGTH:
            params: dict[str, str | int] = {"why": "short", "found": pin}
            if width is not None:
                params |= {"why": "zeros_lost", "restored": restored(pin, width)}
            yield Problem(Code.PIN_INVALID, line, columns.PIN, params)
        elif len(pin) < minimum:
            params = {"found": pin, "min": minimum}
            if width is not None and width >= minimum and restored(pin, width) != pin:
                params |= {"why": "zeros_lost", "restored": restored(pin, width)}
            yield Problem(Code.PIN_TOO_SHORT, line, columns.PIN, params)


def _duplicates(pins: Sequence[str], lines: Sequence[int]) -> Iterator[Problem]:
    if len(set(pins)) == len(pins):
        return
    first_lines: dict[str, int] = {}
    for pin, line in zip(pins, lines, strict=True):
        first = first_lines.setdefault(pin, line)
        if first != line:
            yield Problem(Code.PIN_DUPLICATE, line, columns.PIN, {"found": pin, "first_line": first})


def _zeros_lost(pins: Sequence[str], lines: Sequence[int], width: int | None) -> list[Problem]:
    if width is None or min(map(len, pins)) >= width:
        return []
    short = [
        (pin, line) for pin, line in zip(pins, lines, strict=True) if len(pin) < width and restored(pin, width) != pin
    ]
    return [
        Problem(
            Code.PIN_ZEROS_LOST,
            line,
            columns.PIN,
            {"found": pin, "restored": restored(pin, width), "width": width, "count": len(short)},
        )
        for pin, line in short[:MAX_LISTED]
    ]


def _guessable(pins: Sequence[str], share: float) -> list[Problem]:
    """For each width, the chance that one random guess of that many digits is the PIN of somebody."""
    problems = []
    for width, n in sorted(Counter(map(len, set(pins))).items()):
        if width > 1 and n / 10**width > share:
            params: dict[str, str | int] = {"n": n, "width": width, "one_in": _one_in(width, n)}
            better = next((more for more in range(width, MAX_PIN_LENGTH + 1) if n / 10**more <= share), None)
            if n * 2 > 10**width:
                params["why"] = "most"
            elif better is not None:
                params |= {"why": "better", "better": better}
            problems.append(Problem(Code.PIN_GUESSABLE, None, columns.PIN, params))
    return problems


def _one_in(width: int, count: int) -> int:
    return max(1, round(int(10**width) / count))
