"""The HTTP door as OpenAPI 3.1 describes it: what `/openapi.json` answers.

Written by hand, so that it says what is promised; the tests hold every answer against it.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import msgspec

from daemon.doors.problem import MEDIA_TYPE, TITLES
from daemon.verify import ACCEPTED, REJECTED
from loader.index import MAX_KEYED, MAX_TOLD, Reason
from loader.model import MAX_FIELD_LENGTH, Level, Participant

_Schema: TypeAlias = dict[str, Any]

_JSON: Final = "application/json"
_FORM: Final = "application/x-www-form-urlencoded"
_TEXT: Final = "text/plain"


def document(version: str) -> bytes:
    """The whole description, as JSON."""
    return msgspec.json.encode(
        {
            "openapi": "3.1.1",
            "info": {
                "title": "Rollcall",
                "version": version,
                "summary": "Is the PIN that this caller just keyed valid for this conference, and who is it?",
                "description": "Let a caller in only if `result` is exactly `accepted`; whatever else is answered, "
                "and silence too, means no. Fields may be added to answers; ignore those that you do not know.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "security": [{"token": []}],
            "paths": {
                "/v1/verify": {"post": _verify()},
                "/v1/verify.txt": {"post": _verify_text()},
                "/v1/conferences/{passcode}": {"get": _conference()},
                "/v1/calls/{call_id}/joined": {"post": _told("joined", "The caller has been put through.")},
                "/v1/calls/{call_id}/left": {"post": _told("left", "The call is over.")},
                "/openapi.json": {"get": _openapi()},
            },
            "components": {
                "securitySchemes": {
                    "token": {
                        "type": "http",
                        "scheme": "bearer",
                        "description": "A switch's token, made by the operator with `rollcall switch add NAME`. It may be "
                        "bound to addresses, and to so many requests a second.",
                    }
                },
                "schemas": {
                    "Question": _question(),
                    "Decision": {"oneOf": [_ref("Accepted"), _ref("AcceptedWithoutPin"), _ref("Rejected")]},
                    "Accepted": _accepted(),
                    "AcceptedWithoutPin": _accepted_without_pin(),
                    "Rejected": _rejected(),
                    "AcceptedForm": _accepted_form(),
                    "RejectedForm": _rejected_form(),
                    "Participant": _object(dict.fromkeys(Participant.__struct_fields__, _text())),
                    "List": _object(
                        {"level": {"enum": list(Level)}, "revision": {"type": "integer", "minimum": 1}},
                        description="The list that answered.",
                    ),
                    "Conference": _object({"id": _text(), "title": _text(), "organizer": _text("The organizer's ID.")}),
                    "Found": _object(
                        {
                            "id": _text(),
                            "title": _text(),
                            "organizer": _text("The organizer's ID."),
                            "pin_entry": {"type": "boolean", "description": "Whether callers must be asked for a PIN."},
                        }
                    ),
                    "Problem": _problem(),
                },
            },
        }
    )


# What can be asked


def _verify() -> _Schema:
    return {
        "operationId": "verify",
        "summary": "Is this PIN valid for this conference, and who is it?",
        "requestBody": _question_body(),
        "responses": {
            "200": {"description": "A decision.", "content": {_JSON: {"schema": _ref("Decision")}}},
            **_problems(400, 401, 405, 408, 413, 415, 417, 429, 503),
        },
    }


def _verify_text() -> _Schema:
    refused: _Schema = {
        str(status): {
            "description": f"{TITLES[status]}: `error|{TITLES[status]}`, or a form with the same title.",
            "content": {
                _TEXT: {"schema": {"type": "string", "const": f"error|{TITLES[status]}"}},
                _FORM: {"schema": _object({"result": {"const": "error"}, "title": {"const": TITLES[status]}})},
            },
            **_headers(status),
        }
        for status in (400, 401, 405, 408, 413, 415, 417, 429, 503)
    }
    refused["400"]["description"] += (
        " What is not HTTP, so that its address cannot be told, is answered with a problem."
    )
    refused["400"]["content"][MEDIA_TYPE] = {"schema": _ref("Problem")}
    return {
        "operationId": "verifyText",
        "summary": "The same question, answered as text for dialplans that cannot read JSON.",
        "parameters": [
            {
                "name": "style",
                "in": "query",
                "schema": {"enum": ["line", "form"]},
                "description": "One line, or `key=value&key=value`. Without it the media type that `Accept` names "
                f"first decides: `{_FORM}` is a form, and all else a line.",
            }
        ],
        "requestBody": _question_body(),
        "responses": {
            "200": {
                "description": "`accepted|<first>|<last>|<company>|<level>|<conference id>`, `rejected|<reason>`, or "
                "`rejected|locked|<retry_after>`. A `|` within a name arrives as `/`. As a form: the keys that have a "
                "value, percent-encoded, a space as `%20`, in this order.",
                "content": {
                    _TEXT: {
                        "schema": {
                            "type": "string",
                            "pattern": rf"^({ACCEPTED}(\|[^|]*){{5}}|{REJECTED}\|[a-z_]+(\|[0-9]+)?)$",
                        }
                    },
                    _FORM: {"schema": {"oneOf": [_ref("AcceptedForm"), _ref("RejectedForm")]}},
                },
            },
            **refused,
        },
    }


def _conference() -> _Schema:
    return {
        "operationId": "conference",
        "summary": "Does this passcode exist, and must I ask for a PIN?",
        "parameters": [
            {
                "name": "passcode",
                "in": "path",
                "required": True,
                "schema": {"type": "string", "pattern": "^[0-9]{1,32}$", "examples": ["7784321"]},
            }
        ],
        "responses": {
            "200": {"description": "It does.", "content": {_JSON: {"schema": _ref("Found")}}},
            **_problems(400, 401, 404, 405, 417, 429, 503),
        },
    }


def _told(event: str, summary: str) -> _Schema:
    return {
        "operationId": event,
        "summary": f"{summary} For the roll of who was there.",
        "description": "Idempotent: what is told twice counts once, and `left` may come before `joined`.",
        "parameters": [
            {
                "name": "call_id",
                "in": "path",
                "required": True,
                "schema": {"type": "string", "minLength": 1, "maxLength": MAX_TOLD, "examples": ["1732456800.17"]},
                "description": "The `call_id` of a verification of this switch that was accepted.",
            }
        ],
        "responses": {
            "204": {"description": "It will not be forgotten."},
            **_problems(400, 401, 404, 405, 408, 413, 417, 429, 503),
        },
    }


def _openapi() -> _Schema:
    return {
        "operationId": "openapi",
        "summary": "This description.",
        "security": [],
        "responses": {
            "200": {"description": "OpenAPI 3.1.", "content": {_JSON: {"schema": {"type": "object"}}}},
            **_problems(400, 405, 417, 503),
        },
    }


# What it is made of


def _question() -> _Schema:
    def keyed(description: str, example: str) -> _Schema:
        return {"type": "string", "maxLength": MAX_KEYED, "description": description, "examples": [example]}

    def told(description: str, example: str) -> _Schema:
        kinds = ["string", "null"]
        return {"type": kinds, "maxLength": MAX_TOLD, "description": description, "examples": [example]}

    return {
        "type": "object",
        "properties": {
            "passcode": keyed("What the caller keyed for the conference.", "7784321"),
            "pin": keyed(
                "What the caller keyed for himself, leading zeros and all; empty if he keyed nothing.", "004127"
            ),
            "call_id": told("The switch's own ID of the call.", "1732456800.17"),
            "caller": told("The calling number.", "+15550100"),
        },
        "required": ["passcode", "pin"],
    }


def _question_body() -> _Schema:
    return {
        "required": True,
        "description": "At most 4 KiB, in UTF-8, not compressed, and no field twice.",
        "content": {_JSON: {"schema": _ref("Question")}, _FORM: {"schema": _ref("Question")}},
    }


def _accepted() -> _Schema:
    return _object(
        {
            "result": {"const": ACCEPTED},
            "pin_entry": {"const": True},
            "verification_id": _text(),
            "participant": _ref("Participant"),
            "list": _ref("List"),
            "conference": _ref("Conference"),
        },
        description="An active entry has this PIN.",
    )


def _accepted_without_pin() -> _Schema:
    return _object(
        {
            "result": {"const": ACCEPTED},
            "pin_entry": {"const": False},
            "verification_id": _text(),
            "conference": _ref("Conference"),
        },
        description="The conference asks for no PIN.",
    )


def _accepted_form() -> _Schema:
    return _object(
        {"result": {"const": ACCEPTED}, "verification_id": _text(), "conference_id": _text()},
        optional={"level": {"enum": list(Level)}, "first_name": _text(), "last_name": _text(), "company": _text()},
        description="Without `level` and names where the conference asks for no PIN.",
    )


def _rejected_form() -> _Schema:
    number = {"type": "string", "pattern": "^[0-9]+$"}
    return _object(
        {"result": {"const": REJECTED}, "reason": _reason(), "verification_id": _text()},
        optional={"retry_after": number, "attempts_left": number},
    )


def _reason() -> _Schema:
    return {
        "enum": list(Reason),
        "description": "To a caller, `inactive_pin` and `unknown_pin` should sound the same.",
    }


def _rejected() -> _Schema:
    return _object(
        {"result": {"const": REJECTED}, "reason": _reason(), "verification_id": _text()},
        optional={
            "attempts_left": {"type": "integer", "minimum": 0, "description": "After the last, hang up."},
            "retry_after": {"type": "integer", "minimum": 1, "description": "Seconds to wait, when `locked`."},
        },
    )


def _problem() -> _Schema:
    return _object(
        {
            "type": {"const": "about:blank"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
        },
        optional={
            "errors": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "description": "What is wrong, by field.",
            }
        },
        description="Problem details, RFC 9457. Nothing of it repeats what was sent.",
    )


def _object(
    required: dict[str, _Schema], *, optional: dict[str, _Schema] | None = None, description: str | None = None
) -> _Schema:
    schema: _Schema = {"type": "object", "properties": required | (optional or {}), "required": list(required)}
    return schema if description is None else schema | {"description": description}


def _text(description: str | None = None) -> _Schema:
    schema: _Schema = {"type": "string", "maxLength": MAX_FIELD_LENGTH}
    return schema if description is None else schema | {"description": description}


def _ref(name: str) -> _Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _problems(*statuses: int) -> _Schema:
    return {
        str(status): {
            "description": TITLES[status],
            "content": {MEDIA_TYPE: {"schema": _ref("Problem")}},
            **_headers(status),
        }
        for status in statuses
    }


def _headers(status: int) -> _Schema:
    return {"headers": _HEADERS[status]} if status in _HEADERS else {}


_RETRY_AFTER: Final = {"Retry-After": {"required": True, "schema": {"type": "integer"}, "description": "Seconds."}}
_HEADERS: Final[dict[int, _Schema]] = {
    401: {"WWW-Authenticate": {"required": True, "schema": {"const": "Bearer"}}},
    405: {"Allow": {"required": True, "schema": {"type": "string"}, "description": "The methods that there are."}},
    429: _RETRY_AFTER,
    503: _RETRY_AFTER,
}
