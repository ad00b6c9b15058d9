"""Which passwords are taken: long ones that are not easily guessed, and that no thief knows yet.

Length is what counts (NIST SP 800-63B section 5.1.1.2): no kind of character is asked for, and none is refused. What
everybody types first counts for nothing: common words, rows of keys, digits that run up and down, repetitions.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from itertools import pairwise
from pathlib import Path
from typing import Final

from loader.errors import SettingsError
from loader.model import User

MIN_PASSWORD: Final = 12
MAX_PASSWORD: Final = 200

_MIN_LEFT: Final = 9
"""Characters that have to be left of a password without what counts for nothing."""
_MIN_DIFFERENT: Final = 5
_OWN_WORD: Final = 4
"""Characters from which a word of somebody's own may not stand in his password: shorter ones are in too many words."""
_COMMON: Final = re.compile(
    "rollcall|conference|telephone|meeting|organizer|administrator|coordinator|operator|company|switch|passcode"
    "|password|passw0rd|passwort|motdepasse|kennwort|welcome|willkommen|bienvenue|letmein|iloveyou|changeme|default"
    "|princess|football|baseball|basketball|liverpool|superman|sunshine|dragon|monkey|master|shadow|michael|jordan"
    "|charlie|jessica|jennifer|computer|internet|secret|geheim|access|admin|login|hello|hallo|bonjour|azerty|qwerty"
    "|spring|summer|autumn|winter|january|february|march|april|june|july|august|september|october|november|december"
    "|monday|tuesday|wednesday|thursday|friday|saturday|sunday"
)
_ROWS: Final = (
    "1234567890",
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "azertyuiop",
    "qsdfghjklm",
    "qwertzuiop",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm",
    "1q2w3e4r5t6y7u8i9o0p",
)
_NEIGHBOURS: Final = frozenset(
    pair for row in _ROWS for one, other in pairwise(row) for pair in (one + other, other + one)
)


class Passwords:
    """`known_to_thieves` is a file of SHA-1 hashes in hexadecimal, one a line and in their order, as *Pwned Passwords*
    is had; what follows the hash in a line does not matter. Raises SettingsError if it cannot be read.
    """

    def __init__(self, known_to_thieves: str) -> None:
        self._known = Path(known_to_thieves) if known_to_thieves else None
        if self._known is not None and not os.access(self._known, os.R_OK):
            raise SettingsError(f"admin.breached_passwords: {self._known} cannot be read")

    async def problem(self, password: str, user: User) -> str | None:
        """Why a password cannot be this user's, as a word; None if it can."""
        problem = password_problem(password, own_words(user))
        if problem is None and self._known is not None and await asyncio.to_thread(stands_in, self._known, password):
            return "known"
        return problem


def own_words(user: User) -> list[str]:
    """What others know of a user: his names here and elsewhere, and his company's."""
    told = f"{user.id} {user.name} {user.email} {user.company_id or ''}".casefold()
    return [user.id.casefold(), *re.split(r"[\W_]+", told)]


def password_problem(password: str, own: list[str]) -> str | None:
    """Why a password cannot be taken, by itself; `own` are words that may not stand in it, in small letters."""
    if len(password) < MIN_PASSWORD:
        return "short"
    if len(password) > MAX_PASSWORD:
        return "long"
    small = password.casefold()
    has_own = any(word in small for word in own if len(word) >= _OWN_WORD)
    is_repeated = re.fullmatch(r"(.+?)\1+", small, re.DOTALL) is not None
    if has_own or is_repeated or len(set(password)) < _MIN_DIFFERENT or _left(small) < _MIN_LEFT:
        return "easy"
    return None


def _left(small: str) -> int:
    """How many characters are no part of a common word, and do not follow from the one before."""
    left = _COMMON.sub("\n", small).replace("\n", "")
    return bool(left) + sum(not _follows(one, other) for one, other in pairwise(left))


def _follows(one: str, other: str) -> bool:
    return abs(ord(one) - ord(other)) <= 1 or one + other in _NEIGHBOURS


def stands_in(file: Path, password: str) -> bool:
    """Whether a password's hash stands in a file of hashes in their order. However large the file, little is read."""
    wanted = hashlib.sha1(password.encode("utf-8", "replace"), usedforsecurity=False).hexdigest().upper().encode()
    with file.open("rb") as lines:
        low, high = 0, lines.seek(0, os.SEEK_END)
        while low < high:
            middle = (low + high) // 2
            lines.seek(max(middle - 1, 0))
            if middle:
                lines.readline()
            at = lines.tell()
            found = lines.readline()[: len(wanted)].upper()
            if at < high and found == wanted:
                return True
            if at < high and found < wanted:
                low = lines.tell()
            else:
                high = middle
    return False
