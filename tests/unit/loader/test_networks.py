"""From where somebody may ask."""

import pytest

from loader.errors import InvalidValue
from loader.networks import Networks, parse_networks


@pytest.mark.parametrize(
    ("name", "address", "lies_in_it"),
    [
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "192.0.2.8", False),
        ("192.0.2.0/24", "192.0.2.255", True),
        ("192.0.2.0/24", "192.0.3.0", False),
        ("0.0.0.0/0", "203.0.113.9", True),
        ("0.0.0.0/0", "2001:db8::1", False),
        ("2001:db8::/32", "2001:db8:7::1", True),
        ("2001:db8::/32", "2001:db9::1", False),
        # A socket for both families.
        ("192.0.2.0/24", "::ffff:192.0.2.7", True),
        ("192.0.2.0/24", "::ffff:192.0.3.7", False),
        ("::ffff:192.0.2.0/120", "192.0.2.7", True),
        ("::ffff:192.0.2.7", "::ffff:192.0.2.7", True),
        ("::/0", "::ffff:192.0.2.7", False),
        # An address of a link.
        ("fe80::/10", "fe80::1%eth0", True),
        ("fe80::2", "fe80::1%eth0", False),
        # What is no address lies nowhere.
        ("0.0.0.0/0", "", False),
        ("::/0", "", False),
        ("::/0", "/run/rollcall.sock", False),
    ],
)
def test_an_address_lies_in_a_network_or_not(name: str, address: str, lies_in_it: bool) -> None:
    assert (address in Networks([name])) is lies_in_it
    assert (address in Networks(["198.51.100.1", name])) is lies_in_it
    assert address not in Networks([])


def test_networks_are_kept_in_one_spelling() -> None:
    """Each once, in the order in which they were named."""
    names = ["192.0.2.7/32", "2001:DB8:0::/32", "192.0.2.7", "::ffff:192.0.2.0/120", "2001:db8::1/128"]
    assert parse_networks(names) == ("192.0.2.7", "2001:db8::/32", "192.0.2.0/24", "2001:db8::1")
    assert parse_networks([]) == ()


@pytest.mark.parametrize(
    "name",
    ["", "x", "192.0.2.7/24", "192.0.2.0/33", "192.0.2", "192.0.2.7,192.0.2.8", "pbx.example.com", "1", " 192.0.2.7"],
)
def test_what_is_no_network_is_refused(name: str) -> None:
    with pytest.raises(InvalidValue, match="is not an address or a network, such as"):
        parse_networks([name])
    with pytest.raises(InvalidValue):
        Networks([name])
