"""Section 5 of the design, word for word, over a real connection.

A question can go one of two ways through the server; `tests/property/test_http.py` holds them against each other.
"""

import json
from typing import Any
from urllib.parse import urlencode

import pytest
import structlog

from daemon.live import Live
from loader.logs import exception_told
from tests.unit.daemon.doors.conftest import TOKEN, Served, get, post, serving
from tests.unit.daemon.doors.throttles import locking_some

ASKED = {"passcode": "7784321", "pin": "004127"}
FORM = "application/x-www-form-urlencoded"


async def test_an_accepted_pin_is_answered_with_who_it_is_and_what_he_joins(served: Served) -> None:
    answer = await served.ask(post({**ASKED, "call_id": "1.17", "caller": "+15550100"}))
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    told = answer.json
    assert told.pop("verification_id")
    assert told == {
        "result": "accepted",
        "pin_entry": True,
        "participant": {
            "first_name": "Mike",
            "last_name": "Doe",
            "company": "XYZ",
            "phone": "+1 555 0100",
            "email": "mike@example.com",
            "city": "Uxbridge",
            "state_country": "UK",
            "other": "",
        },
        "list": {"level": "organizer", "revision": 12},
        "conference": {"id": "C-1001", "title": "Weekly call", "organizer": "alicia"},
    }


async def test_a_conference_without_pin_entry_accepts_without_a_participant(served: Served) -> None:
    told = (await served.ask(post({"passcode": "7784322", "pin": ""}))).json
    assert told.pop("verification_id")
    assert told == {
        "result": "accepted",
        "pin_entry": False,
        "conference": {"id": "C-1002", "title": "Open | house", "organizer": "alicia"},
    }


REJECTED = [
    ("7784321", "4321", "unknown_pin"),
    ("7784321", "12345678901234567890123456789012", "unknown_pin"),
    ("7784321", "12#*", "unknown_pin"),
    ("7784321", "99", "inactive_pin"),
    ("7784321", "", "pin_required"),
    ("778432", "004127", "unknown_passcode"),
    ("", "", "unknown_passcode"),
]


@pytest.mark.parametrize(("passcode", "pin", "reason"), REJECTED)
async def test_a_rejection_says_why_and_nothing_else(served: Served, passcode: str, pin: str, reason: str) -> None:
    told = (await served.ask(post({"passcode": passcode, "pin": pin}))).json
    assert told.pop("verification_id")
    assert told == {"result": "rejected", "reason": reason}


LINES = [
    ("7784321", "004127", "accepted|Mike|Doe|XYZ|organizer|C-1001"),
    ("7784321", "900001", "accepted|Petra|Doe|XYZ|company|C-1001"),
    ("7784321", "1234", "accepted|Zoë/Ann|Doe|XYZ|organizer|C-1001"),
    ("7784322", "", "accepted|||||C-1002"),
    *((passcode, pin, f"rejected|{reason}") for passcode, pin, reason in REJECTED),
]


@pytest.mark.parametrize(("passcode", "pin", "line"), LINES)
async def test_dialplans_get_one_line_of_text(served: Served, passcode: str, pin: str, line: str) -> None:
    """Without a line end; a `|` in a name shifts no field."""
    answer = await served.ask(post({"passcode": passcode, "pin": pin}, "/v1/verify.txt"))
    assert (answer.status, answer.text) == (200, line)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "Application/JSON",
        "application/json ; x=y",
    ],
)
async def test_parameters_of_a_media_type_change_nothing(served: Served, media_type: str) -> None:
    """JSON is UTF-8 whatever they say: RFC 8259, section 11."""
    assert (await served.ask(post(ASKED, media_type=media_type))).json["result"] == "accepted"


@pytest.mark.parametrize("media_type", [FORM, f"{FORM}; charset=utf-8", FORM.upper()])
async def test_a_form_asks_the_same_as_json(served: Served, media_type: str) -> None:
    body = b"passcode=7784321&pin=004127&call_id=1.17&caller=%2B15550100&unknown=1"
    assert (await served.ask(post(body, media_type=media_type))).json["participant"]["first_name"] == "Mike"


async def test_fields_that_nobody_knows_are_ignored(served: Served) -> None:
    assert (await served.ask(post({**ASKED, "more": [1, {"a": None}]}))).json["result"] == "accepted"


