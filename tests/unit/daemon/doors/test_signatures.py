"""What is signed, and what only looks so."""

import hashlib
import hmac
from collections.abc import Iterable

import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from twilio.request_validator import RequestValidator

from daemon.doors.cloud_address import CloudAddress
from daemon.doors.http_reply import Headers
from daemon.doors.problem import Problem
from daemon.doors.signatures import JambonzSignature, TwilioSignature

TOKEN = "12345"


def headers(**values: str) -> Headers:
    return CIMultiDictProxy(CIMultiDict({name.replace("_", "-"): value for name, value in values.items()}))


def is_accepted(
    sent: Headers,
    parameters: Iterable[tuple[str, str]] = (),
    *,
    target: str = "/myapp.php?foo=1&bar=2",
    url: str = "https://mycompany.com/myapp.php",
) -> bool:
    try:
        TwilioSignature(TOKEN.encode()).require(CloudAddress.of("x", url), target, sent, parameters)
    except Problem as problem:
        return not is_refusal(problem)
    return True


def is_refusal(problem: Problem) -> bool:
    return (problem.status, problem.detail) == (403, "The signature is missing or wrong.")


# Twilio

DOCUMENTED = {
    "CallSid": "CA1234567890ABCDE",
    "Caller": "+12349013030",
    "Digits": "1234",
    "From": "+12349013030",
    "To": "+18005551212",
}


def test_the_example_of_the_documentation_is_accepted() -> None:
    """Of Twilio's "Secure webhooks", and of every helper library's tests."""
    assert is_accepted(headers(X_Twilio_Signature="0/KCTR6DLpKmkAf8muzZqo1nDgQ="), DOCUMENTED.items())


def signed(url: str, parameters: dict[str, str], algorithm: str = "HMAC_SHA1") -> str:
    return str(RequestValidator(TOKEN).compute_signature(url, parameters, algorithm))


@pytest.mark.parametrize("told", ["https://mycompany.com/myapp.php", "https://mycompany.com:443/myapp.php"])
@pytest.mark.parametrize("signed_as", ["https://mycompany.com", "https://mycompany.com:443"])
def test_a_port_may_be_signed_or_not(told: str, signed_as: str) -> None:
    """As Twilio's own validator has it: clouds are not at one."""
    url = f"{signed_as}/myapp.php?foo=1&bar=2"
    assert RequestValidator(TOKEN).validate(url, DOCUMENTED, signed(url, DOCUMENTED))
    assert is_accepted(headers(X_Twilio_Signature=signed(url, DOCUMENTED)), DOCUMENTED.items(), url=told)


def test_names_of_any_kind_are_signed() -> None:
    parameters = {"CallerName": "Zoë “Z” & 会議\r\n😀", "Empty": "", "b": "2", "B": "1", "": "x"}
    url = "https://mycompany.com/myapp.php?language=fr&state=a-_"
    sent = headers(X_Twilio_Signature=signed(url, parameters))
    assert is_accepted(sent, reversed(parameters.items()), target="/myapp.php?language=fr&state=a-_")


def test_a_parameter_that_stands_twice_is_signed_as_the_validator_signs_it() -> None:
    class Several(dict[str, str]):
        def getlist(self, name: str) -> list[str]:
            return {"a": ["2", "1", "2"], "b": ["3"]}[name]

    url = "https://mycompany.com/myapp.php"
    sent = headers(X_Twilio_Signature=signed(url, Several(a="", b="")))
    assert is_accepted(sent, [("a", "2"), ("b", "3"), ("a", "1"), ("a", "2")], target="/myapp.php")


def test_a_webhooks_rule_signs_with_sha_256() -> None:
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    by = "key=webhooks_sharedkey_0,algorithm=HMAC_SHA256"
    strong, weak = signed(url, DOCUMENTED, "HMAC_SHA256"), signed(url, DOCUMENTED)
    accepted = headers(X_Twilio_Signature=strong, X_Twilio_Webhooks_Signature_Settings=by)
    assert is_accepted(accepted, DOCUMENTED.items())
    assert not is_accepted(headers(X_Twilio_Signature=strong), DOCUMENTED.items())
    weakened = headers(X_Twilio_Signature=weak, X_Twilio_Webhooks_Signature_Settings=by)
    assert not is_accepted(weakened, DOCUMENTED.items())


def test_signalwire_sends_it_under_its_own_name() -> None:
    """Its "Webhook Security": the same over a form, in a header of its own."""
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    assert is_accepted(headers(X_SignalWire_Signature=signed(url, DOCUMENTED)), DOCUMENTED.items())


RIGHT = "0/KCTR6DLpKmkAf8muzZqo1nDgQ="


@pytest.mark.parametrize(
    "sent",
    [
        headers(),
        headers(X_Twilio_Signature=""),
        headers(X_Twilio_Signature=RIGHT[:-1]),
        headers(X_Twilio_Signature=f"{RIGHT}="),
        headers(X_Twilio_Signature=f" {RIGHT}"),
        headers(X_Twilio_Signature=RIGHT.lower()),
        headers(X_Twilio_Signature="é" * 28),
        headers(X_Twilio_Signature="\udcff" * 28),
        headers(Authorization=RIGHT),
        headers(X_Twilio_Signature="wrong", X_SignalWire_Signature=RIGHT),
    ],
)
def test_another_signature_is_refused(sent: Headers) -> None:
    assert not is_accepted(sent, DOCUMENTED.items())


