"""The keeper's process: whatever becomes of it, it is started again, and that is told once."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from daemon import rollkeeping
from daemon.journal import Journal
from daemon.rollkeeping import RollKeeping
from loader.keyring import Keyring
from loader.settings import Settings


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        (None, "the keeper cannot be started: No such file or directory"),
        ("exit 3", "the keeper has ended with 3"),
        ("echo no JSON", "the keeper is not understood"),
    ],
)
async def test_a_keeper_that_does_not_run_is_started_again_and_told_of_once(
    script: str | None, problem: str, tmp_path: Path, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, starts = tmp_path / "python", tmp_path / "starts"
    if script is not None:
        program.write_text(f"#!/bin/sh\necho >> {starts}\n{script}\n")
        program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(rollkeeping, "_AGAIN", 0.01)
    journal = Journal(tmp_path / "journal", lambda: keyring)
    keeping = RollKeeping(journal, Settings)
    with structlog.testing.capture_logs() as logged:
        async with keeping.keeping():
            await until(lambda: keeping.problem == problem)
            program.write_text(f"#!/bin/sh\necho >> {starts}\n{script or 'exit 3'}\n")
            program.chmod(0o700)
            await until(lambda: starts.exists() and len(starts.read_text()) > 3)
    await journal.close()
    assert [line["problem"] for line in logged].count(problem) == 1


async def test_a_keeper_that_is_killed_before_it_is_spoken_to_is_started_again(
    tmp_path: Path, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its input is closed by then: under uvloop to write there raises RuntimeError, which nobody expected."""
    program, starts = tmp_path / "python", tmp_path / "starts"
    program.write_text(f"#!/bin/sh\necho >> {starts}\ncat >> /dev/null\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(rollkeeping, "_AGAIN", 0.01)

    def refuses(_writer: asyncio.StreamWriter, _data: bytes) -> None:
        raise RuntimeError("the handler is closed")

    monkeypatch.setattr(asyncio.StreamWriter, "write", refuses)
    journal = Journal(tmp_path / "journal", lambda: keyring)
    keeping = RollKeeping(journal, Settings)
    async with keeping.keeping():
        await until(lambda: starts.exists() and len(starts.read_text()) > 3)
        assert keeping.problem == "the keeper cannot be used: RuntimeError"
    await journal.close()
