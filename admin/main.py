"""`rollcall-admin`: the web site's service."""

from __future__ import annotations

import sys


def main() -> int:
    """Say that this version has no web site; exit status 1."""
    sys.stderr.write("rollcall-admin: this version has no web site; lists are managed with `rollcall import`\n")
    return 1
