"""Any body is a question or a problem, and a question is read as it was asked."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from hypothesis import example, given
from hypothesis import strategies as st

from daemon.doors.http_question import READERS, from_form, from_json
from daemon.doors.problem import Problem
from loader.index import MAX_KEYED, MAX_TOLD, Question

NAMES = st.sampled_from(["passcode", "pin", "call_id", "caller", "x", "PIN"])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40) | st.text(max_size=140),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=8,
)
PAIRS = st.lists(st.tuples(NAMES, VALUES | TEXT), max_size=7)
KEYED, TOLD = TEXT.map(lambda text: text[:32]), st.none() | TEXT
QUESTIONS = st.builds(Question, KEYED, KEYED, TOLD, TOLD)


def object_of(pairs: list[tuple[str, Any]]) -> bytes:
    """JSON in which a field may stand twice."""
    return ("{" + ", ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in pairs) + "}").encode()


def form_of(pairs: list[tuple[str, Any]]) -> bytes:
    return urlencode(pairs, errors="surrogatepass").encode()


ANY_BODY = st.binary(max_size=200) | VALUES.map(json.dumps).map(str.encode) | PAIRS.map(object_of) | PAIRS.map(form_of)


@given(ANY_BODY)
@example(b"[" * 4096)
@example(b'{"a":' * 800)
@example(b'{"pin":' + b"9" * 4080 + b"}")
def test_any_body_is_a_question_or_a_problem(body: bytes) -> None:
    for read in READERS.values():
        told = outcome(read, body)
        if isinstance(told, Problem):
            assert told.status == 400
            assert set(told.errors or {}) <= set(Question.__struct_fields__)
        else:
            assert max(len(told.passcode), len(told.pin)) <= MAX_KEYED
            assert max(len(told.call_id or ""), len(told.caller or "")) <= MAX_TOLD


def outcome(read: Callable[[bytes], Question], body: bytes) -> Question | Problem:
    try:
        return read(body)
    except Problem as problem:
        return problem


@given(QUESTIONS)
def test_a_question_is_read_as_it_was_asked(question: Question) -> None:
    fields = {name: value for name, value in fields_of(question).items() if value is not None}
    for escaped in (True, False):
        assert fields_of(from_json(json.dumps(fields, ensure_ascii=escaped).encode())) == fields_of(question)
    assert fields_of(from_json(json.dumps(fields_of(question)).encode())) == fields_of(question)
    assert fields_of(from_form(urlencode(fields).encode())) == fields_of(question)


def fields_of(question: Question) -> dict[str, str | None]:
    return {name: getattr(question, name) for name in question.__struct_fields__}


@given(PAIRS, st.sampled_from(["passcode", "pin", "call_id", "caller"]), st.data())
def test_a_field_that_stands_twice_is_never_taken(pairs: list[tuple[str, Any]], name: str, data: st.DataObject) -> None:
    """Wherever it stands, and whatever its two values are."""
    for _ in range(2):
        pairs.insert(data.draw(st.integers(0, len(pairs))), (name, data.draw(KEYED)))
    for read, body in ((from_json, object_of(pairs)), (from_form, form_of(pairs))):
        refused = outcome(read, body)
        assert isinstance(refused, Problem)
        assert refused.errors is None or refused.errors[name] == "stands more than once"
