"""Where a cloud finds a door: the address that the settings name, and those that are made of it."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import urlencode

from loader.errors import SettingsError

_ADDRESS: Final = re.compile(
    r"(?P<origin>(?P<scheme>https?)://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]))(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(?:/[A-Za-z0-9._~-]+)+/?)",
    re.ASCII,
)
_PORTS: Final = {"https": "443", "http": "80"}
_STATUS: Final = "/status"


class CloudAddress(NamedTuple):
    """One address, as it stands in the settings."""

    url: str
    path: str
    spellings: tuple[str, ...]
    """The address with its port and without: clouds disagree on which of them they sign."""

    @classmethod
    def of(cls, setting: str, url: str) -> CloudAddress:
        """Raises SettingsError, by the setting's name, unless it is plain: `https://host/path`, with a port or without."""
        match = _ADDRESS.fullmatch(url)
        if match is None:
            raise SettingsError(
                f"{setting}: must be how the cloud reaches this door, such as https://rollcall.example.com/calls: "
                "a path of plain characters, and no query"
            )
        origin, port, path = match["origin"], match["port"], match["path"]
        return cls(url, path, (f"{origin}{path}", f"{origin}:{port or _PORTS[match['scheme']]}{path}"))

    def status(self) -> CloudAddress:
        """Where the cloud is to tell what becomes of calls."""
        return CloudAddress(
            _with_status(self.url), _with_status(self.path), tuple(_with_status(one) for one in self.spellings)
        )

    def following(self, **query: str) -> str:
        """Where the cloud is to ask next."""
        return f"{self.url}?{urlencode(query)}"


def _with_status(text: str) -> str:
    return text.rstrip("/") + _STATUS