async def test_fields_that_nobody_knows_may_stand_twice(served: Served) -> None:
    body = b'{"passcode": "7784321", "x": 1, "pin": "004127", "x": {"pin": 1, "pin": 2}}'
    assert (await served.ask(post(body))).json["result"] == "accepted"


@pytest.mark.parametrize("caller", ['"Mike" <+1 555 0100>', "pin", "\\", "\0", "😀" * 128])
async def test_what_is_told_of_a_call_may_hold_anything(served: Served, caller: str) -> None:
    assert (await served.ask(post({**ASKED, "caller": caller}))).json["result"] == "accepted"
    body = urlencode({**ASKED, "caller": caller}).encode()
    assert (await served.ask(post(body, media_type=FORM))).json["result"] == "accepted"


async def test_characters_are_counted_and_not_bytes(served: Served) -> None:
    assert (await served.ask(post({"passcode": "7784321", "pin": "😀" * 32}))).json["reason"] == "unknown_pin"
    body = urlencode({"passcode": "7784321", "pin": "😀" * 32}).encode()
    assert (await served.ask(post(body, media_type=FORM))).json["reason"] == "unknown_pin"


async def test_what_is_optional_may_be_null(served: Served) -> None:
    assert (await served.ask(post({**ASKED, "call_id": None, "caller": None}))).json["result"] == "accepted"


MALFORMED: list[tuple[Any, str, dict[str, str] | None]] = [
    ({"passcode": "7784321"}, "application/json", {"pin": "is missing"}),
    ({"pin": "1234"}, "application/json", {"passcode": "is missing"}),
    ({}, "application/json", {"passcode": "is missing", "pin": "is missing"}),
    ({"passcode": "7784321", "pin": 4127}, "application/json", {"pin": "must be a string"}),
    ({"passcode": "7784321", "pin": None}, "application/json", {"pin": "must be a string"}),
    ({"passcode": ["7784321"], "pin": "1"}, "application/json", {"passcode": "must be a string"}),
    ({"passcode": "7784321", "pin": "1" * 33}, "application/json", {"pin": "has more than 32 characters"}),
    ({**ASKED, "call_id": "x" * 129}, "application/json", {"call_id": "has more than 128 characters"}),
    ({**ASKED, "caller": 5}, "application/json", {"caller": "must be a string"}),
    (b"[]", "application/json", None),
    (b"7784321", "application/json", None),
    (b"", "application/json", None),
    (b"{", "application/json", None),
    (b'{"passcode": 7784321, "pin"', "application/json", None),
    (b'{"passcode": 7784321, "pin": "\xff"}', "application/json", None),
    (b'{"passcode": "7784321", "pin": "\xff"}', "application/json", None),
    (b'{"passcode": "7784321", "pin": "\\ud800"}', "application/json", None),
    (b"[" * 4000, "application/json", None),
    (b'{"passcode": "7784321", "pin": "4127", "x": ' + b"[" * 1500 + b"]" * 1500 + b"}", "application/json", None),
    (b'{"passcode": "7784321", "pin": ' + b"[" * 1500 + b"]" * 1500 + b"}", "application/json", None),
    (b'{"passcode": "7784321", "pin": "4127", "x": "\xff"}', "application/json", None),
    (b'\xef\xbb\xbf{"passcode": "7784321", "pin": "4127"}', "application/json", None),
    ('{"passcode": "7784321", "pin": "4127"}'.encode("utf-16"), "application/json", None),
    (b'{"passcode": "7784321", "pin": "4127"}{}', "application/json", None),
    (b'{"passcode": "7784321", "pin": NaN}', "application/json", None),
    (b'{"passcode": "7784321", "pin": 4127' + b"0" * 3900 + b"}", "application/json", {"pin": "must be a string"}),
    (b'{"passcode": "7784321", "pin": -0.4127e-12}', "application/json", {"pin": "must be a string"}),
    (b'{"passcode": "7784321", "pin": 4127e99999}', "application/json", {"pin": "must be a string"}),
    (b'{"passcode": "7784321", "pin": true}', "application/json", {"pin": "must be a string"}),
    (b'{"pin": "4127", "passcode": "7784321", "pin": "1"}', "application/json", {"pin": "stands more than once"}),
    (
        b'{"pin": "4127", "passcode": "7784321", "p\\u0069n": "4127"}',
        "application/json",
        {"pin": "stands more than once"},
    ),
    (b'{"pin": 4127, "passcode": "7784321", "pin": null}', "application/json", {"pin": "stands more than once"}),
    (
        b'{"call_id": "4127", "pin": "4127", "passcode": "7784321", "call_id": null}',
        "application/json",
        {"call_id": "stands more than once"},
    ),
    ({"Passcode": "7784321", "PIN": "4127"}, "application/json", {"passcode": "is missing", "pin": "is missing"}),
    ({"passcode": "7784321", "pin": "é" * 33}, "application/json", {"pin": "has more than 32 characters"}),
    (b"passcode=7784321", FORM, {"pin": "is missing"}),
    (b"passcode=7784321&pin=1&pin=2", FORM, {"pin": "stands more than once"}),
    (b"passcode=7784321&pin=" + b"1" * 33, FORM, {"pin": "has more than 32 characters"}),
    (b"passcode=7784321&pin=4127&p%69n=4127", FORM, {"pin": "stands more than once"}),
    (b"passcode=7784321;pin=4127", FORM, {"pin": "is missing"}),
    (b"passcode=7784321&pin=%ff", FORM, None),
    (b"passcode=7784321&pin=%ed%a0%80", FORM, None),
    (b"\xff", FORM, None),
    (b"", FORM, {"passcode": "is missing", "pin": "is missing"}),
]


