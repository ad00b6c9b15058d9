"""`python -m tests.bench.replacing URL KEYFILE SECONDS`: a company's list of 8,000 people is replaced ten times a second.

A process of its own, so that its work is not the clients'. The people keep their PINs.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Final

import msgspec

from loader.compiled import compile_list
from loader.keyring import Keyring, part_count
from loader.model import Level, ListRevision, Owner, Revision
from loader.store import open_store
from tests.bench.data import people

COUNT: Final = 8_000
RATE: Final = 10.0
_OWNER: Final = Owner(Level.COMPANY, "bench")


async def replace(url: str, keyring: Keyring, seconds: float) -> int:
    """Replace it at a steady pace; how often it was replaced."""
    entries = list(people(COUNT))
    compiled = [
        compile_list([msgspec.structs.replace(entry, first_name=name) for entry in entries])
        for name in ("Mike", "Jane")
    ]
    done = 0
    async with open_store(url) as store:
        begun = time.perf_counter()
        while (due := done / RATE) < seconds:
            await asyncio.sleep(max(0.0, begun + due - time.perf_counter()))
            head = await store.list_head(_OWNER)
            revision = Revision(1 if head is None else head.revision + 1)
            data = compiled[revision % 2]
            listed = ListRevision(
                owner=_OWNER,
                revision=revision,
                created_at=time.time(),
                created_by="bench",
                source="import",
                entries=COUNT,
                active=COUNT,
                size=len(data),
                parts=part_count(len(data)),
                key_id=keyring.current,
            )
            async with store.writing() as writing:
                await writing.put_list(listed, keyring.seal(_OWNER, revision, data, key_id=keyring.current))
            done += 1
    return done


if __name__ == "__main__":
    asyncio.run(replace(sys.argv[1], Keyring.load(Path(sys.argv[2])), float(sys.argv[3])))
