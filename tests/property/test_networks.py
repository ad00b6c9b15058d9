"""Networks, held against what the standard library says of addresses."""

from ipaddress import IPv4Address, IPv6Address, ip_network

from hypothesis import example, given
from hypothesis import strategies as st

from loader.errors import InvalidValue
from loader.networks import Networks, parse_networks

ADDRESSES = st.ip_addresses()
NETWORKS = ADDRESSES.flatmap(
    lambda address: st.integers(0, address.max_prefixlen).map(
        lambda length: str(ip_network(f"{address}/{length}", strict=False))
    )
)


@given(st.lists(st.text(max_size=40) | NETWORKS, max_size=3))
@example(["192.0.2.0/24/24"])
@example(["٣.0.0.1"])
def test_any_text_is_networks_or_refused(names: list[str]) -> None:
    """By our own error; what is taken has one spelling, which has no space in it and means the same."""
    try:
        parsed = parse_networks(names)
    except InvalidValue:
        return
    assert parse_networks(parsed) == parsed
    assert " ".join(parsed).split() == list(parsed)


@given(st.lists(NETWORKS, min_size=1, max_size=3), ADDRESSES)
def test_an_address_lies_where_the_standard_library_says(names: list[str], address: IPv4Address | IPv6Address) -> None:
    for known in (Networks(names), Networks(parse_networks(names))):
        plain = (isinstance(address, IPv6Address) and address.ipv4_mapped) or address
        assert (str(address) in known) == any(plain in ip_network(name) for name in parse_networks(names))
        if isinstance(address, IPv4Address):
            assert (f"::ffff:{address}" in known) == (str(address) in known)


@given(st.text(max_size=40), NETWORKS)
def test_any_text_lies_somewhere_or_not(address: str, name: str) -> None:
    """Whatever a connection may tell: nothing is raised."""
    assert (address in Networks([name])) in (True, False)
