"""What schemathesis has to know of us: it is named by SCHEMATHESIS_HOOKS."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import schemathesis


def form(_context: Any, response: Any) -> dict[str, str]:
    """A form that is answered; no key stands twice."""
    pairs = parse_qsl(response.text, keep_blank_values=True, strict_parsing=True)
    assert len(pairs) == len(dict(pairs))
    return dict(pairs)


schemathesis.deserializer("application/x-www-form-urlencoded")(form)
