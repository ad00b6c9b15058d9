"""Server-sent events as bytes (HTML standard, section 9.2)."""

from __future__ import annotations

import re
from typing import Final

HEARTBEAT: Final = b": still here\n\n"
"""A comment: it tells nothing, and shows that the connection lives."""

_LINE_END: Final = re.compile("\r\n|\r|\n")


def event(name: str, data: str = "") -> bytes:
    """An event of one line of data or several. `name` is a plain word."""
    lines = [f"event: {name}", *(f"data: {line}" for line in _LINE_END.split(data)), "", ""]
    return "\n".join(lines).encode()
