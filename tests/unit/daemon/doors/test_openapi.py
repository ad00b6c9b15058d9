"""`/openapi.json` says what is really answered."""

import json
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from daemon.doors.openapi import document
from daemon.doors.problem import TITLES
from daemon.live import Live
from tests.unit.daemon.doors.conftest import Served, get, post, serving

ASKED = {"passcode": "7784321", "pin": "004127"}


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    described: dict[str, Any] = json.loads(document("1.2.3"))
    return described


def validated(described: dict[str, Any], operation: dict[str, Any], status: int, media_type: str, body: Any) -> None:
    """Hold an answer against its schema. Fields that the schema does not name are refused."""
    schema = operation["responses"][str(status)]["content"][media_type.partition(";")[0]]["schema"]
    OAS31Validator({**schema, "components": closed(described["components"])}).validate(body)


def closed(schema: Any) -> Any:
    """The same, where an object has no other fields than those named."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        inner.setdefault("additionalProperties", False)
    return inner


def test_it_is_openapi_3_1(described: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(described).validate()
    assert described["openapi"].startswith("3.1.")
    assert described["info"]["version"] == "1.2.3"


async def test_it_is_served_to_anybody(served: Served) -> None:
    answer = await served.ask(get("/openapi.json", token=None))
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json["paths"].keys() == {
        "/v1/verify",
        "/v1/verify.txt",
        "/v1/conferences/{passcode}",
        "/openapi.json",
    }


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
    (401, post(ASKED, token=None)),
    (405, get("/v1/verify")),
    (413, post({**ASKED, "more": "x" * 5000})),
    (415, post(ASKED, media_type="text/csv")),
    (417, post(ASKED, headers="Expect: more\r\n")),
]


@pytest.mark.parametrize(("status", "request_"), REQUESTS)
@pytest.mark.parametrize("path", ["/v1/verify", "/v1/verify.txt"])
async def test_every_answer_of_a_verification_is_as_described(
    served: Served, described: dict[str, Any], status: int, request_: bytes, path: str
) -> None:
    answer = await served.ask(request_.replace(b"/v1/verify ", f"{path} ".encode(), 1))
    assert answer.status == status
    media_type = answer.headers["content-type"]
    body = answer.text if media_type.startswith("text/") else answer.json
    validated(described, described["paths"][path]["post"], status, media_type, body)


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
    served: Served, described: dict[str, Any], status: int, request_: bytes
) -> None:
    answer = await served.ask(request_)
    assert answer.status == status
    operation = described["paths"]["/v1/conferences/{passcode}"]["get"]
    validated(described, operation, status, answer.headers["content-type"], answer.json)


@pytest.mark.parametrize("path", ["/v1/verify", "/v1/verify.txt"])
async def test_not_being_loaded_is_as_described(described: dict[str, Any], path: str) -> None:
    async with serving(Live()) as door:
        answer = await door.ask(post(ASKED, path))
    media_type = answer.headers["content-type"]
    body = answer.text if media_type.startswith("text/") else answer.json
    operation = described["paths"][path]["post"]
    validated(described, operation, 503, media_type, body)
    assert operation["responses"]["503"]["headers"].keys() == {"Retry-After"}


def test_every_status_that_the_door_refuses_with_is_described(described: dict[str, Any]) -> None:
    told = {
        int(status)
        for path in described["paths"].values()
        for operation in path.values()
        for status in operation["responses"]
    }
    assert told == TITLES.keys() | {200}


@pytest.mark.parametrize(
    ("question", "valid"),
    [
        (ASKED, True),
        ({**ASKED, "call_id": None}, True),
        ({**ASKED, "pin": "1" * 33}, False),
        ({"passcode": "7784321"}, False),
        ({**ASKED, "pin": 4127}, False),
        ({**ASKED, "caller": "x" * 129}, False),
    ],
)
async def test_what_may_be_asked_is_as_described(
    served: Served, described: dict[str, Any], question: dict[str, Any], valid: bool
) -> None:
    assert OAS31Validator(described["components"]["schemas"]["Question"]).is_valid(question) == valid
    assert ((await served.ask(post(question))).status == 200) == valid
