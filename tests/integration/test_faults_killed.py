"""Each process is killed again and again while all are at work: whatever was answered as done is there afterwards.

FAULT_ROUNDS in the environment says how many times one is killed, FAULT_SEED at which moments.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from functools import partial
from http.client import HTTPException
from itertools import count
from threading import Event
from typing import Final

import pytest

from loader.keyring import Keyring
from loader.model import Level, Owner
from loader.publish import read_list
from loader.store import open_store
from loader.store.rolls import RollBook
from tests.integration.processes import HEADER, PATIENCE, PROGRAMS, Daemon, Installation
from tests.integration.site import Site, Visitor

ROUNDS: Final = int(os.environ.get("FAULT_ROUNDS", "100"))
SHARES: Final = {"daemon": 0.3, "keeper": 0.3, "site": 0.15, "tool": 0.25}
"""Which of the kills hit what."""
_GONE: Final = (OSError, HTTPException, ValueError)
"""What a client meets whose server was killed."""
_COMPANY: Final = Owner(Level.COMPANY, "globaltest")
_ALICIA: Final = Owner(Level.ORGANIZER, "alicia")
_ENTRIES: Final = 400
_FIRST_PIN: Final = 10_000
_TOGETHER: Final = 0.3
"""How often the keeper dies with its daemon."""


def a_list(number: int) -> str:
    """List 7 has 7 as everybody's last name."""
    return HEADER + "".join(f"{pin:06},Mike,Doe{number},XYZ,,,Uxbridge,UK,\n" for pin in range(_ENTRIES))


class Answered:
    """What was told to be done."""

    def __init__(self) -> None:
        self.admitted: list[str] = []
        self.joined: list[str] = []
        self.left: list[str] = []
        self.inserted: list[str] = []
        """PINs that were added on the site."""
        self.imported = 0
        """The list that was last imported by the tool."""

    def calls(self) -> tuple[set[str], set[str], set[str]]:
        return set(self.admitted), set(self.joined), set(self.left)


