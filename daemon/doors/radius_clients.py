"""Who may ask over RADIUS: addresses and networks, each with the secret that it shares with us.

The file has a line each: an address or a network, a space, and the secret, which is all that follows. Empty lines and
those that begin with `#` are ignored. Nobody but its owner may read it, as with the key file.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Final

import structlog

from daemon.doors.radius_packet import Secret
from loader.errors import SettingsError
from loader.files import is_open_to_others

log = structlog.get_logger(__name__)

SETTING: Final = "doors.radius.clients_file"
LONG_ENOUGH: Final = 16
"""Bytes that a secret should have: RFC 2865, section 3."""

Network = IPv4Network | IPv6Network
_REMEMBERED: Final = 4096
"""Addresses whose secrets are remembered."""


class Clients:
    """Secrets by address."""

    def __init__(self, secrets: Mapping[Network, Secret]) -> None:
        self._secrets = {
            (network.version, network.prefixlen, _prefix(int(network.network_address), network)): secret
            for network, secret in secrets.items()
        }
        self._lengths = {
            version: sorted({length for of, length, _ in self._secrets if of == version}, reverse=True)
            for version in (4, 6)
        }
        self.secret_of = lru_cache(_REMEMBERED)(self._find)
        """The secret of this address: that of the most specific network that it is in; None if it is in none."""

    @classmethod
    def read(cls, file: str) -> Clients:
        """Read the clients' file. Raises SettingsError, which never repeats a secret."""
        if not file:
            raise SettingsError(f"{SETTING}: must name the file with the clients")
        path = Path(file)
        try:
            mode = path.stat().st_mode
            lines = path.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise SettingsError(f"{SETTING}: {path}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise SettingsError(f"{SETTING}: {path}: is not UTF-8 text") from None
        if is_open_to_others(path, mode):
            raise SettingsError(f"{SETTING}: {path}: can be read by others; make it yours alone with `chmod 600`")
        secrets: dict[Network, Secret] = {}
        problems = []
        for number, line in enumerate(lines, 1):
            if line.strip() and not line.startswith("#"):
                try:
                    network, secret = _parse(line)
                except ValueError as error:
                    problems.append(f"{SETTING}: {path}, line {number}: {error}")
                    continue
                if network in secrets:
                    problems.append(f"{SETTING}: {path}, line {number}: {network} stands twice")
                if len(secret) < LONG_ENOUGH:
                    log.warning("radius_client_guessable", network=str(network), at_least=LONG_ENOUGH)
                secrets[network] = Secret(secret)
        if not problems and not secrets:
            problems.append(f"{SETTING}: {path}: names no client")
        if problems:
            raise SettingsError(*problems)
        return cls(secrets)

    def _find(self, host: str) -> Secret | None:
        address = ip_address(host)
        # A socket that listens on both families shows addresses of IPv4 as ones of IPv6.
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        number, bits = int(address), address.max_prefixlen
        for length in self._lengths[address.version]:
            secret = self._secrets.get((address.version, length, number >> (bits - length)))
            if secret is not None:
                return secret
        return None


def _prefix(number: int, network: Network) -> int:
    return number >> (network.max_prefixlen - network.prefixlen)


def _parse(line: str) -> tuple[Network, bytes]:
    """One line. Raises ValueError, without the line."""
    name, *secret = line.split(maxsplit=1)
    try:
        # With a zone, such as fe80::1%eth0, a network may hold anything, a secret too.
        network = ip_network("" if "%" in name else name)
    except ValueError:
        raise ValueError("does not begin with an address or a network, such as 192.0.2.7 or 192.0.2.0/24") from None
    if not secret:
        raise ValueError(f"{network} has no secret")
    return network, secret[0].strip().encode()
