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
from loader.sections import Roll
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


async def test_a_keeper_that_falls_behind_steps_back_for_nobody_until_it_has_caught_up(
    tmp_path: Path, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise what has no room in the journals any more would be lost, on a machine that is busy all the time."""
    program, starts = tmp_path / "python", tmp_path / "starts"
    program.write_text(f'#!/bin/sh\necho "$*" >> {starts}\ncat >> /dev/null\n')
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(rollkeeping, "_LOOKED_EVERY", 0.01)
    settings = Settings(roll=Roll(journal_limit=1_000_000))
    journal, other = (Journal(tmp_path / "journal", lambda: keyring) for _ in range(2))
    keeping = RollKeeping(journal, lambda: settings)
    keeping.keep_too(other.folder)
    files = [one.folder / "00000001.journal" for one in (journal, other)]

    def started() -> list[bool]:
        return ["--hurried" in line for line in starts.read_text().splitlines()] if starts.exists() else []

    async with keeping.keeping():
        for size, expected in ((320_000, [False, True]), (200_000, [False, True]), (100_000, [False, True, False])):
            await until(lambda: bool(started()))
            for file in files:
                file.write_bytes(bytes(size))
            await until(lambda: started() == expected)  # noqa: B023
            await asyncio.sleep(0.1)
            assert started() == expected
        assert keeping.problem is None
    await journal.close()
    await other.close()


async def test_a_keeper_is_told_of_each_journal_and_of_those_that_were_left(
    tmp_path: Path, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a worker that comes later too: another keeper is started, in order."""
    program, starts = tmp_path / "python", tmp_path / "starts"
    program.write_text(f'#!/bin/sh\necho "$*" >> {starts}\ncat >> /dev/null\n')
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    journal = Journal(tmp_path / "journal", lambda: keyring)
    keeping = RollKeeping(journal, Settings)
    keeping.keep_too(tmp_path / "1")
    keeping.keep_left([tmp_path / "2"])
    async with keeping.keeping():
        await until(starts.exists)
        keeping.keep_too(tmp_path / "1")
        keeping.keep_too(tmp_path / "3")
        await until(lambda: len(starts.read_text().splitlines()) == 2)
    await journal.close()
    first, second = (line.split()[3:] for line in starts.read_text().splitlines())
    own = str(journal.folder)
    assert first == [own, f"{tmp_path}/1", "--left", f"{tmp_path}/2"]
    assert second == [own, f"{tmp_path}/1", f"{tmp_path}/3", "--left", f"{tmp_path}/2"]
