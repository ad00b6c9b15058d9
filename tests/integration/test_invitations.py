"""Hundreds of invitations, two web sites on one database, one of them killed in the middle."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from loader.directory import apply_directory, parse_directory
from loader.keyring import Keyring
from loader.model import Entry, Level, Owner, Pin
from loader.publish import publish
from loader.store import open_store
from loader.store.invitations import Counts, Guest, Invitations
from tests.integration.processes import DIRECTORY, PROGRAMS, Installation, free_port, wait_until
from tests.unit.admin.inbox import listening

COUNT = 300
ALICIA = Owner(Level.ORGANIZER, "alicia")


def person(number: int) -> Entry:
    """Whose PIN looks like no port, time or count."""
    pin, mail = Pin(f"90417{number:05}"), f"mike{number}@example.com"
    return Entry(pin, "Mike", f"Doe{number}", "XYZ", "", mail, "Uxbridge", "UK", "")


async def queue(installation: Installation) -> None:
    people = [person(number) for number in range(COUNT)]
    keyring = Keyring.load(installation.key)
    async with open_store(f"sqlite:///{installation.database}") as store:
        await apply_directory(store, parse_directory(json.dumps(DIRECTORY).encode(), format="json"))
        await publish(store, keyring, ALICIA, people, by="test", source="upload")
        guests = [Guest(one.pin, one.first_name, one.last_name, one.email) for one in people]
        queued = await Invitations(store).queue(
            keyring, "C-1001", ALICIA, guests, by="test", language="en", at=1.7e9, again=False, seen=0
        )
        assert queued == COUNT


async def counts(installation: Installation) -> Counts:
    async with open_store(f"sqlite:///{installation.database}") as store:
        return await Invitations(store).counts("C-1001")


def start(installation: Installation, name: str) -> subprocess.Popen[bytes]:
    with (installation.folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [PROGRAMS / "rollcall-admin"],
            env=installation.environment
            | {"ROLLCALL_ADMIN__PORT": str(free_port()), "ROLLCALL_ADMIN__OPS_PORT": str(free_port())},
            stdout=log,
            stderr=log,
        )


@pytest.mark.timeout(300)
def test_each_gets_one_invitation_though_two_send_and_one_is_killed(tmp_path: Path) -> None:
    """What was under way with the one that is killed is sent to nobody again; all others are sent once."""
    with listening() as inbox:
        installation = Installation(
            tmp_path,
            ROLLCALL_MAIL__HOST="127.0.0.1",
            ROLLCALL_MAIL__PORT=str(inbox.port),
            ROLLCALL_MAIL__TLS="none",
            ROLLCALL_MAIL__PER_MINUTE="60000",
        )
        installation.rollcall("init")
        asyncio.run(queue(installation))
        first, second = start(installation, "first"), start(installation, "second")
        try:
            wait_until(lambda: len(inbox.received) > 60, within=120)
            first.kill()
            first.wait()
            third = start(installation, "third")
            try:
                wait_until(lambda: len(inbox.received) >= COUNT - 1, within=240)
                wait_until(lambda: asyncio.run(counts(installation)).waiting <= 1, within=30)
            finally:
                third.terminate()
                assert third.wait(20) == 0
        finally:
            first.kill()
            second.terminate()
            assert second.wait(20) == 0
        told = asyncio.run(counts(installation))
        often = Counter(inbox.recipients_of_all)
        assert max(often.values()) == 1
        assert COUNT - 1 <= told.sent <= len(often) <= COUNT
        assert told.failed == 0
        logs = "".join(file.read_text() for file in tmp_path.glob("*.log"))
        assert "Traceback" not in logs
        assert "90417" not in logs
        assert "mike1@" not in logs
