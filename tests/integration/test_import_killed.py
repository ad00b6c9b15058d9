"""An import that is killed at any moment leaves the old list or the new one, never less."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import pytest

from loader.directory import apply_directory, parse_directory
from loader.feed import Feed
from loader.keyring import Keyring
from loader.model import Kind, Level, Owner, Position
from loader.reader import read_list
from loader.store import migrate, open_store

KILLS = 30
ENTRIES = 4_000
OWNER = Owner(Level.COMPANY, "globaltest")
DIRECTORY = b'{"company": [{"id": "globaltest", "name": "Global Test"}]}'

# One process loads the code once; for each number that it is told, a copy of it imports the lists from that number
# on, one after the other, and says so after each, until it is killed. List 7 has 7 as everybody's last name.
IMPORTER = """
import asyncio, os, sys
from pathlib import Path
from loader.keyring import Keyring
from loader.model import Entry, Level, Owner, Pin
from loader.publish import publish
from loader.store import open_store

async def work(url, key, entries, number):
    ring = Keyring.load(Path(key))
    async with open_store(url) as store:
        while True:
            people = [
                Entry(Pin(f"{pin:06}"), "Mike", str(number), "XYZ", "+1 555 0100", "mike@example.com", "Uxbridge", "UK", "")
                for pin in range(entries)
            ]
            print("begun", number, flush=True)
            await publish(store, ring, Owner(Level.COMPANY, "globaltest"), people, by="killed", source="import")
            print("done", number, flush=True)
            number += 1

url, key, entries = sys.argv[1:]
for line in sys.stdin:
    child = os.fork()
    if not child:
        asyncio.run(work(url, key, int(entries), int(line)))
    print("child", child, flush=True)
    os.waitpid(child, 0)
    print("dead", child, flush=True)
"""


class Importers:
    """Processes that import until they are killed."""

    def __init__(self, url: str, key: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", IMPORTER, url, str(key), str(ENTRIES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._told, self._tells = self._process.stdin, self._process.stdout

    def start(self, number: int) -> int:
        """Begin with the list of this number; the child's ID."""
        self._told.write(f"{number}\n")
        self._told.flush()
        return self._until("child")

    def until_begun(self, number: int) -> None:
        assert self._until("begun") == number

    def until_done(self, number: int) -> None:
        assert self._until("done") == number

    def kill(self, child: int) -> int:
        """SIGKILL; the number of the last list that was said to be done, or 0."""
        os.kill(child, signal.SIGKILL)
        done = 0
        while (line := self._tells.readline().split())[0] != "dead":
            if line[0] == "done":
                done = int(line[1])
        return done

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # A child that still runs ends at its next word.
        self._told.close()
        self._tells.close()
        self._process.kill()
        self._process.wait(10)

    def _until(self, word: str) -> int:
        while True:
            said, number = self._tells.readline().split()
            if said == word:
                return int(number)


async def _made(url: str) -> None:
    await migrate(url)
    async with open_store(url) as store:
        await apply_directory(store, parse_directory(DIRECTORY, format="json"))


async def _list_in_force(url: str, keyring: Keyring, *, seen: Position) -> tuple[int, Position]:
    """Which list is in force, having looked at all of it, and where the feed is."""
    async with open_store(url) as store:
        feed = Feed(store, seen)
        changes = await feed.poll()
        block = await read_list(store, keyring, OWNER)
        head = await store.list_head(OWNER)
        assert head is not None
        assert block is not None
        assert (block.count, block.active_count, head.entries) == (ENTRIES, ENTRIES, ENTRIES)
        (number,) = {entry.last_name for entry in block.entries()}
        # The feed has told of exactly the revisions that are there: each import is one position, one revision.
        assert block.revision == head.revision
        assert int(head.revision) == int(await store.position()) == int(feed.position)
        assert [(change.kind, change.id) for change in changes] in ([], [(Kind.LIST, OWNER.key)])
        assert bool(changes) == (feed.position > seen)
        kept = [listed.revision for listed in await store.revisions(OWNER)]
        assert kept == list(range(head.revision, max(head.revision - 20, 0), -1))
        return int(number), feed.position


@pytest.mark.timeout(120)
def test_a_killed_import_leaves_the_old_list_or_the_new_one(tmp_path: Path) -> None:
    """Thirty times, at moments spread over all of an import: the list is whole, and so is the feed."""
    url = f"sqlite:///{tmp_path / 'rollcall.db'}"
    asyncio.run(_made(url))
    keyring = Keyring.create(tmp_path / "rollcall.key")
    moments = random.Random(2024)
    with Importers(url, keyring.path) as importers:
        # How long the first import of a new process takes.
        takes = 0.0
        for number in (1, 2, 3):
            child = importers.start(number)
            importers.until_begun(number)
            begun = time.perf_counter()
            importers.until_done(number)
            takes += (time.perf_counter() - begun) / 3
            importers.kill(child)

        number, position = asyncio.run(_list_in_force(url, keyring, seen=Position(0)))
        new = 0
        for kill in range(KILLS):
            child = importers.start(number + 1)
            importers.until_begun(number + 1)
            time.sleep((kill + moments.random()) / KILLS * takes * 1.5)
            done = importers.kill(child) or number
            found, position = asyncio.run(_list_in_force(url, keyring, seen=position))
            assert found in (done, done + 1)
            new += found > number
            number = found
    # Neither always too early nor always too late.
    assert 0 < new < KILLS
