"""The key file is gone, wrong, or in another place: what runs goes on, and what cannot go on says what to do."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from loader.keyring import Keyring
from tests.integration.conftest import Start
from tests.integration.processes import Installation, wait_until
from tests.integration.site import Site, Visitor


def gone(key: Path) -> str:
    key.unlink()
    return "there is no key file"


def empty(key: Path) -> str:
    key.write_bytes(b"")
    return "holds no key"


def anothers(key: Path) -> str:
    key.unlink()
    Keyring.create(key)
    return "put that file back"


def open_to_all(key: Path) -> str:
    key.chmod(0o644)
    return "chmod 600"


def calls(installation: Installation) -> set[str]:
    """The calls on rolls."""
    with closing(sqlite3.connect(installation.database)) as database:
        return {row[0] for row in database.execute("SELECT call_id FROM call")}


@pytest.mark.parametrize("befall", [gone, empty, anothers, open_to_all])
@pytest.mark.usefixtures("user")
def test_what_runs_goes_on_without_its_key_file_and_what_starts_says_what_to_do(
    installation: Installation, token: str, start: Start, admin: Callable[..., Site], befall: Callable[[Path], str]
) -> None:
    """And once it is put back, nobody has to be told."""
    daemon, site = start().wait_until_ready(), admin().start().wait_until_ready()
    visitor = Visitor(site.port).sign_in()
    assert daemon.admits(token, "1.1", "004127")
    wait_until(lambda: calls(installation) == {"1.1"})
    before = installation.folder / "before.key"
    shutil.copy2(installation.key, before)
    said = befall(installation.key)

    daemon.signal(signal.SIGHUP)
    wait_until(lambda: daemon.has_logged("settings_refused") or daemon.has_logged("settings_read"))
    assert daemon.admits(token, "1.2", "004127")
    wait_until(lambda: calls(installation) == {"1.1", "1.2"})
    assert b"004127" in visitor.get("/lists/organizer/alicia").body
    installation.rollcall("export", "--organizer", "alicia", status=1)
    assert said in installation.said[-1]
    assert str(installation.key) in installation.said[-1]

    shutil.copy2(before, installation.key)
    daemon.signal(signal.SIGHUP)
    installation.put("5550100")
    wait_until(lambda: daemon.accepts(token, "5550100"))
    wait_until(lambda: b"5550100" in visitor.get("/lists/organizer/alicia").body)
    assert "Traceback" not in daemon.log + site.log


def test_a_key_file_in_another_place_reaches_the_keeper_too(
    installation: Installation, token: str, start: Start
) -> None:
    """Rolls are sealed under a key that only the new file has."""
    config = installation.folder / "rollcall.toml"
    config.write_text(f"[key]\nfile = {str(installation.key)!r}\n")
    del installation.environment["ROLLCALL_KEY__FILE"]
    daemon = start("--config", str(config)).wait_until_ready()
    assert daemon.admits(token, "1.1", "004127")
    wait_until(lambda: calls(installation) == {"1.1"})
    (keeper,) = daemon.keepers
    moved = installation.folder / "moved.key"
    installation.key.rename(moved)
    config.write_text(f"[key]\nfile = {str(moved)!r}\n")
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: bool(daemon.keepers) and daemon.keepers != [keeper])
    installation.rollcall("key", "rotate", "--config", str(config))
    assert daemon.admits(token, "1.2", "004127")
    wait_until(lambda: calls(installation) == {"1.1", "1.2"})
    assert not daemon.has_logged("rolls_not_kept")


def test_a_key_that_is_rotated_while_nothing_runs_opens_what_waits_in_the_journal(
    installation: Installation, token: str, start: Start
) -> None:
    """Daemon and keeper were killed; what they had not yet brought into the database is sealed under the old key."""
    daemon = start().wait_until_ready()
    assert daemon.admits(token, "1.1", "004127")
    wait_until(lambda: calls(installation) == {"1.1"})
    (keeper,) = daemon.keepers
    os.kill(keeper, signal.SIGSTOP)
    assert daemon.admits(token, "1.2", "004127")
    os.kill(keeper, signal.SIGKILL)
    daemon.kill()
    assert "older keys stay in the file" in installation.rollcall("key", "rotate")
    again = start().wait_until_ready()
    wait_until(lambda: calls(installation) == {"1.1", "1.2"})
    wait_until(lambda: again.metric("rollcall_rolls_kept") == 1)
    assert "older keys" not in installation.rollcall("key", "rotate")
    assert len(Keyring.load(installation.key).key_ids) == 1
    assert again.admits(token, "1.3", "004127")
    wait_until(lambda: len(calls(installation)) == 3)