@pytest.mark.parametrize(("body", "media_type", "errors"), MALFORMED)
async def test_a_malformed_question_is_told_by_field(
    served: Served, body: bytes | dict[str, Any], media_type: str, errors: dict[str, str] | None
) -> None:
    """And nothing of it is repeated."""
    answer = await served.ask(post(body, media_type=media_type))
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json
    assert (problem["type"], problem["title"], problem["status"]) == ("about:blank", "Bad Request", 400)
    assert problem.get("errors") == errors
    assert problem["detail"]
    assert b"4127" not in answer.body
    assert b"7784321" not in answer.body

    line = await served.ask(post(body, "/v1/verify.txt", media_type=media_type))
    assert (line.status, line.text) == (400, "error|Bad Request")


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "Bearer",
        "Bearer ",
        "Bearer rc_something-else",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN.upper()}",
        "Bearer \xff",
        f"Bearer {TOKEN} {TOKEN}",
        f"Bearer rc_other\r\nAuthorization: Bearer {TOKEN}",
    ],
)
@pytest.mark.parametrize("path", ["/v1/verify", "/v1/verify.txt"])
async def test_without_the_token_of_a_switch_nothing_is_told(
    served: Served, path: str, authorization: str | None
) -> None:
    headers = "" if authorization is None else f"Authorization: {authorization}\r\n"
    asked = post(ASKED, path, token=None, headers=headers).decode().encode("latin-1")
    answer = await served.ask(asked)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    if path.endswith(".txt"):
        assert answer.text == "error|Unauthorized"
    else:
        assert answer.json["title"] == "Unauthorized"
    assert TOKEN.encode() not in answer.raw


async def test_the_scheme_of_the_token_may_be_written_in_any_case(served: Served) -> None:
    asked = post(ASKED, token=None, headers=f"authorization: bEARER  {TOKEN} \r\n")
    assert (await served.ask(asked)).status == 200


async def test_a_token_that_was_removed_is_refused_from_then_on(served: Served, live: Live) -> None:
    client = await served.client()
    assert (await client.ask(post(ASKED))).status == 200
    live.swap_switches([])
    assert (await client.ask(post(ASKED))).status == 401


@pytest.mark.parametrize(
    ("media_type", "headers"),
    [
        (None, ""),
        ("text/plain", ""),
        ("multipart/form-data; boundary=x", ""),
        ("application/problem+json", ""),
        ("application/jsonp", ""),
        ("application/json, text/plain", ""),
        ("; charset=utf-8", ""),
        *(("application/json", f"Content-Encoding: {coding}\r\n") for coding in ("gzip", "deflate", "br", "zstd", "x")),
    ],
)
async def test_an_unknown_media_type_is_415(served: Served, media_type: str | None, headers: str) -> None:
    answer = await served.ask(post(ASKED, media_type=media_type, headers=headers))
    assert (answer.status, answer.json["title"]) == (415, "Unsupported Media Type")
    assert answer.headers.get("accept-encoding") == ("identity" if headers else None)


