"""Settings that were read again while the daemon runs."""

from __future__ import annotations

from typing import Final

import msgspec

from loader.sections import Throttle
from loader.settings import Settings

_AT_ONCE: Final = frozenset(
    (
        *(f"throttle.{name}" for name in Throttle.__struct_fields__ if name not in ("file", "memory")),
        "daemon.poll_interval",
        "daemon.stale_after",
        "daemon.drain_timeout",
        "key.file",
        "logs.format",
        "logs.level",
    )
)
_OTHERS: Final = frozenset(("admin", "mail", "oidc", "lists"))
"""Sections that the daemon does not read."""


def needing_restart(old: Settings, new: Settings) -> list[str]:
    """The names of the settings that differ, and that the daemon reads only when it starts."""
    before, after = _flat(old), _flat(new)
    return sorted(name for name in after if after[name] != before.get(name) and name not in _AT_ONCE)


def _flat(settings: Settings) -> dict[str, object]:
    flat: dict[str, object] = {}
    for section, values in msgspec.to_builtins(settings).items():
        if section not in _OTHERS:
            flat |= _named(section, values)
    return flat


def _named(name: str, value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        return {name: value}
    return {inner: told for key, one in value.items() for inner, told in _named(f"{name}.{key}", one).items()}
