"""Addresses and networks from which somebody may ask."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

from loader.errors import InvalidValue

Network: TypeAlias = IPv4Network | IPv6Network
_REMEMBERED: Final = 1024
"""Addresses of which it is remembered whether they lie in the networks."""
_MAPPED_BITS: Final = 96
"""The bits in front of an IPv4 address that is written as one of IPv6: RFC 4291, section 2.5.5.2."""


class Networks:
    """Some networks, and what lies in them. Raises InvalidValue, as :func:`parse_networks` does."""

    def __init__(self, names: Iterable[str]) -> None:
        self._networks = [_parsed(name) for name in names]
        self._is_in = lru_cache(_REMEMBERED)(self._lies_in_one)

    def __contains__(self, address: str) -> bool:
        """Whether an address, as a connection tells it, lies in one of them. What is no address does not."""
        return self._is_in(address)

    def _lies_in_one(self, address: str) -> bool:
        try:
            # An address of a link comes with the name of its interface.
            ip = _plain(ip_address(address.partition("%")[0]))
        except ValueError:
            return False
        return any(ip in network for network in self._networks)


def parse_networks(names: Iterable[str]) -> tuple[str, ...]:
    """Texts such as `192.0.2.7` or `2001:db8::/32` become networks, in one spelling and each once.

    Raises InvalidValue for what is none, and for an address in a network (`192.0.2.7/24`), which may mean either.
    """
    return tuple(dict.fromkeys(_spelled(_parsed(name)) for name in names))


def _parsed(name: str) -> Network:
    try:
        network = ip_network(name)
    except ValueError:
        raise InvalidValue(f"{name!r} is not an address or a network, such as 192.0.2.7 or 192.0.2.0/24") from None
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        address = network.network_address.ipv4_mapped
        if address is not None:
            return IPv4Network((address, network.prefixlen - _MAPPED_BITS))
    return network


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """A socket that listens on both families shows addresses of IPv4 as ones of IPv6."""
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _spelled(network: Network) -> str:
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)
