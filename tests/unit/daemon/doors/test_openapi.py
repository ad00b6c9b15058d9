"""`/openapi.json` says what is really answered.

Each answer to `Client.ask`, here and in the other tests of the door, is held against it too.
"""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from daemon.doors.http_answer import as_form, as_json
from daemon.doors.problem import TITLES
from daemon.live import Live
from daemon.verify import Verification
from loader.index import Decision, Reason
from tests.unit.daemon.doors.conftest import Served, described, get, post, serving, validator

FORM = "application/x-www-form-urlencoded"
ASKED = {"passcode": "7784321", "pin": "004127"}
METHODS = ["get", "put", "post", "delete", "options", "patch", "trace"]
PATHS = [
    "/v1/verify",
    "/v1/verify.txt",
    "/v1/conferences/7784321",
    "/v1/calls/1.17/joined",
    "/v1/calls/1.17/left",
    "/openapi.json",
]


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in described()["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def template(path: str) -> str:
    """The path as it is described."""
    return path.replace("7784321", "{passcode}").replace("1.17", "{call_id}")


def test_it_is_openapi_3_1() -> None:
    OpenAPIV31SpecValidator(described()).validate()
    assert described()["openapi"].startswith("3.1.")
    assert described()["info"]["version"] == "1.2.3"


async def test_it_is_served_to_anybody(served: Served) -> None:
    answer = await served.ask(get("/openapi.json", token=None))
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json["paths"] == described()["paths"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", PATHS)
async def test_a_method_is_answered_if_and_only_if_it_is_described(served: Served, path: str, method: str) -> None:
    """HEAD goes with each GET, as HTTP has it."""
    methods = described()["paths"][template(path)]
    answer = await served.ask(f"{method.upper()} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
    assert (answer.status != 405) == (method in methods)
    if method not in methods:
        allowed = [one.upper() for one in methods]
        assert answer.headers["allow"].split(", ") == (["GET", "HEAD"] if allowed == ["GET"] else allowed)


async def test_every_style_is_described_and_no_other(served: Served) -> None:
    (style,) = described()["paths"]["/v1/verify.txt"]["post"]["parameters"]
    for value in (*style["schema"]["enum"], "json"):
        status = (await served.ask(post(ASKED, f"/v1/verify.txt?{style['name']}={value}"))).status
        assert (status == 200) == (value in style["schema"]["enum"])


async def test_every_path_of_the_door_is_described_and_no_other(served: Served) -> None:
    assert described()["paths"].keys() == {template(path) for path in PATHS}
    for path in (*PATHS, "/", "/v1", "/v1/conferences", "/v1/calls", "/v1/calls/1.17", "/v1/calls/1.17/gone"):
        assert ((await served.ask(get(path))).status != 404) == (path in PATHS)


REQUESTS = [
    (200, post(ASKED)),
    (200, post({**ASKED, "pin": "900001"})),
    (200, post({"passcode": "7784322", "pin": ""})),
    (200, post({**ASKED, "pin": "1"})),
    (200, post({**ASKED, "pin": "99"})),
    (200, post({**ASKED, "pin": ""})),
    (200, post({**ASKED, "passcode": "1"})),
    (400, post({**ASKED, "pin": 1})),
    (400, post(b"{")),
    (400, post(ASKED, headers=" folded\r\n")),
    (401, post(ASKED, token=None)),
    (405, get("/v1/verify")),
    (413, post({**ASKED, "more": "x" * 5000})),
    (415, post(ASKED, media_type="text/csv")),
    (417, post(ASKED, headers="Expect: more\r\n")),
]


@pytest.mark.parametrize(("status", "request_"), REQUESTS)
@pytest.mark.parametrize("path", ["/v1/verify", "/v1/verify.txt", "/v1/verify.txt?style=form"])
async def test_every_answer_of_a_verification_is_as_described(
    served: Served, status: int, request_: bytes, path: str
) -> None:
    answer = await served.ask(request_.replace(b"/v1/verify ", f"{path} ".encode(), 1))
    assert answer.status == status


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (200, get("/v1/conferences/7784321")),
        (401, get("/v1/conferences/7784321", token=None)),
        (404, get("/v1/conferences/1")),
        (405, get("/v1/conferences/7784321", method="DELETE")),
    ],
)
async def test_every_answer_of_a_look_at_a_conference_is_as_described(
    served: Served, status: int, request_: bytes
) -> None:
    assert (await served.ask(request_)).status == status


@pytest.mark.parametrize(
    "decision",
    [
        *(Decision(reason) for reason in Reason if reason is not Reason.LOCKED),
        Decision(Reason.LOCKED, retry_after=60),
        Decision(Reason.UNKNOWN_PIN, attempts_left=2),
        Decision(Reason.INACTIVE_PIN, attempts_left=0),
    ],
)
def test_every_rejection_is_as_described(decision: Decision) -> None:
    validator("/v1/verify", "post", 200, "application/json").validate(
        json.loads(as_json(Verification("1-1", decision)))
    )
    form = dict(parse_qsl(as_form(Verification("1-1", decision)).decode(), strict_parsing=True))
    validator("/v1/verify.txt", "post", 200, FORM).validate(form)


async def test_not_being_loaded_is_as_described() -> None:
    async with serving(Live()) as door:
        texts = (post(ASKED, "/v1/verify.txt"), post(ASKED, "/v1/verify.txt?style=form"))
        for request in (post(ASKED), *texts, get("/v1/conferences/7784321")):
            answer = await door.ask(request)
            assert answer.status == 503
    for path, _, operation in operations():
        told = operation["responses"]["503"]["headers"]["Retry-After"]["schema"]
        assert OAS31Validator(told).is_valid(int(answer.headers["retry-after"])), path


@pytest.mark.parametrize(
    ("status", "media_type", "body"),
    [
        (200, "application/json", {"result": "accepted"}),
        (200, "application/json", {"result": "rejected", "reason": "no", "verification_id": "1-1"}),
        (200, "application/json", {"result": "rejected", "reason": "locked", "verification_id": "1-1", "pin": "1"}),
        (400, "application/problem+json", {"title": "Bad Request"}),
        (200, FORM, {"result": "accepted", "verification_id": "1-1"}),
        (200, FORM, {"result": "rejected", "reason": "locked", "verification_id": "1-1", "retry_after": "soon"}),
        (401, FORM, {"result": "error", "title": "Bad Request"}),
    ],
)
def test_an_answer_of_another_form_would_be_noticed(status: int, media_type: str, body: dict[str, Any]) -> None:
    path = "/v1/verify.txt" if media_type == FORM else "/v1/verify"
    assert not validator(path, "post", status, media_type).is_valid(body)


def test_every_status_that_the_door_refuses_with_is_described() -> None:
    told = {int(status) for _, _, operation in operations() for status in operation["responses"]}
    by_signature = {403}  # of webhooks, which have a port of their own
    assert told == TITLES.keys() - by_signature | {200, 204}


@pytest.mark.parametrize(
    ("question", "valid"),
    [
        (ASKED, True),
        ({**ASKED, "call_id": None}, True),
        ({**ASKED, "pin": "1" * 33}, False),
        ({"passcode": "7784321"}, False),
        ({**ASKED, "pin": 4127}, False),
        ({**ASKED, "pin": None}, False),
        ({**ASKED, "caller": "x" * 129}, False),
    ],
)
async def test_what_may_be_asked_is_as_described(served: Served, question: dict[str, Any], valid: bool) -> None:
    assert OAS31Validator(described()["components"]["schemas"]["Question"]).is_valid(question) == valid
    assert ((await served.ask(post(question))).status == 200) == valid
