"""All that is in the database becomes one index: at the start, and when the feed of changes has gone back."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager

import msgspec

from daemon.pace import Pace
from loader.compiled import Block
from loader.errors import BlockError, DatabaseError, KeyFileError
from loader.keyring import Keyring
from loader.model import Change, ListRevision, Owner, Position, Switch
from loader.reader import give_back, read_lists
from loader.shared_index import Draft
from loader.store import Store


class Loaded(msgspec.Struct, frozen=True):
    """What was read beside the index, as of `position` or later.

    `entries` and `size` (bytes) are those of all lists; `unopened` are the lists that cannot be decrypted, and why.
    """

    position: Position
    switches: list[Switch]
    entries: int
    size: int
    unopened: dict[Owner, tuple[ListRevision, BlockError | KeyFileError]]
    unlocks: list[Change]
    """What was unlocked lately."""


async def load_all(
    store: Store, keyring: Keyring, draft: Draft, answered: Callable[[], None], *, may_be_empty: bool = True
) -> Loaded:
    """Read everything into a draft; the event loop runs in between.

    `answered` is called all the while that the database answers. Raises DatabaseUnavailable, and DatabaseError if there
    is no conference and that may not be.
    """
    pace = Pace()
    with _without_collections():
        # First, so that what changes meanwhile is told by the feed once more.
        position = await store.position()
        switches = await store.switches()
        unlocks = await store.unlocks()
        is_empty = True
        async with aclosing(store.conferences()) as stream:
            async for conference in stream:
                draft.put_conference(conference)
                is_empty = False
                answered()
                await pace()
        if is_empty and not may_be_empty:
            raise DatabaseError(f"{store.name} holds no conference; what was loaded before stays in force")
        entries = size = 0
        unopened: dict[Owner, tuple[ListRevision, BlockError | KeyFileError]] = {}
        async with aclosing(read_lists(store, keyring)) as opened:
            async for listed, result in opened:
                if isinstance(result, Block):
                    await pace.through(draft.put_list(listed.owner, result))
                    entries += result.count
                    size += result.size
                    await pace.through(give_back(result))
                else:
                    unopened[listed.owner] = listed, result
                answered()
                await pace()
        return Loaded(position, switches, entries, size, unopened, unlocks)


@contextmanager
def _without_collections() -> Iterator[None]:
    """What is loaded lives long: a collector that walked through all of it would hold the lookups up."""
    gc.disable()
    try:
        yield
        # Not after a failure, which may come every second: garbage that is frozen is never collected.
        gc.freeze()
    finally:
        gc.enable()
