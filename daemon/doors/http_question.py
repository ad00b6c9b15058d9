"""What a switch sends becomes a question, or is told, field by field, what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta

from daemon.doors.problem import Problem
from loader.index import MAX_KEYED, MAX_TOLD, Question

_LIMITS: Final = {"passcode": MAX_KEYED, "pin": MAX_KEYED, "call_id": MAX_TOLD, "caller": MAX_TOLD}
_REQUIRED: Final = ("passcode", "pin")


class _Asked(Question, frozen=True, gc=False):
    """A question with its limits, so that the decoder checks them."""

    passcode: Annotated[str, Meta(max_length=MAX_KEYED)]
    pin: Annotated[str, Meta(max_length=MAX_KEYED)]
    call_id: Annotated[str, Meta(max_length=MAX_TOLD)] | None = None
    caller: Annotated[str, Meta(max_length=MAX_TOLD)] | None = None


_decode: Final = msgspec.json.Decoder(_Asked).decode


def from_json(body: bytes) -> Question:
    """Raises Problem."""
    try:
        try:
            question = _decode(body)
            # Four a field, for its name and its value, if nothing else was sent and no field twice.
            if body.count(b'"') == (8 if question.call_id is None else 12) + (0 if question.caller is None else 4):
                return question
        except msgspec.ValidationError:
            pass
        # Read once more, to tell what is wrong with every field rather than with the first, and of the same field twice
        # not to take the last, as the decoder does.
        pairs = json.loads(body.decode(), object_pairs_hook=tuple)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise _not("JSON") from None
    if not isinstance(pairs, tuple):
        raise Problem(400, "The body is not a JSON object.")
    return _checked(pairs)


def from_form(body: bytes) -> Question:
    """Raises Problem."""
    try:
        return _checked(parse_qsl(body.decode(), keep_blank_values=True, errors="strict"))
    except UnicodeDecodeError:
        raise _not("a form") from None


READERS: Final[Mapping[str, Callable[[bytes], Question]]] = {
    "application/json": from_json,
    "application/x-www-form-urlencoded": from_form,
}
"""What reads a body of each media type."""


class _Twice:
    """Stands for the values of a field that was sent more than once."""


def _not(form: str) -> Problem:
    return Problem(400, f"The body is not {form} in UTF-8.")


def _checked(pairs: Iterable[tuple[str, Any]]) -> Question:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        fields[name] = value if name not in fields else _Twice
    errors: dict[str, str] = {}
    for name, limit in _LIMITS.items():
        value = fields.get(name)
        if value is None:
            if name in _REQUIRED:
                errors[name] = "is missing" if name not in fields else "must be a string"
        elif value is _Twice:
            errors[name] = "stands more than once"
        elif not isinstance(value, str):
            errors[name] = "must be a string"
        elif len(value) > limit:
            errors[name] = f"has more than {limit} characters"
    if errors:
        raise Problem(400, "The question is malformed.", errors=errors)
    return Question(fields["passcode"], fields["pin"], fields.get("call_id"), fields.get("caller"))
