"""The token that a switch shows with each question. Only its hash is kept."""

from __future__ import annotations

import hashlib
import secrets


def new_token() -> str:
    """A token that nobody can guess: `rc_` and 32 random bytes in URL-safe base64."""
    return f"rc_{secrets.token_urlsafe(32)}"


def token_hash(token: str) -> bytes:
    """What is kept of a token: its SHA-256. A slow hash would add nothing, as the token is random."""
    return hashlib.sha256(token.encode()).digest()
