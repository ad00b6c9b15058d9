"""The dialogue with a caller on the phone: passcode, then PIN if the conference wants one, three tries each.

Pure: a state and what the caller keyed become the next step. A door only asks, listens, and renders.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final, TypeAlias

import msgspec

from daemon.verify import Verification
from loader.index import MAX_KEYED, Reason

TRIES: Final = 3
"""How often a caller may key a passcode, and then a PIN; and how often in a row he may key nothing."""
NOTHING_KEYED: Final = "nothing_keyed"
"""Why a dialogue ended in which the caller keyed nothing, time after time."""
UNAVAILABLE: Final = "unavailable"
"""Why a dialogue ended that nobody could decide."""


class Prompt(StrEnum):
    """What is said to a caller. The names are those of the settings."""

    PASSCODE = "passcode"
    PIN = "pin"
    WRONG_PASSCODE = "wrong_passcode"
    WRONG_PIN = "wrong_pin"
    LOCKED = "locked"
    UNAVAILABLE = "unavailable"
    GOODBYE = "goodbye"


class State(msgspec.Struct, frozen=True, array_like=True):
    """How far a dialogue has come: it waits for a PIN once it has a passcode, and for a passcode until then.

    `tries` are those used up for what it waits for, `silences` how often in a row nothing was keyed.
    """

    passcode: str = ""
    tries: int = 0
    silences: int = 0


class Ask(msgspec.Struct, frozen=True):
    """Say this, and listen for digits up to a `#`: for a PIN if the state has a passcode, else for a passcode."""

    say: tuple[Prompt, ...]
    state: State


class Admit(msgspec.Struct, frozen=True):
    """Let the caller in: the verification is accepted."""

    verification: Verification


class Dismiss(msgspec.Struct, frozen=True):
    """Say this and hang up. `reason` is why, in the words of the last decision if there was one."""

    say: tuple[Prompt, ...]
    reason: str
    retry_after: int | None = None


Step: TypeAlias = Ask | Admit | Dismiss
Verify: TypeAlias = Callable[[str, str], Verification | None]
"""Decides over a passcode and a PIN; None while nothing can be decided."""


def begin() -> Ask:
    """The first step."""
    return Ask((Prompt.PASSCODE,), State())


def keyed(digits: str) -> str:
    """What a caller meant: up to the first `#`, and anew after each `*`. At most one character too many is kept."""
    return digits.partition("#")[0].rpartition("*")[2].strip()[: MAX_KEYED + 1]


def heard(state: State, digits: str, verify: Verify) -> Step:
    """The step after the caller has keyed this, or nothing. Whether a PIN is wanted is verified with an empty one."""
    said = keyed(digits)
    ask = Prompt.PIN if state.passcode else Prompt.PASSCODE
    if not said:
        if state.silences + 1 >= TRIES:
            return Dismiss((Prompt.GOODBYE,), NOTHING_KEYED)
        return Ask((ask,), State(state.passcode, state.tries, state.silences + 1))
    verification = verify(state.passcode, said) if state.passcode else verify(said, "")
    if verification is None:
        return Dismiss((Prompt.UNAVAILABLE, Prompt.GOODBYE), UNAVAILABLE)
    decision = verification.decision
    reason = decision.reason
    if reason is None:
        return Admit(verification)
    if reason is Reason.LOCKED:
        return Dismiss((Prompt.LOCKED, Prompt.GOODBYE), reason, decision.retry_after)
    if reason is Reason.PIN_REQUIRED:
        return Ask((Prompt.PIN,), State(said))
    # The directory may have changed since the passcode was keyed: then it is the passcode that is asked for again.
    unknown = reason is Reason.UNKNOWN_PASSCODE
    wrong, again = (Prompt.WRONG_PASSCODE, Prompt.PASSCODE) if unknown else (Prompt.WRONG_PIN, Prompt.PIN)
    tries = state.tries + 1
    if tries >= TRIES or decision.attempts_left == 0:
        return Dismiss((wrong, Prompt.GOODBYE), reason)
    return Ask((wrong, again), State("" if unknown else state.passcode, tries))
