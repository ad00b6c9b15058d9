"""What is fuzzed at length by `make fuzz`, here for a moment: each parser with its seeds, and with what is near them."""

from __future__ import annotations

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.harness import MODULES, harnesses

EVERY = [pytest.param(module, name, id=name) for module, names in MODULES.items() for name in names]


def changed(whole: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    """The bytes with some of them taken out, and others put in."""
    for place, gone, new in changes:
        at = place % (len(whole) + 1)
        whole = whole[:at] + new + whole[at + gone :]
    return whole


@pytest.mark.parametrize(("module", "name"), EVERY)
def test_any_bytes_are_read_or_refused_as_they_must_be(module: str, name: str) -> None:
    harness = harnesses(module)[name]
    words = st.sampled_from(list(harness.words)) if harness.words else st.binary(max_size=4)
    pieces = words | st.binary(max_size=6) | st.sampled_from(list(harness.seeds))
    inputs = st.builds(
        changed,
        st.sampled_from(list(harness.seeds)),
        st.lists(st.tuples(st.integers(0, 4096), st.integers(0, 12), pieces), max_size=5),
    )

    @settings(max_examples=60, deadline=None)
    @given(inputs | st.binary(max_size=64))
    def tried(data: bytes) -> None:
        harness.check(data)

    with structlog.testing.capture_logs():
        for seed in harness.seeds:
            harness.check(seed)
        tried()


def test_each_harness_stands_where_it_is_looked_for() -> None:
    for module, names in MODULES.items():
        assert list(harnesses(module)) == names
