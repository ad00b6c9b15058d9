"""`rollcall backup` and `rollcall restore`, as they are called and what they say."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.unit.loader.cli.conftest import Run

Write = Callable[..., str]


@pytest.fixture
def filled(installed: Path, run: Run, write: Write) -> Path:
    assert run("import", write("4127,Mike", "4128,Ann"), "--organizer", "alicia").status == 0
    (installed / "copies").mkdir()
    return installed


def copies(folder: Path) -> list[Path]:
    return sorted((folder / "copies").iterdir())


def test_a_copy_is_named_told_and_without_the_key_file(filled: Path, run: Run) -> None:
    result = run("backup", "copies")
    (copy,) = copies(filled)
    assert result.status == 0
    assert result.out.startswith(f"copies/{copy.name}: {copy.stat().st_size:,} bytes in ")
    assert result.out.endswith("lists 1, entries 2, all of them opened\n")
    assert "the key file var/rollcall.key is not in the copy" in result.err
    key = Path("var/rollcall.key").read_text().split()[1]
    assert key.encode() not in copy.read_bytes()


def test_a_job_is_told_in_json(filled: Path, run: Run) -> None:
    (filled / "copies" / "rollcall-20260101T000000Z.db").touch()
    told = json.loads(run("backup", "copies", "--keep", "1", "--format", "json").out)
    (copy,) = copies(filled)
    assert told.pop("seconds") > 0
    assert told == {
        "file": f"copies/{copy.name}",
        "bytes": copy.stat().st_size,
        "schema": told["schema"],
        "position": 2,
        "lists": 1,
        "entries": 2,
        "removed": ["copies/rollcall-20260101T000000Z.db"],
    }


def test_a_copy_beside_the_key_file_is_complained_of(filled: Path, run: Run) -> None:
    result = run("backup", "var")
    assert result.status == 0
    assert "is in the same folder: whoever gets hold of the folder has the PINs" in result.err


def test_what_cannot_be_copied_is_1(filled: Path, run: Run) -> None:
    Path("var/rollcall.key").unlink()
    result = run("backup", "copies")
    assert (result.status, result.out) == (1, "")
    assert "there is no key file" in result.err
    assert copies(filled) == []


def test_what_was_put_back_is_told(filled: Path, run: Run, write: Write) -> None:
    token = run("switch", "add", "pbx-1").out
    assert run("backup", "copies").status == 0
    (copy,) = copies(filled)
    assert run("switch", "remove", "pbx-1").status == 0
    assert run("import", write("999999,Eve"), "--organizer", "alicia").status == 0
    result = run("restore", str(copy))
    assert result.status == 0
    lines = result.out.splitlines()
    assert lines[0].startswith(f"{copy}: put back in ")
    assert lines[0].endswith("lists 1, entries 2")
    former = Path(lines[1].partition(": ")[0])
    assert former.is_file()
    assert "signed out" in lines[2]
    assert result.err == "rollcall: switches whose tokens are good again: pbx-1\n"
    assert token.strip() not in result.out
    assert run("lookup", "7784321", "4127").out.startswith("accepted: Mike")
    told = json.loads(run("restore", str(copy), "--format", "json").out)
    assert told["seconds"] > 0
    assert (told["lists"], told["entries"], told["switches_returned"]) == (1, 2, [])
    assert Path(told["former"]).is_file()


def test_an_older_copy_is_migrated_and_told(filled: Path, run: Run) -> None:
    """The copy itself stays as it is."""
    assert run("backup", "copies/old.db").status == 0
    with closing(sqlite3.connect("copies/old.db")) as connection, connection:
        (newest,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        connection.execute("DROP TABLE webhook_delivery")
        for table in (
            "lockout",
            "company_choice",
            "organizer_choice",
            "conference_date",
            "invitation",
            "call",
            "occurrence",
        ):
            connection.execute(f"DROP TABLE IF EXISTS {table}")
        connection.execute("DROP TABLE journal")
        for table in ("switch_token", "switch"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("CREATE TABLE switch (id VARCHAR(64) PRIMARY KEY, token_hash BLOB UNIQUE, created_at FLOAT)")
        connection.execute("UPDATE alembic_version SET version_num = '0002'")
    before = Path("copies/old.db").read_bytes()
    result = run("restore", "copies/old.db")
    assert result.status == 0, result.err
    assert f"it was of schema 0002, and was migrated to {newest}" in result.out
    assert Path("copies/old.db").read_bytes() == before


def test_what_cannot_be_put_back_is_1(filled: Path, run: Run) -> None:
    result = run("restore", "var/rollcall.key")
    assert (result.status, result.out) == (1, "")
    assert result.err == "rollcall: var/rollcall.key is no copy of a database\n"