class Ward:
    """An installation whose processes are killed, and what its clients were told."""

    def __init__(self, installation: Installation, token: str) -> None:
        self.installation, self.token = installation, token
        self.answered = Answered()
        self.over = Event()
        self.daemon: Daemon = installation.daemon().wait_until_ready()
        self.site = Site(installation)

    # At work

    def switch(self, name: str) -> None:
        """A switch lets callers in until it is over."""
        for number in count():
            if self.over.is_set():
                return
            call_id = f"{name}.{number}"
            with suppress(*_GONE):
                if self.daemon.admits(self.token, call_id, "004127"):
                    self.answered.admitted.append(call_id)
                    for event, told in (("joined", self.answered.joined), ("left", self.answered.left)):
                        if self.daemon.tell(self.token, call_id, event) == 204:
                            told.append(call_id)
            self.over.wait(0.02)

    def editor(self, visitor: Visitor) -> None:
        """Somebody adds people to a list until it is over."""
        for pin in count(_FIRST_PIN):
            if self.over.is_set():
                return
            fields = {"pin": str(pin), "first_name": "Ann", "last_name": "Lee", "company": "XYZ", "city": "Rome"}
            with suppress(*_GONE):
                done = visitor.post("/lists/organizer/alicia/new", **fields, state_country="IT")
                if done.status == 303:
                    assert done.headers["location"] == "/lists/organizer/alicia", done.headers
                    self.answered.inserted.append(str(pin))
            self.over.wait(0.05)

    def importer(self, rounds: int, moments: random.Random) -> None:
        """Lists are imported by the tool, and half of the imports are killed."""
        takes = self._import(1, None)
        killed, number = 0, 1
        while killed < rounds and not self.over.is_set():
            number += 1
            # The second half, as the first is Python's own start.
            moment = takes * moments.uniform(0.4, 1.2) if number % 3 else None
            self._import(number, moment)
            killed += moment is not None
            found = self._list(_COMPANY)
            assert self.answered.imported <= found <= number, (self.answered.imported, found, number)

    def _import(self, number: int, moment: float | None) -> float:
        file = self.installation.folder / "company.csv"
        file.write_text(a_list(number))
        begun = time.monotonic()
        tool = subprocess.Popen(
            [PROGRAMS / "rollcall", "import", str(file), "--company", "globaltest"],
            env=self.installation.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            said, _ = tool.communicate(timeout=60 if moment is None else moment)
        except subprocess.TimeoutExpired:
            tool.kill()
            said, _ = tool.communicate()
        if tool.returncode == 0:
            self.answered.imported = number
        else:
            assert tool.returncode == -signal.SIGKILL, said
        return time.monotonic() - begun

    def _list(self, owner: Owner) -> int:
        """Which list is in force, having looked at all of it."""

        async def read() -> int:
            async with open_store(f"sqlite:///{self.installation.database}", writable=False) as store:
                block = await read_list(store, Keyring.load(self.installation.key), owner)
                assert block is not None
                assert block.count == _ENTRIES
                (name,) = {entry.last_name for entry in block.entries()}
                return int(name.removeprefix("Doe"))

        return asyncio.run(read())

    # Killed

    def daemons_die(self, rounds: int, moments: random.Random) -> None:
        for _ in range(rounds):
            if self.over.wait(moments.uniform(0, 0.8)):
                return
            keepers = self.daemon.keepers
            self.daemon.process.kill()
            if moments.random() < _TOGETHER:
                for keeper in keepers:
                    with suppress(ProcessLookupError):
                        os.kill(keeper, signal.SIGKILL)
            self.daemon.process.wait()
            told = self.answered.calls()
            self.daemon = self.installation.daemon().wait_until_ready()
            self._wait_for(*told)

    def keepers_die(self, rounds: int, moments: random.Random) -> None:
        """Every other one at work; those between at whatever it is about, its start as a rule."""
        killed = 0
        while killed < rounds and not self.over.wait(moments.uniform(0, 1.5)):
            if killed % 2 and not self._is_kept():
                continue
            for keeper in self.daemon.keepers:
                with suppress(ProcessLookupError):
                    os.kill(keeper, signal.SIGKILL)
                    killed += 1

    def _is_kept(self) -> bool:
        try:
            return self.daemon.metric("rollcall_rolls_kept") == 1
        except _GONE:
            return False

    def sites_die(self, rounds: int, moments: random.Random) -> None:
        for _ in range(rounds):
            if self.over.wait(moments.uniform(0, 1.5)):
                return
            self.site.kill()
            self.check_edits()
            self.site.start().wait_until_ready()

    # There

    def _wait_for(self, admitted: set[str], joined: set[str], left: set[str]) -> None:
        """Wait until all that was answered is on the roll."""
        until = time.monotonic() + PATIENCE
        while any(missing := self._missing(admitted, joined, left)):
            assert time.monotonic() < until, missing
            time.sleep(0.05)

    def _missing(self, admitted: set[str], joined: set[str], left: set[str]) -> list[set[str]]:
        with closing(sqlite3.connect(self.installation.database)) as database:
            rows = database.execute("SELECT call_id, joined_at, left_at FROM call").fetchall()
        kept = Counter(call_id for call_id, _, _ in rows)
        assert set(kept.values()) <= {1}
        return [
            admitted - kept.keys(),
            joined - {call_id for call_id, joined_at, _ in rows if joined_at},
            left - {call_id for call_id, _, left_at in rows if left_at},
        ]

    def check_edits(self) -> None:
        """What the site has answered as done is in force; and each revision has its record, answered or not."""

        async def read() -> None:
            inserted = self.answered.inserted[:]
            async with open_store(f"sqlite:///{self.installation.database}", writable=False) as store:
                block = await read_list(store, Keyring.load(self.installation.key), _ALICIA)
                assert block is not None
                pins = {entry.pin for entry in block.entries()}
            assert pins >= set(inserted)
            with closing(sqlite3.connect(self.installation.database)) as database:
                (recorded,) = database.execute("SELECT count(*) FROM audit WHERE action = 'entry_inserted'").fetchone()
            # The installation's own list is the first.
            assert recorded == block.revision - 1 == len([pin for pin in pins if len(pin) == 5])

        asyncio.run(read())

    def check_all(self) -> None:
        self._wait_for(*self.answered.calls())
        self.check_edits()
        assert self._list(_COMPANY) >= self.answered.imported

        async def read_rolls() -> None:
            keyring = Keyring.load(self.installation.key)
            async with open_store(f"sqlite:///{self.installation.database}", writable=False) as store:
                book = RollBook(store)
                for number in count(1):
                    if await book.occurrence(number) is None:
                        break
                    for call in await book.calls(keyring, number):
                        assert call.participant is not None
                        assert call.participant.last_name == "Doe"

        asyncio.run(read_rolls())
        with closing(sqlite3.connect(self.installation.database)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert database.execute("PRAGMA foreign_key_check").fetchall() == []


@contextmanager
def at_work(ward: Ward, *work: Callable[[], None]) -> Iterator[ThreadPoolExecutor]:
    """Work that goes on until the context is over."""
    with ThreadPoolExecutor(len(work) + len(SHARES)) as threads:
        tasks = [threads.submit(one) for one in work]
        try:
            yield threads
        finally:
            ward.over.set()
        for task in tasks:
            task.result()


@pytest.mark.timeout(60 + 5 * ROUNDS)
@pytest.mark.usefixtures("user")
def test_whatever_is_killed_nothing_that_was_answered_is_lost(installation: Installation, token: str) -> None:
    """Rolls, lists and the audit trail, while switches ask, somebody edits, and lists are imported."""
    seed = int(os.environ.get("FAULT_SEED", "") or random.SystemRandom().randrange(1 << 32))
    sys.stderr.write(f"FAULT_SEED={seed}\n")
    rounds = {what: max(1, round(ROUNDS * share)) for what, share in SHARES.items()}
    ward = Ward(installation, token)
    try:
        ward.site.start().wait_until_ready()
        editor = partial(ward.editor, Visitor(ward.site.port).sign_in())
        begun = time.monotonic()
        with at_work(ward, lambda: ward.switch("a"), lambda: ward.switch("b"), editor) as threads:
            killers = [
                threads.submit(kill, rounds[what], random.Random(f"{seed} {what}"))
                for what, kill in (
                    ("daemon", ward.daemons_die),
                    ("keeper", ward.keepers_die),
                    ("site", ward.sites_die),
                    ("tool", ward.importer),
                )
            ]
            for killer in wait(killers, return_when=FIRST_EXCEPTION).done:
                killer.result()
        told = ward.answered
        sys.stderr.write(
            f"{sum(rounds.values())} kills in {time.monotonic() - begun:.0f} s: {len(told.admitted)} let in, "
            f"{len(told.joined)} joined, {len(told.left)} left, {len(told.inserted)} inserted, "
            f"list {told.imported} imported\n"
        )
        ward.check_all()
        assert ward.daemon.stop() == 0
        # It is no test of an installation that stood still.
        assert len(told.admitted) > ROUNDS
        assert len(told.inserted) > ROUNDS / 5
    finally:
        ward.daemon.kill()
        ward.site.kill()
