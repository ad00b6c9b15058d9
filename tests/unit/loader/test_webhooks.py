"""Where events may go, and how they are signed."""

import base64
import ipaddress
import time
from pathlib import Path
from typing import Any

import pytest

from loader.webhooks import TargetError, host_of, may_be_called, new_secret, parse_target, secret_text, signed_headers


def test_a_signature_is_that_of_the_specifications_example() -> None:
    """The vector that the specification's own libraries are tested with."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    headers = signed_headers(
        base64.b64decode(secret.removeprefix("whsec_")),
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_what_receivers_are_told_to_check_with_checks() -> None:
    """The example of docs/webhooks.md, as it stands there."""
    text = (Path(__file__).parents[3] / "docs" / "webhooks.md").read_text()
    example: dict[str, Any] = {}
    exec(text.partition("```python\n")[2].partition("```")[0], example)
    secret, body = new_secret(), b'{"id": "evt_1"}'

    def is_genuine(at: float, body: bytes = body, shown: bytes = secret) -> bool:
        return bool(example["is_genuine"](secret_text(shown), signed_headers(secret, "evt_1", int(at), body), body))

    assert is_genuine(time.time())
    assert not is_genuine(time.time() - 3600)
    assert not is_genuine(time.time(), shown=new_secret())
    headers = signed_headers(secret, "evt_1", int(time.time()), body)
    assert not example["is_genuine"](secret_text(secret), headers, body + b" ")
    headers["webhook-signature"] = "v1,bm8= " + headers["webhook-signature"]
    assert example["is_genuine"](secret_text(secret), headers, body)


def test_secrets_are_long_and_never_the_same() -> None:
    assert len(new_secret()) == 32
    assert new_secret() != new_secret()
    assert secret_text(bytes(24)) == "whsec_" + "A" * 32


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/rolls?to=1",
        "https://example.com:8443/",
        "https://8.8.8.8/",
        "https://xn--bcher-kva.example/",
    ],
)
def test_what_is_reached_over_the_internet_may_be_called(url: str) -> None:
    assert parse_target(f" {url} ", private=False) == url


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("", "url"),
        ("example.com", "url"),
        ("ftp://example.com/", "url"),
        ("https://", "url"),
        ("https://a b/", "url"),
        ("https://user:word@example.com/", "url"),
        ("https://user@example.com/", "url"),
        ("https://example.com/#x", "url"),
        ("https://example.com:99999/", "url"),
        ("https://127.1/", "url"),
        ("https://2130706433/", "url"),
        ("https://0x7f.1/", "url"),
        ("https://example.com\\@10.0.0.1/", "url"),
        ("https://exämple.com/", "url"),
        ("https://[::1", "url"),
        ("https://example.com/\r\nX: y", "url"),
        ("http://example.com/", "https"),
        ("https://localhost/", "private"),
        ("https://127.0.0.1/", "private"),
        ("https://10.1.2.3/", "private"),
        ("https://[fd00::1]/", "private"),
        ("https://[::ffff:192.168.0.1]/", "private"),
        ("https://100.64.0.1/", "private"),
        ("https://example.com/" + "x" * 1000, "long"),
    ],
)
def test_other_urls_are_refused_and_it_is_told_why(url: str, code: str) -> None:
    with pytest.raises(TargetError) as refused:
        parse_target(url, private=False)
    assert refused.value.code == code


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/", "http://localhost/x", "http://[::1]/", "https://10.0.0.1/"])
def test_a_setting_allows_what_is_private(url: str) -> None:
    assert parse_target(url, private=True) == url


def test_even_then_other_machines_are_called_over_tls_alone() -> None:
    with pytest.raises(TargetError):
        parse_target("http://10.0.0.1/", private=True)


@pytest.mark.parametrize(
    ("address", "public", "private"),
    [
        ("8.8.8.8", True, True),
        ("2606:4700::1111", True, True),
        ("10.0.0.1", False, True),
        ("127.0.0.1", False, True),
        ("::1", False, True),
        ("fe80::1", False, True),
        ("169.254.169.254", False, True),
        ("64:ff9b::a00:1", False, True),
        ("64:ff9b::808:808", True, True),
        ("2002:a00:1::", False, True),
        ("::ffff:10.0.0.1", False, True),
        ("64:ff9b:1::a00:1", False, False),
        ("::10.0.0.1", False, False),
        ("::ffff:0:10.0.0.1", False, False),
        ("fec0::1", False, False),
        ("0.0.0.0", False, False),
        ("::", False, False),
        ("224.0.0.1", False, False),
        ("255.255.255.255", False, False),
        ("ff02::1", False, False),
    ],
)
def test_addresses_that_lead_inside_are_known_whatever_they_look_like(
    address: str, public: bool, private: bool
) -> None:
    assert may_be_called(ipaddress.ip_address(address), private=False) is public
    assert may_be_called(ipaddress.ip_address(address), private=True) is private


def test_of_an_address_the_host_alone_is_told() -> None:
    assert host_of("https://example.com/rolls?token=x") == "example.com"