@pytest.mark.parametrize(
    ("parameters", "target", "url"),
    [
        ({**DOCUMENTED, "Digits": "1235"}, "/myapp.php?foo=1&bar=2", "https://mycompany.com/myapp.php"),
        ({**DOCUMENTED, "More": ""}, "/myapp.php?foo=1&bar=2", "https://mycompany.com/myapp.php"),
        ({"CallSid": "CA1234567890ABCDE"}, "/myapp.php?foo=1&bar=2", "https://mycompany.com/myapp.php"),
        ({}, "/myapp.php?foo=1&bar=2", "https://mycompany.com/myapp.php"),
        (DOCUMENTED, "/myapp.php?bar=2&foo=1", "https://mycompany.com/myapp.php"),
        (DOCUMENTED, "/myapp.php?foo=1&bar=2&state=x", "https://mycompany.com/myapp.php"),
        (DOCUMENTED, "/myapp.php", "https://mycompany.com/myapp.php"),
        (DOCUMENTED, "/myapp.php?foo=1&bar=2", "http://mycompany.com/myapp.php"),
        (DOCUMENTED, "/myapp.php?foo=1&bar=2", "https://mycompany.com:8443/other.php"),
        (DOCUMENTED, "/myapp.php?foo=1&bar=2\udcff", "https://mycompany.com/myapp.php"),
    ],
)
def test_what_was_changed_on_the_way_is_refused(parameters: dict[str, str], target: str, url: str) -> None:
    sent = headers(X_Twilio_Signature=RIGHT)
    assert not is_accepted(sent, parameters.items(), target=target, url=url)


# jambonz

BODY = b'{"call_sid":"0123","reason":"dtmfDetected","digits":"1234"}'
AT = 1_767_323_045
# printf '%s' '1767323045.{"call_sid":"0123","reason":"dtmfDetected","digits":"1234"}' | openssl dgst -sha256 -hmac 12345
HEX = "945b06373c5c22644694f48e473b8187bbaa69a525cf643fe812cf37ab42bfd4"


def is_right(sent: str | None, body: bytes = BODY, *, now: float = AT) -> bool:
    signature = JambonzSignature(TOKEN.encode(), clock=lambda: now)
    try:
        signature.require(headers() if sent is None else headers(Jambonz_Signature=sent), body)
    except Problem as problem:
        return not is_refusal(problem)
    return True


def test_a_body_signed_as_jambonz_signs_is_accepted() -> None:
    """HMAC-SHA256 over the time, a full stop and the body, made here by another program."""
    assert is_right(f"t={AT},v1={HEX}")


def test_one_of_several_signatures_is_enough() -> None:
    assert is_right(f"t={AT},v1={'0' * 64},v1={HEX},v0=x")
    assert is_right(f"v1={HEX}, t={AT}")


@pytest.mark.parametrize("seconds", [-300, 0, 300])
def test_a_clock_may_differ_by_five_minutes(seconds: int) -> None:
    assert is_right(f"t={AT},v1={HEX}", now=AT + seconds)


@pytest.mark.parametrize("seconds", [-301, 301, 86400])
def test_what_was_signed_at_another_time_is_refused(seconds: int) -> None:
    assert not is_right(f"t={AT},v1={HEX}", now=AT + seconds)


@pytest.mark.parametrize(
    "sent",
    [
        None,
        "",
        "t=",
        f"t={AT}",
        f"v1={HEX}",
        f"t={AT},v1=",
        f"t={AT},v1={HEX[:-1]}",
        f"t={AT},v1={HEX}0",
        f"t={AT},v1={HEX.upper()}",
        f"t={AT},v0={HEX}",
        f"t={AT + 1},v1={HEX}",
        f"t={AT}.0,v1={HEX}",
        f"t=-{AT},v1={HEX}",
        f"t=+{AT},v1={HEX}",
        f"t=1_767_323_045,v1={HEX}",
        f"t=１７６７３２３０４５,v1={HEX}",
        f"t={'9' * 5000},v1={HEX}",
        f"t={AT},t={AT},v1={HEX}",
        f"t={AT},v1=\udcff",
        f"t={AT};v1={HEX}",
    ],
)
def test_another_header_is_refused(sent: str | None) -> None:
    assert not is_right(sent)


@pytest.mark.parametrize("body", [b"", BODY + b" ", BODY.replace(b"1234", b"1235"), b"null"])
def test_another_body_is_refused(body: bytes) -> None:
    assert not is_right(f"t={AT},v1={HEX}", body)


def test_a_time_that_could_be_moved_into_the_body_is_refused() -> None:
    """The first full stop parts them: digits alone are a time."""
    right = hmac.new(TOKEN.encode(), b"%d.5.{}" % AT, hashlib.sha256).hexdigest()
    assert is_right(f"t={AT},v1={right}", b"5.{}")
    assert not is_right(f"t={AT}.5,v1={right}", b"{}")
