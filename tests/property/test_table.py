"""A packed table beside a dict."""

from hypothesis import given
from hypothesis import strategies as st

from loader.memory import OFFSET, Memory
from loader.table import Draft, Table

# Few enough that keys meet again, some of which have the same CRC-32.
KEYS = st.sampled_from([b"plumless", b"buckeroo", b"codding", b"gnu", b"exhibiters", b"schlager"]) | st.binary(
    max_size=2
)
CHANGES = st.lists(
    st.dictionaries(KEYS | st.binary(max_size=255), st.none() | st.binary(max_size=40), max_size=12), max_size=6
)


def packed(draft: Draft, memory: Memory, retired: list[tuple[int, int]]) -> Table:
    *_, table = draft.pack(memory, retired)
    assert table is not None
    return table


@given(CHANGES, st.lists(st.binary(max_size=255), max_size=5))
def test_a_table_is_as_a_dict_whatever_is_changed(
    changes: list[dict[bytes, bytes | None]], others: list[bytes]
) -> None:
    """After each change; and the tables before stay as they were."""
    memory = Memory()
    table = Table(memory)
    known: dict[bytes, bytes] = {}
    states: list[tuple[Table, dict[bytes, bytes]]] = []
    for change in changes:
        draft = Draft(table)
        for key, value in change.items():
            draft.set(key, value)
            assert draft.get(key) == value
        known = {key: value for key, value in (known | change).items() if value is not None}
        assert all(draft.get(key) == known.get(key) for key in (*known, *others))
        table = packed(draft, memory, [])
        states.append((table, known))
    for table, known in states:
        assert dict(table.items()) == known
        assert table.count == len(known)
        assert all(table.get(key) == value for key, value in known.items())
        assert all(table.get(key) == known.get(key) for key in others)
    memory.close()


@given(CHANGES)
def test_all_that_a_table_no_longer_needs_is_told(changes: list[dict[bytes, bytes | None]]) -> None:
    """Overwritten, it leaves the table as it is; and nothing else is in use but the root and the leaves."""
    memory = Memory()
    table = Table(memory)
    known: dict[bytes, bytes] = {}
    for change in changes:
        draft, retired = Draft(table), list[tuple[int, int]]()
        for key, value in change.items():
            draft.set(key, value)
        known = {key: value for key, value in (known | change).items() if value is not None}
        table = packed(draft, memory, retired)
        for address, size in retired:
            memory.at(address, size)[:] = bytes([255]) * size
            memory.retire(address, size)
        assert dict(table.items()) == known
        leaves = [memory.words[leaf >> 32][(leaf & OFFSET) >> 2] for _, leaf in table.leaves()]
        root = [4096 * 8] if table.address else []
        in_use = sum(-(-size // 8) * 8 for size in (*root, *leaves))
        assert sum(segment.live for segment in memory._segments.values()) == in_use
    memory.close()
