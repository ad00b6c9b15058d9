"""Forms as telephony platforms post them."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.doors.form import read_form
from daemon.doors.problem import Problem

NAMES = ("call_id", "digits")


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"call_id=1&digits=%23+2%2B", {"call_id": "1", "digits": "# 2+"}),
        (b"digits=&x=1&x=2", {"call_id": "", "digits": ""}),
        (b"call_id=M%FCller\xfc", {"call_id": "M\ufffdller\ufffd", "digits": ""}),
        (b"", {"call_id": "", "digits": ""}),
        (b"&&=&call_id", {"call_id": "", "digits": ""}),
    ],
)
def test_the_fields_that_are_asked_for_are_read_and_others_are_not(body: bytes, fields: dict[str, str]) -> None:
    assert read_form(body, NAMES) == fields


@pytest.mark.parametrize("body", [b"digits=1&digits=1", b"digits=1&di%67its=2", b"digits&digits"])
def test_a_field_that_stands_twice_is_refused(body: bytes) -> None:
    with pytest.raises(Problem) as caught:
        read_form(body, NAMES)
    assert (caught.value.status, caught.value.errors) == (400, {"digits": "stands more than once"})


@given(st.binary(max_size=60))
def test_nothing_else_is_raised_for_any_bytes(body: bytes) -> None:
    with suppress(Problem):
        assert read_form(body, NAMES).keys() == set(NAMES)
