"""Random words that prove something: the token of a switch, a link, a cookie. Only their hashes are kept."""

from __future__ import annotations

import hashlib
import secrets


def new_token() -> str:
    """A token that nobody can guess: `rc_` and 32 random bytes in URL-safe base64."""
    return f"rc_{secrets.token_urlsafe(32)}"


def token_hash(token: str) -> bytes:
    """What is kept of a token: its SHA-256. A slow hash would add nothing, as the token is random."""
    return hashlib.sha256(token.encode()).digest()


def new_word() -> str:
    """A word that nobody can guess, for a link or a cookie: 32 random bytes in URL-safe base64."""
    return secrets.token_urlsafe(32)


def word_hash(word: str) -> bytes:
    """What is kept of such a word: its SHA-256."""
    return hashlib.sha256(word.encode("utf-8", "replace")).digest()
