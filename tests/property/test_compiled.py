"""The compiled block against a plain dict."""

from hypothesis import given
from hypothesis import strategies as st

from loader.compiled import Block, compile_list, pin_key
from loader.model import Entry, Pin, Revision

FIELD = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20)
PIN = st.text("0123456789", min_size=2, max_size=10).map(Pin)
ENTRY = st.builds(Entry, PIN, FIELD, FIELD, FIELD, FIELD, FIELD, FIELD, FIELD, FIELD, st.booleans())
ENTRIES = st.lists(ENTRY, unique_by=lambda entry: entry.pin, max_size=60)


def answer(block: Block, keyed: str) -> Entry | None:
    key = pin_key(keyed)
    at = None if key is None else block.find(key)
    return None if at is None else block.entry(at)


@given(ENTRIES, st.lists(st.one_of(PIN, st.text(max_size=32)), max_size=20))
def test_a_block_answers_as_a_dict_would(entries: list[Entry], keyed: list[str]) -> None:
    """Every PIN in the list is found with its entry, and nothing else is."""
    block = Block(compile_list(entries), Revision(1))
    oracle = {str(entry.pin): entry for entry in entries}
    for text in [*oracle, *keyed, *(pin.lstrip("0") for pin in oracle), *("0" + pin for pin in oracle)]:
        assert answer(block, text) == oracle.get(text)
    assert {entry.pin: entry for entry in block.entries()} == oracle
    assert block.active_count == sum(entry.active for entry in entries)


@given(ENTRIES)
def test_the_same_entries_in_any_order_make_the_same_lookup_order(entries: list[Entry]) -> None:
    """The order of the file does not matter: entries come back sorted."""
    forward = Block(compile_list(entries), Revision(1))
    backward = Block(compile_list(entries[::-1]), Revision(1))
    assert list(forward.entries()) == list(backward.entries())


@given(st.binary(max_size=200))
def test_bytes_that_are_no_block_are_never_taken_for_one(data: bytes) -> None:
    """Arbitrary bytes raise nothing but BlockError."""
    from loader.errors import BlockError

    try:
        block = Block(data, Revision(1))
        list(block.entries())
    except BlockError:
        pass
