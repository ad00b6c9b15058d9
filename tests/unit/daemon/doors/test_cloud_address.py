"""The address under which a cloud finds a door."""

import pytest

from daemon.doors.cloud_address import CloudAddress
from loader.errors import SettingsError


def test_an_address_is_known_with_its_port_and_without() -> None:
    plain = CloudAddress.of("x", "https://rollcall.example.com/calls/in")
    assert plain.path == "/calls/in"
    assert plain.spellings == (
        "https://rollcall.example.com/calls/in",
        "https://rollcall.example.com:443/calls/in",
    )
    assert CloudAddress.of("x", "http://127.0.0.1/in").spellings[1] == "http://127.0.0.1:80/in"
    assert CloudAddress.of("x", "http://[::1]:8473/in").spellings == ("http://[::1]/in", "http://[::1]:8473/in")


@pytest.mark.parametrize("url", ["https://rollcall.example.com/in", "https://rollcall.example.com/in/"])
def test_what_becomes_of_calls_is_told_below_it(url: str) -> None:
    address = CloudAddress.of("x", url)
    assert address.url == url
    status = address.status()
    assert (status.url, status.path) == ("https://rollcall.example.com/in/status", "/in/status")
    assert status.spellings[1] == "https://rollcall.example.com:443/in/status"


def test_the_next_request_goes_to_the_same_address_with_a_query() -> None:
    address = CloudAddress.of("x", "https://rollcall.example.com/in")
    assert address.following(language="fr", state="a-b_c") == f"{address.url}?language=fr&state=a-b_c"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "rollcall.example.com/in",
        "ftp://rollcall.example.com/in",
        "https://rollcall.example.com",
        "https://rollcall.example.com/",
        "https://rollcall.example.com/in?x=1",
        "https://rollcall.example.com/in#rc=2",
        "https://user:secret@rollcall.example.com/in",
        "https://rollcall.example.com/a b",
        "https://rollcall.example.com/%41",
        "https://rollcall.example.com//in",
        "https://rollcall.example.com/in\n",
        "https://rollcall.example.com:x/in",
        "HTTPS://rollcall.example.com/in",
    ],
)
def test_an_address_that_could_be_read_in_two_ways_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^doors\.x\.url: must be how the cloud reaches this door"):
        CloudAddress.of("doors.x.url", url)
