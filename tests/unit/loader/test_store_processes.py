"""Several processes that write to one database."""

import subprocess
import sys
from collections.abc import Callable

from loader.keyring import Keyring
from loader.model import Entry, Owner
from loader.reader import read_list
from loader.store import Store

ROUNDS = 8

# Publishes lists of its own under its own name, one after the other, and prints what it got.
WRITER = """
import asyncio, sys
from pathlib import Path
from loader.keyring import Keyring
from loader.model import Entry, Level, Owner, Pin
from loader.publish import publish
from loader.store import open_store

async def main(url, key, name, rounds):
    ring = Keyring.load(Path(key))
    async with open_store(url) as store:
        print("ready", flush=True)
        sys.stdin.readline()
        for number in range(int(rounds)):
            entries = [Entry(Pin(f"{pin:04}"), name, str(number), "X", "", "", "Y", "Z", "") for pin in range(50)]
            done = await publish(store, ring, Owner(Level.ORGANIZER, "alicia"), entries, by=name, source="import")
            print(done.revision, done.position, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_two_processes_that_replace_one_list_both_succeed(
    store: Store, url: str, keyring: Keyring, alicia: Owner, people: Callable[..., list[Entry]]
) -> None:
    """Each import has a revision and a position of its own, and none is refused because of the other."""
    start = await store.position()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, url, str(keyring.path), name, str(ROUNDS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("left", "right")
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    told: list[list[int]] = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
        told += [[int(number) for number in line.split()] for line in output.splitlines()]
    assert sorted(told) == [[number, start + number] for number in range(1, 2 * ROUNDS + 1)]
    assert {listed.created_by for listed in await store.revisions(alicia)} == {"left", "right"}
    block = await read_list(store, keyring, alicia)
    assert block is not None
    assert block.revision == 2 * ROUNDS
    assert len({(entry.first_name, entry.last_name) for entry in block.entries()}) == 1