async def test_identity_is_no_compression(served: Served) -> None:
    assert (await served.ask(post(ASKED, headers="Content-Encoding: identity\r\n"))).status == 200


async def test_a_conference_is_looked_up_by_its_passcode(served: Served) -> None:
    answer = await served.ask(get("/v1/conferences/7784322"))
    assert (answer.status, answer.json) == (
        200,
        {"id": "C-1002", "title": "Open | house", "organizer": "alicia", "pin_entry": False},
    )


@pytest.mark.parametrize("passcode", ["7784320", "07784321", "x", "%2e%2e", "7784321%00"])
async def test_a_passcode_of_no_conference_is_404(served: Served, passcode: str) -> None:
    answer = await served.ask(get(f"/v1/conferences/{passcode}"))
    assert (answer.status, answer.json["title"]) == (404, "Not Found")
    assert passcode not in answer.text


async def test_a_conference_is_looked_up_by_switches_only(served: Served) -> None:
    assert (await served.ask(get("/v1/conferences/7784321", token=None))).status == 401


async def test_who_is_no_switch_is_told_nothing_of_the_question(served: Served) -> None:
    for asked in ({"passcode": 1}, {"passcode": "7784320", "pin": "1"}):
        assert (await served.ask(post(asked, token="rc_wrong"))).status == 401
    assert (await served.ask(get("/v1/conferences/1", token="rc_wrong"))).status == 401


