"""`/v1/verify.txt`: a line or a form, as the question asks for it; each test goes both ways through the server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog
from msgspec.structs import replace

from daemon.doors.http_answer import as_form, as_line
from daemon.live import Live
from daemon.verify import Verification
from loader.compiled import Block, compile_list
from loader.index import Decision, Index, Reason
from loader.model import Participant, Revision
from tests.unit.daemon.doors.conftest import OWNERS, Served, entry, get, post, serving
from tests.unit.daemon.doors.test_http import ASKED, MALFORMED, REJECTED, Broken
from tests.unit.daemon.doors.throttles import locking_some

FORM = "application/x-www-form-urlencoded"
STYLED = "/v1/verify.txt?style=form"
ACCEPT_FORM = f"Accept: {FORM}\r\n"
WAYS_TO_ASK = [("/v1/verify.txt", ACCEPT_FORM), (STYLED, "")]


@pytest.fixture(params=[True, False], ids=["at once", "by a task"])
async def either_way(live: Live, request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    async with serving(live, at_once=request.param) as door:
        yield door


@pytest.mark.parametrize(("path", "headers"), WAYS_TO_ASK)
async def test_a_form_has_the_keys_that_have_a_value(either_way: Served, path: str, headers: str) -> None:
    """In an order that may be relied on: what people have typed comes last. Without a line end."""
    answer = await either_way.ask(post({**ASKED, "pin": "1234"}, path, headers=headers))
    assert (answer.status, answer.headers["content-type"]) == (200, FORM)
    told = answer.form
    assert told.pop("verification_id")
    assert list(told.items()) == [
        ("result", "accepted"),
        ("level", "organizer"),
        ("conference_id", "C-1001"),
        ("first_name", "Zoë|Ann"),
        ("last_name", "Doe"),
        ("company", "XYZ"),
    ]
    assert answer.text.startswith("result=accepted&verification_id=")
    assert answer.text.endswith(
        "&level=organizer&conference_id=C-1001&first_name=Zo%C3%AB%7CAnn&last_name=Doe&company=XYZ"
    )


async def test_without_a_participant_a_form_has_no_names(either_way: Served) -> None:
    told = (await either_way.ask(post({"passcode": "7784322", "pin": ""}, STYLED))).form
    assert told.keys() == {"result", "verification_id", "conference_id"}
    assert (told["result"], told["conference_id"]) == ("accepted", "C-1002")


@pytest.mark.parametrize(("passcode", "pin", "reason"), REJECTED)
async def test_a_rejection_as_a_form_says_why(either_way: Served, passcode: str, pin: str, reason: str) -> None:
    answer = await either_way.ask(post({"passcode": passcode, "pin": pin}, STYLED))
    told = answer.form
    assert told.pop("verification_id")
    assert (answer.status, told) == (200, {"result": "rejected", "reason": reason})


@pytest.mark.parametrize("at_once", [True, False])
async def test_who_is_locked_out_is_told_for_how_long_in_a_form_too(live: Live, at_once: bool) -> None:
    async with serving(live, at_once=at_once, throttle=locking_some()) as door:
        told = (await door.ask(post(ASKED, STYLED))).form
    assert told.pop("verification_id")
    assert told == {"result": "rejected", "reason": "locked", "retry_after": "120"}


def test_what_is_left_of_the_tries_is_told_in_a_form() -> None:
    told = as_form(Verification("1-1", Decision(Reason.UNKNOWN_PIN, attempts_left=0)))
    assert told == b"result=rejected&reason=unknown_pin&attempts_left=0&verification_id=1-1"


@pytest.mark.parametrize(("body", "media_type", "errors"), MALFORMED)
async def test_an_error_is_told_in_the_form_that_was_asked_for(
    served: Served, body: Any, media_type: str, errors: Any
) -> None:
    answer = await served.ask(post(body, STYLED, media_type=media_type))
    assert (answer.status, answer.text) == (400, "result=error&title=Bad%20Request")
    assert answer.headers["content-type"] == FORM


@pytest.mark.parametrize(("path", "headers"), WAYS_TO_ASK)
@pytest.mark.parametrize(
    ("status", "title", "request_"),
    [
        (401, "Unauthorized", post(ASKED, token="rc_wrong")),
        (405, "Method%20Not%20Allowed", get("/v1/verify")),
        (413, "Content%20Too%20Large", post(b"x" * 5000)),
        (415, "Unsupported%20Media%20Type", post(ASKED, media_type="text/csv")),
        (417, "Expectation%20Failed", post(ASKED, headers="Expect: more\r\n")),
    ],
)
async def test_every_refusal_has_that_form(
    either_way: Served, path: str, headers: str, status: int, title: str, request_: bytes
) -> None:
    request = request_.replace(b"/v1/verify ", f"{path} ".encode(), 1)
    request = request.replace(b"\r\n", f"\r\n{headers}".encode(), 1)
    answer = await either_way.ask(request)
    assert (answer.status, answer.text) == (status, f"result=error&title={title}")


async def test_a_body_that_breaks_off_is_refused_in_that_form(served: Served) -> None:
    head = post(b"", STYLED).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    client = await served.client()
    await client.send_alone(head)
    answer = await client.ask_on(head, b"zz\r\n")
    assert (answer.status, answer.text) == (400, "result=error&title=Bad%20Request")


async def test_until_the_lists_are_loaded_a_form_says_so(either_way: Served, live: Live) -> None:
    live.index = None
    answer = await either_way.ask(post(ASKED, STYLED))
    assert (answer.status, answer.text) == (503, "result=error&title=Service%20Unavailable")
    assert answer.headers["retry-after"] == "1"


async def test_what_breaks_inside_is_told_in_that_form(either_way: Served, live: Live) -> None:
    live.index = Broken()  # type: ignore[assignment]
    with structlog.testing.capture_logs() as logged:
        answer = await either_way.ask(post(ASKED, STYLED))
    assert (answer.status, answer.text) == (503, "result=error&title=Service%20Unavailable")
    assert [line["event"] for line in logged] == ["request_failed"]


LINE = "accepted|Mike|Doe|XYZ|organizer|C-1001"


@pytest.mark.parametrize(
    ("query", "accept", "is_form"),
    [
        ("", None, False),
        ("", "*/*", False),
        ("", "text/plain", False),
        ("", "application/json", False),
        ("", f"text/plain, {FORM}", False),
        ("", FORM, True),
        ("", f"{FORM.upper()} ;q=0.9, */*", True),
        ("?", FORM, True),
        ("?style=line", FORM, False),
        ("?style=form", "text/plain", True),
        ("?style=%66orm", None, True),
        ("?more=1&style=form", None, True),
        ("?more=%ff&style=line&pin=1", None, False),
    ],
)
async def test_the_style_counts_and_then_what_is_accepted(
    either_way: Served, query: str, accept: str | None, is_form: bool
) -> None:
    headers = "" if accept is None else f"Accept: {accept}\r\n"
    answer = await either_way.ask(post(ASKED, f"/v1/verify.txt{query}", headers=headers))
    assert answer.status == 200
    assert answer.headers["content-type"] == (FORM if is_form else "text/plain; charset=utf-8")
    assert answer.form["result"] == "accepted" if is_form else answer.text == LINE


@pytest.mark.parametrize(
    "query", ["style=json", "style=", "style=FORM", "style", "style=form&style=form", "style=form%00"]
)
async def test_an_unknown_style_is_refused_in_a_line(either_way: Served, query: str) -> None:
    answer = await either_way.ask(post(ASKED, f"/v1/verify.txt?{query}", headers=ACCEPT_FORM))
    assert (answer.status, answer.text) == (400, "error|Bad Request")
    stranger = await either_way.ask(post(ASKED, f"/v1/verify.txt?{query}", token=None))
    assert (stranger.status, stranger.text) == (401, "error|Unauthorized")


async def test_an_address_is_not_made_of_an_encoded_question_mark(either_way: Served) -> None:
    assert (await either_way.ask(post(ASKED, "/v1/verify.txt%3Fstyle=form"))).status == 404


async def test_either_form_is_answered_without_waking_a_task(served: Served) -> None:
    client = await served.client()
    for path, headers in (*WAYS_TO_ASK, ("/v1/verify.txt?style=line", "")):
        assert (await client.ask(post(ASKED, path, headers=headers))).status == 200
    assert served.server.requests_count == 0


NAMES = [
    'O"Brien',
    "a&result=accepted",
    "a=b",
    "a+b c",
    "50%2C",
    "Müller, Söhne",
    "\\",
    "ACME (UK",
    "😀",
    "${EXTEN}",
    "$rU",
    "~HASH~",
    "a;b",
]


@pytest.mark.parametrize("name", NAMES)
async def test_a_name_comes_out_of_a_form_as_it_went_in(served: Served, live: Live, index: Index, name: str) -> None:
    """And there is nothing in it that a form, a header or a URI is parted at."""
    block = Block(compile_list([replace(entry("004127"), first_name=name, company=name)]), Revision(13))
    live.swap(index.changed(lists={OWNERS[0]: block}))
    answer = await served.ask(post(ASKED, STYLED))
    assert (answer.form["first_name"], answer.form["company"], answer.form["last_name"]) == (name, name, "Doe")
    assert set(answer.text) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~%=&")


@pytest.mark.parametrize("name", ["a\r\nresult=accepted", "a\nb", "a\tb", "a\0b", "a\x1bb", "a\x7fb", "a\x85b"])
def test_no_name_ends_a_line(index: Index, name: str) -> None:
    """A list can hold none of these; whatever it holds, it forges nothing in a dialplan or a header."""
    who = Participant(name, "Doe", name, "", "", "", "", "")
    conference = index.conferences["7784321"]
    verification = Verification("1-1", Decision(None, conference, who, OWNERS[0].level, Revision(1)))
    line = as_line(verification).decode()
    assert line.isprintable()
    assert line.count("|") == 5
    assert not any(code in as_form(verification) for code in (b"%0D", b"%0A", b"%09", b"%00", b"%1B", b"%7F", b"%85"))


def test_an_empty_company_is_left_out_of_a_form(index: Index) -> None:
    """Some parsers take no empty value."""
    who = Participant("Mike", "Doe", "", "", "", "", "", "")
    told = as_form(Verification("1-1", Decision(None, index.conferences["7784321"], who, OWNERS[0].level, Revision(1))))
    assert told.endswith(b"&last_name=Doe")