@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v1/", "/v1/verify/", "/v1/conferences", "/v1/conferences/", "/v1/conferences/1/2", "/V1/verify"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_other_addresses_are_404(served: Served, path: str, method: str) -> None:
    answer = await served.ask(f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
    assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/verify", "POST"),
        ("PUT", "/v1/verify.txt", "POST"),
        ("OPTIONS", "/v1/verify", "POST"),
        ("POST", "/v1/conferences/7784321", "GET, HEAD"),
        ("DELETE", "/openapi.json", "GET, HEAD"),
    ],
)
async def test_another_method_is_405_and_tells_the_right_one(
    served: Served, method: str, path: str, allowed: str
) -> None:
    answer = await served.ask(f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
    assert (answer.status, answer.headers["allow"]) == (405, allowed)
    if path.endswith(".txt"):
        assert answer.text == "error|Method Not Allowed"


@pytest.mark.parametrize(
    ("path", "token", "status"),
    [
        ("/openapi.json", None, 200),
        ("/v1/conferences/1", TOKEN, 404),
        ("/v1/conferences/1", None, 401),
        ("/x", None, 404),
    ],
)
async def test_head_is_answered_without_a_body_also_when_it_is_refused(
    served: Served, path: str, token: str | None, status: int
) -> None:
    client = await served.client()
    await client.send(get(path, method="HEAD", token=token))
    assert (await client.answer(has_body=False)).status == status
    assert (await client.ask(post(ASKED))).status == 200


async def test_head_of_what_is_for_post_is_405(served: Served) -> None:
    client = await served.client()
    await client.send(get("/v1/verify", method="HEAD"))
    assert (await client.answer(has_body=False)).status == 405
    assert (await client.ask(post(ASKED))).status == 200


async def test_head_tells_what_get_would_without_its_body(served: Served) -> None:
    client = await served.client()
    whole = await client.ask(get("/v1/conferences/7784321"))
    await client.send(get("/v1/conferences/7784321", method="HEAD"))
    assert (await client.answer(has_body=False)).headers["content-length"] == str(len(whole.body))
    assert (await client.ask(get("/v1/conferences/7784321"))).body == whole.body


@pytest.mark.parametrize("path", ["/v1/verify", "/v1/verify.txt"])
@pytest.mark.parametrize("at_once", [True, False])
async def test_until_the_lists_are_loaded_it_says_when_to_ask_again(path: str, at_once: bool) -> None:
    async with serving(Live(), at_once=at_once) as door:
        answer = await door.ask(post(ASKED, path))
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert answer.text.startswith("error|" if path.endswith(".txt") else "{")
        assert (await door.ask(get("/v1/conferences/7784321"))).status == 503
        assert (await door.ask(get("/openapi.json", token=None))).status == 200


async def test_switches_are_told_apart_before_the_lists_are_loaded(served: Served, live: Live) -> None:
    """The tokens come first; until both are there, nobody is accepted."""
    live.index = None
    assert (await served.ask(post(ASKED, token="rc_wrong"))).status == 401
    for request in (post(ASKED), post(ASKED, "/v1/verify.txt"), get("/v1/conferences/7784321")):
        answer = await served.ask(request)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(("caller", "seconds"), [("+15550100", 60), ("+15550101", 120)])
async def test_who_is_locked_out_is_told_for_how_long(live: Live, at_once: bool, caller: str, seconds: int) -> None:
    asked = {**ASKED, "caller": caller}
    async with serving(live, at_once=at_once, throttle=locking_some()) as door:
        told = (await door.ask(post(asked))).json
        assert told.pop("verification_id")
        assert told == {"result": "rejected", "reason": "locked", "retry_after": seconds}
        assert (await door.ask(post(asked, "/v1/verify.txt"))).text == f"rejected|locked|{seconds}"
        count = door.metrics.registry.get_sample_value(
            "rollcall_verifications_total", {"door": "http", "result": "locked"}
        )
        assert count == 2


class Broken:
    """Stands for an index in which something is wrong; what it says repeats what was asked."""

    def __getattr__(self, name: str) -> Any:
        raise LookupError(*ASKED.values())


@pytest.mark.parametrize(
    "request_",
    [post(ASKED), post(ASKED, "/v1/verify.txt"), get("/v1/conferences/7784321"), post(ASKED, version="HTTP/1.0")],
)
async def test_what_breaks_inside_is_503_and_ends_the_connection(served: Served, live: Live, request_: bytes) -> None:
    """Never a 500; the log tells what broke and where, and nothing of what was asked."""
    live.index = Broken()  # type: ignore[assignment]
    client = await served.client()
    with structlog.testing.capture_logs() as logged:
        answer = await client.ask(request_)
    assert (answer.status, answer.headers["retry-after"], answer.headers["connection"]) == (503, "1", "close")
    assert answer.text == "error|Service Unavailable" or answer.json["title"] == "Service Unavailable"
    assert await client.is_closed()
    (line,) = logged
    assert (line["event"], line["log_level"]) == ("request_failed", "error")
    error = line.pop("exc_info")
    told = exception_told((type(error), error, error.__traceback__))
    assert "http.py" in told
    assert told.endswith("LookupError")
    for secret in (*ASKED.values(), TOKEN):
        assert secret not in told
        assert secret not in str(line)
        assert secret not in answer.raw.decode()


async def test_every_verification_and_every_refusal_is_counted(served: Served) -> None:
    client = await served.client()
    for asked in (ASKED, ASKED, {**ASKED, "pin": "1"}, {"passcode": "7784321"}):
        await client.ask(post(asked))
    await client.ask(post(ASKED, token="rc_wrong"))
    value = served.metrics.registry.get_sample_value
    assert value("rollcall_verifications_total", {"door": "http", "result": "accepted"}) == 2
    assert value("rollcall_verifications_total", {"door": "http", "result": "unknown_pin"}) == 1
    assert value("rollcall_verification_seconds_count", {"door": "http"}) == 3
    assert value("rollcall_http_requests_refused_total", {"door": "http", "status": "400"}) == 1
    assert value("rollcall_http_requests_refused_total", {"door": "http", "status": "401"}) == 1


async def test_verification_ids_are_all_different(served: Served) -> None:
    client = await served.client()
    ids = {(await client.ask(post(ASKED))).json["verification_id"] for _ in range(20)}
    assert len(ids) == 20


async def test_identifiers_are_strings(served: Served) -> None:
    told = json.loads((await served.ask(post(ASKED))).body, parse_int=lambda digits: f"number {digits}")
    assert told["list"]["revision"] == "number 12"
    del told["list"]
    assert "number" not in json.dumps(told)
